"""The verdict on a point: minimum, saddle of which index, plateau, or not stationary at all.

x: (n,) the point, g: (n,) the gradient, H: (n, n) the Hessian, lambda ± epsilon an eigenvalue and its uncertainty: its
solver's bound plus rounding at the scale of |H|. lambda is negative below -epsilon, positive above epsilon, zero else.

not-stationary  g is above its own rounding noise and a Newton-type prediction says that f still falls by more than noise
minimum         stationary, every lambda positive; maximum: every one negative
saddle          stationary, at least one lambda negative and one positive, zero ones allowed
degenerate      stationary, some lambda zero and all others of one sign; the reasons give what higher order says
plateau         stationary, every lambda zero; the reasons again give what higher order says
inconclusive    the numbers support none of these; the reasons say what would settle it

Directions out of the landscape's domain (a sphere's radius) and along its declared symmetries (a molecule's translations and rotations)
are trivial: they are left out of H before any eigenvalue is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, require_landscape, silent
from landscape.linalg.lanczos import Certificate, Eigenpairs, Stop, certify_below, eigsh
from landscape.linalg.operand import noise
from landscape.operators.base import Complement, SymmetricOperator
from landscape.operators.hessian import Hessian
from landscape.points.higher import higher_order
from landscape.results import Result, result
from landscape.specs import whole

DENSE = 3_000  # up to this n the whole spectrum is computed
MOST_NEGATIVE = 64  # how far the Lanczos route follows the negative end before it reports bounds
VECTOR_BYTES = 2**31  # most memory for the eigenvectors of the negative end
LOSS_ULPS = 10.0  # rounding of f, in units of eps |f|
GRADIENT_ULPS = 8.0  # rounding of g, in units of eps |H| |x|


@result("stationary-point")
@dataclass(frozen=True, eq=False)
class StationaryPoint(Result):
    """What is known of a point x and how surely; the kinds are listed in the module's docstring."""

    x: Tensor  # (n,)
    value: float  # f(x)
    gradient_norm: float
    gradient_noise: float  # the gradient norm that rounding alone can produce at x
    predicted_decrease: float  # how far a Newton-type step is predicted to lower f: g'|H|^-1 g / 2, a lower estimate
    kind: str  # minimum, maximum, saddle, degenerate, plateau, not-stationary, inconclusive
    index: int | None  # number of negative eigenvalues; None unless index_bounds agree
    index_bounds: tuple[int, int]  # hold with probability confidence
    nullity: int | None  # number of eigenvalues that are zero within their uncertainty; None where not known
    confidence: float  # 1.0: the whole spectrum was computed, or the bounds are certain by interlacing
    eigenvalues: Tensor  # ascending, float64, CPU: all n on the dense route, else the computed ends
    uncertainty: Tensor  # the half-width epsilon of each eigenvalue
    pairs: Eigenpairs  # the extreme eigenpairs, with vectors
    reasons: list[str]
    method: str  # "dense" or "lanczos"
    products: int  # Hessian-vector products spent
    hits: int = 0  # how many starts of a census ended here


