"""Loops of every kind: each ends in the same bits traced and untraced, and its steps are seen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import landscape as ls

Step = Callable[[int], object]
Loop = tuple[Optimizer | list[Optimizer], Step]


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 6),
        nn.BatchNorm1d(6),
        nn.Tanh(),
        nn.Dropout(0.3),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


def data() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(2)
    return torch.randn(48, 4, generator=draws), torch.randint(0, 3, (48,), generator=draws)


X, Y = data()


def loss(model: Callable[[Tensor], Tensor], i: int, size: int = 4) -> Tensor:
    rows = slice(i * size, (i + 1) * size)
    return F.cross_entropy(model(X[rows]), Y[rows])


def accumulated(model: nn.Sequential) -> Loop:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step(i: int) -> None:
        for half in range(2):
            (loss(model, 2 * i + half, 2) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return optimizer, step


def scaled(model: nn.Sequential) -> Loop:
    optimizer, scaler = (
        SGD(model.parameters(), lr=0.1, momentum=0.9),
        torch.amp.GradScaler("cpu", init_scale=8.0),
    )

    def step(i: int) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(model, i)
        scaler.scale(value * (float("inf") if i == 4 else 1.0)).backward()
        scaler.step(optimizer)  # the fifth is skipped
        scaler.update()

    return optimizer, step


def thawed(model: nn.Sequential) -> Loop:
    optimizer = Adam(model[0].parameters(), lr=1e-2)

    def step(i: int) -> None:
        if i == 5:
            optimizer.add_param_group({"params": list(model[4].parameters()), "lr": 1e-3})
        optimizer.zero_grad()
        loss(model, i).backward()
        optimizer.step()

    return optimizer, step


def inside_backward(model: nn.Sequential) -> Loop:
    optimizers: dict[Tensor, SGD] = {p: SGD([p], lr=0.05) for p in model.parameters()}

    def hook(p: Tensor) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    # the last to step is the first layer's
    return [*reversed(optimizers.values())], lambda i: loss(model, i).backward()


def compiled(model: nn.Sequential) -> Loop:
    torch._dynamo.reset()
    called, optimizer = torch.compile(model, backend="aot_eager"), SGD(model.parameters(), lr=0.1)
    stepped = torch.compile(lambda: optimizer.step(), backend="eager")

    def step(i: int) -> None:
        optimizer.zero_grad()
        loss(called, i).backward()
        stepped()

    return optimizer, step


LOOPS = {
    "accumulated": accumulated,
    "scaled": scaled,
    "thawed": thawed,
    "inside": inside_backward,
    "compiled": compiled,
}


def run(
    name: str, traced: bool, evaluate: int = 1
) -> tuple[Tensor, Tensor, ls.training.Trace | None]:
    model = net()
    torch.manual_seed(3)
    optimizer, step = LOOPS[name](model)
    trace = None
    if traced:
        own: Any = torch.compile(model, backend="aot_eager") if name == "compiled" else model
        f = ls.ModelLandscape(own, F.cross_entropy, [(X[:24], Y[:24]), (X[24:], Y[24:])])
        with ls.Tracer(optimizer, f, every=3, evaluate=evaluate) as tracer:
            for i in range(9):
                step(i)
        trace = tracer.result
    else:
        for i in range(9):
            step(i)
    return (
        torch.cat([t.reshape(-1).double() for t in model.state_dict().values()]),
        torch.get_rng_state(),
        trace,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LOOPS))
def test_a_traced_loop_is_the_untraced_one(name: str) -> None:
    weights, state, _ = run(name, False)
    for evaluate in (1, 2):
        same, after, trace = run(name, True, evaluate)
        assert torch.equal(same, weights)
        assert torch.equal(after, state)
        assert trace is not None
        assert trace.steps.tolist() == ([0, 3, 6, 8] if name == "scaled" else [0, 3, 6, 9])
        assert trace.evaluated.tolist() == [True, evaluate == 1, True, True]
        assert bool((trace.update_norm[1:3] > 0).all())
        assert bool(torch.isfinite(trace.largest[-1]))


def test_a_group_that_joins_is_seen() -> None:
    trace = run("thawed", True)[2]
    assert trace is not None
    moved = trace.layer_update[:, trace.layers.index("4.weight")]
    assert float(moved[1]) == 0.0  # it joins before the sixth step
    assert float(moved[2]) > 0.0
    assert bool(
        (trace.layer_update[1:, trace.layers.index("6.weight")] == 0).all()
    )  # and this one never
