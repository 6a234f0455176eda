"""The stationary points of a small network: many searches side by side from points along training paths.

X: (S, n), one search a row. Each row minimises |g|^2 by Levenberg-Marquardt steps in a ball, in the eigenvectors of its whole Hessian,
as ``find_stationary`` does for one point. Whether the index of a critical point goes with its loss is a question about
such a list (Bray & Dean 2007, PRL 98:150201; Dauphin et al. 2014, NeurIPS; Pennington & Bahri 2017, ICML); what methods of this kind
find is to a large part gradient-flat (Frye et al. 2021, Neural Computation 33:1469), so those ends are kept as data, apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from landscape.analysis import provenance
from landscape.core import Landscape, Progress, require_finite, silent
from landscape.linalg.operators import ROUNDING
from landscape.model import ModelLandscape
from landscape.results import Estimate, Provenance, result, save
from landscape.stationary.classify import GRADIENT_ULPS
from landscape.stationary.walk import FAR, FLAT, LEAST, PATIENCE, Outcome

LIMIT = 1_000  # parameters up to which a Hessian a step is affordable
GROUP = 32  # searches whose Hessians are held at once
CHUNK = 160  # columns of a Hessian computed at once
RESAMPLES = 2_000  # of the bootstrap


@result
@dataclass(frozen=True, eq=False)
class NetworkCensus:
    """Where searches from many starts ended, in the order of the starts. All numbers of points are float64, on the CPU."""

    name: str
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
    iterations: Tensor  # (S,) int64
    distances: Tensor  # (S,) from the start
    correlation: Estimate  # Pearson's, of loss and index fraction over the stationary ends; see ``critical_points``
    hessians: int  # Hessians formed, n products each
    seconds: float
    seed: int
    provenance: Provenance

    @property
    def stationary(self) -> Tensor:
        """Which ends are stationary, (S,) bool."""
        return torch.tensor([outcome is Outcome.STATIONARY for outcome in self.outcomes], device="cpu")

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
        """How many stationary ends differ in loss, index or outer eigenvalues: points that symmetries relate are one."""
        keep = self.stationary
        rows = torch.stack([self.losses, self.smallest, self.largest], dim=1)[keep]
        keys = {
            (int(index), *(f"{float(v):.5e}" for v in row)) for index, row in zip(self.indices[keep], rows, strict=True)
        }
        return len(keys)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``; ``landscape.load`` reads it back."""
        return save(self, folder)


def critical_points(
    f: Landscape,
    starts: Tensor | Sequence[Tensor],
    *,
    tol: float = 1e-6,
    iterations: int = 200,
    seed: int = 0,
    progress: Progress = silent,
) -> NetworkCensus:
    """Search for a stationary point from every start.

    Args:
        f: a small network, or a formula on all of R^n; n at most 1,000. It is left as it is.
        starts: (S, n), or paths (s_i, n) each, as ``training_paths`` gives them: starts of one path are not independent.
        tol: an end counts as stationary where |g| is at most ``tol`` times the median of |g| over the starts. Searches go on to
            rounding, so that most ends are far below.
        iterations: most steps of a search, rejected ones among them.
        seed: of the bootstrap.
        progress: called with the searches done.

    Returns:
        All ends with their outcomes. The error of the correlation is a bootstrap's over paths, or over starts where there are fewer than
        five paths, and its interval the bootstrap's 95 %; NaN with fewer than three stationary ends or no spread among them.

    Raises:
        ValueError: an argument is out of range. NumericalError: the gradient at a start is not finite.

    Cost: a Hessian an accepted step, some tens a start.
    """
    begun = time.perf_counter()
    paths = [starts] if isinstance(starts, Tensor) else list(starts)
    _check(f, paths, tol, iterations)
    X = torch.cat([p.detach() for p in paths]).to(f.device, f.dtype)
    with f.evaluation(), torch.enable_grad():
        rows = _Rows(f)
        norms = torch.cat([rows.gradient(part).double().norm(dim=1) for part in torch.split(X, GROUP)])
        require_finite(norms, "the gradient at a start")
        scale = float(norms.median())
        ends: list[dict[str, Tensor]] = []
        for part in torch.split(X, GROUP):
            ends.append(_search(rows, part, iterations))
            progress("searches", sum(len(end["iterations"]) for end in ends), len(X))
        found = {key: torch.cat([end[key] for end in ends]).cpu() for key in ends[0]}
        start_losses = rows.value(X).double().cpu()
    outcomes = [_ORDER[i] for i in found.pop("outcome").tolist()]
    outcomes = [
        Outcome.STATIONARY if g <= tol * scale else (Outcome.STALLED if o is Outcome.STATIONARY else o)
        for o, g in zip(outcomes, found["gradient_norms"].tolist(), strict=True)
    ]
    labels = paths if not isinstance(starts, Tensor) else X[:, None]
    runs = torch.cat([torch.full((len(p),), i, device="cpu") for i, p in enumerate(labels)])
    stationary = np.array([o is Outcome.STATIONARY for o in outcomes])
    return NetworkCensus(
        name=str(getattr(f, "name", type(f).__name__)), dim=f.dim, starts=X.cpu(), runs=runs, start_losses=start_losses,
        gradient_scale=scale, tol=tol, outcomes=outcomes, hessians=rows.hessians, **found,
        correlation=_correlation(
            found["losses"].numpy()[stationary], found["indices"].numpy()[stationary] / f.dim, runs.numpy()[stationary], seed
        ),
        seconds=time.perf_counter() - begun, seed=seed, provenance=provenance(f, X[0], None, seed, {}),
    )  # fmt: skip


