"""What is stored of a search: the point found, what it is about, and where it comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from landscape.points.classify import StationaryPoint
from landscape.results import Provenance, result, save


@result("search-report")
@dataclass(frozen=True, eq=False)
class SearchReport:
    """A point that ``find_stationary`` went to."""

    name: str
    dim: int
    start: str  # in words
    found: StationaryPoint  # a FoundPoint: the verdict, and how the search went
    notes: tuple[str, ...]  # what loading found
    seconds: float
    provenance: Provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)
