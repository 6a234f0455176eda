"""The tracer: it changes nothing, and what it records is what a plain computation gives."""

import json
import math
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.linalg.operand import as_operator
from landscape.linalg.tracking import refresh

TRUTH = Path(__file__).parent.parent / "truth" / "dynamics"


def net(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 6),
        nn.BatchNorm1d(6),
        nn.Tanh(),
        nn.Dropout(0.3),
        nn.Linear(6, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    ).to(dtype)


def data(dtype: torch.dtype = torch.float64) -> TensorDataset:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(48, 4, dtype=dtype, generator=generator)
    return TensorDataset(x, torch.randint(0, 3, (48,), generator=generator))


def loops() -> dict[str, Callable[..., torch.optim.Optimizer]]:
    return {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
        "foreach": lambda p: torch.optim.AdamW(p, lr=1e-2, foreach=True),
        "fused": lambda p: torch.optim.Adam(p, lr=1e-2, fused=True),
        "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    }


def train(
    make: Callable[..., torch.optim.Optimizer], traced: bool, own: bool
) -> tuple[Tensor, Tensor, Any, Any, ls.training.Trace | None]:
    """Two epochs of a shuffled, dropped-out net; ``own``: the loader draws from a generator of its own, which f's passes use too."""
    model = net()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    loader = DataLoader(
        data(), 8, shuffle=True, generator=torch.Generator().manual_seed(5) if own else None
    )
    optimizer = make(model.parameters())

    def loop() -> None:
        for _ in range(2):
            for x, y in loader:
                # A tensor is what users give back; torch's types ask for a float.
                def closure(x: Tensor = x, y: Tensor = y) -> Any:
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    loss.backward()
                    return loss

                optimizer.step(closure)

    trace = None
    if traced:
        # made outside of what is compared: building a landscape reads the loader, which is the caller's doing
        state = loader.generator.get_state() if own else None
        f = ls.ModelLandscape(model, F.cross_entropy, loader)
        if own:
            loader.generator.set_state(state)
        with ls.Tracer(optimizer, f, every=3) as tracer:
            loop()
        trace = tracer.result
    else:
        loop()
    weights = torch.cat([t.reshape(-1).double() for t in model.state_dict().values()])
    return (
        weights,
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
        trace,
    )


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", list(loops()))
def test_a_traced_run_is_the_untraced_one_bit_by_bit(name: str, own: bool) -> None:
    plain, traced = train(loops()[name], False, own), train(loops()[name], True, own)
    assert torch.equal(plain[0], traced[0])
    assert torch.equal(plain[1], traced[1])
    assert plain[2:4] == traced[2:4]
    assert traced[4] is not None
    assert traced[4].steps.tolist() == [0, 3, 6, 9, 12]


def test_records_are_what_plain_torch_gives(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    x, y = data(dtype).tensors
    f = ls.ModelLandscape(model, F.cross_entropy, [(x[:24], y[:24]), (x[24:], y[24:])])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    points, losses, gradients = [], [], []

    def look() -> None:
        loss = F.cross_entropy(model(x), y)
        gradients.append(
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
        )
        losses.append(loss.item())
        points.append(f.point())

    look()
    with ls.Tracer(optimizer, f, every=1) as tracer:
        for _ in range(6):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            look()
    trace = tracer.result
    tol = 1e-4 if dtype == torch.float32 else 1e-10

    def near(a: Tensor, b: Any, tol: float = tol) -> None:
        torch.testing.assert_close(
            a, torch.as_tensor(b, dtype=torch.float64), rtol=tol, atol=tol, equal_nan=True
        )

    walked = [0.0] + [float((b - a).norm()) for a, b in pairwise(points)]
    near(trace.loss, losses)
    near(trace.gradient_norm, [float(g.norm()) for g in gradients])
    near(trace.batch_gradient_norm[1:], [float(g.norm()) for g in gradients[:-1]])
    near(trace.update_norm, [float("nan"), *walked[1:]])
    near(trace.travelled, np.cumsum(walked))
    near(trace.from_start, [float((p - points[0]).norm()) for p in points])
    near(trace.layer_gradient.norm(dim=1), [float(g.norm()) for g in gradients])
    near(trace.edge, [2 * 1.5 / 0.2] * 7)
    parts = [
        torch.cat(
            [
                g.reshape(-1)
                for g in torch.autograd.grad(
                    F.cross_entropy(model(x[s]), y[s]), list(model.parameters())
                )
            ]
        )
        for s in (slice(0, 24), slice(24, 48))
    ]
    near(
        trace.noise_trace[-1],
        float((parts[0] - parts[1]).double().square().sum()) / 2,
        max(tol, 1e-5),
    )
    H = ls.Hessian(f).dense().double()
    values = torch.linalg.eigvalsh(H)
    g = gradients[-1].double()
    near(trace.rayleigh[-1], float(g @ H @ g / (g @ g)), 1e-3 if dtype == torch.float32 else 1e-8)
    for value, bound in (
        (trace.largest[-1], trace.largest_bound[-1]),
        (trace.smallest[-1], trace.smallest_bound[-1]),
    ):
        assert float((values - value).abs().min()) <= float(bound) + 1e-5
    assert float(trace.largest[-1]) == pytest.approx(float(values[-1]), rel=0.05)
    assert trace.last is not None
    assert trace.last.index == int((values < -1e-6).sum())


def test_refreshes_follow_both_ends_for_a_few_products() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(80, 80, dtype=torch.float64, generator=generator)
    B = torch.randn(80, 80, dtype=torch.float64, generator=generator)
    known = None
    for t in range(12):
        H = (
            (A + A.T) / 2
            + 0.02 * t * (B + B.T) / 2
            + 12 * torch.diag(torch.arange(80) == 3).double()
        )
        ends = refresh(as_operator(H), known, None, 3)
        values = torch.linalg.eigvalsh(H)
        for value, bound in (
            (ends.largest, ends.largest_bound),
            (ends.smallest, ends.smallest_bound),
        ):
            assert float((values - value).abs().min()) <= bound + 1e-12
        assert ends.largest == pytest.approx(float(values[-1]), rel=0.02)
        assert ends.smallest == pytest.approx(float(values[0]), rel=0.02)
        assert t == 0 or ends.products <= 8
        known = ends.vectors


def test_adam_edge_uses_the_preconditioned_hessian() -> None:
    scales = torch.tensor([1.0, 100.0], dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: 0.5 * (scales * x**2).sum(-1), dim=2)
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=1e-3)
    with ls.Tracer(optimizer, f, every=1) as tracer:
        optimizer.zero_grad()
        f.value(w).backward()
        optimizer.step()
    # after one step v = (1 - b2) g^2, corrected g^2: H / |g| = diag(1 / 1, 100 / 100)
    assert float(tracer.result.sharpness[-1]) == pytest.approx(1.0, rel=1e-6)
    assert float(tracer.result.edge[-1]) == pytest.approx(2 * 1.9 / 0.1 / 1e-3)


def test_adagrad_divides_by_the_root_of_its_sum() -> None:
    """Of f = h'x² / 2 all gradients are known: the sharpness felt is the largest h over that."""
    h = torch.tensor([1.0, 30.0], dtype=torch.float64)
    x = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(lambda x: (h * x**2).sum(-1) / 2, dim=2)
    optimizer = torch.optim.Adagrad([x], lr=1e-3, eps=0.1)
    squares = torch.zeros(2, dtype=torch.float64)
    with ls.Tracer(optimizer, f, every=10, curvature=1) as tracer:
        for _ in range(20):
            optimizer.zero_grad()
            f.value(x).backward()
            assert x.grad is not None
            squares += x.grad.square()
            optimizer.step()
    felt = h / (squares.sqrt() + 0.1)
    assert float(tracer.result.sharpness[0]) == pytest.approx(30.0)  # it has not divided yet
    assert float(tracer.result.sharpness[-1]) == pytest.approx(float(felt.max()), rel=1e-6)
    assert float(tracer.result.edge[-1]) == pytest.approx(2 / 1e-3)


def test_stuck_units_are_counted() -> None:
    model = nn.Sequential(
        nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 5), nn.Sigmoid(), nn.Linear(5, 3)
    ).double()
    with torch.no_grad():
        model.get_parameter("0.bias")[:4] = -1e3
        model.get_parameter("2.bias")[:2] = torch.tensor([1e3, -1e3])
    x, y = data().tensors
    f = ls.ModelLandscape(model, F.cross_entropy, [(x[:20], y[:20]), (x[20:], y[20:])])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with ls.Tracer(optimizer, f, every=1) as tracer:
        pass
    hidden = model[0](x)
    assert tracer.result.activations == ["1 relu", "2 sigmoid"]
    assert float(tracer.result.dead[0, 0]) == float((hidden <= 0).all(dim=0).double().mean()) >= 0.4
    assert float(tracer.result.saturated[0, 1]) == 0.4


