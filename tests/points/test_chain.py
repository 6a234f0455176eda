"""Value, gradient and products are those of one function, or a check says which link broke, and no verdict outlives it."""

import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.points.analyze import spectrum
from landscape.points.checks import Status

GENERATOR = torch.Generator().manual_seed(6)
X = torch.randn(30, 3, generator=GENERATOR, dtype=torch.float64)
Y = torch.randint(0, 2, (30,), generator=GENERATOR)


class Swish(torch.autograd.Function):
    """Its gradient is right; its second derivative misses what was kept without a graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.kept = x.detach()
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        s = torch.sigmoid(ctx.kept)
        return slopes[0] * s * (1 + ctx.kept * (1 - s))


class Cube(torch.autograd.Function):
    """x^3, whose backward pass computes in NumPy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.slope = torch.from_numpy(3 * x.detach().numpy() ** 2)
        return x**3

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0] * ctx.slope


class Round(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(8 * x) / 8

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0]


class Doubled(torch.autograd.Function):
    """A gradient that is scaled on its way back: adversarial training's reversal."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return -slopes[0]


class Clipped(torch.autograd.Function):
    """A gradient that is clipped on its way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0].clamp(-1e-3, 1e-3)


class Normalised(torch.autograd.Function):
    """A layer norm whose statistics are kept without a graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        spread = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
        ctx.out, ctx.spread = (x - x.mean(-1, keepdim=True)) * spread, spread
        out: Tensor = ctx.out
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        g, y = slopes[0], ctx.out
        found: Tensor = ctx.spread * (
            g - g.mean(-1, keepdim=True) - y * (g * y).mean(-1, keepdim=True)
        )
        return found


class Near(torch.autograd.Function):
    """tanh, whose second derivative is off by 5 per mille."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        y = ctx.saved_tensors[0].tanh()
        return slopes[0] * (1 - y * (0.99 * y + 0.01 * y.detach()))


def halved(h: Tensor) -> Tensor:
    """A hook scales the gradient."""
    out = torch.tanh(h)
    if out.requires_grad:
        out.register_hook(lambda g: g / 2)
    return out


def fixed_point(h: Tensor) -> Tensor:
    """z = tanh(z / 3 + h), one step of it recorded: its gradient misses what z depends on."""
    with torch.no_grad():
        z = torch.zeros_like(h)
        for _ in range(40):
            z = torch.tanh(z / 3 + h)
    return torch.tanh(z / 3 + h)


def implicit(h: Tensor) -> Tensor:
    """The same, whose gradient a hook makes right, without recording how."""
    z = fixed_point(h)
    if not z.requires_grad:
        return z
    at = z.detach().requires_grad_(True)
    again = torch.tanh(at / 3 + h)

    def solve(g: Tensor) -> Tensor:
        y = g
        for _ in range(40):
            y = torch.autograd.grad(again, at, y, retain_graph=True)[0] + g
        return y

    z.register_hook(solve)
    return z


def focal(output: Tensor, target: Tensor) -> Tensor:
    each = F.cross_entropy(output, target, reduction="none")
    return ((1 - (-each).exp()).detach() ** 2 * each).mean()


class Net(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c, self.between = nn.Linear(3, 6).double(), nn.Linear(6, 2).double(), between

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.between(self.a(x)))


def bootstrapped(output: Tensor, target: Tensor) -> Tensor:
    """A target that is made of the output, and detached."""
    return F.mse_loss(output[:, 0], 0.9 * output[:, 1].detach() + target)


def by_hand(output: Tensor, target: Tensor) -> Tensor:
    """A shift that is learned from the batch under no_grad."""
    with torch.no_grad():
        shift = output.mean()
    return F.cross_entropy(output * (1 + shift.abs()), target)


