"""From a point to the stationary point of a wanted index beside it, and downhill without leaving the basin.

x: (n,) a point, X: (m, n) points, g: the gradient, H: the Hessian on the complement of the trivial directions. ``follow`` takes
Newton-type steps that climb along the lowest ``index`` eigenvectors and descend along all others (Cerjan & Miller 1981, J. Chem.
Phys. 75:2800); near a point of that index they are Newton's. ``flow`` follows the gradient flow of many points side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Domain, Landscape
from landscape.landscapes.domains import Sphere
from landscape.linalg.lanczos import eigsh
from landscape.linalg.minres import minres
from landscape.operators.base import Complement, SymmetricOperator
from landscape.operators.hessian import Hessian

DENSE = 500  # up to this n the whole Hessian is formed for a step
PATIENCE = 4  # whole Newton steps at the wanted index without a gradient half as large
NOISE = 4.0  # rounding of a gradient, in units of eps |H| |x|
EULER = 0.3  # step of the gradient flow in units of 1 / curvature
STIFF = 512  # Euler steps after which a row still under way counts as stiff
FIRST_LOOK = 16  # flow steps before the first attempt to end by Newton's method; the next ones after twice as many


class Arrival(NamedTuple):
    """Where ``follow`` ended."""

    x: Tensor  # (n,)
    settled: bool  # the gradient is as small as rounding lets it be, or Newton's step is negligible
    negative: int  # negative eigenvalues at x, of those that were computed
    gradients: int  # gradients computed


class _Model(NamedTuple):
    """The linear model of the gradient at a point."""

    step: Tensor  # (n,)
    change: Tensor  # (n,) H step
    scale: float  # |H|
    negative: int
    lowest: Tensor  # (n, k) eigenvectors of the lowest eigenvalues, ascending


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


def rounding(x: Tensor, scale: float) -> float:
    """The gradient norm that rounding alone can make at x where |H| = ``scale``."""
    return NOISE * torch.finfo(x.dtype).eps * scale * float(norms(x))


def follow(f: Landscape, x: Tensor, index: int, radius: float, *, steps: int = 100, seed: int = 0) -> Arrival:
    """The stationary point with ``index`` negative eigenvalues to which Newton-type steps lead from x (n,).

    Args:
        radius: the longest step; less where the linear model of the gradient fails.
        steps: at most so many.
        seed: of the Lanczos starts, where the Hessian is too large to be formed, and of the push off a point of higher index.

    Cost: a dense Hessian a step up to n = 500; else the lowest eigenpairs by Lanczos and a MINRES solve.
    """
    domain, eps = f.domain, torch.finfo(x.dtype).eps
    negligible = eps**0.4 * radius
    trust = radius
    g, gradients, waited, whole = f.gradient(x), 1, 0, True
    best, least = x, float("inf")
    model = _model(f, x, g, index, seed)
    for _ in range(steps):
        size, length = float(norms(g)), float(norms(model.step))
        if model.negative == index:
            waited = waited + 1 if whole and size >= 0.5 * least else 0
            if size < least:
                best, least = x, size
            if size == 0 or waited >= PATIENCE:
                break
        elif model.negative > index and size <= 10 * rounding(x, model.scale) + eps * model.scale * radius:
            # stationary, but too high: nothing but a push leads down
            sign = 1 if torch.rand((), generator=torch.Generator().manual_seed(seed), device="cpu") < 0.5 else -1
            x = move(domain, x, 0.1 * sign * radius * model.lowest[:, index])
            g, gradients = f.gradient(x), gradients + 1
            model = _model(f, x, g, index, seed)
            continue
        if not 0 < length < float("inf"):
            break
        while True:
            part = min(1.0, trust / length)
            y = move(domain, x, part * model.step)
            h, gradients = f.gradient(y), gradients + 1
            wrong = float(norms(h - g - part * model.change))
            if wrong <= 0.5 * size or part * length <= negligible:
                break
            trust = 0.5 * part * length
        if not bool(torch.isfinite(h).all()):
            break
        trust = min(2 * trust, radius) if wrong <= 0.2 * size else trust
        x, g, whole = y, h, part == 1
        model = _model(f, x, g, index, seed)
    else:
        best, least = (x, float(norms(g))) if least == float("inf") else (best, least)
    if least == float("inf"):
        best, least = x, float(norms(g))
    model = _model(f, best, f.gradient(best), index, seed)
    settled = least <= 10 * rounding(best, model.scale) or float(norms(model.step)) <= negligible
    return Arrival(best, settled and model.negative == index, model.negative, gradients + 1)


def _reduced(f: Landscape, x: Tensor) -> SymmetricOperator:
    """The Hessian at x on the complement of the trivial directions."""
    trivial, H = f.trivial_directions(x), Hessian(f, x)
    return H.without(trivial) if trivial.shape[1] else H


def _model(f: Landscape, x: Tensor, g: Tensor, index: int, seed: int) -> _Model:
    A = _reduced(f, x)
    reduced = _reduce(A, g) if isinstance(A, Complement) else g
    dense = A.shape[0] <= DENSE
    step, change, scale, negative, lowest = (_dense if dense else _krylov)(A, reduced, index, seed)
    if isinstance(A, Complement):
        step, change, lowest = A.lift(step[:, None])[:, 0], A.lift(change[:, None])[:, 0], A.lift(lowest)
    return _Model(step, change, scale, negative, lowest)


def _reduce(A: SymmetricOperator, g: Tensor) -> Tensor:
    """Q'g for the basis Q of a complement."""
    assert isinstance(A, Complement)
    whole = torch.ormqr(A.reflectors.to(g), A.scales.to(g), g[:, None], transpose=True)
    return whole[A.left_out :, 0]