def plateaus() -> list[Any]:
    """(formula, start, rate, {steps to an event by the truth table: the loss at the event}) of every row."""
    table, found = json.loads((TRUTH / "t8_plateaus.json").read_text()), []
    for row in table["sigmoid_neuron"]:
        f = ls.FunctionLandscape(lambda w: 0.5 * (torch.sigmoid(w[..., 0]) - 1) ** 2, dim=1)
        events = {row["gd_steps_half_loss"]: row["f0"] / 2, row["gd_steps_w_ge_0"]: 0.125}
        found.append(
            pytest.param(
                f, [row["w0"]], row["lr"], events, id=f"sigmoid {row['w0']:g} at {row['lr']:g}"
            )
        )
    for row in table["gaussian_well"]:
        f = ls.FunctionLandscape(lambda x: -torch.expm1(-0.5 * x[..., 0] ** 2), dim=1)
        events = {row["gd_steps_x_lt_1"]: 1 - math.exp(-0.5)}
        found.append(
            pytest.param(
                f, [row["x0"]], row["lr"], events, id=f"well {row['x0']:g} at {row['lr']:g}"
            )
        )
    for row in json.loads((TRUTH / "t5_linear_net.json").read_text())["rows"]:
        s, depth, u0 = row["s"], row["layers"], row["u0"]

        def net_loss(w: Tensor, s: float = s) -> Tensor:
            return 0.5 * (s - w.prod(-1)) ** 2

        f = ls.FunctionLandscape(net_loss, dim=depth)
        events = {row["gd_steps_to_half"]: s**2 / 8}
        name = f"linear net of {depth}, s = {s:g}, from {u0:g}"
        found.append(pytest.param(f, [u0 ** (1 / depth)] * depth, row["lr"], events, id=name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("f", "start", "lr", "events"), plateaus())
def test_plateaus_are_as_long_as_in_the_truth_tables(
    f: ls.FunctionLandscape, start: list[float], lr: float, events: dict[int, float]
) -> None:
    last = max(events)
    every = 1 if last < 100 else 7 if last < 5000 else 97
    trace = descend(f, start, lr, last + every, every, curvature=0, last_look=False)
    for steps, at in events.items():
        length = ls.training.plateau_length(trace, share=at / float(trace.loss[0]))
        assert length is not None
        assert 0 <= length - steps < every


def descend(
    f: ls.FunctionLandscape, start: list[float], lr: float, steps: int, every: int, **options: Any
) -> ls.training.Trace:
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr)
    with ls.Tracer(optimizer, f, every=every, **options) as tracer:
        for _ in range(steps):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
    return tracer.result