BROKEN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor], str]] = {
    "a kept intermediate": (Swish.apply, F.cross_entropy, "second derivative"),
    "a backward pass in NumPy": (Cube.apply, F.cross_entropy, "second derivative"),
    "a straight-through estimator": (Round.apply, F.cross_entropy, "gradient is not the loss's"),
    "a reversed gradient": (Doubled.apply, F.cross_entropy, "gradient is not the loss's"),
    "a detached target": (torch.tanh, bootstrapped, "gradient is not the loss's"),
    "a part under no_grad": (torch.tanh, by_hand, "gradient is not the loss's"),
    "detached weights": (torch.tanh, focal, "gradient is not the loss's"),
    "a clipped gradient": (Clipped.apply, F.cross_entropy, "gradient is not the loss's"),
    "a scaled gradient": (halved, F.cross_entropy, "gradient is not the loss's"),
    "one step of a fixed point": (fixed_point, F.cross_entropy, "gradient is not the loss's"),
    "a rounded value": (
        lambda h: h + (torch.round(8 * h) / 8 - h).detach(),
        F.cross_entropy,
        "gradient is not the loss's",
    ),
    "a fixed point by a hook": (implicit, F.cross_entropy, "second derivative"),
    "statistics that are kept": (Normalised.apply, F.cross_entropy, "second derivative"),
    "a second derivative nearly right": (Near.apply, F.cross_entropy, "second derivative"),
    "one unit of six": (
        lambda h: torch.cat([Swish.apply(h[:, :1]), F.silu(h[:, 1:])], 1),
        F.cross_entropy,
        "second derivative",
    ),
    "behind a kink": (lambda h: Swish.apply(F.relu(h)), F.cross_entropy, "second derivative"),
}
SOUND: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "tanh": (torch.tanh, F.cross_entropy),
    "silu": (F.silu, F.cross_entropy),
    "relu": (F.relu, F.cross_entropy),
    "leaky relu": (F.leaky_relu, F.cross_entropy),
    "abs": (torch.abs, F.cross_entropy),
    "hardtanh": (F.hardtanh, F.cross_entropy),
    "huber": (torch.tanh, lambda o, t: F.huber_loss(o[:, 0], t.to(o.dtype))),
    "l1": (torch.tanh, lambda o, t: F.l1_loss(o[:, 0], t.to(o.dtype))),
    "flat": (lambda h: 0 * h, F.cross_entropy),
    "hardswish": (F.hardswish, F.cross_entropy),
    "hard sigmoid": (F.hardsigmoid, F.cross_entropy),
    "clamp": (lambda h: h.clamp(-0.2, 0.2), F.cross_entropy),
    "sorted": (lambda h: h.sort(1)[0], F.cross_entropy),
    "the larger": (lambda h: torch.maximum(h, h.flip(1)), F.cross_entropy),
    "pooled": (lambda h: F.max_pool1d(h[:, None], 2)[:, 0].repeat(1, 2), F.cross_entropy),
    "the largest taken off": (lambda h: h - h.amax(1, keepdim=True), F.cross_entropy),
    "margins": (torch.tanh, lambda o, t: F.multi_margin_loss(o, t)),
    "large": (lambda h: torch.tanh(h), lambda o, t: 1e6 * F.cross_entropy(o, t)),
    "small": (lambda h: torch.tanh(h), lambda o, t: 1e-9 * F.cross_entropy(o, t)),
    "single precision inside": (lambda h: torch.tanh(h.float()).double(), F.cross_entropy),
}


def net(
    between: Callable[[Tensor], Tensor], loss: Callable[..., Tensor], dtype: torch.dtype
) -> ls.ModelLandscape:
    model = Net(between).to(dtype)
    return ls.ModelLandscape(
        model, loss, list(zip(X.to(dtype).split(16), Y.split(16), strict=True))
    )


