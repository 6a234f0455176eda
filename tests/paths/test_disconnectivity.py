"""Trees of landscapes whose passes are known: products of one coordinate, and Himmelblau's function."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from censuses import (
    SADDLE_EDGES,
    by_hand,
    cubic_roots,
    himmelblau_census,
    styblinski_census,
    styblinski_tang,
)

import landscape as ls


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_product_joins_minima_that_differ_in_one_coordinate(
    n: int, dtype: torch.dtype, device: torch.device
) -> None:
    """At a pass one coordinate is at its maximum; the minima below it have that coordinate low and high."""
    f, census = styblinski_census(n, dtype=dtype, device=device)
    low, top, high = cubic_roots()
    tree = ls.paths.disconnectivity(f, census)
    assert len(tree.minima) == 2**n
    assert len(tree.edges) == n * 2 ** (n - 1)
    assert tree.lost == 0
    assert tree.connected
    for edge in tree.edges:
        saddle = census.points[edge.saddle].x.double().cpu()
        (k,) = (saddle - top).abs().lt(1e-3).nonzero()[:, 0].tolist()
        for end in (edge.minimum, edge.other):
            assert end is not None
            x = census.points[end].x.double().cpu().clone()
            assert min(abs(float(x[k]) - v) for v in (low, high)) < 1e-3
            x[k] = saddle[k]
            torch.testing.assert_close(x, saddle, rtol=0, atol=1e-4)
        assert edge.minimum != edge.other
    one = {
        x: float(styblinski_tang(torch.tensor([x], dtype=torch.float64))) for x in (low, top, high)
    }
    # the lowest way out of a minimum with k coordinates high leads to the same with k - 1: merges by rising k
    levels = [
        one[top] + (k - 1) * one[high] + (n - k) * one[low]
        for k in range(1, n + 1)
        for _ in range(math.comb(n, k))
    ]
    assert [m.level for m in tree.merges] == pytest.approx(
        levels, rel=1e-5 if dtype == torch.float32 else 1e-12
    )


def test_himmelblau_is_a_ring_of_four_passes(dtype: torch.dtype) -> None:
    f, census = himmelblau_census(dtype=dtype)
    tree = ls.paths.disconnectivity(f, census)
    found = []
    for edge in tree.edges:
        assert edge.minimum is not None
        assert edge.other is not None
        signs = [
            tuple(census.points[i].x.sign().int().tolist()) for i in (edge.minimum, edge.other)
        ]
        found.append((round(census.points[edge.saddle].value, 2), {*signs}))
    assert found == SADDLE_EDGES
    assert [round(m.level, 2) for m in tree.merges] == [
        13.31,
        67.72,
        104.02,
    ]  # the fourth pass joins nothing new
    assert tree.connected


def test_a_chain_of_wells_is_joined_by_rising_barriers() -> None:
    """f' = product of (x - z) over zeros -3 ... 3: minima at every other one; levels from the antiderivative, exact in fractions."""
    zeros = [-3.0, -2.1, -0.8, 0.3, 1.0, 2.4, 3.0]
    coefficients = [1.0]
    for z in zeros:
        coefficients = [
            a - z * b for a, b in zip([*coefficients, 0.0], [0.0, *coefficients], strict=True)
        ]
    integral = [c / (7 - k + 1) for k, c in enumerate(coefficients)] + [0.0]

    def chain(x: torch.Tensor) -> torch.Tensor:
        y = x[..., 0]
        total = torch.zeros_like(y)
        for c in integral:
            total = total * y + c
        return total

    f = ls.FunctionLandscape(chain, 1)
    census = by_hand(f, [torch.tensor([z], dtype=torch.float64) for z in zeros])
    tree = ls.paths.disconnectivity(f, census)
    place = {i: float(census.points[i].x) for i in range(7)}
    for edge in tree.edges:
        assert edge.minimum is not None
        assert edge.other is not None
        (k,) = (i for i, z in enumerate(zeros) if z == pytest.approx(place[edge.saddle]))
        assert sorted([place[edge.minimum], place[edge.other]]) == pytest.approx(
            [zeros[k - 1], zeros[k + 1]]
        )
    assert [m.level for m in tree.merges] == pytest.approx(
        sorted(p.value for p in census.points if p.index == 1)
    )