class _Spectrum(NamedTuple):
    """What either route knows of the spectrum."""

    values: Tensor  # (m,) ascending, float64, CPU
    errors: Tensor  # (m,)
    vectors: Tensor  # (n, m), column i belongs to values[i]
    pairs: Eigenpairs
    negative: tuple[int, int]  # bounds on the number of negative eigenvalues
    zero: int | None  # number of zero eigenvalues, None: not known
    positive: int  # at least so many positive ones
    scale: float  # |H|
    confidence: float
    complete: bool  # no eigenvalue below the computed smallest ones is missed, with probability confidence


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
    hessian: Hessian | None = None,
    radius: float = 0.0,
    hessian_error: float = 0.0,
    progress: Progress = silent,
) -> StationaryPoint:
    """Say what kind of point x is.

    Args:
        f: a landscape of dimension n.
        x: the point (n,); None: a model's current one.
        method: "dense" computes the whole spectrum; "lanczos" both ends, and follows the negative end until it turns positive or
            64 are found; "auto" is dense up to n = 3,000.
        largest, smallest: eigenpairs to compute at each end, at least 1.
        tol: residuals are at most ``tol`` times the norm of the Hessian; less where the sign of an eigenvalue asks for it.
        seed: of the Lanczos starts and of the probed null directions.
        max_products: where the Lanczos route stops refining; None: 10 n + 1,000 and at most 20,000.
        hessian: the operator at x, where the caller has one already.
        radius: how far x may be from the point that is meant; the gradient that this makes counts as rounding.
        hessian_error: what the Hessian changes over that radius (its 2-norm): on the dense route it adds to the uncertainty of every
            eigenvalue.
        progress: called with the stage and the products done.

    Raises:
        ValueError: an unknown method, a tol out of range, a point of another shape.
        NumericalError: f, its gradient or a product is not finite at x.

    Cost: n products dense; else some tens plus what the negative end takes, and one or two gradients.
    """
    require_landscape(f, "classify")
    _check(method, largest, smallest, tol)
    H = hessian if hessian is not None else Hessian(f, x)
    x = H.x.detach()
    before = H.products
    value, g = f.value(x), f.gradient(x)
    require_finite(value, f"the loss at the point ({float(value)})")
    require_finite(g, "the gradient at the point")
    size, rounding = float(g.double().norm()), torch.finfo(x.dtype).eps
    dense = method == "dense" or (method == "auto" and f.dim <= DENSE)
    A = _nontrivial(f, H)
    n = A.shape[0]
    smallest = min(smallest, n)
    largest = min(largest, n - smallest)
    ends = None if dense else _Ends(A, largest, smallest, tol, seed, max_products, progress)
    spectrum = _dense(A, largest, smallest, hessian_error, progress) if ends is None else ends.spectrum()
    gradient_noise = GRADIENT_ULPS * rounding * spectrum.scale * float(x.double().norm())
    gradient_noise += (spectrum.scale + hessian_error) * radius
    decrease = _predicted_decrease(A, g, gradient_noise, spectrum)
    moves, reasons = _stationary(size, gradient_noise, decrease, LOSS_ULPS * rounding * abs(float(value)))
    if ends is not None and not moves:
        spectrum = ends.follow()
    kind = "not-stationary" if moves else _kind(spectrum)
    reasons += _curvature_reasons(spectrum, n, dense)
    reasons += [f"{f.dim - n} trivial directions (domain, symmetry) are left out"] if n < f.dim else []
    if kind in ("degenerate", "plateau"):
        reasons += _null_reasons(f, H, A, spectrum, seed)
    low, high = spectrum.negative
    return StationaryPoint(
        x=x,
        value=float(value),
        gradient_norm=size,
        gradient_noise=gradient_noise,
        predicted_decrease=decrease,
        kind=kind,
        index=low if low == high else None,
        index_bounds=(low, high),
        nullity=spectrum.zero,
        confidence=spectrum.confidence,
        eigenvalues=spectrum.values,
        uncertainty=spectrum.errors,
        pairs=replace(spectrum.pairs, vectors=_lift(A, spectrum.pairs.vectors)),
        reasons=reasons,
        method="dense" if dense else "lanczos",
        products=H.products - before,
    )


def _check(method: str, largest: int, smallest: int, tol: float) -> None:
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f"method must be auto, dense or lanczos, got {method!r}.")
    whole(1, largest=largest, smallest=smallest)
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}: it is relative to the norm of H.")


def _nontrivial(f: Landscape, H: Hessian) -> SymmetricOperator:
    """H on the complement of the trivial directions."""
    trivial = f.trivial_directions(H.x.detach())
    if trivial.shape[1] == f.dim:
        raise ValueError("every direction at this point is trivial: there is nothing to classify.")
    return H.without(trivial) if trivial.shape[1] else H


def _lift(A: SymmetricOperator, V: Tensor) -> Tensor:
    """Vectors of A's space as vectors (n, k) of the landscape's."""
    return A.lift(V) if isinstance(A, Complement) else V


