"""Probes: the cure known from how a run was built wins, and nothing of the user's moves."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import landscape as ls
from landscape.results.statistics import mean
from landscape.training.probes import at_once
from landscape.zoo import stuck


@pytest.mark.slow
@pytest.mark.parametrize("name", stuck.names())
def test_the_known_cure_wins(name: str) -> None:
    run = stuck.get(name)
    scene = run.build(0, 1).train()
    seeds = {"noise": 8, "dead": 4}.get(run.cause, 2)  # elsewhere the remedies are not random
    assert ls.training.probe(scene.f, scene.optimizer, steps=40, seeds=seeds).best in run.remedies


@pytest.mark.slow
@pytest.mark.parametrize("variant", range(stuck.VARIANTS))
def test_nothing_wins_by_next_to_nothing_far_from_a_well(variant: int) -> None:
    """Every gain there is below 1e-8; the step to the well's bottom, seven away, is what helps."""
    scene = stuck.get("gaussian-well").build(variant, 3).train()
    found = ls.training.probe(scene.f, scene.optimizer, steps=20, seeds=2)
    assert found.curvature < 0
    assert -1e-8 < min(found[f"eigenvector {sign}"].against_control.high for sign in "+-") < 0
    assert found.best == "control"
    assert found.leap == pytest.approx(7.0, rel=0.13)  # half a step of the ray
    assert "step of length" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("variant", range(stuck.VARIANTS))
@pytest.mark.parametrize("seed", [0, 1])
def test_a_well_that_the_gradient_does_not_point_to_is_found(variant: int, seed: int) -> None:
    """Easom from 6, 8 and 10 away, where the gradient is rippled: the step leads to the well, and nothing wins by less than 1e-9."""
    scene = stuck.get("easom").build(variant, seed).train()
    found = ls.training.probe(scene.f, scene.optimizer, steps=5, seeds=2)
    assert found.best == "control"
    assert found.leap == pytest.approx((6.0, 8.0, 10.0)[variant], abs=1.2)
    assert found.along in str(found)


@pytest.mark.slow
def test_a_gain_counts_by_the_unit_of_the_loss() -> None:
    """f = c x^2 / 2 at x = 1: the gain of a tenfold rate is known; negligible is a share of the loss, or of what the caller says."""

    def run(c: float, **options: Any) -> ls.training.Probes:
        model = stuck.Point(
            torch.ones(1, dtype=torch.float64), lambda x: 0.5 * c * x.square().sum()
        )
        f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
        return ls.training.probe(
            f, torch.optim.SGD(model.parameters(), lr=1e-3 / c), steps=10, seeds=2, **options
        )

    gain = 0.5 * (0.999**20 - 0.99**20)
    for c in (1.0, 1e-8, 1e8):  # units change nothing
        found = run(c)
        assert found["rate x10"].against_control.value == pytest.approx(-c * gain, rel=1e-9)
        assert found.negligible == pytest.approx(c * 0.5e-3, rel=0.01)
        assert found.best == "rate x100"
        assert run(c, scale=1e3 * c).best == "control"  # half a thousandth of what the run has seen
        assert run(c, matters=2.0).best == "control"
    assert run(1.0, scale=100.0).negligible == pytest.approx(0.1)


@pytest.mark.slow
def test_a_remedy_beats_a_control_that_diverges() -> None:
    """f = x^4: at rate 1 from 10 the control leaves the floating-point numbers, at a thousandth of the square it comes down."""
    model = stuck.Point(torch.full((1,), 10.0, dtype=torch.float64), lambda x: x.pow(4).sum())
    f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
    found = ls.training.probe(f, torch.optim.SGD(model.parameters(), lr=0.01), steps=30, seeds=2)
    assert found["control"].diverged == 2
    assert found.best == "rate x0.1"


@pytest.mark.slow
def test_escape_follows_the_predicted_rate() -> None:
    def formula(x: torch.Tensor) -> torch.Tensor:
        return x[0] ** 2 - 0.5 * x[1] ** 2

    model = stuck.Point(torch.zeros(2, dtype=torch.float64), formula)
    f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
    found = ls.training.probe(f, torch.optim.SGD(model.parameters(), lr=0.1), steps=20, seeds=2)
    assert found["eigenvector +"].rate == pytest.approx(math.log(1.1), rel=1e-9)
    assert found.predicted_rate == pytest.approx(math.log(1.1), rel=1e-9)


