"""The verdict on a point: minimum, saddle of which index, plateau, or not stationary at all.

x: (n,) the point, g: (n,) the gradient, H: (n, n) the Hessian, lambda ± epsilon an eigenvalue and
its uncertainty: its solver's bound plus rounding at the scale of |H|. lambda is negative below
-epsilon, positive above epsilon, zero else.

not-stationary  g is above its own rounding noise and a Newton-type prediction says that f still
                falls by more than noise
minimum         stationary, every lambda positive, but for directions along which a verified
                symmetry holds f constant; maximum: every one negative
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.kinds import kind
from landscape.landscapes.model import ModelLandscape
from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.operand import noise as product_noise
from landscape.linalg.reductions import norm as length
from landscape.operators.base import Complement, SymmetricOperator
from landscape.operators.hessian import Hessian
from landscape.operators.limits import DENSE_VERDICT, gradient_noise, loss_noise
from landscape.points.checks import Check, Status, chained
from landscape.points.ends import Ends, Signs, Wish, all_signs
from landscape.points.floors import level
from landscape.points.higher import higher_order
from landscape.points.look import Look
from landscape.points.symmetry import Symmetries, listed, symmetries
from landscape.progress import watched
from landscape.results import Result, result
from landscape.results.numbers import several
from landscape.rng import generator
from landscape.specs import whole

# Bounds on an index that are further apart than this share of n say little: the lower one is
# told alone.
VAGUE = 0.1
SHARP = 1e-2  # errors of eigenvalues, in units of |H|, beyond which zero ones tell nothing
# Eigenvalues up to so many times their error, or the gradient, may be zero but for the gradient.
FUZZY = 1e3
# So many times what rounding shows to be at neighbouring points it may be at a point.
JITTER = 8.0
# What flat directions are called of which no symmetry is known: f is constant along the valley that
# they are tangents of.
LEVEL = "directions that these data leave level"
# Random combinations of tangents by which they are seen to be zero eigenvectors.
PROBES = 4


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
    # name -> dimension of the symmetries verified at x: flat directions, counted in nullity, that a
    # minimum may have; away from stationary points directions along which f is constant. Under
    # LEVEL those of no symmetry along which f is constant all the same, as where samples are few
    flat: dict[str, int] = field(default_factory=dict)

    @property
    def symmetric(self) -> int:
        """How many of the flat directions are of verified symmetries."""
        return sum(count for name, count in self.flat.items() if name != LEVEL)

    @property
    def learning_coefficient(self) -> tuple[float, float] | None:
        """Bounds on the local learning coefficient of a minimum, r / 2 where r of the n eigenvalues
        are positive and f is constant along the others; None where x is no minimum.

        f has r positive curvatures and is constant along its flat directions; were k zero
        directions left, what remains would be of order 4 or more: [r / 2, r / 2 + k / 4], by the
        splitting lemma.
        """
        if self.kind != "minimum" or self.nullity is None:
            return None
        rank, left = len(self.x) - self.nullity, self.nullity - sum(self.flat.values())
        return rank / 2, rank / 2 + max(left, 0) / 4


@owned()
@watched
def classify(  # noqa: PLR0913
    f: Landscape,
    x: Tensor | Sequence[float] | None = None,
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
        look: f at x, where the caller has looked already, and tests itself whether value, gradient
            and products are those of one function; x is not read then.
        radius: how far x may be from the point that is meant; the gradient that this makes counts
            as rounding.
        hessian_error: what the Hessian changes over that radius (its 2-norm): on the dense route it
            adds to the uncertainty of every eigenvalue.
        progress: called with the stage and the products done.

    Raises:
        ValueError: an unknown method, a tol out of range, a point of another shape.
        NumericalError: f, its gradient or a product is not finite at x.

    Cost: n products dense; else some tens plus what the negative end takes, and one or two
    gradients; of a model some tens to some hundreds of gradients for its symmetries at a stationary
    point; in float32 a gradient and a few products in float64 beside them. Before all that
    some six for the chain value, gradient, product: where it breaks the verdict is inconclusive.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> point = ls.classify(f, [0.0, 0.0])
        >>> point.kind, point.index, point.eigenvalues.tolist()
        ('saddle', 1, [-4.0, 2.0])
    """
    _check(method, largest, smallest, tol)
    wish = Wish(largest, smallest, tol, seed, max_products, progress)
    if look is not None:
        return _classified(look, method, wish, radius, hessian_error)
    look = Look(f, x, "classify")
    point = _classified(look, method, wish, radius, hessian_error)
    return believed(point, () if f.spread.sharded else (chained(look, seed),))


