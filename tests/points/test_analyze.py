"""The whole report, each part against dense linear algebra or resampled data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import plain_loss, problem
from torch import Tensor, nn

import landscape as ls
from landscape.core import silent
from landscape.points.analyze import sampling_errors
from landscape.points.checks import Status
from landscape.points.polish import polish
from landscape.points.walk import Outcome
from landscape.results import origin
from landscape.results.statistics import sampling_spread


def dense_truth(kind: str, seed: int) -> tuple[ls.ModelLandscape, Tensor, Tensor]:
    net = problem(kind, seed)
    objective, point = plain_loss(net)
    H = torch.autograd.functional.hessian(objective, point)
    f = ls.ModelLandscape(net.model, net.loss, net.batches(4), l2=net.l2 or None)
    return f, 0.5 * (H + H.T), torch.func.grad(objective)(point)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_the_report_against_dense_linear_algebra(method: str) -> None:
    f, H, g = dense_truth("encoder", seed=1)
    report = ls.analyze(f, method=method, largest=4, smallest=3, max_products=400, seed=3)
    values = torch.linalg.eigvalsh(H)
    point = report.point
    assert (report.parameters, report.samples) == (f.dim, 23)
    assert point.gradient_norm == pytest.approx(float(g.norm()), rel=1e-10)
    assert (point.pairs.values[-4:] - values[-4:]).abs().max() <= point.pairs.bounds[-4:].max()
    assert (point.pairs.values[:3] - values[:3]).abs().max() <= point.pairs.bounds[:3].max()
    truth = float(H.trace())
    assert report.trace is not None
    assert report.density is not None
    assert (
        report.trace.low <= truth <= report.trace.high
        or abs(report.trace.value - truth) <= 3 * report.trace.error
    )
    for k in (1, 2, 3):
        moment = report.density.moment(k)
        assert abs(moment.value - float((values**k).mean())) <= 4 * moment.error + 1e-12
    for level in (-0.2, 0.1, 1.0):
        count = report.density.count(level, float("inf"))
        assert count.low <= int((values >= level).sum()) <= count.high
    assert sum(layer.parameters for layer in report.layers) == f.dim
    assert {layer.name for layer in report.layers} >= {"head", "layer.norm1", "layer.self_attn"}
    for layer in report.layers:
        own = [
            i
            for k, s in f.layout.items()
            if k.rpartition(".")[0] == layer.name
            for i in range(s.start, s.stop)
        ]
        block = torch.linalg.eigvalsh(H[own][:, own])
        assert layer.gradient_norm == pytest.approx(float(g[own].norm()), rel=1e-10)
        assert abs(layer.largest.value - float(block[-1])) <= layer.largest.bound + 1e-12
        assert abs(layer.smallest.value - float(block[0])) <= layer.smallest.bound + 1e-12
    assert report.products > 0
    assert {c.name: c.status for c in report.checks}["kernels"] is Status.NOTE


class Scaled(nn.Module):
    """Two layers, of which what the second one sees is scaled; it counts the passes in float64."""

    passed = 0  # of all copies

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.first, self.last = scale, nn.Linear(6, 30), nn.Linear(30, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        Scaled.passed += x.dtype == torch.float64
        hidden = self.first(x).tanh()
        out: Tensor = hidden[:, :3] + self.last(self.scale * hidden)
        return out


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_layers_share_what_is_known_of_rounding(scale: float) -> None:
    """In float32, the last layer's block as large as the other or so small that the other's rounding would
    be felt in it: bounds hold against dense blocks in float64, of which the first takes no pass."""
    torch.manual_seed(0)
    x, y = torch.randn(60, 6), torch.randn(60, 3)
    batches = list(zip(x.split(30), y.split(30), strict=True))
    f = ls.ModelLandscape(Scaled(scale), F.mse_loss, batches)
    passes = []
    for layers in (False, True):
        Scaled.passed = 0
        report = ls.analyze(f, method="lanczos", probes=2, steps=5, layers=layers)
        passes.append(Scaled.passed)
    assert passes[0] > 0
    assert (passes[0] == passes[1]) == (scale == 1.0)
    truth = ls.Hessian(f.astype(torch.float64), f.point().double()).dense()
    for layer, own in zip(report.layers, (slice(210), slice(210, 300)), strict=True):
        block = torch.linalg.eigvalsh(truth[own, own])
        assert abs(layer.largest.value - float(block[-1])) <= layer.largest.bound
        assert abs(layer.smallest.value - float(block[0])) <= layer.smallest.bound
        assert layer.largest.bound <= 0.012 * float(block[-1])


@pytest.mark.slow
def test_slices_pass_through_the_loss_and_follow_the_parabola() -> None:
    f, H, g = dense_truth("tanh-mlp", seed=0)
    report = ls.analyze(f)
    x, loss = f.point(), float(f.value(f.point()))
    for cut, column in zip(report.slices, (-1, 0), strict=True):
        v = torch.linalg.eigh(H)[1][:, column]
        assert cut.curvature == pytest.approx(float(v @ H @ v), rel=1e-8)
        assert abs(cut.slope) == pytest.approx(float((g @ v).abs()), rel=1e-6)
        middle = len(cut.t) // 2
        assert cut.t[middle] == 0
        assert float(cut.values[middle]) == pytest.approx(loss, rel=1e-12)
        w = report.point.pairs.vectors[:, column]
        assert float(cut.values[3]) == pytest.approx(float(f.value(x + cut.t[3] * w)), rel=1e-12)
        assert torch.equal(
            cut.predicted, report.point.value + cut.slope * cut.t + 0.5 * cut.curvature * cut.t**2
        )


class Passing(nn.Module):
    """A layer that counts its passes; ``alone``: whether it looks at numbers, which no pass of many points can."""

    passes = 0  # a module's own attributes begin anew with every pass

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone, self.layer = alone, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        Passing.passes += 1
        out: Tensor = self.layer(x).tanh()
        return out if not self.alone or float(out.detach().sum()) < 1e9 else 2 * out


@pytest.mark.parametrize("alone", [False, True])
def test_slices_of_a_small_net_take_few_passes(alone: bool) -> None:
    """Where a pass of many points is possible; else each point takes one. The values are the same."""
    torch.manual_seed(0)
    x, y = torch.randn(20, 4, dtype=torch.float64), torch.randint(3, (20,))
    model = Passing(alone).double()
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    seen: list[int] = []

    def note(stage: str, done: int, total: int | None) -> None:
        seen.extend([Passing.passes] * (stage == "slices"))

    report = ls.analyze(f, layers=False, progress=note)
    passes = seen[1] - seen[0]  # those of the first slice
    assert passes >= 41 if alone else 1 <= passes <= 5, passes
    for cut, column in zip(report.slices, (-1, 0), strict=True):
        v = report.point.pairs.vectors[:, column]
        values = torch.stack([f.value(f.point() + t * v) for t in cut.t])
        assert torch.allclose(cut.values, values, rtol=1e-12, atol=0)


@pytest.mark.slow
def test_data_sampling_errors_against_a_bootstrap() -> None:
    torch.manual_seed(1)
    samples = 400
    x = torch.randn(samples, 4, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    singles = list(zip(x.split(1), y.split(1), strict=True))
    f = ls.ModelLandscape(model, F.cross_entropy, singles, l2={"*": 0.05})
    H = ls.Hessian(f)
    pairs = ls.eigsh(H, largest=4, smallest=2, tol=1e-8)
    stated = sampling_spread(*H.quadratic_forms(pairs.vectors)).errors
    # raised where a neighbour is as near, and else the same
    raised = sampling_errors(H, pairs)
    assert (raised >= stated).all()
    assert torch.equal(raised[[2, 5]], stated[[2, 5]])
    each = torch.stack(
        [ls.Hessian(ls.ModelLandscape(model, F.cross_entropy, [b])).dense() for b in singles]
    )
    rng = np.random.default_rng(0)
    decay = 0.05 * torch.eye(f.dim, dtype=torch.float64)
    replicates = []
    for _ in range(400):
        counts = torch.from_numpy(rng.multinomial(samples, [1 / samples] * samples).astype(float))
        values = torch.linalg.eigvalsh(torch.einsum("b,bij->ij", counts / samples, each) + decay)
        replicates.append(torch.cat([values[:2], values[-4:]]))
    bootstrap = torch.stack(replicates).std(0)
    torch.testing.assert_close(
        stated, bootstrap, rtol=0.25, atol=0
    )  # 400 replicates know a deviation to 4 %, the rest is second order
    coarse = ls.ModelLandscape(
        model, F.cross_entropy, list(zip(x.split(8), y.split(8), strict=True)), l2={"*": 0.05}
    )
    torch.testing.assert_close(
        sampling_spread(*ls.Hessian(coarse).quadratic_forms(pairs.vectors)).errors,
        bootstrap,
        rtol=0.5,
        atol=0,
    )  # 50 batches: 10 % each


def test_one_batch_has_no_sampling_error() -> None:
    net = problem("regression")
    report = ls.analyze(ls.ModelLandscape(net.model, net.loss, [net.batch]))
    assert report.sampling_errors.isnan().all()


@pytest.mark.slow
def test_a_report_is_stored_and_comes_back(tmp_path: Path) -> None:
    net = problem("gru")
    f = ls.ModelLandscape(net.model, net.loss, net.batches(5))
    before = {k: v.clone() for k, v in net.model.state_dict().items()}
    with origin("my gru", {"model": "gru", "probes": 5}, ("a note",)):
        report = ls.analyze(f, seed=7)
    loaded = ls.load(report.save(tmp_path / "run"))
    assert isinstance(loaded, ls.points.AnalysisReport)
    assert loaded.point.kind == report.point.kind
    assert torch.equal(loaded.point.pairs.vectors, report.point.pairs.vectors)
    assert loaded.density is not None
    assert report.density is not None
    assert torch.equal(loaded.density.nodes, report.density.nodes)
    assert loaded.density.count(0, 1) == report.density.count(0, 1)
    assert loaded.checks == report.checks
    assert loaded.layers == report.layers
    assert loaded.provenance == report.provenance
    assert (loaded.provenance.name, loaded.provenance.seed, loaded.notes) == (
        "my gru",
        7,
        ("a note",),
    )
    assert all(torch.equal(v, before[k]) for k, v in net.model.state_dict().items())
    again = ls.analyze(f, seed=7)
    assert torch.equal(
        again.point.eigenvalues, report.point.eigenvalues
    )  # the same seed, the same numbers
    assert again.density is not None
    assert again.density.nodes.tolist() == report.density.nodes.tolist()


def test_provenance_changes_with_model_and_data() -> None:
    net = problem("regression")
    f = ls.ModelLandscape(net.model, net.loss, net.batches(5))
    first = f.fingerprint()
    assert first == f.fingerprint()
    with torch.no_grad():
        net.model.get_parameter("0.bias")[0] += 1
    moved = f.fingerprint()
    assert moved[0] != first[0]
    assert moved[1] == first[1]
    net.batch[1][3, 0] += 1
    assert f.fingerprint()[1] != first[1]


def test_a_formula_is_analysed_too(dtype: torch.dtype, device: torch.device) -> None:
    f = ls.FunctionLandscape(
        lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + x[..., 2] ** 4, dim=3, name="saddle"
    )
    report = ls.analyze(f, at=torch.zeros(3, dtype=dtype, device=device))
    assert (report.name, report.point.kind, report.point.index, report.point.nullity) == (
        "saddle",
        "saddle",
        1,
        1,
    )
    assert report.layers == ()
    assert any("way down" in line for line in report.advice)


@pytest.mark.slow
def test_advice_names_what_was_found() -> None:
    f, H, _ = dense_truth("relu-mlp", seed=0)
    stable = 2 / float(torch.linalg.eigvalsh(H)[-1])
    optimizer = torch.optim.SGD(f.model.parameters(), lr=100 * stable)
    report = ls.analyze(f, optimizer=optimizer)
    assert report.room is not None
    assert report.room.value == pytest.approx(0.01, rel=1e-9)
    advised = 100 * stable * report.room.advised
    assert advised <= 100 * stable * report.room.low
    assert report.advice[0].startswith(f"lower SGD's rate of {100 * stable:.3g} to {advised:.3g}")
    assert report.advice[1].startswith("train on")
    assert any(line.startswith("kinks") for line in report.advice) == (
        {c.name: c.status for c in report.checks}["kinks"] is Status.WARNING
    )


@pytest.mark.slow
def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    stages: list[str] = []
    f, _, _ = dense_truth("regression", seed=0)
    ls.analyze(f, progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages))[:2] == ["checks", "dense Hessian"]
    assert {"density", "layers", "slices"} <= set(stages)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_nothing_is_made_on_the_default_device(method: str) -> None:
    """What would land on the wrong device of a GPU machine lands on meta here, and fails at once."""
    f, _, _ = dense_truth("batch-norm", seed=1)
    flat = ls.FunctionLandscape(lambda x: x[..., 0] ** 2 + x[..., 1] ** 4, dim=2)
    at = torch.zeros(2, dtype=torch.float64)
    with torch.device("meta"):
        ls.analyze(f, method=method, max_products=200)
        ls.classify(flat, at, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton-mr", "saddle-free"])
def test_a_polished_point_is_stationary_and_the_model_stays(method: str, tmp_path: Path) -> None:
    net = problem("tanh-mlp")
    f = ls.ModelLandscape(net.model, net.loss, net.batches(4), l2={"*": 0.05})
    before = f.point()
    value, slope = float(f.value(before)), float(f.gradient(before).norm())
    report = ls.analyze(f, polish=method)
    polish = report.polish
    assert polish is not None
    assert torch.equal(f.point(), before)
    assert report.point.kind in ("minimum", "saddle")
    assert polish.outcome.name == "STATIONARY"
    assert polish.distance == pytest.approx(float((report.point.x - before).norm()), rel=1e-9)
    assert polish.relative_distance == pytest.approx(
        polish.distance / float(before.norm()), rel=1e-9
    )
    assert (polish.value_before, polish.gradient_norm_before) == pytest.approx(
        (value, slope), rel=1e-9
    )
    assert polish.value == report.point.value == pytest.approx(float(f.value(report.point.x)))
    assert polish.gradient_norm < 1e-10 < slope
    loaded = ls.load(report.save(tmp_path / "run"))
    assert loaded.polish == polish
    assert ls.analyze(f).polish is None


def test_a_point_that_cannot_be_polished_is_analysed_where_it_ended() -> None:
    f = ls.FunctionLandscape(lambda x: (x + x**3 / 3).sum(-1), dim=1)
    report = ls.analyze(f, at=torch.tensor([1.5], dtype=torch.float64), polish="newton-mr")
    assert report.polish is not None
    assert report.polish.outcome.name == "GRADIENT_FLAT"
    assert report.point.kind == "not-stationary"
    assert abs(float(report.point.x)) < 0.02
    with pytest.raises(ValueError, match="needs index="):
        ls.analyze(f, at=torch.tensor([1.5]), polish="eigenvector-following")


class Gcn(nn.Module):
    """Two graph convolutions on a club of 34 in four groups, 316 parameters."""

    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        groups = torch.arange(34) % 4
        often = torch.where(groups[:, None] == groups, 0.35, 0.05)
        links = (torch.rand(34, 34) < often).triu(1).double()
        links = links + links.T + torch.eye(34)
        scale = links.sum(1).rsqrt()
        self.links = scale[:, None] * links * scale
        self.a, self.b, self.bend = nn.Linear(34, 8).double(), nn.Linear(8, 4).double(), bend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.links @ self.b(self.bend(self.links @ self.a(x)))
        return out


def gcn(bend: Callable[[Tensor], Tensor], decay: float) -> ls.ModelLandscape:
    nodes, groups = torch.eye(34, dtype=torch.float64), torch.arange(34) % 4
    return ls.ModelLandscape(
        Gcn(bend), nn.functional.cross_entropy, [(nodes, groups)], l2={"*": decay}
    )


def held_up(gap: float, bend: float, spread: float) -> ls.FunctionLandscape:
    """g = x ((x - 2)^2 + gap) beside a few wells: |g| has a minimum near x = 2 where g is not zero."""

    def f(x: torch.Tensor) -> torch.Tensor:
        a, rest = x[..., 0], x[..., 1:]
        slope = a**4 / 4 - 4 * a**3 / 3 + (4 + gap) * a**2 / 2
        return slope + bend * (rest**2).sum(-1) + spread * (a * rest[..., 0]).sin()

    return ls.FunctionLandscape(f, dim=4)


@pytest.mark.parametrize(
    ("gap", "bend", "spread"),
    [(0.2, 1.0, 0.0), (0.1, 1.0, 0.0), (0.3, 0.1, 0.0), (0.2, 10.0, 0.1), (0.2, 2.0, 0.01)],
)
def test_where_newton_is_held_up_descent_goes_on(gap: float, bend: float, spread: float) -> None:
    f = held_up(gap, bend, spread)
    at = torch.tensor([2.6, 0.3, -0.2, 0.1], dtype=torch.float64)
    alone = ls.find_stationary(f, at, "newton-mr")
    assert alone.kind == "not-stationary"
    report = ls.analyze(f, at, polish="newton-mr")
    polish = report.polish
    assert polish is not None
    assert (polish.outcome.name, report.point.kind) == ("STATIONARY", "minimum")
    assert "L-BFGS" in polish.method
    assert polish.gradient_norm < 1e-10
    assert polish.distance == pytest.approx(float((report.point.x - at).norm()), rel=1e-9)
    assert polish.gradient_norm_before == pytest.approx(float(f.gradient(at).norm()))


@pytest.mark.slow
def test_a_graph_network_gets_to_its_stationary_point() -> None:
    """Newton-MR alone spends 33,600 products here and is left with a gradient of 4e-6."""
    f = gcn(F.softplus, 1e-5)
    optimizer = torch.optim.Adam(f.model.parameters(), lr=0.02)
    for _ in range(200):
        slope = f.gradient(f.point())
        for name, p in f.model.named_parameters():
            p.grad = slope[f.layout[name]].view_as(p).clone()
        optimizer.step()
    walk, how = polish(f, None, "newton-mr", seed=0, progress=silent)
    assert walk.stop is Outcome.STATIONARY
    assert float(f.gradient(walk.place.x).norm()) < 1e-12
    assert "L-BFGS" in how
    assert float(f.value(walk.place.x)) < float(f.value(f.point()))
