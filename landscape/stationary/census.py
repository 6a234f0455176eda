"""From many starts to the set of distinct stationary points, with what is known of its completeness."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from landscape.results import Estimate, Provenance, result, save
from landscape.stationary.classify import StationaryPoint


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
