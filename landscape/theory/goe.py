"""How many eigenvalues of a random symmetric matrix are negative: exactly, and by sampling rare events.

G: n x n from the Gaussian orthogonal ensemble, off-diagonal variance 1, diagonal variance 2; signs do not depend on the scale. index:
number of eigenvalues below ``shift``. Exact: with a mark z for every eigenvalue below, the generating function of the index is
Pf A(z) / Pf A(1) (de Bruijn 1955, J. Indian Math. Soc. 19:133), whose entries are incomplete Gaussian moments; it is evaluated at roots
of unity with so many digits that none of the answer's is lost. Sampled: G is orthogonally similar to a tridiagonal matrix with normal
diagonal and chi off-diagonal (Dumitriu & Edelman 2002, J. Math. Phys. 43:5830), whose pivots form a Markov chain.
"""

import math
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
from scipy import special, stats

from landscape.results import Estimate

EXACT = 80  # n up to which the exact probability takes about a second
Matrix = list[list[Any]]  # of mpmath numbers, which have no types


def goe_positive(
    n: int, seed: int = 0, *, method: str = "auto", particles: int = 2_000, filters: int = 40, log: bool = False
) -> float | Estimate:
    """The probability that all eigenvalues of an n x n GOE matrix are positive: of a minimum, were Hessians such matrices.

    Args:
        n: size, at least 1.
        seed: of the sampler.
        method: "exact", "sample", or "auto": exact up to n = 80, sampled beyond.
        particles: of each particle filter.
        filters: independent filters, at least 2; their spread is the error.
        log: give the natural logarithm, which does not underflow (below n = 52 the probability itself does not).

    Returns:
        A float where exact. An Estimate where sampled: mean and standard error over the filters, [low, high] from Student's t. Its
        logarithm's error is the relative one.

    Raises:
        ValueError: an option is out of range.

    Cost: exact O(n^3) in multiple precision: 0.1 s at n = 40; sampled O(n filters particles): a second at n = 20.
    Source: the module's; for large n it falls like exp(-(ln 3 / 4) n^2) (Dean & Majumdar 2006, PRL 97:160201).
    """
    _require_size(n)
    if method not in ("auto", "exact", "sample"):
        raise ValueError(f"method must be auto, exact or sample, got {method!r}.")
    if method == "exact" or (method == "auto" and n <= EXACT):
        logarithm = _log_positive(n)
        return logarithm if log else math.exp(logarithm)
    if particles < 2 or filters < 2:
        raise ValueError(f"particles and filters must be at least 2, got {particles} and {filters}.")
    return _estimate(_filtered(n, particles, filters, seed), log)


def goe_index(n: int, *, shift: float = 0.0) -> list[float]:
    """The probabilities (n + 1) that k = 0..n eigenvalues of an n x n GOE matrix lie below ``shift``, exact to rounding.

    Raises:
        ValueError: n is not a positive whole number or shift not finite.

    Cost: n + 1 Pfaffians in multiple precision: 0.2 s at n = 12, 4 s at n = 30. Source: the module's.
    """
    _require_size(n)
    if not math.isfinite(shift):
        raise ValueError(f"shift must be finite, got {shift!r}.")
    return list(_index_law(n, float(shift)))


def _require_size(n: int) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"n must be a whole number of at least 1, got {n!r}.")


# ---- exact -----------------------------------------------------------------------------------------------------------


@cache
def _log_positive(n: int) -> float:
    with mp.workdps(_digits(n)):
        halves = _Halves(n, mp.mpf(0))
        return float(mp.log(_pfaffian(halves.marked(mp.mpf(0))) / _pfaffian(halves.marked(mp.mpf(1)))))


