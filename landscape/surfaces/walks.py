"""Trajectories on a plane: where their points lie on it, how far off it, and what f is there and
below them.

D: (t, n), the points less the centre; B: (n, k), the directions as columns. A point's place on the
plane is the nearest one: c minimises |D - B c|. Its own value is f at the point, the plane's value
is f at the place.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.landscapes.metrics import Cells
from landscape.linalg.lanczos import eigsh
from landscape.operators.hessian import Hessian
from landscape.results import result


@result("surface-walk")
@dataclass(frozen=True)
class Walk:
    """A trajectory seen from a plane."""

    where: Tensor  # (t, k), coordinates on the plane
    # (t,), the share of each point's distance from the centre that is off the plane; 0 at the
    # centre, NaN without one
    outside: Tensor
    values: Tensor  # (t,), f at the points themselves
    below: Tensor  # (t,), f at their places on the plane
    # the share of the whole trajectory's squared distances from the centre that is outside the
    # plane
    lost: float
    # (t, e), outermost eigenvalues of the Hessian at the points, ascending
    spectra: Tensor | None = None
    bounds: Tensor | None = None  # (t, e), the solver's bound on each of them

    @property
    def gap(self) -> Tensor:
        """How far each point's value is from the plane's below it, (t,)."""
        return self.values - self.below


def with_spectra(
    f: Landscape, walk: Walk, points: Tensor, ends: int, seed: int, progress: Progress = silent
) -> Walk:
    """The walk with ``ends`` eigenvalues of each end of the spectrum at its ``points`` (t, n).
    Cost: an ``eigsh`` a point.
    """
    found = []
    for i, x in enumerate(points):
        progress("spectra", i, len(points))
        found.append(eigsh(Hessian(f, x), largest=ends, smallest=ends, tol=1e-3, seed=seed))
    progress("spectra", len(points), len(points))
    return replace(
        walk,
        spectra=torch.stack([pairs.values for pairs in found]),
        bounds=torch.stack([pairs.bounds for pairs in found]),
    )


def project(
    measure: Cells, size: int, x: Tensor, directions: tuple[Tensor, ...], points: Tensor
) -> Walk:
    """The trajectory ``points`` (t, n) on the plane through x (n,). Cost: two evaluations a
    point.
    """
    B = torch.stack(directions, dim=1)
    D = points - x
    where = D @ torch.linalg.pinv(B).T
    far = torch.linalg.vector_norm(D, dim=1)
    left = torch.linalg.vector_norm(D - where @ B.T, dim=1)
    number = torch.finfo(x.dtype)
    rounding = (
        4 * number.eps * (torch.linalg.vector_norm(x) + torch.linalg.vector_norm(points, dim=1))
    )
    # the centre has no direction
    outside = torch.where(far <= rounding, 0.0, left / far.clamp_min(number.tiny))
    total = far.double().square().sum()
    lost = 0.0 if bool(total == 0) else float(left.double().square().sum() / total)
    values, below = (
        torch.cat([measure(part)["loss"] for part in torch.split(where_from, size)])
        for where_from in (points, x + where @ B.T)
    )
    return Walk(where, outside, values, below, lost)