def chain(f: ls.ModelLandscape) -> Any:
    return {c.name: c for c in ls.check(f)}["chain"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_link_is_named(name: str) -> None:
    between, loss, words = BROKEN[name]
    found = chain(net(between, loss, torch.float64))
    assert found.status is Status.BROKEN
    assert words in found.message
    if isinstance(between, type(Swish.apply)) and between is not torch.tanh:
        every = (Swish, Cube, Round, Doubled, Clipped, Normalised, Near)
        owner = next(c.__name__ for c in every if between == c.apply)
        assert owner in found.message


@pytest.mark.parametrize("name", BROKEN)
def test_no_verdict_outlives_it(name: str) -> None:
    between, loss, _ = BROKEN[name]
    report = ls.analyze(net(between, loss, torch.float64))
    assert [check.name for check in report.broken] == ["chain"]
    point = report.point
    assert (point.kind, point.index, point.index_bounds) == (
        "inconclusive",
        None,
        (0, report.parameters),
    )
    assert point.confidence == 0
    assert not point.pairs.bounds.isfinite().any()
    assert not point.uncertainty.isfinite().any()
    assert "chain" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_kinks_scales_and_single_precision_are_no_lies(name: str, dtype: torch.dtype) -> None:
    between, loss = SOUND[name]
    if dtype == torch.float32 and name == "single precision inside":
        pytest.skip("it is double there")
    f = net(between, loss, dtype)
    for at in (f.point(), torch.zeros(f.dim, dtype=dtype), f.point() + 0.3):
        found = {c.name: c for c in ls.check(f, at)}["chain"]
        assert found.status is Status.OK or "no second derivative" in found.message, found.message


class Held(nn.Module):
    """It reads a parameter by what it has kept of it elsewhere."""

    def __init__(self, keep: Callable[[nn.Linear], Any], read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c, self.read = nn.Linear(3, 6), nn.Linear(6, 2), read
        self.kept = keep(self.a)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(F.linear(x, self.read(self.kept), self.a.bias)))


HELD: dict[str, tuple[Callable[[nn.Linear], Any], Callable[[Any], Tensor]]] = {
    "a list": (lambda layer: [layer.weight], lambda kept: kept[0]),
    "a dict": (lambda layer: {"w": layer.weight}, lambda kept: kept["w"]),
    "a closure": (lambda layer: (lambda w: lambda: w)(layer.weight), lambda kept: kept()),
    "made earlier": (lambda layer: [2 * layer.weight], lambda kept: kept[0]),
    "a view": (lambda layer: [layer.weight.view(6, 3)], lambda kept: kept[0]),
}


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name", HELD)
def test_parameters_that_are_read_past_the_model_are_named(name: str, single: bool) -> None:
    model = Held(*HELD[name])
    model = model if single else model.double()
    if name in ("made earlier", "a view"):  # of the numbers as they are now
        model.kept = HELD[name][0](model.a)
    dtype = next(model.parameters()).dtype
    f = ls.ModelLandscape(model, F.cross_entropy, [(X.to(dtype), Y)])
    found = chain(f)
    assert found.status is Status.BROKEN
    assert "the loss reads a.weight past the model" in found.message
    assert ls.analyze(f, layers=False, probes=2, steps=5).point.kind == "inconclusive"
    part = ls.ModelLandscape(model, F.cross_entropy, [(X.to(dtype), Y)], exclude="a.weight")
    assert chain(part).status is not Status.BROKEN  # what is held where it is may be read anyhow


class Calls(nn.Module):
    """What it gives depends on how often it was called, or on a generator of its own."""

    def __init__(self, change: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out, self.change, self.seen = nn.Linear(3, 2).double(), change, list[int]()
        self.count, self.own = 0, torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(x) * (1 + self.change(self))
        return found


SEEN: list[int] = []


def counted(model: Any) -> float:
    SEEN.append(0)
    return 0.01 * len(SEEN)


def drawn_on_the_host(model: Any) -> float:
    return 0.1 * float(np.random.rand()) + 0.1 * random.random()


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a list of nobody's grows": counted,
    "a generator of its own": lambda m: 0.1 * float(torch.rand((), generator=m.own)),
    "NumPy's new kind": lambda m: 0.1 * np.random.default_rng().random(),
    "a clock": lambda m: 1e-6 * time.perf_counter_ns() % 0.1,
    "the system": lambda m: int.from_bytes(os.urandom(1), "big") / 1000,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_loss_of_one_point_that_differs_is_no_function(name: str) -> None:
    f = ls.ModelLandscape(Calls(CHANGES[name]), F.cross_entropy, [(X, Y)])
    found = {c.name: c for c in ls.check(f)}["determinism"]
    assert found.status is Status.BROKEN
    assert ls.analyze(f, layers=False, probes=2, steps=5).point.kind == "inconclusive"


def later(model: Any) -> float:
    model.count += 1
    return 0.01 * model.count


def longer(model: Any) -> float:
    model.seen.append(0)
    return 0.01 * len(model.seen)


@pytest.mark.parametrize("count", [later, longer])
def test_a_count_of_calls_begins_anew_with_every_pass(count: Callable[[Any], float]) -> None:
    model = Calls(count)
    f = ls.ModelLandscape(model, F.cross_entropy, list(zip(X.split(16), Y.split(16), strict=True)))
    right = F.cross_entropy(1.01 * model.out(X), Y)
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-12)
    assert {c.status for c in ls.check(f)} <= {Status.OK, Status.NOTE}
    assert (model.count, model.seen) == (0, [])


def test_what_is_drawn_from_the_hosts_generators_is_the_same_in_every_pass() -> None:
    f = ls.ModelLandscape(
        Calls(drawn_on_the_host), F.cross_entropy, list(zip(X.split(16), Y.split(16), strict=True))
    )
    x = f.point()
    both = f.value(torch.stack([x, x + 0.1]))
    assert float(both[0]) == float(f.value(x))
    assert float(both[1]) == float(f.value(x + 0.1))
    found = {c.name: c for c in ls.check(f)}
    assert found["chain"].status is Status.OK
    assert found["determinism"].status is Status.WARNING  # frozen by a seed
    H, u = ls.Hessian(f), torch.ones_like(x)
    slope = (f.gradient(x + 1e-5 * u) - f.gradient(x - 1e-5 * u)) / 2e-5
    torch.testing.assert_close(H @ u, slope, rtol=1e-7, atol=1e-8)


def test_a_model_of_single_precision_only_has_its_slope_tested() -> None:
    turn = torch.eye(3)  # no buffer: it cannot follow into float64

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.c = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.tanh(self.a(x @ turn)))

    batches = [(X.float(), Y)]
    sound = chain(ls.ModelLandscape(Single(), F.cross_entropy, batches))
    assert sound.status is Status.NOTE
    assert "float64" in sound.message
    for loss in (bootstrapped, by_hand, focal):
        assert chain(ls.ModelLandscape(Single(), loss, batches)).status is Status.BROKEN


