"""The verdict on a point: minimum, saddle of which index, plateau, or not stationary at all.

x: (n,) the point, g: (n,) the gradient, H: (n, n) the Hessian, lambda ± epsilon an eigenvalue and its uncertainty: its
solver's bound plus rounding at the scale of |H|. lambda is negative below -epsilon, positive above epsilon, zero else.

not-stationary  g is above its own rounding noise and a Newton-type prediction says that f still falls by more than noise
minimum         stationary, every lambda positive; maximum: every one negative
saddle          stationary, at least one lambda negative and one positive, zero ones allowed
degenerate      stationary, some lambda zero and all others of one sign; the reasons give what higher order says
plateau         stationary, every lambda zero; the reasons again give what higher order says
inconclusive    the numbers support none of these; the reasons say what would settle it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.hessian import Hessian
from landscape.linalg.lanczos import Eigenpairs, eigsh
from landscape.linalg.lanczos import exact as exact_pairs
from landscape.results import result
from landscape.stationary.higher import higher_order

DENSE = 3_000  # up to this n the whole spectrum is computed
MOST_NEGATIVE = 64  # how far the Lanczos route follows the negative end before it reports bounds
VECTOR_BYTES = 2**31  # most memory for the eigenvectors of the negative end
LOSS_ULPS = 10.0  # rounding of f, in units of eps |f|
GRADIENT_ULPS = 4.0  # rounding of g, in units of eps |H| |x|


@result
@dataclass(frozen=True, eq=False)
class StationaryPoint:
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
    hessian: Hessian | None = None,
    progress: Progress = silent,
) -> StationaryPoint:
    """Say what kind of point x is.

    Args:
        f: a landscape of dimension n.
        x: the point (n,); None: a model's current one.
        method: "dense" computes the whole spectrum; "lanczos" both ends, and follows the negative end until it turns positive or
            64 are found; "auto" is dense up to n = 3,000.
        largest, smallest: eigenpairs to compute at each end, at least 1.
        tol: residuals are at most ``tol`` times the norm of the Hessian.
        seed: of the Lanczos starts and of the probed null directions.
        hessian: the operator at x, where the caller has one already.
        progress: called with the stage and the products done.

    Raises:
        ValueError: an unknown method, a point of another shape.
        NumericalError: f, its gradient or a product is not finite at x.

    Cost: n products dense; else some tens plus what the negative end takes, and one or two gradients.
    """
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f"method must be auto, dense or lanczos, got {method!r}.")
    H = hessian if hessian is not None else Hessian(f, x)
    x = H.x.detach()
    before = H.products
    value, g = f.value(x), f.gradient(x)
    require_finite(value, f"the loss at the point ({float(value)})")
    require_finite(g, "the gradient at the point")
    dense = method == "dense" or (method == "auto" and f.dim <= DENSE)
    largest, smallest = min(largest, f.dim), min(smallest, f.dim)
    spectrum = _dense(H, largest, smallest, progress) if dense else _ends(H, largest, smallest, tol, seed, progress)
    noise = GRADIENT_ULPS * torch.finfo(x.dtype).eps * spectrum.scale * float(x.double().norm())
    decrease = _predicted_decrease(H, g, noise, spectrum)
    moves, reasons = _stationary(float(g.double().norm()), noise, decrease, LOSS_ULPS * torch.finfo(x.dtype).eps * abs(float(value)))
    kind = "not-stationary" if moves else _kind(spectrum)
    reasons += _curvature_reasons(spectrum, f.dim, dense)
    if kind in ("degenerate", "plateau"):
        zero = (spectrum.values.abs() <= spectrum.errors).to(x.device)
        others = int(spectrum.positive > 0) - int(spectrum.negative[0] > 0)
        null = spectrum.vectors[:, zero].to(x.dtype)
        reasons += higher_order(f, H, null, float(spectrum.errors.max()), others, seed)
    low, high = spectrum.negative
    return StationaryPoint(
        x=x,
        value=float(value),
        gradient_norm=float(g.double().norm()),
        gradient_noise=noise,
        predicted_decrease=decrease,
        kind=kind,
        index=low if low == high else None,
        index_bounds=(low, high),
        nullity=spectrum.zero,
        confidence=spectrum.confidence,
        eigenvalues=spectrum.values,
        uncertainty=spectrum.errors,
        pairs=spectrum.pairs,
        reasons=reasons,
        method="dense" if dense else "lanczos",
        products=H.products - before,
    )


def _dense(H: Hessian, largest: int, smallest: int, progress: Progress) -> _Spectrum:
    """Every eigenvalue; the antisymmetric part of the computed matrix measures its rounding."""
    progress("dense Hessian", 0, H.shape[0])
    A = H.dense(symmetric=False).double()
    require_finite(A, "the Hessian at the point")
    progress("dense Hessian", H.shape[0], H.shape[0])
    pairs, values, vectors, error = exact_pairs(A, largest, smallest, H.dtype)
    errors = torch.full_like(values, error)
    negative, positive = int((values < -errors).sum()), int((values > errors).sum())
    return _Spectrum(
        values, errors, vectors, pairs, (negative, negative), len(values) - negative - positive, positive,
        float(values.abs().max()), 1.0, True,
    )  # fmt: skip


def _ends(H: Hessian, largest: int, smallest: int, tol: float, seed: int, progress: Progress) -> _Spectrum:
    """Both ends, the lower one followed until it is no longer negative or there is no end of it."""
    n = H.shape[0]
    most = max(smallest, min(MOST_NEGATIVE, n - largest, VECTOR_BYTES // (n * H.x.element_size())))
    pairs = eigsh(H, largest=largest, smallest=smallest, tol=tol, seed=seed, progress=progress)
    while pairs.smallest < most and pairs.negative_at_least <= most and _all_negative(pairs):
        pairs = eigsh(H, largest, min(2 * pairs.smallest, most), tol=tol, seed=seed, known=pairs, progress=progress)
    values, errors = pairs.values, pairs.bounds
    low = max(int((values < -errors).sum()), pairs.negative_at_least)
    positive = max(int((values > errors).sum()), pairs.positive_at_least)
    turned = pairs.converged and not _all_negative(pairs)
    fell = pairs.converged and bool((values[-1] < -errors[-1]))
    zeros = int((values.abs() <= errors).sum())
    passed = turned and bool(values[pairs.smallest - 1] > errors[pairs.smallest - 1])
    if turned:
        bounds, zero = (low, low), zeros if passed else None
    else:
        bounds, zero = ((n, n), 0) if fell else ((low, n - positive), None)
    certain = turned or fell
    return _Spectrum(
        values, errors, pairs.vectors, pairs, bounds, zero, positive,
        pairs.scale, pairs.confidence if certain else 1.0, certain,
    )  # fmt: skip


def _all_negative(pairs: Eigenpairs) -> bool:
    return bool((pairs.values[: pairs.smallest] < -pairs.bounds[: pairs.smallest]).all())


def _predicted_decrease(H: Hessian, g: Tensor, noise: float, spectrum: _Spectrum) -> float:
    """g'|H|^-1 g / 2 where H is known, and g'g / (2 |H|), which a gradient step reaches, for the rest of g.

    Parts of g below its rounding count as zero.
    """
    c = (spectrum.vectors.to(g.device).T @ g.to(spectrum.vectors.dtype)).double().cpu()
    c = torch.where(c.abs() > noise, c, torch.zeros_like(c))
    curvature = torch.maximum(spectrum.values.abs(), spectrum.errors)
    known = float(torch.where(c == 0, 0.0, c.square() / (2 * curvature)).sum())
    rest = max(float(g.double().square().sum()) - float(c.square().sum()), 0.0) if len(c) < H.shape[0] else 0.0
    if rest <= noise**2:
        return known
    return known + (rest / (2 * spectrum.scale) if spectrum.scale else float("inf"))


def _stationary(norm: float, noise: float, decrease: float, loss_noise: float) -> tuple[bool, list[str]]:
    """Whether f still falls from here, and why."""
    if norm <= noise or norm == 0.0:
        return False, [f"the gradient norm {norm:.3g} is within its rounding noise {noise:.2g}"]
    if decrease <= loss_noise:
        return False, [f"a Newton-type step is predicted to lower f by {decrease:.2g}, within the rounding of f ({loss_noise:.2g})"]
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


def _curvature_reasons(spectrum: _Spectrum, n: int, dense: bool) -> list[str]:
    low, high = spectrum.negative
    if dense:
        return [
            f"the whole spectrum was computed: {low} eigenvalues are negative, {spectrum.zero} zero, {spectrum.positive} positive, "
            f"each known to {float(spectrum.errors.max()):.1e}; largest {spectrum.values[-1]:.4g}, smallest {spectrum.values[0]:.4g}"
        ]
    ends = f"largest eigenvalue {spectrum.values[-1]:.4g}, smallest {spectrum.values[0]:.4g}"
    if low == high:
        return [f"{low} of {n} eigenvalues are negative with confidence {spectrum.confidence:.6g}; {ends}"]
    reasons = [f"between {low} and {high} of {n} eigenvalues are negative, certain by interlacing; {ends}"]
    if not spectrum.complete and low == 0:
        reasons.append(f"the lower end of the spectrum did not converge ({spectrum.pairs.stop.value})")
    return reasons
