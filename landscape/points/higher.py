"""What third and fourth derivatives say where the second ones vanish.

u: (n,), a unit vector in the null space of the Hessian H at x. T(u, u, .): (n,), the gradient of
u'Hu, is the third derivative contracted twice. A minimum needs T(u, u, u) = 0 for every u and q(u)
>= 0, where

    q(u) = f_uuuu / 24 - T(u, u, .)' H^+ T(u, u, .) / 8

is the fourth-order coefficient along the valley floor x + t u + O(t^2), not along the straight
line: Peano's surface (y - x^2)(y - 2 x^2) rises along every line and is no minimum (Peano 1884;
Cushing 1975, Aequationes Math. 13:89). All derivatives are exact, by nested reverse-mode
differentiation.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Landscape, Term
from landscape.errors import LoadingError
from landscape.linalg.minres import minres
from landscape.operators.hessian import Hessian

BASIS = 8  # null vectors probed one by one
ROUNDED = 1e11  # times the rounding of an eigenvalue: a thousandth of the largest
STEP = 1e-3  # of |x|, or 1: how far a kink is looked for
COMBINATIONS = 16  # random combinations of them probed besides, where there are two or more


class Probe(NamedTuple):
    """Derivatives along one null direction; a number within its rounding is given as 0."""

    cubic: float  # T(u, u, u) / 6
    # q(u); NaN where T(u, u, .) reaches into a part of the null space that is not known
    quartic: float


FLAT = Probe(0.0, 0.0)
_KINK = (
    "f changes along null directions although all its derivatives there vanish: the point lies on "
    "a kink, as of abs or relu, where derivatives do not tell what f does"
)


def higher_order(
    f: Landscape, H: Hessian, null: Tensor, uncertainty: float, others: int, seed: int = 0
) -> list[str]:
    """Sentences on what f does along its null directions at H.x.

    Args:
        f: the landscape.
        H: its Hessian at the point.
        null: (n, m) orthonormal null vectors.
        uncertainty: of the eigenvalues, which says how far from the true point x may be.
        others: sign of the other eigenvalues: 1, -1, or 0 when there are none.
        seed: of the random combinations.

    Cost: per direction derivatives of order four (about 30 gradients) and a MINRES solve.
    """
    directions = _directions(null, seed)
    generic = _normal(f.dim, 1, seed + 1, null)[:, 0]
    try:
        probes = [_probe(f, H, u, null, uncertainty, generic) for u in directions.T]
        flat = [u for u, p in zip(directions.T, probes, strict=True) if p == FLAT]
        if any(_kinked(f, H, u, uncertainty) for u in flat):
            return [_KINK]
    except (RuntimeError, LoadingError) as error:
        return [f"higher order is not known: {str(error).splitlines()[0]}"]
    return [_sentence(probes, others)]


def _kinked(f: Landscape, H: Hessian, u: Tensor, uncertainty: float) -> bool:
    """Whether f changes along u more slowly than t^4 where all its derivatives there vanish.

    What the rounding of u or of the eigenvalues may add to a curvature is not seen.
    """
    x = H.x.detach()
    size = STEP * max(1.0, float(x.double().norm()))
    here = float(f.value(x))
    eps = f.rounding(x) * abs(here)
    changes = []
    for t in (size, size / 2):
        ends = [float(f.value(x + side * t * u)) - here for side in (1, -1)]
        changes.append(max(map(abs, ends)))
    far, near = changes
    least = max(1e3 * eps, ROUNDED * uncertainty * size**2)
    if not (math.isfinite(far) and near > least):
        return False
    return math.log2(far / near) < 3.5


def _sentence(probes: list[Probe], others: int) -> str:
    """What the derivatives along the null directions say."""
    count = f"{len(probes)} null direction{'s' * (len(probes) > 1)} probed"
    cubic = max((abs(p.cubic) for p in probes), default=0.0)
    if cubic > 0:
        return (
            f"no minimum and no maximum: along a null direction u, f changes as {cubic:.3g} t^3, "
            f"which falls to one side ({count})"
        )
    quartics = [p.quartic for p in probes]
    if any(map(math.isnan, quartics)):
        return f"higher order is not known: there are null directions beside those found ({count})"
    rising, falling = [q for q in quartics if q > 0], [q for q in quartics if q < 0]
    flat = len(quartics) - len(rising) - len(falling)
    # the signs that speak against a minimum, and those that speak against a maximum
    if falling and (rising or others > 0):
        return _neither("minimum", min(falling), count)
    if rising and others < 0:
        return _neither("maximum", max(rising), count)
    if flat:
        return (
            f"flat to fourth order along {flat} of the {count}: a valley or a continuous family of "
            "stationary points, as far as can be seen"
        )
    kind, change = "minimum" if rising else "maximum", min(rising + falling, key=abs)
    return f"{kind} to fourth order: f changes as {change:.3g} t^4 or more ({count})"


def _neither(kind: str, change: float, count: str) -> str:
    return (
        f"no {kind}: to fourth order f changes as {change:.3g} t^4 along a null direction ({count})"
    )


def _directions(null: Tensor, seed: int) -> Tensor:
    basis = null[:, :BASIS]
    if null.shape[1] < 2:
        return basis
    combined = null @ _normal(null.shape[1], COMBINATIONS, seed, null)
    return torch.cat([basis, combined / combined.norm(dim=0)], dim=1)


def _normal(n: int, k: int, seed: int, like: Tensor) -> Tensor:
    """Independent normal numbers (n, k)."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randn(n, k, generator=generator, dtype=torch.float64, device="cpu").to(
        like.device, like.dtype
    )


