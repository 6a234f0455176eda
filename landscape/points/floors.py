"""What values say along null directions, where derivatives up to the fourth are silent.

u: (n,), a unit null vector of the Hessian H at x. The floor of the valley along u is where f is
stationary in the complement of the null space: x + t u + O(t^2), found by Newton's steps with H^+,
each of which brings it nearer by a factor O(t): after DEEPER of them f is right to order 10 in t.
Of more than DENSE parameters the straight line x + t u stands in for it.

Where H^+ is known from the whole spectrum the floor is found to rounding. On it f is the reduced
function of Lyapunov and Schmidt: where its gradient vanishes a random finite step away, it is
constant, and x lies on a manifold of stationary points that all null vectors are tangents of.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.core import Landscape
from landscape.errors import LoadingError
from landscape.operators.hessian import Hessian
from landscape.operators.limits import gradient_noise, loss_noise
from landscape.rng import generator

DENSE = 500  # parameters up to which H^+ is formed
DEEPER = 4  # Newton's steps towards the floor
LINES = 12  # null directions that are looked along
SMOOTH = 2.5  # f that changes with a smaller power of the distance has a kink
FLAT = 4.5  # f that is flat to fourth order changes with a larger one: a smaller one is rounding
SHARED = 0.3  # a power is even or odd within this
ROUNDS = 30  # of Newton's steps that find the floor to rounding
# How far a level floor is followed, in units of |x|, at least 1: nearer where farther f has kinks.
STEPS = tuple(0.1 * 2.0**-k for k in range(11))
# A slope that a step half as long lowers to rounding from more than so many times that was no power
# of t, but another piece of f.
JUMP = 2.0**12
# Where f is looked at, in units of |x|, at least 1; twice as far at every second step.
DISTANCES = tuple(2.0 ** (-k / 2) for k in range(24, 3, -1))

Array: TypeAlias = NDArray[np.float64]


class Seen(NamedTuple):
    """f changes as ``size`` t^``power`` to one side of x."""

    power: float
    size: float


class Values(NamedTuple):
    """What was seen along null directions."""

    found: list[Seen]  # one for each side of a direction along which f is a power beyond rounding
    lines: int  # directions looked along
    curved: bool  # along the floors, and not along straight lines


def along(
    f: Landscape, H: Hessian, null: Tensor, directions: list[Tensor], uncertainty: float
) -> Values:
    """How f changes near H.x along directions of its null space.

    Args:
        f: the landscape; values are in float64 where it has them.
        H: its Hessian at the point.
        null: (n, m) orthonormal null vectors.
        directions: unit vectors (n,) in their span, of which the first LINES are looked along.
        uncertainty: of the eigenvalues: how curved f may be along them.

    Cost: 42 values a direction, and up to DENSE parameters n products and 172 gradients.
    """
    fine, x = _finest(f, H.x.detach())
    floor = _floor(fine, H, null, x)
    x = floor(x)
    before, slope = float(fine.value(x)), float((null.to(x).T @ fine.gradient(x)).norm())
    t = max(float(x.norm()), 1.0) * np.array(DISTANCES)
    flat = 100 * loss_noise(before, fine.rounding(x)) + slope * t
    curved = Hessian(fine, x)
    uncertainty *= torch.finfo(x.dtype).eps / torch.finfo(H.dtype).eps
    found = []
    for u in directions[:LINES]:
        noise = flat + (uncertainty + abs(float(u.to(x) @ (curved @ u.to(x))))) * t**2
        sides = [
            np.array([float(fine.value(floor(x + s * side * u.to(x)))) - before for s in t])
            for side in (1, -1)
        ]
        found += _told(sides, noise, t)
    return Values(found, min(len(directions), LINES), len(x) <= DENSE)


def level(
    f: Landscape, H: Hessian, null: Tensor, values: Tensor, across: Tensor, seed: int = 0
) -> bool | None:
    """Whether f is constant, as far as rounding tells, on the floor of the valley that null vectors
    are tangents of: a finite step away to both sides in a random direction. None: no floor is found
    at any distance.

    Args:
        f: the landscape; computed in float64 where it has it.
        H: its Hessian at the point.
        null: (n, m) orthonormal null vectors; all of them together with those left out of all.
        values, across: (r,), (n, r) the eigenpairs of H that are not zero, one at least.
        seed: of the direction.

    Cost: up to some tens of gradients for each of 22 steps, mostly some gradients for two.
    """
    fine, x = _finest(f, H.x.detach())
    V, curvature, whole = across.to(x), values.to(x), max(float(x.norm()), 1.0)
    rounding = gradient_noise(x.new_tensor([whole]), float(curvature.abs().max()), fine.rounding(x))

    def settled(y: Tensor) -> tuple[float, Tensor]:
        return _settled(fine, y, V, curvature, rounding)

    slope, x = settled(x)
    if slope == np.inf:
        return None
    before, allowed = float(fine.value(x)), 10 * (slope + rounding)
    draws = generator(seed + 29)
    c = torch.randn(null.shape[1], generator=draws, dtype=torch.float64, device="cpu")
    u = null.to(x) @ (c / c.norm()).to(x)
    noise = 100 * loss_noise(before, fine.rounding(x))
    last = np.inf
    for t in (whole * s for s in STEPS):
        ends = [settled(x + side * t * u) for side in (1, -1)]
        slope = max(slope for slope, _ in ends)
        if slope <= allowed:
            changes = [abs(float(fine.value(y)) - before) for _, y in ends]
            return last > JUMP * allowed and max(changes) <= noise + allowed * t
        last = min(slope, last)
    return None if last == np.inf else False


def _settled(
    f: Landscape, y: Tensor, V: Tensor, curvature: Tensor, rounding: float
) -> tuple[float, Tensor]:
    """The slope of the floor below y (n,), and the place: steps along curved directions V (n, r)
    until f is stationary there; infinite where it is not.
    """
    for _ in range(ROUNDS):
        g = f.gradient(y)
        part = V.T @ g
        if not bool(torch.isfinite(g).all()):
            break
        if float(part.norm()) <= rounding:
            return float(g.norm()), y
        y = y - V @ (part / curvature)
    return np.inf, y


def _finest(f: Landscape, x: Tensor) -> tuple[Landscape, Tensor]:
    """f and x in float64 where f can be computed so."""
    try:
        fine = f.astype(torch.float64)
        fine.value(x.double())
        return fine, x.double()
    except (RuntimeError, LoadingError):
        return f, x


def _floor(f: Landscape, H: Hessian, null: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """A point (n,) -> the one of the floor that is nearest to it in the complement of ``null``."""
    if len(x) > DENSE:
        return lambda y: y
    N = null.to(x)
    P = torch.eye(len(x), dtype=x.dtype, device=x.device) - N @ N.T
    inverse = P @ torch.linalg.pinv(P @ H.dense().to(x) @ P, hermitian=True, rtol=1e-7) @ P

    def settled(y: Tensor) -> Tensor:
        for _ in range(DEEPER):
            y = y - inverse @ f.gradient(y)
        return y

    return settled


def _told(sides: list[Array], noise: Array, t: Array) -> list[Seen]:
    """The power laws of the changes to both sides. A third or fourth power that f is smooth enough
    for is rounding, since its derivatives say so.
    """
    plus, minus = sides
    parts = (_leading((plus + minus) / 2, noise, t), _leading((plus - minus) / 2, noise, t))
    # an even part is of even powers where f is smooth, an odd part of odd ones
    smooth = all(
        seen is None or abs((seen.power - parity + 1) % 2 - 1) < SHARED
        for parity, seen in enumerate(parts)
    )
    found = (_leading(side, noise, t) for side in sides)
    return [seen for seen in found if seen and not (smooth and SMOOTH < seen.power < FLAT)]


def _leading(changes: Array, noise: Array, t: Array) -> Seen | None:
    """The power law of changes at the distances t, nearest to 0; None where there is none, or where
    they are within noise.
    """
    seen = np.abs(changes) > noise
    for i in range(len(t) - 3):
        here = slice(i, i + 4)
        if not seen[here].all() or len(set(np.sign(changes[here]))) > 1:
            continue
        powers = np.diff(np.log2(np.abs(changes[here]))) / np.diff(np.log2(t[here]))
        if np.ptp(powers) < 0.1:
            return Seen(float(powers[0]), float(changes[i] / t[i] ** powers[0]))
    return None
