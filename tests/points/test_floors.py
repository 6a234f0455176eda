"""What is said where no order up to the fourth decides, against points whose kind is known in closed form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import landscape as ls
from landscape.points.floors import level

Function = Callable[..., Tensor]

# f of its coordinates, and whether 0 is a minimum; each is flat to fourth order along a direction
NONE: dict[str, Function] = {
    "-x^6 + y^2": lambda x, y: -(x**6) + y**2,
    "x^5 + y^2": lambda x, y: x**5 + y**2,
    "(y - x^2)^2 - x^5": lambda x, y: (y - x**2) ** 2 - x**5,
    "(y - x^2)^2 - x^6": lambda x, y: (y - x**2) ** 2 - x**6,
    "(y - x^3)^2 - x^7": lambda x, y: (y - x**3) ** 2 - x**7,
    "(y + x^2 / 2)^2 - x^6": lambda x, y: (y + x**2 / 2) ** 2 - x**6,
    "x^6 + y^6 - 3 x^2 y^4 + z^2": lambda x, y, z: x**6 + y**6 - 3 * x**2 * y**4 + z**2,
}
MINIMA: dict[str, Function] = {
    "x^6 + y^2": lambda x, y: x**6 + y**2,
    "(y - x^2)^2 + x^6": lambda x, y: (y - x**2) ** 2 + x**6,
    "(y + x^2 / 2)^2 + x^6": lambda x, y: (y + x**2 / 2) ** 2 + x**6,
    "x^6 + y^6 + z^2": lambda x, y, z: x**6 + y**6 + z**2,
}
FAMILIES: dict[str, Function] = {
    "(y - x^2)^2": lambda x, y: (y - x**2) ** 2,
    "x^2 y^2 + z^2": lambda x, y, z: x**2 * y**2 + z**2,
}

# on pieces of which the first is level: nearer than 0.01, 0.03 and to one side alone
PIECES: dict[str, Function] = {
    "y^2 + relu(|x| - 0.01)^2": lambda x, y: y**2 + torch.relu(x.abs() - 0.01) ** 2,
    "(y - x^2)^2 + relu(|x| - 0.03)": lambda x, y: (y - x**2) ** 2 + torch.relu(x.abs() - 0.03),
}
SIDED: dict[str, Function] = {
    "y^2 + relu(x)^3": lambda x, y: y**2 + torch.relu(x) ** 3,
    "y^2 - relu(-x)^4": lambda x, y: y**2 - torch.relu(-x) ** 4,
}


def said(f: Function, dtype: torch.dtype, *, turned: bool) -> str:
    """The last reason of the verdict at 0, in coordinates that are turned or not."""
    n = f.__code__.co_argcount
    generator = torch.Generator().manual_seed(3)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    Q = (Q if turned else torch.eye(n, dtype=torch.float64)).to(dtype)
    landscape = ls.FunctionLandscape(lambda p: f(*(p @ Q).unbind(-1)), n, dtype=dtype)
    return ls.classify(landscape, torch.zeros(n, dtype=dtype)).reasons[-1]


every = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
turns = pytest.mark.parametrize("turned", [False, True], ids=["axes", "turned"])


@pytest.mark.slow
@turns
@every
@pytest.mark.parametrize("name", NONE)
def test_a_point_that_falls_along_a_floor_is_no_minimum(
    name: str, dtype: torch.dtype, turned: bool
) -> None:
    assert said(NONE[name], dtype, turned=turned).startswith("no minimum: by its values along")


@pytest.mark.slow
@turns
@every
@pytest.mark.parametrize("name", MINIMA)
def test_a_minimum_rises_along_its_floor(name: str, dtype: torch.dtype, turned: bool) -> None:
    told = said(MINIMA[name], dtype, turned=turned)
    assert told.startswith("no order up to the fourth decides")
    assert " it rises" in told


@turns
@every
@pytest.mark.parametrize("name", FAMILIES)
def test_a_floor_that_is_level_shows_no_power(name: str, dtype: torch.dtype, turned: bool) -> None:
    told = said(FAMILIES[name], dtype, turned=turned)
    assert told.endswith("show no power of t beyond rounding")


def test_what_rises_on_the_straight_line_falls_beside_it_on_the_floor() -> None:
    """f = (y - x^2)^2 - x^6 is x^4 - x^6 on the line, and -x^6 on the parabola."""
    assert "-1 t^6" in said(NONE["(y - x^2)^2 - x^6"], torch.float64, turned=True)


def levels(f: Function, seed: int) -> bool:
    """Whether f is said to be level at 0, in turned coordinates, from the whole spectrum there."""
    n = f.__code__.co_argcount
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    landscape = ls.FunctionLandscape(lambda p: f(*(p @ Q).unbind(-1)), n, dtype=torch.float64)
    H = ls.Hessian(landscape, torch.zeros(n, dtype=torch.float64))
    values, V = torch.linalg.eigh(H.dense())
    curved = values.abs() > 1e-12
    return bool(level(landscape, H, V[:, ~curved], values[curved], V[:, curved], seed))


@pytest.mark.parametrize("name", [*NONE, *MINIMA, *SIDED, "x^2 y^2 + z^2"])
def test_a_floor_that_changes_to_any_power_is_not_level(name: str) -> None:
    f = (NONE | MINIMA | SIDED | FAMILIES)[name]
    assert not levels(f, 1)
    assert not levels(f, 2)


@pytest.mark.parametrize("name", ["(y - x^2)^2", *PIECES])
def test_a_level_floor_is_seen_on_the_piece_that_the_point_lies_on(name: str) -> None:
    assert levels((FAMILIES | PIECES)[name], 1)
    assert levels((FAMILIES | PIECES)[name], 2)
