"""Which units are saturated or dead, seen while a landscape is evaluated.

Sigmoids, tanhs and ReLUs are met wherever torch is called, as modules or as functions. A unit is a channel (dimension 1) of a
convolution's output, else an entry of the last dimension. A ReLU unit is dead if it is zero on all samples of all batches; saturation
is counted output by output, since large weights drive a unit to both its ends.
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
        self.always: list[Tensor] = []  # (units,) bool: zero, or saturated, on every sample so far
        self.counts: list[list[float]] = []  # stuck outputs, all outputs
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
        count = [float(stuck.sum()), float(stuck.numel())]
        if out.ndim > 1:
            units = 1 if out.ndim > 3 else out.ndim - 1
            stuck = stuck.movedim(units, 0).flatten(1).all(dim=1)
        stuck = stuck.reshape(-1)
        if self._call == len(self.kinds):
            self.kinds.append(kind)
            self.always.append(stuck)
            self.counts.append(count)
        elif self.always[self._call].shape == stuck.shape:
            self.always[self._call] &= stuck
            self.counts[self._call] = [a + b for a, b in zip(self.counts[self._call], count, strict=True)]
        self._call += 1

    def saturated(self) -> list[float]:
        """The share of saturated outputs of every sigmoid and tanh, NaN for ReLUs."""
        return [
            float("nan") if kind == "relu" else stuck / max(count, 1.0)
            for kind, (stuck, count) in zip(self.kinds, self.counts, strict=True)
        ]

    def dead(self) -> list[float]:
        """The share of units of every ReLU that are zero on every sample, NaN for the others."""
        return [
            float(stuck.double().mean()) if kind == "relu" else float("nan")
            for kind, stuck in zip(self.kinds, self.always, strict=True)
        ]

    def names(self) -> list[str]:
        return [f"{i + 1} {kind}" for i, kind in enumerate(self.kinds)]
