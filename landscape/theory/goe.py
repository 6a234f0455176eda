"""The Gaussian orthogonal ensemble: how probable is it that all n eigenvalues are positive?

GOE: symmetric, entries N(0, 1) off the diagonal and N(0, 2) on it. Householder's reduction leaves
the eigenvalues and makes the matrix tridiagonal with independent entries (Dumitriu & Edelman 2002,
J. Math. Phys. 43:5830, beta = 1): a_i ~ N(0, 2) on the diagonal, b_i^2 ~ chi^2 with i degrees of
freedom beside it. Its pivots d_1 = a_1, d_{i+1} = a_{i+1} - e_i with e_i = b_i^2 / d_i are a Markov
chain, and the matrix is positive definite when all are positive. ``log_positive`` integrates over
that chain on a grid; ``sample_weights`` draws whole chains. Both use s = sqrt(d) and t = sqrt(e),
in which all densities are smooth.
"""

import math
from functools import lru_cache
from typing import Literal, overload

import numpy as np
from scipy.special import logsumexp

from landscape.results import Estimate
from landscape.specs import whole

EXACT_TO = 12  # the largest n for which goe_positive integrates unless told otherwise
SMALLEST = math.log(np.finfo(float).tiny)


@overload
def goe_positive(
    n: int, seed: int = 0, *, method: Literal["exact"], samples: int = ..., log: bool = ...
) -> float: ...
@overload
def goe_positive(
    n: int, seed: int = 0, *, method: Literal["sample"], samples: int = ..., log: bool = ...
) -> Estimate: ...
@overload
def goe_positive(
    n: int, seed: int = 0, *, method: str = ..., samples: int = ..., log: bool = ...
) -> float | Estimate: ...
def goe_positive(
    n: int, seed: int = 0, *, method: str = "auto", samples: int = 20_000, log: bool = False
) -> float | Estimate:
    """P(all eigenvalues > 0) of the n x n GOE, about exp(-(ln 3 / 4) n^2) for large n.

    Args:
        n: size of the matrix.
        seed: of the sampler; the exact method ignores it.
        method: ``exact`` integrates over the pivots, to about 12 digits at any n; ``sample`` draws
            chains of pivots by importance sampling; ``auto`` is exact up to n = 12 and samples
            beyond.
        samples: chains drawn, at least 100; time is proportional to n times this.
        log: the natural logarithm of the probability instead, which is needed beyond n = 50.

    Returns:
        A float where exact; an Estimate where sampled, with a normal 95 % interval over the
        independent chains.

    Raises:
        ValueError: an option out of range, or a probability below the smallest float, with
            ``log=False``.
    """
    whole(1, n=n)
    whole(0, seed=seed)
    whole(100, samples=samples)
    if method not in ("auto", "exact", "sample"):
        raise ValueError(f"goe_positive got method={method!r}; pass auto, exact or sample.")
    if method == "exact" or (method == "auto" and n <= EXACT_TO):
        value = log_positive(n)
        return value if log else exp("goe_positive", value)
    weights = sample_weights(n, seed, samples)
    top = float(weights.max())
    ratios = np.exp(weights - top)
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1)) / samples**0.5
    low, high = max(mean - 1.96 * error, 0.0), mean + 1.96 * error
    if log:
        bottom = math.log(low) + top if low > 0 else -math.inf
        return Estimate(math.log(mean) + top, error / mean, bottom, math.log(high) + top)
    exp("goe_positive", math.log(mean) + top)
    scale = math.exp(top)
    return Estimate(mean * scale, error * scale, low * scale, high * scale)


def goe_law(n: int) -> float:
    """The leading term of ln P(all eigenvalues > 0) for large n: -(ln 3 / 4) n^2 (Dean & Majumdar
    2006, Phys. Rev. Lett. 97:160201). The ratio of the true logarithm to it tends to 1 slowly: it
    is 1.18 at n = 8.
    """
    whole(1, n=n)
    return -math.log(3) / 4 * n * n


