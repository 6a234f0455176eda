"""What is no landscape's fault is named first, from the trace alone, and not where it is not there."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.training.information import information
from landscape.training.loss_mistakes import softmax_floor
from landscape.training.reading import read

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
LABELS = (X @ torch.randn(6, 4, generator=torch.Generator().manual_seed(1))).argmax(1)
NUMBERS = X[:, :1] - X[:, 1:2]


def net(outputs: int = 4, *last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs), *last)


def traced(
    model: nn.Module,
    loss: Callable[..., Tensor] = F.cross_entropy,
    x: Tensor = X,
    y: Tensor = LABELS,
    *,
    lr: float = 0.1,
    moved: Callable[[nn.Module], Any] = nn.Module.parameters,
    rows: Callable[[int, torch.Generator], Tensor] | None = None,
    before: bool = True,
    backward: bool = True,
    between: Callable[[torch.optim.Optimizer, nn.Module], object] = lambda optimizer, model: None,
) -> ls.training.Diagnosis:
    optimizer = torch.optim.SGD(moved(model), lr=lr)
    f = ls.ModelLandscape(model, loss, [(x[:48], y[:48]), (x[48:], y[48:])])
    draws = torch.Generator().manual_seed(2)
    with ls.Tracer(optimizer, f, every=8, curvature=0, last_look=False) as tracer:
        for step in range(64):
            i = torch.randint(len(x), (16,), generator=draws) if rows is None else rows(step, draws)
            if before:
                optimizer.zero_grad()
            value = loss(model(x[i]), y[i])
            if backward:
                value.backward()
            between(optimizer, model)
            optimizer.step()
    return ls.diagnose(tracer.result)


def first(found: ls.training.Diagnosis) -> tuple[str, str]:
    return found.causes[0].name, str(found.causes[0])


def test_gradients_that_add_up() -> None:
    assert "zero_grad" in first(traced(net(), before=False))[1]
    # accumulated over two passes and then cleared: nothing adds up between steps
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    f = ls.ModelLandscape(model, F.cross_entropy, [(X, LABELS)])
    with ls.Tracer(optimizer, f, every=4, curvature=0, last_look=False) as tracer:
        for _ in range(16):
            for half in (slice(0, 48), slice(48, 96)):
                (F.cross_entropy(model(X[half]), LABELS[half]) / 2).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
    assert tracer.result.loop is not None
    assert tracer.result.loop.carried == [0.0] * 4


@pytest.mark.parametrize("way", ["no backward", "cleared after"])
def test_no_gradient_is_given(way: str) -> None:
    if way == "no backward":
        found = traced(net(), backward=False)
    else:
        found = traced(net(), between=lambda optimizer, model: optimizer.zero_grad())
    name, text = first(found)
    assert name == "loop"
    assert "backward()" in text


def test_what_a_mistake_brings_about_is_not_believed_beside_it() -> None:
    """Where no gradient is given nothing moves, of whatever rate."""
    found = traced(net(), backward=False)
    assert found.causes[0].name == "loop"
    others = [c for c in found.causes[1:] if c.name not in ("loss", "data")]
    assert others
    assert all(c.confidence <= 0.5 for c in others)
    assert any("no mistake of the loop holds the run up 0.50" in str(c) for c in others)


def test_parameters_in_no_group() -> None:
    name, text = first(traced(net(), moved=lambda model: [model.get_submodule("2").bias]))
    assert name == "loop"
    assert "no group" in text
    assert "0.weight, 0.bias, 2.weight, 176 of its 180 parameters" in text


@pytest.mark.filterwarnings("ignore:the tracer goes on")
def test_an_optimiser_of_another_model() -> None:
    """It is traced and diagnosed; the trial with the model's own parameters wins."""
    model, other = net(), net()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    f = ls.ModelLandscape(model, F.cross_entropy, [(X[:48], LABELS[:48]), (X[48:], LABELS[48:])])
    with ls.Tracer(optimizer, f, every=4, curvature=0, last_look=False) as tracer:
        for _ in range(16):
            optimizer.zero_grad()
            F.cross_entropy(model(X), LABELS).backward()
            optimizer.step()
    found = ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=10, seeds=2)
    assert found.causes[0].name == "loop"
    assert "180 of its 180 parameters" in str(found.causes[0])
    assert "Tried: all parameters" in found.causes[0].remedy


