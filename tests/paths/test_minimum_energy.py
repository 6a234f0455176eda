"""Paths over passes whose height is known: in closed form, published, or exact by symmetry."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from censuses import (
    HIMMELBLAU,
    cubic_roots,
    himmelblau,
    landscape,
    mueller_brown,
    styblinski_tang,
    table,
)
from torch import Tensor, nn

import landscape as ls
from landscape.paths.minimum_energy import Stop, _nearest

MINIMA = [p["x"] for p in HIMMELBLAU["points"] if p["index"] == 0]
SADDLES = sorted((p for p in HIMMELBLAU["points"] if p["index"] == 1), key=lambda p: p["value"])


def at(x: Any, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
    return torch.tensor(x, dtype=dtype, device=device)


def near(values: list[float], dtype: torch.dtype) -> Any:
    return pytest.approx(
        values,
        abs=2e-3 if dtype == torch.float32 else 1e-9,
        rel=1e-4 if dtype == torch.float32 else 1e-9,
    )


def check(path: ls.paths.EnergyPath, f: ls.FunctionLandscape) -> None:
    """What every path promises, computed again."""
    points = path.points
    torch.testing.assert_close(path.values, f.value(points).double().cpu())
    lengths = (points[1:] - points[:-1]).double().norm(dim=1).cumsum(0).cpu()
    torch.testing.assert_close(path.arclength[1:], lengths)
    assert path.arclength[0] == 0
    assert path.residual <= path.tolerance
    assert path.places[0] == 0
    assert path.places[-1] == len(points) - 1
    for station, place in zip(path.stations, path.places, strict=True):
        assert torch.equal(station.x, points[place])
    assert path.barrier == path.saddle.value - path.stations[0].value
    assert path.barrier_back == path.saddle.value - path.stations[-1].value
    # between stations f only rises or only falls, up to what the tolerance leaves
    for p, q in pairwise(path.places):
        steps = path.values[p : q + 1].diff()
        slack = path.tolerance * float(path.arclength[q] - path.arclength[p])
        assert (steps >= -slack).all() or (steps <= slack).all()


# the ends of the path, and the saddles by rising value that lie on it
@pytest.mark.parametrize(
    ("start", "end", "met"), [(0, 1, [0]), (0, 2, [1])], ids=["lowest pass", "second pass"]
)
def test_himmelblau(
    start: int, end: int, met: list[int], dtype: torch.dtype, device: torch.device
) -> None:
    quadrants = [(1, 1), (1, -1), (-1, 1)]
    ends = [next(x for x in MINIMA if (x[0] > 0, x[1] > 0) == (u > 0, v > 0)) for u, v in quadrants]
    f = landscape(himmelblau)
    path = ls.minimum_energy_path(f, at(ends[start], dtype, device), at(ends[end], dtype, device))
    check(path, f)
    assert path.stop is Stop.CONVERGED
    assert path.points.dtype == dtype
    assert path.points.device.type == device.type
    inner = path.stations[1:-1]
    assert [s.value for s in inner] == near([SADDLES[k]["value"] for k in met], dtype)
    assert path.saddle.x.tolist() == near(SADDLES[met[0]]["x"], dtype)
    assert [s.kind for s in path.stations] == ["minimum", "saddle", "minimum"]


@pytest.mark.slow
def test_mueller_brown_meets_both_passes_and_the_minimum_between(dtype: torch.dtype) -> None:
    """Published energies: Mueller & Brown 1979. Ends given to three digits are relaxed, and the reasons say so."""
    f = landscape(mueller_brown)
    path = ls.minimum_energy_path(f, at([-0.558, 1.442], dtype), at([0.623, 0.028], dtype))
    check(path, f)
    assert path.stop is Stop.CONVERGED
    assert [s.value for s in path.stations] == pytest.approx(
        [-146.6995, -40.6648, -80.7678, -72.2489, -108.1667], abs=2e-4
    )
    assert [s.kind for s in path.stations] == ["minimum", "saddle", "minimum", "saddle", "minimum"]
    assert path.saddle.value == path.stations[1].value
    assert path.barrier == pytest.approx(146.6995 - 40.6648, abs=2e-4)
    assert path.barrier_back == pytest.approx(108.1667 - 40.6648, abs=2e-4)
    assert dtype == torch.float32 or "the first end was not stationary; relaxed" in path.reasons[0]


@pytest.mark.parametrize("n", [2, 4])
def test_styblinski_tang_crosses_one_coordinate_at_a_time(n: int) -> None:
    """From all coordinates low to all high: n passes, each one coordinate at its maximum; values are sums of those of one."""
    low, top, high = cubic_roots()
    one = {x: float(styblinski_tang(at([x]))) for x in (low, top, high)}
    f = landscape(styblinski_tang, n)
    path = ls.minimum_energy_path(f, at([low] * n), at([high] * n))
    check(path, f)
    assert path.stop is Stop.CONVERGED
    minima = [k * one[high] + (n - k) * one[low] for k in range(n + 1)]
    passes = [k * one[high] + one[top] + (n - k - 1) * one[low] for k in range(n)]
    assert [s.value for s in path.stations[::2]] == near(minima, torch.float64)
    assert [s.value for s in path.stations[1::2]] == near(passes, torch.float64)
    assert path.barrier == pytest.approx(
        (n - 1) * (one[high] - one[low]) + one[top] - one[low], rel=1e-12
    )


def test_a_torus_is_crossed_the_short_way() -> None:
    """Wells of cos 3x at 0 and 4 pi / 3: a step back by a third of the period, over one pass and not over two."""
    g = ls.FunctionLandscape(
        lambda x: -torch.cos(3 * x[..., 0]) - torch.cos(x[..., 1]), 2, ls.Torus(2 * math.pi)
    )
    path = ls.minimum_energy_path(g, at([0.0, 0.0]), at([4 * math.pi / 3, 0.0]))
    check(path, g)
    assert path.barrier == pytest.approx(2.0, abs=1e-12)
    assert float(path.arclength[-1]) == pytest.approx(
        2 * math.pi / 3, rel=1e-2
    )  # not 4 pi / 3 the other way
    assert float(path.points[-1, 0]) == pytest.approx(-2 * math.pi / 3, abs=1e-6)
    assert len(path.stations) == 3


def xy_ring(x: Tensor) -> Tensor:
    """Five plane rotors on a ring, the fifth held at 0."""
    t = torch.cat([torch.zeros_like(x[..., :1]), x, torch.zeros_like(x[..., :1])], dim=-1)
    return (1 - torch.cos(t.diff(dim=-1))).sum(-1)


@pytest.mark.parametrize("turns", [1, -1])
def test_a_ring_of_rotors_unwinds_over_one_weak_link(turns: int) -> None:
    """At the pass four links turn by pi / 3 and one by 2 pi / 3: f = 7 / 2; wound once, every link turns by 2 pi / 5."""
    f = ls.FunctionLandscape(xy_ring, 4, ls.Torus(2 * math.pi))
    wound = turns * at([1.0, 2.0, 3.0, 4.0]) * 2 * math.pi / 5
    path = ls.minimum_energy_path(f, wound, at([0.0] * 4))
    check(path, f)
    assert path.stop is Stop.CONVERGED
    assert path.barrier_back == pytest.approx(3.5, abs=1e-10)
    assert path.barrier == pytest.approx(3.5 - 5 * (1 - math.cos(2 * math.pi / 5)), abs=1e-10)


@pytest.mark.slow
def test_from_one_winding_to_the_other_no_minimum_is_met_twice() -> None:
    """The gradient flow from either side of every saddle must end at its neighbours on the path."""
    f = ls.FunctionLandscape(xy_ring, 4, ls.Torus(2 * math.pi))
    wound = at([1.0, 2.0, 3.0, 4.0]) * 2 * math.pi / 5
    path = ls.minimum_energy_path(f, wound, -wound)
    check(path, f)
    assert [s.kind for s in path.stations] == ["minimum", "saddle", "minimum", "saddle", "minimum"]
    for before, top, after in zip(
        path.stations[:-2:2], path.stations[1::2], path.stations[2::2], strict=True
    ):
        found = set()
        for side in (1e-3, -1e-3):
            x = top.x + side * top.pairs.vectors[:, 0]
            for _ in range(600):
                x = x - 0.3 * f.gradient(x)
            found.add(
                1
                if float((x - before.x).norm()) < 1e-3
                else 2
                if float((x - after.x).norm()) < 1e-3
                else 0
            )
        assert found == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("radius", [1.0, 2.5])
def test_a_sphere_is_crossed_along_a_great_circle(radius: float, dtype: torch.dtype) -> None:
    """Half x'Ax from -v1 to v1: the lowest pass is at v2, (lambda2 - lambda1) r^2 / 2 above, whatever circle was tried first."""
    Q, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    A = Q @ torch.diag(at([1.0, 2.5, 4.0, 7.0, 9.0])) @ Q.T
    f = ls.FunctionLandscape(lambda x: 0.5 * (x * (x @ A.to(x))).sum(-1), 5, ls.Sphere(radius))
    v = (radius * Q[:, 0]).to(dtype)
    path = ls.minimum_energy_path(f, -v, v, seed=3)
    assert path.stop is Stop.CONVERGED
    assert [path.barrier] == near([0.75 * radius**2], dtype)
    assert abs(float(path.saddle.x.double() @ Q[:, 1])) == pytest.approx(radius, rel=1e-5)
    norms = path.points.double().norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, radius), rtol=1e-6, atol=0)


