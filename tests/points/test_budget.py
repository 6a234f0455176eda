"""A budget of seconds: what is said by then holds, what is left out is named, and the rest goes on from there."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.points.analyze import AnalysisReport
from landscape.points.crowds import between, conservative
from landscape.results.journal import Journal, flush, keeping
from landscape.results.statistics import Spread


def net(width: int = 16) -> ls.ModelLandscape:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3)).double()
    x, y = torch.randn(40, 5, dtype=torch.float64), torch.randint(3, (40,))
    return ls.ModelLandscape(
        model, nn.functional.cross_entropy, list(zip(x.split(10), y.split(10), strict=True))
    )


NOW = [0.0]


class Tick(torch.autograd.Function):
    """The identity; each pass, forward or backward, takes 4 ms of a clock that no machine slows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        NOW[0] += 0.004
        return x.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        ticked: torch.Tensor = Tick.apply(gradients[0])
        return ticked


class Ticking(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ticked: torch.Tensor = Tick.apply(x)
        return ticked


def test_without_a_budget_nothing_is_open_and_every_stage_is_told() -> None:
    report = ls.analyze(net(), method="lanczos", largest=2, smallest=2, probes=2, steps=5)
    assert report.unfinished == ()
    assert [stage.name for stage in report.stages] == [
        *("checks", "ends", "sampling errors", "density", "trace", "layers", "slices")
    ]
    assert sum(stage.products for stage in report.stages) == report.products
    assert sum(stage.seconds for stage in report.stages) <= report.seconds


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.05, 0.6, 1.5])
def test_what_is_said_by_then_holds(budget: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = net()
    model = nn.Sequential(plain.model, Ticking())
    f = ls.ModelLandscape(model, plain.loss, list(plain.batches), name="slow")
    values = torch.linalg.eigvalsh(ls.Hessian(net()).dense())
    NOW[0] = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: NOW[0])
    report = ls.analyze(f, budget=budget)
    took = NOW[0]
    pairs = report.point.pairs
    for value, bound in zip(pairs.values, pairs.residuals, strict=True):
        assert float((values - value).abs().min()) <= float(bound) + 1e-12
    assert float(pairs.values[-1] - pairs.residuals[-1]) <= float(values[-1]) + 1e-12
    low, high = report.point.index_bounds
    # 17 are zero but for rounding: a shift of all logits changes no loss
    assert low <= int((values < -1e-12).sum()) <= high
    # a gradient, a block that says how fast products are, and a few products are spent in any case:
    # some 100 passes
    assert took <= 1.5 * budget + 100 * 0.004
    assert report.unfinished
    assert all("more)" in line for line in report.unfinished)


def test_too_little_time_for_the_checks_is_said() -> None:
    report = ls.analyze(net(), method="lanczos", largest=2, smallest=1, budget=1e-3)
    assert report.checks == ()
    assert any(line.startswith("checks: the numbers hold only if") for line in report.unfinished)
    assert report.density is None
    assert report.trace is None
    assert "unfinished" in str(report)
    loaded = replace(report)
    assert loaded.unfinished == report.unfinished


def test_it_goes_on_from_what_is_known(tmp_path: object) -> None:
    f = net()
    analyze = partial(ls.analyze, method="lanczos", largest=2, smallest=2, probes=3, steps=5)
    whole = analyze(f)
    begun = replace(whole, density=None, trace=None, unfinished=("density (9 s more)",))
    again = analyze(f, known=begun)
    assert again.point is whole.point
    assert again.unfinished == ()
    assert again.density is not None
    assert whole.density is not None
    assert torch.equal(again.density.nodes, whole.density.nodes)
    assert [stage.name for stage in again.stages if stage.products] == ["density", "trace"]
    with pytest.raises(ValueError, match="another point"):
        ls.analyze(f, f.point() + 1, known=begun)


def test_a_budget_is_a_number_of_seconds() -> None:
    with pytest.raises(ValueError, match="budget must be a number of seconds above 0"):
        ls.analyze(net(), budget=0)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_forecast_names_the_stages_and_their_products(method: str) -> None:
    f = net(8)
    told = ls.points.forecast(f, method=method, largest=2, smallest=2, probes=2, steps=5)
    report: AnalysisReport = ls.analyze(f, method=method, largest=2, smallest=2, probes=2, steps=5)
    products = {stage.name: stage.products for stage in told.stages}
    spent = {stage.name: stage.products for stage in report.stages}
    assert products["sampling errors"] == spent["sampling errors"]
    assert spent["density"] <= products.get("density", 0)
    assert products["ends"] / 2 <= spent["ends"] <= 2 * products["ends"]
    assert told.seconds == pytest.approx(sum(stage.seconds for stage in told.stages))
    assert told.product > 0
    assert "within a factor of 2" in str(told)


