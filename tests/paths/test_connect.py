"""Curves against their definition, and connections of low loss where straight lines are barred."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import landscape as ls
from landscape.paths.curves import weights
from landscape.surfaces.connection import connection_plane


def _ring() -> ls.FunctionLandscape:
    """A ring of minima in a plane: any two are joined by an arc of value 0, and straight lines cross the hill."""
    return ls.FunctionLandscape(lambda x: (x.square().sum(-1) - 1).square(), 2, name="ring")


def _ends(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor([1.0, 0.0], dtype=dtype, device=device), torch.tensor(
        [-0.6, 0.8], dtype=dtype, device=device
    )


def test_bezier_curves_by_repeated_interpolation(dtype: torch.dtype, device: torch.device) -> None:
    C = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    t = torch.linspace(0, 1, 7, dtype=dtype, device=device)
    for k, share in enumerate(t):
        points = C
        while len(points) > 1:  # de Casteljau
            points = (1 - share) * points[:-1] + share * points[1:]
        torch.testing.assert_close((weights("bezier", t, 4) @ C)[k], points[0])
    chain = weights("polygon", t, 4) @ C
    torch.testing.assert_close(chain[[0, 2, 4, 6]], C)
    torch.testing.assert_close(chain[1], (C[0] + C[1]) / 2)


def test_a_profile_goes_by_length(dtype: torch.dtype, device: torch.device) -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0] + 10 * x[..., 1], 2)
    C = torch.tensor([[0.0, 0], [3, 0], [3, 1]], dtype=dtype, device=device)
    p = ls.paths.profile(f, C, 5, metrics={"first": lambda x: x[..., 0]})
    torch.testing.assert_close(
        p.values, torch.tensor([0.0, 1, 2, 3, 13], dtype=dtype, device=device)
    )
    torch.testing.assert_close(p.arclength, torch.arange(5, dtype=dtype, device=device))
    torch.testing.assert_close(
        p.metrics["first"], torch.tensor([0.0, 1, 2, 3, 3], dtype=dtype, device=device)
    )
    assert p.barrier == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bends", "most"), [("bezier", 1, 0.03), ("bezier", 3, 3e-3), ("polygon", 3, 0.02)]
)
def test_the_curve_goes_round_the_hill(kind: str, bends: int, most: float, tmp_path: Path) -> None:
    f, (a, b) = _ring(), _ends(torch.float64, torch.device("cpu"))
    made = ls.paths.connect(f, a, b, kind=kind, bends=bends, steps=400, optimizer="adam:lr=0.03")
    made = replace(made, plane=connection_plane(f, made, 9))
    assert made.straight_barrier == pytest.approx(
        0.64, rel=1e-3
    )  # the line passes at 1 / sqrt 5 of the centre
    assert made.barrier < most
    assert torch.equal(made.control[0], a)
    assert torch.equal(made.control[-1], b)
    assert made.plane is not None
    assert made.plane.walks["curve"].lost == pytest.approx(0, abs=1e-12)
    first, last = made.history[0, 1], made.history[-1, 1]
    assert float(last) < 0.2 * float(first)
    stored = ls.load(made.save(tmp_path))
    torch.testing.assert_close(stored.curve.values, made.curve.values)


def test_the_plane_holds_a_curve_that_goes_beyond_its_ends() -> None:
    well = torch.tensor([-3.0, 1.0], dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: (x - well).square().sum(-1), 2)
    a, b = (torch.tensor([s, 0.0], dtype=torch.float64) for s in (-1, 1))
    plane = connection_plane(
        f, ls.paths.connect(f, a, b, steps=200, optimizer="adam:lr=0.1", resolution=5), 3
    )
    assert plane is not None
    where = plane.walks["curve"].where
    assert float(where[:, 0].min()) < -1.5  # down the well, past the end at -1
    assert float(where.abs().max()) < float(plane.steps[-1]) < 1.5 * float(where.abs().max())


def test_one_seed_one_curve_on_any_device_and_dtype(
    dtype: torch.dtype, device: torch.device
) -> None:
    f, (a, b) = _ring(), _ends(dtype, device)
    state = torch.random.get_rng_state()
    one, two = (ls.paths.connect(f, a, b, steps=20, resolution=5, seed=7) for _ in range(2))
    assert torch.equal(one.control, two.control)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(
        one.control, ls.paths.connect(f, a, b, steps=20, resolution=5, seed=8).control
    )
    assert one.control.dtype == dtype


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kind": "spline"}, "kind"),
        ({"bends": 0}, "bends"),
        ({"optimizer": "lbfgs"}, "LBFGS"),
        ({"optimizer": "adm"}, "adam"),
    ],
)
def test_wrong_curves_are_named(wrong: dict[str, object], named: str) -> None:
    f, (a, b) = _ring(), _ends(torch.float64, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"(?i)" + named):
        ls.paths.connect(f, a, b, steps=2, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one point"):
        ls.paths.connect(f, a, a)


def test_the_last_point_of_a_profile_is_the_curves_end(
    dtype: torch.dtype, device: torch.device
) -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0], 3)
    for seed in range(30):  # lengths whose sum rounds differently in another order, in one of four
        C = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed)).to(device, dtype)
        p = ls.paths.profile(f, C, 7)
        assert torch.equal(p.values[[0, -1]], C[[0, -1], 0])


def test_a_curve_that_left_the_numbers_is_an_error() -> None:
    f, (a, b) = _ring(), _ends(torch.float64, torch.device("cpu"))
    with pytest.raises(ls.NumericalError, match="after 3 steps"):
        ls.paths.connect(f, a, b, steps=3, optimizer="sgd:lr=1e200", resolution=3)
