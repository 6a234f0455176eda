"""Which units are saturated or dead, seen while a landscape is evaluated.

Sigmoids, tanhs and ReLUs are met wherever torch is called, as modules or as functions. A unit is a
channel (dimension 1) of a convolution's output, else an entry of the last dimension. A ReLU unit is
dead if it is zero on all samples of all batches; saturation is counted output by output, since
large weights drive a unit to both its ends.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

TAIL = 0.01  # a sigmoid within this of 0 or 1, a tanh within this of -1 or 1 is saturated

_KINDS: dict[object, str] = {
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
        self.always: list[Tensor] = []  # of a ReLU (units,) its largest output on any sample so far
        self.stuck: list[Tensor] = []  # of the others () the number of stuck outputs so far
        self.outputs: list[int] = []  # and of all outputs
        self._call = 0

    def next_batch(self) -> None:
        self._call = 0

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        kind = _KINDS.get(func)
        if kind is not None and isinstance(out, Tensor):
            with torch.no_grad():
                self._see(kind, out.detach())
        return out

    def _see(self, kind: str, out: Tensor) -> None:
        """What is seen stays on the device: a record is read in one transfer."""
        seen = _largest(out) if kind == "relu" else _far(kind, out)
        if self._call == len(self.kinds):
            self.kinds.append(kind)
            (self.always if kind == "relu" else self.stuck).append(seen)
            self.outputs.append(out.numel())
        else:
            kept = self.always if kind == "relu" else self.stuck
            i = sum((k == "relu") == (kind == "relu") for k in self.kinds[: self._call])
            if i < len(kept) and kept[i].shape == seen.shape:
                kept[i] = torch.maximum(kept[i], seen) if kind == "relu" else kept[i] + seen
                self.outputs[self._call] += out.numel()
        self._call += 1

    def saturated(self) -> list[Tensor | float]:
        """The share of saturated outputs of every sigmoid and tanh, () each; NaN for ReLUs."""
        stuck = iter(self.stuck)
        return [
            float("nan") if kind == "relu" else next(stuck).double() / max(count, 1)
            for kind, count in zip(self.kinds, self.outputs, strict=True)
        ]

    def dead(self) -> list[Tensor | float]:
        """The share of units of every ReLU that are zero on every sample, () each; NaN for the
        others.
        """
        always = iter(self.always)
        return [
            (next(always) <= 0).double().mean() if kind == "relu" else float("nan")
            for kind in self.kinds
        ]

    def names(self) -> list[str]:
        return [f"{i + 1} {kind}" for i, kind in enumerate(self.kinds)]


def _largest(out: Tensor) -> Tensor:
    """The largest output of every unit of a ReLU."""
    # Over samples first: several times faster than all at once.
    seen = out.amax(0) if out.ndim > 1 else out
    if seen.ndim < 2:
        return seen
    return seen.flatten(1).amax(1) if out.ndim > 3 else seen.flatten(0, -2).amax(0)


def _far(kind: str, out: Tensor) -> Tensor:
    """How many outputs of a tanh or sigmoid are near its ends, ()."""
    far = out.abs() > 1 - TAIL if kind == "tanh" else (out - 0.5).abs() > 0.5 - TAIL
    return far.sum()