def test_a_diverged_run_is_kept_and_marked(tmp_path: Path) -> None:
    f = ls.FunctionLandscape(lambda x: (x**4).sum(-1), dim=2)
    trace = descend(f, [3.0, 1.0], 1.0, 12, 1)
    assert trace.diverged
    assert trace.last is None
    assert len(trace.steps) == 13
    trace.save(tmp_path / "trace")
    again = ls.training.Trace.load(tmp_path / "trace")
    assert again.diverged
    assert torch.equal(again.loss[:2], trace.loss[:2])
    assert again.steps.tolist() == list(range(13))


def test_records_spill_and_a_run_goes_on(tmp_path: Path) -> None:
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    descend(f, [1.0, 2.0], 0.1, 200, 1, folder=tmp_path, curvature=0, last_look=False)
    rest = [float(0.9**200), float(2 * 0.9**200)]
    trace = descend(
        f, rest, 0.1, 100, 1, folder=tmp_path, curvature=0, last_look=False, resume=True
    )
    assert trace.steps.tolist() == list(range(301))
    torch.testing.assert_close(trace.loss, 2.5 * 0.81 ** trace.steps.double(), rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="resume=True"):
        descend(f, rest, 0.1, 1, 1, folder=tmp_path)
    with pytest.raises(ValueError, match="another landscape or interval"):
        descend(f, rest, 0.1, 1, 2, folder=tmp_path, resume=True)


