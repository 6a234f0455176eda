"""Which units are saturated or dead, seen while a landscape is evaluated.

Sigmoids, tanhs and ReLUs are met wherever torch is called, as modules or as functions. A unit is a channel (dimension 1) of a
convolution's output, else an entry of the last dimension; it is judged over all samples of all batches.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

TAIL = 0.01  # a sigmoid within this of 0 or 1, a tanh within this of -1 or 1 is saturated

_KINDS: dict[Any, str] = {
    torch.sigmoid: "sigmoid",
    torch.Tensor.sigmoid: "sigmoid",
    torch.special.expit: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    torch.Tensor.tanh: "tanh",
    F.tanh: "tanh",
    torch.relu: "relu",
    torch.relu_: "relu",
    torch.Tensor.relu: "relu",
    torch.Tensor.relu_: "relu",
    F.relu: "relu",
}


class Activity(TorchFunctionMode):
    """Watches the activations of one evaluation; ``next_batch`` says that a new batch begins."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.always: list[Tensor] = []  # (units,) bool: saturated or dead on every sample so far
        self._call = 0

    def next_batch(self) -> None:
        self._call = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = _KINDS.get(func)
        if kind is not None and isinstance(out, Tensor):
            with torch.no_grad():
                self._see(kind, out.detach())
        return out

    def _see(self, kind: str, out: Tensor) -> None:
        if kind == "relu":
            stuck = out <= 0
        elif kind == "tanh":
            stuck = out.abs() > 1 - TAIL
        else:
            stuck = (out - 0.5).abs() > 0.5 - TAIL
        if out.ndim > 1:
            units = 1 if out.ndim > 3 else out.ndim - 1
            stuck = stuck.movedim(units, 0).flatten(1).all(dim=1)
        stuck = stuck.reshape(-1)
        if self._call == len(self.kinds):
            self.kinds.append(kind)
            self.always.append(stuck)
        elif self.always[self._call].shape == stuck.shape:
            self.always[self._call] &= stuck
        self._call += 1

    def shares(self, *kinds: str) -> list[float]:
        """The share of stuck units of every activation of these kinds, NaN for the others."""
        return [
            float(stuck.double().mean()) if kind in kinds else float("nan")
            for kind, stuck in zip(self.kinds, self.always, strict=True)
        ]

    def names(self) -> list[str]:
        return [f"{i + 1} {kind}" for i, kind in enumerate(self.kinds)]