def _probe(
    f: Landscape, H: Hessian, u: Tensor, null: Tensor, uncertainty: float, v: Tensor
) -> Probe:
    third, fourth, sizes, w = 0.0, 0.0, [0.0, 0.0], torch.zeros_like(u)
    with f.evaluation(), torch.enable_grad():
        for term in f.terms():
            found = _derivatives(term, H.x.detach(), u, v)
            third, fourth, w = third + found.third, fourth + found.fourth, w + found.bend
            sizes = [a + b for a, b in zip(sizes, found.sizes, strict=True)]
    eps = torch.finfo(u.dtype).eps
    # u is a null vector up to rounding, which mixes other directions in
    rounding = [1e3 * eps * size for size in sizes]
    rounding[0] += 10 * eps * float(H.x.detach().norm()) * sizes[1]  # x has a rounding too
    # x may be off its true place by d with fourth d^2 / 2 <= uncertainty, which shifts the third
    # derivative by fourth d
    noise = (2 * uncertainty * abs(fourth)) ** 0.5 + rounding[0]
    bend = _bend(H, w, null, rounding[0]) / 8
    quartic = fourth / 24 - bend
    small = eps**0.5 * (abs(fourth) / 24 + abs(bend)) + rounding[1] / 24
    return Probe(
        third / 6 if abs(third) > noise else 0.0, 0.0 if abs(quartic) <= small else quartic
    )


class _Derivatives(NamedTuple):
    """Of one term, along u."""

    third: float  # T(u, u, u)
    fourth: float
    bend: Tensor  # (n,) T(u, u, .)
    # norms of T(u, v, .) and of the fourth derivative (u, u, v, .) for a generic v
    sizes: tuple[float, float]


def _derivatives(term: Term, x: Tensor, u: Tensor, v: Tensor) -> _Derivatives:
    y = x.clone().requires_grad_(True)
    t = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
    first = _derivative(term.function(y + t * u), t)
    second = _derivative(first, t)
    mixed, w = _derivative(_derivative(first, y) @ v, y), _derivative(second, y)
    third, mixed_again = _derivative(second, t), _derivative(w @ v, y)
    fourth = _derivative(third, t).item()
    return _Derivatives(
        third.item(),
        fourth,
        w.detach(),
        (float(mixed.detach().norm()), float(mixed_again.detach().norm())),
    )


def _derivative(value: Tensor, of: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(of)
    (slope,) = torch.autograd.grad(value, of, create_graph=True, allow_unused=True)
    return torch.zeros_like(of) if slope is None else slope


class _Projected:
    """P H P with P the projection onto the complement of null vectors."""

    def __init__(self, H: Hessian, null: Tensor) -> None:
        self.H, self.null, self.shape, self.dtype, self.device = H, null, H.shape, H.dtype, H.device

    def complement(self, v: Tensor) -> Tensor:
        """P v."""
        return v - self.null @ (self.null.T @ v)

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.complement(self.H @ self.complement(v))


def _bend(H: Hessian, w: Tensor, null: Tensor, rounding: float) -> float:
    """w' H^+ w over the complement of the null space, 0 where w is rounding there; NaN where w is
    not in the range of H.
    """
    A = _Projected(H, null)
    w = A.complement(w)
    if float(w.norm()) <= rounding:
        return 0.0
    s = A.complement(minres(A, w, tol=torch.finfo(w.dtype).eps ** 0.75).x)
    solved = float((A @ s - w).norm()) <= torch.finfo(w.dtype).eps ** 0.25 * float(w.norm())
    return float(w @ s) if solved else math.nan