def test_layers_that_do_not_learn() -> None:
    """Frozen, cut off from the loss, in a plain list: each is the loop's, where little is gained."""

    class Body(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.how = how
            layer = nn.Linear(6, 2)
            self.layers = [layer] if how == "list" else nn.ModuleList([layer])
            layer.requires_grad_(how != "frozen")

        def forward(self, x: Tensor) -> Tensor:
            h = self.layers[0](x).tanh()
            return h.detach() if self.how == "cut" else h

    y = (X[:, 0] * X[:, 1] > 0).long()
    for how, said in (("frozen", "requires_grad"), ("cut", "detach"), ("list", "ModuleList")):
        torch.manual_seed(0)
        name, text = first(traced(nn.Sequential(Body(how), nn.Linear(2, 2)), y=y))
        assert name == "loop"
        assert said in text


def test_weight_decay_that_pulls_all_to_zero() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=2.0)
    f = ls.ModelLandscape(model, F.cross_entropy, [(X[:48], LABELS[:48]), (X[48:], LABELS[48:])])
    with ls.Tracer(optimizer, f, every=8, curvature=0, last_look=False) as tracer:
        for _ in range(64):
            optimizer.zero_grad()
            F.cross_entropy(model(X), LABELS).backward()
            optimizer.step()
    found = ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=20, seeds=2)
    assert found.causes[0].name == "loop"
    assert "weight_decay=2" in str(found.causes[0])


