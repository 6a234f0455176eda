"""Probes: the cure known from how a run was built wins, and nothing of the user's moves."""

import copy
import math

import pytest
import torch

import landscape as ls
from landscape.zoo import stuck


@pytest.mark.parametrize("name", stuck.names())
def test_the_known_cure_wins(name: str) -> None:
    run = stuck.get(name)
    scene = run.build(0, 1).train()
    seeds = {"noise": 8, "dead": 4}.get(run.cause, 2)  # elsewhere the remedies are not random
    assert ls.probe(scene.f, scene.optimizer, steps=40, seeds=seeds).best in run.remedies


@pytest.mark.parametrize("variant", range(stuck.VARIANTS))
def test_nothing_wins_by_next_to_nothing_far_from_a_well(variant: int) -> None:
    """Every gain there is below 1e-8; the step to the well's bottom, seven away, is what helps."""
    scene = stuck.get("gaussian-well").build(variant, 3).train()
    found = ls.probe(scene.f, scene.optimizer, steps=20, seeds=2)
    assert found.curvature < 0
    assert -1e-8 < min(found[f"eigenvector {sign}"].against_control.high for sign in "+-") < 0
    assert found.best == "control"
    assert found.leap == pytest.approx(7.0, rel=0.13)  # half a step of the ray
    assert "step of length" in str(found)


def test_a_gain_counts_by_the_span_and_by_what_matters() -> None:
    """f = c x^2 / 2 at x = 1: the gain of a tenfold rate is known, and what is negligible follows c unless ``matters`` says otherwise."""

    def run(c: float, **options: float) -> ls.Probes:
        model = stuck.Point(torch.ones(1, dtype=torch.float64), lambda x: 0.5 * c * x.square().sum())
        f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
        return ls.probe(f, torch.optim.SGD(model.parameters(), lr=1e-3 / c), steps=10, seeds=2, **options)

    found = run(1.0)
    gain = 0.5 * (0.999**20 - 0.99**20)
    assert found["rate x10"].against_control.value == pytest.approx(-gain, rel=1e-9)
    assert found.negligible == pytest.approx(0.5e-3, rel=0.01)
    assert found.best == "rate x100"
    assert run(1e-8).best == "control"  # 1e-8 in all is below what matters
    assert run(1e-8, matters=0.0).best == "rate x100"
    assert run(1.0, matters=1.0).best == "control"


def test_a_remedy_beats_a_control_that_diverges() -> None:
    """f = x^4: at rate 1 from 10 the control leaves the floating-point numbers, at a thousandth of the square it comes down."""
    model = stuck.Point(torch.full((1,), 10.0, dtype=torch.float64), lambda x: x.pow(4).sum())
    f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
    found = ls.probe(f, torch.optim.SGD(model.parameters(), lr=0.01), steps=30, seeds=2)
    assert found["control"].diverged == 2
    assert found.best == "rate x0.1"


def test_escape_follows_the_predicted_rate() -> None:
    def formula(x: torch.Tensor) -> torch.Tensor:
        return x[0] ** 2 - 0.5 * x[1] ** 2

    model = stuck.Point(torch.zeros(2, dtype=torch.float64), formula)
    f = ls.ModelLandscape(model, stuck.value_loss, [(torch.zeros(1, 1), torch.zeros(1, 1))])
    found = ls.probe(f, torch.optim.SGD(model.parameters(), lr=0.1), steps=20, seeds=2)
    assert found["eigenvector +"].rate == pytest.approx(math.log(1.1), rel=1e-9)
    assert found.predicted_rate == pytest.approx(math.log(1.1), rel=1e-9)


def test_the_run_is_not_touched() -> None:
    scene = stuck.get("zero-tanh").build(0, 0).train()
    before = [p.clone() for p in scene.f.model.parameters()], [p.grad.clone() for p in scene.f.model.parameters()]
    state, random = copy.deepcopy(scene.optimizer.state_dict()), torch.get_rng_state()
    ls.probe(scene.f, scene.optimizer, steps=5, seeds=2)
    for p, x, g in zip(scene.f.model.parameters(), *before, strict=True):
        assert torch.equal(p, x)
        assert torch.equal(p.grad, g)
    assert scene.optimizer.state_dict() == state
    assert torch.equal(torch.get_rng_state(), random)