def training_paths(
    f: ModelLandscape,
    *,
    runs: int = 8,
    points: int = 25,
    steps: int = 1_000,
    optimizers: Sequence[str] = ("sgd", "adam"),
    gains: Sequence[float] = (1.0, 3.0),
    seed: int = 0,
) -> list[Tensor]:
    """Points along training from several initialisations, a path (points or fewer, n) a run; the model is left as it is.

    Args:
        f: a small network; where it has several micro-batches a step sees one, drawn at random, else all of the data.
        runs: number of paths; the optimisers take turns, and the gains after them.
        points: to keep of each, from the start to the end, spaced evenly in log(step).
        steps: of the optimiser.
        optimizers: "sgd" (momentum 0.9, rate 0.1) or "adam" (rate 0.01).
        gains: initial weights are uniform within gain / sqrt(fan in), biases 0: larger ones start at a higher loss.
        seed: of weights and batches.

    Raises:
        ValueError: an argument is out of range.

    Cost: ``steps`` gradients a run, all runs side by side.
    """
    if min(runs, points, steps) < 1:
        raise ValueError(f"runs, points and steps must be at least 1, got {runs}, {points} and {steps}.")
    for name in optimizers:
        if name not in ("sgd", "adam"):
            raise ValueError(f"optimizers must be sgd or adam, got {name!r}.")
    if not optimizers or not gains:
        raise ValueError("optimizers and gains must name at least one each.")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    spread = [gains[i // len(optimizers) % len(gains)] for i in range(runs)]
    X = torch.stack([_initial(f, gain, generator) for gain in spread])
    kept = sorted({round(s) - 1 for s in np.geomspace(1, steps + 1, points)})
    paths: list[Tensor] = [X.new_empty(0)] * runs
    with f.evaluation(), torch.enable_grad():
        rows = _Rows(f)
        for i, name in enumerate(optimizers[:runs]):
            own = list(range(i, runs, len(optimizers)))
            for run, path in zip(own, _train(rows, X[own], name, kept, generator), strict=True):
                paths[run] = path
    return paths


class _Rows:
    """The landscape's values, gradients and Hessians at the rows of X. Use inside ``f.evaluation()``."""

    def __init__(self, f: Landscape) -> None:
        self.terms = list(f.terms())
        self.hessians = 0
        self._gradient = vmap(grad(self._whole), randomness="same")
        self._hessian = jacrev(grad(self._whole), chunk_size=CHUNK)

    def _whole(self, x: Tensor) -> Tensor:
        return torch.stack([term.function(x) for term in self.terms]).sum()

    def value(self, X: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([self._whole(x) for x in X])

    def gradient(self, X: Tensor) -> Tensor:
        g: Tensor = self._gradient(X)
        return g.detach()

    def hessian(self, X: Tensor) -> Tensor:
        self.hessians += len(X)
        return torch.stack([self._hessian(x).detach() for x in X])

    def partial(self, number: int) -> Callable[[Tensor], Tensor]:
        """The gradient of the rows from one micro-batch and the regularisers alone, in the units of the whole."""
        data = [term for term in self.terms if term.share]
        rest = [term for term in self.terms if not term.share]
        if not data:
            return self.gradient
        chosen = data[number % len(data)]

        def value(x: Tensor) -> Tensor:
            return torch.stack([chosen.function(x) / chosen.share, *(term.function(x) for term in rest)]).sum()

        return vmap(grad(value), randomness="same")


_ORDER = list(Outcome)


@dataclass
class _Spectra:
    """Hessians of rows in their eigenvectors, float64."""

    w: Tensor  # (r, n) ascending
    V: Tensor  # (r, n, n)
    c: Tensor  # (r, n) the gradient along them
    error: Tensor  # (r,) up to here an eigenvalue may be rounding


def _spectra(rows: _Rows, X: Tensor, G: Tensor) -> _Spectra:
    H = rows.hessian(X)
    require_finite(H, "the Hessian at a point of a search")
    skew = (H - H.mT).double().norm(dim=(1, 2))
    w, V = torch.linalg.eigh(0.5 * (H + H.mT).double())
    scale = w.abs().amax(1)
    error = (ROUNDING * torch.finfo(X.dtype).eps + 4 * X.shape[1] ** 0.5 * 2.3e-16) * scale + skew
    return _Spectra(w, V, (V.mT @ G.double()[:, :, None])[:, :, 0], error)


def _search(rows: _Rows, X: Tensor, iterations: int) -> dict[str, Tensor]:
    """All rows at once; a row that is over costs no further Hessian."""
    start, eps = X, torch.finfo(X.dtype).eps
    G = rows.gradient(X)
    norms = G.double().norm(dim=1)
    spectra = _spectra(rows, X, G)
    radius = 0.5 * X.double().norm(dim=1).clamp_min(1.0)
    largest = torch.zeros_like(norms)
    history = [norms]
    outcome = torch.full((len(X),), -1, device=X.device)
    taken = torch.zeros_like(outcome)
    for _ in range(iterations):
        scale = spectra.w.abs().amax(1)
        largest = torch.maximum(largest, scale)
        sizes = X.double().norm(dim=1)
        steep = (spectra.w * spectra.c).norm(dim=1)
        slow = torch.zeros_like(outcome, dtype=torch.bool)
        if len(history) > PATIENCE:
            slow = norms > (1 - LEAST) * history[-PATIENCE - 1]
        slow = slow | (radius <= eps * sizes)
        flat = steep <= FLAT * largest * norms
        lost = (X - start).double().norm(dim=1) > FAR * start.double().norm(dim=1).clamp_min(1.0)
        for over, what in (
            (norms <= GRADIENT_ULPS * eps * scale * sizes, Outcome.STATIONARY),
            (lost, Outcome.DIVERGED), (slow & flat, Outcome.GRADIENT_FLAT), (slow, Outcome.STALLED),
        ):  # fmt: skip
            outcome = torch.where((outcome < 0) & over, _ORDER.index(what), outcome)
        (active,) = torch.where(outcome < 0)
        if not len(active):
            break
        taken[active] += 1
        a = _damped(spectra.w[active], spectra.c[active], spectra.error[active], radius[active])
        trial = X[active] + (spectra.V[active] @ a[:, :, None])[:, :, 0].to(X.dtype)
        g = rows.gradient(trial)
        new, old, length = g.double().norm(dim=1), norms[active], a.norm(dim=1)
        foretold = old**2 - (spectra.c[active] + spectra.w[active] * a).square().sum(1)
        agreed = torch.where(torch.isfinite(new) & (foretold > 0), (old**2 - new**2) / foretold, -1.0)
        wider = torch.maximum(radius[active], torch.minimum(3 * length, 2 * radius[active]))
        radius[active] = torch.where(agreed > 0.75, wider, torch.where(agreed > 0.25, radius[active], 0.3 * length))
        good = agreed > 1e-3
        moved = active[good]
        X, G, norms = (t.index_put((moved,), v[good]) for t, v in ((X, trial), (G, g), (norms, new)))
        if len(moved):
            fresh = _spectra(rows, X[moved], G[moved])
            for field in ("w", "V", "c", "error"):
                getattr(spectra, field)[moved] = getattr(fresh, field)
        history.append(norms)
    outcome = torch.where(outcome < 0, _ORDER.index(Outcome.BUDGET), outcome)
    error = spectra.error[:, None]
    return {
        "points": X, "losses": rows.value(X).double(), "gradient_norms": norms, "outcome": outcome, "iterations": taken,
        "indices": (spectra.w < -error).sum(1), "nullities": (spectra.w.abs() <= error).sum(1),
        "smallest": spectra.w[:, 0], "largest": spectra.w[:, -1], "distances": (X - start).double().norm(dim=1),
    }  # fmt: skip


def _damped(w: Tensor, c: Tensor, error: Tensor, radius: Tensor) -> Tensor:
    """The steps -w c / (w^2 + mu), (r, n), with the least mu that keeps each within its radius."""
    w = torch.where(w.abs() > error[:, None], w, 0.0)
    product = -w * c

    def step(mu: Tensor) -> Tensor:
        below = w.square() + mu[:, None]
        return torch.where(below > 0, product / below.clamp_min(torch.finfo(w.dtype).tiny), 0.0)

    high = product.norm(dim=1) / radius
    low = 1e-20 * high
    inside = step(torch.zeros_like(high)).norm(dim=1) <= radius
    for _ in range(50):
        mu = (low * high).sqrt()
        long = step(mu).norm(dim=1) > radius
        low, high = torch.where(long, mu, low), torch.where(long, high, mu)
    return step(torch.where(inside, 0.0, high))


def _correlation(losses: np.ndarray, fractions: np.ndarray, runs: np.ndarray, seed: int) -> Estimate:
    """Pearson's, with the standard error and the interval of a bootstrap over runs, or over points where runs are few."""

    def pearson(rows: np.ndarray) -> float:
        x, y = losses[rows], fractions[rows]
        if len(rows) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return float("nan")
        return float(np.corrcoef(x, y)[0, 1])

    value = pearson(np.arange(len(losses)))
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(runs == run) for run in np.unique(runs)]
    if len(groups) < 5:
        groups = [np.array([i]) for i in range(len(losses))]
    if not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"), float("nan"))
    drawn = (
        np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))]) for _ in range(RESAMPLES)
    )
    sample = np.array([pearson(rows) for rows in drawn])
    sample = sample[np.isfinite(sample)]
    low, high = (float(q) for q in np.quantile(sample, [0.025, 0.975]))
    return Estimate(value, float(sample.std(ddof=1)), low, high)


