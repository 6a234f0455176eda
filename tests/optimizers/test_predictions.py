"""Theory beside measured escapes, rates, sweeps, recorded paths, and perturbed gradient descent."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import landscape as ls
from landscape.operators import noises
from landscape.optimizers.ensembles import Ensemble
from landscape.results.statistics import exponential_rate, median
from landscape.specs import optimizers as makers

TRUTH = Path(__file__).parents[1] / "truth/dynamics"
T2 = [
    r for r in json.loads((TRUTH / "t2_noise_exit.json").read_text())["rows"] if r["lam"] == [-1.0]
]


def quadratic(lam: list[float], turn: Tensor | None = None) -> ls.FunctionLandscape:
    def f(x: Tensor) -> Tensor:
        y = x if turn is None else x @ turn.to(x)
        return 0.5 * (y.new_tensor(lam) * y**2).sum(-1)

    return ls.FunctionLandscape(f, dim=len(lam))


def origin(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64)


def turned(n: int) -> Tensor:
    return torch.linalg.qr(
        torch.randn(n, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ).Q


@pytest.mark.parametrize("turn", [None, turned(3)], ids=["axes", "turned"])
def test_theory_is_what_is_measured_on_a_quadratic(
    turn: Tensor | None, device: torch.device
) -> None:
    """Closed forms and rules that never see torch, run by run; the exponent is ln(1 + lr |lambda|)."""
    lines = [
        "sgd:lr=0.1",
        "sgd:lr=0.05,momentum=0.9",
        "adam:lr=0.01",
        "rmsprop:lr=0.003",
        "adagrad:lr=0.1",
    ]
    f = quadratic([-1.0, 2.0, -0.3], turn)
    study = ls.escape(f, origin(3).to(device), lines, runs=40, steps=600, start=1e-3)
    for line in lines:
        found = study[line]
        assert found.theory.steps is not None
        assert (found.steps - found.theory.steps).abs().max() <= (0 if turn is None else 1)
        assert found.theory.median == pytest.approx(found.median.value, abs=1)
        assert found.theory.rate == pytest.approx(found.rate.value, rel=0.02)
        assert found.growth is not None
        assert found.theory.growth == pytest.approx(found.growth.value, rel=0.02)
        assert ("turned" in found.theory.law) == (turn is not None and not line.startswith("sgd"))
    assert study["sgd:lr=0.1"].theory.growth == pytest.approx(math.log(1.1), rel=0.03)
    assert study["sgd:lr=0.1"].theory.conditions == "f is quadratic"


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [r for r in T2 if r["lr"] == 0.1 and r["sigma"] < 0.5], ids=lambda r: str(r["sigma"])
)
def test_noise_driven_medians_are_those_of_the_table(row: dict[str, float]) -> None:
    study = ls.escape(
        quadratic([-1.0]),
        origin(1),
        ["sgd:lr=0.1"],
        4_000,
        400,
        0.0,
        noise=f"isotropic:{row['sigma']}",
    )
    found = study["sgd:lr=0.1"]
    assert found.theory.median == row["exact_median"]
    assert abs(found.median.value - row["exact_median"]) <= 0.05 * row["exact_median"]
    assert found.theory.rate == pytest.approx(1 / row["exact_mean"], rel=1e-6)
    assert found.rate.low < 1 / row["exact_mean"] < found.rate.high


def test_why_there_is_no_law() -> None:
    f, at = quadratic([-1.0, 1.0]), origin(2)

    def law(line: str, g: ls.FunctionLandscape = f, point: Tensor = at, **more: object) -> str:
        study = ls.escape(g, point, [line], runs=2, steps=3, **more)  # type: ignore[arg-type]
        assert study[line].theory.median is None
        return study[line].theory.law

    assert law("nadam:lr=0.1") == "no law for nadam"
    assert law("sgd:lr=0.1", schedule="StepLR:step_size=2") == "no law with a schedule"
    assert law("sgd:lr=0.1", event=ls.FallsBelow(1.0)) == "no law for a fall in value"
    assert "start beside the point" in law("sgd:lr=0.1", noise="isotropic:0.1")
    assert "nothing falls" in law(
        "sgd:lr=0.1", quadratic([1.0, 2.0]), start=0.0, noise="isotropic:0.1"
    )
    assert "not stationary" in law("sgd:lr=0.1", point=at + 0.5)
    assert law("sgd:lr=0.1", theory=False) == "not asked for"
    assert "mix" in law(
        "sgd:lr=0.1", event=ls.LeavesBall(1.0, within=torch.tensor([[1.0], [1.0]]).double())
    )
    curved = ls.FunctionLandscape(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + x[..., 1] ** 4, dim=2)
    study = ls.escape(curved, at, ["sgd:lr=0.1"], 2, 50, event=ls.LeavesBall(0.5))
    assert (
        "off by 50 %" in study["sgd:lr=0.1"].theory.conditions
    )  # -2 x + 4 x^3 against -2 x, at 1/2


@pytest.mark.slow
def test_a_network_leaves_at_the_predicted_rate() -> None:
    """The net's own Hessian at zero, exact recursions of it, and thousands of its neighbours' steps by torch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False)
    ).double()
    x = torch.randn(20, 4).double()
    f = ls.ModelLandscape(
        model, nn.functional.mse_loss, [(x, torch.stack([x[:, 0] - x[:, 1], x[:, 2]], dim=1))]
    )
    lines = ["sgd:lr=0.1", "sgd:lr=0.05,momentum=0.9", "adam:lr=1e-3"]
    study = ls.escape(f, origin(f.dim), lines, 50, 2_000, 1e-4, ls.LeavesBall(0.05))
    for line in lines:
        found = study[line]
        assert bool(found.escaped.all())
        print(
            f"{line}: measured {found.growth}, predicted {found.theory.growth:.4g} e-folds a step"
        )
        assert found.theory.median == pytest.approx(found.median.value, rel=0.02, abs=1)
        assert found.growth is not None
        assert found.theory.growth == pytest.approx(found.growth.value, rel=0.03)


