"""Probes: the cure known from how a run was built wins, and nothing of the user's moves."""

import copy
import math

import pytest
import torch

import landscape as ls
from landscape.zoo import stuck

CURED = ("saturated-sigmoids", "dead-relus", "zero-tanh", "rate-too-large", "deep-linear", "converged")


@pytest.mark.parametrize("name", CURED)
def test_the_known_cure_wins(name: str) -> None:
    run = stuck.get(name)
    scene = run.build(0, 1).train()
    assert ls.probe(scene.f, scene.optimizer, steps=40, seeds=2).best in run.remedies


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