@cache
def _index_law(n: int, shift: float) -> tuple[float, ...]:
    with mp.workdps(_digits(n)):
        halves = _Halves(n, mp.mpf(shift) / mp.sqrt(2))  # the weight exp(-x^2 / 2) is that of eigenvalues / sqrt 2
        roots = [mp.expjpi(mp.mpf(2) * j / (n + 1)) for j in range(n + 1)]
        values = [_pfaffian(halves.marked(z)) for z in roots]
        law = [mp.re(sum(v * roots[-j * k % (n + 1)] for j, v in enumerate(values))) for k in range(n + 1)]
        total = sum(law)
        return tuple(max(float(p / total), 0.0) for p in law)


def _digits(n: int) -> int:
    """Enough for the smallest probability, exp(-0.35 n^2) = 10^(-0.15 n^2), and for the cancellation in the moments' matrix."""
    return 40 + 3 * n + n * n // 5


class _Halves:
    """Moments of exp(-x^2 / 2) above and below a cut, and their pairings by sgn(y - x).

    p, q: above. p[j] is the integral of x^j exp(-x^2 / 2) over x > cut; q[i][j] that of sgn(y - x) x^i y^j exp(-(x^2 + y^2) / 2) over
    x, y > cut. Both obey recursions by partial integration. Those below follow by reflection.
    """

    def __init__(self, n: int, cut: Any) -> None:
        self.n = n
        self.p, self.q = _moments(n, cut)
        p, q = (self.p, self.q) if cut == 0 else _moments(n, -cut)
        self.below = [(-1) ** i * p[i] for i in range(n)]
        self.pairs_below = [[-((-1) ** (i + j)) * q[i][j] for j in range(n)] for i in range(n)]

    def marked(self, z: Any) -> Matrix:
        """A(z), bordered by the moments themselves where n is odd."""
        n, p, r = self.n, self.p, self.below
        A = [
            [self.q[i][j] + z * z * self.pairs_below[i][j] + z * (r[i] * p[j] - p[i] * r[j]) for j in range(n)]
            for i in range(n)
        ]
        if n % 2:
            border = [p[i] + z * r[i] for i in range(n)]
            A = [[*row, b] for row, b in zip(A, border, strict=True)] + [[*(-b for b in border), mp.mpf(0)]]
        return A


def _moments(n: int, cut: Any) -> tuple[list[Any], Matrix]:
    weight, weight2 = mp.exp(-cut * cut / 2), mp.exp(-cut * cut)
    p = [mp.sqrt(mp.pi / 2) * mp.erfc(cut / mp.sqrt(2)), weight]
    for j in range(2, n):
        p.append(cut ** (j - 1) * weight + (j - 1) * p[j - 2])
    g = [mp.sqrt(mp.pi) / 2 * mp.erfc(cut), weight2 / 2]  # of exp(-x^2)
    for k in range(2, 2 * n):
        g.append((cut ** (k - 1) * weight2 + (k - 1) * g[k - 2]) / 2)
    q = [[mp.mpf(0)] * n for _ in range(n)]
    for i in range(1, n):
        for j in range(i):
            lower = q[i - 2][j] * (i - 1) if i > 1 else 0
            q[i][j] = lower - 2 * g[i + j - 1] + cut ** (i - 1) * weight * p[j]
            q[j][i] = -q[i][j]
    return p[:n], q


def _pfaffian(A: Matrix) -> Any:
    """Of a skew-symmetric matrix of even size, by elimination with pivoting (Wimmer 2012, ACM TOMS 38:30). A is spent."""
    value = mp.mpf(1)
    while A:
        pivot = max(range(1, len(A)), key=lambda i: abs(A[0][i]))
        if A[0][pivot] == 0:
            return mp.mpf(0)
        if pivot != 1:
            A[1], A[pivot] = A[pivot], A[1]
            for row in A:
                row[1], row[pivot] = row[pivot], row[1]
            value = -value
        head, r, t = A[0][1], A[0][2:], A[1][2:]
        value *= head
        A = [
            [a + (t_i * r_j - r_i * t_j) / head for a, r_j, t_j in zip(row[2:], r, t, strict=True)]
            for row, r_i, t_i in zip(A[2:], r, t, strict=True)
        ]
    return value


# ---- sampled ---------------------------------------------------------------------------------------------------------