@pytest.mark.parametrize("batches", [1, 4, 40])
def test_sampling_errors_cost_no_products_of_their_own(batches: int) -> None:
    """What the search's products say of every batch is what products of the vectors found say: of 40
    batches in groups, whose errors are those of so many fewer."""
    plain = net()
    x, y = (torch.cat([pair[i] for pair in plain.batches]) for i in (0, 1))
    parts = list(zip(x.chunk(batches), y.chunk(batches), strict=True))
    f = ls.ModelLandscape(plain.model, plain.loss, parts)
    report = ls.analyze(f, method="lanczos", largest=3, smallest=3, layers=False)
    spent = {stage.name: stage.products for stage in report.stages}
    assert spent.get("sampling errors", 0) == 0
    assert report.sampling_freedom == {1: 0, 4: 3, 40: 31}[batches]
    V = report.point.pairs.vectors
    forms, shares = ls.Hessian(f).quadratic_forms(V)
    groups = torch.arange(batches) * min(batches, 32) // batches
    count = int(groups[-1]) + 1
    parts_of = torch.zeros(count, V.shape[1], dtype=torch.float64).index_add_(0, groups, forms)
    weights = torch.zeros(count, dtype=torch.float64).index_add_(0, groups, shares)[:, None]
    if batches == 1:
        assert report.sampling_errors.isnan().all()
        return
    off = (parts_of - weights * parts_of.sum(0)).square() / weights
    expected = (off.sum(0) / (count - 1)).sqrt()
    assert report.density is not None
    pairs, spread = report.point.pairs, Spread(expected, count - 1, report.sampling_excess)
    expected = conservative(
        pairs.values, pairs.bounds, spread, between(pairs, None, report.density)
    ).errors
    assert torch.allclose(report.sampling_errors, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("products", [8, 30, 120])
def test_a_budget_of_few_products_is_kept(products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, on a clock of passes: the largest eigenvalue has its bound in time, however few
    products fit; what was assumed for want of time is said."""
    plain = net()
    values = torch.linalg.eigvalsh(ls.Hessian(plain).dense())
    model = nn.Sequential(plain.model.float(), Ticking())
    batches = [(x.float(), y) for x, y in plain.batches]
    f = ls.ModelLandscape(model, plain.loss, batches, name="slow")
    budget = products * 2 * len(batches) * 0.004  # two backward passes a batch
    NOW[0] = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: NOW[0])
    report = ls.analyze(f, method="lanczos", budget=budget)
    pairs = report.point.pairs
    # three products are spent in any case
    assert 1.05 * budget + 3 * 2 * len(batches) * 0.004 >= NOW[0]
    off = (values[:, None] - pairs.values).abs().min(0).values
    assert (off <= pairs.residuals + 1e-6).all()
    assert float(pairs.residuals[-1]) < 0.3 * float(values[-1])
    assumed = [line for line in report.unfinished if line.startswith("rounding of products")]
    assert bool(assumed) == (products < 50)
    paced = {stage.name: stage for stage in report.stages}
    assert paced["ends"].products >= 3


@pytest.mark.slow
def test_budgets_one_after_the_other_get_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept takes no time again, and is taken for no sign of fast products: each budget is kept, and
    in the end the report is that of a run without one."""
    plain = net()
    model = nn.Sequential(plain.model, Ticking())
    f = ls.ModelLandscape(model, plain.loss, plain.batches, name="slow")
    analyze = partial(ls.analyze, f, method="lanczos", largest=2, smallest=2, layers=False)
    whole = analyze(probes=2, steps=8)
    NOW[0], product = 0.0, 2 * len(f.batches) * 0.004  # two backward passes a batch
    monkeypatch.setattr(time, "perf_counter", lambda: NOW[0])
    known, spent = None, []
    while known is None or known.unfinished:
        began = NOW[0]
        with keeping(Journal(tmp_path / "kept", {}, resume=True)):
            known = analyze(probes=2, steps=8, budget=48 * product, known=known)
            flush()
        spent.append((NOW[0] - began) / product)
        assert len(spent) < 12, known.unfinished
    assert max(spent) < 1.05 * 48 + 3
    assert len(spent) > 1
    assert torch.equal(known.point.pairs.values, whole.point.pairs.values)
    assert known.point.index_bounds == whole.point.index_bounds
