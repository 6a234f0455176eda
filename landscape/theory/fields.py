"""Stationary Gaussian fields: mean numbers of stationary points by index, from the formula of Kac
and Rice.

Gradient and Hessian at one point of a stationary field are independent, so the mean number in a
volume V is V (2 pi)^{-d/2} det(M)^{-1/2} E|det H|, M the covariance of the gradient (Adler & Taylor
2007, Random Fields and Geometry).
"""

import math
from collections.abc import Sequence

import mpmath as mp
import numpy as np

from landscape.results import Estimate
from landscape.results.statistics import rare_mean
from landscape.specs import whole
from landscape.theory.pfaffian import at_precision, floats, mean_abs_det

CHUNK = 50_000  # Hessians sampled at once


def torus_counts(
    waves: Sequence[Sequence[int]], variances: Sequence[float] | None = None
) -> list[float]:
    """The exact mean number of stationary points of each index of a random trigonometric polynomial
    on the torus.

    f(x) = sum_k a_k cos(k.x) + b_k sin(k.x) on [0, 2 pi)^d, a_k and b_k independent N(0, variance
    of k). One variable: 2 sqrt(m4 / m2) points (Rice 1945), half of them minima. Two variables:
    E|det H| is an integral over an angle, taken by 400 Gauss points; half are saddles, as the Euler
    sum is 0.

    Args:
        waves: vectors k of one or two integers, one of each pair k, -k.
        variances: one a wave; all 1 by default. A common factor has no effect.

    Raises:
        ValueError: the waves are not of one or two variables, don't span them, or a variance is not
            positive.
    """
    try:
        k = np.asarray(waves, dtype=float)
        v = np.ones(len(k)) if variances is None else np.asarray(variances, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            "torus_counts got waves or variances that are not numbers in even rows."
        ) from None
    if (
        k.ndim != 2
        or k.shape[1] not in (1, 2)
        or not np.isfinite(k).all()
        or (k != k.round()).any()
    ):
        raise ValueError(
            "torus_counts knows waves of one or two integers each; pass [[1], [2]] or [[1, 0], [0, "
            "1]]."
        )
    if v.shape != (len(k),) or not (np.isfinite(v) & (v > 0)).all():
        raise ValueError(
            f"torus_counts got variances of shape {v.shape} for {len(k)} waves; pass one positive "
            f"number a wave."
        )
    gradient = (k.T * v) @ k
    if np.linalg.matrix_rank(gradient) < k.shape[1]:
        raise ValueError(
            "torus_counts: the waves don't span all directions, so no stationary point is isolated."
        )
    if k.shape[1] == 1:
        half = math.sqrt(float(v @ k[:, 0] ** 4) / float(v @ k[:, 0] ** 2))
        return [half, half]
    # of the Hessian: xx, yy, xy
    entries = np.stack([k[:, 0] ** 2, k[:, 1] ** 2, k[:, 0] * k[:, 1]])
    total = (
        2 * math.pi * _mean_abs_det((entries * v) @ entries.T) / math.sqrt(np.linalg.det(gradient))
    )
    return [total / 4, total / 2, total / 4]


def _mean_abs_det(covariance: np.ndarray) -> float:
    """E|h_xx h_yy - h_xy^2| of a normal vector, for which the mean without the bars is 0.

    The form is sum_j l_j g_j^2 in standard normal g with l = +-(a + b, -a, -b), a and b >= 0. In
    polar coordinates about the first axis radius and height integrate in closed form: 4 <c^{3/2} /
    (a + b + c)^{1/2}>, c = a cos^2 + b sin^2.
    """
    form = np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, -1.0]])
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    levels = np.linalg.eigvalsh(root.T @ form @ root)
    if levels[1] > 0:
        levels = -levels[::-1]  # now the largest stands alone
    a, b = np.maximum(-levels[:2], 0)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    angle = (nodes + 1) * math.pi / 4
    c = a * np.cos(angle) ** 2 + b * np.sin(angle) ** 2
    return float(4 * (weights / 2) @ (c**1.5 / np.sqrt(a + b + c)))


def torus_counts_sampled(
    waves: Sequence[Sequence[int]],
    variances: Sequence[float] | None = None,
    samples: int = 400_000,
    seed: int = 0,
) -> list[Estimate]:
    """``torus_counts`` in any number of variables d, the mean of |det H| by index taken over
    sampled Hessians.

    Args:
        waves: vectors k of d integers, one of each pair k, -k.
        variances: one a wave; all 1 by default.
        samples: Hessians drawn, in pairs H, -H; time is proportional to d^3 times this.
        seed: of the sampler.

    Returns:
        One number an index with its 95 % interval; of an index that no draw had it is not [0, 0].

    Raises:
        ValueError: the waves don't span all directions, or an argument is out of range.
    """
    whole(100, samples=samples)
    whole(0, seed=seed)
    k = np.asarray(waves, dtype=float)
    v = np.ones(len(k)) if variances is None else np.asarray(variances, dtype=float)
    if (
        k.ndim != 2
        or v.shape != (len(k),)
        or not (np.isfinite(k).all() and (np.isfinite(v) & (v > 0)).all())
    ):
        raise ValueError(
            "torus_counts_sampled needs rows of integers and one positive variance a wave."
        )
    gradient = (k.T * v) @ k
    d = k.shape[1]
    if np.linalg.matrix_rank(gradient) < d:
        raise ValueError(
            "torus_counts_sampled: the waves don't span all directions, so no stationary point is "
            "isolated."
        )
    scale = (2 * math.pi) ** (d / 2) / math.sqrt(np.linalg.det(gradient))
    rng, half = np.random.default_rng(seed), samples // 2
    a, b = np.triu_indices(d)
    roots = k[:, a] * k[:, b] * np.sqrt(v)[:, None]
    total, square, most = np.zeros(d + 1), np.zeros(d + 1), 0.0
    for size in [CHUNK] * (half // CHUNK) + [half % CHUNK]:
        H = np.zeros((size, d, d))
        H[:, a, b] = rng.standard_normal((size, len(k))) @ roots
        levels = np.linalg.eigvalsh(H, UPLO="U")
        weight, index = np.abs(levels.prod(1)), (levels < 0).sum(1)
        for j in range(d + 1):
            pair = weight * (0.5 * (index == j) + 0.5 * (index == d - j))  # H and -H
            total[j], square[j] = total[j] + pair.sum(), square[j] + (pair**2).sum()
        most = max(most, float(weight.max()))
    mean = scale * total / half
    error = np.sqrt(np.maximum(scale**2 * square / half - mean**2, 0) / (half - 1))
    # A pair H, -H of one index each counts half.
    unit = 0.5 * scale * most / half
    return [rare_mean(m, e, unit) for m, e in zip(mean.tolist(), error.tolist(), strict=True)]


def isotropic_counts(dim: int) -> list[float]:
    """The mean number of stationary points of each index in a unit of volume, for isotropic
    Gaussian fields.

    In units in which df/dx_i and d2f/dx_i dx_j, i != j, have equal variances; else multiply by (mu
    / m)^{d/2}, m and mu those variances. The Hessian is a GOE matrix plus a standard normal number
    times the identity.

    Args:
        dim: d; 0.2 s at 4, growing like d^4.

    Raises:
        ValueError: dim is not a positive integer.
    """
    whole(1, dim=dim)
    values = at_precision(mean_abs_det, 40 + 6 * dim, dim, mp.mpf(1))
    return [v / (2 * math.pi) ** (dim / 2) for v in floats("isotropic_counts", values)]
