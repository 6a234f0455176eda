"""Wells: two of them with a barrier between, for noise to cross; one with a plateau around it, for
gradients to vanish on.
"""

import itertools
import math

import torch
from torch import Tensor

from landscape.landscapes.domains import Box
from landscape.specs import number, whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point, listable


def double_well(dim: int = 2, wells: int = 1, stiffness: float = 1.0) -> KnownLandscape:
    """Double wells along the first coordinates, minima at -1 and 1, barriers of 1/4 at 0; parabolas
    along the others.

    Args:
        dim: number of variables.
        wells: how many coordinates have two wells: 3^wells stationary points.
        stiffness: curvature along the others.

    Raises:
        ValueError: an option out of range.
    """
    whole(1, dim=dim)
    whole(1, dim, wells=wells)
    number(0, stiffness=stiffness)
    if stiffness == 0:
        raise ValueError("stiffness must be positive.")

    def f(x: Tensor) -> Tensor:
        y, z = x[..., :wells], x[..., wells:]
        return (y**4 / 4 - y**2 / 2).sum(-1) + 0.5 * stiffness * z.square().sum(-1)

    def points() -> list[KnownPoint]:
        listable(3**wells, "double-well")
        return [
            _well(ends, dim, stiffness)
            for ends in itertools.product((-1.0, 0.0, 1.0), repeat=wells)
        ]

    return KnownLandscape(
        f,
        dim,
        Box(-2.0, 2.0),
        name="double-well",
        formula="sum x_i^4/4 - x_i^2/2 + stiffness/2 sum z_j^2",
        source="closed form; Kramers 1940, Physica 7:284, for passages",
        points=points,
        counts={k: math.comb(wells, k) * 2 ** (wells - k) for k in range(wells + 1)},
    )


def gaussian_well(dim: int = 2) -> KnownLandscape:
    """One minimum in a plateau: at distance r the gradient is r e^{-r^2/2}, 1e-5 at r = 5.

    Args:
        dim: number of variables.

    Raises:
        ValueError: dim is not at least 1.
    """
    whole(1, dim=dim)
    return KnownLandscape(
        lambda x: -torch.expm1(-0.5 * x.square().sum(-1)),
        dim,
        Box(-6.0, 6.0),
        name="gaussian-well",
        formula="1 - exp(-|x|^2 / 2)",
        source="closed form: the gradient x exp(-|x|^2 / 2) is zero at 0 alone",
        points=lambda: [
            known_point(_zero(dim), 0.0, torch.ones(dim, dtype=torch.float64, device="cpu"))
        ],
    )


def _zero(dim: int) -> Tensor:
    return torch.zeros(dim, dtype=torch.float64, device="cpu")


def _well(ends: tuple[float, ...], dim: int, stiffness: float) -> KnownPoint:
    x, spectrum = (
        _zero(dim),
        torch.full((dim,), float(stiffness), dtype=torch.float64, device="cpu"),
    )
    x[: len(ends)] = torch.tensor(ends, dtype=torch.float64, device="cpu")
    spectrum[: len(ends)] = 3 * x[: len(ends)].square() - 1
    return known_point(x, -0.25 * sum(map(abs, ends)), spectrum)
