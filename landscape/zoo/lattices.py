"""Energies of rings of spins: every stationary point can be had, by formula or by following complex
zeros.

XY: with t_N = t_0 = 0 all sines of the bonds t_{i+1} - t_i are equal at a stationary point, so that
each bond is a or pi - a; with k bonds of the second kind (N - 2k) a + k pi is a multiple of 2 pi.
On bond angles that sum to 0 the Hessian is diag(cos), whose index is the number of negative
cosines, less 1 where the sum of 1/cos is negative (Mehta, Kastner 2011, Ann. Phys. 326:1425).

phi^4: the gradient is N cubic equations, with 3^N complex zeros by Bézout since the cubes alone
vanish at 0 only. They are followed from the uncoupled ring along a complex path of couplings; 3^N
distinct ones at its end are all there are.
"""

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from landscape.landscapes.domains import Box, Torus
from landscape.specs import number, whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point, listable

LAMBDA, MU2 = 3 / 5, 2.0
FOLLOWED = 8  # sites up to which the 3^N zeros are followed: a few seconds


def xy_ring(sites: int = 5) -> KnownLandscape:
    """Planar spins on a ring that favour being parallel; the spin t_0 = 0 is fixed, which takes the
    common rotation out.

    Where 4 divides ``sites`` there are circles of stationary points; one point of each is listed,
    and the two points in which they meet.

    Args:
        sites: N; x = (t_1, ..., t_{N-1}).

    Raises:
        ValueError: sites is not at least 3.
    """
    whole(3, sites=sites)

    def f(x: Tensor) -> Tensor:
        t = torch.cat([torch.zeros_like(x[..., :1]), x], dim=-1)
        return (1 - torch.cos(t.roll(-1, -1) - t)).sum(-1)

    def points() -> list[KnownPoint]:
        listable(sum(math.comb(sites, k) for _, k in _bond_angles(sites)), "xy-ring")
        angles = dict.fromkeys(
            angle for a, k in _bond_angles(sites) for angle in _rings(sites, a, k)
        )
        return [_ring_point(angle) for angle in angles] + _circles(sites)

    counts: Counter[int] = Counter()
    for a, k in _bond_angles(sites):
        if a not in (Fraction(1, 2), Fraction(3, 2)):  # there every cosine is zero
            counts[_ring_index(sites, a, k)] += math.comb(sites, k)
    return KnownLandscape(
        f,
        sites - 1,
        Torus(),
        name="xy-ring",
        formula="sum_{i<N} 1 - cos(t_{i+1} - t_i), t_N = t_0 = 0",
        source="Mehta, Kastner 2011, Ann. Phys. 326:1425",
        points=points,
        counts=dict(sorted(counts.items())),
    )


def phi4_ring(sites: int = 4, coupling: float = 0.3) -> KnownLandscape:
    """Double wells on a ring, drawn together by springs: 3^sites stationary points uncoupled, 3 at
    strong coupling.

    Args:
        sites: N; the stationary points are known up to 8.
        coupling: J; where two points merge, at J = 0.4 with 4 sites say, they are not known.

    Raises:
        ValueError: an option out of range.
    """
    whole(3, sites=sites)
    number(0, coupling=coupling)

    def f(x: Tensor) -> Tensor:
        springs = 0.5 * coupling * (x - x.roll(-1, -1)) ** 2
        return (LAMBDA / 24 * x**4 - 0.5 * MU2 * x**2 + springs).sum(-1)

    @cache
    def points() -> list[KnownPoint]:
        x = _real_zeros(sites, coupling)
        bends = torch.linalg.eigvalsh(_phi4_hessian(x, coupling))
        return [known_point(*row) for row in zip(x, f(x).tolist(), bends, strict=True)]

    return KnownLandscape(
        f,
        sites,
        Box(-5.0, 5.0),
        name="phi4-ring",
        formula=(
            "sum_i lambda/24 x_i^4 - mu^2/2 x_i^2 + J/2 (x_i - x_{i+1})^2, lambda = 3/5, mu^2 = 2, "
            "x_N = x_0"
        ),
        source="Kastner, Mehta 2011, Phys. Rev. Lett. 107:160602, there on a square lattice",
        points=points if sites <= FOLLOWED else None,
    )


