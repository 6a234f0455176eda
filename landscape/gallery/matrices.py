"""What random matrices expect of landscapes, beside samples of both."""

import math
from itertools import pairwise

import numpy as np
import torch

from landscape import theory, zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact
from landscape.inventory.census import census
from landscape.results import Estimate
from landscape.theory.goe import log_positive

SAMPLES = 200_000
SIZES = (2, 4, 6, 8, 10, 12)  # spins


def coin_toss(progress: Progress) -> Computed:
    """P(no negative eigenvalue) of n by n matrices of the GOE."""
    sizes = list(range(1, 7))
    rng = np.random.default_rng(np.random.SeedSequence(0))
    found, errors = [], []
    for n in sizes:
        progress("matrices", n, len(sizes))
        A = rng.standard_normal((SAMPLES, n, n))
        positive = np.linalg.eigvalsh((A + A.swapaxes(1, 2)) / 2)[:, 0] > 0
        p = float(positive.mean())
        found.append(p)
        errors.append(max(p * (1 - p) / SAMPLES, 1 / SAMPLES**2) ** 0.5)
    exactly = [log_positive(n) for n in range(1, 61)]
    # ln P = -(ln 3 / 4) n^2 + a n + b ln n + c: the second difference leaves the first term, and b
    # / n^2
    second = np.diff(exactly, 2)
    size = np.arange(2, 60)
    fit = np.polynomial.polynomial.polyfit(1 / size[20:] ** 2, second[20:] / 2, 1)
    two, three = (2 - math.sqrt(2)) / 4, (math.pi - 2 * math.sqrt(2)) / (4 * math.pi)
    pick = {k: Estimate(found[k - 1], errors[k - 1], 0.0, 1.0) for k in (2, 3)}
    data = {
        "sizes": sizes,
        "sampled": torch.tensor(found, dtype=torch.float64, device="cpu"),
        "errors": torch.tensor(errors, dtype=torch.float64, device="cpu"),
        "exact": torch.tensor(exactly, dtype=torch.float64, device="cpu"),
    }
    return data, [
        Match(
            "lim -ln P / n^2",
            math.log(3) / 4,
            "Dean & Majumdar 2006: theta(0) = ln 3 / 4",
            exact(-float(fit[0])),
            2e-5,
            "from exact P up to n = 60, extrapolated",
        ),
        Match("P at n = 2", two, "(2 - sqrt 2) / 4, elementary", pick[2]),
        Match("P at n = 3", three, "(pi - 2 sqrt 2) / (4 pi), closed form", pick[3]),
    ]


def bray_dean(progress: Progress) -> Computed:
    """The share of negative curvatures against energy; on spheres, of p-spin landscapes that are
    drawn and searched.
    """
    levels = np.linspace(-1.25, 1.25, 51)
    curves = {str(n): [theory.index_fraction(w, n) for w in levels] for n in (2, 5, 20)}
    limit = [theory.index_fraction(w) for w in levels]
    spins, seeds = 6, 10
    e_inf = theory.pspin_thresholds(3).e_inf
    energy, share = [], []
    for seed in range(seeds):
        progress("p-spin landscapes", seed, seeds)
        f = zoo.formula("p-spin", spins=spins, seed=seed)
        for point in census(f, 120, seed).points:
            if point.index is not None:
                energy.append(point.value / spins / e_inf)
                share.append(point.index / (spins - 1))
    w, k = np.array(energy), np.array(share)
    edges = np.linspace(-1.1, 1.1, 12)
    rows = []
    for low, high in pairwise(edges):
        inside = (w >= low) & (w < high)
        if inside.sum() > 10:
            rows.append((w[inside].mean(), k[inside].mean(), k[inside].std() / inside.sum() ** 0.5))
    slope = (theory.index_fraction(1e-4) - theory.index_fraction(-1e-4)) / 2e-4
    zero = np.abs(w) < 0.3
    b = float((w[zero] * (k[zero] - 0.5)).sum() / (w[zero] ** 2).sum())
    residual = k[zero] - 0.5 - b * w[zero]
    # x and -x are two points of one search: half as many are independent
    error = float((2 * residual**2).mean() ** 0.5 / (w[zero] ** 2).sum() ** 0.5)
    finite = (
        theory.index_fraction(0.15, spins - 1) - theory.index_fraction(-0.15, spins - 1)
    ) / 0.3
    data = {
        "levels": torch.tensor(levels, dtype=torch.float64, device="cpu"),
        "limit": torch.tensor(limit, dtype=torch.float64, device="cpu"),
        "curves": {
            n: torch.tensor(v, dtype=torch.float64, device="cpu") for n, v in curves.items()
        },
        "measured": torch.tensor(np.array(rows), device="cpu"),
        "points": len(w),
        "spins": spins,
        "landscapes": seeds,
    }
    return data, [
        Match(
            "slope of index against energy at zero, in units of the threshold",
            2 / math.pi,
            "Bray & Dean 2007: 1/2 + (w sqrt(1 - w^2) + arcsin w) / pi",
            exact(slope),
            1e-6,
        ),
        Match(
            f"the same measured on {seeds} landscapes of {spins} spins",
            finite,
            "exact ratio of mean counts for so few",
            Estimate(b, error, b - 2 * error, b + 2 * error),
            0.02,
            "a straight fit to |w| < 0.3",
        ),
    ]


def p_spin(progress: Progress) -> Computed:
    """Exponents of mean numbers of stationary points."""
    t = theory.pspin_thresholds(3, 4)
    energies = np.linspace(-1.70, -1.60, 201)
    curves = {str(k): [theory.pspin_complexity(e, k) for e in energies] for k in range(4)}
    totals = [sum(theory.pspin_counts(n)) for n in SIZES]
    sizes = np.array(SIZES, dtype=float)
    # ln(count) = a N + ln(N) / 2 + c + d / N through the three largest
    last, logs = sizes[-3:], np.log(totals[-3:]) - np.log(sizes[-3:]) / 2
    slope = float(np.linalg.solve(np.stack([last, np.ones(3), 1 / last], axis=1), logs)[0])
    data = {
        "energies": torch.tensor(energies, dtype=torch.float64, device="cpu"),
        "curves": {
            k: torch.tensor(v, dtype=torch.float64, device="cpu") for k, v in curves.items()
        },
        "e_inf": t.e_inf,
        "levels": torch.tensor(t.e_index, dtype=torch.float64, device="cpu"),
        "sizes": torch.tensor(sizes, device="cpu"),
        "totals": torch.tensor([math.log(v) for v in totals], dtype=torch.float64, device="cpu"),
        "total": t.total,
    }
    return data, [
        Match(
            "ground state energy E_0 a spin",
            1.657,
            "Auffinger, Ben Arous & Cerny 2013, for p = 3",
            exact(t.e_index[0]),
            5e-4,
            "printed to three decimals",
            printed=True,
        ),
        Match(
            "threshold E_inf", 2 * math.sqrt(2 / 3), "2 sqrt((p - 1) / p), the same", exact(t.e_inf)
        ),
        Match(
            "growth of ln(mean number of all points) a spin",
            math.log(2) / 2,
            "ln(p - 1) / 2, the same",
            exact(slope),
            2e-3,
            "from exact counts of 8, 10 and 12 spins, extrapolated",
        ),
    ]
