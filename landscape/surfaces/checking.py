"""Whether a picture is right about its centre, and how much of the spectrum its directions hold.

H: (n, n), the Hessian at the centre; U: (n, k), an orthonormal basis of the plane or line. The plane's share of the trace is
tr(U'HU) / tr(H), of the Frobenius norm |U'HU|_F^2 / |H|_F^2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from landscape.core import Landscape
from landscape.hessian import Hessian
from landscape.linalg.lanczos import eigsh
from landscape.linalg.operators import gaussian
from landscape.results import Estimate, result
from landscape.surfaces.grids import Surface


@result
@dataclass(frozen=True)
class PictureCheck:
    """How far a surface can be trusted about its centre, and what it cannot show."""

    measured: Tensor  # (k,), second derivatives of f along the directions at the centre, from values
    predicted: Tensor  # (k,), u'Hu and v'Hv
    error: Tensor  # (k,), how far two steps of the differences disagree, and what rounding makes of them
    mass: float  # share of the |eigenvalues| looked at that lies in the plane
    negative: float  # sum of the |negative eigenvalues| looked at
    negative_inside: float  # how much of it lies in the plane
    eigenvalues: Tensor  # (e,), those looked at, of both ends
    trace_share: Estimate  # the plane's share of the Hessian's trace: above 1 or below 0 where curvatures cancel
    frobenius_share: Estimate  # its share of the squared Frobenius norm, the sum of the squared eigenvalues

    @property
    def agrees(self) -> bool:
        """Whether the curvatures of the picture and of the Hessian are equal within the differences' error, or to 1e-4."""
        near = self.error.clamp_min(1e-4 * float(self.predicted.abs().max()))
        return bool(((self.measured - self.predicted).abs() <= 10 * near).all())


def check_picture(f: Landscape, picture: Surface, *, ends: int = 5, probes: int = 30, seed: int = 0) -> PictureCheck:
    """Whether the picture's curvature at its centre is the Hessian's, and how much of the spectrum its plane misses.

    Args:
        ends: eigenvalues computed at each end of the spectrum.
        probes: random products for the trace and the Frobenius norm of the rest of the spectrum, at least 2.

    Cost: 2k products, an ``eigsh``, ``probes`` products, and about 50 evaluations a direction. The second derivatives are five-point
    central differences at steps halved from a quarter of the span; the pair of steps is taken whose disagreement and rounding are least,
    and these are ``error``. The shares' errors come from the probes; up to n = ``probes`` they are exact.
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


def _moments(H: Hessian, values: Tensor, vectors: Tensor, probes: int, seed: int) -> tuple[Estimate, Estimate]:
    """The trace of H and its squared Frobenius norm: of the eigenpairs known exactly, of the rest by independent normal probes."""
    n = H.shape[0]
    if n <= probes:
        A = (H @ torch.eye(n, dtype=H.dtype, device=H.device)).double()
        return tuple(Estimate(v, 0.0, v, v, n) for v in (float(A.trace()), float(A.square().sum())))  # type: ignore[return-value]
    Z = gaussian((n, probes), np.random.SeedSequence(seed), H)
    Z = Z - vectors @ (vectors.T @ Z)
    HZ = (H @ Z).double()
    known = values.double()
    samples = ((Z.double() * HZ).sum(dim=0), HZ.square().sum(dim=0))
    parts = (float(known.sum()), float(known.square().sum()))
    reach = float(student.ppf(0.975, probes - 1))
    made = []
    for part, sample in zip(parts, samples, strict=True):
        value, error = part + float(sample.mean()), float(sample.std()) / probes**0.5
        made.append(Estimate(value, error, value - reach * error, value + reach * error, probes))
    return made[0], made[1]


def _share(inside: float, total: Estimate) -> Estimate:
    """inside / total; where the total may be zero, the share may be anything."""
    if total.value == 0:
        return Estimate(0.0, 0.0, 0.0, 0.0, total.products) if inside == 0 else _anything(total.products)
    value, error = inside / total.value, abs(inside / total.value**2) * total.error
    if total.low <= 0 <= total.high and total.error > 0:
        return Estimate(value, error, -float("inf"), float("inf"), total.products)
    low, high = sorted((inside / total.low, inside / total.high))
    return Estimate(value, error, low, high, total.products)


def _anything(products: int) -> Estimate:
    return Estimate(float("nan"), float("inf"), -float("inf"), float("inf"), products)


def _second(f: Landscape, x: Tensor, d: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """The second derivative along d and the disagreement of the two steps it comes from, both ()."""
    stencil = torch.tensor([-1.0, 16.0, -30.0, 16.0, -1.0], dtype=torch.float64, device=x.device) / 12
    where = torch.arange(-2, 3, dtype=x.dtype, device=x.device)
    steps = torch.tensor([span / 2**k for k in range(2, 12)], dtype=torch.float64, device=x.device)
    values = torch.stack([f.value(x + h * where[:, None] * d).double() for h in steps.to(x.dtype)])
    seconds = values @ stencil / steps**2
    rounding = torch.finfo(x.dtype).eps * values.abs().amax(dim=1) * stencil.abs().sum() / steps**2
    apart = ((seconds[1:] - seconds[:-1]).abs() + rounding[1:]).nan_to_num(nan=torch.inf)
    best = apart.argmin()  # two steps too small to see anything may agree by chance: hence the rounding
    return seconds[1:][best].to(x.dtype), apart[best].to(x.dtype)
