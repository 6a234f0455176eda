"""From a point to the stationary point of a wanted index beside it, and downhill without leaving
the basin.

x: (n,) a point, X: (m, n) points, g: the gradient, H: the Hessian on the complement of the trivial
directions. ``follow`` is the eigenvector following of ``steps.py`` with a longest step; ``flow``
follows the gradient flow of many points side by side. Neither wraps a point on a torus, so that a
path shows no leap.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Domain, Landscape, silent
from landscape.landscapes.domains import Sphere
from landscape.operators.limits import DENSE_FLOW, DENSE_STEP, gradient_noise
from landscape.points import steps as stepping
from landscape.points.walk import Walk

# The step of the gradient flow, in units of 1 / curvature.
EULER = 0.3
# Euler steps after which a row still under way counts as stiff.
STIFF = 512
# Flow steps before the first attempt to end by Newton's method; the next ones come after twice as
# many.
FIRST_LOOK = 16
# A gradient is settled at so many times its rounding, and a Newton step at this power of eps times
# the longest step.
SETTLED = 5.0
NEGLIGIBLE = 0.4


class Arrival(NamedTuple):
    """Where ``follow`` ended."""

    # (n,)
    x: Tensor
    # the gradient is as small as rounding lets it be, or Newton's step is negligible, and the index
    # is the wanted one
    settled: bool
    # negative eigenvalues at x, of those that were computed
    negative: int
    # gradients computed
    gradients: int


def move(domain: Domain, X: Tensor, D: Tensor) -> Tensor:
    """X + D, back on a sphere; on a torus without leaps."""
    return domain.wrap(X + D) if isinstance(domain, Sphere) else X + D


def tangent(domain: Domain, X: Tensor, D: Tensor) -> Tensor:
    """The parts of D (..., n) that are tangent to the domain at X (..., n)."""
    if not isinstance(domain, Sphere):
        return D
    U = X / X.norm(dim=-1, keepdim=True)
    along: Tensor = D - (D * U).sum(-1, keepdim=True) * U
    return along


def norms(V: Tensor) -> Tensor:
    """Norms (...) of the rows of V (..., n), float64."""
    sizes: Tensor = torch.linalg.vector_norm(V, dim=-1, dtype=torch.float64)
    return sizes


def follow(
    f: Landscape, x: Tensor, index: int, radius: float, *, steps: int = 100, seed: int = 0
) -> Arrival:
    """The stationary point with ``index`` negative eigenvalues to which eigenvector following leads
    from x (n,).

    Args:
        f: the landscape, finite at x.
        x: the start.
        index: how many negative eigenvalues the point is to have.
        radius: the longest step; less where the linear model of the gradient fails.
        steps: about so many at most.
        seed: of the push off a stationary point of another index.

    Raises:
        NumericalError: f or its gradient is not finite at x, or a product is not on the way.

    Cost: a dense Hessian a step up to n = 300; else a subspace of 40 vectors and 10 for each mode
    that is followed.
    """
    return _arrive(_walk(f, x, radius, steps, index), x, index, seed)


def _walk(f: Landscape, x: Tensor, radius: float, steps: int, index: int) -> Walk:
    """A search from x that has the products of so many steps to spend."""
    width = f.dim if f.dim <= DENSE_STEP else min(f.dim, stepping.width(index))
    return Walk(f, x, 0.0, steps * width, silent, radius)


def _arrive(walk: Walk, x: Tensor, index: int, seed: int) -> Arrival:
    """Where eigenvector following from x (n,) ends."""
    assert walk.radius is not None
    stepping.follow(walk, index, seed)
    place = walk.place
    modes = stepping.modes_at(walk, index)
    length = stepping.newton_length(modes, index)
    negligible = torch.finfo(place.x.dtype).eps ** NEGLIGIBLE * walk.radius
    small = (
        place.norm <= SETTLED * gradient_noise(place.x, modes.scale, walk.f.rounding(place.x))
        or length <= negligible
    )
    settled = small and modes.negative == index
    return Arrival(_unwrapped(walk, x), settled, modes.negative, walk.gradients)


def _unwrapped(walk: Walk, x: Tensor) -> Tensor:
    """Where the search from x (n,) stands, by the shortest way: a search wraps its points into the
    domain.
    """
    if isinstance(walk.domain, Sphere):
        return walk.place.x
    return x + walk.domain.difference(x, walk.place.x)


class Flow(NamedTuple):
    """Where ``flow`` ended."""

    X: Tensor  # (m, n)
    settled: Tensor  # (m,) bool: a minimum, to rounding
    gradients: int  # gradients of single points computed


def flow(f: Landscape, X: Tensor, reach: Tensor, *, steps: int = 20_000) -> Flow:
    """The minima to which the gradient flow leads from the rows of X (m, n).

    Euler's steps are EULER / curvature, the curvature met between steps, and never longer than a
    twentieth of ``reach`` (m,), the length over which basins differ. Where the Hessian is positive
    definite and Newton's step is within a tenth of ``reach``, Newton's method ends the descent. A
    row that is not there after STIFF steps goes on by the flow of its quadratic model, which is
    exact however stiff it is, if its Hessian can be formed.

    Cost: one gradient of all rows still under way a step; Newton attempts are made after 16, 32,
    64, ... steps. A stiff row takes a dense Hessian a step.
    """
    steps = min(steps, STIFF) if f.dim <= DENSE_FLOW else steps
    domain = f.domain
    X, reach = X.clone(), reach.to(X.device)
    settled = torch.zeros(len(X), dtype=torch.bool, device=X.device)
    rows = torch.arange(len(X), device=X.device)  # still under way
    V, G = f.value(X), f.gradient(X)
    L = norms(f.gradient(move(domain, X, -1e-3 * reach[:, None] * _unit(G))) - G) / (1e-3 * reach)
    gradients, look = 2 * len(X), FIRST_LOOK
    for step in range(1, steps + 1):
        size = norms(G)
        length = torch.minimum(EULER * size / L.clamp_min(1e-300), reach[rows] / 20)
        Y = move(domain, X[rows], -(length[:, None] * _unit(G)).to(X))
        W, K = f.value(Y), f.gradient(Y)
        gradients += len(rows)
        noise = 10 * torch.finfo(X.dtype).eps * V[rows].abs()
        down = (V[rows] + noise >= W) & torch.isfinite(K).all(-1)
        met = norms(K - G) / norms(Y - X[rows]).clamp_min(1e-300)
        L = torch.where(down, torch.maximum(0.95 * L, met.nan_to_num(0.0)), 2 * L)
        X[rows[down]], V[rows[down]] = Y[down], W[down]
        G = torch.where(down[:, None], K, G)
        if step in (look, steps):
            look *= 2
            left, more = _ended(f, X, reach, rows.tolist(), settled)
            gradients += more
            keep = torch.tensor(left, dtype=torch.long, device=X.device)
            rows, L, G = rows[keep], L[keep], G[keep]
            if not left:
                break
    if f.dim <= DENSE_FLOW:
        for row in rows.tolist():
            end = _stiff(f, X[row], float(reach[row]))
            gradients += end.gradients
            X[row], settled[row] = end.x, end.settled
    return Flow(X, settled, gradients)


def _ended(
    f: Landscape, X: Tensor, reach: Tensor, rows: list[int], settled: Tensor
) -> tuple[list[int], int]:
    """End the descents of these rows of X where Newton's method can; the positions of those left,
    and gradients spent.
    """
    left, gradients = [], 0
    for i, row in enumerate(rows):
        end = _newton(f, X[row], float(reach[row]))
        gradients += end.gradients
        if end.settled:
            X[row], settled[row] = end.x, True
        else:
            left.append(i)
    return left, gradients


def _newton(f: Landscape, x: Tensor, reach: float) -> Arrival:
    """Newton's method from x, if H is positive definite there and its step is short; else x, not
    settled.
    """
    if not bool(torch.isfinite(f.gradient(x)).all()):
        return Arrival(x, False, 0, 1)
    walk = _walk(f, x, 0.1 * reach, 100, 0)
    modes = stepping.modes_at(walk, 0)
    if modes.negative or stepping.newton_length(modes, 0) > 0.1 * reach:
        return Arrival(x, False, modes.negative, 1)
    end = _arrive(walk, x, 0, 0)
    near = float(norms(end.x - x)) <= 0.2 * reach
    return end._replace(settled=end.settled and near)


def _stiff(f: Landscape, x: Tensor, reach: float, steps: int = 3_000) -> Arrival:
    """The minimum downhill from x along the flow of the quadratic model, renewed at every step."""
    longest = reach / 20
    walk = Walk(f, x, 0.0, steps * f.dim, silent, longest)
    spent = 0
    for _ in range(steps):
        modes = stepping.dense_modes(walk)
        here = _unwrapped(walk, x)
        if modes.w[0] > 0:
            end = _newton(f, here, reach)
            spent += end.gradients
            if end.settled:
                return end._replace(gradients=walk.gradients + spent)
        w, c = torch.from_numpy(modes.w), torch.from_numpy(modes.c)
        while True:
            a = _along(w, c, longest)
            place = walk.trial(walk.lift(modes.vector(a.numpy())))
            predicted = float((c * a + 0.5 * w * a * a).sum())
            if place.value - walk.place.value <= 0.5 * predicted:
                break
            longest *= 0.5
            if longest < 1e-12 * reach:
                return Arrival(here, False, 0, walk.gradients + spent)
        walk.go(place)
        longest = min(1.3 * longest, reach / 20)
    return Arrival(here, False, 0, walk.gradients + spent)


def _along(values: Tensor, c: Tensor, length: float) -> Tensor:
    """Where the flow of the model c'd + d'diag(values)d / 2 from d = 0 has gone a distance of
    ``length``, or ends before.
    """

    def place(t: float) -> Tensor:
        z = values * t
        return (
            -c
            * t
            * torch.where(z.abs() < 1e-8, 1 - z / 2, -torch.expm1(-z) / torch.where(z == 0, 1.0, z))
        )

    low, high = 0.0, 1 / float(values.abs().max().clamp_min(1e-300))
    for _ in range(80):
        if float(place(high).norm()) >= length:
            break
        low, high = high, 2 * high
    else:
        return place(high)
    for _ in range(10):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(place(middle).norm()) < length else (low, middle)
    return place(low)


def _unit(G: Tensor) -> Tensor:
    return G / norms(G).clamp_min(1e-300).to(G)[:, None]