def small_run(
    device: torch.device,
    dtype: torch.dtype,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    mode: str = "train",
) -> tuple[ls.ModelLandscape, torch.optim.Optimizer]:
    """A net with batch normalisation and dropout in two batches, some steps on its way, its gradients and optimiser state filled."""
    generator = torch.Generator("cpu").manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 6, device=device, dtype=dtype),
        torch.nn.BatchNorm1d(6, device=device, dtype=dtype),
        torch.nn.Tanh(),
        torch.nn.Dropout(0.25),
        torch.nn.Linear(6, 1, device=device, dtype=dtype),
    )
    x = torch.randn(16, 3, generator=generator, dtype=torch.float64, device="cpu").to(device, dtype)
    y = x.sum(1, keepdim=True).sin()
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    opt = optimizer(model.parameters(), lr=0.02)
    for a, b in batches * 3:
        opt.zero_grad()
        torch.nn.functional.mse_loss(model(a), b).backward()
        opt.step()
    return ls.ModelLandscape(model, torch.nn.functional.mse_loss, batches, mode=mode, seed=1), opt


def bits(value: object) -> object:
    """Nested state with every tensor as its bytes, so that equality is to the bit."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().cpu().numpy().tobytes()
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [bits(v) for v in value]
    return value


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop])
def test_nothing_of_the_user_moves(
    optimizer: Callable[..., torch.optim.Optimizer],
    mode: str,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Parameters, gradients, buffers, modes, hooks, the optimiser's state, options and the random state, to the bit."""
    f, opt = small_run(device, dtype, optimizer, mode)
    model = f.model
    model.get_submodule("1").eval()  # a mode of its own, which must come back

    def everything() -> object:
        return bits(
            [
                model.state_dict(),
                [p.grad for p in model.parameters()],
                [id(p) for p in model.parameters()],
                [m.training for m in model.modules()],
                [len(m._forward_hooks) for m in model.modules()],
                opt.state_dict(),
                [id(p) for g in opt.param_groups for p in g["params"]],
                torch.get_rng_state(),
                torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
                torch.get_default_dtype(),
            ]
        )

    before = everything()
    found = ls.training.probe(f, opt, steps=4, seeds=2)
    assert everything() == before
    assert all(math.isfinite(p.change.value) for p in found.probes)


