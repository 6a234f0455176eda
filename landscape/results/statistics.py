"""Means and shares over independent realisations, with intervals.

a, b: (R,) numbers of a realisation. A share is the ratio p = sum a / sum b; its standard error is that of the residuals
(a - p b) / mean b (the delta method; Cochran 1977, Sampling Techniques, section 6.3), since the points of one realisation are
not independent.
"""

import math

from scipy import stats
from torch import Tensor

from landscape.results.estimate import Estimate

CONFIDENCE = 0.95


def mean(a: Tensor, *, random: bool = True) -> Estimate:
    """The mean of a with Student's 95 % interval; without an error where nothing is random."""
    value, count = float(a.double().mean()), len(a)
    if not random:
        return Estimate(value, 0.0, value, value)
    if count < 2:
        return Estimate(value, math.nan, -math.inf, math.inf)
    error = float(a.double().std(correction=1)) / count**0.5
    half = _student(count) * error
    return Estimate(value, error, value - half, value + half)


def share(a: Tensor, b: Tensor, *, random: bool = True) -> Estimate:
    """sum a / sum b, 0 <= a <= b, with the 95 % interval of Clopper and Pearson for as many independent points as have this standard
    error (Korn & Graubard 1998, Survey Methodology 24:193). Where no point is of the kind, or all are, for one a realisation.
    """
    total, count = float(b.sum()), len(b)
    if total == 0:
        return Estimate(math.nan, math.nan, 0.0, 1.0)
    p = float(a.sum()) / total
    if not random:
        return Estimate(p, 0.0, p, p)
    if count < 2:
        return Estimate(p, math.nan, 0.0, 1.0)
    residual = (a.double() - p * b.double()) / (total / count)
    error = float(residual.std(correction=1)) / count**0.5
    if 0 < p < 1:
        if error <= 1e-12 * p:  # the same in every realisation
            return Estimate(p, error, p, p)
        independent = p * (1 - p) / error**2 * (stats.norm.ppf(0.5 + CONFIDENCE / 2) / _student(count)) ** 2
    else:
        independent = float(count)
    hits, tail = p * independent, (1 - CONFIDENCE) / 2
    low = float(stats.beta.ppf(tail, hits, independent - hits + 1)) if p > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, independent - hits)) if p < 1 else 1.0
    return Estimate(p, error, low, high)


def _student(count: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1))
