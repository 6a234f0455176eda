"""The stationary points of a small network: many searches side by side from points along training
paths.

X: (S, n), one search a row, with its whole Hessian (``batched.py``): Newton's method first, and
from the same start Levenberg-Marquardt on |g|^2 where that does not arrive. Whether the index of a
critical point goes with its loss is a question about such a list (Bray & Dean 2007, PRL 98:150201;
Dauphin et al. 2014, NeurIPS; Pennington & Bahri 2017, ICML); what methods of this kind find is to a
large part gradient-flat (Frye et al. 2021, Neural Computation 33:1469), so those ends are kept as
data, apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.domains import Space
from landscape.linalg.operand import ROUNDING
from landscape.operators.pointwise import derivatives
from landscape.points.many import STATIONARY, End, search
from landscape.points.walk import Outcome
from landscape.progress import watched
from landscape.ranks import ALONE
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import correlation
from landscape.specs import whole

LIMIT = 1_000  # parameters up to which a Hessian a step is affordable
GROUP = 32  # searches whose Hessians are held at once
ENDS = list(End)
FOUND = (
    "points",
    "losses",
    "gradient_norms",
    "iterations",
    "indices",
    "nullities",
    "smallest",
    "largest",
    "distances",
)


@result("network-census")
@dataclass(frozen=True, eq=False)
class NetworkCensus(Result):
    """Where searches from many starts ended, in the order of the starts. All numbers of points are
    float64, on the CPU.
    """

    dim: int
    starts: Tensor  # (S, n)
    points: Tensor  # (S, n) where the searches ended, stationary or not
    runs: Tensor  # (S,) int64, the path that the start lies on
    start_losses: Tensor  # (S,)
    losses: Tensor  # (S,)
    gradient_norms: Tensor  # (S,)
    gradient_scale: float  # the median of |g| over the starts
    tol: float  # an end is stationary where |g| <= tol gradient_scale
    indices: Tensor  # (S,) int64, negative eigenvalues beyond rounding, of all ends
    nullities: Tensor  # (S,) int64, eigenvalues within rounding of zero
    smallest: Tensor  # (S,) smallest eigenvalue
    largest: Tensor  # (S,) largest eigenvalue
    outcomes: list[Outcome]
    # (S,) int64, how each search came to its end: its place among the members of ``batched.End``
    ends: Tensor
    iterations: Tensor  # (S,) int64
    distances: Tensor  # (S,) from the start
    # Pearson's, of loss and index fraction over the stationary ends; see ``critical_points``
    correlation: Estimate
    hessians: int  # Hessians formed, n products each
    seconds: float
    seed: int

    @property
    def stationary(self) -> Tensor:
        """Which ends are stationary, (S,) bool."""
        return torch.tensor(
            [outcome is Outcome.STATIONARY for outcome in self.outcomes], device="cpu"
        )

    @property
    def flat(self) -> Tensor:
        """Which ends are minima of the gradient norm and not stationary, (S,) bool."""
        return torch.tensor(
            [outcome is Outcome.GRADIENT_FLAT for outcome in self.outcomes], device="cpu"
        )

    @property
    def fractions(self) -> Tensor:
        """The index of each end as a share of the n directions, (S,)."""
        return self.indices.double() / self.dim

    @property
    def counts(self) -> dict[str, int]:
        """How many searches ended each way."""
        names = [outcome.name.lower() for outcome in self.outcomes]
        return {name: names.count(name) for name in sorted(set(names))}

    @property
    def distinct(self) -> int:
        """How many stationary ends differ in loss, index or outer eigenvalues: points that
        symmetries relate are one.
        """
        keep = self.stationary
        rows = torch.stack([self.losses, self.smallest, self.largest], dim=1)[keep]
        keys = {
            (int(index), *(f"{float(v):.5e}" for v in row))
            for index, row in zip(self.indices[keep], rows, strict=True)
        }
        return len(keys)


@owned()
@watched
def critical_points(
    f: Landscape,
    starts: Tensor | Sequence[Tensor],
    *,
    tol: float = 1e-6,
    iterations: int = 40,
    seed: int = 0,
    known: NetworkCensus | None = None,
    keep: Callable[[NetworkCensus], None] | None = None,
    progress: Progress = silent,
) -> NetworkCensus:
    """Search for a stationary point from every start.

    Args:
        f: a small network in float64, or a formula on all of R^n; n at most 1,000. It is left as it
            is.
        starts: (S, n), or paths (s_i, n) each, as ``training_paths`` gives them: starts of one path
            are not independent.
        tol: an end counts as stationary where |g| is at most ``tol`` times the median of |g| over
            the starts. Searches go on to rounding, so that most ends are far below.
        iterations: most steps of a search by each of the two methods.
        seed: of the starts, kept with the result; searches draw nothing at random.
        known: what ``keep`` was given by an unfinished call with the same starts: its searches are
            not repeated.
        keep: called with the census of the starts done so far, after every group of them.
        progress: called with the searches done.

    Returns:
        All ends with their outcomes. The error of the correlation is a jackknife's over paths, or
        over starts where they are of one path, and its interval Student's on the scale of artanh;
        it is NaN in [-1, 1] with fewer than three paths or no spread among the stationary ends.

    Raises:
        ValueError: an argument is out of range.
        NumericalError: the gradient at a start is not finite.

    Cost: a Hessian an accepted step, some tens a start.
    """
    begun = time.perf_counter()
    f, ranks = f.over(ALONE), f.ranks
    paths = [starts] if isinstance(starts, Tensor) else list(starts)
    _check(f, paths, tol, iterations)
    X = torch.cat([p.detach() for p in paths]).to(f.device, f.dtype)
    norms, start_losses = f.gradient(X).norm(dim=1), f.value(X).detach().cpu()
    require_finite(norms, "the gradient at a start")
    scale, labels = float(norms.median()), _labels(starts)
    parts = [] if known is None else [_known(known, X, tol)]
    done = sum(len(part["points"]) for part in parts)

    def so_far() -> NetworkCensus:
        before = 0.0 if known is None else known.seconds
        census = _census(f, X[:done], labels[:done], parts, scale, tol, seed)
        seconds = before + time.perf_counter() - begun
        return replace(census, start_losses=start_losses[:done], seconds=seconds)

    while done < len(X):
        groups = torch.split(X[done:], GROUP)[: ranks.count]
        found = ranks.deal([partial(_ends, f, group, iterations) for group in groups])
        parts += found
        done += sum(map(len, groups))
        progress("searches", done, len(X))
        if keep is not None and done < len(X):
            keep(so_far())
    return so_far()


def _labels(starts: Tensor | Sequence[Tensor]) -> Tensor:
    """The path that every start lies on (S,); starts of no path are one each."""
    if isinstance(starts, Tensor):
        return torch.arange(len(starts), device="cpu")
    return torch.cat([torch.full((len(path),), i, device="cpu") for i, path in enumerate(starts)])


def _known(known: NetworkCensus, X: Tensor, tol: float) -> dict[str, Tensor]:
    """What a census of the first starts has found, as ``_ends`` gives it."""
    m = len(known.starts)
    if known.tol != tol or m > len(X) or not torch.equal(known.starts, X[:m].cpu()):
        raise ValueError(
            f"the census to go on from, of {known.name}, has other starts or another tol: take a "
            f"new one."
        )
    return {key: getattr(known, key) for key in FOUND} | {"ends": known.ends}


def _census(
    f: Landscape,
    X: Tensor,
    runs: Tensor,
    parts: list[dict[str, Tensor]],
    scale: float,
    tol: float,
    seed: int,
) -> NetworkCensus:
    """The census of the starts X (m, n) that are done; their losses and the seconds are for the
    caller to fill in.
    """
    found = {key: torch.cat([each[key].cpu() for each in parts]) for key in parts[0]}
    outcomes = [
        _outcome(ENDS[i], g <= tol * scale)
        for i, g in zip(found["ends"].tolist(), found["gradient_norms"].tolist(), strict=True)
    ]
    stationary = np.array([o is Outcome.STATIONARY for o in outcomes])
    return NetworkCensus(
        dim=f.dim,
        starts=X.cpu(),
        runs=runs,
        start_losses=torch.zeros(0, device="cpu", dtype=torch.float32),
        gradient_scale=scale,
        tol=tol,
        outcomes=outcomes,
        hessians=int(found["iterations"].sum()) + len(X),
        **found,
        correlation=correlation(
            found["losses"].numpy()[stationary],
            found["indices"].numpy()[stationary] / f.dim,
            runs.numpy()[stationary],
        ),
        seconds=0.0,
        seed=seed,
        provenance=provenance(f, X[0], seed),
    )


def _ends(f: Landscape, X: Tensor, iterations: int) -> dict[str, Tensor]:
    """Where the searches from X end, and the curvature there."""
    points, ends, taken = search(f, X, "newton", steps=iterations)
    again = ends != STATIONARY
    if bool(again.any()):
        second = search(f, X[again], "minimise", steps=iterations)
        points[again], ends[again] = second.points, second.ends
        taken[again] += second.taken
    g, H = derivatives(f, points)
    w = torch.linalg.eigvalsh(H)
    scale = w.abs().amax(1, keepdim=True)
    error = (ROUNDING * torch.finfo(X.dtype).eps + 4 * X.shape[1] ** 0.5 * 2.3e-16) * scale
    return {
        "points": points,
        "losses": f.value(points).detach(),
        "gradient_norms": g.norm(dim=1),
        "ends": ends,
        "iterations": taken,
        "indices": (w < -error).sum(1),
        "nullities": (w.abs() <= error).sum(1),
        "smallest": w[:, 0],
        "largest": w[:, -1],
        "distances": (points - X).norm(dim=1),
    }


def _outcome(end: End, small: bool) -> Outcome:
    """What an end is called here: stationary goes by the gradient alone."""
    if small:
        return Outcome.STATIONARY
    known = {
        End.FLAT: Outcome.GRADIENT_FLAT,
        End.UNFINISHED: Outcome.BUDGET,
        End.STATIONARY: Outcome.STALLED,
    }
    return known.get(end, Outcome.DIVERGED)


def _check(f: Landscape, paths: list[Tensor], tol: float, iterations: int) -> None:
    if not paths or any(p.ndim != 2 or p.shape[1] != f.dim or not len(p) for p in paths):
        raise ValueError(
            f"starts must have shape (S, {f.dim}), or be paths of that shape, with at least one "
            f"start each."
        )
    if f.dtype != torch.float64:
        raise ValueError(
            f"{f.name} is in {f.dtype}: a census of its points needs float64. Pass "
            f"dtype=torch.float64."
        )
    if not isinstance(f.domain, Space):
        raise ValueError(
            "critical_points is for networks and formulas on all of R^n; take a census of one with "
            "a domain."
        )
    if f.dim > LIMIT:
        raise ValueError(
            f"critical_points forms Hessians of up to {LIMIT:,} parameters, got {f.dim:,}: use "
            f"find_stationary."
        )
    if not 0 < tol < 1:
        raise ValueError(f"tol must be above 0 and below 1, got {tol}.")
    whole(1, iterations=iterations)
