"""Whether a picture is right about its centre, and how much of the spectrum its directions hold.

H: (n, n), the Hessian at the centre; U: (n, k), an orthonormal basis of the plane or line. The
plane's share of the trace is tr(U'HU) / tr(H), of the Frobenius norm |U'HU|_F^2 / |H|_F^2.
"""

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from landscape.core import Landscape
from landscape.linalg.lanczos import eigsh
from landscape.linalg.operand import gaussian
from landscape.operators.hessian import Hessian
from landscape.results import Estimate
from landscape.results.statistics import interval
from landscape.surfaces.result import PictureCheck, Surface

NODES, DEGREES = (
    25,
    (6, 10),
    # values a fit is made of, the centre among them; the degrees of two fits, whose distance is
    # their
    # error
)


def check_picture(
    f: Landscape, picture: Surface, *, ends: int = 5, probes: int = 30, seed: int = 0
) -> PictureCheck:
    """Whether the picture's curvature at its centre is the Hessian's, and how much of the spectrum
    its plane misses.

    Args:
        ends: eigenvalues computed at each end of the spectrum.
        probes: random products for the trace and the Frobenius norm of the rest of the spectrum, at
            least 2.

    Cost: 2k products, an ``eigsh``, ``probes`` products, and about 100 evaluations a direction, 300
    at most. The second derivatives are those of polynomials of degree 10 fitted to f at 25
    Chebyshev nodes within the span, or half of it, and so on: many points far apart average the
    rounding of float32. Their ``error`` is the distance to the fit of degree 6 and twice the
    standard error that the residuals make; the span is taken where it is least. The shares' errors
    come from the probes; up to n = ``probes`` they are exact.
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
        total, squares = float(A.trace()), float(A.square().sum())
        return Estimate(total, 0.0, total, total, n), Estimate(squares, 0.0, squares, squares, n)
    Z = gaussian(probes, np.random.SeedSequence(seed), H).view(n, probes)
    Z = Z - vectors @ (vectors.T @ Z)
    HZ = (H @ Z).double()
    known = values.double()
    samples = ((Z.double() * HZ).sum(dim=0), HZ.square().sum(dim=0))
    parts = (float(known.sum()), float(known.square().sum()))
    made = []
    for part, sample in zip(parts, samples, strict=True):
        value, error = part + float(sample.mean()), float(sample.std()) / probes**0.5
        made.append(interval(value, error, probes - 1, probes))
    return made[0], made[1]


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


def _second(f: Landscape, x: Tensor, d: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """The second derivative along d and its error, both ()."""
    nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    (low, _), (high, left) = (_fit(nodes, degree) for degree in DEGREES)
    best, error = float("nan"), float("inf")
    for reach in (span / 2**k for k in range(12)):
        steps = torch.as_tensor(reach * nodes, dtype=x.dtype, device=x.device)
        values = f.value(x + steps[:, None] * d).double().cpu().numpy()
        if not np.isfinite(values).all():
            continue
        found = float(high @ values) / reach**2
        scatter = np.linalg.norm(left @ values) / (NODES - DEGREES[1] - 1) ** 0.5
        # where all values are one, nothing scatters
        rounding = torch.finfo(x.dtype).eps * np.abs(values).max() / 4
        apart = abs(float(low @ values) / reach**2 - found)
        doubt = apart + 2 * float(max(scatter, rounding) * np.linalg.norm(high)) / reach**2
        if doubt > error and error <= 0.01 * abs(best):
            break
        if doubt < error:
            best, error = found, doubt
        if error <= 1e-7 * abs(best):
            break
    return torch.tensor(best, dtype=x.dtype, device=x.device), torch.tensor(
        error, dtype=x.dtype, device=x.device
    )


def _fit(nodes: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """What a least-squares polynomial makes of values (m,) at nodes (m,) in [-1, 1]: its second
    derivative at 0 is the first (m,) times them, and what it leaves of them the second (m, m)."""
    basis = chebyshev.chebvander(nodes, degree)
    solve = np.linalg.pinv(basis)
    # of each polynomial of the basis
    seconds = chebyshev.chebval(0.0, chebyshev.chebder(np.eye(degree + 1), 2))
    return seconds @ solve, np.eye(len(nodes)) - basis @ solve
