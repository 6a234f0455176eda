"""Runs stuck for a reason known from how they are built: the diagnosis names it first."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import landscape as ls
from landscape.training import evidence
from landscape.training.rules import NAMES
from landscape.zoo import stuck

Make = Callable[[list[Tensor]], Optimizer]


def sgd(lr: float, momentum: float = 0.0) -> Make:
    return lambda p: SGD(p, lr=lr, momentum=momentum)


def adam(lr: float) -> Make:
    return lambda p: Adam(p, lr=lr)


def along(
    formula: Callable[[Tensor], Tensor],
    start: list[float],
    make: Make,
    steps: int,
    gamma: float = 1.0,
    every: int = 10,
) -> ls.training.Trace:
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(formula, dim=len(start))
    optimizer = make([w])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    with ls.Tracer(optimizer, f, every=every) as tracer:
        for _ in range(steps):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
            schedule.step()
    return tracer.result


def train(
    model: nn.Module,
    make: Make,
    steps: int,
    batch: int | None = None,
    noise: float = 0.0,
    gamma: float = 1.0,
) -> ls.training.Trace:
    generator = torch.Generator().manual_seed(0)
    dtype = next(model.parameters()).dtype
    x = torch.randn(96, 5, generator=generator, dtype=torch.float64).to(dtype)
    last = list(model.modules())[-1]
    assert isinstance(last, nn.Linear)
    outputs = last.out_features
    y = x[:, :outputs] + noise * torch.randn(
        96, outputs, generator=generator, dtype=torch.float64
    ).to(dtype)
    f = ls.ModelLandscape(model, F.mse_loss, [(x, y)])
    optimizer = make(list(model.parameters()))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    with ls.Tracer(optimizer, f, every=10) as tracer:
        for _ in range(steps):
            i = torch.randint(96, (batch,), generator=generator) if batch else slice(None)
            optimizer.zero_grad()
            F.mse_loss(model(x[i]), y[i]).backward()
            optimizer.step()
            schedule.step()
    return tracer.result


def net(
    act: type[nn.Module], *sizes: int, bias: float | None = None, scale: float = 1.0
) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), act()]
    model = nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for module in list(model)[:-1]:
            if isinstance(module, nn.Linear):
                module.weight.mul_(scale)
                if bias is not None:
                    module.bias.fill_(bias)
    return model


def zeroed(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    return model


def valley(x: Tensor) -> Tensor:
    return 0.5 * (x[..., 0] ** 2 + 1e-5 * x[..., 1] ** 2)


def rosenbrock(x: Tensor) -> Tensor:
    return (1 - x[..., 0]) ** 2 + 100 * (x[..., 1] - x[..., 0] ** 2) ** 2


def well(x: Tensor) -> Tensor:
    return 1 - torch.exp(-0.5 * (x**2).sum(-1))


def bowl(x: Tensor) -> Tensor:
    return 0.5 * (x[..., 0] ** 2 + 0.1 * x[..., 1] ** 2)


def edge(x: Tensor) -> Tensor:
    """At a rate of 0.02 the first coordinate changes its sign at every step and keeps its size."""
    return 1 + 50 * x[..., 0] ** 2 + 5 * x[..., 1] ** 2


RUNS: dict[str, tuple[str, Callable[[], ls.training.Trace]]] = {
    "sigmoid neuron": (
        "saturated",
        lambda: along(lambda w: 0.5 * (torch.sigmoid(w[..., 0]) - 1) ** 2, [-12.0], sgd(1.0), 200),
    ),
    "large weights": (
        "saturated",
        lambda: train(net(nn.Sigmoid, 5, 12, 12, 3, scale=200.0), sgd(0.05), 200),
    ),
    "tanh biases": ("saturated", lambda: train(net(nn.Tanh, 5, 12, 3, bias=20.0), sgd(0.1), 200)),
    "dead": ("dead", lambda: train(net(nn.ReLU, 5, 12, 12, 3, bias=-50.0), sgd(0.1), 200)),
    "dead, batches": (
        "dead",
        lambda: train(net(nn.ReLU, 5, 12, 3, bias=-50.0), adam(1e-2), 300, batch=16),
    ),
    "deep sigmoids": ("vanishing", lambda: train(net(nn.Sigmoid, 5, *[8] * 8, 3), sgd(0.1), 200)),
    "deep sigmoids, batches": (
        "vanishing",
        lambda: train(net(nn.Sigmoid, 5, *[8] * 10, 3), sgd(0.1), 200, batch=16),
    ),
    "zero tanh": ("saddle", lambda: train(zeroed(net(nn.Tanh, 5, 8, 3)), sgd(0.1), 200)),
    "zero tanh, deep": ("saddle", lambda: train(zeroed(net(nn.Tanh, 5, 8, 8, 3)), sgd(0.1), 200)),
    "zero tanh, batches": (
        "saddle",
        lambda: train(zeroed(net(nn.Tanh, 5, 8, 3)), sgd(0.05), 200, batch=16),
    ),
    "strict saddle": (
        "saddle",
        lambda: along(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, [1.0, 0.0], sgd(0.1), 200),
    ),
    "linear net": (
        "saddle",
        lambda: along(lambda w: 0.5 * (1 - w.prod(-1)) ** 2, [1e-3, 1e-3], sgd(0.01), 200),
    ),
    "well": ("flat", lambda: along(well, [6.0, 3.0], sgd(0.1), 200)),
    "well, momentum": ("flat", lambda: along(well, [6.0, 0.0], sgd(0.1, 0.9), 200)),
    "well, adam": ("flat", lambda: along(well, [6.0, 3.0], adam(1e-3), 200)),
    "well, adam, near": ("flat", lambda: along(well, [7.0, 0.0], adam(1e-2), 200)),
    "valley": ("flat", lambda: along(valley, [1.0, 1.0], sgd(1.0), 200)),
    "decayed": ("learning rate", lambda: along(rosenbrock, [-1.2, 1.0], sgd(1e-3), 400, gamma=0.9)),
    "decayed net": (
        "learning rate",
        lambda: train(net(nn.Tanh, 5, 12, 3), adam(1e-2), 200, gamma=0.8),
    ),
    "too large": ("learning rate", lambda: along(bowl, [1.0, 1.0], sgd(2.0), 200)),
    "too large, net": ("learning rate", lambda: train(net(nn.Tanh, 5, 12, 3), sgd(20.0), 200)),
    "too large, units die": ("learning rate", lambda: train(net(nn.ReLU, 5, 12, 3), sgd(2.0), 200)),
    "too small": ("learning rate", lambda: train(net(nn.Tanh, 5, 12, 3), sgd(2e-3), 200)),
    "too small, adam, batches": (
        "learning rate",
        lambda: train(net(nn.GELU, 5, 12, 3), adam(2e-4), 200, batch=24),
    ),
    "diverged": (
        "learning rate",
        lambda: along(lambda x: (x**4).sum(-1), [3.0], sgd(1.0), 20, every=1),
    ),
    "noise": ("noise", lambda: train(net(nn.Tanh, 5, 1), sgd(0.05), 500, batch=2, noise=1.0)),
    "noise, adam": (
        "noise",
        lambda: train(net(nn.Tanh, 5, 1), adam(0.05), 500, batch=2, noise=1.0),
    ),
    "converged": ("minimum", lambda: along(bowl, [1.0, 1.0], sgd(0.5), 800)),
    "converged after a rate that was too large": (
        "minimum",
        lambda: along(bowl, [1.0, 1.0], sgd(3.0), 500, gamma=0.97),
    ),
    "converged but for a swing at the edge": (
        "minimum",
        lambda: along(edge, [1e-3, 1.0], sgd(0.02), 300),
    ),
    "swing at the edge": ("learning rate", lambda: along(edge, [1.0, 1.0], sgd(0.02), 300)),
    "converged, offset": ("minimum", lambda: train(net(nn.Tanh, 5, 1), sgd(0.1), 500, noise=1.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RUNS))
def test_the_true_cause_is_named_first(name: str, tmp_path: Path) -> None:
    cause, run = RUNS[name]
    trace = run()
    diagnosis = ls.diagnose(trace)
    assert diagnosis.causes[0].name == cause, str(diagnosis)
    assert f"{cause.upper()}: confidence" in " ".join(str(diagnosis).split())
    assert all(
        c.name in NAMES and 0 <= c.confidence <= 1 and c.evidence and c.remedy
        for c in diagnosis.causes
    )
    assert [c.confidence for c in diagnosis.causes] == sorted(
        (c.confidence for c in diagnosis.causes), reverse=True
    )
    trace.save(tmp_path)
    assert ls.diagnose(ls.training.Trace.load(tmp_path)) == diagnosis  # the trace is enough


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_the_loss_change_no_cause(scale: float) -> None:
    for formula, start, lr, steps in (
        (lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, [1.0, 0.0], 0.1, 200),
        (valley, [1.0, 1.0], 1.0, 200),
        (bowl, [1.0, 1.0], 0.5, 800),
        (bowl, [1.0, 1.0], 2.0, 200),
    ):
        plain = ls.diagnose(along(formula, start, sgd(lr), steps))

        def stretched(x: Tensor, f: Callable[[Tensor], Tensor] = formula) -> Tensor:
            return scale * f(x)

        scaled = ls.diagnose(along(stretched, start, sgd(lr / scale), steps))
        assert plain.causes[0].name == scaled.causes[0].name


def phase_names(trace: ls.training.Trace) -> Iterator[str]:
    for phase in trace.phases:
        yield phase.name


def test_phases_tell_a_run_through_a_saddle() -> None:
    trace = along(
        lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + x[..., 1] ** 4,
        [1.0, 1e-8],
        sgd(0.05),
        400,
        every=10,
    )
    names = list(phase_names(trace))
    assert names[0] == "descent"
    assert names[-1] == "converged"
    assert names.index("saddle approach") < names.index("saddle escape")
    stops = [p.stop for p in trace.phases]
    assert [p.start for p in trace.phases] == [0, *stops[:-1]]
    assert stops[-1] == 400
    # the gradient is least where 2 (0.9)^t = 2e-8 (1.1)^t, since the curvatures are 2 and -2 and the rate 0.05: t = 91.8
    turn = next(p.start for p in trace.phases if p.name == "saddle escape")
    assert abs(turn - 91.8) <= 10


def test_noise_from_record_to_record_is_no_phase() -> None:
    """A loss that falls to 1 within 100 steps and stays there, under noise at every record."""
    run = along(lambda x: x.square().sum(-1) / 2, [3.0, 1.0], sgd(0.1), 400, every=2)
    noise = torch.randn(len(run.steps), generator=torch.Generator().manual_seed(0)).double()
    loss = 1 + 9 * torch.exp(-run.steps / 20) + 0.05 * noise
    phases = replace(run, loss=loss).phases
    assert len(phases) <= 12
    assert phases[0].name == "descent"
    assert [p.start for p in phases] == [0, *(p.stop for p in phases[:-1])]
    assert phases[-1].stop == 400
    still = sum(p.stop - p.start for p in phases if p.name != "descent" and p.start > 100)
    assert still > 200


def test_phases_name_the_edge_and_divergence() -> None:
    assert list(phase_names(along(bowl, [1.0, 1.0], sgd(2.0), 100))) == ["edge of stability"]
    assert (
        list(phase_names(along(lambda x: (x**4).sum(-1), [3.0], sgd(1.0), 20, every=1)))[-1]
        == "divergence"
    )


def test_a_trace_without_a_step_says_so() -> None:
    found = ls.diagnose(along(bowl, [1.0, 1.0], sgd(0.1), 0))
    assert found.stuck
    assert "has taken no step" in str(found.causes[0])
    with pytest.raises(ValueError, match="no step was traced"):
        ls.diagnose(replace(along(bowl, [1.0, 1.0], sgd(0.1), 0), loop=None))  # not at its end
    wrong: Any = "runs/trace"
    with pytest.raises(TypeError, match=r"tracer\.result"):
        ls.diagnose(wrong)


@pytest.mark.slow
def test_units_that_died_in_the_run_are_told() -> None:
    causes = ls.diagnose(RUNS["too large, units die"][1]()).causes
    assert "at the start it was 0%" in causes[0].evidence[0]
    assert any("died in the run" in line for c in causes if c.name == "dead" for line in c.evidence)
    assert not any(
        "died in the run" in line for line in ls.diagnose(RUNS["dead"][1]()).causes[0].evidence
    )


@pytest.mark.slow
def test_remedies_are_tried_where_the_trace_ended() -> None:
    """Strict saddle: the step along the eigenvector leaves it at ln(1 + lr |curvature|), and the trials are part of the answer."""
    w = torch.tensor([1e-3, 0.0], dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(
        lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + 0.1 * x[..., 1] ** 4, dim=2
    )
    optimizer = SGD([w], lr=0.05)
    with ls.Tracer(optimizer, f, every=10) as tracer:
        for _ in range(100):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
    before = w.detach().clone()
    found = ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=40, seeds=2)
    assert torch.equal(w, before)
    alone = ls.diagnose(tracer.result).causes
    assert found.causes[0].name == alone[0].name == "saddle"
    assert found.trials is not None
    assert f"Tried: {found.trials.best}" in found.causes[0].remedy
    assert found.trials.best.startswith("eigenvector")
    assert found.probes == found.trials.probes
    rates = [p.rate for p in found.probes if p.rate is not None]
    assert rates == pytest.approx([math.log(1.1)] * 2, rel=1e-4)
    assert found.trials.predicted_rate == pytest.approx(math.log(1.1), rel=1e-9)
    assert found.trials.best in str(found)
    assert ls.diagnose(tracer.result, found.trials) == found
    with pytest.raises(ValueError, match="together"):
        ls.diagnose(tracer.result, f=f)
    with torch.no_grad():
        w += 1
    with pytest.raises(ValueError, match="not where the trace ended"):
        ls.diagnose(tracer.result, f=f, optimizer=optimizer)
    assert ls.diagnose(tracer.result).probes == []


@pytest.mark.slow
def test_a_checkpoint_is_carried_on_and_left_alone() -> None:
    model = zeroed(net(nn.Tanh, 5, 8, 3))
    x = torch.randn(32, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f = ls.ModelLandscape(model, F.mse_loss, [(x[:16], x[:16, :3]), (x[16:], x[16:, :3])])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    run = ls.training.continuation(f, "sgd:lr=0.05", steps=50, every=5)
    assert run.trace.steps.tolist() == list(range(0, 51, 5))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert ls.diagnose(run.trace).causes[0].name == "saddle"
    again = ls.training.continuation(f, lambda p: SGD(p, lr=0.05), steps=50, every=5)
    assert torch.equal(run.trace.loss, again.trace.loss)
    # the same recursion in plain torch: batches are drawn by the seed
    generator = torch.Generator().manual_seed(0)
    optimizer = SGD(model.parameters(), lr=0.05)
    for _ in range(50):
        a, b = f.batches[int(torch.randint(2, (), generator=generator))]
        optimizer.zero_grad()
        F.mse_loss(model(a), b).backward()
        optimizer.step()
    torch.testing.assert_close(f.point(), run.trace.x, rtol=1e-12, atol=1e-14)
    curve = ls.training.continuation(
        f, "sgd:lr=0.1", schedule="ExponentialLR:gamma=0.5", steps=4, every=1
    ).trace.learning_rate
    assert curve.tolist() == [0.1, 0.1, 0.05, 0.025, 0.0125]
    g = ls.FunctionLandscape(bowl, dim=2)
    with pytest.raises(ValueError, match="pass a point"):
        ls.training.continuation(g, "sgd:lr=0.1")
    found = ls.training.continuation(
        g, "sgd:lr=0.5", at=torch.ones(2, dtype=torch.float64), steps=800
    )
    assert ls.diagnose(found.trace).causes[0].name == "minimum"
    with pytest.raises(ls.NumericalError, match="not finite"):
        ls.training.continuation(
            g, "sgd:lr=0.5", at=torch.full((2,), math.nan, dtype=torch.float64)
        )
    with pytest.raises(ValueError, match="Did you mean 'sgd'"):
        ls.training.continuation(f, "sdg:lr=0.1")


@pytest.mark.slow
def test_the_floor_is_what_noise_keeps_up_in_a_bowl() -> None:
    """r tr(Sigma) / 4, and that loss is there: the mean of f over the late records."""
    rate, sigma, n = 0.05, 0.3, 8
    x = nn.Parameter(torch.zeros(n, dtype=torch.float64))
    f = ls.FunctionLandscape(lambda x: 0.5 * x.square().sum(-1), n)
    optimizer = torch.optim.SGD([x], lr=rate)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        x.fill_(1.0)
    with ls.Tracer(optimizer, f, every=4, curvature=0) as tracer:
        for _ in range(2_000):
            x.grad = x.detach() + sigma * torch.randn(n, generator=random, dtype=torch.float64)
            optimizer.step()
    tail, exact = evidence.Tail(tracer.result), rate * sigma**2 * n / 4
    assert tail.floor * tail.unit == pytest.approx(exact, rel=0.2)
    assert float(tracer.result.loss[250:].mean()) == pytest.approx(exact, rel=0.2)


class Slow(nn.Linear):
    """Takes its time."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.01)
        return super().forward(x)


