"""Both ends of a spectrum that changes slowly: Rayleigh-Ritz started at the last vectors.

S: (n, r) orthonormal columns, HS: (n, r) their products. Every round adds the residuals of the top
and the bottom Ritz vector, so that r - (columns at the start) grows by two a round; the residual
norms, computed from HS, bound each Ritz value's distance from an eigenvalue.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.core import Operator, require_finite
from landscape.landscapes.arithmetic import owned
from landscape.linalg.operand import gaussian


@dataclass(frozen=True)
class Ends:
    """The two ends as known after a refresh."""

    largest: float
    smallest: float
    largest_bound: float
    smallest_bound: float
    vectors: Tensor  # (n, 2): top and bottom, what the next refresh starts at
    products: int
    rayleigh: float  # of the gradient; NaN without one
    # of |g|^2 in the Ritz vectors whose value is negative by more than its bound
    negative_share: float


@owned()
def refresh(
    H: Operator,
    known: Tensor | None,
    gradient: Tensor | None,
    rounds: int,
    tol: float = 1e-3,
    seconds: float = math.inf,
) -> Ends:
    """The ends of H from the last ones (n, 2) or, with None, from a random start of a fixed seed.

    No round begins that, as long as those before, would end after ``seconds``.

    Raises:
        NumericalError: a product is not finite.

    Cost: at most 3 + 2 rounds products, ten times the rounds at the first call; at most n in all.
    """
    n, begun = H.shape[0], time.perf_counter()
    start = known if known is not None else _start(H)
    g = _unit(gradient)
    block = start if g is None else torch.cat([g[:, None], start], dim=1)
    S, HS = _grow(start[:, :0], start[:, :0], block, H)
    for _ in range(rounds if known is not None else 10 * rounds):
        values, U, residuals = _ritz(S, HS)
        goal = tol * max(abs(values[0]), abs(values[-1]))
        arrived = S.shape[1] >= n or max(residuals[0], residuals[-1]) <= goal
        if arrived or _next_ends(begun, S.shape[1]) > seconds:
            break
        more = HS @ U[:, [0, -1]] - S @ (U[:, [0, -1]] * U.new_tensor([values[0], values[-1]]))
        width = S.shape[1]
        S, HS = _grow(S, HS, more, H)
        if S.shape[1] == width:
            break
    values, U, residuals = _ritz(S, HS)
    rayleigh = share = float("nan")
    if g is not None:
        rayleigh = float(HS[:, 0] @ S[:, 0])
        negative = [i for i, v in enumerate(values) if v < -residuals[i]]
        share = float((U[:, negative].T @ (S.T @ g)).square().sum()) if negative else 0.0
    return Ends(
        values[-1],
        values[0],
        residuals[-1],
        residuals[0],
        S @ U[:, [-1, 0]],
        S.shape[1],
        rayleigh,
        share,
    )


def _next_ends(begun: float, products: int) -> float:
    """When a round ends that begins now, in seconds since the first product."""
    return (time.perf_counter() - begun) * (products + 2) / products


def _start(H: Operator) -> Tensor:
    return gaussian(2, np.random.SeedSequence(0), H).view(-1, 2)


def _unit(gradient: Tensor | None) -> Tensor | None:
    """The gradient over its norm; None where there is none, or it is zero."""
    if gradient is None or not bool(gradient.norm() > 0):
        return None
    unit: Tensor = gradient / gradient.norm()
    return unit


def _ritz(S: Tensor, HS: Tensor) -> tuple[list[float], Tensor, list[float]]:
    """Ritz values ascending, their coefficients (r, r), the norms of their residuals."""
    T = S.T @ HS
    require_finite(T, "a Hessian-vector product")
    values, U = torch.linalg.eigh((T + T.T) / 2)
    residuals = torch.linalg.vector_norm(HS @ U - (S @ U) * values, dim=0)
    return values.tolist(), U, residuals.tolist()


def _grow(S: Tensor, HS: Tensor, block: Tensor, H: Operator) -> tuple[Tensor, Tensor]:
    """S and HS with what of the columns of ``block`` is new, orthonormalised twice."""
    fresh: list[Tensor] = []
    for v in block.T:
        size = v.norm()
        if S.shape[1] + len(fresh) >= S.shape[0] or not bool(size > 0):
            continue
        w = v / size
        Q = torch.stack([*S.T, *fresh]) if S.shape[1] + len(fresh) else S.T
        for _ in range(2):
            w = w - Q.T @ (Q @ w)
        if bool(w.norm() > 1e3 * torch.finfo(w.dtype).eps):
            w = w / w.norm()
            fresh.append(w - Q.T @ (Q @ w))
    if not fresh:
        return S, HS
    new = torch.stack(fresh, dim=1)
    new = new / new.norm(dim=0)
    return torch.cat([S, new], dim=1), torch.cat([HS, H @ new], dim=1)
