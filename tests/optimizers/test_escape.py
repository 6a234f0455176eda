"""Escape times against tables (tests/truth/dynamics), against separate runs of torch's optimisers, and by hand."""

import json
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes import rows as rows_of
from landscape.operators import noises
from landscape.optimizers import ensembles
from landscape.results.statistics import kaplan_meier_median
from landscape.specs import optimizers as makers

TRUTH = Path(__file__).parents[1] / "truth/dynamics"


def rows(name: str) -> list[dict[str, Any]]:
    return json.loads((TRUTH / f"{name}.json").read_text())["rows"]


def quadratic(lam: list[float]) -> ls.FunctionLandscape:
    return ls.FunctionLandscape(lambda x: 0.5 * (x.new_tensor(lam) * x**2).sum(-1), dim=len(lam))


def spec(name: str, options: dict[str, Any]) -> str:
    return f"{name}:" + ",".join(
        f"{k}={json.dumps(list(v) if isinstance(v, tuple) else v)}" for k, v in options.items()
    )


def origin(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("row", rows("t1_saddle_sgd"), ids=lambda row: str(row["id"]))
def test_sgd_leaves_when_the_recursion_does(row: dict[str, Any]) -> None:
    options = {k: row[k] for k in ("lr", "momentum", "dampening", "nesterov", "weight_decay")}
    sgd, n = spec("sgd", options), len(row["lam"])
    unstable = torch.eye(n, dtype=torch.float64)[:, [lam < 0 for lam in row["lam"]]]
    study = ls.escape(
        quadratic(row["lam"]), origin(len(row["lam"])), [sgd], runs=1, steps=2_000,
        start=torch.tensor([row["x0"]], dtype=torch.float64), event=ls.LeavesBall(row["R"], within=unstable),
    )  # fmt: skip
    assert study[sgd].steps.tolist() == [row["exit_step"]]
    assert bool(study[sgd].escaped)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_heavy_ball_at_random_settings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lr, mu = float(rng.uniform(0.01, 0.2)), float(rng.uniform(0, 0.95))
    lam = [1.0, -float(rng.uniform(0.05, 2))]
    start = rng.normal(size=(6, 2)) * 10.0 ** -rng.integers(1, 9, size=(6, 1))
    sgd = f"SGD:lr={lr!r},momentum={mu!r}"
    study = ls.escape(
        quadratic(lam), origin(2), [sgd], runs=6, steps=5_000, start=torch.tensor(start)
    )
    for run, found in zip(start, study[sgd].steps.tolist(), strict=True):
        x, b, t = run.copy(), np.zeros(2), 0
        while np.hypot(*x) <= 1.0:
            b = mu * b + np.array(lam) * x
            x, t = x - lr * b, t + 1
        assert found == t


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", rows("t3_adaptive_exit"), ids=lambda row: f"{row['optimizer']}-{row['lam'][1]}"
)
def test_adaptive_methods_leave_when_they_should(row: dict[str, Any]) -> None:
    name = spec(row["optimizer"], row["kwargs"])
    study = ls.escape(
        quadratic(row["lam"]), origin(2), [name], runs=1, steps=1_500, start=torch.tensor([row["x0"]]).double(),
        event=ls.LeavesBall(row["R"], within=torch.tensor([[0.0], [1.0]]).double()),
    )  # fmt: skip
    if row["exit_step"] is None:
        assert not bool(study[name].escaped)
    else:
        assert study[name].steps.tolist() == [row["exit_step"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [r for r in rows("t2_noise_exit") if r["lr"] > 0.04 and r.get("exact_mean")],
    ids=lambda r: str(r["id"]),
)
def test_noise_drives_runs_out_in_the_exact_mean_time(row: dict[str, Any]) -> None:
    sgd = f"sgd:lr={row['lr']}"
    study = ls.escape(
        quadratic(row["lam"]), origin(len(row["lam"])), [sgd], runs=4_000, steps=600, start=0.0,
        event=ls.LeavesBall(row["R"]), noise=f"isotropic:{row['sigma']}",
    )  # fmt: skip
    times = study[sgd].steps.double()
    assert bool(study[sgd].escaped.all())
    error = float(times.std()) / math.sqrt(len(times))
    assert abs(float(times.mean()) - row["exact_mean"]) < 4 * error < 0.04 * row["exact_mean"]
    assert abs(study[sgd].median.value - row["exact_median"]) <= max(2, 0.05 * row["exact_median"])
    assert study[sgd].median.low <= study[sgd].median.value <= study[sgd].median.high


OPTIONS = {
    "SGD": "lr=0.01,momentum=0.9,nesterov=true,weight_decay=0.1", "Adagrad": "lr=0.1", "Adadelta": "lr=1.0",
    "RMSprop": "lr=0.01,momentum=0.5",
    "Adam": "lr=0.02,amsgrad=true", "AdamW": "lr=0.02", "NAdam": "lr=0.02", "RAdam": "lr=0.001", "Adamax": "lr=0.02", "Rprop": "lr=0.01",
    "ASGD": "lr=0.01", "LBFGS": "lr=0.1,max_iter=3", "Adafactor": "lr=0.01",
}  # fmt: skip


def rosenbrock(x: Tensor) -> Tensor:
    return (1 - x[..., 0]) ** 2 + 10 * (x[..., 1] - x[..., 0] ** 2) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_is_the_run_alone(name: str, dtype: torch.dtype, device: torch.device) -> None:
    f = ls.FunctionLandscape(rosenbrock, dim=2)
    X = torch.randn(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(
        device, dtype
    )
    make = makers.maker(f"{name}:{OPTIONS[name]}")
    ensemble = ensembles.Ensemble(X, make, f.many().gradients, f.value)
    assert ensemble.together == (name not in ("LBFGS", "Adafactor"))
    alone = [nn.Parameter(x.clone()) for x in X]
    own = [make([p]) for p in alone]
    for _ in range(60):
        ensemble.step()
        for p, optimizer in zip(alone, own, strict=True):
            # A tensor is what users give back; torch's types ask for a float.
            def closure(p: nn.Parameter = p, optimizer: Any = optimizer) -> Any:
                optimizer.zero_grad()
                loss = rosenbrock(p)
                loss.backward()
                return loss

            optimizer.step(closure)
    apart = float((ensemble.points - torch.stack([p.detach() for p in alone])).abs().max())
    print(f"{name} {dtype}: largest difference {apart:.1e}")
    assert apart <= (1e-4 if dtype is torch.float32 else 1e-12)


def test_events_are_strict_and_counted_from_zero() -> None:
    f = quadratic([-1.0])
    start = torch.tensor([[1.0], [1.0 + 1e-12], [0.5]], dtype=torch.float64)
    study = ls.escape(f, origin(1), ["sgd:lr=1.0"], runs=3, steps=9, start=start)
    assert study["sgd:lr=1.0"].steps.tolist() == [
        1,
        0,
        2,
    ]  # 0.5 doubles to 1.0, which is not outside yet
    falls = ls.escape(
        f, origin(1), ["sgd:lr=1.0"], runs=3, steps=9, start=start, event=ls.FallsBelow(0.5)
    )
    assert falls["sgd:lr=1.0"].steps.tolist() == [1, 0, 2]


def test_only_the_part_within_counts() -> None:
    study = ls.escape(
        quadratic([1.0, -1.0]), origin(2), ["sgd:lr=0.1"], runs=1, steps=300, start=torch.tensor([[5.0, 0.5]]).double(),
        event=ls.LeavesBall(1.0, within=torch.tensor([[0.0], [7.0]]).double()),
    )  # fmt: skip
    assert study["sgd:lr=0.1"].steps.tolist() == [math.ceil(math.log(2) / math.log(1.1))]


def test_a_diverged_run_is_kept_and_disturbs_no_other() -> None:
    f = ls.FunctionLandscape(lambda x: -(x[..., 0] ** 4), dim=1)
    start = torch.tensor([[1e60], [1e-3]], dtype=torch.float64)
    event = ls.LeavesBall(1e300)
    both = ls.escape(
        f, origin(1), ["sgd:lr=0.1,momentum=0.5"], runs=2, steps=80, start=start, event=event
    )
    found = both["sgd:lr=0.1,momentum=0.5"]
    assert found.diverged.tolist() == [True, False]
    assert found.steps.tolist() == [80, 80]
    assert bool(torch.isfinite(found.ends).all())
    alone = ls.escape(
        f, origin(1), ["sgd:lr=0.1,momentum=0.5"], runs=1, steps=80, start=start[1:], event=event
    )
    assert torch.equal(found.ends[1], alone["sgd:lr=0.1,momentum=0.5"].ends[0])


@pytest.mark.slow
def test_underflow_is_called_arithmetic() -> None:
    f = ls.FunctionLandscape(lambda x: -0.5 * x[..., 0] ** 2 * 1e-12 + 0.5 * x[..., 1] ** 2, dim=2)
    start = torch.tensor(
        [[0.1, 0.1], [0.0, 0.1]]
    )  # float32: 0.1 (1 + 1e-13) is 0.1; the second is on the stable manifold
    study = ls.escape(f, torch.zeros(2), ["sgd:lr=0.1"], runs=2, steps=2_000, start=start)
    found = study["sgd:lr=0.1"]
    assert found.stalled.tolist() == [True, True]
    assert "float32" in found.notes[0]
    moving = ls.escape(quadratic([-1e-3]), origin(1), ["sgd:lr=0.1"], runs=1, steps=200, start=0.1)[
        "sgd:lr=0.1"
    ]
    assert moving.stalled.tolist() == [False]
    assert moving.notes == []
    assert moving.median.value == math.inf


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 128])
def test_a_moving_run_is_no_stalled_one(steps: int) -> None:
    study = ls.escape(quadratic([1.0, -1.0]), origin(2), ["sgd:lr=0.001"], 2, steps, 0.1)
    assert study["sgd:lr=0.001"].stalled.tolist() == [False, False]


