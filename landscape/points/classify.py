"""The verdict on a point: minimum, saddle of which index, plateau, or not stationary at all.

x: (n,) the point, g: (n,) the gradient, H: (n, n) the Hessian, lambda ± epsilon an eigenvalue and
its uncertainty: its solver's bound plus rounding at the scale of |H|. lambda is negative below
-epsilon, positive above epsilon, zero else.

not-stationary  g is above its own rounding noise and a Newton-type prediction says that f still
                falls by more than noise
minimum         stationary, every lambda positive; maximum: every one negative
saddle          stationary, at least one lambda negative and one positive, zero ones allowed
degenerate      stationary, some lambda zero and all others of one sign; the reasons give what
                higher order says
plateau         stationary, every lambda zero; the reasons again give what higher order says
inconclusive    the numbers support none of these; the reasons say what would settle it

Directions out of the landscape's domain (a sphere's radius) and along its declared symmetries (a
molecule's translations and rotations) are trivial: they are left out of H before any eigenvalue is
counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.errors import NumericalError
from landscape.landscapes.kinds import kind
from landscape.linalg.lanczos import Eigenpairs
from landscape.operators.base import Complement, SymmetricOperator
from landscape.operators.hessian import Hessian
from landscape.operators.limits import DENSE_VERDICT, gradient_noise, loss_noise
from landscape.points.ends import Ends, Signs, Wish, all_signs
from landscape.points.higher import HigherOrder, higher_order
from landscape.points.look import Look
from landscape.results import Result, result
from landscape.specs import whole

# Bounds on an index that are further apart than this share of n say little: the lower one is
# told alone.
VAGUE = 0.1


@result("stationary-point")
@dataclass(frozen=True, eq=False)
class StationaryPoint(Result):
    """What is known of a point x and how surely; the kinds are listed in the module's docstring."""

    x: Tensor  # (n,)
    value: float  # f(x)
    gradient_norm: float
    gradient_noise: float  # the gradient norm that rounding alone can produce at x
    # how far a Newton-type step is predicted to lower f: g'|H|^-1 g / 2, a lower estimate; at most
    # what f can fall
    predicted_decrease: float
    kind: str  # minimum, maximum, saddle, degenerate, plateau, not-stationary, inconclusive
    index: int | None  # number of negative eigenvalues; None unless index_bounds agree
    index_bounds: tuple[int, int]  # hold with probability confidence
    # number of eigenvalues that are zero within their uncertainty; None where not known
    nullity: int | None
    # 1.0: the whole spectrum was computed, or the bounds are certain by interlacing
    confidence: float
    eigenvalues: Tensor  # ascending, float64, CPU: all n on the dense route, else the computed ends
    uncertainty: Tensor  # the half-width epsilon of each eigenvalue
    pairs: Eigenpairs  # the extreme eigenpairs, with vectors
    reasons: list[str]
    method: str  # "dense" or "lanczos"
    products: int  # Hessian-vector products spent
    hits: int = 0  # how many starts of a census ended here


def classify(
    f: Landscape,
    x: Tensor | None = None,
    method: str = "auto",
    *,
    largest: int = 10,
    smallest: int = 10,
    tol: float = 1e-4,
    seed: int = 0,
    max_products: int | None = None,
    look: Look | None = None,
    radius: float = 0.0,
    hessian_error: float = 0.0,
    progress: Progress = silent,
) -> StationaryPoint:
    """Say what kind of point x is.

    Args:
        f: a landscape of dimension n.
        x: the point (n,); None: a model's current one.
        method: "dense" computes the whole spectrum; "lanczos" both ends, and follows the negative
            end until it turns positive or 64 are found; "auto" is dense up to n = 3,000.
        largest, smallest: eigenpairs to compute at each end, at least 1.
        tol: residuals are at most ``tol`` times the norm of the Hessian; less where the sign of an
            eigenvalue asks for it.
        seed: of the Lanczos starts and of the probed null directions.
        max_products: where the Lanczos route stops refining; None: 10 n + 1,000 and at most 20,000.
        look: f at x, where the caller has looked already; x is not read then.
        radius: how far x may be from the point that is meant; the gradient that this makes counts
            as rounding.
        hessian_error: what the Hessian changes over that radius (its 2-norm): on the dense route it
            adds to the uncertainty of every eigenvalue.
        progress: called with the stage and the products done.

    Raises:
        ValueError: an unknown method, a tol out of range, a point of another shape.
        NumericalError: f, its gradient or a product is not finite at x.

    Cost: n products dense; else some tens plus what the negative end takes, and one or two
    gradients.
    """
    _check(method, largest, smallest, tol)
    look = Look(f, x, "classify") if look is None else look
    H, x = look.hessian, look.x
    before = H.products
    if not math.isfinite(look.value):
        raise NumericalError(f"the loss at the point ({look.value}) is not finite.")
    g = look.gradient
    require_finite(g, "the gradient at the point")
    size = float(g.double().norm())
    A = _nontrivial(f, H)
    n = A.shape[0]
    wish = Wish(largest, smallest, tol, seed, max_products, progress)
    dense = method == "dense" or (method == "auto" and f.dim <= DENSE_VERDICT)
    ends = None if dense else Ends(A, wish)
    signs = all_signs(A, wish, hessian_error) if ends is None else ends.signs()
    noise = gradient_noise(x, signs.scale, f.rounding(x)) + (signs.scale + hessian_error) * radius
    room = max(look.value - f.floor, 0.0)
    decrease = min(_predicted_decrease(A, g, noise, signs), room)
    moves, reason = _moves(size, noise, decrease, room, loss_noise(look.value, f.rounding(x)))
    if ends is not None and not moves:
        signs = ends.signs(settle=True)
    verdict = "not-stationary" if moves else _kind(signs)
    reasons = [reason, *_curvature_reasons(signs, n, dense)]
    if n < f.dim:
        reasons.append(f"{f.dim - n} trivial directions (domain, symmetry) are left out")
    if verdict in ("degenerate", "plateau"):
        higher = _along_null(f, H, A, signs, seed)
        reasons.append(higher.reason)
        verdict = "inconclusive" if higher.kink else verdict
    low, high = signs.negative
    return StationaryPoint(
        x=x,
        value=look.value,
        gradient_norm=size,
        gradient_noise=noise,
        predicted_decrease=decrease,
        kind=verdict,
        index=low if low == high else None,
        index_bounds=(low, high),
        nullity=signs.zero,
        confidence=signs.confidence,
        eigenvalues=signs.values,
        uncertainty=signs.errors,
        pairs=replace(signs.pairs, vectors=_lift(A, signs.pairs.vectors)),
        reasons=reasons,
        method="dense" if dense else "lanczos",
        products=H.products - before,
    )


