"""The ways a search walks: Newton-MR, descent on the gradient norm, and steps in eigenvectors
within a trust radius.

Every way is a function of a Walk that goes on until ``walk.stop`` is set. w: (m,) eigenvalues, or
Ritz values, ascending; c: (m,) the gradient along their vectors, a: (m,) the step along them.
Newton's step is a = -c / w; saddle-free Newton's -c / |w| (Dauphin et al. 2014, NeurIPS); the one
that goes up along the lowest ``index`` modes and down along the others has a = c / |w| there: the
high-index saddle dynamics of Yin, Zhang & Zhang 2019 (SISC 41:A3576) with Newton's lengths.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.linalg.minres import minres
from landscape.linalg.reductions import combine, dots, norm, orthogonalise
from landscape.operators.base import Complement
from landscape.operators.limits import DENSE_STEP, EIGENVALUE_ULPS
from landscape.points.look import Look
from landscape.points.walk import Outcome, Walk, backtrack, dot

# Vectors of the subspace above DENSE_STEP dimensions, and MODE more for each mode that is followed.
KRYLOV = 40
MODE = 10
# The most products of one MINRES solve.
INNER = 1000
# Pairs that L-BFGS remembers.
MEMORY = 20
# Times that a stationary point of a wrong index is left.
KICKS = 5
# Methods that do not minimise the gradient norm halve their longest step after LAPS steps without a
# lower one, at most
# HALVINGS times.
LAPS = 40
HALVINGS = 8

Array = NDArray[np.float64]


def newton(walk: Walk) -> None:
    """Minimise |g|^2 by Newton's method, with the eigenvectors of the whole Hessian where it can be
    formed.
    """
    (newton_dense if walk.operator().shape[0] <= DENSE_STEP else newton_mr)(walk)


def newton_mr(walk: Walk) -> None:
    """Minimise |g|^2 by Newton steps of least length, from MINRES, and a line search (Roosta et al.
    2018, arXiv:1810.00303).

    H p = -g is solved to a relative residual that shrinks with the gradient, so that the end is
    superlinear.
    """
    eps = torch.finfo(walk.place.x.dtype).eps
    while walk.stop is None:
        A, g, here = walk.operator(), walk.gradient(), walk.place
        tol = (
            max(min(0.1, (here.norm / walk.start.norm) ** 0.5), 100 * eps)
            if walk.start.norm
            else 0.1
        )
        inner = max(3, min(INNER, 2 * A.shape[0] + 20, walk.budget - walk.products))
        solved = minres(A, -g, tol=tol, flat=10 * eps, max_products=inner)
        length = float(norm(solved.x))
        walk.note(solved.scale, length)
        if walk.stop is not None:
            return
        # the residual is orthogonal to H p
        slope = 2 * (dot(solved.residual, solved.residual) - here.norm**2)
        cut = min(1.0, walk.stride / length) if length else 1.0
        place = backtrack(walk, cut * walk.lift(solved.x), cut * slope)
        walk.end_stalled() if place is None else walk.go(place)


def gradient_norm(walk: Walk) -> None:
    """Minimise |g|^2 / 2, whose gradient is H g, by L-BFGS (Nocedal 1980, Math. Comp. 35:773): a
    product a step.
    """
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    last: tuple[Tensor, Tensor] | None = None  # the step taken, and H g before it
    first = 0.0  # the length of the first step, in units of H g
    while walk.stop is None:
        A = walk.operator()
        h = A @ walk.gradient()
        slope = walk.lift(h)
        size = float(norm(h))
        if last is not None and dot(last[0], slope - last[1]) > 0:
            pairs.append((last[0], slope - last[1]))
        if not first and size:
            bent = float(norm(A @ h))
            first = size**2 / max(bent**2, torch.finfo(h.dtype).tiny)
            walk.largest = bent / size
        walk.note(size / (walk.place.norm or 1.0), walk.place.norm**2 / size if size else 0.0)
        if walk.stop is not None:
            return
        step = _within(-_two_loops(slope, pairs, first), walk.stride)
        here, place = walk.place, backtrack(walk, step, 2 * dot(step, slope))
        if place is not None:
            last = (step * 0 + walk.domain.difference(here.x, place.x), slope)
            walk.go(place)
        elif pairs:
            pairs.clear()  # a stale memory may point uphill
            last = None
        else:
            walk.end_stalled()


def _within(step: Tensor, radius: float) -> Tensor:
    """The step (n,), shortened to the radius if it is longer."""
    length = float(norm(step))
    return step * min(1.0, radius / length) if length else step


def _two_loops(h: Tensor, pairs: deque[tuple[Tensor, Tensor]], first: float) -> Tensor:
    """The inverse Hessian of L-BFGS times h."""
    weights = []
    for s, y in reversed(pairs):
        weights.append(dot(s, h) / dot(s, y))
        h = h - weights[-1] * y
    h = h * (dot(*pairs[-1]) / dot(pairs[-1][1], pairs[-1][1]) if pairs else first)
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        h = h + (weight - dot(y, h) / dot(s, y)) * s
    return h


@dataclass(frozen=True, eq=False)
class Modes:
    """The Hessian in its eigenvectors, or in the Ritz vectors of a subspace that holds g."""

    w: Array  # (m,) ascending
    c: Array  # (m,) the gradient along them
    Q: Tensor  # (m, N) rows; mode i is the combination Q' S[:, i]
    S: Tensor  # (m, m) float64
    complete: bool  # all of them

    @property
    def scale(self) -> float:
        return float(np.abs(self.w).max())

    @property
    def zero(self) -> float:
        """Up to here an eigenvalue may be rounding."""
        return EIGENVALUE_ULPS * torch.finfo(self.Q.dtype).eps * self.scale

    @property
    def negative(self) -> int:
        """How many are negative."""
        return int((self.w < -self.zero).sum())

    def vector(self, a: Array) -> Tensor:
        """The combination (N,) of the modes with coefficients a (m,)."""
        return combine(self.S @ torch.as_tensor(a, device=self.S.device)[:, None], self.Q)[0]

    def along(self, g: Tensor) -> Array:
        """The coefficients (m,) of g (N,)."""
        return (self.S.T @ dots(self.Q, g)).cpu().numpy()

    def lowest(self, k: int) -> Tensor:
        """The k lowest modes (k, N)."""
        return combine(self.S[:, :k], self.Q)


def newton_dense(walk: Walk) -> None:
    """Minimise |g|^2 like ``newton_mr`` with the eigenvectors of the whole Hessian:
    Levenberg-Marquardt steps in a ball.
    """
    _within_radius(walk, _Newton(), 0)


def saddle_free(walk: Walk) -> None:
    """Lower f by steps -|H|^-1 g: saddles repel."""
    walk.falls = False
    _within_radius(walk, _SaddleFree(), 0)


def follow(walk: Walk, index: int, seed: int) -> None:
    """Go up along the lowest ``index`` modes and down along all others: only points of that index
    attract.
    """
    walk.falls = False
    _within_radius(walk, _Follow(index, seed), index)


def eigenvector_step(c: Tensor, size: Tensor, up: Tensor, idle: Tensor) -> Tensor:
    """The step of eigenvector following in the coordinates of the modes, for one point or for a
    batch.

    Args:
        c: (..., m) the gradient along the modes.
        size: (..., m) the |curvature| along them, positive, damped or not.
        up: (..., m) bool: the modes along which the step goes up; it goes down along the others.
        idle: (..., m) bool: the modes along which it goes nowhere.
    """
    step: Tensor = torch.where(idle, 0.0, torch.where(up, c, -c) / size)
    return step


class Rule:
    """One kind of step: its coefficients at a damping mu, and how well the model foretold what it
    did.
    """

    def step(self, modes: Modes, mu: float) -> Array:
        """-c / |w| along each mode, damped; nothing where both may be rounding."""
        size = np.maximum(np.abs(modes.w), modes.zero or 1.0) + mu
        idle = (np.abs(modes.w) <= modes.zero) & (np.abs(modes.c) <= modes.zero)
        step = eigenvector_step(
            *(torch.from_numpy(a) for a in (modes.c, size, self.up(modes.w), idle))
        )
        return step.numpy()

    def up(self, w: Array) -> NDArray[np.bool_]:
        """The modes along which the step goes up."""
        return np.zeros(len(w), bool)

    def most(self, modes: Modes, radius: float) -> float:
        """A damping that keeps the step within the radius."""
        return float(np.linalg.norm(modes.c)) / radius

    def agreement(self, modes: Modes, a: Array, here: Look, there: Look, g: Tensor) -> float:
        """1: just as the model said; negative: worse than no step. g: the gradient there in the
        operator's coordinates.
        """
        raise NotImplementedError

    def arrived(self, modes: Modes) -> bool:
        """Whether the signs of the modes are those of a point that is looked for."""
        return True

    def kick(self, modes: Modes, radius: float) -> Array | None:
        """A step off a stationary point that is not looked for."""
        return None


class _Newton(Rule):
    def step(self, modes: Modes, mu: float) -> Array:
        w = np.where(np.abs(modes.w) > modes.zero, modes.w, 0.0)
        return np.divide(-w * modes.c, w**2 + mu, out=np.zeros_like(w), where=w**2 + mu > 0)

    def most(self, modes: Modes, radius: float) -> float:
        return float(np.linalg.norm(modes.w * modes.c)) / radius

    def agreement(self, modes: Modes, a: Array, here: Look, there: Look, g: Tensor) -> float:
        foretold = here.norm**2 - float(((modes.c + modes.w * a) ** 2).sum())
        return (here.norm**2 - there.norm**2) / foretold if foretold > 0 else -1.0


class _SaddleFree(Rule):
    def agreement(self, modes: Modes, a: Array, here: Look, there: Look, g: Tensor) -> float:
        foretold = -float(modes.c @ a + 0.5 * modes.w @ a**2)
        if foretold <= 100 * torch.finfo(here.x.dtype).eps * abs(
            here.value
        ):  # f cannot tell, its gradient can
            return 1.0 if there.norm < here.norm else -1.0
        return (here.value - there.value) / foretold

    def arrived(self, modes: Modes) -> bool:
        return bool(modes.w[0] > -modes.zero)


class _Follow(Rule):
    def __init__(self, index: int, seed: int) -> None:
        self.index, self.kicks = index, 0
        self.random = np.random.default_rng(seed)

    def up(self, w: Array) -> NDArray[np.bool_]:
        return np.arange(len(w)) < self.index

    def agreement(self, modes: Modes, a: Array, here: Look, there: Look, g: Tensor) -> float:
        if there.norm < 0.5 * here.norm and self.arrived(modes):
            return 1.0
        change = float(np.linalg.norm(modes.w * a))
        return (
            1.0 - float(np.linalg.norm(modes.along(g) - modes.c - modes.w * a)) / change
            if change
            else -1.0
        )

    def arrived(self, modes: Modes) -> bool:
        return modes.negative == self.index

    def kick(self, modes: Modes, radius: float) -> Array | None:
        if self.arrived(modes) or self.kicks >= KICKS:
            return None
        self.kicks += 1
        wrong = np.where(self.up(modes.w), -modes.w, modes.w) < modes.zero
        return np.where(wrong, self.random.choice([-0.1, 0.1], len(modes.w)) * radius, 0.0)


class _Laps:
    """Counts the steps without a lower gradient norm, and shortens the longest step of methods that
    do not minimise it.
    """

    def __init__(self, walk: Walk) -> None:
        self.longest, self.lowest, self.count = walk.longest, walk.start.norm, 0

    def note(self, norm: float, walk: Walk) -> None:
        """Count a step that leads to a gradient of this norm."""
        self.count = 0 if norm < self.lowest else self.count + 1
        self.lowest = min(self.lowest, norm)
        if not walk.falls and self.count % LAPS == LAPS - 1:
            self.longest = 0.5 * min(self.longest, 2 * walk.stride)

    @property
    def over(self) -> bool:
        """Whether they lead nowhere."""
        return self.count > HALVINGS * LAPS


def _within_radius(walk: Walk, rule: Rule, followed: int) -> None:
    """Steps of a rule in a ball whose radius grows and shrinks with how well the model foretells
    them.
    """
    radius, laps = walk.stride, _Laps(walk)
    lowest: Tensor | None = None
    handed = False
    while walk.stop is None:
        modes = modes_at(walk, followed, lowest)
        lowest = modes.lowest(followed) if not modes.complete and followed else None
        length = float(np.linalg.norm(rule.step(modes, 0.0)))
        walk.note(modes.scale, length)
        if _kicked(walk, rule, modes, radius):
            continue
        if walk.stop is not None:
            return
        place, radius = _one_step(walk, rule, modes, radius)
        if place is None:
            walk.end_stalled()
            return
        laps.note(place.norm, walk)
        radius = min(radius, laps.longest)
        near = length <= radius and place.norm < 0.1 * walk.start.norm
        walk.go(place)
        if laps.over:
            walk.end_stalled()
        elif near and not modes.complete and not handed and rule.arrived(modes):
            handed = True
            _hand_over(walk)


def _kicked(walk: Walk, rule: Rule, modes: Modes, radius: float) -> bool:
    """Whether the search was at a stationary point that is not looked for, and has left it."""
    kick = rule.kick(modes, radius) if walk.stop is Outcome.STATIONARY else None
    if kick is None:
        return False
    walk.stop = None
    walk.go(walk.trial(walk.lift(modes.vector(kick))))
    return True


def _hand_over(walk: Walk) -> None:
    """The last steps are Newton's, where the subspace has done its work; where they stall, it goes
    on.
    """
    walk.falls = True
    newton_mr(walk)
    if walk.stop in (Outcome.STALLED, Outcome.GRADIENT_FLAT, Outcome.KINK):
        walk.stop, walk.falls = None, False


def _one_step(walk: Walk, rule: Rule, modes: Modes, radius: float) -> tuple[Look | None, float]:
    """The next place, None where none is found, and the next radius."""
    least = torch.finfo(walk.place.x.dtype).eps * max(float(norm(walk.place.x)), 1e-3 * radius)
    while radius > least:
        a = _damped(rule, modes, radius)
        length = float(np.linalg.norm(a))
        if length <= least:
            return None, radius
        place = walk.trial(walk.lift(modes.vector(a)))
        agreed = -1.0
        if place.norm < float("inf"):
            agreed = rule.agreement(
                modes, a, walk.place, place, walk.operator().restrict(place.gradient[:, None])[:, 0]
            )
        if agreed > 0.75:
            radius = max(radius, min(3 * length, 2 * radius))
        elif not agreed > 0.25:
            radius = 0.3 * length
        if agreed > 1e-3:
            return place, radius
    return None, radius


def _damped(rule: Rule, modes: Modes, radius: float) -> Array:
    """The step of a rule with the least damping that keeps it within the radius."""
    a = rule.step(modes, 0.0)
    if np.linalg.norm(a) <= radius:
        return a
    high = rule.most(modes, radius)
    low = 1e-20 * high
    for _ in range(60):
        mu = (low * high) ** 0.5
        a = rule.step(modes, mu)
        low, high = (mu, high) if np.linalg.norm(a) > radius else (low, mu)
        if high < 1.01 * low:
            break
    return rule.step(modes, high)


def newton_length(modes: Modes, index: int) -> float:
    """The length of the whole step of eigenvector following, which near a point of that index is
    Newton's.
    """
    return float(np.linalg.norm(_Follow(index, 0).step(modes, 0.0)))


def width(followed: int) -> int:
    """Vectors of the subspace where so many modes are followed, which is the number of products of
    a step.
    """
    return KRYLOV + MODE * followed


def modes_at(walk: Walk, followed: int, before: Tensor | None = None) -> Modes:
    """The modes where the search stands: all of them up to DENSE_STEP dimensions, else those of a
    subspace.

    before: (followed, N) the modes that were followed one step before.
    """
    A = walk.operator()
    if A.shape[0] <= DENSE_STEP:
        return dense_modes(walk)
    return _subspace(A, walk.gradient(), before, min(A.shape[0], width(followed)))


def dense_modes(walk: Walk) -> Modes:
    """All the modes where the search stands."""
    g = walk.gradient()
    w, V = torch.linalg.eigh(walk.operator().dense().double())
    unit = torch.eye(len(w), dtype=g.dtype, device=g.device)
    return Modes(w.cpu().numpy(), (V.T @ g.double()).cpu().numpy(), unit, V, True)


def _subspace(A: Complement, g: Tensor, before: Tensor | None, m: int) -> Modes:
    """The Ritz vectors of the Krylov space of g and of the modes before from before, by a band
    Lanczos process.
    """
    tiny = 100 * torch.finfo(g.dtype).eps
    Q = torch.empty(m, len(g), dtype=g.dtype, device=g.device)
    first = (
        g
        if float(norm(g)) > 0
        else torch.linspace(1.0, 2.0, len(g), dtype=g.dtype, device=g.device)
    )
    held = 0
    products: list[Tensor] = []
    queue = [first, *([] if before is None else before)]
    while True:
        for v in queue:
            size = norm(v)
            _, left = orthogonalise(v, Q[:held])
            length = norm(left)
            if held < m and float(length) > tiny * float(size):
                Q[held] = left / length.to(left.dtype)
                held += 1
        if len(products) == held:
            break
        products.append(A @ Q[len(products)])
        queue = [products[-1]] if held < m else []
    Q = Q[:held]
    T = torch.stack([dots(Q, w) for w in products])
    w, S = torch.linalg.eigh(0.5 * (T + T.T))
    return Modes(w.cpu().numpy(), (S.T @ dots(Q, g)).cpu().numpy(), Q, S, False)