def test_exponential_rates() -> None:
    """Events over time seen; the 95 % interval covers, censored or not, and is that of a Poisson count."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        times = rng.exponential(50.0, size=30)
        seen = np.minimum(times, 60.0)
        rate = exponential_rate(seen, times <= 60.0)
        assert rate.value == (times <= 60.0).sum() / seen.sum()
        covered += rate.low <= 1 / 50 <= rate.high
    assert 0.93 * 400 <= covered <= 0.99 * 400
    nothing = exponential_rate(np.full(10, 100.0), np.zeros(10, dtype=bool))
    assert (nothing.value, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(-math.log(0.025) / 1_000)


@pytest.mark.slow
def test_medians_cover() -> None:
    rng = np.random.default_rng(0)
    for m in (7, 60):
        samples = [median(rng.exponential(size=m)) for _ in range(1_000)]
        assert np.mean([e.low <= math.log(2) <= e.high for e in samples]) >= 0.935
    assert median(np.ones(3)).high == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("over", ["lr", "noise", "start", "curvature", "dim"])
def test_sweeps_follow_the_theory(over: str, tmp_path: Path) -> None:
    choices: dict[str, list[float]] = {
        "lr": [0.03, 0.3],
        "noise": [0.001, 0.1],
        "start": [1e-8, 1e-2],
        "curvature": [0.2, 1.5],
        "dim": [2, 9],
    }
    values = choices[over]

    def problem(value: float) -> tuple[ls.FunctionLandscape, Tensor]:
        lam = [-1.0, *[1.0] * (int(value) - 1)] if over == "dim" else [-value, 1.0]
        return quadratic(lam), origin(len(lam))

    given: dict[str, Any] = (
        {"f": problem, "at": None}
        if over in ("curvature", "dim")
        else {"f": quadratic([-1.0, 1.0]), "at": origin(2)}
    )
    more: dict[str, Any] = {"noise": "isotropic", "start": 0.0} if over == "noise" else {}
    found = ls.optimizers.sweep(
        **given, optimizers=["sgd:lr=0.1"], over=over, values=values, runs=100, steps=2_000, **more
    )
    found.save(tmp_path)
    found = ls.load(tmp_path)
    assert (found.over, found.values, found.labels) == (
        over,
        [float(v) for v in values],
        ["sgd:lr=0.1"],
    )
    for study in found.studies:
        run = study["sgd:lr=0.1"]
        assert run.theory.median == pytest.approx(run.median.value, rel=0.06, abs=1)
    assert found[0]["sgd:lr=0.1"].theory.median != found[1]["sgd:lr=0.1"].theory.median
    assert not torch.equal(found[0].starts, found[1].starts[:, :2]) or over == "noise"


def test_sweeps_refuse() -> None:
    with pytest.raises(ValueError, match=r"no option 'lrr' to vary\. Did you mean 'lr'"):
        ls.optimizers.sweep(quadratic([-1.0]), origin(1), ["sgd:lr=0.1"], "lrr", [0.1])
    with pytest.raises(ValueError, match="values is empty"):
        ls.optimizers.sweep(quadratic([-1.0]), origin(1), ["sgd:lr=0.1"], "lr", [])


@pytest.mark.slow
def test_paths_are_where_the_runs_went(tmp_path: Path) -> None:
    f = quadratic([-0.04, 1.0, 0.5])
    study = ls.escape(f, origin(3), ["sgd:lr=0.1"], 5, 5_000, 1e-3, record=2)
    study.save(tmp_path)
    study = ls.load(tmp_path)
    paths, plane = study["sgd:lr=0.1"].paths, study.plane
    assert len(paths.steps) <= 402
    growth = (1 - 0.1 * torch.tensor([-0.04, 1.0, 0.5], dtype=torch.float64)) ** paths.steps[
        :, None
    ]
    over = paths.steps[None] <= study["sgd:lr=0.1"].steps[:2, None]
    expected = study.starts[:2, None] * growth
    torch.testing.assert_close(paths.points[over], expected[over], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(paths.values, f.value(paths.points))
    assert int(paths.steps[0]) == 0
    i, j = 7, 20
    x = plane.origin + plane.xs[i] * plane.directions[:, 0] + plane.ys[j] * plane.directions[:, 1]
    torch.testing.assert_close(plane.values[i, j], f.value(x))
    assert float(plane.directions[0, 0].abs()) > 0.99  # where the runs spread
    assert ls.escape(f, origin(3), ["sgd:lr=0.1"], 2, 5)["sgd:lr=0.1"].paths is None


@pytest.mark.usefixtures("_steps_are_counted_at_home")
@pytest.mark.slow
def test_every_tensor_names_its_device() -> None:
    f, at = quadratic([-1.0, 1.0, 0.5]), origin(3)
    kick = "perturbed:radius=1e-3,threshold=0.01,interval=3"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    x = torch.randn(6, 2).double()
    g = ls.ModelLandscape(net, nn.functional.mse_loss, [(x, x[:, :1])])
    inside = torch.eye(3, dtype=torch.float64)[:, :1]
    torch.set_default_device("meta")
    try:
        ls.escape(
            f,
            at,
            ["sgd:lr=0.1", "adam:lr=0.1"],
            3,
            70,
            noise=kick,
            record=2,
            schedule="StepLR:step_size=9",
        )
        ls.escape(f, at, ["adam:lr=0.1"], 3, 20, event=ls.LeavesBall(1.0, within=inside))
        ls.escape(
            g,
            g.point(),
            ["sgd:lr=0.1; *.bias:lr=0", "lbfgs:lr=0.1"],
            2,
            5,
            noise="minibatch:2",
            record=1,
        )
        ls.optimizers.sweep(f, at, ["sgd:lr=0.1"], "noise", [0.1, 0.2], runs=2, steps=5, start=0.0)
        ls.optimizers.edge_of_stability(g, g.point(), ["sgd:lr=0.1"], 4, 2)
        ls.optimizers.octopus_study((2, 3), L=1.0, runs=2, steps=30)
        ls.optimizers.plateau_study((2,), (0.1,), lr=0.05)
        ls.optimizers.saddle_study(f, [at], ["sgd:lr=0.1"], runs=2, steps=100)
        ls.optimizers.barrier_study((0.3, 0.4, 0.5), lr=0.1, runs=2, steps=3)
        ls.optimizers.minimum_study((3,), runs=2, steps=3)
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept(dtype: torch.dtype) -> None:
    f = ls.zoo.load("strict-saddle", dim=3)
    study = ls.escape(f, torch.zeros(3, dtype=dtype), ["sgd:lr=0.1"], 40, 300, 1e-3, record=1)
    found = study["sgd:lr=0.1"]
    assert found.ends.dtype == dtype
    assert found.paths is not None
    assert found.paths.points.dtype == dtype
    assert found.theory.conditions == "f is quadratic"
    assert found.theory.median == pytest.approx(found.median.value, abs=1)


# ---- perturbed gradient descent ----------------------------------------------------------------------------------------


def test_kicks_are_uniform_in_a_ball_and_rest_between(device: torch.device) -> None:
    """No gradient anywhere: kicks at steps 1, 5, 9 with interval 3 (t - t_noise > 3), each uniform in the ball."""
    f = ls.FunctionLandscape(lambda x: 0.0 * x.sum(-1), dim=3)
    seen = noises.noise(
        f, "perturbed:radius=0.5,threshold=0.1,interval=3", np.random.SeedSequence(0), device
    )
    X = torch.zeros(4_000, 3, dtype=torch.float64, device=device)
    ensemble = Ensemble(X, makers.maker("sgd:lr=0.1"), seen.gradients, f.value, seen.move)
    kicks = []
    for _ in range(10):
        before = ensemble.points.clone()
        ensemble.step()
        kicks.append((ensemble.points - before).cpu())
    assert [bool((k != 0).any()) for k in kicks] == [t % 4 == 0 for t in range(10)]
    kick = kicks[0]
    assert stats.kstest((kick.norm(dim=1) / 0.5) ** 3, "uniform").pvalue > 1e-4
    assert float(kick.mean(0).norm()) < 5 * 0.5 / math.sqrt(4_000)
    torch.testing.assert_close(
        kick.T @ kick / 4_000, torch.eye(3).double() * 0.25 / 5, atol=3e-3, rtol=0
    )


def test_rows_are_kicked_by_their_own_gradient() -> None:
    f = quadratic([-1.0, 1.0])
    start = torch.tensor([[0.001, 0.0], [0.5, 0.0], [0.0, 0.02]]).double()
    seen = noises.noise(
        f,
        "perturbed:radius=1e-6,threshold=0.01,interval=0",
        np.random.SeedSequence(0),
        torch.device("cpu"),
    )
    assert seen.move is not None
    moved = seen.move(start)
    assert (moved != start).any(dim=1).tolist() == [True, False, False]
    plain = ls.escape(f, origin(2), ["sgd:lr=0.1"], 3, 200, start)
    still = ls.escape(
        f,
        origin(2),
        ["sgd:lr=0.1"],
        3,
        200,
        start,
        noise="perturbed:radius=0,threshold=1,interval=5",
    )
    assert torch.equal(plain["sgd:lr=0.1"].ends, still["sgd:lr=0.1"].ends)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 3, 4, 6])
def test_perturbed_descent_on_the_octopus(d: int) -> None:
    """Mean steps of 40 runs by another program: 52, 98.4, 145, 194, 242 at d = 2 ... 6, all within their errors."""
    e = math.e
    (row,) = [
        r
        for r in json.loads((TRUTH / "t4_octopus.json").read_text())["pgd"]
        if r["d"] == d and r["L"] == e
    ]
    f = ls.zoo.load("octopus", dim=d)
    seen = noises.noise(
        f,
        f"perturbed:radius={e / 100},threshold={e / 100},interval=1",
        np.random.SeedSequence(1),
        torch.device("cpu"),
    )
    ensemble = Ensemble(
        torch.ones(200, d).double(),
        makers.maker(f"sgd:lr={1 / (4 * e)!r}"),
        seen.gradients,
        f.value,
        seen.move,
    )
    times = torch.full((200,), -1)
    for t in range(1, 600):
        ensemble.step()
        out = (ensemble.points.abs() >= 2 * e).all(dim=1) & (times < 0)
        times[out] = t
    assert bool((times > 0).all())
    error = math.hypot(row["escape_se"], float(times.double().std()) / math.sqrt(200))
    assert abs(float(times.double().mean()) - row["escape_mean"]) <= 4 * error + 0.05


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("perturbed:radius=1,threshold=1", "interval must be a number"),
        (
            "perturbed:radius=1,treshold=1,interval=2",
            "no option 'treshold'. Did you mean 'threshold'",
        ),
        ("perturbed:radius=-1,threshold=1,interval=2", "radius must be a number of at least 0"),
        ("perturbed:radius=1,threshold=1,interval=2.5", "whole number"),
        ("perturbd:radius=1", "Did you mean 'perturbed'"),
    ],
)
def test_perturbations_that_are_none(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ls.escape(quadratic([-1.0]), origin(1), ["sgd:lr=0.1"], 2, 3, noise=line)
