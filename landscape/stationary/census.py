"""From many starts to the set of distinct stationary points, with what is known of its completeness."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from landscape.core import FunctionLandscape
from landscape.domains import Sphere, Torus
from landscape.results import Estimate, Provenance, result, save
from landscape.stationary.classify import StationaryPoint
from landscape.stationary.disconnectivity import Tree


@result
@dataclass(frozen=True, eq=False)
class Picture:
    """f on a grid, as it was computed: values may be NaN or infinite."""

    xs: Tensor  # (r,) first coordinates, float64, on the CPU
    ys: Tensor  # (r,) second coordinates; (0,) where n = 1
    values: Tensor  # (r, r), values[i, j] = f(xs[i], ys[j]); (r,) where n = 1


@result
@dataclass(frozen=True, eq=False)
class Census:
    """The distinct stationary points that were found and how complete the list is."""

    name: str
    dim: int
    points: list[StationaryPoint]  # ascending by value; a continuous family is one point, a representative
    families: list[int]  # positions in points of those that stand for a continuous family
    starts: int  # how many searches were made
    failures: dict[str, int]  # reason -> how many searches ended so
    euler: int | None  # sum of (-1)^index over the nondegenerate points
    euler_expected: int | None  # what the domain demands; None where it is not known
    euler_reason: str  # where euler_expected comes from
    unseen: Estimate  # points not yet found, by Chao1
    tolerance: float  # points nearer than this, in units of the domain's size, are one
    reasons: list[str]  # what the list's completeness rests on, in words
    seed: int
    low: list[float] = field(
        default_factory=list
    )  # what a picture of the domain shows, per coordinate; empty: all of R^n
    high: list[float] = field(default_factory=list)
    provenance: Provenance | None = None
    picture: Picture | None = None  # values for a figure, by ``picture``; n = 1 and 2 only
    tree: Tree | None = None  # which minima are joined at which level, by ``disconnectivity``

    @property
    def counts(self) -> dict[int, int]:
        """How many nondegenerate points of each index."""
        indices = [p.index for p in self.points if p.nullity == 0 and p.index is not None]
        return {k: indices.count(k) for k in sorted(set(indices))}

    @property
    def degenerate(self) -> int:
        """How many points, families among them, have a zero eigenvalue and stand in no count."""
        return sum(p.nullity != 0 for p in self.points)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)


def picture(f: FunctionLandscape, census: Census, resolution: int = 161) -> Picture:
    """f on a grid over the frame of a census, for a figure: ``dataclasses.replace(census, picture=picture(f, census))``.

    The frame is ``low`` to ``high`` of the census, a torus's period, or else what holds all points and a quarter more on each side.

    Args:
        f: the landscape of the census, n = 1 or 2.
        census: whose points and frame are shown.
        resolution: grid points a side, at least 2.

    Raises:
        ValueError: n is not 1 or 2, f lives on a sphere, or the resolution is less than 2.

    Cost: resolution ** n values, in one batch.
    """
    if f.dim not in (1, 2) or isinstance(f.domain, Sphere):
        raise ValueError(
            f"a picture needs a landscape of a line or a plane; {f.name} has dimension {f.dim} or lives on a sphere."
        )
    if resolution < 2:
        raise ValueError(f"resolution must be at least 2, got {resolution}.")
    low, high = _frame(f, census)
    axes = [torch.linspace(a, b, resolution, dtype=torch.float64, device="cpu") for a, b in zip(low, high, strict=True)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    with torch.no_grad():
        values = f.value(grid)
    return Picture(axes[0], axes[1] if f.dim == 2 else torch.empty(0, dtype=torch.float64, device="cpu"), values)


def _frame(f: FunctionLandscape, census: Census) -> tuple[list[float], list[float]]:
    """The lowest and the highest coordinates to be shown."""
    if census.low and census.high:
        return list(census.low), list(census.high)
    if isinstance(f.domain, Torus):
        return [0.0] * f.dim, f.domain.size(f.dim).tolist()
    X = (
        torch.stack([p.x for p in census.points]).double().cpu()
        if census.points
        else torch.zeros(1, f.dim, device="cpu")
    )
    low, high = X.min(0).values, X.max(0).values
    margin = 0.25 * torch.where(high > low, high - low, (high - low).max().clamp_min(4.0))
    return (low - margin).tolist(), (high + margin).tolist()
