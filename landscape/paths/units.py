"""Units of networks: where they lie in tensors, and networks whose units have other places, signs
or scales.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.landscapes.model import ModelLandscape
from landscape.operators.limits import LOSS_ULPS

State = dict[str, Tensor]  # parameters and floating-point buffers by name


class Axis(NamedTuple):
    """An axis of a tensor along which units lie: of shape (before, units, after) when unfolded."""

    name: str
    dim: int
    before: int
    after: int
    block: int = -1  # of the ``before`` blocks the one that is meant; -1: all of them

    @property
    def blocks(self) -> tuple["Axis", ...]:
        """The axis block by block, where it has several."""
        if self.before == 1:
            return (self,)
        return tuple(self._replace(block=b) for b in range(self.before))


@dataclass(frozen=True)
class Junction:
    """Where a family's units are written and read: unit i of each axis is multiplied by c_i to the
    power beside it.
    """

    axes: tuple[tuple[Axis, int], ...]
    signs: bool = False  # f stays the same for c_i = -1 and 1
    scales: bool = False  # f stays the same for c_i > 0


@dataclass(frozen=True)
class Family:
    """Axes whose units change places together."""

    size: int
    axes: tuple[Axis, ...]
    junctions: tuple[Junction, ...] = ()


def state(f: ModelLandscape) -> State:
    """Parameters at f's point and floating-point buffers, by name, float64, on the landscape's
    device.
    """
    tensors = {**f.parameters(), **dict(f.model.named_buffers())}
    return {
        k: t.detach().to(f.device, torch.float64)
        for k, t in tensors.items()
        if t.is_floating_point()
    }


def at(f: ModelLandscape, tensors: Mapping[str, Tensor]) -> tuple[ModelLandscape, Tensor]:
    """f with these buffers in the place of its own, and these parameters as its point."""
    ours = copy.copy(f)
    held = {k for k, _ in f.model.named_buffers()}
    ours.statistics = {k: t.to(f.device, f.dtype) for k, t in tensors.items() if k in held}
    x = torch.cat([tensors[k].reshape(-1).to(f.device, f.dtype) for k in f.layout])
    return ours, x


def permuted(
    tensors: Mapping[str, Tensor], families: Sequence[Family], orders: Sequence[Tensor]
) -> State:
    """The tensors with unit ``order[i]`` of each family in the place of unit i."""
    found = dict(tensors)
    for family, order in zip(families, orders, strict=True):
        for axis in family.axes:
            found[axis.name] = reordered(found[axis.name], axis, order)
    return found


def multiplied(tensors: Mapping[str, Tensor], junction: Junction, factors: Tensor) -> State:
    """The tensors with unit i of a junction ``factors[i]`` (size,) times as large."""
    found = dict(tensors)
    for axis, power in junction.axes:
        parts = _unfolded(found[axis.name], axis, len(factors)).clone()
        c = factors.to(parts).pow(power).view(-1, *[1] * (parts.ndim - 2))
        here = slice(None) if axis.block < 0 else slice(axis.block, axis.block + 1)
        parts[here] *= c
        found[axis.name] = _folded(parts, axis, found[axis.name])
    return found


@dataclass(frozen=True, eq=False)
class Unchanged:
    """Whether f is with other tensors what it is with these, to rounding."""

    f: ModelLandscape
    tensors: State
    value: float
    noise: float

    @classmethod
    def at(cls, f: ModelLandscape, tensors: State) -> "Unchanged":
        """With these tensors. Cost: two passes over the data."""
        ours, x = at(f, tensors)
        value, blank = (float(ours.value(point)) for point in (x, torch.zeros_like(x)))
        # a fit may be so good that f is smaller than the rounding of what it is made of; a model
        # whose parameters are all 0 tells the size of that
        size = max(abs(value), abs(blank) / 10 if math.isfinite(blank) else 0.0)
        return cls(f, tensors, value, 100 * LOSS_ULPS * f.rounding(x) * size)

    def __call__(self, tensors: Mapping[str, Tensor]) -> bool:
        ours, x = at(self.f, tensors)
        return abs(float(ours.value(x)) - self.value) <= self.noise


def reordered(t: Tensor, axis: Axis, order: Tensor) -> Tensor:
    """A tensor with unit ``order[i]`` of an axis in the place of unit i."""
    parts = _unfolded(t, axis, len(order)).clone()
    here = slice(None) if axis.block < 0 else slice(axis.block, axis.block + 1)
    parts[here] = parts[here][:, order.to(t.device)]
    return _folded(parts, axis, t)


def units(t: Tensor, axis: Axis, size: int) -> Tensor:
    """One row a unit (size, ...)."""
    parts = _unfolded(t, axis, size)
    parts = parts if axis.block < 0 else parts[axis.block : axis.block + 1]
    return parts.movedim(1, 0).reshape(size, -1)


def _unfolded(t: Tensor, axis: Axis, size: int) -> Tensor:
    """(before, units, after, ...), the other dimensions behind."""
    moved = t.movedim(axis.dim, 0)
    return moved.reshape(axis.before, size, axis.after, *moved.shape[1:])


def _folded(parts: Tensor, axis: Axis, like: Tensor) -> Tensor:
    moved = like.movedim(axis.dim, 0)
    return parts.reshape(moved.shape).movedim(0, axis.dim)