def test_a_maximum_on_the_straight_line_is_gone_round(dtype: torch.dtype) -> None:
    """(r^2 - 1)^2 + 0.3 y^2: over the top it is 1; the pass at y^2 = 0.85 is 0.15^2 + 0.255."""
    f = ls.FunctionLandscape(lambda x: (x.square().sum(-1) - 1) ** 2 + 0.3 * x[..., 1] ** 2, 2)
    path = ls.minimum_energy_path(f, at([-1.0, 0.0], dtype), at([1.0, 0.0], dtype))
    check(path, f)
    assert path.stop is Stop.CONVERGED
    assert path.barrier == pytest.approx(0.2775, abs=1e-6)
    assert path.saddle.index == 1


def test_a_line_has_its_maximum_for_a_pass() -> None:
    low, top, high = cubic_roots()
    f = landscape(styblinski_tang, 1)
    path = ls.minimum_energy_path(f, at([low]), at([high]))
    assert path.stop is Stop.CONVERGED
    assert float(path.saddle.x) == pytest.approx(top, abs=1e-12)


@pytest.mark.slow
def test_scale_and_shift_change_nothing_but_the_units() -> None:
    f = landscape(himmelblau)
    g = ls.FunctionLandscape(lambda x: 1e-6 * himmelblau(1e-3 * x) - 4.0, 2)
    a, b = at(MINIMA[0]), at(MINIMA[1])
    one, two = ls.minimum_energy_path(f, a, b), ls.minimum_energy_path(g, 1e3 * a, 1e3 * b)
    assert two.stop is one.stop
    assert two.barrier == pytest.approx(1e-6 * one.barrier, rel=1e-7)
    assert two.residual <= two.tolerance <= 2e-9 * one.tolerance


