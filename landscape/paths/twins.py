"""Families of units that no module tells of: recurrent units, gates in one layer, weights that
functions use.

At a point where two units are the same in every tensor that may have them, the gradient is the same
for both wherever their exchange leaves f what it is. Where one of those tensors then tells the two
apart, the gradient does so in the tensors of its family, and in no other.

A family's scales: unit i of axis k is multiplied by c^p_k. f stays the same where sum p_k <g, T>_ki
= 0 for every unit i at every point, with T the entries of the unit on axis k and g their gradient:
the powers p are a null space.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from landscape.landscapes.model import ModelLandscape
from landscape.paths.units import Axis, Family, Junction, State, units
from landscape.rng import generator

AWAY = 0.2  # how far random points are, in units of each tensor's root mean square
BLOCKS = (1, 2, 3, 4)  # gates that one tensor may hold, one after the other
SAME = 1e-9  # a share of the gradient below which two units have the same
POINTS = 4  # that are tried for one where no unit is dead
SPARE = 6  # points beyond the number of axes


def twins(
    f: ModelLandscape, known: Sequence[Family], holds: Callable[[Family], bool], seed: int
) -> list[Family]:
    """The families among axes that no known family has, the largest units' numbers first, as far as
    they hold.

    Cost: up to POINTS gradients a size of axes, and one for each axis on which two units may be
    exchanged.
    """
    found: list[Family] = []
    for size in sorted({n for shape in f.shapes.values() for n in shape if n > 1}, reverse=True):
        axes = _open(f, [*known, *found], size)
        if any(axis.before == 1 for axis in axes) and len(axes) > 1:
            found += filter(holds, _of_size(f, axes, size, seed))
    return found


def _open(f: ModelLandscape, known: Sequence[Family], size: int) -> list[Axis]:
    """The axes of so many units, alone or in blocks, that no known family has."""
    taken = {(axis.name, axis.dim) for family in known for axis in family.axes}
    return [
        Axis(name, dim, blocks, 1)
        for name, shape in f.shapes.items()
        for dim, whole in enumerate(shape)
        for blocks in BLOCKS
        if whole == blocks * size and (name, dim) not in taken
    ]


def _of_size(f: ModelLandscape, axes: Sequence[Axis], size: int, seed: int) -> Iterator[Family]:
    """The families of units that are exchanged together, of one size."""
    here, apart = _equal(f, axes, size, seed)
    free = [axis for axis in axes if apart[axis] is False]
    group = {axis: {axis} for axis in free}
    for axis in free:
        moved = here | {axis.name: _told_apart(here[axis.name], axis, size, AWAY)}
        changed = _apart(f, moved, free, size)
        joined = set[Axis]().union(*(group[k] for k in free if changed[k] or k == axis))
        group.update(dict.fromkeys(joined, joined))
    for together in {id(each): each for each in group.values()}.values():
        if len(together) > 1:
            yield _by_blocks(size, [axis for axis in free if axis in together])


def _by_blocks(size: int, axes: Sequence[Axis]) -> Family:
    """The family of these axes, block by block: gates may differ in their signs and scales."""
    return Family(size, tuple(block for axis in axes for block in axis.blocks))


def _equal(
    f: ModelLandscape, axes: Sequence[Axis], size: int, seed: int
) -> tuple[State, dict[Axis, bool | None]]:
    """A random point where the first two units are the same on every axis, and what the gradient
    tells of them there: the point of a few where it tells most, for units may be dead at others.
    """
    tried = []
    for here in islice(_points(f, seed), POINTS):
        for axis in axes:
            here[axis.name] = _told_apart(here[axis.name], axis, size, 0.0)
        tried.append((here, _apart(f, here, axes, size)))
        if None not in tried[-1][1].values():
            break
    return min(tried, key=lambda pair: list(pair[1].values()).count(None))


def _told_apart(t: Tensor, axis: Axis, size: int, by: float) -> Tensor:
    """A tensor whose first two units are the same; but for a factor 1 + ``by``."""
    rows = t.movedim(axis.dim, 0)
    parts = rows.reshape(axis.before, size, -1).clone()
    mean = parts[:, :2].mean(1)
    parts[:, 0], parts[:, 1] = mean, (1 + by) * mean
    return parts.reshape(rows.shape).movedim(0, axis.dim)


def _apart(
    f: ModelLandscape, here: State, axes: Sequence[Axis], size: int
) -> dict[Axis, bool | None]:
    """Whether the gradient tells the first two units apart; None where it is zero for both."""
    g = _gradient(f, here)
    found: dict[Axis, bool | None] = {}
    for axis in axes:
        first, second = units(g[axis.name], axis, size)[:2]
        scale = max(float(first.norm()), float(second.norm()))
        least = SAME * float(g[axis.name].norm())
        found[axis] = None if scale <= least else float((first - second).norm()) > SAME * scale
    return found


def scalings(f: ModelLandscape, family: Family, seed: int) -> list[Junction]:
    """Powers of a factor that a family's units may take, proposed, not verified: all integers.

    Cost: a gradient an axis, and six.
    """
    axes = [axis for axis in family.axes if axis.name in f.layout]
    few = islice(_points(f, seed), len(axes) + SPARE)
    A = torch.cat([_along(f, here, axes, family.size) for here in few]).cpu()
    _, sizes, V = torch.linalg.svd(A, full_matrices=True)
    rank = int((sizes > SAME * float(sizes.max())).sum())
    rows = _reduced(V[rank:])
    whole = rows[((rows - rows.round()).abs() < 1e-6).all(1)].round().int().tolist()
    powers = [dict(zip(axes, row, strict=True)) for row in whole if {1, -1} <= set(row)]
    return [Junction(tuple((k, p) for k, p in each.items() if p)) for each in powers]


def _along(f: ModelLandscape, here: State, axes: Sequence[Axis], size: int) -> Tensor:
    """How f changes where a unit grows on an axis: (size, axes), in shares of its gradient."""
    g = _gradient(f, here)
    whole = torch.cat([t.reshape(-1) for t in g.values()]).norm()
    pairs = [(units(g[k.name], k, size), units(here[k.name], k, size)) for k in axes]
    columns = torch.stack([(a * b).sum(1) for a, b in pairs], dim=1)
    return torch.div(columns, whole)


def _reduced(rows: Tensor) -> Tensor:
    """Rows in reduced echelon form, a 1 first in each."""
    A, row = rows.clone(), 0
    for column in range(A.shape[1]):
        if row == len(A):
            break
        pivot = row + int(A[row:, column].abs().argmax())
        if float(A[pivot, column].abs()) > 1e-8:
            A[[row, pivot]] = A[[pivot, row]]
            A[row] = A[row] / A[row, column].clone()
            others = torch.arange(len(A), device=A.device) != row
            A[others] -= A[others, column : column + 1] * A[row]
            row += 1
    return A[:row]


def _points(f: ModelLandscape, seed: int) -> Iterator[State]:
    """Random points around f's, tensor by tensor."""
    draws, x = generator(seed), f.point().double()
    sizes = torch.ones_like(x)
    for where in f.layout.values():
        sizes[where] = float(x[where].square().mean().sqrt()) or 1.0
    while True:
        noise = torch.randn(len(x), generator=draws, dtype=torch.float64, device="cpu")
        theta = x + AWAY * sizes * noise.to(x.device)
        yield {name: theta[where].view(f.shapes[name]) for name, where in f.layout.items()}


def _gradient(f: ModelLandscape, here: State) -> State:
    x = torch.cat([here[name].reshape(-1) for name in f.layout])
    g = f.gradient(x)
    return {name: g[where].view(f.shapes[name]) for name, where in f.layout.items()}