def test_f_is_evaluated_more_rarely_than_records_are_made(tmp_path: Path) -> None:
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    full = descend(f, [1.0, 2.0], 0.1, 141, 2, last_look=False)
    trace = descend(f, [1.0, 2.0], 0.1, 141, 2, evaluate=7, last_look=False, folder=tmp_path)
    seen = (trace.steps % 14 == 0) | (trace.steps == 141)
    assert trace.steps.tolist() == [*range(0, 141, 2), 141]
    assert torch.equal(trace.evaluated, seen)
    for name in ("loss", "gradient_norm", "largest", "smallest", "rayleigh"):  # what f says
        wanted = torch.where(seen, getattr(full, name), torch.nan)
        torch.testing.assert_close(
            getattr(trace, name), wanted, rtol=1e-9, atol=1e-12, equal_nan=True
        )
    for name in (
        "update_norm",
        "batch_gradient_norm",
        "weight_norm",
        "travelled",
        "learning_rate",
        "layer_update",
    ):
        assert torch.equal(
            getattr(trace, name).nan_to_num(-1.0), getattr(full, name).nan_to_num(-1.0)
        )  # what the optimiser says
    assert not trace.diverged
    assert torch.isfinite(trace.of_f().loss).all()
    assert ls.diagnose(trace).causes[0].name == ls.diagnose(full).causes[0].name
    assert ls.training.plateau_length(trace, share=0.25) == 14  # 0.81^k is below it from k = 7 on


@pytest.mark.parametrize("steps", [1, 63, 130])  # records in memory, just written, and both
def test_the_last_record_is_completed(steps: int, tmp_path: Path) -> None:
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    trace = descend(
        f, [1.0, 2.0], 0.01, steps, 1, evaluate=1000, curvature=0, last_look=False, folder=tmp_path
    )
    assert trace.steps.tolist() == list(range(steps + 1))
    assert trace.evaluated.tolist() == [True, *[False] * (steps - 1), True]
    assert float(trace.loss[-1]) == pytest.approx(2.5 * 0.99 ** (2 * steps), rel=1e-12)
    assert float(trace.update_norm[-1]) == pytest.approx(
        0.01 * 5**0.5 * 0.99 ** (steps - 1), rel=1e-12
    )


