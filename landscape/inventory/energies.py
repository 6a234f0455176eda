"""Where in energy the stationary points of each index lie, measured and expected.

w: the energy in units in which Bray and Dean's share of negative curvatures goes from 0 at -1 to 1
at 1 (2007, PRL 98:150201): E / E_inf for a spherical p-spin, sqrt(f'') |f'| eps / (f f'' + f'^2)
for an isotropic field of covariance n f(r^2 / 2n) at n eps.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape import theory
from landscape.inventory.families import Family
from landscape.results import Estimate, result
from landscape.results.statistics import share

BINS = 12  # of equal numbers of points
CURVE = 61  # points of a curve
FINITE = 12  # directions up to which the finite law is computed
INDICES = 3  # of which the complexity is drawn


@result("index-by-energy")
@dataclass(frozen=True)
class IndexByEnergy:
    """The share of negative curvatures among points of like energy."""

    levels: list[float]  # (bins,) mean w
    shares: list[Estimate]  # (bins,) index / n, errors over realisations
    curve: list[float]  # w
    limit: list[float]  # the law for n -> oo at ``curve``
    finite: list[float]  # the exact law at this n; empty where it is not known
    directions: int  # n


@result("complexity-by-energy")
@dataclass(frozen=True)
class Complexity:
    """Of a spherical p-spin: ln(mean number of points of index k with E / N below an energy) /
    N.
    """

    thresholds: theory.PspinThresholds
    energies: list[float]  # per spin, ascending, around the thresholds
    limit: list[list[float]]  # at ``energies``, one row an index k = 0, 1, ..: for N -> oo
    spins: int  # N of what was measured
    levels: list[float]  # energies per spin, ascending, over the range of the points
    # at ``levels``, rows like ``limit``, from the points of N spins; NaN where there is none
    measured: list[list[float]]


def index_by_energy(
    family: Family,
    dim: int,
    values: Tensor,
    indices: Tensor,
    labels: Tensor,
    realisations: int,
    directions: int,
) -> IndexByEnergy | None:
    """From points with their values, indices and realisations, (P,) each; None where no law is
    known or points are few.
    """
    scale = _scale(family, dim)
    if scale is None or directions < 2 or len(values) < 5 * BINS:
        return None
    w = scale * values
    levels, shares = [], []
    for rows in torch.argsort(w, stable=True).tensor_split(BINS):
        size = torch.zeros(realisations, dtype=torch.float64, device="cpu")
        points = size.index_add(
            0, labels[rows], torch.ones(len(rows), dtype=size.dtype, device="cpu")
        )
        negative = size.index_add(0, labels[rows], indices[rows].double())
        levels.append(float(w[rows].mean()))
        shares.append(share(negative, directions * points))
    edge = 1.15 * max(1.0, -levels[0], levels[-1])
    curve = torch.linspace(-edge, edge, CURVE, dtype=torch.float64, device="cpu").tolist()
    exact = family.kind == "p-spin" and directions <= FINITE
    # of N spins the Hessian is sqrt(p (p-1) / N) times a GOE matrix of size n = N - 1, and its
    # shift p E: y = sqrt(2 N) w there
    stretch = ((directions + 1) / directions) ** 0.5
    limit = [theory.index_fraction(level) for level in curve]
    half = [
        theory.index_fraction(stretch * level, directions)
        for level in curve[: CURVE // 2 + 1]
        if exact
    ]
    finite = half + [1 - share_ for share_ in reversed(half[:-1])]  # f and -f have the same law
    return IndexByEnergy(levels, shares, curve, limit, finite, directions)


def complexity(
    family: Family, spins: int, values: Tensor, indices: Tensor, realisations: int
) -> Complexity | None:
    """Of a p-spin family of order 3 or more, from its points at one number of spins; None for
    others.
    """
    if family.kind != "p-spin" or family.order < 3:
        return None
    thresholds = theory.pspin_thresholds(family.order, INDICES + 1)
    ground, edge = -thresholds.e_index[0], -thresholds.e_inf
    width = edge - ground
    energies = _line(ground - 0.6 * width, edge + width)
    levels = _line(1.15 * ground, -0.3 * edge)
    limit = [
        [theory.pspin_complexity(e, k, family.order) for e in energies] for k in range(INDICES)
    ]
    measured = []
    for k in range(INDICES):
        mine = values[indices == k] / spins
        below = [int((mine <= e).sum()) / realisations for e in levels]
        measured.append([math.log(b) / spins if b else math.nan for b in below])
    return Complexity(thresholds, energies, limit, spins, levels, measured)


def _line(low: float, high: float) -> list[float]:
    points: list[float] = torch.linspace(
        low, high, CURVE, dtype=torch.float64, device="cpu"
    ).tolist()
    return points


def _scale(family: Family, dim: int) -> float | None:
    """w over the value of f."""
    if family.kind == "p-spin" and family.order >= 3:
        return 1 / (dim * theory.pspin_thresholds(family.order, 1).e_inf)
    return family.level(dim)