def _classified(
    look: Look, method: str, wish: Wish, radius: float, hessian_error: float
) -> StationaryPoint:
    f, H, x, seed = look.f, look.hessian, look.x, wish.seed
    before = H.products
    if not math.isfinite(look.value):
        raise NumericalError(f"the loss at the point ({look.value}) is not finite.")
    g = look.gradient
    require_finite(g, "the gradient at the point")
    size = float(length(g.double()))
    A = _nontrivial(f, H)
    dense = method == "dense" or (method == "auto" and f.dim <= DENSE_VERDICT)
    ends = None if dense else Ends(A, wish)
    signs = all_signs(A, wish, hessian_error) if ends is None else ends.signs()
    noise = _rounding(look, gradient_noise(x, signs.scale, f.rounding(x)), size)
    noise += (signs.scale + hessian_error) * radius
    room = max(look.value - f.floor, 0.0)
    decrease = min(_predicted_decrease(A, g, noise, signs), room)
    moves, reason = _moves(size, noise, decrease, room, loss_noise(look.value, f.rounding(x)))
    modulo = _Modulo(signs, _null(f, A, H, signs), A)
    if not moves:
        modulo = (
            _modulo(f, H, modulo, size, seed) if ends is None else _deflated(modulo, ends, H, size)
        )
    signs = modulo.signs
    verdict = "not-stationary" if moves else _kind(signs, sum(modulo.flat.values()))
    reasons = [reason, *_curvature_reasons(signs, A.shape[0], dense), *modulo.told, *H.notes]
    reasons += _left_out(f.dim - A.shape[0])
    if verdict in ("degenerate", "plateau"):
        verdict, higher = _beyond(f, H, modulo, verdict, seed)
        reasons += higher
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
        pairs=replace(signs.pairs, vectors=_lift(modulo.space, signs.pairs.vectors)),
        reasons=reasons,
        method="dense" if dense else "lanczos",
        products=H.products - before,
        flat=modulo.flat,
    )


def _left_out(trivial: int) -> list[str]:
    return [f"{trivial} trivial directions (domain, symmetry) are left out"] if trivial else []


def believed(point: StationaryPoint, checks: Sequence[Check]) -> StationaryPoint:
    """The point, without verdict, index and bounds where one of the checks broke."""
    why = [f"{c.name}: {c.message}" for c in checks if c.status is Status.BROKEN]
    if not why:
        return point
    nothing = torch.full_like(point.pairs.bounds, math.inf)
    return replace(
        point,
        kind="inconclusive",
        index=None,
        index_bounds=(0, len(point.x)),
        confidence=0.0,
        uncertainty=torch.full_like(point.uncertainty, math.inf),
        pairs=replace(point.pairs, bounds=nothing, confidence=0.0),
        reasons=why,
        flat={},
    )


def _rounding(look: Look, least: float, size: float) -> float:
    """What rounding may make of the gradient: ``least``, or what float64 shows it to be. Where that
    would hide a gradient of this size it must show in the gradient's own dtype too: else f is
    another function in float64, and its gradient there tells nothing.
    """
    if least < size <= look.rounding:
        return max(least, min(look.rounding, JITTER * look.jitter))
    return max(least, look.rounding)


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
    if not 0 < seen < math.inf:  # c^2 may be out of range
        seen = float(torch.where(c == 0, 0.0, c / (2 * curvature) * c).sum())
    unseen = 0.0
    if len(c) < A.shape[0]:
        size, part = float(length(g.double())), float(length(c))
        unseen = math.sqrt(max(1.0 - (part / size) ** 2, 0.0)) * size if size else 0.0
    if unseen <= noise:
        return seen
    return seen + (unseen / (2 * signs.scale) * unseen if signs.scale else float("inf"))


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