def test_a_pause_is_no_stall() -> None:
    """A rate that is zero for the last of 65 steps: the run moved before it and would move after it."""
    study = ls.escape(
        quadratic([-1e-3]),
        origin(1),
        ["sgd:lr=0.1"],
        1,
        65,
        0.1,
        schedule="LambdaLR:lr_lambda=0 if t > 63 else 1",
    )
    assert study["sgd:lr=0.1"].stalled.tolist() == [False]


def test_a_rate_of_zero_is_named_as_what_holds_runs() -> None:
    """PolynomialLR ends at zero and stays there; a rate that stays positive lets the same runs leave."""
    over = "PolynomialLR:total_iters=20"
    held, gone = (
        ls.escape(quadratic([-1.0]), origin(1), ["sgd:lr=0.1"], 3, 300, 0.1, schedule=spec)[
            "sgd:lr=0.1"
        ]
        for spec in (over, "ConstantLR:factor=0.5,total_iters=20")
    )
    assert held.stalled.tolist() == [True] * 3
    assert held.notes == [
        "3 of 3 runs stopped: the schedule took their rate to zero, so that they would never leave."
    ]
    assert gone.escaped.tolist() == [True] * 3
    assert gone.notes == []


def test_kaplan_meier_by_hand() -> None:
    """Remission times of Freireich et al. 1963 (the 6-MP arm): median 23 weeks, 95 % interval (log-log scale) from 13 on, open above.

    Limits that hold for few runs reach one event further down at most."""
    times = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35])
    censored = np.array([0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1], dtype=bool)
    median = kaplan_meier_median(times, ~censored)
    assert median.value == 23
    assert times[~censored].searchsorted(median.low) >= times[~censored].searchsorted(13) - 2
    assert median.low <= 13
    assert median.high == math.inf