class Sign(torch.autograd.Function):
    """A straight-through estimator of a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0]


def faked(h: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(h, 0.5, 0, -128, 127)


ONE_DTYPE: dict[str, tuple[Callable[[Tensor], Tensor], torch.dtype]] = {
    "a sign, in float32 only": (
        lambda h: Sign.apply(h) if h.dtype == torch.float32 else torch.tanh(h),
        torch.float32,
    ),
    "a sign inside of float64": (lambda h: Sign.apply(h.float()).double(), torch.float64),
    "a quantisation, in float32 only": (
        lambda h: faked(h) if h.dtype == torch.float32 else h,
        torch.float32,
    ),
    "a quantisation inside of float64": (lambda h: faked(h.float()).double(), torch.float64),
}


@pytest.mark.parametrize("name", ONE_DTYPE)
def test_estimators_that_act_in_single_precision_are_broken(name: str) -> None:
    between, dtype = ONE_DTYPE[name]
    assert chain(net(between, F.cross_entropy, dtype)).status is Status.BROKEN


def fused(h: Tensor) -> Tensor:
    """As kernels that exist for single precision only: its second derivative is wrong."""
    return Swish.apply(h) if h.dtype == torch.float32 else F.silu(h)


def test_a_wrong_second_derivative_in_single_precision_only_is_broken() -> None:
    f = net(fused, F.cross_entropy, torch.float32)
    right = net(F.silu, F.cross_entropy, torch.float32)
    for at in (f.point(), f.point() + 0.3):
        u = torch.linspace(-1, 1, f.dim)
        product, truth = ls.Hessian(f, at) @ u, ls.Hessian(right, at) @ u
        assert (product - truth).norm() > 5e-3 * truth.norm()
        found = ls.check(f, at)[3]
        assert (found.name, found.status) == ("chain", Status.BROKEN)
        assert "not the gradient's slope" in found.message
        assert ls.check(right, at)[3].status is Status.OK


@pytest.mark.parametrize("verdict", [ls.classify, ls.find_stationary])
@pytest.mark.parametrize("between", [fused, ONE_DTYPE["a sign, in float32 only"][0], torch.tanh])
def test_no_verdict_is_given_alone_where_the_chain_broke(
    verdict: Callable[..., Any], between: Callable[[Tensor], Tensor]
) -> None:
    f = net(between, F.cross_entropy, torch.float32)
    options = {"max_products": 5} if verdict is ls.find_stationary else {}
    point = verdict(f, **options)
    broken = between is not torch.tanh
    assert (point.kind == "inconclusive") is broken
    assert ("chain:" in point.reasons[0]) is broken
    assert (point.index_bounds == (0, f.dim) and point.index is None) is broken


def test_float64_tells_no_rounding_where_it_is_another_function() -> None:
    """f is x^2 + (y - s)^2 with s of the dtype: at x = 1e-2 it slopes, whatever s is."""

    class Dtyped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1e-2, 1.0, -2.0]))

        def forward(self, _: Tensor) -> Tensor:
            y = self.x[1] - (1 if self.x.dtype == torch.float32 else 0.3)
            return self.x[0] ** 2 + y**2 + (self.x[2] + 2) ** 2 + 3

    f = ls.ModelLandscape(Dtyped(), lambda model, batch: model(batch), [torch.ones(1)])
    point = ls.classify(f)
    assert point.kind == "not-stationary"
    assert point.gradient_noise < 1e-3 < point.gradient_norm


@pytest.mark.parametrize("between", [torch.tanh, F.relu, F.hardtanh, torch.abs])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_computed_in_single_precision_only_is_no_lie(
    between: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    def alone(h: Tensor) -> Tensor:
        inside = between(h.float()).to(h.dtype)
        return inside if h.dtype == dtype else torch.sigmoid(h)

    f = net(alone, F.cross_entropy, dtype)
    for at in (f.point(), f.point() + 0.3, -f.point()):
        found = {c.name: c for c in ls.check(f, at)}["chain"]
        assert found.status is not Status.BROKEN


@pytest.mark.parametrize("scale", [3.0, 10.0, 17.0, 40.0, 400.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_that_has_all_but_vanished_is_no_lie(scale: float, dtype: torch.dtype) -> None:
    """Outputs are right by a margin: the loss is a rounding of something larger, or nought."""
    torch.manual_seed(0)
    first, last = nn.Linear(3, 6, dtype=dtype), nn.Linear(6, 2, dtype=dtype)
    model = nn.Sequential(first, nn.Tanh(), last)
    x = X[(X @ torch.ones(3).double()).abs() > 0.5].to(dtype)
    y = (x.sum(1) > 0).long()
    with torch.no_grad():
        first.weight.copy_(torch.ones(6, 3))
        first.bias.zero_()
        last.weight.copy_(scale * torch.tensor([[-1.0], [1.0]]).expand(2, 6) / 6)
    f = ls.ModelLandscape(model, F.cross_entropy, list(zip(x.split(9), y.split(9), strict=True)))
    assert chain(f).status is not Status.BROKEN
    if scale > 200 and dtype == torch.float32:
        assert float(f.value(f.point())) == 0


def test_a_spectrum_is_none_where_the_chain_broke() -> None:
    f = net(Swish.apply, F.cross_entropy, torch.float64)
    with pytest.raises(ls.NumericalError, match=r"chain value, gradient, product broke.*Swish"):
        spectrum(f)


def test_symmetries_are_not_verified_by_a_coarse_arithmetic() -> None:
    """In bfloat16 nearly all curvature is rounding, and is no evidence that directions are flat."""

    class Coarse(Net):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.c(torch.tanh(self.a(x))).to(x.dtype)

    f = ls.ModelLandscape(Coarse(torch.tanh).float(), F.cross_entropy, [(X.float(), Y)])
    found = ls.classify(f, f.point())
    assert found.kind not in ("minimum", "maximum")
    assert not any("mixing" in name for name in found.flat)


def test_a_formula_is_tested_too() -> None:
    lying = ls.FunctionLandscape(lambda x: (x[..., 0] * x[..., 0].detach()) + x[..., 1] ** 2, 2)
    found = {c.name: c for c in ls.check(lying, [1.0, 2.0])}["chain"]
    assert found.status is Status.BROKEN
    sound = ls.FunctionLandscape(lambda x: x[..., 0] ** 2 - x[..., 1].abs(), 2)
    for at in ([1.0, 2.0], [0.0, 0.0], [0.0, 1e-9]):
        assert {c.name: c for c in ls.check(sound, at)}["chain"].status is not Status.BROKEN


def test_rounding_is_that_of_the_arithmetic_inside() -> None:
    """A part in single precision: the bounds hold what that makes of a spectrum known in double."""
    f = net(lambda h: torch.tanh(h.float()).double(), F.cross_entropy, torch.float64)
    exact = net(torch.tanh, F.cross_entropy, torch.float64)
    assert f.rounding(f.point()) == torch.finfo(torch.float32).eps
    assert exact.rounding(f.point()) == torch.finfo(torch.float64).eps
    found, truth = ls.classify(f, f.point()), torch.linalg.eigvalsh(ls.Hessian(exact).dense())
    gaps = (found.eigenvalues - truth).abs()
    assert float(gaps.max()) > 1e-12  # the error is there
    assert bool((gaps <= found.uncertainty).all())
    assert float(found.uncertainty.max()) < 1e-4 * float(truth.abs().max())


class Ctc(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x).log_softmax(-1)


def ctc(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, t = batch
    return F.ctc_loss(model(x), t, torch.full((4,), 6), torch.full((4,), 2))


def margin(output: Tensor, target: Tensor) -> Tensor:
    return F.multi_margin_loss(output, target, p=2)


def distance(output: Tensor, target: Tensor) -> Tensor:
    return torch.cdist(output[:4], output[4:8]).square().mean() + output.square().mean()


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * slopes[0]


def kernels(dtype: torch.dtype) -> dict[str, ls.ModelLandscape]:
    """Landscapes whose kernels torch cannot differentiate twice."""
    sounds = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    words = torch.randint(1, 5, (4, 2), generator=torch.Generator().manual_seed(2))
    once = net(Once.apply, F.cross_entropy, dtype)
    return {
        "ctc": ls.ModelLandscape(Ctc().to(dtype), ctc, [(sounds, words)]),
        "multi-margin": net(torch.tanh, margin, dtype),
        "once differentiable": once,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["ctc", "multi-margin", "once differentiable"])
def test_differences_take_over_with_their_error_in_every_bound(
    kernel: str, dtype: torch.dtype
) -> None:
    f, exact = kernels(dtype)[kernel], kernels(torch.float64)[kernel]
    if kernel == "once differentiable":
        exact = net(lambda h: h**3, F.cross_entropy, torch.float64)
    x = f.point()
    slopes = [
        exact.gradient(x.double() + s * 1e-5 * e)
        for e in torch.eye(f.dim).double()
        for s in (1, -1)
    ]
    H = torch.stack([(a - b) / 2e-5 for a, b in zip(slopes[::2], slopes[1::2], strict=True)])
    truth = torch.linalg.eigvalsh((H + H.T) / 2)
    report = ls.analyze(f, largest=3, smallest=3)
    assert "central differences" in {c.name: c.message for c in report.checks}["chain"]
    assert not report.broken
    gaps = (report.point.eigenvalues - truth).abs()
    assert bool((gaps <= report.point.uncertainty + 1e-8).all())
    assert float(report.point.uncertainty.max()) < (
        1e-5 if dtype == torch.float64 else 0.05
    ) * float(truth.abs().max())
    forms, shares = ls.Hessian(f).quadratic_forms(
        torch.eye(f.dim, dtype=dtype)
    )  # the very first call
    scale = float(truth.abs().max())
    assert float(shares.sum()) == pytest.approx(1.0)
    assert float((forms.sum(0) - H.diagonal()).abs().max()) < 1e-2 * scale
    product = ls.Hessian(f)
    _ = product @ torch.ones(f.dim, dtype=dtype)
    assert product.method == "finite-difference"
    assert "no second derivative" in product.why
    with pytest.raises(ls.NumericalError, match="no second derivative"):
        _ = ls.Hessian(f, method="retained") @ torch.ones(f.dim, dtype=dtype)


class Deep(nn.Module):
    """Five layers, one of them followed by something that is not what it seems."""

    def __init__(self, wrong: Callable[[Tensor], Tensor], after: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.ModuleList(nn.Linear(3, 3).double() for _ in range(5))
        self.wrong, self.after = wrong, after

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = torch.tanh(layer(x))
            x = self.wrong(x) if i == self.after else x
        return x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "after"),
    [(Swish.apply, 0), (Swish.apply, 2), (Cube.apply, 3), (Round.apply, 1), (Doubled.apply, 2)],
)
def test_the_module_before_a_broken_link_is_named(
    wrong: Callable[[Tensor], Tensor], after: int
) -> None:
    """What lies behind the fault has the right derivatives, what lies before it has not."""
    f = ls.ModelLandscape(Deep(wrong, after), F.cross_entropy, [(X, Y)])
    found = chain(f)
    assert found.status is Status.BROKEN
    assert f"feel it is layers.{after}:" in found.message
    assert f"last module: layers.{after}" in found.evidence


class Unrecorded(torch.autograd.Function):
    """x^3, whose backward pass runs without recording, as an adjoint solver's does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        with torch.no_grad():
            return 3 * ctx.saved_tensors[0] ** 2 * slopes[0]


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("loss", [F.cross_entropy, lambda o, t: o.square().mean()])
def test_a_backward_pass_that_records_nothing_has_differences(
    loss: Callable[..., Tensor], scale: float
) -> None:
    f, exact = (
        net(between, lambda o, t: scale * loss(o, t), torch.float64)
        for between in (Unrecorded.apply, lambda h: h**3)
    )
    H = ls.Hessian(f)
    v = torch.ones(f.dim, dtype=torch.float64)
    truth = ls.Hessian(exact) @ v
    assert float((H @ v - truth).norm() / truth.norm()) < 1e-5
    assert "Unrecorded" in H.why
    assert chain(f).status is Status.NOTE