def test_no_step_is_a_cause() -> None:
    model = net()
    f = ls.ModelLandscape(model, F.cross_entropy, [(X, LABELS)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.Tracer(optimizer, f, every=10, curvature=0, last_look=False) as tracer:
        F.cross_entropy(model(X), LABELS).backward()
    name, text = first(ls.diagnose(tracer.result))
    assert name == "loop"
    assert "step()" in text


def test_the_same_batch() -> None:
    fixed = torch.arange(6)
    name, text = first(traced(net(), rows=lambda step, draws: fixed))
    assert name == "loop"
    assert "same 6 rows" in text
    assert "same" not in "".join(map(str, traced(net()).causes))


def test_weights_that_are_written_back() -> None:
    model = net()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    found = traced(model, between=lambda optimizer, model: model.load_state_dict(start))
    name, text = first(found)
    assert name == "loop"
    assert "at least 100.0% of the step is undone" in text

    def half(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        with torch.no_grad():
            for k, p in model.named_parameters():
                p.lerp_(start[k], 0.5)

    assert "undone" not in "".join(map(str, traced(net(), between=half).causes))


def test_batches_of_one_class_each() -> None:
    def of_one(step: int, draws: torch.Generator) -> Tensor:
        rows = LABELS.eq(step % 4).nonzero()[:, 0]
        return rows[torch.randint(len(rows), (16,), generator=draws)]

    name, text = first(traced(net(), lr=1.0, rows=of_one))
    assert name == "loop"
    assert "shown 1 classes each" in text
    assert "f's samples have 4" in text
    assert "shuffle=True" in text


def test_two_passes_of_one_class_each_make_one_step_of_two() -> None:
    model, two = net(1), (LABELS < 2).float()[:, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    f = ls.ModelLandscape(model, F.binary_cross_entropy_with_logits, [(X, two)])
    with ls.Tracer(optimizer, f, every=4, curvature=0, last_look=False) as tracer:
        for _ in range(16):
            optimizer.zero_grad()
            for label in (0.0, 1.0):
                rows = two[:, 0] == label
                F.binary_cross_entropy_with_logits(model(X[rows]), two[rows]).backward()
            optimizer.step()
    assert tracer.result.loop is not None
    assert set(tracer.result.loop.kinds) == {2}


def test_a_normalisation_of_one_number() -> None:
    name, text = first(traced(net(1, nn.LayerNorm(1)), F.mse_loss, y=NUMBERS))
    assert name == "loss"
    assert "layer_norm is taken over one number" in text
    several = traced(net(4, nn.LayerNorm(4)), lr=0.01)
    assert "one number" not in "".join(map(str, several.causes))


class Rows(nn.Module):
    """A recurrent layer over the columns of a sample, whose batch is first or is not."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = batch_first
        self.layer, self.head = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.view(-1, 3, 2) if self.first else x.view(3, -1, 2).transpose(0, 1)
        return self.head(self.layer(steps)[0][:, -1])


def test_a_model_that_mixes_samples() -> None:
    name, text = first(traced(Rows(False)))
    assert name == "loss"
    assert "the model mixes samples" in text
    assert "batch_first=True" in text
    assert "mixes" not in "".join(map(str, traced(Rows(True)).causes))


@pytest.mark.filterwarnings("ignore:the tracer goes on")
@pytest.mark.parametrize("where", ["inputs", "targets"])
def test_data_that_are_not_finite(where: str) -> None:
    x, y = X.clone(), NUMBERS.clone()
    (x if where == "inputs" else y)[3] = math.nan
    name, text = first(traced(net(1), F.mse_loss, x, y))
    assert name == "data"
    assert f"the {where} of 1 of 96 samples are not all finite" in text


@pytest.mark.filterwarnings("ignore:the tracer goes on")
def test_a_loss_that_is_never_finite_is_not_laid_to_the_rate() -> None:
    def of_root(output: Tensor, target: Tensor) -> Tensor:
        return (output - target - 100).sqrt().mean()

    found = traced(net(1), of_root, y=NUMBERS)
    assert first(found)[0] == "loss"
    assert "before a step was traced" in first(found)[1]
    assert "learning rate" not in {c.name for c in found.causes}


def test_steps_that_are_lost_in_rounding() -> None:
    coarse = traced(net().bfloat16(), x=X.bfloat16(), lr=1e-4)
    name, text = first(coarse)
    assert name == "learning rate"
    assert "the weights are rounded by 0.0039 of their size" in text
    assert "float32" in text
    assert "rounded" not in "".join(map(str, traced(net(), lr=1e-4).causes))


def test_a_promise_is_bounded_by_the_steps_taken() -> None:
    def clip(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1e-4)

    assert "overshoot" not in "".join(map(str, traced(net(), between=clip).causes))


def test_clipping() -> None:
    def clip(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1e-4)

    name, text = first(traced(net(), between=clip))
    assert name == "loop"
    assert "clipped" in text
    assert "norm 0.0001" in text


@pytest.mark.parametrize("scale", [1e-3, 1e-6])
def test_a_loss_that_the_loop_divides(scale: float) -> None:
    def divide(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        for p in model.parameters():
            assert p.grad is not None
            p.grad *= scale

    name, text = first(traced(net(), between=divide))
    assert name == "loop"
    told = float(re.findall(r"or them, by (\S+) or more", text)[0])
    assert 0.2 / scale < told < 1.01 / scale  # batches of 16 have longer gradients than all 96
    assert "divides" not in "".join(map(str, traced(net()).causes))


@pytest.mark.parametrize("power", [1, 2])
def test_a_penalty_of_the_loop_that_pulls_all_to_zero(power: int) -> None:
    def pull(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        torch.stack([p.abs().pow(power).sum() for p in model.parameters()]).sum().backward()

    model = net()
    found = traced(model, lr=0.02, between=pull)
    name, text = first(found)
    assert name == "loop"
    assert "point along the weights" in text
    assert "point along" not in "".join(map(str, traced(net(), lr=0.02).causes))


def test_of_a_penalty_alone_the_gradient_lies_along_the_weights() -> None:
    """That of |w|^2 is 2 w."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    f = ls.ModelLandscape(model, F.mse_loss, [(torch.ones(4, 3), torch.ones(4, 2))])
    with ls.Tracer(optimizer, f, every=4, curvature=0, last_look=False) as tracer:
        for _ in range(8):
            optimizer.zero_grad()
            torch.stack([p.square().sum() for p in model.parameters()]).sum().backward()
            optimizer.step()
    assert tracer.result.loop is not None
    assert tracer.result.loop.along == pytest.approx([1.0] * len(tracer.result.loop.along))
    assert len(tracer.result.loop.along) >= 4


def test_rows_without_a_gradient_are_of_no_class() -> None:
    """Where the outputs are far down, rows of class 0 have a gradient of zero."""
    model, two = net(1), (LABELS < 2).float()[:, None]
    nn.init.constant_(list(model.parameters())[-1], -150.0)
    found = traced(model, F.binary_cross_entropy_with_logits, y=two, lr=0.01)
    assert "classes each" not in "".join(map(str, found.causes))


@pytest.mark.parametrize(
    ("last", "loss", "y", "said"),
    [
        (nn.Softmax(1), F.cross_entropy, LABELS, f"{softmax_floor(4):.4f}"),
        (nn.Softmax(1), nn.CrossEntropyLoss(), LABELS, "before the softmax"),
        (nn.Softmax(0), F.cross_entropy, LABELS, "wrong dimension"),
        (nn.Softmax(1), F.nll_loss, LABELS, "log_softmax"),
        (nn.Sigmoid(), F.cross_entropy, LABELS, "sigmoid"),
        (nn.Sigmoid(), F.binary_cross_entropy_with_logits, F.one_hot(LABELS).float(), "sigmoid"),
        (nn.Flatten(0), F.mse_loss, NUMBERS, "broadcast"),
        (nn.Identity(), lambda o, t: ((o - t) ** 2).mean(), NUMBERS[:, 0], "broadcast"),
        (nn.Sigmoid(), F.mse_loss, 5 * NUMBERS, "targets lie outside"),
    ],
    ids=["softmax", "module", "dim 0", "nll", "sigmoid", "bce", "mse", "own", "reach"],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_mistakes_in_the_loss(
    last: nn.Module, loss: Callable[..., Tensor], y: Tensor, said: str
) -> None:
    outputs = 4 if y.shape == (96, 4) or not y.is_floating_point() else 1
    name, text = first(traced(net(outputs, last), loss, y=y))
    assert name == "loss"
    assert said in text


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (500 * X, LABELS, "Standardise"),
        (X + 300, LABELS, "Standardise"),
        (torch.cat([X[:1].expand(96, 6)]), LABELS, "the same for all samples"),
        (X, LABELS[torch.randperm(96, generator=torch.Generator().manual_seed(3))], "shuffled"),
    ],
    ids=["large", "offset", "constant", "shuffled"],
)
def test_mistakes_in_the_data(x: Tensor, y: Tensor, said: str) -> None:
    found = traced(net(), x=x, y=y)
    assert "data" in [cause.name for cause in found.causes], str(found)
    assert said in next(str(c) for c in found.causes if c.name == "data")


@pytest.mark.parametrize(("loss", "y"), [(F.cross_entropy, LABELS), (F.mse_loss, NUMBERS)])
def test_a_loop_without_a_mistake_has_none(loss: Callable[..., Tensor], y: Tensor) -> None:
    found = traced(net(1 if y.is_floating_point() else 4), loss, y=y)
    assert not {"loop", "loss", "data"} & {c.name for c in found.causes if c.confidence > 0.5}


def test_a_constant_prediction_costs_the_entropy_or_the_variance() -> None:
    counts = torch.bincount(LABELS).double() / 96
    found = read(f := ls.ModelLandscape(net(), F.cross_entropy, [(X, LABELS)]), f.point())
    assert found is not None
    assert found.constant == pytest.approx(-float((counts * counts.log()).sum()), rel=1e-4)
    found = read(f := ls.ModelLandscape(net(1), F.mse_loss, [(X, NUMBERS)]), f.point())
    assert found is not None
    assert found.constant == pytest.approx(float(NUMBERS.var(correction=0)), rel=1e-4)
    assert found.loss == pytest.approx(float(f.value(f.point())), rel=1e-5)


def test_information_is_told_from_chance() -> None:
    """R^2 left out is near 1 for a linear target, and p is uniform for shuffled ones."""
    assert information([X], [NUMBERS]).told > 0.95
    assert information([X], [NUMBERS]).p == pytest.approx(1 / 60)
    draws = torch.Generator().manual_seed(5)
    chances = [
        information([X], [NUMBERS[torch.randperm(96, generator=draws)]]).p for _ in range(20)
    ]
    assert sum(p < 0.05 for p in chances) <= 4  # 20 tosses of 1 in 20: more than 4 once in 400
    assert sum(p > 0.5 for p in chances) >= 4
    assert math.isnan(information([X[:8]], [NUMBERS[:8]]).p)


def test_a_gradient_cleared_when_the_run_has_ended_is_not_one_that_is_missing() -> None:
    """The last record is made after the loop, which clears its gradients at the end of each step."""
    w = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    optimizer = torch.optim.SGD([w], lr=1e-6)
    with ls.Tracer(optimizer, f, every=100) as tracer:
        for _ in range(20):
            f.value(w).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert tracer.result.steps.tolist() == [0, 20]
    assert all(cause.name != "loop" for cause in ls.diagnose(tracer.result).causes)