def test_without_censoring_the_median_is_that_of_the_sample() -> None:
    """The lower of the two middle times of an even number, where the survival is 1/2 up to rounding."""
    rng = np.random.default_rng(0)
    for count in range(1, 300):
        times = rng.integers(1, 40 if count % 3 else 10**6, size=count)
        median = kaplan_meier_median(times, np.ones(count, dtype=bool))
        assert median.value == np.sort(times)[(count - 1) // 2]
        assert median.low <= median.value <= median.high


def test_a_schedule_is_used_in_runs() -> None:
    """x <- (1 + lr_t) x with lr 1 for two steps, then 0.5: 0.1 passes 1 after 0.2, 0.4, 0.6, 0.9, 1.35."""
    start = torch.tensor([[0.1]]).double()
    study = ls.escape(
        quadratic([-1.0]),
        origin(1),
        ["sgd:lr=1.0"],
        1,
        50,
        start,
        schedule="MultiStepLR:milestones=[2],gamma=0.5",
    )
    assert study["sgd:lr=1.0"].steps.tolist() == [5]


def test_own_optimisers_by_label_and_one_seed_one_answer(tmp_path: Path) -> None:
    makers: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        "mine": lambda p: torch.optim.Adam(p, lr=0.01)
    }
    before = torch.get_rng_state()
    first, again = (
        ls.escape(quadratic([1.0, -1.0]), origin(2), makers, 8, 300, noise="isotropic:0.1", seed=4)
        for _ in range(2)
    )
    other = ls.escape(
        quadratic([1.0, -1.0]), origin(2), makers, 8, 300, noise="isotropic:0.1", seed=5
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first["mine"].steps, again["mine"].steps)
    assert not torch.equal(first["mine"].ends, other["mine"].ends)
    torch.testing.assert_close(first.starts.norm(dim=1), torch.full((8,), 1e-3).double())
    first.save(tmp_path)
    assert torch.equal(ls.load(tmp_path)["mine"].steps, first["mine"].steps)