def test_no_barrier_is_said(device: torch.device) -> None:
    f = ls.FunctionLandscape(lambda x: (x.square() * at([1.0, 30.0]).to(x)).sum(-1), 2)
    path = ls.minimum_energy_path(f, at([2.0, 1.0], device=device), at([-1.0, 3.0], device=device))
    assert path.stop is Stop.DOWNHILL
    assert "both ends relax to one minimum" in path.reasons
    assert path.barrier == pytest.approx(0, abs=1e-12)


def test_an_end_on_a_saddle_is_relaxed_off_it() -> None:
    f = landscape(himmelblau)
    path = ls.minimum_energy_path(f, at(MINIMA[0]), at(SADDLES[2]["x"]))
    assert "the last end was a saddle; relaxed downhill" in path.reasons[0]
    assert path.stations[-1].kind == "minimum"


@pytest.mark.slow
def test_too_few_steps_are_no_convergence() -> None:
    f = landscape(mueller_brown)
    path = ls.minimum_energy_path(f, at([-0.558, 1.442]), at([0.623, 0.028]), max_steps=5)
    assert path.stop is Stop.STEPS
    assert not path.converged
    assert path.residual > path.tolerance
    assert path.barrier >= float(path.values.max() - path.values[0]) - 1e-9


def _tent(x: Tensor) -> Tensor:
    return (x[..., 0].abs() - 1).abs() + x[..., 1] ** 2