def _kind(signs: Signs, flat: int) -> str:
    """The kind of a stationary point by the signs of its eigenvalues, but for the zero ones of
    ``flat`` directions of symmetries where there are others; inconclusive where they do not decide
    it.
    """
    curved = bool(signs.negative[0] or signs.positive)
    # an unknown number of zero eigenvalues is not none
    zero = 1 if signs.zero is None else signs.zero - flat * curved
    verdict = kind(signs.negative[0], zero, signs.positive)
    return verdict if signs.complete or verdict == "saddle" else "inconclusive"


@dataclass(frozen=True, eq=False)
class _Modulo:
    """The signs of the curvature where the directions of verified symmetries count as zero."""

    signs: Signs
    null: Tensor  # (n, z) zero eigenvectors that no symmetry explains
    space: SymmetricOperator  # the Hessian where ``signs`` are known
    flat: dict[str, int] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def _null(f: Landscape, A: SymmetricOperator, H: Hessian, signs: Signs) -> Tensor:
    """The zero eigenvectors that are known, (n, z)."""
    zero = (signs.values.abs() <= signs.errors).to(signs.vectors.device)
    return _lift(A, signs.vectors[:, zero]).to(H.device)


def _beyond(
    f: Landscape, H: Hessian, modulo: _Modulo, verdict: str, seed: int
) -> tuple[str, list[str]]:
    """The verdict with what higher order says along the zero eigenvectors that stay, and why."""
    if not modulo.null.shape[1]:
        return verdict, []
    signs = modulo.signs
    others = int(signs.positive > 0) - int(signs.negative[0] > 0)
    error = float(signs.errors.max())
    higher = higher_order(f, H, modulo.null.to(H.dtype), error, others, seed)
    return "inconclusive" if higher.kink else verdict, [higher.reason]


def _modulo(f: Landscape, H: Hessian, plain: _Modulo, gradient: float, seed: int) -> _Modulo:
    """What verified symmetries explain of the whole spectrum.

    Along a symmetry's orbit the curvature is the gradient's, which is not quite zero: eigenvalues
    are looked through that are small beside it, and the others counted with the tangents left out.
    """
    signs = plain.signs
    small = signs.values.abs() <= FUZZY * signs.errors.clamp_min(gradient)
    if not isinstance(f, ModelLandscape) or not bool(small.any()):
        return plain
    where = small.to(signs.vectors.device)
    # what is zero within a coarse arithmetic is no evidence of a symmetry near x
    sharp = float(signs.errors.max()) <= SHARP * signs.scale
    found = symmetries(f, H.x.detach(), signs.vectors[:, where] if sharp else None, seed)
    T = found.tangents.to(signs.vectors) if found.kinds else signs.vectors[:, :0]
    Q = torch.linalg.qr(T, mode="complete")[0][:, T.shape[1] :]
    C = Q.T @ signs.vectors
    values, vectors = torch.linalg.eigh((C * signs.values.to(C.device)) @ C.T)
    error = float(signs.errors.max())
    negative, positive = int((values < -error).sum()), int((values > error).sum())
    left = len(values) - negative - positive
    counted = replace(
        signs, negative=(negative, negative), zero=left + T.shape[1], positive=positive
    )
    zero = values.abs() <= error
    null, dims = Q @ vectors[:, zero], found.dims
    across = values[~zero], Q @ vectors[:, ~zero]
    even = level(f, H, null, *across, seed) if sharp and left and negative + positive else None
    told = _told(dims, left, level=even, accidental=found.accidental)
    if even:
        dims, null = dims | {LEVEL: left}, null[:, :0]
    return _Modulo(counted, null, plain.space, dims, tuple(told))