def network(dtype: torch.dtype, device: torch.device) -> ls.ModelLandscape:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Tanh(), nn.Linear(2, 1, bias=False)).to(
        device, dtype
    )
    x = torch.randn(24, 3).to(device, dtype)
    y = x[:, :1] - x[:, 1:2]
    return ls.ModelLandscape(
        model, nn.functional.mse_loss, [(x[:16], y[:16]), (x[16:], y[16:])], l2={"0.weight": 0.1}
    )


def test_gradients_of_many_points_are_those_of_each(
    dtype: torch.dtype, device: torch.device
) -> None:
    f = network(dtype, device)
    X = torch.randn(4, f.dim, dtype=torch.float64).to(device, dtype)
    torch.testing.assert_close(f.many().gradients(X), f.gradient(X))
    torch.testing.assert_close(f.many().values(X), f.value(X))


@pytest.mark.slow
def test_rows_hold_one_micro_batch_and_some_rows_at_a_time() -> None:
    """What autograd saves of 8 micro-batches is freed one by one; the plane's rows go in parts."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 6), torch.randn(64, 1)
    graphs: list[weakref.ref[Tensor]] = []
    alive = [0]

    def pack(t: Tensor) -> Tensor:
        graphs.append(weakref.ref(t))
        alive[0] = max(alive[0], sum(g() is not None for g in graphs))
        return t

    def loss(output: Tensor, target: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            return nn.functional.mse_loss(output, target)

    batches = list(zip(x.split(8), y.split(8), strict=True))
    f = ls.ModelLandscape(nn.Linear(6, 1), loss, batches, reduction="mean")
    X = torch.randn(600, f.dim)
    graphs.clear()
    alive[0] = 0
    f.many().gradients(X[:3])
    assert len(graphs) >= 8
    assert alive[0] < len(graphs) / 4
    sizes: list[int] = []
    hook = f.model.register_forward_hook(
        lambda *out: sizes.append(torch._C._functorch.get_unwrapped(out[2]).numel())
    )
    found = rows_of.values_in_parts(f, X)
    hook.remove()
    torch.testing.assert_close(found, f.value(X))
    assert max(sizes) == 8 * rows_of.TOGETHER


def test_rows_of_a_network_share_its_passes() -> None:
    """As many calls of the module for 16 runs as for 2: one for a step's gradients, one a batch for the event."""
    f, calls = network(torch.float64, torch.device("cpu")), []
    f.model.register_forward_hook(lambda *_: calls.append(1))
    counts = []
    for runs in (2, 16):
        calls.clear()
        ls.escape(
            f,
            f.point(),
            ["sgd:lr=0.1"],
            runs,
            10,
            event=ls.FallsBelow(9.0),
            noise="minibatch:4",
            theory=False,
        )
        counts.append(len(calls))
    assert (
        counts[0] == counts[1] <= 10 * (1 + 2) + 8
    )  # two batches a value; the level, and the origin's fingerprint


