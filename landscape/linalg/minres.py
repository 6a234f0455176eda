"""MINRES: the symmetric system A x = b, singular or indefinite, by residuals that only shrink
(Paige & Saunders 1975, SINUM 12:617).

A: symmetric, (n, n), seen only through A @ v. b: (n,). x_t minimises ‖b - A x‖ over the Krylov
space of t products, r_t is its residual. From x = 0 the limit is the solution of least length where
b is in the range of A; where it is not, the limit is lifted to the least-squares solution of least
length, x - (r'x / r'r) r (Liu, Milzarek & Roosta 2023, arXiv:2309.17096). r_t'A r_t is known at no
cost, and its first value that is not positive shows that A is not positive definite (Liu & Roosta
2022, SIAM J. Optim. 32:2636); until then ‖x_t‖ grows and b'x_t > 0. All scalars are float64 on the
device.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.linalg.operand import as_operator, bad_product, ranks, spread
from landscape.linalg.reductions import dots, norm
from landscape.results import Result, result
from landscape.specs import whole

AHEAD = 8  # steps between two looks at an accelerator; a CPU is looked at after each
IDLE = (
    1e-3  # of the residual: what a step must take off it for A r to be believed small and not zero
)
# a residual computed at the end may exceed the recurrence's by this many times the tolerance
SLACK = 10.0


@result("minres-stop")
class Stop(Enum):
    """Why ``minres`` stopped."""

    CONVERGED = "the residual is within tol |b|, or rounding allows no less"
    LEAST_SQUARES = (
        "A r is zero within tol: b is not in the range of A, and x is its least-squares solution "
        "of least length"
    )
    CURVATURE = "r'A r is not positive: the residual is a direction of non-positive curvature"
    BUDGET = "the product budget ran out: raise max_products or loosen tol; x is the best so far"
    INEXACT = (
        "the residual computed at the end exceeds the one of the recurrence: rounding allows no "
        "less (loosen tol, or use float64), "
        "or A is not symmetric or changes between products"
    )


@result("minres-solution")
@dataclass(frozen=True, eq=False)
class Solution(Result):
    """What ``minres`` found; residuals are computed from fresh products, not taken from the
    recurrence.
    """

    x: Tensor  # (n,)
    # (n,) b - A x, of the x before it was lifted where stop is CURVATURE or LEAST_SQUARES
    residual: Tensor
    residual_norm: float
    # |A r|, where stop is LEAST_SQUARES or CURVATURE; else not computed
    normal_residual: float | None
    # r'A r / r'r, likewise: not positive where stop is CURVATURE, rounding apart
    curvature: float | None
    # at most ‖A‖ up to rounding: the largest norm of a column of the tridiagonal matrix
    scale: float
    products: int  # those of the check among them
    stop: Stop

    @property
    def converged(self) -> bool:
        """Whether x solves the system, in the sense of least squares if need be."""
        return self.stop in (Stop.CONVERGED, Stop.LEAST_SQUARES)


@owned()
def minres(
    A: Operator | Tensor,
    b: Tensor,
    *,
    tol: float = 1e-6,
    flat: float | None = None,
    max_products: int | None = None,
    curvature: bool = False,
    progress: Progress = silent,
) -> Solution:
    """Solve A x = b for a symmetric operator that may be indefinite or singular.

    Args:
        A: shape (n, n), float32 or float64, any device: an operator, used as ``A @ v``, or a dense
            symmetric tensor.
        b: (n,), dtype and device of A.
        tol: ends at ‖r‖ <= tol ‖b‖,
        flat: or at ‖A r‖ <= flat ‖A‖ ‖r‖, which says that b is not in the range. By default tol,
            which must be small then.
        max_products: stop there, the check at the end included; at least 3. By default 5 n + 50.
        curvature: stop at the first residual r with r'A r <= 0, which is then ``residual``.
        progress: called with the products spent.

    Returns:
        x with its residual and why it stopped.

    Raises:
        ValueError: an argument is out of range or does not fit.
        NumericalError: b or a product has a NaN or inf.

    Cost: one product a step, one for the residual, one more where the curvature or least squares
    ended it; seven vectors.
    """
    A = as_operator(A)
    n = A.shape[0]
    most = 5 * n + 50 if max_products is None else max_products
    b = _checked(A, b, tol, flat, most)
    steps = _Recurrence(A, b, tol, tol if flat is None else flat, curvature)
    ahead = 1 if A.device.type == "cpu" else AHEAD
    while steps.stop is None and steps.taken + 2 < most:
        for _ in range(min(ahead, most - 2 - steps.taken)):
            steps.take()
        progress("MINRES", steps.taken, None)
        steps.look()
    return _finish(A, b, steps, tol)


class _Recurrence:
    """Lanczos, the QR factors of its tridiagonal matrix, x and r; every step after the end leaves x
    and r as they are.
    """

    def __init__(self, A: Operator, b: Tensor, tol: float, flat: float, curvature: bool) -> None:
        self.A, self.tol, self.flat, self.watch = A, tol, flat, curvature
        zero, one = (torch.full((), c, dtype=torch.float64, device=b.device) for c in (0.0, 1.0))
        self.over = ranks(A)
        self.size = norm(b, self.over)
        self.v, self.before = (
            b / self.size.clamp_min(torch.finfo(b.dtype).tiny).to(b.dtype),
            torch.zeros_like(b),
        )
        self.x, self.r = torch.zeros_like(b), b.clone()
        self.d, self.older = torch.zeros_like(b), torch.zeros_like(b)
        self.phi, self.beta = self.size, zero  # phi: the norm of r
        self.c, self.s, self.delta, self.epsilon = -one, zero, zero, zero
        self.scale = zero  # the largest norm of a column of the tridiagonal matrix
        # 0: goes on; 1 converged, 2 least squares, 3 curvature, 4 not finite
        self.end = torch.where(self.size > 0, zero, one)
        self.taken = 0
        self.stop: Stop | None = None
        self.look()

    def take(self) -> None:
        """One product. The names of the scalars are those of Choi, Paige & Saunders 2011, SISC
        33:1810.
        """
        eps = torch.finfo(self.v.dtype).eps
        w = self.A @ self.v
        alpha = dots(self.v[None], w, self.over)[0]
        w = w - alpha.to(w.dtype) * self.v - self.beta.to(w.dtype) * self.before
        beta = norm(w, self.over)
        scale = torch.maximum(
            self.scale, (alpha.square() + beta.square() + self.beta.square()).sqrt()
        )
        delta, gamma = self.c * self.delta + self.s * alpha, self.s * self.delta - self.c * alpha
        # the space is invariant: w is rounding
        beta = torch.where(beta > 10 * eps * scale, beta, 0.0)
        next_delta = -self.c * beta
        bent = self.watch & (self.c * gamma >= 0)
        steep = (gamma.square() + next_delta.square()).sqrt()  # |A r| / |r|
        flat = steep <= max(self.flat, 10 * eps) * scale
        size = (gamma.square() + beta.square()).sqrt()
        flat = flat | (size <= 10 * eps * scale)
        finite = torch.isfinite(alpha) & torch.isfinite(beta)
        c, s = gamma / size, beta / size
        d = (self.v - delta.to(w.dtype) * self.d - self.epsilon.to(w.dtype) * self.older) / size.to(
            w.dtype
        )
        step = (c * self.phi).to(w.dtype) * d
        # a step that takes nothing off r and doubles x: from here x only grows along the null space
        flat = flat | (
            (s > 1 - IDLE)
            & (steep <= eps**0.4 * scale)
            & (norm(step, self.over) > norm(self.x, self.over))
            & (self.taken > 0)
        )
        over = torch.where(finite, torch.where(bent, 3.0, torch.where(flat, 2.0, 0.0)), 4.0)
        self.end = torch.where(self.end > 0, self.end, over)
        moves = self.end == 0
        following = w / beta.clamp_min(torch.finfo(w.dtype).tiny).to(w.dtype)
        self.x = torch.where(moves, self.x + step, self.x)
        phi = s * self.phi
        self.r = torch.where(
            moves, s.square().to(w.dtype) * self.r - (phi * c).to(w.dtype) * following, self.r
        )
        self.phi = torch.where(moves, phi, self.phi)
        enough = self.tol * self.size + torch.minimum(
            eps * scale * norm(self.x, self.over), eps**0.5 * self.size
        )
        self.end = torch.where(moves & (self.phi <= enough), 1.0, self.end)
        self.older, self.d, self.before, self.v = self.d, d, self.v, following
        self.epsilon, self.delta, self.c, self.s, self.beta, self.scale = (
            self.s * beta,
            next_delta,
            c,
            s,
            beta,
            scale,
        )
        self.taken += 1

    def look(self) -> None:
        """Whether it has ended: the only wait for the device."""
        end = int(self.end)
        if end == 4:
            raise bad_product(self.taken)
        self.stop = (None, Stop.CONVERGED, Stop.LEAST_SQUARES, Stop.CURVATURE)[end]


def _finish(A: Operator, b: Tensor, steps: _Recurrence, tol: float) -> Solution:
    """Residuals from fresh products; the lift of a least-squares solution."""
    x, spent, over, given = steps.x, steps.taken, steps.over, spread(A).given
    r = b.clone()
    if spent:
        r = b - A @ x
        spent += 1
    length, size, scale = float(norm(r, over)), float(steps.size), float(steps.scale)
    stop = steps.stop or Stop.BUDGET
    normal = bend = None
    rounding = torch.finfo(b.dtype).eps * scale * float(norm(x, over))
    if stop is Stop.CONVERGED and length > SLACK * (tol * size + rounding):
        stop = Stop.INEXACT
    if stop in (Stop.CURVATURE, Stop.LEAST_SQUARES) and length > 0:
        w = A @ r
        spent += 1
        normal, bend = float(norm(w, over)), float(dots(r[None], w, over)[0]) / length**2
    if stop is Stop.LEAST_SQUARES and length > 0:
        x = x - (dots(r[None], x, over)[0] / length**2).to(x.dtype) * r
    return Solution(given(x), given(r), length, normal, bend, scale, spent, stop)


def _checked(A: Operator, b: Tensor, tol: float, flat: float | None, most: int) -> Tensor:
    """This rank's part of b; all of it where there is one rank."""
    lie = spread(A)
    wanted = lie.local if lie.sharded else lie.dim
    if tuple(b.shape) != (wanted,):
        raise ValueError(f"b must have shape ({wanted},), got {tuple(b.shape)}.")
    if b.dtype != A.dtype or b.device.type != A.device.type:
        raise ValueError(f"b is {b.dtype} on {b.device}, A {A.dtype} on {A.device}: move b.")
    if not 0 <= tol < 1:
        raise ValueError(f"tol must be at least 0 and below 1, got {tol}.")
    if flat is not None and not 0 <= flat < 1:
        raise ValueError(f"flat must be at least 0 and below 1, got {flat}.")
    whole(3, max_products=most)
    b = lie.taken(b)
    if not bool(torch.isfinite(norm(b, lie.ranks))):
        raise ValueError("b has a NaN or inf.")
    return b
