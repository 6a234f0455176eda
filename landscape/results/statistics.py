"""Estimates from samples: means, medians, rates, shares, slopes, correlations, kinds not seen, each
with 95 %.

a, b: (R,) numbers of independent realisations. times: (m,) steps at which an event was ``observed``
(m,) bool, or at which a run was last seen without it.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from landscape.results.estimate import Estimate

CONFIDENCE = 0.95
# The width of a normal 95 % interval in standard errors.
WIDTH = 3.92
# Of a mean whose law may be skewed.
SKEWED, TAILED = 2.0, 0.5
# The excess kurtosis of a normal number's square.
SQUARE = 12.0


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


def skewed_mean(a: Iterable[float]) -> Estimate:
    """The mean of numbers (R,) whose law may be skewed, with an interval of Student's that is wider
    to the side of the heavy tail, and at most half as wide again.

    To that side it has the term of the skewness g in Hall's expansion (1992, J. R. Statist. Soc. B
    54:221), g (1 + 2 t^2) / (6 R^{1/2}) standard errors, SKEWED times since few numbers show little
    of a tail; the other side stays. t itself is that of numbers with an excess kurtosis of TAILED,
    which matters to fewer than five. The mean of exponential numbers is held in 93 % from two on,
    where Student's interval holds 88 to 91 %.
    """
    numbers = _tensor(a)
    found, R = mean(numbers), len(numbers)
    if not (found.error > 0 and math.isfinite(found.error)):
        return found
    t, wide = student(R - 1), sampling_reach(R - 1, TAILED)
    skewness = float(stats.skew(numbers.numpy(), bias=False)) if R > 2 else 0.0
    more = SKEWED * abs(skewness) * (1 + 2 * t**2) / (6 * R**0.5)
    more = min(more, 3 * t - 2 * wide)
    low, high = (wide + more * (sign * skewness > 0) for sign in (-1, 1))
    value, error = found.value, found.error
    return Estimate(value, error, value - low * error, value + high * error)


def count_mean(counts: Tensor, *, random: bool = True, together: int = 1) -> Estimate:
    """The mean of counts (R,), whole numbers from 0, as a realisation each.

    together: how many are met at once, 2 where they come in pairs.

    The interval holds Student's and that of weighted Poisson counts, which is skewed and knows that
    a rare event may not have been met (the gamma interval of Fay & Feuer 1997, Statist. Med.
    16:791, its variance raised to what Student's interval makes of it). Where all counts are alike,
    fewer than 3.7 / R of all realisations differ (97.5 %), by the count and ``together`` more as is
    taken.
    """
    found = mean(counts, random=random)
    if not random:
        return found
    if len(counts) < 2:
        return Estimate(found.value, math.nan, 0.0, math.inf)
    value, unit, tail = found.value, together / len(counts), (1 - CONFIDENCE) / 2
    if found.error == 0:
        reach = -math.log(tail) * (value + together) / len(counts)
        return Estimate(value, reach / WIDTH, max(value - reach, 0.0), value + reach)
    raised = (found.high - value) / float(stats.norm.ppf(1 - tail))
    high = rare_mean(value, raised, unit).high
    return Estimate(value, found.error, max(found.low, 0.0), max(high, found.high))


def rare_mean(value: float, error: float, unit: float) -> Estimate:
    """A mean of weights from 0 that few draws have, with the gamma interval of Fay & Feuer (1997).

    error: one standard error. unit: what one more draw of the largest weight adds to the mean, so
    that 0 of m draws of weight 1 give [0, 3.7 / m].
    """
    tail, low = (1 - CONFIDENCE) / 2, 0.0
    if value > 0 and error > 0:
        low = float(stats.gamma.ppf(tail, (value / error) ** 2, scale=error**2 / value))
    scale = (error**2 + unit**2) / (value + unit)
    high = float(stats.gamma.ppf(1 - tail, (value + unit) / scale, scale=scale))
    return Estimate(value, error if error > 0 else (high - low) / WIDTH, low, high)


def others(count: int) -> float:
    """The share of all realisations, at most (97.5 %), that differ where ``count`` are alike."""
    return float(1 - ((1 - CONFIDENCE) / 2) ** (1 / count))


def never_met(count: int) -> float:
    """What none of ``count`` independent draws showed happens in less than this share of all (95
    %), whatever the law: 1 - 0.05^{1/count}, close to 3 / count. No interval from these draws
    knows of it.
    """
    return float(1 - (1 - CONFIDENCE) ** (1 / count))


def form_mean(
    value: float, size: float, probes: int, products: int = 0, *, rank: float = 1.0
) -> Estimate:
    """The trace of a symmetric A, from the mean ``value`` of z'Az over independent z of the normal
    law.

    size: the root of the mean of |Az|^2, which estimates A's Frobenius norm; where z are on a
    sphere, of what A has beside its mean eigenvalue. One form has the variance 2 |A|^2, whatever
    the eigenvalues. The interval is value ± q size, where q is what ``rank`` equal eigenvalues ask
    for: (value - trace) / size = rank^{1/2} (X^{1/2} - X^{-1/2}), X of the law chi^2 / freedom with
    rank x probes degrees of freedom. One eigenvalue is the most skewed case; there Student's
    interval holds 85 %, and this one is at most 1.4 times as wide.
    """
    rank = max(rank, 1.0)
    X = float(stats.chi2.ppf((1 - CONFIDENCE) / 2, rank * probes)) / (rank * probes)
    reach = size * rank**0.5 * (X**-0.5 - X**0.5)
    return Estimate(value, size * (2 / probes) ** 0.5, value - reach, value + reach, products)


class Spread(NamedTuple):
    """Of sums over batches of independent samples: how far other data would move them."""

    errors: Tensor  # (k,) one standard error each; NaN with fewer than two batches
    freedom: int  # batches less one; 0: the errors are not known
    excess: float  # kurtosis of the batches' parts beyond a normal law's, see ``excess``
    raised: int = 0  # how many errors reach over neighbours, see ``points.crowds``

    @property
    def reach(self) -> float:
        """How many standard errors reach to an end of the 95 % interval."""
        return sampling_reach(self.freedom, self.excess)


def sampling_spread(parts: Tensor, shares: Tensor, samples: int = 0) -> Spread:
    """The spread of sums of ``parts`` (B, k), one row a batch with ``shares`` (B,) of the samples.

    1/(B-1) sum (part_b - w_b total)^2 / w_b, whose mean is the variance whatever the shares w_b.
    samples: in all batches, where it is known: small ones have heavier tails, see ``unequal``.
    """
    parts, shares = parts[shares > 0], shares[shares > 0]
    if len(parts) < 2:
        unknown = torch.full((parts.shape[1],), math.nan, dtype=torch.float64, device="cpu")
        return Spread(unknown, 0, 0.0)
    weights, freedom = (shares / shares.sum())[:, None], len(parts) - 1
    squares = (parts - weights * parts.sum(0)).square() / weights
    errors = (squares.sum(0) / freedom).sqrt().cpu()
    tails = excess(squares.cpu().numpy())
    sizes = samples * weights[:, 0].cpu().double().numpy()
    return Spread(errors, freedom, unequal(sizes, tails) if samples else tails)


def unequal(sizes: np.ndarray, excess: float) -> float:
    """The excess kurtosis of batches of these ``sizes`` (B,) of samples, where that of their parts
    is ``excess``: more where sizes are unequal, and no more than makes the reach half as long
    again.

    The square of a normal number has an excess kurtosis of 12, and the mean of m of them 12 / m. A
    batch of few samples is so skewed that its part is mostly near the others', and then says
    little of the spread. It is taken as more than that of batches of the mean size.
    """
    freedom = len(sizes) - 1
    more = SQUARE * float((1 / sizes).mean() - 1 / sizes.mean())
    if more <= 1e-9:
        return excess
    far = 1.5 * sampling_reach(freedom, excess)
    least = float(special.stdtridf(0.5 + CONFIDENCE / 2, far))
    return min(excess + more, (2 / least - 2 / freedom) * len(sizes))


def sampling_reach(freedom: float, excess: float = 0.0) -> float:
    """How many standard errors Student's 95 % interval reaches, where the variance has ``freedom``
    degrees of freedom if numbers are normal, and Satterthwaite's fewer if their tails are heavier:
    the variance of the mean square of B numbers is 2 / (B - 1) + excess / B of its square. Infinite
    without freedom.
    """
    return student(effective(freedom, excess)) if freedom > 0 else math.inf


def effective(freedom: float, excess: float) -> float:
    """Satterthwaite's degrees of freedom of the variance of freedom + 1 numbers with this excess
    kurtosis.
    """
    return 2 / (2 / freedom + excess / (freedom + 1))


def excess(squares: np.ndarray) -> float:
    """The kurtosis beyond a normal law's of numbers whose squared deviations from their means are
    ``squares`` (B, k): the mean over columns of the sample's G_2, and 0 where that is less, or for
    fewer than four numbers.
    """
    B = len(squares)
    squares = squares[:, (squares > 0).any(0)]
    if B < 4 or not squares.size:
        return 0.0
    kurtosis = (squares**2).mean(0) / squares.mean(0) ** 2
    found = (B - 1) / ((B - 2) * (B - 3)) * ((B + 1) * (kurtosis - 3) + 6)
    return max(float(found.mean()), 0.0)


def correlation(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> Estimate:
    """Pearson's correlation of x and y (m,); pairs of one of the ``runs`` (m,) may be alike.

    A jackknife over runs gives the standard error, and with that of artanh r Student's interval
    of Satterthwaite's degrees of freedom, since few runs of large spread may decide alone. Of one
    run its pairs count. Fewer than three runs, or runs of which none matters, say nothing.
    Source: the jackknife over clusters, MacKinnon, Nielsen & Webb 2023, J. Appl. Econometrics
    38:671.
    """
    _, group = np.unique(runs, return_inverse=True)
    if len(x) and group.max() == 0:
        group = np.arange(len(x))
    value, count = float(_pearson(_sums(x, y, np.zeros(len(x), int)))[0]), len(np.unique(group))
    nothing = Estimate(value, math.nan, -1.0, 1.0)
    if not math.isfinite(value):
        return nothing
    sums = _sums(x, y, group)
    left = _pearson(sums.sum(1, keepdims=True) - sums)
    z = np.arctanh(left.clip(-1 + 1e-12, 1 - 1e-12))
    squares = (z - z.mean())[:, None] ** 2
    scale = ((count - 1) / count * squares.sum()) ** 0.5
    if count < 3 or not scale > 0:
        return nothing
    reach = sampling_reach(count - 1, excess(squares)) * scale
    middle = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    error = float(((count - 1) / count * ((left - left.mean()) ** 2).sum()) ** 0.5)
    return Estimate(value, error, math.tanh(middle - reach), math.tanh(middle + reach))


def _sums(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(6, groups): the number of pairs and the sums of x, y, x^2, y^2, xy, x and y standardised."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.zeros((6, 1))
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return np.stack(
        [np.bincount(group, weights=w) for w in (np.ones(len(x)), x, y, x * x, y * y, x * y)]
    )


def _pearson(sums: np.ndarray) -> np.ndarray:
    """The correlation of each column of ``_sums``; NaN of fewer than three pairs, or where one of
    the two is constant.
    """
    n, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        r = (xy / n - x * y / n**2) / np.sqrt(a * b)
    return np.where((n >= 3) & (a > 1e-12) & (b > 1e-12), r.clip(-1, 1), math.nan)


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
    """The median of times (m,) from 0 to an event, of which some are censored.

    value: where the Kaplan-Meier survival first is at most 1/2, infinite if it never is.
    [low, high]: where its 95 % pointwise limits are, those of the beta product (Fay, Brittain &
    Proschan 2013, Biostatistics 14:723). Without censoring they are the exact ones of order
    statistics. An end is open, 0 or infinite, where too few events were seen; ``low`` is never
    later than the last time seen. error: their distance over 3.92.
    """
    times, observed = np.asarray(times), np.asarray(observed, dtype=bool)
    known, here = np.unique(times, return_counts=True)
    seen = dict(zip(*np.unique(times[observed], return_counts=True), strict=True))
    # The product over events of Beta(at risk, 1): its mean and its mean square.
    first = second = kept = 1.0
    value = high = math.inf
    risk = len(times)
    low = 0.0 if _beta_tail(1.0, 1.0, risk) <= 0.5 else math.inf
    for t, gone in zip(map(float, known), here.tolist(), strict=True):
        # A tie of d events is d events in a row.
        for at_risk in range(risk, risk - int(seen.get(t, 0)), -1):
            first *= at_risk / (at_risk + 1)
            second *= at_risk / (at_risk + 2)
            kept *= (at_risk - 1) / at_risk
        risk -= gone
        low = min(low, t) if _beta_tail(first, second, risk) <= 0.5 else low
        if kept <= 0.5 + 1e-12:
            value = min(value, t)
        if _beta_tail(first, second, None) <= 0.5:
            high = min(high, t)
    error = (high - low) / WIDTH if math.isfinite(high) else math.inf
    return Estimate(value, error, low, high)


def _beta_tail(first: float, second: float, after: int | None) -> float:
    """A limit of survival: a quantile of the beta law with this mean and mean square; the lower
    one where the product has one more factor Beta(after, 1), else the upper one.
    """
    if after is not None:
        first, second = first * after / (after + 1), second * after / (after + 2)
    if first in (0.0, 1.0):
        return first
    total = (first - second) / (second - first**2)
    tail = (1 - CONFIDENCE) / 2 if after is not None else 0.5 + CONFIDENCE / 2
    return float(special.betaincinv(first * total, (1 - first) * total, tail))


def exponential_rate(times: np.ndarray, observed: np.ndarray) -> Estimate:
    """Events a run and step, by maximum likelihood as if waiting times (m,) were exponential.

    value: events over all steps seen. [low, high] is exact for runs that are followed until so many
    events (chi^2 with twice as many degrees of freedom: Epstein & Sobel 1953, JASA 48:486), and
    close to it for a limit of time. Waiting times are exponential over a barrier. From a saddle
    they are not, and the rate is one over the mean step. Where no step was seen, the interval is
    all rates.
    """
    events, total = int(observed.sum()), float(times.sum())
    if total == 0:
        # All left before the first step.
        return Estimate(math.inf if events else math.nan, math.inf, 0.0, math.inf)
    low = float(special.chdtri(2 * events, 0.975)) / (2 * total) if events else 0.0
    high = float(special.chdtri(2 * events + 2, 0.025)) / (2 * total)
    error = math.sqrt(events) / total if events else high / WIDTH
    return Estimate(events / total, error, low, high)


def slope(x: np.ndarray, y: np.ndarray) -> Estimate:
    """The slope of the least-squares line through points (m,), m at least 3, by Student's t."""
    line = stats.linregress(x, y)
    return interval(float(line.slope), float(line.stderr), len(x) - 2)


def share(a: Tensor, b: Tensor, *, random: bool = True) -> Estimate:
    """sum a / sum b for 0 <= a <= b, with Clopper and Pearson's interval.

    The points of one realisation are not independent: the standard error is that of the residuals
    (a - p b) / mean b (the delta method; Cochran 1977, Sampling Techniques, section 6.3), and the
    interval is for as many independent points as have this error (Korn & Graubard 1998, Survey
    Methodology 24:193). Where the share is the same in every realisation, it is another one, any
    from 0 to 1, in less than 1 - 0.025^{1/R} of all: for 0 and 1 that is Clopper and Pearson's
    interval of one point a realisation. Realisations of no points say nothing of it.
    """
    a, b = a[b > 0], b[b > 0]
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
    if error <= 1e-12 * p:
        reach = others(count)
        return Estimate(p, reach / WIDTH, p * (1 - reach), p + (1 - p) * reach)
    normal = stats.norm.ppf(0.5 + CONFIDENCE / 2)
    independent = p * (1 - p) / error**2 * (normal / student(count - 1)) ** 2
    hits, tail = p * independent, (1 - CONFIDENCE) / 2
    low = float(stats.beta.ppf(tail, hits, independent - hits + 1)) if p > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, independent - hits)) if p < 1 else 1.0
    return Estimate(p, error, low, high)


