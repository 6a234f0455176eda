"""How many stationary points mathematics expects, and of which index.

Index k: number of negative eigenvalues of the Hessian. Counts are means over the ensemble, not those of one realisation. Three answers
to the same question: independent signs (the coin toss), a random symmetric matrix (``goe.py``), and what the Kac-Rice formula (Adler &
Taylor 2007, Random Fields and Geometry, ch. 11) gives for fields on tori and spheres, where |det H| weighs the matrices.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from landscape.results import Estimate
from landscape.theory.goe import goe_index

NODES = (
    120  # of the Gauss-Legendre rule over the eigenvalue; twice as many change the tabulated counts by less than 1e-12
)
BLOCK = 100_000  # Hessians sampled at once


def coin_toss(n: int, *, maxima: bool = False) -> float:
    """The probability that a stationary point in dimension n is a saddle, were the n signs fair coins: 1 - 2^(1 - n), exact.

    Args:
        n: dimension, at least 1.
        maxima: count maxima as saddles: 1 - 2^-n, the chance that the point is no minimum.

    Raises:
        ValueError: n is not a positive whole number.

    Source: the heuristic is quoted in Dauphin et al. 2014, NeurIPS. Eigenvalues repel each other: see ``goe_positive``.
    """
    _require(n, 1, "n")
    return 1 - 2.0 ** (-n if maxima else 1 - n)


def coin_toss_index(n: int) -> list[float]:
    """The probabilities (n + 1) of index 0..n, were the n signs fair coins: C(n, k) 2^-n, exact.

    Raises:
        ValueError: n is not a positive whole number.
    """
    _require(n, 1, "n")
    return [math.comb(n, k) / 2**n for k in range(n + 1)]


def index_fraction(w: float) -> float:
    """The share of negative eigenvalues of a semicircle of radius 1 shifted by -w: 1/2 + (w sqrt(1 - w^2) + arcsin w) / pi, in [0, 1].

    At a stationary point of energy E, w = E / E_inf for the spherical p-spin (``pspin_threshold``), E per spin; w = eps / 2 for a Gaussian
    field of covariance n exp(-|x - y|^2 / (2 n)) with energy n eps.

    Source: Bray & Dean 2007, PRL 98:150201.
    """
    w = min(max(float(w), -1.0), 1.0)
    return 0.5 + (w * math.sqrt(1 - w * w) + math.asin(w)) / math.pi


def pspin_counts(p: int, n: int) -> list[float]:
    """The mean numbers (n) of stationary points of index 0..n - 1 of the spherical p-spin on the sphere in R^n, to about 1e-12.

    With covariance (x.y)^p, both x and -x counted, E N_k = 2 sqrt(2 / p) (p - 1)^(n / 2) E exp(-(p - 2) l_k^2 / (4 p)), l_k the k-th
    eigenvalue of an n x n GOE matrix, whose distribution is ``goe_index`` with a shift.

    Args:
        p: degree, at least 2.
        n: coordinates, at least 2; the sphere has dimension n - 1.

    Raises:
        ValueError: p or n is out of range.

    Cost: 120 index laws: 0.5 s at n = 4, 15 s at n = 10. Source: Auffinger, Ben Arous & Cerny 2013, CPAM 66:165, theorem 2.1.
    """
    _require(p, 2, "p")
    _require(n, 2, "n")
    c = (p - 2) / (4 * p)
    top = 2 * math.sqrt(n) + 12  # beyond it no eigenvalue, to 1e-15
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    x, weights = top * nodes, top * weights
    laws = np.array([goe_index(n, shift=float(s)) for s in x])  # (nodes, n + 1)
    more = 1 - np.cumsum(laws, axis=1)[:, :-1]  # more than k eigenvalues below x: l_k < x
    slope = 2 * c * x * np.exp(-c * x * x)  # of -exp(-c x^2)
    means = math.exp(-c * top * top) + (weights * slope) @ more
    factor: float = 2 * math.sqrt(2 / p) * (p - 1) ** (n / 2)
    return [factor * float(m) for m in means]


def pspin_threshold(p: int, k: int | None = None) -> float:
    """Threshold energies per spin of the spherical p-spin (n -> infinity, the variance of H is n), signs dropped.

    E_k for a number k: below -E_k there are no stationary points of index k, and -E_0 is the ground state. E_inf = 2 sqrt((p - 1) / p) for
    None: below -E_inf indices are finite, above it they grow like n.

    Raises:
        ValueError: p is below 3, or k negative.

    Source: Auffinger, Ben Arous & Cerny 2013, CPAM 66:165, theorem 2.5; Crisanti & Sommers 1995.
    """
    _require(p, 3, "p")
    if k is None:
        return 2 * math.sqrt((p - 1) / p)
    _require(k, 0, "k")
    limit = pspin_threshold(p)
    return float(optimize.brentq(lambda e: pspin_complexity(-e, p, k), limit, limit + 3, xtol=1e-15, rtol=1e-14))


def pspin_complexity(energy: float, p: int, k: int = 0) -> float:
    """lim (1 / n) ln E #{stationary points of index k with energy per spin below ``energy``}, for energies up to -E_inf.

    Raises:
        ValueError: p is below 3, k negative, or the energy above -E_inf, where the complexity of every finite k is what it is at -E_inf.

    Source: Auffinger, Ben Arous & Cerny 2013, CPAM 66:165, theorem 2.5.
    """
    _require(p, 3, "p")
    _require(k, 0, "k")
    limit = 2 * math.sqrt((p - 1) / p)
    if not energy <= -limit * (1 - 1e-15):
        raise ValueError(f"energy must be at most -E_inf = {-limit:.6g}, got {energy!r}.")
    root = math.sqrt(max(energy * energy - limit * limit, 0.0))
    rate = -energy * root / limit**2 - math.log((-energy + root) / limit)
    return math.log(p - 1) / 2 - (p - 2) * energy**2 / (4 * (p - 1)) - (k + 1) * rate


def torus_counts(
    waves: Sequence[Sequence[int]], variances: Sequence[float] | None = None, *, samples: int = 400_000, seed: int = 0
) -> list[float] | list[Estimate]:
    """The mean numbers (d + 1) of stationary points by index of f(x) = sum_k a_k cos(k.x) + b_k sin(k.x) on the torus [0, 2 pi)^d.

    Args:
        waves: vectors k of d whole numbers, one of each pair k, -k, spanning R^d.
        variances: of a_k and b_k, independent normal; None: all 1.
        samples: Hessians drawn where d > 1.
        seed: of them.

    Returns:
        Floats, exact, for d = 1: sqrt(m4 / m2) maxima and as many minima, m_r = sum of variance k^r. Estimates with standard errors for
        d > 1: (2 pi)^(d / 2) det(M)^(-1/2) E |det H| by index, M the gradient's covariance, which is independent of H.

    Raises:
        ValueError: the waves do not span, or the numbers do not fit.

    Source: Rice 1945; Adler & Taylor 2007, ch. 11.
    """
    K = np.asarray(waves, dtype=float)
    s = np.ones(len(K)) if variances is None else np.asarray(variances, dtype=float)
    if K.ndim != 2 or s.shape != (len(K),) or not (s > 0).all() or np.linalg.matrix_rank(K) < K.shape[1]:
        raise ValueError(
            f"waves must be vectors that span R^d, each with a positive variance, got {len(K)} waves and {len(s)} variances."
        )
    _require(samples, 100, "samples")
    M = (K.T * s) @ K
    d = K.shape[1]
    if d == 1:
        half = math.sqrt(float(s @ K[:, 0] ** 4 / M[0, 0]))
        return [half, half]
    scale = (2 * math.pi) ** (d / 2) / math.sqrt(float(np.linalg.det(M)))
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    first, second = np.zeros(d + 1), np.zeros(d + 1)
    for begun in range(0, samples, BLOCK):
        xi = rng.standard_normal((min(BLOCK, samples - begun), len(K))) * np.sqrt(s)
        eigenvalues = np.linalg.eigvalsh(np.einsum("rk,ki,kj->rij", xi, K, K))
        sizes, index = scale * np.abs(eigenvalues.prod(axis=1)), (eigenvalues < 0).sum(axis=1)
        first += np.bincount(index, sizes, minlength=d + 1)
        second += np.bincount(index, sizes**2, minlength=d + 1)
    means = first / samples
    errors = np.sqrt((second / samples - means**2) / samples)
    return [Estimate(m, e, m - 1.96 * e, m + 1.96 * e) for m, e in zip(means.tolist(), errors.tolist(), strict=True)]


def _require(value: int, least: int, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