def _dense(A: SymmetricOperator, g: Tensor, index: int, seed: int) -> tuple[Tensor, Tensor, float, int, Tensor]:
    values, vectors = torch.linalg.eigh(A.dense().double())
    scale = float(values.abs().max())
    floor = len(values) * torch.finfo(A.dtype).eps * scale
    c = vectors.T @ g.double()
    sign = torch.ones_like(values)
    sign[:index] = -1
    steps = torch.where(c == 0, 0.0, -sign * c / values.abs().clamp_min(max(floor, 1e-300)))
    negative = int((values < -floor).sum())
    step, change = vectors @ steps, vectors @ (values * steps)
    return step.to(g), change.to(g), scale, negative, vectors[:, : index + 1].to(g)


def _krylov(A: SymmetricOperator, g: Tensor, index: int, seed: int) -> tuple[Tensor, Tensor, float, int, Tensor]:
    """The lowest modes are flipped or not; what is left is solved by MINRES (Paige & Saunders 1975, SINUM 12:617)."""
    pairs = eigsh(A, largest=1, smallest=index + 2, tol=1e-3, seed=seed, probes=0)
    low = pairs.values[: pairs.smallest].to(g.device)
    V = pairs.vectors[:, : pairs.smallest].double()
    floor = 1e-3 * pairs.scale
    negative = int((pairs.values < -pairs.bounds).sum())
    sign = torch.ones_like(low)
    sign[:index] = -1
    c = V.T @ g.double()
    step = V @ (-sign * c / low.abs().clamp_min(1e-2 * floor))
    rest = g.double() - V @ c
    if float(rest.norm()) > 0:
        solution = minres(_Deflated(A, V.to(g)), -rest.to(g), tol=1e-4, max_products=200)
        step = step + solution.x.double()
    step = step.to(g)
    return step, A @ step, pairs.scale, negative, V[:, : index + 1].to(g)


class _Deflated(SymmetricOperator):
    """(I - VV') A (I - VV') for orthonormal columns V (n, k)."""

    def __init__(self, A: SymmetricOperator, V: Tensor) -> None:
        super().__init__(A.shape[0], A.dtype, A.device)
        self.A, self.V = A, V

    def _multiply(self, W: Tensor) -> Tensor:
        W = self.A @ (W - self.V @ (self.V.T @ W))
        return W - self.V @ (self.V.T @ W)


class Flow(NamedTuple):
    """Where ``flow`` ended."""

    X: Tensor  # (m, n)
    settled: Tensor  # (m,) bool: a minimum, to rounding
    gradients: int  # gradients of single points computed