@pytest.mark.parametrize("asks", ["torch", "the output"])
def test_a_value_that_depends_on_whether_gradients_are_recorded(asks: str) -> None:
    class Halved(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            recorded = torch.is_grad_enabled() if asks == "torch" else y.requires_grad
            return y if recorded else y / 2

    f = ls.ModelLandscape(Halved(torch.tanh), F.cross_entropy, [(X, Y)])
    found = chain(f)
    assert found.status is Status.BROKEN
    with_them = float(F.cross_entropy(f.model(X), Y))
    with torch.no_grad():
        without = float(F.cross_entropy(f.model(X), Y))
    assert f"{with_them:.6g} where gradients are recorded and {without:.6g}" in found.message


def test_a_formula_of_tensors_in_single_precision_has_its_verdict() -> None:
    """It has no value in float64, where the chain is tested else."""
    A = torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    f = ls.FunctionLandscape(lambda x: (x @ A).square().sum(-1) / 2, dim=2)
    point = ls.classify(f, torch.zeros(2))
    truth = torch.linalg.eigvalsh(A.double() @ A.double().T)
    assert point.kind == "minimum"
    assert ((point.eigenvalues.double() - truth).abs() <= point.uncertainty).all()
    report = ls.analyze(f, torch.zeros(2))
    assert report.point.kind == "minimum"
    assert "no value in torch.float64" in str([c.message for c in report.checks])
