"""What third and fourth derivatives say where the second ones vanish.

u: (n,), a unit vector in the null space of the Hessian H at x. T(u, u, .): (n,), the gradient of
u'Hu, is the third derivative contracted twice. A minimum needs T(u, u, u) = 0 for every u and q(u)
>= 0, where

    q(u) = f_uuuu / 24 - T(u, u, .)' H^+ T(u, u, .) / 8

is the fourth-order coefficient along the valley floor x + t u + O(t^2), not along the straight
line: Peano's surface (y - x^2)(y - 2 x^2) rises along every line and is no minimum (Peano 1884;
Cushing 1975, Aequationes Math. 13:89). All derivatives are exact, by nested reverse-mode
differentiation.

q is a form of degree four in u. Of two null vectors it is a trigonometric polynomial of the angle
and is minimised exactly; of three and more it is minimised plane by plane from the lowest probe,
and what is said holds along the directions probed. Where q vanishes no order up to the fourth
decides: values of f are then looked at, see ``floors``.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.core import Landscape, Term
from landscape.errors import LoadingError
from landscape.landscapes.memory import eased
from landscape.linalg.minres import minres
from landscape.operators.hessian import Hessian
from landscape.points.floors import SMOOTH, along

BASIS = 8  # null vectors probed one by one
COMBINATIONS = 16  # random combinations of them probed besides, where there are three or more
ANGLES = 8  # of half a turn: a form of degree four has five coefficients
_HALF_TURN = math.pi * np.arange(ANGLES) / ANGLES
ROUNDS = 3  # through the planes of the basis, for three null vectors and more


class Probe(NamedTuple):
    """Derivatives along one null direction; a number within its rounding is given as 0."""

    u: Tensor  # (n,)
    cubic: float  # T(u, u, u) / 6
    # q(u); NaN where T(u, u, .) reaches into a part of the null space that is not known
    quartic: float
    exact: float  # q(u), its rounding included


class HigherOrder(NamedTuple):
    """What f does along the null directions."""

    reason: str  # a sentence
    # f has a kink at the point: none of its derivatives, the Hessian among them, describes it
    kink: bool


def higher_order(
    f: Landscape, H: Hessian, null: Tensor, uncertainty: float, others: int, seed: int = 0
) -> HigherOrder:
    """What f does along its null directions at H.x.

    Args:
        f: the landscape.
        H: its Hessian at the point.
        null: (n, m) orthonormal null vectors.
        uncertainty: of the eigenvalues, which says how far from the true point x may be.
        others: sign of the other eigenvalues: 1, -1, or 0 when there are none.
        seed: of the random combinations.

    Cost: per direction derivatives of order four (about 30 gradients) and a MINRES solve: 1
    direction of one null vector, 9 or 10 of two, up to some hundred of three and more; where no
    order decides, that of ``floors.along``.
    """
    form = _Form(f, H, null, uncertainty, _normal(f.dim, 1, seed + 1, null)[:, 0])
    try:
        probes = [form(u) for u in _directions(null, seed).T]
        if _undecided(probes, others):
            probes += _lowest(form, probes, others or _sign(probes))
    except (RuntimeError, LoadingError) as error:
        return HigherOrder(f"higher order is not known: {str(error).splitlines()[0]}", False)
    flat = [p.u for p in probes if p.quartic == 0]
    if not _undecided(probes, others) or not flat:
        return HigherOrder(_sentence(probes, others, null.shape[1]), False)
    return _by_values(form, flat[::-1], others, f"{len(flat)} of the {_counted(probes)}")


def _undecided(probes: list[Probe], others: int) -> bool:
    """Whether no probe rules out a minimum (a maximum where the other curvatures are negative)."""
    if any(p.cubic or math.isnan(p.quartic) for p in probes):
        return False
    signs = {math.copysign(1, p.quartic) for p in probes if p.quartic} | ({others} - {0})
    return len(signs) < 2


def _sign(probes: list[Probe]) -> int:
    """-1 where q falls along a probe and rises along none, else 1."""
    quartics = [p.quartic for p in probes]
    return -1 if min(quartics) < 0 and max(quartics) <= 0 else 1


def _counted(probes: list[Probe]) -> str:
    return f"{len(probes)} null direction{'s' * (len(probes) > 1)} probed"


def _sentence(probes: list[Probe], others: int, dimension: int) -> str:
    """What decides: no probe is flat unless another one rules the point out."""
    count = _counted(probes)
    if told := _below_fourth(probes, count):
        return told
    quartics = [p.quartic for p in probes]
    low, high = min(quartics), max(quartics)
    # the signs that speak against a minimum, and those that speak against a maximum
    if low < 0 and (high > 0 or others > 0):
        return _neither("minimum", low, count)
    if high > 0 and others < 0:
        return _neither("maximum", high, count)
    kind, change = ("minimum", low) if low > 0 else ("maximum", high)
    where = "along every null direction" if dimension < 3 else f"along the {count}, no others"
    return f"{kind} to fourth order: f changes as {change:.3g} t^4 or more {where}"


def _below_fourth(probes: list[Probe], count: str) -> str:
    """What third order says, or why fourth order is not known; empty where fourth order decides."""
    if any(math.isnan(p.cubic) for p in probes):
        return f"higher order is not known: a third or fourth derivative is not finite ({count})"
    cubic = max((abs(p.cubic) for p in probes), default=0.0)
    if cubic > 0:
        return (
            f"no minimum and no maximum: along a null direction u, f changes as {cubic:.3g} t^3, "
            f"which falls to one side ({count})"
        )
    if any(math.isnan(p.quartic) for p in probes):
        return f"higher order is not known: there are null directions beside those found ({count})"
    return ""


def _neither(kind: str, change: float, count: str) -> str:
    return (
        f"no {kind}: to fourth order f changes as {change:.3g} t^4 along a null direction ({count})"
    )


def _by_values(form: "_Form", flat: list[Tensor], others: int, count: str) -> HigherOrder:
    """What values along the flat directions say, where derivatives up to the fourth are silent."""
    if form.null.shape[1] == 2 and len(flat) > 1:
        # flat in the whole plane, unless in two directions alone
        flat = [_turned(form.null[:, 0], form.null[:, 1], s) for s in _HALF_TURN] + flat
    values = along(form.f, form.H, form.null, flat, form.uncertainty)
    silent = f"no order up to the fourth decides: f is flat to fourth order along {count}"
    for power, _ in values.found:
        if power <= SMOOTH:
            told = f"f has a kink here: along a null direction it changes as t^{power:.2g}"
            return HigherOrder(f"{told}, which none of its derivatives says", True)
    where = "along the valley floor" if values.curved else "on the straight line"
    where += f" of {values.lines} null directions" * (values.lines > 1)
    sign = others or (-1 if all(seen.size < 0 for seen in values.found) else 1)
    against = [seen for seen in values.found if seen.size * sign < 0]
    if against:
        kind = {1: "minimum", -1: "maximum"}[sign]
        change = f"f changes as {against[0].size:.3g} t^{against[0].power:.2g}"
        return HigherOrder(f"no {kind}: by its values {where} {change}; {silent}", False)
    if not values.found:
        return HigherOrder(
            f"{silent}; its values {where} show no power of t beyond rounding", False
        )
    change = {1: "rises", -1: "falls"}[sign]
    if len(values.found) < 2 * values.lines:
        change += " to some sides, and to others shows no power of t beyond rounding"
    return HigherOrder(f"{silent}; by its values {where} it {change}", False)


def _lowest(form: "_Form", probes: list[Probe], sign: int) -> list[Probe]:
    """Probes where sign q is least: exactly of two null vectors, plane by plane of more."""
    null = form.null
    if null.shape[1] < 2:
        return []
    best = min(probes, key=lambda p: sign * p.quartic)
    if null.shape[1] == 2:
        return [_in_plane(form, null[:, 0], null[:, 1], sign)]
    found = [best]
    for _ in range(ROUNDS):
        before = sign * found[-1].quartic
        for v in null[:, :BASIS].T:
            v = v - (v @ found[-1].u) * found[-1].u
            if float(v.norm()) < 1e-3:
                continue
            new = _in_plane(form, found[-1].u, v / v.norm(), sign)
            found += [new] if sign * new.quartic < sign * found[-1].quartic else []
        if sign * found[-1].quartic >= before * (1 - 1e-3 * math.copysign(1, before)):
            break
    return found[1:]


def _in_plane(form: "_Form", a: Tensor, b: Tensor, sign: int) -> Probe:
    """The probe where sign q is least among cos(s) a + sin(s) b, a and b orthonormal.

    q = c_0 + 2 Re(c_1 z + c_2 z^2), z = e^{2is}, whose derivative is a polynomial in z.
    """
    probes = [form(_turned(a, b, s)) for s in _HALF_TURN]
    values = np.array([p.exact for p in probes])
    if not np.isfinite(values).all():
        return probes[int(np.argmin(np.isfinite(values)))]
    c = np.fft.fft(values) / ANGLES
    roots = np.roots([2 * c[2], c[1], 0, -c[1].conj(), -2 * c[2].conj()])
    candidates = np.append(np.angle(roots) / 2, _HALF_TURN)
    z = np.exp(2j * candidates)
    heights = c[0].real + 2 * (c[1] * z + c[2] * z**2).real
    s = candidates[int(np.argmin(sign * heights))]
    return form(_turned(a, b, s))


def _turned(a: Tensor, b: Tensor, s: float) -> Tensor:
    return math.cos(s) * a + math.sin(s) * b


def _directions(null: Tensor, seed: int) -> Tensor:
    basis = null[:, :BASIS]
    if null.shape[1] < 3:
        return basis
    combined = null @ _normal(null.shape[1], COMBINATIONS, seed, null)
    return torch.cat([basis, combined / combined.norm(dim=0)], dim=1)


def _normal(n: int, k: int, seed: int, like: Tensor) -> Tensor:
    """Independent normal numbers (n, k)."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randn(n, k, generator=generator, dtype=torch.float64, device="cpu").to(
        like.device, like.dtype
    )


