"""A model and its loss as one module, called with given tensors in the place of its own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch


class Objective(nn.Module):
    """The user's model and loss side by side, so that ``functional_call`` reaches the tensors of both."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None) -> None:
        super().__init__()
        self.model = model
        self.criterion = loss
        self.takes_model = loss is None or _takes_model(loss)

    def forward(self, batch: Batch, output: Any = None, stage: str = "loss") -> Any:
        """The loss of a batch; with ``stage="output"`` the model's output only, with ``stage="criterion"`` the loss of it."""
        if self.takes_model:
            return self.criterion(self.model, batch) if self.criterion else self.model(**batch)
        inputs, target = batching.split(batch)
        if stage != "criterion":
            output = self._call(inputs)
            if stage == "output":
                return output
        assert self.criterion is not None
        return self.criterion(output, target)

    def tensors(
        self, given: Mapping[int, Tensor], statistics: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """All that ``functional_call`` needs, under one name a module; floating-point tensors in this dtype.

        A module used twice has two names. ``functional_call`` must not see both: it would put the given tensor back for the second.

        Args:
            given: id of a parameter -> what takes its place; the others are where they are, and buffers are copies.
            statistics: name in the model -> what takes the place of a buffer.
        """
        modules = list(self.named_modules())
        embeddings = [m for _, m in modules if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        rescaled = {id(m._parameters.get("weight")) for m in embeddings if m.max_norm is not None}
        there = {k: t.clone() if k in rescaled else t for k, t in given.items()}  # embeddings write into these
        found = {}
        for path, module in modules:
            prefix = f"{path}." if path else ""
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                if id(parameter) not in there:
                    fixed = batching.move(parameter.detach(), device, dtype)
                    there[id(parameter)] = fixed.clone() if id(parameter) in rescaled else fixed
                found[prefix + name] = there[id(parameter)]
            for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
                if id(buffer) not in there:
                    tensor = statistics.get((prefix + name).removeprefix("model."), buffer)
                    there[id(buffer)] = batching.move(tensor.detach().clone(), device, dtype)
                found[prefix + name] = there[id(buffer)]
        return found

    def _call(self, inputs: Any) -> Any:
        if isinstance(inputs, Mapping):
            output = self.model(**inputs)
        else:
            output = self.model(*inputs) if isinstance(inputs, list | tuple) else self.model(inputs)
        return output if isinstance(output, Tensor) else getattr(output, "logits", output)


def _takes_model(loss: Callable[..., Any]) -> bool:
    """Whether ``loss`` is loss(model, batch) rather than loss(output, target)."""
    if isinstance(loss, nn.Module):
        loss = loss.forward
    try:
        names = [p.name for p in inspect.signature(loss).parameters.values()]
    except (TypeError, ValueError):  # a builtin
        return False
    return names[:1] in (["model"], ["net"], ["module"]) or names[1:2] == ["batch"]
