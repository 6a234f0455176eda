"""Studies against tables of other programs, closed forms and the Hessians of the networks; the edge of stability."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from landscape_figures import RECIPES
from torch import nn

import landscape as ls
from landscape import theory
from landscape.results.words import columns

TRUTH = Path(__file__).parents[1] / "truth/dynamics"


@pytest.mark.slow
def test_octopus_is_exponential_and_polynomial(tmp_path: Path) -> None:
    """Exact steps at d = 2 ... 4 within the 2 % of the starts; the factor a dimension is kappa, the perturbed one linear."""
    study = ls.optimizers.octopus_study((2, 3, 4, 5), L=1.5, runs=8, steps=1_500, seed=1)
    study.save(tmp_path)
    study = ls.load(tmp_path)
    table = {
        r["d"]: r["escape_step"]
        for r in json.loads((TRUTH / "t4_octopus.json").read_text())["gd"]
        if r["L"] == 1.5 and r["gamma"] == 1.0
    }
    descent, perturbed = study.series
    for d, measured, predicted in zip(descent.x, descent.measured, descent.predicted, strict=True):
        assert predicted == table[int(d)]
        assert measured.value == pytest.approx(predicted, rel=0.03, abs=1)
    factor = study.fits["gradient descent: factor a dimension"]
    assert factor.value == pytest.approx(
        study.fits["kappa, the factor a dimension in the limit, exactly"].value, rel=0.05
    )
    assert factor.low > 3
    power = study.fits["perturbed gradient descent: power of d"]
    assert 1 < power.value < 2.2
    assert all(
        p.value <= m.value for p, m in zip(perturbed.measured, descent.measured, strict=True)
    )
    last = [m.value for m in perturbed.measured]
    assert last[3] - last[2] == pytest.approx(
        last[2] - last[1], rel=0.35
    )  # as long at each saddle: linear in d


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "L", "held"),
    [(torch.float32, math.e, 4), (torch.float64, math.e, 5)],
    ids=["f32", "f64"],
)
def test_underflow_is_named_and_left_out_of_fits(dtype: torch.dtype, L: float, held: int) -> None:
    """Table: float32 never leaves from (e, 4) on, float64 from (e, 5) on."""
    rows = json.loads((TRUTH / "t4_octopus.json").read_text())["precision"]
    never = [
        r["d"]
        for r in rows
        if r["L"] == L
        and r["dtype"] == str(dtype).removeprefix("torch.")
        and r["escape_step"] is None
    ]
    assert min(never) == held
    study = ls.optimizers.octopus_study((held - 1, held), L=L, runs=4, steps=1_600, dtype=dtype)
    descent, perturbed = study.series
    assert descent.notes == ["", "100 % stalled by underflow"]
    assert math.isinf(descent.measured[1].value)
    assert perturbed.notes == ["", ""]
    assert not any("gradient descent: factor" in key for key in study.fits)


@pytest.mark.slow
def test_noise_takes_sgd_over_a_barrier() -> None:
    """The exact time, of a table, with the top moved for looking once a step; its slope is that of the barrier."""
    study = ls.optimizers.barrier_study((0.15, 0.2, 0.3), lr=0.02, runs=400, seed=3)
    exact, _ = study.series
    table = {
        r["T"]: r["to_saddle"]["mfpt"]
        for r in json.loads((TRUTH / "t6_kramers.json").read_text())["rows"]
    }
    for x, measured, predicted in zip(exact.x, exact.measured, exact.predicted, strict=True):
        assert predicted is not None
        assert abs(measured.value - predicted) < 4 * measured.error
        if round(1 / x, 6) in table:
            assert (
                1 < predicted * 0.02 / table[round(1 / x, 6)] < 1.25
            )  # later by what is not seen between looks


@pytest.mark.slow
def test_sgds_own_noise_takes_it_out_of_sharp_minima_first() -> None:
    """Means of the chain itself by a plain second one in NumPy; the formula of Xie et al. in its exponent."""
    study = ls.optimizers.minimum_study((3, 6), (1.0, 2.0), runs=400, steps=3_000, seed=1)
    for series, well in zip(study.series[::2], (1.0, 2.0), strict=True):
        joint, end = theory.parabolas(0.02, well, -1.0)
        for B, measured, predicted in zip(series.x, series.measured, series.predicted, strict=True):
            assert predicted is not None
            assert abs(measured.value - predicted) < 4 * measured.error
            assert measured.error < 0.06 * predicted
            if well == 2.0:
                assert abs(
                    passage(well, -1.0, joint, end, 0.1, B).mean() / predicted - 1
                ) < 4 / math.sqrt(4_000)
    sharp, flat = (study.series[k].measured[1].value for k in (2, 0))
    assert sharp < 0.5 * flat  # of one depth
    limit = (
        theory.sgd_escape_time(0.02, 0.004, 1, 2.0, -1.0, path=1 / 3) / 2 / 0.004 / (2.0 / 1.0)
    )  # an exponent of 8.3
    assert theory.parabolas_passage(0.02, 0.004, 1, 2.0, -1.0) == pytest.approx(limit, rel=0.01)
    for lr, well in ((1e-5, 1.0), (1e-6, 100.0)):
        with pytest.raises(ValueError, match="too small to sum over"):
            theory.parabolas_passage(3 * lr, lr, 1, well, -1.0)


@pytest.mark.parametrize("kind", ["barrier", "minimum"])
def test_a_formula_beside_what_was_measured_is_told_too(kind: str) -> None:
    """A series that only predicts has its rows in words and in columns."""
    if kind == "barrier":
        study = ls.optimizers.barrier_study((0.3, 0.4), lr=0.1, runs=4, steps=200)
    else:
        study = ls.optimizers.minimum_study((3, 6), (1.0,), runs=4, steps=200)
    exact, formula = study.series
    assert exact.measured
    assert not formula.measured
    rows = [line for line in str(study).splitlines() if formula.label in line]
    assert len(rows) == len(formula.x)
    table = columns(study)
    assert table["series"] == [exact.label] * 2 + [formula.label] * 2
    assert table["predicted"] == exact.predicted + formula.predicted
    assert table["measured"][2:] == [None, None]


def passage(well: float, top: float, joint: float, end: float, lr: float, B: float) -> np.ndarray:
    """Steps of 4,000 runs from 0 until x > end."""
    random, x, times = np.random.default_rng(0), np.zeros(4_000), np.zeros(4_000)
    while (inside := x <= end).any():
        slope, curvature = (
            np.where(x < joint, well * x, top * (x - end)),
            np.where(x < joint, well, -top),
        )
        x = np.where(
            inside, x - lr * (slope + np.sqrt(curvature / B) * random.standard_normal(4_000)), x
        )
        times += inside
    return times


@pytest.mark.slow
def test_plateaus_of_deep_linear_networks() -> None:
    study = ls.optimizers.plateau_study((2, 3), (1e-3, 1e-2, 1e-1), strength=1.3, lr=0.01)
    for series in study.series:
        for measured, predicted in zip(series.measured, series.predicted, strict=True):
            assert measured.value == pytest.approx(predicted, rel=0.05)
    assert study.series[0].predicted[0] == pytest.approx(
        100 * math.log(1.3 / 1e-3 - 1) / (2 * 1.3)
    )  # closed form


@pytest.mark.slow
def test_optimisers_leave_the_saddles_of_a_network_census() -> None:
    """Points of index 1 and more that searches found; rates by exact recursions of the Hessian there beside torch's."""
    torch.manual_seed(2)
    x = torch.randn(30, 3, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    y = (x[:, 0] * x[:, 1] > 0).long()
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)], l2={"*": 0.02})
    census = ls.inventory.critical_points(
        f, ls.inventory.training_paths(f, runs=4, points=5, steps=100, seed=1), seed=0
    )
    saddles = census.points[census.stationary & (census.indices >= 1) & (census.smallest < -0.01)]
    assert len(saddles) >= 1
    lines = ["sgd:lr=0.2", "sgd:lr=0.05,momentum=0.9", "adam:lr=1e-4"]
    study = ls.optimizers.saddle_study(f, list(saddles[:2]), lines, runs=12, steps=8_000)
    for series in study.series:
        for curvature, measured, predicted, note in zip(
            series.x, series.measured, series.predicted, series.notes, strict=True
        ):
            print(
                f"{series.label}: -lambda {curvature:.4f}, measured {measured}, predicted {predicted:.6f}; {note}"
            )
            assert "12 of 12 left" in note
            assert measured.value == pytest.approx(predicted, rel=0.03)
    with pytest.raises(ValueError, match="no falling direction"):
        ls.optimizers.saddle_study(
            ls.zoo.load("double-well", dim=1), [torch.ones(1).double()], ["sgd:lr=0.1"]
        )


