"""A saved optimiser's state goes on: the continued run is the run that was never interrupted."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer, RMSprop

import landscape as ls


def net(frozen: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)
    ).double()
    if frozen:
        model[0].weight.requires_grad_(False)
    return model


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, x.prod(1, keepdim=True)


def decayed(model: nn.Module) -> list[dict[str, Any]]:
    """The usual two groups: weight decay of the matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def steps(model: nn.Module, optimizer: Optimizer, count: int) -> list[float]:
    x, y = data()
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        losses.append(float(F.mse_loss(model(x), y).detach()))
    return losses


RUNS: dict[str, tuple[Callable[[nn.Module], Optimizer], str, bool]] = {
    "sgd": (lambda m: SGD(m.parameters(), lr=0.03, momentum=0.9, nesterov=True), "sgd", False),
    "adam": (lambda m: Adam(m.parameters(), lr=0.02, betas=(0.7, 0.9)), "adam", False),
    "rmsprop": (lambda m: RMSprop(m.parameters(), lr=0.01, momentum=0.5), "rmsprop", False),
    "rows and columns": (lambda m: Adafactor(m.parameters(), lr=0.02), "adafactor", False),
    "two groups": (lambda m: AdamW(decayed(m), lr=0.02), "adamw", False),
    "named": (
        lambda m: SGD(
            [
                {"params": [(k, p)], "lr": 0.01 * (i + 1)}
                for i, (k, p) in enumerate(reversed(list(m.named_parameters())))
            ],
            momentum=0.8,
        ),
        "sgd",
        False,
    ),
    "frozen, listed": (lambda m: Adam(m.parameters(), lr=0.02), "adam", True),
    "frozen, not listed": (
        lambda m: Adam([p for p in m.parameters() if p.requires_grad], lr=0.02),
        "adam",
        True,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_continued_run_is_the_uninterrupted_one(name: str) -> None:
    make, spec, frozen = RUNS[name]
    model = net(frozen)
    optimizer = make(model)
    steps(model, optimizer, 7)
    state, start = copy.deepcopy(
        (optimizer.state_dict(), model.state_dict())
    )  # they are the live tensors
    truth = steps(model, optimizer, 5)
    model.load_state_dict(start)
    f = ls.ModelLandscape(model, F.mse_loss, [data()])
    run = ls.training.continuation(f, spec, state=state, steps=5, every=1)
    torch.testing.assert_close(
        run.trace.loss[1:], torch.tensor(truth, dtype=torch.float64), rtol=1e-12, atol=0
    )
    assert "saved" in run.restored
    anew = ls.training.continuation(f, spec, steps=5, every=1)
    assert (
        anew.trace.loss[1:] - torch.tensor(truth)
    ).abs().max() > 1e-6  # or the test could not fail
    assert anew.restored == ""


def test_options_that_are_stated_win() -> None:
    model = net()
    optimizer = Adam(model.parameters(), lr=0.02)
    steps(model, optimizer, 3)
    f = ls.ModelLandscape(model, F.mse_loss, [data()])
    state = optimizer.state_dict()
    run = ls.training.continuation(f, "adam:lr=0.5", state=state, steps=1)
    assert run.optimizer.param_groups[0]["lr"] == 0.5
    assert "exp_avg_sq of 6 tensors after 3 steps" in run.restored
    run = ls.training.continuation(f, lambda p: Adam(p, lr=0.3), state=state, steps=1)
    assert run.optimizer.param_groups[0]["lr"] == 0.3
    assert float(run.optimizer.state[run.optimizer.param_groups[0]["params"][0]]["step"]) == 4
    assert all(float(s["step"]) == 3 for s in optimizer.state.values())  # the run's own


def test_a_schedule_starts_from_the_rate_that_the_run_had() -> None:
    """The run's own schedule has left the rate that it began with in the state."""
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for _ in range(4):
        steps(model, optimizer, 1)
        schedule.step()
    f = ls.ModelLandscape(model, F.mse_loss, [data()])
    run = ls.training.continuation(
        f, "sgd", state=optimizer.state_dict(), schedule="LambdaLR:lr_lambda=1", steps=2
    )
    assert run.optimizer.param_groups[0]["lr"] == 0.025


def changed(state: dict[str, Any], **options: Any) -> dict[str, Any]:
    return state | {"param_groups": [group | options for group in state["param_groups"]]}


@pytest.mark.parametrize(
    ("spec", "change", "said"),
    [
        ("sgd:lr=0.1", lambda s: s, "another optimiser than SGD: it has amsgrad, betas, "),
        ("adam", lambda s: {"state": s["state"]}, "no optimiser's state"),
        (
            "adam",
            lambda s: s | {"param_groups": [s["param_groups"][0] | {"params": [0, 1, 2]}]},
            "of 3 parameters in 1 groups",
        ),
        ("adam", lambda s: s | {"state": {0: s["state"][1]}}, "shapes are others"),
        ("adamw", lambda s: s, "of Adam, not AdamW: its weight decay is another"),
        (
            "adam",
            lambda s: changed(s, decoupled_weight_decay=True),
            "of AdamW, not Adam: its weight decay is another",
        ),
        ("adam", lambda s: changed(s, lr=None), "options that Adam does not take"),
        ("adam", lambda s: changed(s, betas=3), "options that Adam does not take"),
        (
            "adam",
            lambda s: s | {"state": {0: s["state"][0] | {"step": "two"}}},
            "count of steps in it is no number",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_named(
    spec: str, change: Callable[[Any], Any], said: str
) -> None:
    model = net()
    optimizer = Adam(model.parameters())
    steps(model, optimizer, 2)
    f = ls.ModelLandscape(model, F.mse_loss, [data()])
    with pytest.raises(ValueError, match=said):
        ls.training.continuation(f, spec, state=change(optimizer.state_dict()), steps=1)
