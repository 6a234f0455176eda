"""What is stored of a search and of a path: the result itself, what it is about, and where it comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.results import Provenance, result, save
from landscape.stationary.classify import StationaryPoint


@result
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


@result
@dataclass(frozen=True, eq=False)
class PathReport:
    """A path of least energy between two points."""

    name: str
    dim: int
    ends: tuple[str, str]  # in words
    path: Any  # an EnergyPath
    notes: tuple[str, ...]  # what loading found
    seconds: float
    provenance: Provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)