def _dense(H: SymmetricOperator, largest: int, smallest: int, more: float, progress: Progress) -> _Spectrum:
    """Every eigenvalue; the antisymmetric part of the computed matrix measures its rounding."""
    n = H.shape[0]
    progress("dense Hessian", 0, n)
    A = H.dense(symmetric=False, progress=progress).double()
    require_finite(A, "the Hessian at the point")
    values, vectors = torch.linalg.eigh(0.5 * (A + A.T))
    values = values.cpu()
    scale = float(values.abs().max())
    error = (
        noise(H, scale) + 4 * n**0.5 * torch.finfo(torch.float64).eps * scale + _norm(A - A.T) + more
    )  # products, eigh, both; what the caller knows
    errors = torch.full_like(values, error)
    negative, positive = int((values < -error).sum()), int((values > error).sum())
    wanted = [*range(smallest), *range(n - largest, n)]
    pairs = Eigenpairs(
        values=values[wanted], vectors=vectors[:, wanted].to(H.dtype), bounds=errors[wanted], residuals=errors[wanted],
        products=n, stop=Stop.CONVERGED,
        largest=largest, smallest=smallest, scale=scale, confidence=1.0,
        negative_at_least=negative, positive_at_least=positive,
    )  # fmt: skip
    return _Spectrum(
        values, errors, vectors, pairs, (negative, negative), n - negative - positive, positive, scale, 1.0, True
    )


def _norm(E: Tensor) -> float:
    """The 2-norm of a matrix by a few power iterations, from a start that is no eigenvector."""
    unit, size = float(E.abs().max()), 0.0
    if unit == 0.0:
        return 0.0
    E = E / unit  # whose squares neither overflow nor vanish
    v = torch.linspace(1.0, 2.0, len(E), dtype=E.dtype, device=E.device)
    for _ in range(20):
        w = E.T @ (E @ v)
        size = float(w.norm() / v.norm()) ** 0.5
        if size == 0.0:
            return 0.0
        v = w / w.norm()
    return size * unit