@pytest.mark.slow
def test_a_top_with_a_kink_is_no_saddle() -> None:
    """| |x| - 1 | + y^2 has its pass at a kink, where no Hessian is: the numbers must not claim a saddle."""
    path = ls.minimum_energy_path(
        ls.FunctionLandscape(_tent, 2), at([-1.0, 0.0]), at([1.0, 0.0]), max_steps=300
    )
    assert path.stop in (Stop.TOP, Stop.STEPS)
    assert path.barrier == pytest.approx(1.0, abs=1e-3)


def test_the_same_seed_gives_the_same_path_and_the_global_generator_is_left_alone() -> None:
    f = landscape(himmelblau)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two = (ls.minimum_energy_path(f, at(MINIMA[0]), at(MINIMA[2]), seed=5) for _ in range(2))
    assert torch.equal(one.points, two.points)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_is_stored_and_loaded(tmp_path: Path) -> None:
    f = landscape(styblinski_tang, 1)
    low, _, high = cubic_roots()
    path = ls.minimum_energy_path(f, at([low]), at([high]))
    again = ls.load(path.save(tmp_path / "run"))
    assert torch.equal(again.points, path.points)
    assert again.stop is path.stop
    assert again.saddle.value == path.saddle.value


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([0.0], [1.0, 0.0]), {}, r"must have shape \(2,\), got \(1,\)"),
        (([0.0, 0.0], [0.0, 0.0]), {}, "are one point"),
        (([0.0, 0.0], [1.0, 0.0]), {"images": 4}, "at least 5"),
        (([0.0, 0.0], [1.0, 0.0]), {"tol": 0.0}, "tol must be a positive number"),
        (([0.0, 0.0], [1.0, 0.0]), {"max_steps": 0}, "max_steps must be a whole number of at least 1"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(arguments: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ls.minimum_energy_path(landscape(himmelblau), at(arguments[0]), at(arguments[1]), **options)


def test_not_finite_is_named() -> None:
    f = ls.FunctionLandscape(
        lambda x: (x[..., 0] ** 2 - 4) ** 2 + (x[..., 0] ** 2 - 1).log() * 0 + x[..., 1] ** 2, 2
    )
    with pytest.raises(ls.NumericalError, match="on the path"):
        ls.minimum_energy_path(f, at([-2.0, 0.0]), at([2.0, 0.0]))


def _trained(seed: int, dtype: torch.dtype, width: int) -> ls.ModelLandscape:
    """Weight decay makes minima of a network isolated: 3 - 2 width - width - 2 with tanh."""
    data = torch.Generator().manual_seed(5)
    X = torch.randn(60, 3, generator=data)
    y = (X[:, 0] * X[:, 1] + X[:, 2].sin() > 0).long()
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(3, 2 * width),
        nn.Tanh(),
        nn.Linear(2 * width, width),
        nn.Tanh(),
        nn.Linear(width, 2),
    )
    model = model.to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2, weight_decay=2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X.to(dtype)), y).backward()
        optimizer.step()
    return ls.ModelLandscape(
        model, nn.functional.cross_entropy, [(X.to(dtype), y)], l2={"*": 2e-2}, dtype=dtype
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "dtype"), [(6, torch.float32), (5, torch.float64)], ids=["140-f32", "107-f64"]
)
def test_between_two_networks_the_path_is_far_lower_than_the_straight_line(
    width: int, dtype: torch.dtype
) -> None:
    """Draxler et al. 2018: two seeds. Few steps, so that the path need not have settled; it must say so."""
    f = _trained(0, dtype, width)
    a, b = f.point(), _trained(1, dtype, width).point()
    path = ls.minimum_energy_path(f, a, b, images=9, max_steps=200, tol=1e-2)
    t = torch.linspace(0, 1, 21, dtype=dtype)[:, None]
    straight = float(f.value(a + t * (b - a)).max())
    floor = max(float(f.value(a)), float(f.value(b)))
    assert float(path.values.max()) - floor < 0.2 * (straight - floor)
    assert path.stations[0].kind == path.stations[-1].kind == "minimum"
    assert path.stop is Stop.STEPS or path.converged
    assert path.saddle.value == pytest.approx(float(path.values.max()), rel=1e-6)
    assert torch.equal(f.point(), a)


