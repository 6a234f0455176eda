"""Formulas whose stationary points are known: what the entries of the zoo that are not models
return.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import Domain, Symmetry
from landscape.landscapes.arithmetic import unset
from landscape.landscapes.formula import FunctionLandscape
from landscape.landscapes.kinds import kind

LISTED = 100_000  # most points that are worth a list


@dataclass(frozen=True, eq=False)
class KnownPoint:
    """A stationary point as the source gives it."""

    x: Tensor  # (n,) float64
    value: float
    index: int  # negative eigenvalues of the Hessian
    nullity: int  # zero ones, trivial directions left out
    kind: str  # by the signs of the eigenvalues, as in a verdict


class KnownLandscape(FunctionLandscape):
    """A formula with its source and, where they are known, all its stationary points or how many
    there are of each index.

    Args:
        function, dim, domain, name, symmetry: as of FunctionLandscape; float64.
        formula: in one line of plain text.
        source: paper, equation or table.
        points: gives all stationary points, a representative of each family; None: not known.
        counts: the number of nondegenerate ones of each index where only that is known; None: those
            of ``points``.
        complete: whether ``points``, or ``counts``, are all there are; if not, the source says
            which are given.
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
        complete: bool = True,
        symmetry: Symmetry | None = None,
    ) -> None:
        super().__init__(function, dim, domain, torch.float64, name, symmetry)
        self.formula, self.source, self.complete = formula, source, complete
        self._points, self._counts = points, counts

    def stationary_points(self) -> list[KnownPoint]:
        """Every stationary point in the domain, a representative of each family; only some where
        ``complete`` is False.

        Raises:
            ValueError: they are not known, or more than can be listed.
        """
        if self._points is None:
            raise ValueError(
                f"the stationary points of {self.name} are not known; take a census of it."
            )
        with unset():
            return list(self._points())

    @property
    def counts(self) -> dict[int, int] | None:
        """How many nondegenerate stationary points of each index there are; None where not
        known.
        """
        if self._counts is not None or self._points is None or not self.complete:
            return self._counts
        return dict(
            sorted(
                Counter(
                    point.index for point in self.stationary_points() if point.nullity == 0
                ).items()
            )
        )


def known_point(x: Tensor, value: float, eigenvalues: Tensor, zero: float = 0.0) -> KnownPoint:
    """A point with the index, nullity and kind of its eigenvalues (m,), those up to ``zero`` in
    size being zero.
    """
    index, nullity = int((eigenvalues < -zero).sum()), int((eigenvalues.abs() <= zero).sum())
    return KnownPoint(
        x, value, index, nullity, kind(index, nullity, len(eigenvalues) - index - nullity)
    )


def refined(
    function: Callable[[Tensor], Tensor],
    starts: Sequence[Sequence[float]],
    directions: Callable[[Tensor], Tensor] | None = None,
) -> list[KnownPoint]:
    """The nondegenerate stationary points near approximate ones, to rounding, by Newton's method
    off the ``directions``.
    """
    slope, curvature = torch.func.grad(function), torch.func.hessian(function)
    points = []
    for start in starts:
        x = torch.tensor(start, dtype=torch.float64, device="cpu")
        for _ in range(30):
            B = _complement(x, directions)
            step = B @ torch.linalg.solve(B.T @ curvature(x) @ B, B.T @ slope(x))
            x = x - step
            if float(step.norm()) <= 4 * torch.finfo(x.dtype).eps * float(x.norm()):
                break
        B = _complement(x, directions)
        points.append(
            known_point(x, float(function(x)), torch.linalg.eigvalsh(B.T @ curvature(x) @ B))
        )
    return points


def _complement(x: Tensor, directions: Callable[[Tensor], Tensor] | None) -> Tensor:
    """An orthonormal basis (n, m) of what is orthogonal to the directions at x."""
    if directions is None:
        return torch.eye(len(x), dtype=x.dtype, device=x.device)
    V = directions(x)
    U: Tensor = torch.linalg.svd(V, full_matrices=True).U
    return U[:, V.shape[1] :]


def listable(count: int, name: str) -> None:
    """Raise a ValueError if ``count`` points are too many to list."""
    if count > LISTED:
        raise ValueError(
            f"{name} has {count:,} stationary points, more than the {LISTED:,} that are listed; "
            f"see counts."
        )