class _Ends:
    """Both ends by Lanczos: the lower one is followed until it is no longer negative, signs are resolved as far as they can be.

    Signs go by the residuals; that no other eigenvalue is negative or zero is certified by a fresh deflated probe.
    """

    def __init__(
        self,
        H: SymmetricOperator,
        largest: int,
        smallest: int,
        tol: float,
        seed: int,
        max_products: int | None,
        progress: Progress,
    ) -> None:
        n = H.shape[0]
        self.H, self.tol, self.seed, self.progress = H, tol, seed, progress
        self.most = max(smallest, min(MOST_NEGATIVE, n - largest, VECTOR_BYTES * 8 // (n * torch.finfo(H.dtype).bits)))
        self.budget = H.products + (min(10 * n + 1000, 20_000) if max_products is None else max_products)
        self.finest = 1e3 * torch.finfo(H.dtype).eps
        self.pairs = self._solve(largest, smallest, tol)
        self.certificate: Certificate | None = None

    def follow(self) -> _Spectrum:
        """The spectrum after following the negative end and resolving open signs: what a stationary point's verdict needs."""
        while self._grow() or self._refine() or self._certify():
            pass
        return self.spectrum()

    def spectrum(self) -> _Spectrum:
        """What the pairs computed so far say."""
        n, pairs = self.H.shape[0], self.pairs
        values, errors = pairs.values, pairs.residuals
        low = max(int((values < -errors).sum()), pairs.negative_at_least)
        positive = max(int((values > errors).sum()), pairs.positive_at_least)
        zero = values.abs() <= errors
        coarse = int((zero & (errors > 2 * self.finest * pairs.scale)).sum())  # of an open sign, not zero
        settled = pairs.stop is not Stop.BUDGET
        if settled and (len(values) == n or self._sure()):
            bounds, nullity, complete = (low, low + coarse), None if coarse else self._zeros(zero), not coarse
        elif settled and bool(values[-1] < -errors[-1]):
            bounds, nullity, complete = (n, n), 0, True
        else:
            bounds, nullity, complete = (low, n - positive), None, False
        confidence = self.certificate.confidence if self.certificate else pairs.confidence
        return _Spectrum(
            values, errors, pairs.vectors, pairs, bounds, nullity, positive, pairs.scale, confidence if complete else 1.0, complete
        )  # fmt: skip

    def _zeros(self, zero: Tensor) -> int | None:
        """How many eigenvalues are zero, given which of the pairs are; None where there may be others between the two ends."""
        n, pairs = self.H.shape[0], self.pairs
        found, unseen = int(zero.sum()), n - len(zero)
        if not unseen or not self._innermost_zero():
            return found
        ends = slice(pairs.smallest - 1, pairs.smallest + 1)  # the innermost pairs of both ends
        squeezed = pairs.largest > 0 and bool((pairs.bounds[ends] <= self.finest * pairs.scale).all())
        return found + unseen if squeezed and bool(zero[ends].all()) else None

    def _innermost_zero(self) -> bool:
        innermost = self.pairs.smallest - 1
        return bool(self.pairs.values[innermost].abs() <= self.pairs.residuals[innermost])

    def _sure(self) -> bool:
        """Whether every negative or zero eigenvalue is among the smallest pairs: by a certificate, or by a clear distance."""
        if self.certificate is not None:
            return self.certificate.clear and self.certificate.confidence > 0
        innermost = self.pairs.smallest - 1
        return bool(self.pairs.values[innermost] > self.pairs.bounds[innermost])

    def _solve(self, largest: int, smallest: int, tol: float, known: Eigenpairs | None = None) -> Eigenpairs:
        left = max(self.budget - self.H.products, 2 * (largest + smallest) + 1)
        return eigsh(
            self.H, largest, smallest, tol=tol, seed=self.seed, known=known, max_products=left, progress=self.progress
        )

    def _smallest(self) -> tuple[Tensor, Tensor]:
        return self.pairs.values[: self.pairs.smallest], self.pairs.residuals[: self.pairs.smallest]

    def _all_negative(self) -> bool:
        values, errors = self._smallest()
        return bool((values < -errors).all())

    def _spent(self) -> bool:
        return (
            self.pairs.stop is Stop.BUDGET
            or self.H.products >= self.budget
            or len(self.pairs.values) == self.H.shape[0]
        )

    def _grow(self) -> bool:
        """Ask for twice as many smallest pairs, if all are negative and there may be an end of it."""
        pairs = self.pairs
        if (
            self._spent()
            or not self._all_negative()
            or pairs.smallest >= self.most
            or (
                pairs.negative_at_least > self.most and self.most < self.H.shape[0] - pairs.largest
            )  # no end within reach
        ):
            return False
        self.pairs = self._solve(pairs.largest, min(2 * pairs.smallest, self.most), self.tol, known=pairs)
        return self.pairs.smallest > pairs.smallest

    def _refine(self) -> bool:
        """Solve more finely for the smallest pairs, if the sign of one is open that rounding does not hide."""
        values, errors = self._smallest()
        is_open = (values.abs() <= errors) & (errors > 3 * noise(self.H, self.pairs.scale))
        if self._spent() or not bool(is_open.any()) or self.tol <= self.finest:
            return False
        self.tol = max(1e-3 * self.tol, self.finest)
        return self._resolve(int((values <= errors).sum()))

    def _certify(self) -> bool:
        """Look for a negative or zero eigenvalue beside the known ones; True if there was one and it was taken in."""
        if self._spent() or self._all_negative() or self.certificate is not None:
            return False
        flat = self._innermost_zero()
        if flat and self.pairs.smallest < self.most and self._resolve(min(2 * self.pairs.smallest, self.most)):
            return True
        left = max(1, self.budget - self.H.products)
        # a rounded zero can be told from a negative number only from -noise on, and from a positive innermost value up to +noise
        level = 0.0 if flat else 2 * noise(self.H, self.pairs.scale)
        self.certificate = certify_below(
            self.H, self.pairs, level, seed=self.seed, max_products=left, progress=self.progress
        )
        if self.certificate.clear:
            return False
        values, errors = self._smallest()
        again = self._resolve(int((values <= errors).sum()) + 1)
        self.certificate = None if again else self.certificate
        return again

    def _resolve(self, count: int) -> bool:
        """Replace the outermost ``count`` smallest pairs by more finely solved ones; False when the budget does not allow it."""
        pairs = self.pairs
        largest = min(1, pairs.largest) if bool(pairs.values[-1] > pairs.residuals[-1]) else pairs.largest
        fine = self._solve(largest, count, self.tol)
        if fine.stop is Stop.BUDGET or fine.smallest < count:
            return False
        self.pairs = _merge(pairs, fine)
        return True


def _merge(coarse: Eigenpairs, fine: Eigenpairs) -> Eigenpairs:
    """The coarse pairs with the outermost ones replaced by finer ones."""
    inner = slice(min(fine.smallest, coarse.smallest), len(coarse.values) - fine.largest)

    def join(name: str, dim: int = 0) -> Tensor:
        new, old = getattr(fine, name), getattr(coarse, name)
        keep = old[inner] if dim == 0 else old[:, inner]
        first, last = (
            (new[: fine.smallest], new[fine.smallest :])
            if dim == 0
            else (new[:, : fine.smallest], new[:, fine.smallest :])
        )
        return torch.cat([first, keep, last], dim)

    return replace(
        fine, values=join("values"), vectors=join("vectors", 1), bounds=join("bounds"), residuals=join("residuals"),
        products=coarse.products + fine.products,
        largest=coarse.largest, smallest=max(coarse.smallest, fine.smallest), scale=max(coarse.scale, fine.scale),
        negative_at_least=max(coarse.negative_at_least, fine.negative_at_least),
        positive_at_least=max(coarse.positive_at_least, fine.positive_at_least),
    )  # fmt: skip


def _predicted_decrease(A: SymmetricOperator, g: Tensor, noise: float, spectrum: _Spectrum) -> float:
    """g'|H|^-1 g / 2 where H is known, and g'g / (2 |H|), which a gradient step reaches, for the rest of g.

    Parts of g below its rounding count as zero.
    """
    c = (_lift(A, spectrum.vectors).to(g.device).T @ g.to(spectrum.vectors.dtype)).double().cpu()
    c = torch.where(c.abs() > noise, c, torch.zeros_like(c))
    curvature = torch.maximum(spectrum.values.abs(), spectrum.errors)
    known = float(torch.where(c == 0, 0.0, c.square() / (2 * curvature)).sum())
    rest = max(float(g.double().square().sum()) - float(c.square().sum()), 0.0) if len(c) < A.shape[0] else 0.0
    if rest <= noise**2:
        return known
    return known + (rest / (2 * spectrum.scale) if spectrum.scale else float("inf"))


def _stationary(norm: float, noise: float, decrease: float, loss_noise: float) -> tuple[bool, list[str]]:
    """Whether f still falls from here, and why."""
    if norm <= noise or norm == 0.0:
        return False, [f"the gradient norm {norm:.3g} is within its rounding noise {noise:.2g}"]
    if decrease <= loss_noise:
        return False, [
            f"a Newton-type step is predicted to lower f by {decrease:.2g}, within the rounding of f ({loss_noise:.2g})"
        ]
    return True, [
        f"the gradient norm {norm:.3g} is above its rounding noise {noise:.2g}, "
        f"and a Newton-type step is predicted to lower f by {decrease:.3g} or more"
    ]


def _kind(spectrum: _Spectrum) -> str:
    """The kind of a stationary point by the signs of its eigenvalues."""
    negative, positive, zeros = spectrum.negative[0] > 0, spectrum.positive > 0, spectrum.zero != 0
    if negative and positive:
        return "saddle"
    if not spectrum.complete:
        return "inconclusive"
    if not zeros:
        return "maximum" if negative else "minimum"
    return "degenerate" if negative or positive else "plateau"


def _null_reasons(f: Landscape, H: Hessian, A: SymmetricOperator, spectrum: _Spectrum, seed: int) -> list[str]:
    """What higher order says along the null directions."""
    zero = (spectrum.values.abs() <= spectrum.errors).to(H.device)
    others = int(spectrum.positive > 0) - int(spectrum.negative[0] > 0)
    null = _lift(A, spectrum.vectors)[:, zero].to(H.dtype)
    return higher_order(f, H, null, float(spectrum.errors.max()), others, seed)


def _curvature_reasons(spectrum: _Spectrum, n: int, dense: bool) -> list[str]:
    low, high = spectrum.negative
    if dense:
        return [
            f"the whole spectrum was computed: {low} eigenvalues are negative, {spectrum.zero} zero, {spectrum.positive} positive, "
            f"each known to {float(spectrum.errors.max()):.1e}; largest {spectrum.values[-1]:.4g}, smallest {spectrum.values[0]:.4g}"
        ]
    ends = f"largest eigenvalue {spectrum.values[-1]:.4g}, smallest {spectrum.values[0]:.4g}"
    if low == high:
        reasons = [f"{low} of {n} eigenvalues are negative with confidence {spectrum.confidence:.6g}; {ends}"]
    else:
        reasons = [f"between {low} and {high} of {n} eigenvalues are negative, certain by interlacing; {ends}"]
    if spectrum.complete and spectrum.zero is None:
        reasons.append("how many eigenvalues are zero is not known: there may be more of them than were computed")
    if not spectrum.complete and low == 0 < high:
        reasons.append(f"the lower end of the spectrum did not converge ({spectrum.pairs.stop.value})")
    return reasons
