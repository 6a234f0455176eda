"""The plane or line that a picture is taken on: its centre and its directions, as used.

x: (n,), the centre; directions: k of them, each (n,), k = 1 for a line or 2 for a plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape
from landscape.landscapes.arithmetic import owned
from landscape.specs import whole
from landscape.surfaces.directions import (
    drawn,
    eigenvectors,
    moments,
    normalised,
    principal_axes,
    require_normalisation,
)

CHOICES = ("random", "eigen", "pca", "moments")
# Those whose directions have unit length always.
UNIT = ("eigen", "pca")

Directions = str | Tensor | tuple[Tensor, ...]
Trajectory = Tensor | Mapping[str, Tensor] | None


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane, or a line, through a point."""

    # (n,) the centre
    x: Tensor
    # u, and of a plane v, each (n,), as used
    directions: tuple[Tensor, ...]
    # how they were chosen: random, eigen, pca, moments or given
    chosen: str
    # how they were normalised: filter, layer, unit or not at all
    normalize: str | None
    # whether biases and the parameters of normalisation layers move
    biases: bool = False

    def points(self, steps: Tensor, where: tuple[Tensor, ...]) -> Tensor:
        """The points (m, n) of the cells at the positions ``where``, one (m,) a direction, of the
        steps (r,).
        """
        points = self.x.expand(len(where[0]), -1)
        for i, d in zip(where, self.directions, strict=True):
            points = points + steps[i, None] * d
        return points

    def equal(self, other: Plane) -> bool:
        """Whether both have the same centre and directions, to the last bit."""
        mine, theirs = (self.x, *self.directions), (other.x, *other.directions)
        same = (torch.equal(p, q.to(p.device)) for p, q in zip(mine, theirs, strict=False))
        return len(mine) == len(theirs) and all(same)


@owned()
def plane(
    f: Landscape,
    x: Tensor | Sequence[float] | None,
    directions: Directions = "random",
    normalize: str | None = "filter",
    *,
    dimensions: int = 2,
    biases: bool = False,
    trajectory: Trajectory = None,
    optimizer: Optimizer | Mapping[str, object] | None = None,
    seed: int = 0,
) -> Plane:
    """The plane or line through x (n,) that ``surface`` takes a picture on.

    Args:
        f: the landscape.
        x: the centre; None: a model's current point.
        directions: "random", Gaussian; "eigen", eigenvectors of the largest and of the smallest
            eigenvalue; "pca", the principal axes of ``trajectory`` about x; "moments", Adam's
            averages of gradients and of their squares in ``optimizer``; or tensors (n,), one for a
            line, two for a plane, which are normalised but not made orthogonal.
        normalize: "filter", "layer" or None for drawn and given directions, see
            ``directions.normalised``; those of "eigen" and "pca" have unit length always, for
            rescaled filters would be no eigenvectors. A formula's get unit length.
        dimensions: 2, or 1 for a line along the first of the directions; directions given as
            tensors say so themselves.
        biases: move biases and the parameters of normalisation layers too, which "filter" and
            "layer" hold otherwise.
        trajectory: points (t, n), or several such trajectories by name, whose principal axes "pca"
            takes.
        optimizer: its averages are the "moments"; its ``state_dict()`` will do.
        seed: of random directions, and of the eigenvectors' start.

    Raises:
        TypeError, ValueError: an argument is out of range, or nothing is left of a direction.

    Cost: nothing but for "eigen", which takes an ``eigsh``.
    """
    require_normalisation(normalize)
    whole(1, 2, dimensions=dimensions)
    x = f.locate(x).clone()
    paths = list(trajectories(x, trajectory).values())
    chosen = directions if isinstance(directions, str) else "given"
    vectors = _chosen(f, x, directions, paths, optimizer, dimensions, seed)
    if chosen in UNIT:
        return Plane(x, vectors, chosen, "unit", biases)
    vectors = tuple(normalised(f, x, d, normalize, biases=biases) for d in vectors)
    formula = normalize is not None and not f.layout
    return Plane(x, vectors, chosen, "unit" if formula else normalize, biases)


def _chosen(
    f: Landscape,
    x: Tensor,
    directions: Directions,
    paths: list[Tensor],
    optimizer: Optimizer | Mapping[str, object] | None,
    dimensions: int,
    seed: int,
) -> tuple[Tensor, ...]:
    """The directions before they are normalised."""
    if directions == "random":
        return drawn(f, x, seed)[:dimensions]
    if directions == "eigen":
        return eigenvectors(f, x, seed)[:dimensions]
    if directions == "pca":
        return principal_axes(x, torch.cat(paths) if paths else None, dimensions)
    if directions == "moments":
        if optimizer is None:
            raise ValueError(
                'directions="moments" needs optimizer=, an optimiser or its state_dict(): pass '
                'ls.surfaces.plane(f, x, "moments", optimizer=...) as the directions.'
            )
        return moments(f, optimizer)[:dimensions]
    return _given(directions)


def _given(directions: Directions) -> tuple[Tensor, ...]:
    choices = ", ".join(CHOICES)
    if isinstance(directions, str):
        raise ValueError(f"directions must be {choices} or tensors, got {directions!r}.")
    if not isinstance(directions, Tensor | tuple | list):
        raise TypeError(
            f"directions must be {choices} or tensors, got {type(directions).__name__}."
        )
    vectors = (directions,) if isinstance(directions, Tensor) else tuple(directions)
    if len(vectors) not in (1, 2):
        raise ValueError(f"a line has one direction and a plane has two, got {len(vectors)}.")
    return vectors


def trajectories(x: Tensor, trajectory: Trajectory) -> dict[str, Tensor]:
    """The trajectories (t, n) by name, in the dtype and on the device of x (n,).

    Raises:
        TypeError, ValueError: one is no tensor of such a shape.
    """
    if trajectory is None:
        return {}
    paths = dict(trajectory) if isinstance(trajectory, Mapping) else {"trajectory": trajectory}
    for name, points in paths.items():
        if not isinstance(points, Tensor):
            raise TypeError(
                f"{name} is a tensor (t, {len(x)}), got {type(points).__name__}: pass "
                f"torch.stack(points)."
            )
        if points.ndim != 2 or points.shape[1] != len(x) or not len(points):
            raise ValueError(f"{name} has shape (t, {len(x)}), got {tuple(points.shape)}.")
    return {name: points.detach().to(x.device, x.dtype) for name, points in paths.items()}
