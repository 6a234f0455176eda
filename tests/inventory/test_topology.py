"""Degrees of gradients against closed forms."""

from typing import Any

import pytest
import torch

import landscape as ls
from landscape.inventory.topology import expected_sum, local_index


def power(k: int) -> Any:
    """Re z^k, whose gradient is k conj(z)^(k - 1): it turns -(k - 1) times around 0."""
    return lambda x: (torch.complex(x[..., 0], x[..., 1]) ** k).real


@pytest.mark.parametrize("k", [2, 3, 4, 5, 9])
def test_the_gradient_of_a_power_turns_k_minus_1_times(k: int) -> None:
    f = ls.FunctionLandscape(power(k), 2, ls.Box((-1, -2), (3, 0.5)))
    assert expected_sum(f)[0] == -(k - 1)
    assert local_index(f, torch.zeros(2, dtype=torch.float64), 1e-3) == -(k - 1)


@pytest.mark.parametrize(
    ("function", "degree"), [(lambda x: x[..., 0] ** 2, 1), (lambda x: -(x[..., 0] ** 2), -1), (lambda x: x[..., 0] ** 3 + x[..., 0], 0)]
)  # fmt: skip
def test_on_an_interval_the_slopes_at_the_ends_decide(function: Any, degree: int) -> None:
    assert expected_sum(ls.FunctionLandscape(function, 1, ls.Box(-1, 2)))[0] == degree


@pytest.mark.parametrize(("sign", "n", "degree"), [(1.0, 3, 1), (-1.0, 3, -1), (-1.0, 4, 1)])
def test_in_a_box_the_gradient_that_points_out_or_in_decides(
    sign: float, n: int, degree: int
) -> None:
    f = ls.FunctionLandscape(lambda x: sign * (x**4 + 0.1 * x).sum(-1), n, ls.Box(-1, 1))
    assert expected_sum(f)[0] == degree


def test_what_is_not_known_is_not_claimed() -> None:
    both = ls.FunctionLandscape(
        lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + x[..., 2] ** 2, 3, ls.Box(-1, 1)
    )
    vanishing = ls.FunctionLandscape(
        lambda x: (x[..., 0] - 1) ** 2 + (x[..., 1] - 1) ** 2, 2, ls.Box(0, 1)
    )
    for f in (both, vanishing, ls.FunctionLandscape(lambda x: x.square().sum(-1), 2)):
        degree, why = expected_sum(f)
        assert degree is None
        assert why


@pytest.mark.parametrize(
    ("domain", "n", "degree"),
    [(ls.Torus(), 3, 0), (ls.Sphere(), 3, 2), (ls.Sphere(), 4, 0), (ls.Sphere(), 2, 0)],
)
def test_closed_domains_have_their_characteristic(domain: Any, n: int, degree: int) -> None:
    assert expected_sum(ls.FunctionLandscape(lambda x: x[..., 0], n, domain))[0] == degree