def _bond_angles(sites: int) -> Iterator[tuple[Fraction, int]]:
    """Every a / pi in [0, 2) and the number k < N/2 of bonds pi - a."""
    for k in range((sites + 1) // 2):
        for m in range(sites - 2 * k):
            yield Fraction(2 * m - k, sites - 2 * k) % 2, k


def _rings(sites: int, a: Fraction, k: int) -> Iterator[tuple[Fraction, ...]]:
    """The bonds / pi in all the orders that k of pi - a and the others of a can have."""
    for chosen in combinations(range(sites), k):
        yield tuple((1 - a) % 2 if i in chosen else a for i in range(sites))


def _ring_index(sites: int, a: Fraction, k: int) -> int:
    """The index of a ring whose cosines are not zero and do not cancel."""
    first = Fraction(1, 2) < a < Fraction(3, 2)  # cos(a) < 0; it outnumbers its opposite
    return sites - k - 1 if first else k


def _ring_point(bonds: tuple[Fraction, ...]) -> KnownPoint:
    """The stationary point with these bonds / pi, its angles exact to one rounding."""
    sites, a = len(bonds), bonds[0]
    k = sum(b != a for b in bonds)
    angles = [float(sum(bonds[: i + 1], Fraction(0)) % 2) * math.pi for i in range(sites - 1)]
    x = torch.tensor(angles, dtype=torch.float64, device="cpu")
    value = sum(1 - math.cos(math.pi * b) for b in bonds)
    if a in (Fraction(1, 2), Fraction(3, 2)):
        return KnownPoint(x, float(sites), 0, sites - 1, "plateau")
    if 2 * k == sites:
        return KnownPoint(x, float(sites), k - 1, 1, "saddle")
    index = (
        _ring_index(sites, a, k) if 2 * k < sites else _ring_index(sites, (1 - a) % 2, sites - k)
    )
    kind = {0: "minimum", sites - 1: "maximum"}.get(index, "saddle")
    return KnownPoint(x, value, index, 0, kind)


def _circles(sites: int) -> list[KnownPoint]:
    """A point of each circle: half of the bonds a, half pi - a, a free; here a = 0. A circle and
    its pi - a are one.
    """
    if sites % 4:
        return []
    rings = (bonds for bonds in _rings(sites, Fraction(0), sites // 2) if bonds[0] == 0)
    return [_ring_point(bonds) for bonds in rings]


def _real_zeros(sites: int, coupling: float) -> Tensor:
    """All stationary points (count, sites) of the phi^4 ring.

    Raises:
        ValueError: 3^sites distinct zeros did not come out: some merge at or near this coupling.
    """
    for bend, steps in ((0.6, 60), (-1.1, 120), (2.0, 240)):
        z = _follow(sites, coupling, bend, steps)
        radius = _radius(z, coupling)
        if bool(
            torch.pdist(torch.view_as_real(z).flatten(1)).min() > 2 * radius.max()
        ):  # not so if one is infinite or NaN
            # the other ball of a pair of conjugates is disjoint
            x = z.real[z.imag.norm(dim=-1) <= radius]
            for _ in range(2):
                x = x - _solve(_phi4_hessian(x, coupling), _phi4_gradient(x, coupling))
            return x
    raise ValueError(
        f"the stationary points of phi4-ring with {sites} sites are not known at coupling "
        f"{coupling:g}: some merge at or "
        "near it."
    )


def _radius(z: Tensor, J: float) -> Tensor:
    """(count,): a zero is so near to each approximate one (count, n) by Smale's alpha test;
    infinite where the test fails.

    Source: Blum, Cucker, Shub, Smale 1998, Complexity and Real Computation, section 8.2.
    """
    inverse, _ = torch.linalg.inv_ex(_phi4_hessian(z, J))
    size = torch.linalg.matrix_norm(inverse, 2)
    beta = (inverse @ _phi4_gradient(z, J)[..., None]).norm(dim=(-2, -1))
    gamma = torch.maximum(size * LAMBDA / 2 * z.abs().amax(-1), (size * LAMBDA / 6).sqrt())
    return torch.where(beta * gamma < 0.157, 2 * beta, torch.inf)


def _follow(sites: int, coupling: float, bend: float, steps: int) -> Tensor:
    """The 3^sites complex zeros at ``coupling``, from those at 0 along J = coupling (s + i bend s
    (1 - s)), 0 <= s <= 1.

    Steps are Euler's, each followed by Newton's method.
    """
    well = math.sqrt(6 * MU2 / LAMBDA)
    wells = torch.tensor([-well, 0.0, well], dtype=torch.complex128, device="cpu")
    z = torch.cartesian_prod(*[wells] * sites)
    before: complex = 0j
    for i in range(1, steps + 1):
        s = i / steps
        J = coupling * complex(s, bend * s * (1 - s))
        z = z - _solve(_phi4_hessian(z, before), (J - before) * _springs(z))
        for _ in range(3 if i < steps else 8):
            z = z - _solve(_phi4_hessian(z, J), _phi4_gradient(z, J))
        before = J
    return z


def _solve(A: Tensor, b: Tensor) -> Tensor:
    """A^-1 b for batches; infinite or NaN where A is singular."""
    solution: Tensor = torch.linalg.solve_ex(A, b).result
    return solution


def _springs(x: Tensor) -> Tensor:
    """The gradient of the springs' energy at coupling 1."""
    return 2 * x - x.roll(1, -1) - x.roll(-1, -1)


def _phi4_gradient(x: Tensor, J: complex) -> Tensor:
    return LAMBDA / 6 * x**3 - MU2 * x + J * _springs(x)


def _phi4_hessian(x: Tensor, J: complex) -> Tensor:
    """(..., n, n) at points (..., n)."""
    springs: Tensor = _springs(torch.eye(x.shape[-1], dtype=x.dtype, device=x.device))
    return torch.diag_embed(LAMBDA / 2 * x**2 - MU2) + J * springs