def _initial(f: ModelLandscape, gain: float, generator: torch.Generator) -> Tensor:
    shapes = {name: p.shape for name, p in f.model.named_parameters()}
    x = torch.zeros(f.dim, dtype=torch.float64, device="cpu")
    for name, where in f.layout.items():
        if len(shapes[name]) > 1:
            bound = gain * shapes[name][1:].numel() ** -0.5
            x[where] = bound * (
                2 * torch.rand(where.stop - where.start, generator=generator, dtype=torch.float64, device="cpu") - 1
            )
    return x.to(f.device, f.dtype)


def _train(rows: _Rows, X: Tensor, name: str, kept: list[int], generator: torch.Generator) -> Tensor:
    """The kept points (runs, points, n) of runs trained side by side: both optimisers work entry by entry."""
    w = X.clone().requires_grad_(True)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD([w], lr=0.1, momentum=0.9) if name == "sgd" else torch.optim.Adam([w], lr=0.01)
    )
    batches = [rows.partial(i) for i in range(max(1, sum(term.share > 0 for term in rows.terms)))]
    points = [X]
    for step in range(1, kept[-1] + 1):
        chosen = batches[int(torch.randint(len(batches), (1,), generator=generator, device="cpu"))]
        w.grad = chosen(w.detach()).detach()
        optimizer.step()
        if step in kept:
            points.append(w.detach().clone())
    return torch.stack(points, dim=1)


def _check(f: Landscape, paths: list[Tensor], tol: float, iterations: int) -> None:
    if not paths or any(p.ndim != 2 or p.shape[1] != f.dim or not len(p) for p in paths):
        raise ValueError(
            f"starts must have shape (S, {f.dim}), or be paths of that shape, with at least one start each."
        )
    if getattr(f, "domain", None) is not None:
        raise ValueError(
            "critical_points is for networks and formulas on all of R^n; take a census of one with a domain."
        )
    if f.dim > LIMIT:
        raise ValueError(
            f"critical_points forms Hessians of up to {LIMIT:,} parameters, got {f.dim:,}: use find_stationary."
        )
    if not 0 < tol < 1:
        raise ValueError(f"tol must be above 0 and below 1, got {tol}.")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}.")
