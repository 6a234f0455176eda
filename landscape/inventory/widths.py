"""Index against loss for networks of growing width, beside the law of random landscapes.

S: stationary ends of searches, n: parameters, alpha = index / n. Bray and Dean (2007, PRL
98:150201) have alpha = 1/2 + (w sqrt(1 - w^2) + arcsin w) / pi with w proportional to the energy. A
network has no energy scale that is known
beforehand: centre c and spread s of loss = c + s w are fitted to its stationary points, and what is
left to see is the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from landscape import theory
from landscape.core import Progress, silent
from landscape.inventory.networks import NetworkCensus, critical_points
from landscape.inventory.training_paths import training_paths
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.progress import watched
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import share

CURVE = 61  # points of a fitted curve
FEWEST = 5  # different saddles for a fit


@result("loss-law")
@dataclass(frozen=True)
class LossLaw:
    """loss = centre + spread w, fitted by least squares to the different points with 0 < alpha <
    1.
    """

    centre: float  # NaN where there are fewer than five of them, or no spread among them
    spread: float
    explained: float  # R^2 of the fit: the share of the variance of these losses
    losses: list[float]  # along the fitted curve, ascending; empty where there is no fit
    fractions: list[float]  # alpha there


@result("width-counts")
@dataclass(frozen=True, eq=False)
class WidthCounts:
    """The stationary points that searches in a network of one width found."""

    width: int
    dim: int  # n
    losses: Tensor  # (S,) of the stationary ends
    indices: Tensor  # (S,) int64
    searches: int  # made, stationary or not
    flat: int  # of them ended gradient-flat
    distinct: int  # points that differ in loss, index or outer eigenvalues
    # of the stationary ends, those of index 0; the interval takes paths as independent
    minimum_share: Estimate
    correlation: Estimate  # Pearson's of loss and alpha, as in ``NetworkCensus``
    law: LossLaw

    @property
    def fractions(self) -> Tensor:
        """alpha, (S,)."""
        return self.indices.double() / self.dim


@result("width-study")
@dataclass(frozen=True, eq=False)
class WidthStudy(Result):
    """Networks of growing width."""

    seed: int
    networks: list[WidthCounts]


@owned()
@watched
def index_by_width(
    build: Callable[[int], ModelLandscape],
    widths: Sequence[int],
    *,
    runs: int = 12,
    points: int = 10,
    steps: int = 500,
    iterations: int = 40,
    seed: int = 0,
    progress: Progress = silent,
) -> WidthStudy:
    """The stationary points of networks of several widths, from points along training paths.

    Args:
        build: width -> a network with its loss and data, in float64, of at most 1,000 parameters.
        widths: the networks.
        runs, points, steps: training paths of each network, starts on each path and optimiser steps
            (``training_paths``).
        iterations: most steps of a search (``critical_points``); wider networks need more of them.
        seed: of weights and batches.
        progress: told the networks done.

    Raises:
        TypeError: ``build`` gives no model with a loss.
        ValueError: an argument is out of range.
        NumericalError: a gradient at a start is not finite.

    Cost: that of ``critical_points`` a width: some tens of Hessians a start.
    """
    if not widths:
        raise ValueError("widths must name at least one width.")
    networks = []
    for number, width in enumerate(widths):
        progress("widths", number, len(widths))
        f = build(width)
        require_model(
            f, f"build({width}) must give a ModelLandscape, got {type(f).__name__}.", TypeError
        )
        paths = training_paths(f, runs=runs, points=points, steps=steps, seed=seed)
        networks.append(
            _one(f, width, critical_points(f, paths, iterations=iterations, seed=seed), len(paths))
        )
    title = str(getattr(build, "__name__", "networks"))
    return WidthStudy(seed, networks, provenance=provenance(f, None, seed, name=title))


def _one(f: ModelLandscape, width: int, found: NetworkCensus, paths: int) -> WidthCounts:
    keep = found.stationary
    losses, indices, runs = found.losses[keep], found.indices[keep], found.runs[keep]
    each = torch.zeros(paths, dtype=torch.float64, device="cpu")
    ends = each.index_add(0, runs, torch.ones(len(runs), dtype=each.dtype, device="cpu"))
    minima = each.index_add(0, runs, (indices == 0).double())
    return WidthCounts(
        width=width,
        dim=f.dim,
        losses=losses,
        indices=indices,
        searches=len(found.outcomes),
        flat=int(found.flat.sum()),
        distinct=found.distinct,
        minimum_share=share(minima, ends),
        correlation=found.correlation,
        law=fit(losses, indices.double() / f.dim),
    )


def fit(losses: Tensor, fractions: Tensor) -> LossLaw:
    """Bray and Dean's curve through points of losses (S,) and fractions (S,)."""
    inside = (fractions > 0) & (fractions < 1)
    pairs = zip(losses[inside].tolist(), fractions[inside].tolist(), strict=True)
    # each once, however often it was met
    points = sorted({(float(f"{loss:.5e}"), fraction) for loss, fraction in pairs})
    y, w = (
        np.array([loss for loss, _ in points]),
        np.array([level(fraction) for _, fraction in points]),
    )
    if len(y) < FEWEST or np.ptp(w) == 0 or np.ptp(y) == 0:
        return LossLaw(math.nan, math.nan, math.nan, [], [])
    spread, centre = np.polyfit(w, y, 1)
    explained = 1 - float(((y - centre - spread * w) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    curve = np.linspace(-1, max(1.05 * float(w.max()), -0.5), CURVE)
    return LossLaw(
        float(centre),
        float(spread),
        explained,
        [float(centre + spread * v) for v in curve],
        [theory.index_fraction(float(v)) for v in curve],
    )


def level(fraction: float) -> float:
    """The w in [-1, 1] at which Bray and Dean's share of negative curvatures is ``fraction``."""
    if fraction in (0.0, 1.0):
        return 2 * fraction - 1
    return float(brentq(lambda w: theory.index_fraction(w) - fraction, -1.0, 1.0, xtol=1e-14))