def test_trials_that_take_more_than_their_share_are_not_begun() -> None:
    """Steps of 14 ms, twenty of three seeds of two trials at least: over a second, of a run of a tenth of one."""
    x = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    y, model = x.sum(1, keepdim=True), Slow(10, 1)
    f = ls.ModelLandscape(model, F.mse_loss, [(x, y)])
    optimizer = sgd(1e-4)(list(model.parameters()))
    with ls.Tracer(optimizer, f, every=5, curvature=0, last_look=False) as tracer:
        for _ in range(10):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    found = ls.diagnose(tracer.result, f=f, optimizer=optimizer)
    assert found.trials is None
    assert "steps=20, seeds=3" in found.untried
    assert found.untried in " ".join(str(found).split())
    assert found.causes == ls.diagnose(tracer.result).causes
    tried = ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=1, seeds=2)
    assert tried.trials is not None
    assert tried.untried == ""


@pytest.mark.slow
def test_a_run_that_is_not_stuck_has_no_cause_with_trials_either() -> None:
    model = torch.nn.Linear(2, 1)
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    f = ls.ModelLandscape(model, torch.nn.functional.mse_loss, [(x, x.sum(1, keepdim=True))])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with ls.Tracer(optimizer, f, every=1) as tracer:
        for _ in range(12):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True)).backward()
            optimizer.step()
    found = ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=5, seeds=2)
    assert not found.stuck
    assert found.causes == []
    assert found.trials is not None


@pytest.mark.slow
def test_what_left_flat_land_is_told_though_no_cause_names_it() -> None:
    """The well is 7 units down the gradient from where the run stands."""
    scene = stuck.get("gaussian-well").build(0, 1)
    with ls.Tracer(scene.optimizer, scene.f, every=10) as tracer:
        scene.train()
    found = ls.diagnose(tracer.result, f=scene.f, optimizer=scene.optimizer, steps=10, seeds=2)
    assert found.causes[0].name == "flat"
    assert found.trials is not None
    assert found.trials.leap is not None
    assert f"What did: a step of length {found.trials.leap:.3g} against" in found.causes[0].remedy
    x = scene.f.point()
    g = scene.f.gradient(x).double()
    assert float(scene.f.value((x - found.trials.leap * g / g.norm()).to(x))) < -0.5