@pytest.mark.slow
def test_large_dimensions_go_by_products() -> None:
    """520 coordinates, a double well in the first and springs of other stiffness in the others: the pass is 1 above, at 0."""
    stiff = torch.linspace(1, 20, 519, dtype=torch.float64)

    def chain(x: Tensor) -> Tensor:
        return (x[..., 0] ** 2 - 1) ** 2 + (
            stiff.to(x) * (x[..., 1:] - 0.1 * x[..., :1] ** 2).square()
        ).sum(-1)

    f = ls.FunctionLandscape(chain, 520)
    a, b = (
        torch.full((520,), 0.1, dtype=torch.float64),
        torch.full((520,), 0.1, dtype=torch.float64),
    )
    a[0], b[0] = -1.0, 1.0
    path = ls.minimum_energy_path(f, a, b, images=9)
    assert path.stop is Stop.CONVERGED
    assert path.barrier == pytest.approx(1.0, abs=1e-7)


@pytest.fixture
def calls() -> Callable[..., None]:
    def progress(stage: str, done: int, total: int | None) -> None:
        progress.seen.append(stage)  # type: ignore[attr-defined]

    progress.seen = []  # type: ignore[attr-defined]
    return progress


def test_progress_is_told(calls: Any) -> None:
    ls.minimum_energy_path(landscape(himmelblau), at(MINIMA[0]), at(MINIMA[1]), progress=calls)
    assert {"path", "verdicts along the path"} <= set(calls.seen)


@pytest.mark.slow
def test_no_tensor_is_made_on_the_default_device() -> None:
    """Under a default device that holds no numbers, any tensor made without a device fails at once."""
    f, sphere = landscape(himmelblau), ls.Sphere(1.0)
    ends, saddle = [at(MINIMA[0]), at(MINIMA[1])], at(SADDLES[2]["x"])
    values, unit = at([1.0, 2.0, 3.0]), at([1.0, 0.0, 0.0])
    g = ls.FunctionLandscape(lambda x: 0.5 * (values.to(x) * x * x).sum(-1), 3, sphere)
    torch.set_default_device("meta")
    try:
        paths = [ls.minimum_energy_path(f, *ends), ls.minimum_energy_path(f, ends[0] + 0.1, saddle)]
        paths.append(ls.minimum_energy_path(g, -unit, unit))
    finally:
        torch.set_default_device(None)
    assert all(path.converged for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize("particles", [6, 7])
def test_clusters_are_laid_over_each_other_before_a_path_is_sought(particles: int) -> None:
    """From the lowest minimum to the others, turned and with their atoms exchanged: every pass is a published one."""
    f, known = (
        ls.zoo.load("lennard-jones", particles=particles),
        table(f"lennard_jones_{particles}")["points"],
    )
    minima = sorted((p for p in known if p["index"] == 0), key=lambda p: p["value"])
    passes = [p["value"] for p in known if p["index"] == 1]
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).Q
    for other in minima[1:3]:
        end = (
            at(other["x"]).reshape(-1, 3)[
                torch.randperm(particles, generator=torch.Generator().manual_seed(3))
            ]
            @ turn
        ).flatten()
        path = ls.minimum_energy_path(f, at(minima[0]["x"]), end)
        check(path, f)
        assert path.stop is Stop.CONVERGED
        assert path.saddle.index == 1
        assert min(abs(path.saddle.value - value) for value in passes) < 1e-6
        assert [path.stations[0].value, path.stations[-1].value] == pytest.approx(
            [minima[0]["value"], other["value"]], abs=1e-6
        )
        assert path.reasons[0].startswith("the last end is a copy of the one given, by symmetry")


@pytest.mark.slow
def test_a_path_between_two_copies_of_one_minimum_keeps_its_ends() -> None:
    f = ls.zoo.load("lennard-jones", particles=3)
    a = f.stationary_points()[0].x
    b = a.reshape(3, 3)[[1, 0, 2]].flatten()
    assert torch.equal(_nearest(f, a, b, []), b)