@pytest.mark.slow
def test_training_settles_at_the_edge_of_stability() -> None:
    """2 / lr for gradient descent, (2 + 2 mu) / lr with momentum: reached from below, within 4 % over the second half."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)
    ).double()
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    y = torch.sin(2 * math.pi * x) + 0.3 * torch.cos(5 * x)
    f = ls.ModelLandscape(model, lambda o, t: 0.5 * (o - t).square().mean(), [(x, y)])
    before = f.point()
    study = ls.optimizers.edge_of_stability(
        f, before, ["sgd:lr=0.4", "sgd:lr=0.5,momentum=0.5"], steps=1_800, every=150
    )
    assert torch.equal(f.point(), before)
    for line, limit in {"sgd:lr=0.4": 5.0, "sgd:lr=0.5,momentum=0.5": 6.0}.items():
        run = study[line]
        assert run.limit == pytest.approx(limit)
        assert float(run.sharpness[0]) < 0.8 * limit
        print(
            f"{line}: sharpness / limit {run.late:.4f} ± {run.spread:.4f}, first above at step {run.reached}"
        )
        assert run.late == pytest.approx(1.0, abs=0.04)
        assert run.reached is not None
    with pytest.raises(ValueError, match="not plain SGD"):
        ls.optimizers.edge_of_stability(f, before, ["adam:lr=0.1"])


@pytest.mark.slow
def test_the_heavy_ball_settles_at_its_edge() -> None:
    """3.8 / lr at momentum 0.9, on labels of noise: an easy fit is over before the edge, or jumps from it to a flat minimum."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)
    ).double()
    x, y = torch.randn(100, 3, dtype=torch.float64), torch.randn(100, 1, dtype=torch.float64)
    f = ls.ModelLandscape(model, lambda o, t: 0.5 * (o - t).square().mean(), [(x, y)])
    line = "sgd:lr=0.2,momentum=0.9"
    run = ls.optimizers.edge_of_stability(f, f.point(), [line], steps=3_000, every=150)[line]
    assert run.limit == pytest.approx(19.0)
    assert float(run.sharpness[0]) < 0.3 * run.limit
    print(
        f"{line}: sharpness / limit {run.late:.4f} ± {run.spread:.4f}, first above at step {run.reached}"
    )
    assert run.late == pytest.approx(1.0, abs=0.05)
    assert run.reached is not None


