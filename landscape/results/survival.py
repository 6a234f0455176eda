"""Times until an event, some of them censored: the median, and the rate of an exponential law.

times: (m,) steps at which the event was ``observed`` (m,) bool, or at which a run was last seen.
"""

import math

import numpy as np
from scipy.special import chdtri
from scipy.stats import binom

from landscape.results.estimate import Estimate


def kaplan_meier_median(times: np.ndarray, observed: np.ndarray) -> Estimate:
    """The median time to an event from times (m,) at which it was ``observed`` (m,) or the run was censored.

    value: where the Kaplan-Meier survival first is at most 1/2, infinite if it never is. [low, high]: where its 95 % pointwise limits
    (Greenwood's variance, log-log scale) are (Brookmeyer & Crowley 1982, Biometrics 38:29). error: their distance over 3.92.
    """
    events = np.unique(times[observed])
    at_risk = np.array([(times >= t).sum() for t in events], dtype=float)
    deaths = np.array([(observed & (times == t)).sum() for t in events], dtype=float)
    survival = np.cumprod(1 - deaths / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(deaths / (at_risk * (at_risk - deaths)))
        width = 1.959964 * np.sqrt(greenwood) / np.abs(np.log(survival))
        lower = np.where(survival > 0, survival ** np.exp(width), 0.0)
        upper = np.where(survival > 0, survival ** np.exp(-width), 0.0)

    def crossing(curve: np.ndarray) -> float:
        below = np.flatnonzero(curve <= 0.5 + 1e-12)  # a product of many factors is 1/2 to rounding only
        return float(events[below[0]]) if len(below) else math.inf

    low, value, high = crossing(lower), crossing(survival), crossing(upper)
    error = (high - low) / 3.92 if math.isfinite(high) else math.inf
    return Estimate(value, error, low, high)


def exponential_rate(times: np.ndarray, observed: np.ndarray) -> Estimate:
    """Events a run and step, as if the waiting time were exponential: events over all steps seen, the maximum-likelihood estimate.

    [low, high] is exact for runs that are followed until so many events (chi^2 with twice as many degrees of freedom: Epstein & Sobel
    1953, JASA 48:486), and close to it for a limit of time. Waiting times are exponential over a barrier. From a saddle they are not, and
    the rate is one over the mean step.
    """
    events, total = int(observed.sum()), float(times.sum())
    if total == 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan)  # all left before the first step
    low = float(chdtri(2 * events, 0.975)) / (2 * total) if events else 0.0
    high = float(chdtri(2 * events + 2, 0.025)) / (2 * total)
    return Estimate(events / total, math.sqrt(events) / total, low, high)


def median(values: np.ndarray) -> Estimate:
    """The median of values (m,), m at least 1, with the 95 % interval of order statistics (exact, by the binomial law)."""
    ordered = np.sort(values)
    m = len(ordered)
    below = int(binom.ppf(0.025, m, 0.5))  # the values counted off on either side
    known = below >= 1
    low, high = (float(ordered[below - 1]), float(ordered[m - below])) if known else (-math.inf, math.inf)
    return Estimate(float(np.median(ordered)), (high - low) / 3.92, low, high)
