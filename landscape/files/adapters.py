"""An adapter of PEFT put into a model that PEFT has wrapped, strictly: each of its tensors has a
place, and each tensor of the adapter in the model is given. The model below it keeps its weights.

Names are PEFT's own affair (``lora_A.default.weight`` is saved as ``lora_A.weight``), so its own
function puts the tensors where they belong; it is there, because it has wrapped the model.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from landscape import specs
from landscape.errors import LoadingError
from landscape.files import formats

# of an adapter, what makes a function of its tensors
SETTINGS = (
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora"),
    *("fan_in_fan_out", "modules_to_save", "layers_to_transform"),
)


def put(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> list[str]:
    """Put the tensors of an adapter into a model; in words, what was done.

    Raises:
        LoadingError: PEFT has not wrapped the model, or the adapter does not fit; the model is then
            as it was.
    """
    adapter = _adapter(model, folder)
    _require_alike(model, adapter, folder)
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


def _require_alike(model: nn.Module, adapter: str, folder: Path) -> None:
    """Raise where the adapter was saved with other settings than the model's, which make another
    function of the same tensors.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        return
    formats.refuse_pipe(path)
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LoadingError(f"{path} cannot be read: {specs.one_line(error)}.") from None
    now = getattr(model, "peft_config", {})[adapter].to_dict()
    for name in SETTINGS:
        if name in saved and name in now and _plain(saved[name]) != _plain(now[name]):
            raise LoadingError(
                f"{folder} was saved with {name}={saved[name]!r}, and the adapter of the model has "
                f"{name}={_plain(now[name])!r}: the same tensors are another function there. Give "
                f"the model the settings of adapter_config.json."
            )


def _plain(value: object) -> object:
    """A setting as JSON has it; nothing where it is empty."""
    kept = sorted(value) if isinstance(value, set | list | tuple) else value
    return getattr(kept, "value", kept) or None


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
