"""Test functions of optimisation, with all stationary points in their usual box.

Approximate points are written down to a few digits and refined by Newton's method; sums over
coordinates combine the roots of one variable. That the lists are complete is known: for two
variables by interval arithmetic, for Rosenbrock's function by eliminating all variables but one.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from landscape.landscapes.domains import Box
from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point, listable, refined

HIMMELBLAU = (
    (3.0, 2.0),
    (-3.779, -3.283),
    (-2.805, 3.131),
    (3.584, -1.848),
    (3.385, 0.074),
    (0.087, 2.884),
    (-3.073, -0.081),
    (-0.128, -1.954),
    (-0.271, -0.923),
)

BEALE = ((3.0, 0.5), (0.101, -2.645), (0.0, 1.0))

ROSENBROCK: dict[
    int, tuple[tuple[float, ...], ...]
] = {  # beside (1, ..., 1): the second minimum and the saddle
    2: (),
    3: (),
    4: ((-0.776, 0.613, 0.382, 0.146), (-0.656, 0.443, 0.204, 0.042)),
    5: ((-0.962, 0.936, 0.881, 0.778, 0.605), (-0.557, 0.325, 0.117, 0.023, 0.001)),
    6: ((-0.987, 0.983, 0.972, 0.947, 0.899, 0.808), (-0.555, 0.322, 0.115, 0.024, 0.010, 0.0)),
    7: (
        (-0.992, 0.994, 0.992, 0.987, 0.975, 0.951, 0.905),
        (-0.555, 0.322, 0.115, 0.024, 0.011, 0.010, 0.0),
    ),
}


def himmelblau() -> KnownLandscape:
    """Four minima of value 0, four saddles and a maximum."""

    def f(x: Tensor) -> Tensor:
        x, y = x[..., 0], x[..., 1]
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    return KnownLandscape(
        f,
        2,
        Box(-6.0, 6.0),
        name="himmelblau",
        formula="(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
        source="Himmelblau 1972, Applied Nonlinear Programming",
        points=lambda: refined(f, HIMMELBLAU),
    )


def beale() -> KnownLandscape:
    """One minimum, at (3, 1/2), and two saddles."""

    def f(x: Tensor) -> Tensor:
        x, y = x[..., 0], x[..., 1]
        return (
            (1.5 - x * (1 - y)) ** 2 + (2.25 - x * (1 - y**2)) ** 2 + (2.625 - x * (1 - y**3)) ** 2
        )

    return KnownLandscape(
        f,
        2,
        Box(-4.5, 4.5),
        name="beale",
        formula="sum_{i=1..3} (c_i - x (1 - y^i))^2, c = (1.5, 2.25, 2.625)",
        source="Beale 1958; Moré, Garbow, Hillstrom 1981, ACM TOMS 7:17, problem 5",
        points=lambda: refined(f, BEALE),
    )


def rosenbrock(dim: int = 4) -> KnownLandscape:
    """A chain of curved valleys; from four variables on a second minimum near (-1, 1, ..., 1).

    Args:
        dim: number of variables; the stationary points are known up to 7.

    Raises:
        ValueError: dim is not at least 2.
    """
    whole(2, dim=dim)

    def f(x: Tensor) -> Tensor:
        head, tail = x[..., :-1], x[..., 1:]
        return (100 * (tail - head**2) ** 2 + (1 - head) ** 2).sum(-1)

    starts = None if dim not in ROSENBROCK else ((1.0,) * dim, *ROSENBROCK[dim])
    return KnownLandscape(
        f,
        dim,
        Box(-2.048, 2.048),
        name="rosenbrock",
        formula="sum_{i<n} 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2",
        source=(
            "Rosenbrock 1960, Comput. J. 3:175; minima and saddles: Shang, Qiu 2006, Evol. "
            "Comput. 14:119; Kok, Sandrock 2009, Evol. Comput. 17:437"
        ),
        points=None if starts is None else lambda: refined(f, starts),
    )


def styblinski_tang(dim: int = 2) -> KnownLandscape:
    """Two minima and a maximum in each coordinate, 3^dim stationary points in all.

    Args:
        dim: number of variables.

    Raises:
        ValueError: dim is not at least 1.
    """
    whole(1, dim=dim)

    def f(x: Tensor) -> Tensor:
        return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum(-1)

    # 4 x^3 - 32 x + 5 = 0 by Viète's formula
    turn = math.acos(-15 / 64 * math.sqrt(3 / 8)) / 3
    roots = [2 * math.sqrt(8 / 3) * math.cos(turn - 2 * math.pi * k / 3) for k in range(3)]
    return _sum_over_coordinates(
        f,
        dim,
        Box(-5.0, 5.0),
        roots,
        lambda x: 2 * x**3 - 16 * x + 2.5,
        lambda x: 6 * x**2 - 16,
        name="styblinski-tang",
        formula="1/2 sum_i (x_i^4 - 16 x_i^2 + 5 x_i)",
        source="Styblinski, Tang 1990, Neural Networks 3:467",
    )


def rastrigin(dim: int = 2) -> KnownLandscape:
    """Eleven minima and ten maxima in each coordinate, 21^dim stationary points in all.

    Args:
        dim: number of variables.

    Raises:
        ValueError: dim is not at least 1.
    """
    whole(1, dim=dim)
    w = 2 * math.pi

    def f(x: Tensor) -> Tensor:
        return (10 + x**2 - 10 * torch.cos(w * x)).sum(-1)

    # near the multiples of 1/2
    starts = [h / 2 * (1 - (-1) ** h / (10 * w * math.pi)) for h in range(-10, 11)]
    return _sum_over_coordinates(
        f,
        dim,
        Box(-5.12, 5.12),
        starts,
        lambda x: 2 * x + 10 * w * math.sin(w * x),
        lambda x: 2 + 10 * w**2 * math.cos(w * x),
        name="rastrigin",
        formula="sum_i 10 + x_i^2 - 10 cos(2 pi x_i)",
        source="Rastrigin 1974; Mühlenbein, Schomisch, Born 1991, Parallel Computing 17:619",
    )


def _sum_over_coordinates(
    f: Callable[[Tensor], Tensor],
    dim: int,
    box: Box,
    starts: list[float],
    slope: Callable[[float], float],
    curvature: Callable[[float], float],
    *,
    name: str,
    formula: str,
    source: str,
) -> KnownLandscape:
    """A sum of one function of each coordinate: its points are all tuples of the roots of that
    function's ``slope``.
    """
    roots = sorted(_newton(x, slope, curvature) for x in starts)
    maxima = sum(curvature(x) < 0 for x in roots)
    minima = len(roots) - maxima

    def points() -> list[KnownPoint]:
        listable(len(roots) ** dim, name)
        X = torch.tensor(list(product(roots, repeat=dim)), dtype=torch.float64, device="cpu")
        bends = torch.tensor(
            list(product(map(curvature, roots), repeat=dim)), dtype=torch.float64, device="cpu"
        )
        return [known_point(x, float(v), bend) for x, v, bend in zip(X, f(X), bends, strict=True)]

    counts = {k: math.comb(dim, k) * maxima**k * minima ** (dim - k) for k in range(dim + 1)}
    return KnownLandscape(
        f, dim, box, name=name, formula=formula, source=source, points=points, counts=counts
    )


def _newton(
    x: float, slope: Callable[[float], float], curvature: Callable[[float], float]
) -> float:
    """The root near x; a start of a few digits is at rounding after six steps."""
    for _ in range(6):
        x -= slope(x) / curvature(x)
    return x
