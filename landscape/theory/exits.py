"""How many steps SGD takes to leave a quadratic saddle, exactly as torch iterates it; how fast it
leaves.

f(x) = 1/2 sum_i lam_i x_i^2. x: (R, n), a run a row. k = lam + weight_decay, h = lr, m = momentum,
d = dampening, b the buffer:

    first step   b = k x, not dampened;          then   b <- m b + (1 - d) k x
    x <- x - h b,  with Nesterov's form  x <- x - h (k x + m b),  and without momentum  x <- x - h k
                   x

A coordinate is a power of a 2 by 2 matrix on (x, b). It carries a power of two of its own, so that
nothing over- or underflows where torch, in its finite formats, would: compare with ``stalled`` of
``landscape.escape``.
"""

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from landscape.specs import number

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
NEVER = -1  # the step of a run that does not leave


def sgd_exit(
    curvatures: ArrayLike,
    start: ArrayLike,
    radius: float = 1.0,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    steps: int = 100_000,
) -> Ints:
    """The first step after which |x| > radius, 0 at the start: (R,) int64, -1 where it is later
    than ``steps``.

    Exact up to rounding: of t steps, about t eps of the distance. Where every k is at most 0 and
    dampening at most 1 distances grow, and the step is found by doubling in O(n log steps) a run;
    else by stepping, 10 microseconds a step and more.

    Args:
        curvatures: (n,) lam.
        start: (R, n) or (n,) displacements from the saddle.
        radius: of the ball.
        lr, momentum, dampening, nesterov, weight_decay: as of torch.optim.SGD.
        steps: the last step looked at.

    Raises:
        ValueError: shapes that do not fit, or an option that torch refuses.
    """
    lam, X = _shaped(curvatures, start)
    require_options(lr, momentum, dampening, nesterov, weight_decay)
    if not 0 < radius < math.inf:
        raise ValueError(f"the radius must be a positive number, got {radius!r}.")
    k = lam + weight_decay
    (X, E), (size, shift) = np.frexp(X), math.frexp(radius)
    # in units of the radius, which may be beyond the format
    X, E = (
        X / size,
        E.astype(np.int64) - shift,
    )
    left = np.where(_outside(X, E), 0, NEVER).astype(np.int64)
    first = _first(k, X, lr, momentum, nesterov)
    M = matrices(k, lr, momentum, dampening, nesterov)
    falling = (k <= 0) | (X == 0).all(0)
    limits = (
        _doubled(M[falling], first[:, falling], E[:, falling], steps)
        if dampening <= 1 and falling.any()
        else left * 0 + NEVER
    )
    late = (
        limits
        if falling.all() and dampening <= 1
        else _stepped(M, first, E, np.where(limits < 0, steps, limits))
    )
    return np.where(left == 0, left, late)


