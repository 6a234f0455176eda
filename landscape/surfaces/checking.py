"""Whether a picture is right about its centre, and how much of the spectrum its directions hold.

H: (n, n), the Hessian at the centre; U: (n, k), an orthonormal basis of the plane or line. The
plane's share of the trace is tr(U'HU) / tr(H), of the Frobenius norm |U'HU|_F^2 / |H|_F^2.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from landscape.core import Landscape
from landscape.landscapes.arithmetic import owned
from landscape.linalg.lanczos import eigsh
from landscape.linalg.operand import gaussian
from landscape.operators.hessian import Hessian
from landscape.operators.limits import loss_noise
from landscape.results import Estimate
from landscape.results.statistics import exact, form_mean
from landscape.surfaces.result import PictureCheck, Surface

NODES, DEGREES = (
    25,
    (6, 10),
    # values a fit is made of, the centre among them; the degrees of two fits, whose distance is
    # their
    # error
)
HALVINGS = 24  # of the span, at most
EIGHTH = 8  # and beyond the best one a few that are so much smaller each
LOOKS = 3  # for smaller spans that contradict
SETTLES = 0.95  # second derivatives that move by more from one halving to the next have no limit


@owned()
def check_picture(
    f: Landscape, picture: Surface, *, ends: int = 5, probes: int = 30, seed: int = 0
) -> PictureCheck:
    """Whether the picture's curvature at its centre is the Hessian's, and how much of the spectrum
    its plane misses.

    Args:
        ends: eigenvalues computed at each end of the spectrum.
        probes: random vectors for the trace and the Frobenius norm of the rest of the spectrum, two
            products each, at least 2.

    Cost: 2k products, an ``eigsh``, 2 ``probes`` products, and about 250 evaluations a direction,
    3,000 at most. The second derivatives are those of polynomials of degree 10 fitted to f at 25
    Chebyshev nodes within the span, or half of it, and so on: many points far apart average the
    rounding of float32. Their ``error`` is the distance to the fit of degree 6 and twice the
    standard error that the residuals make; the span is taken where it is least, among those at
    which the polynomial leaves no more than rounding: ripples below the span are no noise, unless
    they are as small as the rounding of f at every span. What smaller spans would move is added,
    and where no span resolves f the error is infinite. The shares' errors come from the probes; up
    to n = ``probes`` they are exact.
    """
    if probes < 2:
        raise ValueError(f"probes must be at least 2, got {probes}: one has no standard error.")
    H, V = Hessian(f, picture.x), torch.stack(picture.directions, dim=1)
    predicted = (V * (H @ V)).sum(dim=0)
    span = float(picture.steps.abs().max())
    found = [_second(f, picture.x, d, span) for d in picture.directions]
    pairs = eigsh(H, largest=ends, smallest=ends, seed=seed)
    values, vectors = pairs.values.to(V.device, V.dtype), pairs.vectors.to(V.device, V.dtype)
    U, sizes, _ = torch.linalg.svd(V, full_matrices=False)
    U = U[:, sizes > 1e-6 * sizes.max()]
    inside = (U.T @ vectors).square().sum(dim=0)
    total, negative = values.abs(), values.clamp(max=0).abs()
    W = (U.T @ (H @ U)).double()
    trace, squares = _moments(H, values, vectors, probes, seed)
    return PictureCheck(
        measured=torch.stack([second for second, _ in found]),
        predicted=predicted,
        error=torch.stack([error for _, error in found]),
        mass=float((total * inside).sum() / total.sum()) if bool(total.sum() > 0) else 0.0,
        negative=float(negative.sum()),
        negative_inside=float((negative * inside).sum()),
        eigenvalues=values,
        trace_share=_share(float(W.trace()), trace),
        frobenius_share=_share(float(W.square().sum()), squares),
    )


def _moments(
    H: Hessian, values: Tensor, vectors: Tensor, probes: int, seed: int
) -> tuple[Estimate, Estimate]:
    """The trace of H and its squared Frobenius norm: of the eigenpairs known exactly, of the rest
    by independent normal probes.
    """
    n = H.shape[0]
    if n <= probes:
        A = (H @ torch.eye(n, dtype=H.dtype, device=H.device)).double()
        return exact(float(A.trace()), n), exact(float(A.square().sum()), n)
    Z = gaussian(probes, np.random.SeedSequence(seed), H).view(n, probes)

    def rest(V: Tensor) -> Tensor:
        """V without what the known vectors hold of it."""
        return V - vectors @ (vectors.T @ V)

    Z = rest(Z)
    HZ = rest(H @ Z)
    HHZ = rest(H @ HZ).double()
    HZ, known = HZ.double(), values.double()
    forms, squares = (Z.double() * HZ).sum(dim=0).mean(), HZ.square().sum(dim=0).mean()
    trace = float(known.sum() + forms)
    square = float(known.square().sum() + squares)
    return (
        form_mean(trace, float(squares) ** 0.5, probes, probes),
        form_mean(square, float(HHZ.square().sum(dim=0).mean()) ** 0.5, probes, 2 * probes),
    )


def _share(inside: float, total: Estimate) -> Estimate:
    """inside / total; where the total may be zero, the share may be anything."""
    if total.value == 0:
        return (
            Estimate(0.0, 0.0, 0.0, 0.0, total.products)
            if inside == 0
            else _anything(total.products)
        )
    value, error = inside / total.value, abs(inside / total.value**2) * total.error
    if total.low <= 0 <= total.high and total.error > 0:
        return Estimate(value, error, -float("inf"), float("inf"), total.products)
    low, high = sorted((inside / total.low, inside / total.high))
    return Estimate(value, error, low, high, total.products)


def _anything(products: int) -> Estimate:
    return Estimate(float("nan"), float("inf"), -float("inf"), float("inf"), products)


class _Curvature(NamedTuple):
    """A second derivative as values over one span say it."""

    value: float
    doubt: float  # noise, and the distance of two polynomials
    noise: float  # what rounding and scatter make
    resolved: bool  # whether the polynomial leaves no more than rounding of the values


def _second(f: Landscape, x: Tensor, d: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """The second derivative along d and its error, both (); infinite where no span resolves f."""
    best, reach = _best(f, x, d, span)
    for _ in range(LOOKS):
        below = _below(f, x, d, best, reach)
        if not below:
            break
        best, reach = _best(f, x, d, below)
    drift = _drift(f, x, d, best, min(reach, span / 4)) if best.resolved else float("inf")
    made = [
        torch.tensor(v, dtype=x.dtype, device=x.device) for v in (best.value, best.doubt + drift)
    ]
    return made[0], made[1]


def _best(f: Landscape, x: Tensor, d: Tensor, span: float) -> tuple[_Curvature, float]:
    """The second derivative where it is least in doubt, of spans that are halved, and the span."""
    best, reach = _Curvature(float("nan"), float("inf"), 0.0, False), span
    for halved in (span / 2**k for k in range(HALVINGS)):
        new = _curvature(f, x, d, halved)
        if _past(best, new):
            break
        if not best.resolved or (new.resolved and new.doubt < best.doubt):
            best, reach = new, halved
        if best.resolved and best.doubt <= 1e-7 * abs(best.value):
            break
    return best, reach


def _below(f: Landscape, x: Tensor, d: Tensor, best: _Curvature, reach: float) -> float:
    """A far smaller span that contradicts the best, four times it; 0 where there is none: ripples
    that a larger span takes for rounding are seen where f itself is small.
    """
    for k in range(1, 9) if best.resolved else ():
        smaller = reach / float(EIGHTH**k)
        new = _curvature(f, x, d, smaller)
        # what does not resolve f takes ripples for noise
        if new.resolved and new.noise > abs(best.value) + best.doubt:
            break
        if new.resolved and abs(new.value - best.value) > 2 * (new.doubt + best.doubt):
            return 4 * smaller
    return 0.0


def _past(best: _Curvature, new: _Curvature) -> bool:
    """Whether the best span has been passed: a smaller one says it worse, and it was good."""
    good = best.resolved and new.resolved and best.doubt <= 0.01 * abs(best.value)
    return good and new.doubt > best.doubt


def _drift(f: Landscape, x: Tensor, d: Tensor, best: _Curvature, reach: float) -> float:
    """How far the second derivative goes on to move as the span shrinks, as a geometric series
    beyond noise: that of |x|^2.5 falls to 0 as the root of the span.
    """
    seen = [_curvature(f, x, d, reach * k) for k in (4, 2, 1)]
    pairs = ((seen[0], seen[1]), (seen[1], seen[2]), (seen[2], best))
    moves = [abs(a.value - b.value) for a, b in pairs]
    noises = [a.noise + b.noise for a, b in pairs]
    last = max(moves[2] - noises[2], 0.0)
    if not moves[0] > noises[0] or not moves[1] > noises[1]:
        return last
    ratio, most = moves[1] / moves[0], moves[1] + noises[1]
    return last + most * ratio / (1 - ratio) if ratio < SETTLES else float("inf")


def _curvature(f: Landscape, x: Tensor, d: Tensor, reach: float) -> _Curvature:
    """By polynomials through values at nodes up to ``reach`` from x."""
    nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    (low, _), (high, left) = (_fit(nodes, degree) for degree in DEGREES)
    steps = torch.as_tensor(reach * nodes, dtype=x.dtype, device=x.device)
    values = f.value(x + steps[:, None] * d).double().cpu().numpy()
    if not np.isfinite(values).all():
        return _Curvature(float("nan"), float("inf"), float("inf"), False)
    found, size = float(high @ values) / reach**2, float(np.abs(values).max())
    scatter = float(np.linalg.norm(left @ values)) / (NODES - DEGREES[1] - 1) ** 0.5
    # where all values are one, nothing scatters
    rounding = torch.finfo(x.dtype).eps * size / 4
    apart = abs(float(low @ values) / reach**2 - found)
    noise = 2 * max(scatter, rounding) * float(np.linalg.norm(high)) / reach**2
    return _Curvature(found, apart + noise, noise, scatter <= 10 * loss_noise(size, f.rounding(x)))


def _fit(nodes: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """What a least-squares polynomial makes of values (m,) at nodes (m,) in [-1, 1]: its second
    derivative at 0 is the first (m,) times them, and what it leaves of them the second (m, m)."""
    basis = chebyshev.chebvander(nodes, degree)
    solve = np.linalg.pinv(basis)
    # of each polynomial of the basis
    seconds = chebyshev.chebval(0.0, chebyshev.chebder(np.eye(degree + 1), 2))
    return seconds @ solve, np.eye(len(nodes)) - basis @ solve