def unseen(hits: list[int], at_least: int = 0) -> Estimate:
    """How many kinds no draw has met, from how often each met kind was.

    value: Chao1 without the bias of few draws (Chao 1987, Biometrics 43:783; Chao 2005,
    Encyclopedia of Statistical Sciences), or ``at_least`` if that is more: a lower estimate on
    average, since kinds that are met much more rarely than all the others stay hidden; now and
    then it is above the truth. [low, high]: from ``at_least``, what is known to be missing, to
    infinity, since no number of draws says how many rare kinds there are. What can be said of
    them is ``unmet``.
    """
    once, twice = hits.count(1), hits.count(2)
    chao = once * (once - 1) / (2 * (twice + 1))
    return Estimate(float(max(chao, at_least)), math.inf, float(at_least), math.inf)


def unmet(hits: list[int], draws: int) -> float:
    """The share of draws, at most (95 %), that all kinds together have which none of them met.

    3 / draws where every kind was met three times or more. Else Poisson's upper limit for once + 2
    twice events less 2 twice: the number of kinds met once estimates what is looked for, and these
    are its variance (Good 1953, Biometrika 40:237; Esty 1983, Ann. Statist. 11:905).
    """
    once, twice = hits.count(1), hits.count(2)
    limit = float(special.chdtri(2 * (once + 2 * twice) + 2, 1 - CONFIDENCE)) / 2 - 2 * twice
    return min(limit / draws, 1.0)


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors Student's two-sided interval reaches to each side."""
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))