def sgd_growth(
    curvatures: ArrayLike,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Floats:
    """By what factor a step of SGD lengthens x along each curvature in the long run: (n,), the
    spectral radius.

    Above 1 along falling directions; above 1 along rising ones where lr is beyond the limit of
    stability. 1 + lr |lam| without momentum. Options as of ``sgd_exit``.

    Raises:
        ValueError: an option that torch refuses.
    """
    require_options(lr, momentum, dampening, nesterov, weight_decay)
    k = np.atleast_1d(np.asarray(curvatures, dtype=np.float64)) + weight_decay
    M = matrices(k, lr, momentum, dampening, nesterov)
    half, det = (M[:, 0, 0] + M[:, 1, 1]) / 2, M[:, 0, 0] * M[:, 1, 1] - M[:, 0, 1] * M[:, 1, 0]
    spread = half * half - det
    real = np.abs(half) + np.sqrt(np.maximum(spread, 0))
    factors: Floats = np.where(spread >= 0, real, np.sqrt(np.abs(det)))
    return factors


def sgd_folds(
    curvatures: ArrayLike,
    start: ArrayLike,
    radius: float = 1.0,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    inner: float = 0.1,
    steps: int = 10_000,
) -> Floats:
    """e-folds of |x| a step from the first one beyond ``inner`` times the radius to the first one
    beyond the radius: (R,).

    The logarithm of ``sgd_growth`` where one direction rules; less where slower ones still carry a
    part. NaN where the second does not come within ``steps``, or not after the first. Other
    arguments as of ``sgd_exit``. Cost: a product with (n, 2, 2) a run and step.

    Raises:
        ValueError: shapes that do not fit, or an option that torch refuses.
    """
    lam, X = _shaped(curvatures, start)
    require_options(lr, momentum, dampening, nesterov, weight_decay)
    k = lam + weight_decay
    M = matrices(k, lr, momentum, dampening, nesterov)

    def distances() -> Iterator[Floats]:
        yield np.linalg.norm(X, axis=1)
        Z = _first(k, X, lr, momentum, nesterov)
        for _ in range(steps):
            yield np.linalg.norm(Z[..., 0], axis=1)
            Z = np.einsum("nij,rnj->rni", M, Z)

    return folds(distances(), radius, inner)


def folds(distances: Iterable[Floats], radius: float, inner: float) -> Floats:
    """e-folds a step between the first distance (R,) beyond ``inner`` times the radius and the
    first beyond the radius, NaN without.
    """
    for t, D in enumerate(distances):
        if t == 0:
            since, size, found = (
                np.full(len(D), NEVER, np.int64),
                np.ones(len(D)),
                np.full(len(D), np.nan),
            )
            over = np.zeros(len(D), bool)
        new = (since == NEVER) & (inner * radius < D)
        since[new], size[new] = t, D[new]
        out = (radius < D) & ~over
        last = out & (since < t)
        found[last] = np.log(D[last] / size[last]) / (t - since[last])
        over |= out
        if over.all():
            break
    return found


def matrices(k: Floats, lr: float, momentum: float, dampening: float, nesterov: bool) -> Floats:
    """(x, b) -> (x, b) of one step from the second on: (n, 2, 2)."""
    one = np.ones_like(k)
    if momentum == 0:
        return np.stack([np.stack([1 - lr * k, 0 * one], -1), np.stack([0 * one, 0 * one], -1)], -2)
    if nesterov:
        rows = [[1 - lr * k * (1 + momentum), -lr * momentum**2 * one], [k, momentum * one]]
    else:
        rows = [
            [1 - lr * (1 - dampening) * k, -lr * momentum * one],
            [(1 - dampening) * k, momentum * one],
        ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _first(k: Floats, X: Floats, lr: float, momentum: float, nesterov: bool) -> Floats:
    """(x, b) after the first step: (R, n, 2)."""
    if momentum == 0:
        return np.stack([(1 - lr * k) * X, 0 * X], -1)
    along = 1 + momentum if nesterov else 1.0
    return np.stack([(1 - lr * k * along) * X, k * X], -1)


def _doubled(M: Floats, Z: Floats, E: Ints, steps: int) -> Ints:
    """The first step at which distances that only grow exceed 1; Z 2^E: (R, n, 2) after step 1."""
    done = _outside(Z[..., 0], E)
    t = np.ones(len(Z), np.int64)
    powers = [(M, np.zeros(len(M), np.int64))]
    while 2 ** len(powers) < steps:
        P, e = powers[-1]
        powers.append(_scaled(P @ P, 2 * e, 2))
    for j in reversed(
        range(len(powers))
    ):  # the largest number of steps that stays inside, bit by bit
        P, e = powers[j]
        moved, shifted = _scaled(np.einsum("nij,rnj->rni", P, Z), E + e, 1)
        inside = ~_outside(moved[..., 0], shifted) & ~done
        Z, E = np.where(inside[:, None, None], moved, Z), np.where(inside[:, None], shifted, E)
        t += np.where(inside, 2**j, 0)
    t = np.where(done, 1, t + 1)
    return np.where(t <= steps, t, NEVER).astype(np.int64)


def _stepped(M: Floats, Z: Floats, E: Ints, limits: Ints) -> Ints:
    """The same step by step for any signs, each run up to its limit."""
    left = np.full(len(Z), NEVER, np.int64)
    rows = np.flatnonzero(limits >= 1)
    Z, E = Z[rows], E[rows]
    t = 1
    while len(rows):
        out = _outside(Z[..., 0], E)
        left[rows[out]] = t
        on = ~out & (limits[rows] > t)
        rows = rows[on]
        Z, E = _scaled(np.einsum("nij,rnj->rni", M, Z[on]), E[on], 1)
        t += 1
    return left


def _scaled(A: Floats, e: Ints, axes: int) -> tuple[Floats, Ints]:
    """A 2^e with A's last axes brought to a size of about 1, exactly."""
    over = tuple(range(-axes, 0))
    shift = np.frexp(np.abs(A).max(over))[1].astype(np.int64)
    scaled: Floats = np.ldexp(A, -shift.reshape(shift.shape + (1,) * axes))
    return scaled, e + shift


def _outside(X: Floats, E: Ints) -> NDArray[np.bool_]:
    """Which rows of X 2^E (R, n) are longer than 1."""
    with np.errstate(over="ignore", under="ignore"):
        outside: NDArray[np.bool_] = np.square(np.ldexp(X, np.clip(E, -4000, 4000))).sum(-1) > 1
    return outside


def _shaped(curvatures: ArrayLike, start: ArrayLike) -> tuple[Floats, Floats]:
    lam = np.atleast_1d(np.asarray(curvatures, dtype=np.float64))
    X = np.atleast_2d(np.asarray(start, dtype=np.float64))
    if lam.ndim != 1 or X.ndim != 2 or X.shape[1] != len(lam):
        raise ValueError(
            f"start must be (runs, {lam.size}) beside curvatures {lam.shape}, got {X.shape}."
        )
    if not (np.isfinite(lam).all() and np.isfinite(X).all()):
        raise ValueError("curvatures and start must be finite.")
    return lam, X


def require_options(
    lr: float, momentum: float, dampening: float, nesterov: bool, weight_decay: float
) -> None:
    """Raise ValueError unless torch.optim.SGD would take these options."""
    number(0, lr=lr, momentum=momentum, weight_decay=weight_decay)
    if not math.isfinite(dampening):
        raise ValueError(f"dampening must be a finite number, got {dampening!r}.")
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError("Nesterov's form needs momentum and no dampening, as in torch.")