@pytest.mark.slow
def test_the_same_seed_finds_the_same(device: torch.device, dtype: torch.dtype) -> None:
    f, opt = small_run(device, dtype)
    first, again, other = (ls.training.probe(f, opt, steps=4, seeds=2, seed=s) for s in (0, 0, 1))
    assert first == again
    assert other["noise"] != first["noise"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_the_control_is_the_run_itself(
    optimizer: type[torch.optim.Optimizer], device: torch.device, dtype: torch.dtype
) -> None:
    """With all the data in one batch the control's change is what torch's own loop then does, state of the optimiser included."""
    f, opt = small_run(device, dtype, optimizer, "eval")
    (a, b), (c, d) = f.batches
    data = torch.cat([a, c]), torch.cat([b, d])
    f.model.eval()
    whole = ls.ModelLandscape(f.model, torch.nn.functional.mse_loss, [data])
    found = ls.training.probe(whole, opt, steps=7, seeds=2)["control"]
    before = torch.nn.functional.mse_loss(f.model(data[0]), data[1]).item()
    for _ in range(7):
        opt.zero_grad()
        torch.nn.functional.mse_loss(f.model(data[0]), data[1]).backward()
        opt.step()
    after = torch.nn.functional.mse_loss(f.model(data[0]), data[1]).item()
    assert after < before
    assert found.change.value == pytest.approx(
        after - before, rel=1e-9 if dtype == torch.float64 else 1e-3
    )


@pytest.mark.slow
def test_sick_units_are_healed_in_single_precision(device: torch.device) -> None:
    """Dead ReLUs on the device and in the dtype at hand: every unit gets fresh weights, the loss falls."""
    scene = stuck.get("dead-relus").build(0, 1)
    model = scene.f.model.to(device, torch.float32)
    batches = [
        (x.to(device, torch.float32), y.to(device, torch.float32)) for x, y in scene.f.batches
    ]
    f = ls.ModelLandscape(model, torch.nn.functional.mse_loss, batches)
    found = ls.training.probe(f, torch.optim.SGD(model.parameters(), lr=0.1), steps=40, seeds=4)
    assert found.best == "revive dead units"


@pytest.mark.slow
def test_probes_are_saved_and_loaded_whole(tmp_path: Path) -> None:
    """Infinite estimates of a diverged trial included."""
    model = stuck.Point(torch.full((1,), 10.0, dtype=torch.float64), lambda x: x.pow(4).sum())
    f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
    found = ls.training.probe(f, torch.optim.SGD(model.parameters(), lr=0.01), steps=30, seeds=2)
    assert math.isinf(found["control"].change.value)
    ls.results.save(found, tmp_path)
    back = ls.load(tmp_path)
    assert isinstance(back, ls.training.Probes)
    assert back == found
    assert str(back) == str(found)


@pytest.mark.usefixtures("_steps_are_counted_at_home")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dead-relus", "saturated-sigmoids", "zero-tanh", "noise-floor"])
def test_no_tensor_lands_on_the_default_device(name: str) -> None:
    """What would land on the wrong device of a GPU machine lands on meta here, and fails at once."""
    scene = stuck.get(name).build(0, 1).train()
    plain = ls.training.probe(scene.f, scene.optimizer, steps=3, seeds=2)
    with torch.device("meta"):
        found = ls.training.probe(scene.f, scene.optimizer, steps=3, seeds=2)
    assert found == plain


def test_bad_calls_are_refused() -> None:
    scene = stuck.get("zero-tanh").build()
    with pytest.raises(ValueError, match="seeds=1"):
        ls.training.probe(scene.f, scene.optimizer, seeds=1)
    with torch.no_grad():
        next(scene.f.model.parameters()).fill_(math.nan)
    with pytest.raises(ls.NumericalError, match="not finite where the probes start"):
        ls.training.probe(scene.f, scene.optimizer)


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize(
    "spreads",
    [[0.01, 0.1, 1, 1, 1, 2, 10, 100], [10, 10, 10, 10, 1, 1, 1, 1]],
    ids=["each its own", "half are wild"],
)
def test_remedies_without_effect_win_in_one_study_of_twenty(
    seeds: int, spreads: list[float]
) -> None:
    """Of eight remedies none is certainly better than the control, whatever the spread of each."""
    random = np.random.default_rng(3)
    wrong = 0
    for _ in range(400):
        apart = [mean(row) for row in np.array(spreads)[:, None] * random.normal(size=(8, seeds))]
        nothing = mean(np.zeros(seeds))
        wrong += any(one.high < 0 for one in at_once([nothing, *apart], seeds))
    assert wrong <= stats.binom.ppf(0.999, 400, 0.05)


def test_a_single_remedy_has_no_others_spread_to_share() -> None:
    """Student's law of its own few seeds: that of the usual trial is its own again."""
    random, wrong = np.random.default_rng(4), 0
    for _ in range(600):
        one = mean(random.normal(size=2))
        wrong += at_once([mean(np.zeros(2)), one], 2)[1].high < 0
    assert wrong <= stats.binom.ppf(0.999, 600, 0.05)


def test_a_wild_trial_takes_no_win_from_another() -> None:
    """Its own spread decides, by Student's law at half of the error allowed to each of three."""
    quiet, wild = [-91.0, -89.0, -90.5, -89.5], [-400.0, 300.0, 150.0, -100.0]
    gains = [mean(row) for row in ([0.0] * 4, quiet, wild, [2 * w for w in wild])]
    found = at_once(gains, 4)
    width = stats.t.isf(0.05 / 3 / 2, 3) * np.std(quiet, ddof=1) / 2
    assert found[1].high == pytest.approx(-90 + width)
    assert not found[2].high < 0