@pytest.mark.parametrize("margin", [0.0, 1e-3])
def test_the_very_point_has_not_fallen_below_itself(margin: float, dtype: torch.dtype) -> None:
    """A value of many rows may differ from that of one in the last bits, which a margin of zero would see."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)
    f = ls.ModelLandscape(
        model,
        nn.functional.cross_entropy,
        [(torch.randn(50, 6, dtype=dtype), torch.randint(3, (50,)))],
    )
    holds = ls.FallsBelow(margin).holds(f, f.point())
    for runs in (1, 7, 64):
        assert not bool(holds(f.point().expand(runs, -1)).any())


@pytest.mark.parametrize(("size", "samples"), [(2, 5), (4, 5), (1, 3), (3, 9)])
def test_every_set_of_samples_is_as_likely(size: int, samples: int, device: torch.device) -> None:
    drawn = (
        noises.lots(40_000, size, samples, torch.Generator(device).manual_seed(0))
        .cpu()
        .sort(dim=1)
        .values
    )
    sets, counts = drawn.unique(dim=0, return_counts=True)
    number = math.comb(samples, size)
    assert len(sets) == number
    assert bool((sets.diff(dim=1) > 0).all())
    expected = 40_000 / number
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert chi2 < number - 1 + 5 * math.sqrt(2 * number)


def test_minibatches_are_samples_of_the_gradient(device: torch.device) -> None:
    """All samples: the gradient itself. Five of 24 without replacement: its mean, with the covariance of finite sampling."""
    f = network(torch.float64, device)
    x, seed = f.point(), np.random.SeedSequence(0)
    whole = noises.minibatch(f, 24, seed)(x[None])
    torch.testing.assert_close(whole[0], f.gradient(x))
    drawn = noises.minibatch(f, 5, seed)(x.expand(20_000, -1)).cpu()
    data, target = (torch.cat(parts) for parts in zip(*f.batches, strict=True))
    single = torch.stack([
        ls.ModelLandscape(f.model, nn.functional.mse_loss, [(a[None], b[None])], l2=f.l2).gradient(x)
        for a, b in zip(data, target, strict=True)
    ]).cpu()  # fmt: skip
    covariance = torch.cov(single.T) * (1 / 5) * (1 - 5 / 24)
    assert (
        float((drawn.mean(0) - single.mean(0)).norm())
        < 5 * float(covariance.trace() / 20_000) ** 0.5
    )
    assert float((torch.cov(drawn.T) - covariance).norm() / covariance.norm()) < 0.05


@pytest.mark.slow
def test_noise_has_the_covariance_of_the_hessian(device: torch.device) -> None:
    """Absolute values of the eigenvalues over the size, where the run is: of a cubic saddle's bent axes, and of a network."""
    cubic = ls.FunctionLandscape(
        lambda x: x[..., 0] ** 2 + 3 * x[..., 0] * x[..., 1] - x[..., 1] ** 3, dim=2
    )
    at = torch.tensor([0.3, 0.5], dtype=torch.float64)
    for f, x in (
        (cubic, at),
        (network(torch.float64, device), network(torch.float64, device).point()),
    ):
        w, V = torch.linalg.eigh(ls.Hessian(f, x).dense().cpu())
        assert float(w[0]) < 0 < float(w[-1])
        drawn = noises.hessian(f, 5.0, np.random.SeedSequence(1), x.device)(
            x.expand(20_000, -1)
        ).cpu()
        wanted = V * w.abs() @ V.T / 5
        assert (
            float((drawn.mean(0) - f.gradient(x).cpu()).norm())
            < 5 * float(wanted.trace() / 20_000) ** 0.5
        )
        assert float((torch.cov(drawn.T) - wanted).norm() / wanted.norm()) < 0.05
    with pytest.raises(ValueError, match="up to 64 variables, this has 65"):
        noises.noise(quadratic([1.0] * 65), "hessian:4", np.random.SeedSequence(0), at.device)


@pytest.mark.slow
def test_a_network_leaves_its_saddle_at_the_predicted_rate(device: torch.device) -> None:
    """A tanh net at zero: the unstable part grows by 1 + lr |lambda| a step, and mini-batches get it out too."""
    f = network(torch.float64, device)
    at = torch.zeros(f.dim, dtype=torch.float64, device=device)
    values, V = torch.linalg.eigh(ls.Hessian(f, at).dense())
    assert float(values[0]) < -0.1
    start = (1e-6 * V[:, 0]).expand(3, -1).clone()
    study = ls.escape(
        f, at, ["sgd:lr=0.2", "adam:lr=0.01"], 3, 400, start, ls.LeavesBall(1e-3, within=V[:, :1])
    )
    exact = math.log(1e3) / math.log(1 - 0.2 * float(values[0]))
    assert abs(int(study["sgd:lr=0.2"].steps[0]) - exact) <= 1.01
    assert bool(study["adam:lr=0.01"].escaped.all())
    noisy = ls.escape(f, at, ["sgd:lr=0.2"], 16, 65, 0.0, ls.FallsBelow(0.05), noise="minibatch:4")
    assert not bool(
        noisy["sgd:lr=0.2"].escaped.any()
    )  # every sample's gradient is zero at the origin: noise vanishes with it
    pushed = ls.escape(
        f, at, ["sgd:lr=0.2"], 16, 600, 1e-3, ls.FallsBelow(0.05), noise="minibatch:4"
    )
    assert bool(pushed["sgd:lr=0.2"].escaped.all())
    assert torch.equal(f.point(), network(torch.float64, device).point())