def _deflated(plain: _Modulo, ends: Ends, H: Hessian, gradient: float) -> _Modulo:
    """Both ends of the spectrum with the directions of verified symmetries left out of the search.

    Symmetries are proposed and verified as where the spectrum is whole, but for those that only
    zero eigenvectors show; that H is zero along them is seen by a few products.
    """
    f, wish = H.f, ends.wish
    found = Symmetries(())
    if isinstance(f, ModelLandscape) and not isinstance(plain.space, Complement):
        found = symmetries(f, H.x.detach(), None, wish.seed)
    dims = found.dims
    known = sum(dims.values())
    if not known or known > f.dim // 2 or not _idle(found.tangents, H, plain.signs, gradient):
        signs = ends.signs(settle=True)
        return _Modulo(signs, _null(f, plain.space, H, signs), plain.space)
    A = H.without(found.tangents.to(H.device, H.dtype))
    signs = Ends(A, wish).signs(settle=True)
    null = _null(f, A, H, signs)
    left = signs.zero
    told = (
        f"{known} directions of verified symmetries are left out of the search for both ends of "
        f"the spectrum: {listed(dims)}"
    )
    signs = replace(signs, zero=None if left is None else left + known)
    return _Modulo(signs, null, A, dims, (told,))


def _idle(tangents: Tensor, H: Hessian, signs: Signs, gradient: float) -> bool:
    """Whether H is zero along tangents (n, m), as far as products of random combinations of them
    tell; along an orbit the curvature is the gradient's.
    """
    T = tangents.to(H.device, H.dtype)
    draws = generator(len(T))
    c = torch.randn(T.shape[1], PROBES, generator=draws, dtype=torch.float64, device="cpu")
    bent = (H @ (T @ c.to(T))).double().norm(dim=0)
    within = FUZZY * (product_noise(H, signs.scale) + gradient) * T.shape[1] ** 0.5
    return bool((bent <= within).all())


def _several(count: int) -> str:
    return f"{count} zero eigenvalue{'s' * (count != 1)}"


def _told(
    known: dict[str, int], left: int, *, level: bool | None, accidental: int
) -> Iterator[str]:
    """What symmetries explain of the zero eigenvalues, what they do not and why, as far as known:
    ``level`` as of ``floors.level``; along ``accidental`` of them the loss of other data changes.
    """
    explained, changing = sum(known.values()), min(left, accidental)
    zero = _several(explained + left)
    farther = {
        True: f"; along {left} the loss of these data is constant a finite way on",
        False: "; farther on it changes, by curvature below rounding or a higher order",
    }
    why = "" if level is None else farther[level]
    if changing:
        why += f"; along {changing} the loss of other data changes, as where samples are few"
    if not left and explained:
        yield f"verified symmetries explain all of the {zero}: {listed(known)}"
    elif explained:
        of = f"{explained} of the {zero}, and {left} not"
        yield f"verified symmetries explain {of}: {listed(known)}{why}"
    elif left:
        yield f"no symmetry that was verified explains the {zero}{why}"


def _curvature_reasons(signs: Signs, n: int, dense: bool) -> list[str]:
    low, high = signs.negative
    if dense:
        return [
            f"the whole spectrum was computed: {low} negative, {signs.zero} zero and "
            f"{several(signs.positive, 'positive eigenvalue')}, each within "
            f"{float(signs.errors.max()):.1e}; "
            f"largest {signs.values[-1]:.4g}, smallest {signs.values[0]:.4g}"
        ]
    ends = f"largest eigenvalue {signs.values[-1]:.4g}, smallest {signs.values[0]:.4g}"
    if low == high:
        reasons = [
            f"{low} of {n} eigenvalues {'is' if low == 1 else 'are'} negative with confidence "
            f"{signs.confidence:.6g}; {ends}"
        ]
    else:
        told = f"between {low:,} and {high:,}" if high - low <= VAGUE * n else f"at least {low:,}"
        are = "is" if told == "at least 1" else "are"
        reasons = [f"{told} of {n:,} eigenvalues {are} negative, certain by interlacing; {ends}"]
    if signs.complete and signs.zero is None:
        reasons.append(
            "how many eigenvalues are zero is not known: there may be more of them than were "
            "computed"
        )
    if not signs.complete and low == 0 < high:
        reasons.append(f"the lower end of the spectrum did not converge ({signs.pairs.stop.value})")
    return reasons