@pytest.mark.slow
def test_a_stiff_valley_does_not_lead_astray() -> None:
    """(x^2 - 1)^2 + x / 10 + 2000 (y - sin 3x)^2: the valley winds, and its two ends are the minima."""
    f = ls.FunctionLandscape(
        lambda x: (
            (x[..., 0] ** 2 - 1) ** 2
            + 0.1 * x[..., 0]
            + 2e3 * (x[..., 1] - (3 * x[..., 0]).sin()) ** 2
        ),
        2,
    )
    roots = torch.tensor([0.0], dtype=torch.float64)
    xs = []
    for start in (-1.0, 0.0, 1.0):
        x = roots + start
        for _ in range(50):
            x = x - (4 * x**3 - 4 * x + 0.1) / (12 * x**2 - 4)
        xs.append(torch.stack([x[0], (3 * x[0]).sin()]))
    census = by_hand(f, xs)
    tree = ls.paths.disconnectivity(f, census)
    assert [(e.minimum, e.other) for e in tree.edges] in ([(0, 1)], [(1, 0)])


def test_on_a_torus_ends_are_wrapped() -> None:
    f = ls.FunctionLandscape(lambda x: -torch.cos(x).sum(-1), 2, ls.Torus(2 * math.pi))
    points = [[0.0, 0.0], [math.pi, 0.0], [0.0, math.pi], [math.pi, math.pi]]
    tree = ls.paths.disconnectivity(
        f, by_hand(f, [torch.tensor(p, dtype=torch.float64) for p in points])
    )
    assert [(e.minimum, e.other) for e in tree.edges] == [
        (0, 0),
        (0, 0),
    ]  # both sides lead round to the one minimum
    assert tree.merges == []
    assert tree.lost == 0


def test_a_sphere() -> None:
    values = torch.tensor([1.0, 2.0, 3.5], dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: 0.5 * (values.to(x) * x * x).sum(-1), 3, ls.Sphere(1.0))
    units = [s * torch.eye(3, dtype=torch.float64)[k] for k in range(3) for s in (1, -1)]
    tree = ls.paths.disconnectivity(f, by_hand(f, units))
    assert [m.level for m in tree.merges] == pytest.approx([1.0])
    assert tree.connected


@pytest.mark.slow
def test_what_is_missing_from_the_list_is_said() -> None:
    """Without the lowest minimum two saddles have a side that leads nowhere known, and two groups stay apart."""
    f, census = styblinski_census(2)
    tree = ls.paths.disconnectivity(f, replace(census, points=census.points[1:]))
    assert tree.lost == 2
    assert [m.level for m in tree.merges] == pytest.approx([-24.833834] * 2, abs=1e-6)
    f, census = himmelblau_census()
    alone = ls.paths.disconnectivity(
        f, replace(census, points=[p for p in census.points if p.index == 0])
    )
    assert not alone.connected
    assert len(alone.groups) == 4
    g, _ = styblinski_census(3)
    with pytest.raises(ValueError, match="dimension 2"):
        ls.paths.disconnectivity(g, census)


def test_it_travels_with_its_census(tmp_path: Path) -> None:
    f, census = himmelblau_census()
    tree = ls.paths.disconnectivity(f, census)
    again = ls.load(
        replace(census, tree=tree, picture=ls.inventory.picture(f, census, 11)).save(
            tmp_path / "run"
        )
    )
    assert again.tree.edges == tree.edges
    assert again.tree.merges == tree.merges
    assert again.picture.values.shape == (11, 11)


def test_a_picture_shows_f() -> None:
    f, census = himmelblau_census()
    shown = ls.inventory.picture(f, census, 5)
    assert shown.xs.tolist() == shown.ys.tolist() == [-6, -3, 0, 3, 6]
    assert shown.values[3, 1] == (9 - 3 - 11) ** 2 + (3 + 9 - 7) ** 2  # at (3, -3)
    whole = ls.inventory.picture(f, replace(census, low=[], high=[]), 5)
    x = torch.stack([p.x for p in census.points])
    assert whole.xs[0] < x[:, 0].min()
    assert whole.ys[-1] > x[:, 1].max()
    line, one = styblinski_census(1)
    assert ls.inventory.picture(line, one, 7).values.shape == (7,)
    with pytest.raises(ValueError, match="a line or a plane"):
        ls.inventory.picture(*styblinski_census(3))
    with pytest.raises(ValueError, match="at least 2"):
        ls.inventory.picture(f, census, 1)


def test_no_tensor_is_made_on_the_default_device() -> None:
    f, census = himmelblau_census()
    torch.set_default_device("meta")
    try:
        tree, shown = ls.paths.disconnectivity(f, census), ls.inventory.picture(f, census, 5)
    finally:
        torch.set_default_device(None)
    assert tree.connected
    assert shown.values.device.type == "cpu"