@pytest.mark.parametrize("every", [1, 7])
def test_a_run_beyond_the_edge_is_kept_and_costs_no_other(every: int, tmp_path: Path) -> None:
    """x^4 from 1: at lr = 1 each step is 1 -> -3 -> 105 ... to overflow; at lr = 0.01 it is the run alone."""
    f, start = (
        ls.FunctionLandscape(lambda x: x[..., 0] ** 4, dim=1),
        torch.ones(1, dtype=torch.float64),
    )
    lines = ["sgd:lr=1.0", "sgd:lr=0.01"]
    ls.optimizers.edge_of_stability(f, start, lines, 28, every).save(tmp_path)
    study = ls.load(tmp_path)
    x, seen = 1.0, []
    for t in range(29):
        if t % every == 0 and math.isfinite(x**4 if abs(x) < 1e70 else math.inf):
            seen.append((t, x**4, 12 * x**2))
        x = x - 4 * x**3 if abs(x) < 1e90 else math.nan
    beyond = study[lines[0]]
    assert beyond.steps.tolist() == [t for t, _, _ in seen]
    assert beyond.diverged == beyond.steps[-1] + every
    torch.testing.assert_close(
        beyond.losses, torch.tensor([v for _, v, _ in seen], dtype=torch.float64)
    )
    torch.testing.assert_close(
        beyond.sharpness, torch.tensor([v for _, _, v in seen], dtype=torch.float64)
    )
    assert math.isnan(beyond.late)
    alone = ls.optimizers.edge_of_stability(f, start, lines[1:], 28, every)[lines[1]]
    assert study[lines[1]].diverged is None
    assert torch.equal(study[lines[1]].sharpness, alone.sharpness)
    caption = RECIPES["edge"].caption(study)
    assert f"sgd:lr=1.0: limit 2, diverged by step {beyond.diverged}" in caption
    low, high = RECIPES["edge"].draw(study).axes[0].get_ylim()
    assert (low, high < 1_000) == (0, True)  # 12 times 105 squared is off the picture
    with pytest.raises(ls.NumericalError, match="at the start"):
        ls.optimizers.edge_of_stability(f, 1e100 * start, lines, 28, every)