def test_steps_that_a_gradient_scaler_skips_are_not_counted() -> None:
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with ls.Tracer(optimizer, f, every=1) as tracer:
        for i in range(6):
            optimizer.zero_grad()
            scaler.scale(f.value(w) * (float("inf") if i == 2 else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
    assert tracer.result.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert float(tracer.result.batch_gradient_norm[1]) == pytest.approx(2**0.5)


def test_two_optimisers_step_together() -> None:
    model = net()
    x, y = data().tensors
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    pair = [
        torch.optim.SGD(model.get_submodule("0").parameters(), lr=0.1),
        torch.optim.Adam(model.get_submodule("6").parameters(), lr=1e-2),
    ]
    with ls.Tracer(pair, f, every=2) as tracer:
        for _ in range(4):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            for optimizer in pair:
                optimizer.step()
    assert tracer.result.steps.tolist() == [0, 2, 4]
    assert tracer.result.optimizer == "SGD, Adam"
    assert float(tracer.result.layer_update[-1, tracer.result.layers.index("0.weight")]) > 0
    assert float(tracer.result.layer_update[-1, tracer.result.layers.index("4.weight")]) == 0


def test_every_tensor_is_made_where_the_run_is(device: torch.device) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(device)
    x, y = (t.to(device) for t in data(torch.float32).tensors)
    f = ls.ModelLandscape(model, F.cross_entropy, [(x[:24], y[:24]), (x[24:], y[24:])])
    w = torch.ones(2, device=device, requires_grad=True)
    g = ls.FunctionLandscape(lambda x: (x**2).sum(-1) - x[..., 0] ** 4 / 9, dim=2)
    loops = (
        (f, torch.optim.Adam(model.parameters(), lr=0.01), lambda: F.cross_entropy(model(x), y)),
        (g, torch.optim.SGD([w], lr=0.1), lambda: g.value(w)),
    )
    for _, optimizer, loss in loops:  # torch 2.11 makes Adam's count of steps on the default device
        loss().backward()
        optimizer.step()
    with torch.device("meta"):  # whatever is made without a device ends where nothing can be read
        for landscape, optimizer, loss in loops:
            with ls.Tracer(optimizer, landscape, every=2) as tracer:
                for _ in range(6):
                    optimizer.zero_grad()
                    loss().backward()
                    optimizer.step()
            assert tracer.result.x.device.type == "cpu"
            assert tracer.result.last is not None
            assert ls.diagnose(tracer.result).phases
            assert tracer.result.phases


def test_what_cannot_be_followed_is_named() -> None:
    model, other = net(), net()
    x, y = data().tensors
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    with (
        pytest.warns(UserWarning, match="not from a copy"),
        ls.Tracer(torch.optim.SGD(other.parameters(), lr=0.1), f, last_look=False) as tracer,
    ):
        pass
    assert any("not from a copy" in note for note in tracer.result.provenance.notes)
    wrong: Any = model
    with pytest.raises(TypeError, match="optimizer must be"):
        ls.Tracer(wrong, f)
    g = ls.FunctionLandscape(lambda x: x.sum(-1), dim=3)
    with pytest.raises(ValueError, match="dimension 3"):
        ls.Tracer(torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1), g)
    with pytest.raises(RuntimeError, match="nothing is traced yet"):
        _ = ls.Tracer(torch.optim.SGD(model.parameters(), lr=0.1), f).result


def test_an_error_in_the_loop_passes_and_the_trace_stays() -> None:
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    tracer = ls.Tracer(optimizer, f, every=1)

    def loop() -> None:
        with tracer:
            f.value(w).backward()
            optimizer.step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert tracer.result.steps.tolist() == [0, 1]
    optimizer.step()
    assert tracer.result.steps.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_search_at_a_rhythm_finds_what_refreshes_miss(dtype: torch.dtype) -> None:
    """f = 2 y^2 + s^2 z^2 / 2 + |w|^2 / 4 - s from s = 1, and s grows by 0.1 a step: the Hessian at
    y = z = w = 0 has the eigenvalues 4, s^2, 0.5 and 0. From s = 2 on s^2 is the largest, along z,
    which no vector that is followed has a part in.
    """

    def value(x: Tensor) -> Tensor:
        s, y, z, w = x[..., 0], x[..., 1], x[..., 2], x[..., 3:]
        return 2 * y**2 + s**2 * z**2 / 2 + w.square().sum(-1) / 4 - s

    def traced(certify: int) -> ls.training.Trace:
        f = ls.FunctionLandscape(value, dim=40)
        start = torch.zeros(40, dtype=dtype)
        start[0] = 1.0
        x = start.requires_grad_(True)
        optimizer = torch.optim.SGD([x], lr=0.1)
        with ls.Tracer(optimizer, f, every=1, rounds=1, certify=certify, last_look=False) as tracer:
            for _ in range(20):
                optimizer.zero_grad()
                torch.autograd.backward(f.value(x))
                optimizer.step()
        return tracer.result

    without, trace = traced(0), traced(5)
    assert without.searched is not None
    assert trace.searched is not None
    assert not without.searched.any()
    assert float(without.largest[-1]) == pytest.approx(4.0, rel=1e-3)  # s is 3
    assert without.products <= 23 + 20 * 5  # five a refresh after the first
    assert trace.steps[trace.searched].tolist() == [0, 5, 10, 15, 20]
    s = 1 + 0.1 * trace.steps.double()
    truth = torch.maximum(s**2, torch.tensor(4.0))
    off = (trace.largest - truth).abs()
    assert bool((off[trace.searched] <= 1e-2 * truth[trace.searched]).all())
    assert bool((off[trace.steps >= 15] <= 1e-2 * truth[trace.steps >= 15]).all())


@pytest.mark.slow
def test_looks_stop_where_time_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a landscape whose products take long, as few are made as the seconds allow; what is said
    of the ends holds all the same.
    """
    n = 620  # above that of whole spectra
    curvatures = torch.linspace(-1.0, 3.0, n)

    def slow(x: Tensor) -> Tensor:
        if x.requires_grad:
            time.sleep(0.01)
        return (curvatures * x.square()).sum(-1) / 2

    def traced(every: int | None) -> ls.training.Trace:
        x = torch.nn.Parameter(torch.full((n,), 0.1))
        optimizer = torch.optim.SGD([x], lr=1e-3)
        with ls.Tracer(optimizer, ls.FunctionLandscape(slow, dim=n), every=every) as tracer:
            for _ in range(4):
                x.grad = curvatures * x.detach()
                optimizer.step()
        return tracer.result

    monkeypatch.setattr("landscape.training.tracer.LOOK", 0.05)
    short, long = traced(None), traced(4)
    assert short.last is not None
    assert long.last is not None
    assert short.last.products < 30 < long.last.products
    for value, bound in (
        (short.largest[0], short.largest_bound[0]),
        (short.smallest[0], short.smallest_bound[0]),
    ):
        assert (curvatures - value).abs().min() <= bound
