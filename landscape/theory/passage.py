"""How long noise takes over a barrier: dx = -V'(x) dt + sqrt(2 T) dW, exactly by quadrature and by
Kramers' formula.

The mean time from a to b > a, with nothing in the way on the left, is
1/T int_a^b e^{V(y)/T} int_{-inf}^y e^{-V(z)/T} dz dy (Gardiner 2004, Handbook of Stochastic
Methods, chapter 5).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from landscape.theory.exits import Floats

PANELS, NODES = 600, 12
FINE = 50  # pieces of a panel that are looked at first: 360,000 nodes on either side of the start
STEEP = 3.0  # of V / T within a panel: a polynomial holds e^{-V/T} to 1e-10 then
CLOSE = 1e-9  # between a panel's polynomial and V / T at other nodes
SPLITS = 45  # halvings, down to rounding
MOST_NODES = 3_000  # on either side of a joint
MOST = 200_000  # rough panels
WALL = 1_500.0  # V / T above the left's lowest that no time within floats gets over
FAR = 300  # powers of 5 / 4 of the way from start to target, how far left it is looked for a wall


def mean_passage(
    potential: Callable[[Floats], Floats | float],
    temperature: float,
    start: float,
    target: float,
    left: float | None = None,
    *,
    points: Sequence[float] = (),
) -> float:
    """The exact mean time from ``start`` to ``target``, 1e-9 and better for a smooth potential.

    The potential is looked at 360,000 points on either side of the start, and panels are halved
    until a polynomial of degree 11 holds it on each. What is narrower than some millionths of a
    side may be missed, unless ``points`` tell where it is.

    Args:
        potential: V on arrays; it must grow to the left, or be infinite from somewhere on.
        temperature: T.
        start, target: a < b.
        left: where the integral over all x below begins, a wall, at most a; None: where e^{-V/T}
            has fallen by e^-60.
        points: where the potential has narrow features or kinks, as for ``scipy.integrate.quad``.

    Raises:
        ValueError: temperature is not positive, start is not below target or below left, the
            potential does not grow to the left, or it is rough on every scale, so that no panels
            resolve it.
    """
    if not 0 < temperature < math.inf or not start < target:
        raise ValueError(
            f"need temperature > 0 and start < target, got {temperature!r}, {start!r}, {target!r}."
        )
    if left is not None and not left <= start:
        raise ValueError(f"left must be at most start, {start!r}, got {left!r}.")

    def over(x: Floats) -> Floats:
        """V / T."""
        return np.broadcast_to(np.asarray(potential(x), dtype=np.float64), x.shape) / temperature

    lowest = _bottom(over, start, target) if left is None else left
    ceiling = float(np.min(over(np.linspace(lowest, start, 1001)[1:]))) + WALL

    def walled(x: Floats) -> Floats:
        """V / T, with finite walls that nothing crosses."""
        return np.minimum(over(x), ceiling)

    edges, first = _panels(walled, (lowest, start, target), points)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(edges)[:, None] / 2
    y = edges[:-1, None] + half * (nodes + 1)
    U = walled(y)
    floor = U.min(1, keepdims=True)
    density = np.exp(floor - U)
    within = density @ _antiderivative(nodes).T * half
    panels = np.log((density * weights).sum(1, keepdims=True) * half) - floor
    # the integral up to a node is that up to its panel, a logarithm, and what is within
    before = np.append(-np.inf, np.logaddexp.accumulate(panels[:-1, 0]))[:, None]
    there, here = (U + before)[first:], (U - floor)[first:]
    top = float(np.maximum(there, here).max())
    outer = (np.exp(there - top) + np.exp(here - top) * within[first:]) * (weights * half[first:])
    total = math.log(float(outer.sum())) + top - math.log(temperature)
    return math.exp(total) if total < 709 else math.inf


def double_well_passage(temperature: float, target: float = 1.0, start: float = -1.0) -> float:
    """``mean_passage`` in x^4/4 - x^2/2: minima at -1 and 1, the saddle at 0, a barrier of 1/4."""
    return mean_passage(lambda x: x**4 / 4 - x**2 / 2, temperature, start, target)


def kramers(
    barrier: float,
    temperature: float,
    well: float,
    top: float,
    third: tuple[float, float] = (0.0, 0.0),
    fourth: tuple[float, float] = (0.0, 0.0),
) -> tuple[float, float]:
    """Kramers' mean time over a barrier to the other side, 2 pi / sqrt(well |top|) e^{barrier / T};
    half of it to the top.

    A limit for T << barrier, with a relative error of order T. The second number returned has that
    order taken out by Laplace's method, if third and fourth derivatives are given: what is then
    left is of order T^2. In the double well the bare formula is 10 % early at T = barrier / 5, the
    corrected one 3 %.

    Args:
        barrier: V(top) - V(well).
        temperature: T.
        well, top: V'' at the bottom, positive, and at the top, negative.
        third, fourth: V''' and V'''' at the bottom and at the top.

    Raises:
        ValueError: a sign is wrong.
    """
    if not (temperature > 0 and well > 0 > top and barrier >= 0):
        raise ValueError(
            f"need temperature > 0, well > 0 > top, barrier >= 0; got {temperature!r}, {well!r}, "
            f"{top!r}, {barrier!r}."
        )
    time = 2 * math.pi / math.sqrt(well * -top) * math.exp(barrier / temperature)
    bottom = -fourth[0] / (8 * well**2) + 5 * third[0] ** 2 / (24 * well**3)
    ridge = fourth[1] / (8 * top**2) + 5 * third[1] ** 2 / (24 * -(top**3))
    return time, time * (1 + temperature * (bottom + ridge))


def sgd_escape_time(
    barrier: float, lr: float, batch: float, well: float, top: float, path: float = 0.5
) -> float:
    """The mean time, lr times steps, in which SGD's own noise carries it out of a sharp minimum.

    2 pi / |top| exp[2 B barrier / lr (s / well + (1 - s) / |top|)], noise of covariance lr / B
    times the Hessian (Xie, Sato & Sugiyama 2021, ICLR). An exponential law: its prefactor and the
    ``path`` share s are not exact; see ``parabolas_passage``.

    Args:
        barrier: difference of the loss between saddle and minimum.
        lr, batch: learning rate and B.
        well, top: curvatures along the way out at the minimum, positive, and at the saddle,
            negative.
        path: s, between 0 and 1.

    Raises:
        ValueError: an option out of range.
    """
    if not (lr > 0 and batch >= 1 and well > 0 > top and barrier >= 0 and 0 <= path <= 1):
        raise ValueError(
            "need lr > 0, batch >= 1, well > 0 > top, barrier >= 0 and path from 0 to 1."
        )
    exponent = 2 * batch * barrier / lr * (path / well + (1 - path) / -top)
    return 2 * math.pi / -top * math.exp(exponent) if exponent < 700 else math.inf


def parabolas_passage(barrier: float, lr: float, batch: float, well: float, top: float) -> float:
    """The exact mean number of SGD's steps from a minimum over the top, with noise of variance
    |f''| / batch, where f'' is ``well`` inside and ``top`` around the barrier's top, with one
    tangent where they meet.

    The chain x <- x - lr (f'(x) + sqrt(|f''(x)| / batch) xi), xi ~ N(0, 1), from the minimum at 0
    until it is beyond the top: the mean times solve T = 1 + K T with its Gaussian kernel K, by
    Gauss and Legendre's rule on either side of the joint.

    For batch barrier >> lr and a small lr well it tends to pi / (well lr) times the exponential of
    ``sgd_escape_time`` at the share path = |top| / (well + |top|) that lies inside. That formula's
    exponent is exact here, its prefactor well / |top| times too large.

    Args:
        barrier: f at the top, positive.
        lr, batch: learning rate and B.
        well, top: f'' at the minimum, positive, and at the top, negative; lr well below 1.

    Raises:
        ValueError: an option out of range, a time beyond 1e11 or so of the small times inside,
            which rounding hides, or steps too small for ``MOST_NODES`` a side, as with lr well
            below 7e-5 or so.
    """
    if not (0 < lr * well < 1 and batch > 0 > top and barrier > 0):
        raise ValueError("need 0 < lr well < 1, batch > 0, top < 0 and barrier > 0.")
    joint, end = parabolas(barrier, well, top)
    scale = math.sqrt(lr / batch)
    if (joint**2 + (end - joint) ** 2) / scale**2 > 25:
        raise ValueError(
            "the barrier is over 25 in units of lr / batch: sgd_escape_time tells its size."
        )
    # left of it lies e^-36 of what crosses
    left = -math.sqrt(joint**2 + (end - joint) ** 2 + 36 * scale**2)
    steps = [lr * math.sqrt(c / batch) for c in (well, -top)]
    panels = []
    for low, high, step in ((left, joint, steps[0]), (joint, end, steps[1])):
        narrow = min(steps) if low == left else step
        needed = 40 + math.ceil(3 * (high - low) / narrow)
        if needed > MOST_NODES:
            raise ValueError(
                f"steps of lr = {lr:g} are too small to sum over: sgd_escape_time has their limit, "
                f"up to its prefactor."
            )
        nodes, weights = np.polynomial.legendre.leggauss(needed)
        panels.append((low + (nodes + 1) * (high - low) / 2, weights * (high - low) / 2))
    y, w = (np.concatenate(parts) for parts in zip(*panels, strict=True))
    inside = y < joint
    mean = np.where(inside, y - lr * well * y, y - lr * top * (y - end))
    spread = np.where(inside, *steps)[:, None]
    K = np.exp(-0.5 * ((y - mean[:, None]) / spread) ** 2) / (spread * math.sqrt(2 * math.pi)) * w
    T = np.linalg.solve(np.eye(len(y)) - K, np.ones(len(y)))
    first = np.exp(-0.5 * (y / steps[0]) ** 2) / (steps[0] * math.sqrt(2 * math.pi)) * w
    return float(1 + first @ T)


def parabolas(barrier: float, well: float, top: float) -> tuple[float, float]:
    """Where two parabolas of curvature ``well`` and ``top``, of minimum 0 at 0 and maximum
    ``barrier``, touch, and where the maximum is.
    """
    share = -top / (well - top)
    joint = math.sqrt(2 * share * barrier / well)
    return joint, joint + math.sqrt(2 * (1 - share) * barrier / -top)


def _bottom(over: Callable[[Floats], Floats], start: float, target: float) -> float:
    """A point so far to the left that nothing below it counts."""
    span = target - start
    deepest = float(np.min(over(np.linspace(start - span, target, 1001))))
    for reach in span * 1.25 ** np.arange(-8, FAR):
        if float(over(np.array([start - reach]))[0]) - deepest > 60:
            return start - float(reach)
    raise ValueError(
        "the potential does not grow to the left of start, so that the mean time is infinite; give "
        "left."
    )


def _panels(
    over: Callable[[Floats], Floats], ends: tuple[float, float, float], points: Sequence[float]
) -> tuple[Floats, int]:
    """Edges of panels on each of which a polynomial holds V / T, and the first panel from the
    start on.
    """
    lowest, start, target = ends
    sides = [np.linspace(lowest, start, PANELS + 1), np.linspace(start, target, PANELS + 1)]
    known = [float(p) for p in points if lowest < p < target]
    edges = np.unique(np.concatenate([*sides, known]))
    low, high = edges[:-1], edges[1:]
    done = [low[:0]]
    for parts in (FINE, *[2] * SPLITS):
        rough = _rough(over, low, high, parts)
        rough &= high - low > 1e-13 * (target - lowest)
        done.append(low[~rough])
        if not rough.any():
            lows = np.sort(np.concatenate(done))
            return np.append(lows, target), int(np.searchsorted(lows, start))
        if rough.sum() * parts > MOST:
            break
        pieces = np.linspace(low[rough], high[rough], parts + 1)
        low, high = pieces[:-1].ravel(), pieces[1:].ravel()
    raise ValueError(
        "the potential is rough on every scale looked at, so that no panels resolve it: smooth it, "
        "or name its kinks by points."
    )


def _rough(
    over: Callable[[Floats], Floats], low: Floats, high: Floats, parts: int
) -> NDArray[np.bool_]:
    """On which panels from low to high (m,) V / T is none of the polynomial through its nodes, or
    e^{-V/T} is not, as the nodes of ``parts`` pieces of each see it.
    """
    nodes, _ = np.polynomial.legendre.leggauss(NODES)
    edges = np.linspace(-1, 1, parts + 1)
    looked = ((edges[:-1, None] + edges[1:, None]) / 2 + nodes / parts).ravel()
    half, middle = (high - low)[:, None] / 2, (high + low)[:, None] / 2
    U, V = (over(middle + half * at) for at in (nodes, looked))
    legendre = np.polynomial.legendre
    through = legendre.legvander(looked, NODES - 1) @ np.linalg.inv(
        legendre.legvander(nodes, NODES - 1)
    )
    apart = np.abs(U @ through.T - V).max(1)
    held = (apart <= CLOSE * np.maximum(1.0, np.abs(V).max(1))) & (np.ptp(V, axis=1) <= STEEP)
    rough: NDArray[np.bool_] = ~held
    return rough


def _antiderivative(nodes: Floats) -> Floats:
    """(m, m): values at the nodes -> integrals from -1 to each node of the polynomial through
    them.
    """
    legendre = np.polynomial.legendre
    V = legendre.legvander(nodes, len(nodes) - 1)
    columns = [
        legendre.legval(nodes, legendre.legint(np.eye(len(nodes))[j], lbnd=-1))
        for j in range(len(nodes))
    ]
    A: Floats = np.stack(columns, 1) @ np.linalg.inv(V)
    return A
