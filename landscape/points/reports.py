"""What is stored of a search: the point found, what it is about, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from landscape.points.classify import StationaryPoint
from landscape.results import Result, result


@result("search-report")
@dataclass(frozen=True, eq=False)
class SearchReport(Result):
    """A point that ``find_stationary`` went to."""

    dim: int
    start: str  # in words
    found: StationaryPoint  # a FoundPoint: the verdict, and how the search went
    seconds: float
