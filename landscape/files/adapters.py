"""An adapter of PEFT put into a model that PEFT has wrapped, strictly: each of its tensors has a
place, and each tensor of the adapter in the model is given. The model below it keeps its weights.

Names are PEFT's own affair (``lora_A.default.weight`` is saved as ``lora_A.weight``), so its own
function puts the tensors where they belong; it is there, because it has wrapped the model.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from landscape import specs
from landscape.errors import LoadingError
from landscape.files import formats


def put(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> list[str]:
    """Put the tensors of an adapter into a model; in words, what was done.

    Raises:
        LoadingError: PEFT has not wrapped the model, or the adapter does not fit; the model is then
            as it was.
    """
    adapter = _adapter(model, folder)
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    # beside those of the adapter, weights of the model below that were saved with it
    whole = model.state_dict()
    own = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    own |= {name: whole[name] for name in tensors if name in whole}
    missing = [name for name in own if name not in tensors]
    extra = [name for name in tensors if name not in own]
    if missing or extra:
        lists = (("missing", missing), ("unexpected", extra))
        parts = [f"{len(k)} {what}: {formats.few(k)}" for what, k in lists if k]
        raise LoadingError(f"{folder} does not fit the adapter of the model: {'; '.join(parts)}.")
    notes = formats.conversions(tensors, own)
    saved = {name: value.detach().clone() for name, value in own.items()}
    try:
        with torch.no_grad():
            set_peft_model_state_dict(model, dict(tensors), adapter_name=adapter)
    except Exception as error:
        set_peft_model_state_dict(model, saved, adapter_name=adapter)
        raise LoadingError(
            f"{folder} does not fit the adapter of the model: {specs.one_line(error)}."
        ) from None
    return [f"{len(tensors)} tensors of the adapter {adapter!r} read, the model below kept", *notes]


def _adapter(model: nn.Module, folder: Path) -> str:
    """The name of the adapter in a model that is to take the weights."""
    names = list(getattr(model, "peft_config", {}))
    if not names:
        raise LoadingError(
            f"{folder} holds an adapter, and the model has none: let MODEL give the model as PEFT "
            f"has wrapped it, by peft.get_peft_model(model, config) say."
        )
    if "default" in names or len(names) == 1:
        return "default" if "default" in names else str(names[0])
    raise LoadingError(
        f"the model has the adapters {formats.few([str(n) for n in names])}: name the one for "
        f"{folder} 'default'."
    )