def _filtered(n: int, particles: int, filters: int, seed: int) -> np.ndarray:
    """Logarithms (filters,) of independent unbiased estimates of the probability.

    The tridiagonal matrix is positive where its pivots d_1, d_2, ... are, and d_next = a - u with u = b^2 / d; a has density exp(-a^2 / 4)
    / sqrt(4 pi), b is chi with k = n - 1, ..., 1 degrees of freedom. In the variables (d, u), all positive, the density is the product
    over k of u^(k/2 - 1) d^(k/2) exp(-u d / 2) exp(-(d_next + u)^2 / 4): a chain without rare events. Particles draw u and d_next from
    gamma distributions near those factors and are weighted and resampled (particle filter; its product of mean weights is
    unbiased: Del Moral 2004, Feynman-Kac Formulae).
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    shape, normal = (filters, particles), 0.5 * math.log(4 * math.pi)
    m = (n - 1) / 2
    logs = np.full(filters, m * math.log(2) + math.lgamma((m + 1) / 2) - normal)
    d = 2 * np.sqrt(rng.gamma((m + 1) / 2, size=shape))  # the first pivot exactly: d^m exp(-d^2 / 4)
    for k in range(n - 1, 0, -1):
        rate = k / 2 / _typical(d, k)
        u = rng.gamma(k / 2, size=shape) / rate
        weight = (rate - d / 2) * u - k / 2 * np.log(2 * rate)
        if k == 1:  # the last pivot, summed over exactly
            weight += special.log_ndtr(-u / math.sqrt(2))
        else:
            mode = _mode(u, k - 1)
            power = (k - 1 + mode**2) / 2
            fresh = rng.gamma(power + 1) * mode / power
            weight += (k - 1) / 2 * np.log(fresh) - (fresh + u) ** 2 / 4 - normal
            weight -= stats.gamma.logpdf(fresh, power + 1, scale=mode / power)
            d = fresh
        top = weight.max(axis=1, keepdims=True)
        scaled = np.exp(weight - top)
        logs += np.log(scaled.mean(axis=1)) + top[:, 0]
        d = np.take_along_axis(d, _resampled(scaled, rng), axis=1)
    return logs


def _mode(u: np.ndarray, k: int) -> np.ndarray:
    """Where d^(k/2) exp(-(d + u)^2 / 4) is largest."""
    mode: np.ndarray = (np.sqrt(u * u + 4 * k) - u) / 2
    return mode


def _typical(d: np.ndarray, k: int) -> np.ndarray:
    """The u near which u^(k/2) exp(-u d / 2 - (d_next + u)^2 / 4) has its weight: k / u = d + d_next + u, roughly solved."""
    u: np.ndarray = k / (d + np.sqrt(k))
    for _ in range(6):
        u = 0.5 * (u + k / (d + u + _mode(u, k - 1)))
    return u


def _resampled(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ancestors (filters, particles), drawn systematically in proportion to the weights."""
    filters, particles = weights.shape
    sums = np.cumsum(weights, axis=1)
    points = (np.arange(particles) + rng.uniform(size=(filters, 1))) / particles * sums[:, -1:]
    return np.stack([np.searchsorted(s, p).clip(max=particles - 1) for s, p in zip(sums, points, strict=True)])


def _estimate(logs: np.ndarray, log: bool) -> Estimate:
    """The mean of exp(logs) or its logarithm, with Student's interval over the filters."""
    top = float(logs.max())
    ratios = np.exp(logs - top)
    mean, error = float(ratios.mean()), float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    spread = float(stats.t.ppf(0.975, len(ratios) - 1)) * error + 1e-14 * mean  # the last for rounding
    if log:
        centre, least = math.log(mean) + top, max(mean - spread, math.ulp(0.0))
        return Estimate(centre, error / mean, math.log(least) + top, math.log(mean + spread) + top)
    scale = math.exp(top)
    return Estimate(scale * mean, scale * error, scale * max(mean - spread, 0.0), scale * (mean + spread))