def flow(f: Landscape, X: Tensor, reach: Tensor, *, steps: int = 20_000) -> Flow:
    """The minima to which the gradient flow leads from the rows of X (m, n).

    Euler's steps are EULER / curvature, the curvature met between steps, and never longer than a twentieth of ``reach`` (m,), the
    length over which basins differ. Where the Hessian is positive definite and Newton's step is within a tenth of
    ``reach``, Newton's method ends the descent. A row that is not there after STIFF steps goes on by the flow of its quadratic
    model, which is exact however stiff it is, if its Hessian can be formed.

    Cost: one gradient of all rows still under way a step; Newton attempts are made after 16, 32, 64, ... steps. A stiff row takes a
    dense Hessian a step.
    """
    steps = min(steps, STIFF) if f.dim <= DENSE else steps
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
            left = []
            for i, row in enumerate(rows.tolist()):
                end = _newton(f, X[row], float(reach[row]))
                gradients += end.gradients
                if end.settled:
                    X[row], settled[row] = end.x, True
                else:
                    left.append(i)
            keep = torch.tensor(left, dtype=torch.long, device=X.device)
            rows, L, G = rows[keep], L[keep], G[keep]
            if not left:
                break
    if f.dim <= DENSE:
        for row in rows.tolist():
            end = _stiff(f, X[row], float(reach[row]))
            gradients += end.gradients
            X[row], settled[row] = end.x, end.settled
    return Flow(X, settled, gradients)


def _stiff(f: Landscape, x: Tensor, reach: float, steps: int = 3_000) -> Arrival:
    """The minimum downhill from x along the flow of the quadratic model, renewed at every step."""
    domain = f.domain
    longest, gradients = reach / 20, 0
    value = float(f.value(x))
    for _ in range(steps):
        g, A = f.gradient(x), _reduced(f, x)
        values, vectors = torch.linalg.eigh(A.dense().double())
        gradients += 1
        if float(values[0]) > 0:
            end = _newton(f, x, reach)
            gradients += end.gradients
            if end.settled:
                return end._replace(gradients=gradients)
        c = vectors.T @ (_reduce(A, g) if isinstance(A, Complement) else g).double()
        while True:
            D = _along(values, c, longest)
            step = (vectors @ D).to(x)
            y = move(domain, x, A.lift(step[:, None])[:, 0] if isinstance(A, Complement) else step)
            lower, gradients = float(f.value(y)), gradients + 1
            predicted = float((c * D + 0.5 * values * D * D).sum())
            if lower - value <= 0.5 * predicted:
                break
            longest *= 0.5
            if longest < 1e-12 * reach:
                return Arrival(x, False, 0, gradients)
        x, value, longest = y, lower, min(1.3 * longest, reach / 20)
    return Arrival(x, False, 0, gradients)


def _along(values: Tensor, c: Tensor, length: float) -> Tensor:
    """Where the flow of the model c'd + d'diag(values)d / 2 from d = 0 has gone a distance of ``length``, or ends before."""

    def place(t: float) -> Tensor:
        z = values * t
        return -c * t * torch.where(z.abs() < 1e-8, 1 - z / 2, -torch.expm1(-z) / torch.where(z == 0, 1.0, z))

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


def _newton(f: Landscape, x: Tensor, reach: float) -> Arrival:
    """Newton's method from x, if H is positive definite there and its step is short; else x, not settled."""
    g = f.gradient(x)
    if not bool(torch.isfinite(g).all()):
        return Arrival(x, False, 0, 1)
    model = _model(f, x, g, 0, 0)
    if model.negative or float(norms(model.step)) > 0.1 * reach:
        return Arrival(x, False, model.negative, 1)
    end = follow(f, x, 0, 0.1 * reach)
    near = float(norms(end.x - x)) <= 0.2 * reach
    return Arrival(end.x, end.settled and near, end.negative, end.gradients + 1)


def _unit(G: Tensor) -> Tensor:
    return G / norms(G).clamp_min(1e-300).to(G)[:, None]