def _check(method: str, largest: int, smallest: int, tol: float) -> None:
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f"method must be auto, dense or lanczos, got {method!r}.")
    whole(1, largest=largest, smallest=smallest)
    if not 0 < tol < 1:
        raise ValueError(
            f"tol must lie between 0 and 1, got {tol}: it is relative to the norm of H."
        )


def _nontrivial(f: Landscape, H: Hessian) -> SymmetricOperator:
    """H on the complement of the trivial directions."""
    trivial = f.trivial_directions(H.x.detach())
    if trivial.shape[1] == f.dim:
        raise ValueError("every direction at this point is trivial: there is nothing to classify.")
    return H.without(trivial) if trivial.shape[1] else H


def _lift(A: SymmetricOperator, V: Tensor) -> Tensor:
    """Vectors of A's space as vectors (n, k) of the landscape's."""
    return A.lift(V) if isinstance(A, Complement) else V


def _predicted_decrease(A: SymmetricOperator, g: Tensor, noise: float, signs: Signs) -> float:
    """g'|H|^-1 g / 2 where H is known, and g'g / (2 |H|), which a gradient step reaches, for the
    rest of g.

    Parts of g below its rounding count as zero.
    """
    c = (_lift(A, signs.vectors).to(g.device).T @ g.to(signs.vectors.dtype)).double().cpu()
    c = torch.where(c.abs() > noise, c, torch.zeros_like(c))
    curvature = torch.maximum(signs.values.abs(), signs.errors)
    seen = float(torch.where(c == 0, 0.0, c.square() / (2 * curvature)).sum())
    unseen = 0.0
    if len(c) < A.shape[0]:
        unseen = max(float(g.double().square().sum()) - float(c.square().sum()), 0.0)
    if unseen <= noise**2:
        return seen
    return seen + (unseen / (2 * signs.scale) if signs.scale else float("inf"))


def _moves(
    norm: float, noise: float, decrease: float, room: float, loss_noise: float
) -> tuple[bool, str]:
    """Whether f still falls from here, and why."""
    if norm <= noise or norm == 0.0:
        return False, f"the gradient norm {norm:.3g} is within its rounding noise {noise:.2g}"
    if decrease <= loss_noise:
        return False, (
            f"a Newton-type step is predicted to lower f by {decrease:.2g}, within the rounding of "
            f"f ({loss_noise:.2g})"
        )
    told = f"a Newton-type step is predicted to lower f by {decrease:.3g} or more"
    if decrease == room < math.inf:
        told = f"a Newton-type step is predicted to lower f by more than the {room:.3g} it can fall"
    return True, f"the gradient norm {norm:.3g} is above its rounding noise {noise:.2g}, and {told}"


def _kind(signs: Signs) -> str:
    """The kind of a stationary point by the signs of its eigenvalues; inconclusive where they do
    not decide it.
    """
    # an unknown number of zero eigenvalues is not none
    verdict = kind(signs.negative[0], 1 if signs.zero is None else signs.zero, signs.positive)
    return verdict if signs.complete or verdict == "saddle" else "inconclusive"


def _along_null(
    f: Landscape, H: Hessian, A: SymmetricOperator, signs: Signs, seed: int
) -> HigherOrder:
    """What higher order says along the null directions."""
    zero = (signs.values.abs() <= signs.errors).to(H.device)
    others = int(signs.positive > 0) - int(signs.negative[0] > 0)
    null = _lift(A, signs.vectors)[:, zero].to(H.dtype)
    return higher_order(f, H, null, float(signs.errors.max()), others, seed)


def _curvature_reasons(signs: Signs, n: int, dense: bool) -> list[str]:
    low, high = signs.negative
    if dense:
        return [
            f"the whole spectrum was computed: {low} eigenvalues are negative, {signs.zero} zero, "
            f"{signs.positive} "
            f"positive, each known to {float(signs.errors.max()):.1e}; "
            f"largest {signs.values[-1]:.4g}, smallest {signs.values[0]:.4g}"
        ]
    ends = f"largest eigenvalue {signs.values[-1]:.4g}, smallest {signs.values[0]:.4g}"
    if low == high:
        reasons = [
            f"{low} of {n} eigenvalues are negative with confidence {signs.confidence:.6g}; {ends}"
        ]
    else:
        told = f"between {low:,} and {high:,}" if high - low <= VAGUE * n else f"at least {low:,}"
        reasons = [f"{told} of {n:,} eigenvalues are negative, certain by interlacing; {ends}"]
    if signs.complete and signs.zero is None:
        reasons.append(
            "how many eigenvalues are zero is not known: there may be more of them than were "
            "computed"
        )
    if not signs.complete and low == 0 < high:
        reasons.append(f"the lower end of the spectrum did not converge ({signs.pairs.stop.value})")
    return reasons