@lru_cache(maxsize=256)
def log_positive(n: int) -> float:
    """ln P(all eigenvalues > 0), by Gauss-Legendre quadrature over s and t. All terms are positive,
    so no digits cancel.

    Cost: n products of matrices of 200 + 2 n rows with vectors; 0.1 s at n = 20.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200 + 2 * n)
    s = (nodes + 1) * _edge(n) / 2
    w = np.log(weights * _edge(n) / 2)
    arrive = _arrive(s, s[:, None]) + w
    f, total = _arrive(np.zeros(1), s), 0.0
    for i in range(1, n):
        f = logsumexp(_leave(i, s, s[:, None]) + w + f, axis=1)
        f = logsumexp(arrive + f, axis=1)
        top = float(f.max())
        f, total = f - top, total + top
    return total + float(logsumexp(f + w))


def sample_weights(n: int, seed: int, samples: int) -> np.ndarray:
    """Logarithms of independent importance weights, each of mean P(all eigenvalues > 0),
    (samples,).

    Chains s_1, t_1, s_2, ... are drawn from the law of the positive chain on a coarse grid of
    cells, uniform within a cell; a weight is the true density of the chain over the density it was
    drawn from. The grid makes the weights nearly equal, but their mean does not depend on it.
    """
    rng = np.random.default_rng(seed)
    cells = 80 + 6 * n
    width = _edge(n) / cells
    grid = (np.arange(cells) + 0.5) * width
    arrive = _arrive(grid[:, None], grid)  # (t, s)
    # ln of what is still to come, from the last pivot to the first
    ahead_s, ahead_t = (
        [np.zeros(cells)],
        [],
    )
    for i in range(n - 1, 0, -1):
        ahead_t.append(logsumexp(arrive + ahead_s[-1], axis=1))
        ahead_t[-1] -= ahead_t[-1].max()
        ahead_s.append(logsumexp(_leave(i, grid[:, None], grid) + ahead_t[-1], axis=1))
        ahead_s[-1] -= ahead_s[-1].max()
    first = _arrive(np.zeros((1, 1)), grid) + ahead_s.pop()
    cell, s, weight = _draw(first, np.zeros(samples, dtype=np.int64), width, rng)
    weight += _arrive(np.zeros(1), s)
    for i in range(1, n):
        cell, t, step = _draw(_leave(i, grid[:, None], grid) + ahead_t.pop(), cell, width, rng)
        weight += step + _leave(i, s, t)
        cell, s, step = _draw(arrive + ahead_s.pop(), cell, width, rng)
        weight += step + _arrive(t, s)
    return weight


def _draw(
    table: np.ndarray, rows: np.ndarray, width: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From each chain's row of log-weights over cells: the cell drawn, a uniform place in it, and
    -ln of its density.
    """
    table = table - logsumexp(table, axis=1, keepdims=True)
    ends = np.cumsum(np.exp(table), axis=1)
    ends /= ends[:, -1:]
    shifted = (ends + 2.0 * np.arange(len(table))[:, None]).ravel()
    cell = (
        np.searchsorted(shifted, rng.random(len(rows)) + 2.0 * rows, side="right")
        - rows * table.shape[1]
    )
    cell = np.minimum(cell, table.shape[1] - 1)
    place = (cell + 1 - rng.random(len(rows))) * width
    return cell, place, math.log(width) - table[rows, cell]


def _edge(n: int) -> float:
    """Where s and t end: their squares stay below the largest eigenvalue, and the rest has less
    than 1e-15 of the mass.
    """
    return math.sqrt(16 + 3 * math.sqrt(n))


def _leave(i: int, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """ln of the density of t given s, where s^2 t^2 ~ chi^2 with i degrees of freedom."""
    constant = math.log(2) - i / 2 * math.log(2) - math.lgamma(i / 2)
    value: np.ndarray = constant + (i - 1) * np.log(t) + i * np.log(s) - (s * t) ** 2 / 2
    return value


def _arrive(t: np.ndarray, s: np.ndarray) -> np.ndarray:
    """ln of the density of s given t, where s^2 + t^2 ~ N(0, 2)."""
    value: np.ndarray = (
        math.log(2) - 0.5 * math.log(4 * math.pi) + np.log(s) - (s * s + t * t) ** 2 / 4
    )
    return value


def exp(function: str, value: float) -> float:
    """exp(value), refused where it would be lost."""
    if value < SMALLEST:
        raise ValueError(
            f"{function}: a probability of exp({value:.0f}) is below every float; pass log=True."
        )
    return math.exp(value)
