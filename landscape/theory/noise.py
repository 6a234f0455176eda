"""Leaving a saddle from the very point, driven by noise alone: x <- (1 + h |lam|) x + h sigma xi,
xi ~ N(0, 1), x_0 = 0.

x_t ~ N(0, V_t), V_t = (h sigma)^2 (g^2t - 1) / (g^2 - 1), g = 1 + h |lam|, in each of
``directions`` equal falling ones. That |x| was outside at some step is likelier than that it is
outside at step t, by the returns; one direction's law with returns follows from the Gaussian kernel
killed outside, integrated by Gauss and Legendre's rule.
"""

import dataclasses
import math

import numpy as np
from scipy.special import chdtrc, chdtri, ndtr

from landscape.results import Result, result
from landscape.specs import whole
from landscape.theory.exits import Floats

RETURNS = 8.0  # drift over noise at the sphere from which returns are rarer than rounding
TAIL = 1e-12  # share of runs left out of the mean


@result("noise-exit")
@dataclasses.dataclass(frozen=True)
class NoiseExit(Result):
    """The law of the exit step T."""

    mean: float
    median: int
    cdf: list[float]  # P(T <= t) for t = 0, 1, ..., up to 1 - 1e-12
    # whether paths that come back inside are counted; else cdf is a lower bound, its mean an upper
    # one
    returns: bool

    def quantile(self, share: float) -> int:
        """The first t with P(T <= t) >= share.

        Raises:
            ValueError: share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {share!r}.")
        return int(np.searchsorted(np.array(self.cdf), share))


def noise_exit(
    curvature: float,
    *,
    lr: float,
    sigma: float,
    radius: float = 1.0,
    directions: int = 1,
    steps: int = 100_000,
) -> NoiseExit:
    """The law of SGD's first step with |x| >= radius from x = 0, without momentum.

    Exact for one direction; for several the law of |x_t| alone, which is late where sigma is of the
    size of radius |lam| or more.

    Args:
        curvature: lam, negative.
        lr: h.
        sigma: standard deviation of the gradient noise in each direction.
        radius: of the ball.
        directions: how many falling directions have this curvature.
        steps: most steps of the law.

    Raises:
        ValueError: an option out of range, or a law longer than ``steps``.
    """
    for name, value in {
        "-curvature": -curvature,
        "lr": lr,
        "sigma": sigma,
        "radius": radius,
    }.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, got {value!r}.")
    whole(1, directions=directions)
    g, s = 1 + lr * -curvature, lr * sigma / radius  # in units of the radius
    length = math.ceil(marginal_step(curvature, lr, sigma, radius, directions, 1 - TAIL)) + 1
    if length > steps:
        raise ValueError(
            f"the law of this exit is {length:,} steps long; give steps of at least as many."
        )
    drift = (g - 1) / s
    if directions > 1 or drift > RETURNS:
        t = np.arange(length + 1, dtype=np.float64)
        cdf = chdtrc(directions, 1 / np.maximum(_variance(t, g, s), 1e-300))
        return _law(cdf, directions == 1)
    return _law(_killed(g, s, length), True)


def marginal_step(
    curvature: float,
    lr: float,
    sigma: float,
    radius: float = 1.0,
    directions: int = 1,
    share: float = 0.5,
) -> float:
    """The time, as a real number, at which |x_t| >= radius in this share of runs; by default the
    marginal median.

    ln(1 + (R / h sigma)^2 (g^2 - 1) / q) / (2 ln g), q the value that chi^2 exceeds in this share:
    1 / ln g steps more for each factor e less noise.
    """
    log = math.log1p(lr * -curvature)
    excess = math.expm1(2 * log) / (lr * sigma / radius) ** 2 / float(chdtri(directions, share))
    return math.log1p(excess) / (2 * log)


def _variance(t: Floats, g: float, s: float) -> Floats:
    V: Floats = s * s * np.expm1(2 * t * math.log(g)) / math.expm1(2 * math.log(g))
    return V


def _killed(g: float, s: float, length: int) -> Floats:
    """P(T <= t): the density on [0, 1], symmetric, through the kernel step by step."""
    nodes, weights = np.polynomial.legendre.leggauss(int(np.clip(8 / s, 200, 1600)))
    y, w = (nodes + 1) / 2, weights / 2
    first = (
        1  # the density is left alone while it is narrower than two kernels: nothing is outside yet
    )
    while (
        math.sqrt(_variance(np.array(float(first)), g, s)) < 2 * s
        and _beyond(first + 1, g, s) < 1e-15
    ):
        first += 1
    K = (_normal(y[:, None] - g * y, s) + _normal(y[:, None] + g * y, s)) * w
    p = _normal(y, math.sqrt(_variance(np.array(float(first)), g, s)))
    cdf = np.zeros(first)
    values = [1 - 2 * float(w @ p)]
    while values[-1] < 1 - TAIL and len(values) < 2 * length + 100:
        p = K @ p
        values.append(1 - 2 * float(w @ p))
    return np.concatenate([cdf, np.maximum.accumulate(np.maximum(values, 0))])


def _beyond(t: int, g: float, s: float) -> float:
    return 2 * float(ndtr(-1 / math.sqrt(_variance(np.array(float(t)), g, s))))


def _normal(z: Floats, s: float) -> Floats:
    density: Floats = np.exp(-0.5 * (z / s) ** 2) / (s * math.sqrt(2 * math.pi))
    return density


def _law(cdf: Floats, returns: bool) -> NoiseExit:
    return NoiseExit(float((1 - cdf).sum()), int(np.searchsorted(cdf, 0.5)), cdf.tolist(), returns)
