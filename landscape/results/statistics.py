"""Estimates from samples: means, medians, rates, shares, slopes, kinds not seen, each with 95 %.

a, b: (R,) numbers of independent realisations. times: (m,) steps at which an event was ``observed``
(m,) bool, or at which a run was last seen without it.
"""

import math
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from landscape.results.estimate import Estimate

CONFIDENCE = 0.95
# The width of a normal 95 % interval in standard errors.
WIDTH = 3.92


def exact(value: float, products: int = 0) -> Estimate:
    """A number that has no error but rounding."""
    return Estimate(value, 0.0, value, value, products)


def interval(
    value: float,
    error: float,
    freedom: float,
    products: int = 0,
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """value with Student's interval for its standard error with ``freedom`` degrees of freedom."""
    reach = student(freedom, confidence) * error
    return Estimate(value, error, value - reach, value + reach, products)


def mean(
    a: Tensor | Iterable[float], *, random: bool = True, confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of numbers (R,) with Student's interval.

    random: where nothing is, the mean is exact. One number alone has an infinite interval, and so
    have numbers that are not all finite, such as losses of which one diverged.
    """
    numbers = a if isinstance(a, Tensor) else _tensor(a)
    value, count = float(numbers.double().mean()), len(numbers)
    if not random:
        return exact(value)
    if count < 2:
        return Estimate(value, math.nan, -math.inf, math.inf)
    if not bool(numbers.isfinite().all()):
        return Estimate(math.inf, math.inf, -math.inf, math.inf)
    error = float(numbers.double().std(correction=1)) / count**0.5
    return interval(value, error, count - 1, confidence=confidence)


def against_control(samples: Sequence[Tensor], control: Tensor) -> list[Estimate]:
    """Mean differences from one control (R,) of k samples (R,), paired, with simultaneous
    intervals: all k hold their true differences at once with 95 %.

    Each is Student's interval of the differences at 1 - 0.05 / k (Bonferroni). Dunnett's test is
    tighter by a few per cent, and asks for one variance for all: a remedy that makes runs diverge
    now and then would widen the intervals of all others, and a calm one would narrow its own.
    """
    level = 1 - (1 - CONFIDENCE) / max(len(samples), 1)
    return [mean(sample.double() - control.double(), confidence=level) for sample in samples]


def _tensor(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64, device="cpu")


def median(values: np.ndarray) -> Estimate:
    """The median of values (m,), m at least 1, with the interval of order statistics.

    It is exact, by the binomial law, and infinite for fewer than 6 values.
    """
    known = stats.quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    low, high = (-math.inf, math.inf) if math.isnan(known.low) else map(float, known)
    return Estimate(float(np.median(values)), (high - low) / WIDTH, low, high)


def kaplan_meier_median(times: np.ndarray, observed: np.ndarray) -> Estimate:
    """The median time (m,) to an event, of which some are censored.

    value: where the Kaplan-Meier survival first is at most 1/2, infinite if it never is.
    [low, high]: where its 95 % pointwise limits are (Greenwood's variance, log-log scale;
    Brookmeyer & Crowley 1982, Biometrics 38:29). error: their distance over 3.92.
    """
    survival = stats.ecdf(stats.CensoredData.right_censored(times, ~observed)).sf
    with warnings.catch_warnings():
        # The variance has no value where all survive or none does; survival itself is certain
        # there.
        warnings.simplefilter("ignore", RuntimeWarning)
        limits = survival.confidence_interval(CONFIDENCE, method="log-log")

    def crossing(curve: np.ndarray) -> float:
        curve = np.where(np.isnan(curve), survival.probabilities, curve)
        # A product of many factors is 1/2 to rounding only.
        below = np.flatnonzero(curve <= 0.5 + 1e-12)
        return float(survival.quantiles[below[0]]) if len(below) else math.inf

    curves = (limits.low, survival, limits.high)
    low, value, high = (crossing(curve.probabilities) for curve in curves)
    error = (high - low) / WIDTH if math.isfinite(high) else math.inf
    return Estimate(value, error, low, high)


def exponential_rate(times: np.ndarray, observed: np.ndarray) -> Estimate:
    """Events a run and step, by maximum likelihood as if waiting times (m,) were exponential.

    value: events over all steps seen. [low, high] is exact for runs that are followed until so many
    events (chi^2 with twice as many degrees of freedom: Epstein & Sobel 1953, JASA 48:486), and
    close to it for a limit of time. Waiting times are exponential over a barrier. From a saddle
    they are not, and the rate is one over the mean step.
    """
    events, total = int(observed.sum()), float(times.sum())
    if total == 0:
        # All left before the first step.
        return Estimate(math.nan, math.nan, math.nan, math.nan)
    low = float(special.chdtri(2 * events, 0.975)) / (2 * total) if events else 0.0
    high = float(special.chdtri(2 * events + 2, 0.025)) / (2 * total)
    return Estimate(events / total, math.sqrt(events) / total, low, high)


def slope(x: np.ndarray, y: np.ndarray) -> Estimate:
    """The slope of the least-squares line through points (m,), m at least 3, by Student's t."""
    line = stats.linregress(x, y)
    return interval(float(line.slope), float(line.stderr), len(x) - 2)


def share(a: Tensor, b: Tensor, *, random: bool = True) -> Estimate:
    """sum a / sum b for 0 <= a <= b, with Clopper and Pearson's interval.

    The points of one realisation are not independent: the standard error is that of the residuals
    (a - p b) / mean b (the delta method; Cochran 1977, Sampling Techniques, section 6.3), and the
    interval is for as many independent points as have this error (Korn & Graubard 1998, Survey
    Methodology 24:193); where no point is of the kind, or all are, for one a realisation.
    """
    total, count = float(b.sum()), len(b)
    if total == 0:
        return Estimate(math.nan, math.nan, 0.0, 1.0)
    p = float(a.sum()) / total
    if not random:
        return exact(p)
    if count < 2:
        return Estimate(p, math.nan, 0.0, 1.0)
    residual = (a.double() - p * b.double()) / (total / count)
    error = float(residual.std(correction=1)) / count**0.5
    independent = float(count)
    if 0 < p < 1:
        if error <= 1e-12 * p:
            # The share is the same in every realisation.
            return Estimate(p, error, p, p)
        normal = stats.norm.ppf(0.5 + CONFIDENCE / 2)
        independent = p * (1 - p) / error**2 * (normal / student(count - 1)) ** 2
    hits, tail = p * independent, (1 - CONFIDENCE) / 2
    low = float(stats.beta.ppf(tail, hits, independent - hits + 1)) if p > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, independent - hits)) if p < 1 else 1.0
    return Estimate(p, error, low, high)


def unseen(hits: list[int]) -> Estimate:
    """How many kinds no draw has met, from how often each met kind was.

    Chao1 with its log-normal interval (Chao 1987, Biometrics 43:783). It is a lower estimate: kinds
    that are met much more rarely than all the others stay hidden.
    """
    once, twice = hits.count(1), hits.count(2)
    if once == 0:
        return exact(0.0)
    if twice == 0:
        value = once * (once - 1) / 2
        variance = value + once * (2 * once - 1) ** 2 / 4 - once**4 / (4 * (len(hits) + value))
    else:
        ratio = once / twice
        value = once * ratio / 2
        variance = twice * (ratio**4 / 4 + ratio**3 + ratio**2 / 2)
    error = max(variance, 0.0) ** 0.5
    if value == 0:
        return Estimate(value, error, 0.0, 1.96 * error)
    factor = math.exp(1.96 * math.log(1 + (error / value) ** 2) ** 0.5)
    return Estimate(value, error, value / factor, value * factor)


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors Student's two-sided interval reaches to each side."""
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))