def test_every_tensor_names_its_device() -> None:
    f, at = quadratic([1.0, -1.0]), origin(2)
    torch.set_default_device("meta")
    try:
        ls.escape(f, at, ["sgd:lr=0.1"], 3, 70, noise="isotropic:0.1")
        ls.schedule_curve("StepLR:step_size=2", 0.1, 3)
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizers": ["sdg:lr=0.1"]}, "no optimiser is called 'sdg'. Did you mean 'sgd'"),
        ({"optimizers": ["sgd:lrr=0.1"]}, "no option 'lrr'. Did you mean 'lr'"),
        ({"optimizers": ["sgd:lr=-1"]}, "Invalid learning rate"),
        ({"optimizers": ["sgd:lr=fast"]}, "sgd: lr must be a number, got 'fast'"),
        ({"optimizers": ["sgd:lr=NaN"]}, "sgd: lr must be a number, got nan"),
        (
            {"optimizers": ["sgd:lr=0.1,momentum=0.9,nesterov=yes"]},
            "nesterov must be true or false, got 'yes'",
        ),
        ({"optimizers": ["adam:betas=0.9"]}, "betas must be a list of numbers"),
        ({"schedule": "StepLR:step_size=0"}, "'StepLR:step_size=0': integer modulo by zero"),
        ({"optimizers": ["muon"]}, "takes matrices only"),
        ({"optimizers": []}, "optimizers is empty"),
        ({"noise": "isotropc:1"}, "Did you mean 'isotropic'"),
        ({"noise": "minibatch:4"}, "needs a model's landscape"),
        ({"event": "ball"}, "event must be LeavesBall"),
        ({"start": -1.0}, "distance of at least 0"),
        ({"start": torch.zeros(3, 2)}, "displacements"),
        ({"at": torch.tensor([math.nan, 0.0])}, "not finite"),
        ({"runs": 0}, "runs must be a whole number of at least 1"),
        ({"schedule": "StepLr:stepsize=3"}, "no option 'stepsize'. Did you mean 'step_size'"),
        ({"schedule": "ReduceLROnPlateau"}, "needs one loss"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_bad_input_is_named(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "at": origin(2),
        "optimizers": ["sgd:lr=0.1"],
        "runs": 2,
        "steps": 3,
    } | options
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        ls.escape(quadratic([1.0, -1.0]), **given)


class Branching(nn.Module):
    """Looks at a number on the way, which vmap does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return y if y.sum().item() < 1e9 else 2 * y


@pytest.mark.slow
def test_a_model_that_vmap_refuses_goes_row_by_row() -> None:
    x, y = torch.randn(8, 3).double(), torch.randn(8, 1).double()
    f = ls.ModelLandscape(
        Branching().double(), nn.functional.mse_loss, [(x[:5], y[:5]), (x[5:], y[5:])]
    )
    X = torch.randn(3, f.dim).double()
    torch.testing.assert_close(f.many().gradients(X), f.gradient(X))
    torch.testing.assert_close(f.many().values(X), f.value(X))
    torch.testing.assert_close(noises.minibatch(f, 8, np.random.SeedSequence(0))(X), f.gradient(X))
    study = ls.escape(f, X[0], ["sgd:lr=0.1", "lbfgs:lr=0.1"], 2, 3, noise="minibatch:2")
    assert bool(torch.isfinite(study["sgd:lr=0.1"].ends).all())


def test_a_model_that_raises_is_named_all_the_same() -> None:
    x, y = torch.randn(8, 2).double(), torch.randn(8, 1).double()
    model = nn.Linear(2, 1).double()

    def broken(output: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("no such luck")

    f = ls.ModelLandscape(model, broken, [(x, y)])
    with pytest.raises(ls.LoadingError, match="no such luck"):
        f.many().gradients(f.point()[None])
    detached = ls.ModelLandscape(model, lambda o, t: (o.detach() - t).square().mean(), [(x, y)])
    with pytest.raises(ls.LoadingError, match="detached"):
        detached.many().gradients(f.point()[None])