class _Form:
    """Derivatives along null directions u: (n,) -> Probe; v: (n,), generic, which measures how
    large derivatives are.
    """

    def __init__(
        self, f: Landscape, H: Hessian, null: Tensor, uncertainty: float, v: Tensor
    ) -> None:
        self.f, self.H, self.null, self.uncertainty, self.v = f, H, null, uncertainty, v
        self.projected = _Projected(H, null)

    def __call__(self, u: Tensor) -> Probe:
        x = self.H.x.detach()
        third, fourth, w, sizes = eased(self.f, x, lambda: self._summed(x, u))
        if not math.isfinite(third) or not math.isfinite(fourth):
            return Probe(u, math.nan, math.nan, math.nan)
        eps = torch.finfo(u.dtype).eps
        # u is a null vector up to rounding, which mixes other directions in
        rounding = [1e3 * eps * size for size in sizes]
        rounding[0] += 10 * eps * float(x.norm()) * sizes[1]  # x has a rounding too
        # x may be off its true place by d with fourth d^2 / 2 <= uncertainty, which shifts the
        # third derivative by fourth d
        noise = (2 * self.uncertainty * abs(fourth)) ** 0.5 + rounding[0]
        bend, length = _bend(self.projected, w, rounding[0])
        quartic = fourth / 24 - bend / 8
        small = eps**0.5 * (abs(fourth) / 24 + abs(bend) / 8) + rounding[1] / 24
        # w' H^+ w where H is off by the uncertainty, and w by its rounding
        small += (self.uncertainty * length**2 + 2 * rounding[0] * length) / 8
        return Probe(
            u,
            third / 6 if abs(third) > noise else 0.0,
            0.0 if abs(quartic) <= small else quartic,
            quartic,
        )

    def _summed(self, x: Tensor, u: Tensor) -> "_Derivatives":
        """The derivatives of f: those of all terms."""
        third, fourth, sizes, w = 0.0, 0.0, (0.0, 0.0), torch.zeros_like(u)
        with self.f.evaluation(), torch.enable_grad():
            for term in self.f.terms():
                found = _derivatives(term, x, u, self.v)
                third, fourth, w = third + found.third, fourth + found.fourth, w + found.bend
                sizes = (sizes[0] + found.sizes[0], sizes[1] + found.sizes[1])
        return _Derivatives(third, fourth, w, sizes)


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
        matrix = H.formed
        self.inverse: Tensor | None = None
        if matrix is not None:
            matrix = self.complement(self.complement(matrix.to(null)).T)
            self.inverse = torch.linalg.pinv(
                matrix, rtol=torch.finfo(null.dtype).eps ** 0.75, hermitian=True
            )

    def complement(self, v: Tensor) -> Tensor:
        """P v."""
        return v - self.null @ (self.null.T @ v)

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.complement(self.H @ self.complement(v))

    def solve(self, w: Tensor) -> Tensor:
        """The s of least norm with P H P s = w, where there is one."""
        if self.inverse is not None:
            return self.inverse @ w
        return self.complement(minres(self, w, tol=torch.finfo(w.dtype).eps ** 0.75).x)


def _bend(A: _Projected, w: Tensor, rounding: float) -> tuple[float, float]:
    """w' H^+ w over the complement of the null space and the length of H^+ w, 0 where w is rounding
    there; NaN where w is not in the range of H.
    """
    w = A.complement(w)
    if float(w.norm()) <= rounding:
        return 0.0, 0.0
    s = A.solve(w)
    solved = float((A @ s - w).norm()) <= torch.finfo(w.dtype).eps ** 0.25 * float(w.norm())
    return float(w @ s) if solved else math.nan, float(s.norm())
