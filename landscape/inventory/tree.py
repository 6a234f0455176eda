"""The tree of the minima of a census."""

from dataclasses import dataclass

from torch import Tensor

from landscape.results import Result, result


@result("tree-edge")
@dataclass(frozen=True)
class Edge:
    """A saddle of index 1 and the minima below it, as positions in the census; None: its descent
    ended at none of the list.
    """

    saddle: int
    minimum: int | None
    other: int | None


@result("tree-merge")
@dataclass(frozen=True)
class Merge:
    """Two groups of minima joined at the level of a saddle."""

    level: float
    saddle: int
    groups: tuple[list[int], list[int]]


@result("disconnectivity-tree")
@dataclass(frozen=True, eq=False)
class Tree(Result):
    """Minima and the lowest passes between them; all numbers are positions in the points of the
    census.
    """

    minima: list[int]
    values: Tensor  # (len(minima),) their values, float64, on the CPU
    edges: list[Edge]  # one a saddle of index 1, by rising value
    merges: list[Merge]  # by rising level
    # what stays apart at every level: one group if the saddles of the list connect all minima
    groups: list[list[int]]
    lost: int  # sides of saddles from which no minimum of the list was reached
    evaluations: int  # gradients of single points

    @property
    def connected(self) -> bool:
        """Whether every minimum can be reached from every other one over the saddles of the
        list.
        """
        return len(self.groups) <= 1
