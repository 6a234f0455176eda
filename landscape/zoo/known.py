"""Formulas whose stationary points are known: what the entries of the zoo that are not models return."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import FunctionLandscape, Symmetry
from landscape.domains import Domain


@dataclass(frozen=True, eq=False)
class KnownPoint:
    """A stationary point as the source gives it."""

    x: Tensor  # (n,) float64
    value: float
    index: int  # negative eigenvalues of the Hessian
    nullity: int  # zero ones, trivial directions left out
    kind: str  # by the signs of the eigenvalues, as in a verdict


def kind(index: int, nullity: int, dim: int) -> str:
    """The kind of a stationary point by the signs of its eigenvalues, in the words of a verdict."""
    if 0 < index < dim - nullity:
        return "saddle"
    if nullity == dim:
        return "plateau"
    if nullity:
        return "degenerate"
    return "maximum" if index else "minimum"


class KnownLandscape(FunctionLandscape):
    """A formula with its source and, where they are known, all its stationary points or how many there are of each index.

    Args:
        function, dim, domain, name, symmetry: as of FunctionLandscape; float64.
        formula: in one line of plain text.
        source: paper, equation or table.
        points: gives all stationary points, a representative of each family; None: not known.
        counts: the number of nondegenerate ones of each index where only that is known; None: those of ``points``.
        complete: whether ``points`` gives all of them; if not, the source says which are given, and they make no counts.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        dim: int,
        domain: Domain | None = None,
        *,
        name: str,
        formula: str,
        source: str,
        points: Callable[[], Sequence[KnownPoint]] | None = None,
        counts: dict[int, int] | None = None,
        symmetry: Symmetry | None = None,
        complete: bool = True,
    ) -> None:
        super().__init__(function, dim, domain, torch.float64, name, symmetry)
        self.formula, self.source, self.complete = formula, source, complete
        self._points, self._counts = points, counts

    def stationary_points(self) -> list[KnownPoint]:
        """Every stationary point in the domain, a representative of each family; only some where ``complete`` is False.

        Raises:
            ValueError: they are not known.
        """
        if self._points is None:
            raise ValueError(f"the stationary points of {self.name} are not known in closed form; take a census of it.")
        return list(self._points())

    @property
    def counts(self) -> dict[int, int] | None:
        """How many nondegenerate stationary points of each index there are; None where not known."""
        if self._counts is not None or self._points is None or not self.complete:
            return self._counts
        return dict(sorted(Counter(point.index for point in self.stationary_points() if point.nullity == 0).items()))
