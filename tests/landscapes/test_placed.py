"""While a landscape is evaluated its point stands in the model, for code that runs in a backward pass too; then all is as it was."""

import copy
import functools
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import landscape as ls
from landscape.errors import LoadingError

Block = Callable[[nn.Module, Tensor], Tensor]


class Again(torch.autograd.Function):
    """module(x) whose activations are not kept: the backward pass calls the module again, differentiably."""

    @staticmethod
    def forward(ctx: Any, module: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        x = ctx.saved_tensors[0]
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_(True)
            wanted = [x, *ctx.module.parameters()]
            return (None, *torch.autograd.grad(ctx.module(x), wanted, slopes[0], create_graph=True))


def nested(module: nn.Module, h: Tensor) -> Tensor:
    return checkpoint(lambda y: checkpoint(module, y, use_reentrant=False), h, use_reentrant=False)


BLOCKS: dict[str, Block] = {
    "checkpoint": lambda m, h: checkpoint(m, h, use_reentrant=False),
    "checkpoint, reentrant": lambda m, h: checkpoint(m, h, use_reentrant=True),
    "checkpoint, nested": nested,
    "checkpoint_sequential": lambda m, h: checkpoint_sequential(m, 2, h, use_reentrant=False),
    "a module called in backward": lambda m, h: Again.apply(m, h, *m.parameters()),
    "twice": lambda m, h: checkpoint(m, Again.apply(m, h, *m.parameters()), use_reentrant=False),
}


class Net(nn.Module):
    def __init__(self, block: Block | None) -> None:
        super().__init__()
        self.a, self.c, self.block = nn.Linear(3, 4), nn.Linear(4, 2), block
        self.middle = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        return self.c(self.block(self.middle, h) if self.block else self.middle(h))


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(17, 3, generator=generator).to(dtype), torch.randint(
        0, 2, (17,), generator=generator
    )


def truth(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian by torch's own dense Hessian of a closure."""
    inputs, target = data(x.dtype)
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, [s.numel() for s in shapes.values()])
        given = {name: part.view(s) for (name, s), part in zip(shapes.items(), parts, strict=True)}
        return F.cross_entropy(functional_call(model, given, (inputs,)), target)

    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(loss(x), x)[0], torch.autograd.functional.hessian(loss, x.detach())


@pytest.mark.slow
@pytest.mark.parametrize("away", [0.0, 0.2])
@pytest.mark.parametrize("method", ["retained", "rebuilt"])
@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_a_backward_pass_sees_the_point(
    block: str, method: str, away: float, dtype: torch.dtype
) -> None:
    saving = Net(BLOCKS[block]).to(dtype)
    plain = Net((lambda m, h: m(m(h))) if block == "twice" else None).to(dtype)
    plain.load_state_dict(saving.state_dict())
    batches = list(zip(*(t.split(9) for t in data(dtype)), strict=True))
    f = ls.ModelLandscape(saving, F.cross_entropy, batches)
    x = f.point() + away * torch.randn(f.dim, dtype=dtype)
    gradient, H = truth(plain, x)
    close: dict[str, Any] = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 2e-6}
    torch.testing.assert_close(f.gradient(x), gradient, **close)
    found = ls.Hessian(f, x, method=method)
    one, two = (found.dense() if method == "rebuilt" else torch.stack([found @ e for e in torch.eye(f.dim, dtype=dtype)])
                for _ in range(2))  # fmt: skip
    torch.testing.assert_close(one, H, **close)
    assert torch.equal(one, two)  # a kept graph is looked at twice
    torch.testing.assert_close(found @ torch.eye(f.dim, dtype=dtype), H, **close)


class Bags(nn.EmbeddingBag):
    """Bags of what the signs of a layer before say, so that gradients must go past them."""

    def forward(self, h: Tensor) -> Tensor:  # type: ignore[override]
        return torch.tanh(super().forward((9 * h.detach()).long() % 7)) * h


class PlainBags(Bags):
    def forward(self, h: Tensor) -> Tensor:  # type: ignore[override]
        rows = self.weight[(9 * h.detach()).long() % 7]
        return torch.tanh(rows.amax(1) if self.mode == "max" else rows.mean(1)) * h


class Words(nn.Embedding):
    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(super().forward((9 * h.detach()).long() % 7).sum(1)) * h


class PlainWords(Words):
    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(self.weight[(9 * h.detach()).long() % 7].sum(1)) * h


class Normed(nn.Module):
    """What ``weight_norm`` makes of a linear layer, by its definition."""

    def __init__(self, bias: Tensor, g: Tensor, v: Tensor) -> None:
        super().__init__()
        self.bias, self.g, self.v = (nn.Parameter(t.detach().clone()) for t in (bias, g, v))

    def forward(self, h: Tensor) -> Tensor:
        length = self.v.square().sum(1, keepdim=True).sqrt()
        return torch.tanh(F.linear(h, self.g * self.v / length, self.bias))


class Attending(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.q, self.k, self.fused = nn.Linear(4, 4), nn.Linear(4, 4), fused

    def forward(self, h: Tensor) -> Tensor:
        q, k = self.q(h), self.k(h)
        if self.fused:
            return F.scaled_dot_product_attention(q[None], k[None], h[None])[0]
        return torch.softmax(q @ k.T / 2, 1) @ h


class Experts(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.matrices, self.fused = nn.Parameter(torch.randn(2, 4, 4)), fused
        self.config = SimpleNamespace(_experts_implementation="grouped_mm")

    def forward(self, h: Tensor) -> Tensor:
        if self.fused:
            ends = torch.tensor([3, len(h)], dtype=torch.int32)
            return torch.tanh(F.grouped_mm(h, self.matrices, offs=ends))
        return torch.tanh(torch.cat([h[:3] @ self.matrices[0], h[3:] @ self.matrices[1]]))


def normed(make: Callable[[nn.Module], nn.Module]) -> tuple[nn.Module, nn.Module]:
    layer = make(nn.Linear(4, 4))
    bias, g, v = dict(layer.named_parameters()).values()
    return nn.Sequential(layer, nn.Tanh()), Normed(bias, g, v)


# A layer whose kernel is made of elementary operations, and the same layer written in such.
KERNELS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "weight_norm": lambda: normed(parametrizations.weight_norm),
    "weight_norm of old": lambda: normed(weight_norm),
    "bags": lambda: (Bags(7, 4), PlainBags(7, 4)),
    "sparse bags": lambda: (Bags(7, 4, sparse=True), PlainBags(7, 4)),
    "bags by their largest": lambda: (Bags(7, 4, mode="max"), PlainBags(7, 4, mode="max")),
    "sparse words": lambda: (Words(7, 4, sparse=True), PlainWords(7, 4)),
    "attention": lambda: (Attending(True), Attending(False)),
    "experts": lambda: (Experts(True), Experts(False)),
}


class Amid(nn.Module):
    """A layer between two others, called along a road of ``BLOCKS``."""

    def __init__(self, layer: nn.Module, block: Block | None) -> None:
        super().__init__()
        self.a, self.c, self.block = nn.Linear(3, 4), nn.Linear(4, 2), block
        # the second part is there for what cuts a sequence in two
        self.middle = nn.Sequential(layer, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        return self.c(self.block(self.middle, h) if self.block else self.middle(h))


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_replaced_kernels_are_replaced_in_a_recomputation_too(kernel: str, block: str) -> None:
    if kernel == "experts" and not hasattr(F, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    torch.manual_seed(5)
    fused, elementary = KERNELS[kernel]()
    torch.manual_seed(5)
    saving, plain = Amid(fused, BLOCKS[block]).double(), Amid(elementary, None).double()
    # names differ where layers are parametrised, the order does not
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        one.data.copy_(other)
    if block == "twice":
        plain.block = lambda m, h: m(m(h))
    f = ls.ModelLandscape(saving, F.cross_entropy, [data(torch.float64)])
    engine = torch.autograd._engine_run_backward  # type: ignore[attr-defined]
    x = f.point() + 0.1
    gradient, H = truth(plain, x)
    torch.testing.assert_close(f.gradient(x), gradient, rtol=0, atol=1e-12)
    for method in ("retained", "rebuilt"):
        found = ls.Hessian(f, x, method=method)
        for v in torch.randn(3, f.dim, dtype=x.dtype):
            torch.testing.assert_close(found @ v, H @ v, rtol=0, atol=1e-11)
        assert found.method == method  # no differences
    assert torch.autograd._engine_run_backward is engine  # type: ignore[attr-defined]


ALTERED: dict[str, Callable[[], nn.Module]] = {
    "pruned": lambda: prune.l1_unstructured(nn.Linear(3, 4), "weight", 0.5),
    "weight_norm of old": lambda: weight_norm(nn.Linear(3, 4)),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "spectral_norm of old": lambda: spectral_norm(nn.Linear(3, 4)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "recurrent": lambda: nn.GRU(3, 4, batch_first=True),
    "batch norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)),
    "remembers": lambda: Remembers(),
    "a constant": lambda: Constant(),
    "max_norm": lambda: nn.Sequential(Tokens(), nn.Embedding(5, 4, max_norm=0.5)),
}


class Remembers(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


class Constant(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 4)
        self.turn = torch.eye(3)  # no buffer

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x @ self.turn)


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0] > 0).long()


class First(nn.Module):
    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.out = first, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.first, nn.GRU):
            return self.out(torch.tanh(self.first(x[:, None])[0][:, 0]))
        return self.out(torch.tanh(self.first(x)))


def state(model: nn.Module) -> dict[str, Any]:
    """Every tensor and plain attribute that a module holds, by where it is."""
    held: dict[str, Any] = {}
    for path, module in model.named_modules():
        for kind in (vars(module), module._parameters, module._buffers):
            held |= {
                f"{path}/{key}": value
                for key, value in kind.items()
                if isinstance(value, Tensor | list)
            }
    return held


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ALTERED)
def test_the_model_is_as_it_was(name: str, mode: str) -> None:
    model = First(ALTERED[name]())
    x, y = data(torch.float32)
    model(x)
    before, values = state(model), copy.deepcopy(model.state_dict())
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)], dtype=torch.float64, mode=mode)
    u = torch.randn(f.dim, dtype=torch.float64)
    f.gradient(f.point() + u)
    _ = ls.Hessian(f, f.point() - u) @ u
    with pytest.raises(ls.LoadingError):
        ls.ModelLandscape(model, lambda o, t: 1 / 0, [(x, y)]).value(f.point().float())
    after = state(model)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key] is value, key
    assert all(torch.equal(values[key], value) for key, value in model.state_dict().items())


def test_the_models_own_parameters_are_its_point_during_an_evaluation() -> None:
    model = Net(None).double()
    f = ls.ModelLandscape(model, F.cross_entropy, [data(torch.float64)])
    own, hash_ = f.point(), f.fingerprint()
    with f.evaluation(), torch.no_grad():
        for term in f.terms():
            term.function(own + 1)
            assert torch.equal(f.point(), own)
            assert f.fingerprint() == hash_
            part = f.part(["c.weight"], own + 1)
            assert float(part.value((own + 1)[f.layout["c.weight"]])) == pytest.approx(
                float(f.value(own + 1))
            )
            assert torch.equal(f.point(), own)
    assert torch.equal(f.point(), own)


class Solved(torch.autograd.Function):
    """An ODE whose adjoint is solved backwards in time, without recording (Chen et al. 2018)."""

    @staticmethod
    def forward(ctx: Any, slope: nn.Module, y: Tensor, *parameters: Tensor) -> Tensor:
        with torch.no_grad():
            for _ in range(STEPS):
                y = runge_kutta(slope, y)
        ctx.slope = slope
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (y,), a = ctx.saved_tensors, slopes[0]
        parameters = list(ctx.slope.parameters())

        def joint(state: Tensor) -> Tensor:
            y, a = (
                part.reshape(slopes[0].shape)
                for part in state.split(
                    [slopes[0].numel(), slopes[0].numel(), len(state) - 2 * slopes[0].numel()]
                )[:2]
            )
            with torch.enable_grad():
                y = y.detach().requires_grad_(True)
                out = ctx.slope(y)
                found = torch.autograd.grad(out, [y, *parameters], -a)
            return -torch.cat([out.detach().flatten(), *(t.flatten() for t in found)])

        count = sum(p.numel() for p in parameters)
        state = torch.cat([y.flatten(), a.flatten(), y.new_zeros(count)])
        with torch.no_grad():
            for _ in range(STEPS):
                state = runge_kutta(joint, state)
        _, a, rest = state.split([y.numel(), y.numel(), count])
        parts = rest.split([p.numel() for p in parameters])
        own = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        return (None, a.view_as(y), *own)


class Reversed(torch.autograd.Function):
    """y = x + module(x), solved for x again in the backward pass (a reversible layer)."""

    @staticmethod
    def forward(ctx: Any, module: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        with torch.no_grad():
            y = x + 0.1 * module(x)
        ctx.module = module
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        with torch.no_grad():
            x = y
            for _ in range(60):
                x = y - 0.1 * ctx.module(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            out = x + 0.1 * ctx.module(x)
        return (None, *torch.autograd.grad(out, [x, *ctx.module.parameters()], slopes[0]))


class Thrifty(torch.autograd.Function):
    """Checkpointing as diffusion models copy it from each other."""

    @staticmethod
    def forward(ctx: Any, module: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.module, ctx.x, ctx.parameters = module, x, parameters
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        x = ctx.x.detach().requires_grad_(True)
        with torch.enable_grad():
            out = ctx.module(x.view_as(x))
        return (None, *torch.autograd.grad(out, [x, *ctx.parameters], slopes[0]))


def runge_kutta(slope: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    h = 1 / STEPS
    a = slope(y)
    b = slope(y + h / 2 * a)
    c = slope(y + h / 2 * b)
    return y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c))


def solved(module: nn.Module, h: Tensor) -> Tensor:
    for _ in range(STEPS):
        h = runge_kutta(module, h)
    return h


STEPS = 12
# A road whose backward pass records nothing, and the same in the open.
UNRECORDED: dict[str, tuple[Block, Block]] = {
    "an adjoint": (lambda m, h: Solved.apply(m, h, *m.parameters()), solved),
    "a reversible layer": (
        lambda m, h: Reversed.apply(m, h, *m.parameters()),
        lambda m, h: h + 0.1 * m(h),
    ),
    "a copied checkpoint": (lambda m, h: Thrifty.apply(m, h, *m.parameters()), lambda m, h: m(h)),
    "two of them": (
        lambda m, h: Thrifty.apply(m, Thrifty.apply(m, h, *m.parameters()), *m.parameters()),
        lambda m, h: m(m(h)),
    ),
    "within a checkpoint": (
        lambda m, h: checkpoint(
            lambda y: Thrifty.apply(m, y, *m.parameters()), h, use_reentrant=False
        ),
        lambda m, h: m(h),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNRECORDED)
def test_backward_passes_that_record_nothing_are_right_at_any_point(name: str) -> None:
    road, openly = UNRECORDED[name]
    saving, plain = Net(road).double(), Net(openly).double()
    plain.load_state_dict(saving.state_dict())
    f = ls.ModelLandscape(saving, F.cross_entropy, [data(torch.float64)])
    x = f.point() + 0.2 * torch.randn(f.dim, dtype=torch.float64)
    gradient, H = truth(plain, x)
    torch.testing.assert_close(f.gradient(x), gradient, rtol=0, atol=1e-7)
    found, v = ls.Hessian(f, x), torch.randn(f.dim, dtype=torch.float64)
    torch.testing.assert_close(found @ v, H @ v, rtol=0, atol=1e-6)
    assert found.method == "finite-difference"
    assert float((found @ v - H @ v).norm() / v.norm()) <= max(10 * found.error, 1e-7)


def test_what_was_computed_at_another_point_does_not_reach_into_the_next_pass() -> None:
    """A weight that forward makes once and keeps."""

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(3, 4), nn.Linear(4, 2)
            self.made: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.made is None:
                self.made = self.a.weight.square()
            return self.c(torch.tanh(F.linear(x, self.made, self.a.bias)))

    class Plain(Lazy):
        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.tanh(F.linear(x, self.a.weight.square(), self.a.bias)))

    lazy, plain = Lazy().double(), Plain().double()
    plain.load_state_dict(lazy.state_dict())
    x, y = data(torch.float64)
    f = ls.ModelLandscape(lazy, F.cross_entropy, list(zip(x.split(9), y.split(9), strict=True)))
    at = f.point() + 0.3
    gradient, H = truth(plain, at)
    torch.testing.assert_close(f.gradient(at), gradient, rtol=0, atol=1e-12)
    torch.testing.assert_close(ls.Hessian(f, at).dense(), H, rtol=0, atol=1e-12)
    assert lazy.made is None


class Cached(nn.Module):
    """A weight that is made of a parameter when it is not at hand, and kept."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()
        self.kept = kept

    def made(self) -> Tensor:
        return torch.tanh(self.a.weight)

    def weight(self) -> Tensor:
        kept = self.kept
        if isinstance(kept, dict):
            inner = kept.setdefault("deep", {})
            if "weight" not in inner:
                inner["weight"] = self.made()
            found: Tensor = inner["weight"]
            return found
        if kept is not None:
            if not kept:
                kept.append(self.made())
            return next(iter(kept))
        return self.made()

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(F.linear(x, self.weight(), self.a.bias)))


class CachedByCall(Cached):
    @functools.lru_cache  # noqa: B019
    def made(self) -> Tensor:
        return torch.tanh(self.a.weight)


CACHES: dict[str, Callable[[], Cached]] = {
    "a dict": lambda: Cached({}),
    "a dict in a dict": lambda: Cached({"deep": {}}),
    "a list": lambda: Cached([]),
    "a deque": lambda: Cached(deque(maxlen=1)),
    "lru_cache": lambda: CachedByCall(None),
}


@pytest.mark.parametrize("name", CACHES)
def test_what_a_pass_keeps_in_containers_does_not_reach_into_the_next(name: str) -> None:
    model, plain = CACHES[name](), Cached(None)
    plain.load_state_dict(model.state_dict())
    x, y = data(torch.float64)
    f = ls.ModelLandscape(model, F.cross_entropy, list(zip(x.split(9), y.split(9), strict=True)))
    f.value(f.point())
    for at in (f.point(), f.point() + 0.3):
        gradient, H = truth(plain, at)
        torch.testing.assert_close(f.gradient(at), gradient, rtol=0, atol=1e-12)
        torch.testing.assert_close(ls.Hessian(f, at).dense(), H, rtol=0, atol=1e-12)
    assert not model.kept or model.kept == {"deep": {}}
    assert {c.name: c for c in ls.check(f)}["chain"].status.name == "OK"


@pytest.mark.parametrize("which", ["one of two", "all"])
def test_parameters_that_forward_makes_anew_are_named(which: str) -> None:
    class Anew(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(3, 3), nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            self.c.weight = nn.Parameter(F.normalize(self.c.weight, dim=1))
            h = torch.tanh(self.a(x)) if which == "one of two" else x
            return self.c(h)

    f = ls.ModelLandscape(Anew().double(), F.cross_entropy, [data(torch.float64)])
    if which == "all":
        with pytest.raises(LoadingError, match=r"does not depend .* forward makes parameters anew"):
            f.gradient(f.point())
        return
    found = {c.name: c for c in ls.check(f)}["chain"]
    assert found.status.name == "BROKEN"
    assert "c.weight as forward has made it" in found.message


def test_two_parameters_at_one_place_are_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    model.double()
    batches = [data(torch.float64)]
    model[2].weight.data = model[0].weight.data
    found = {c.name: c for c in ls.check(ls.ModelLandscape(model, F.cross_entropy, batches))}
    assert found["chain"].status.name == "BROKEN"
    assert "0.weight, 2.weight are two" in found["chain"].message
    model[2].weight = model[0].weight
    f = ls.ModelLandscape(model, F.cross_entropy, batches)
    assert all(c.status.name != "BROKEN" for c in ls.check(f))
    _, H = truth(model, f.point())
    torch.testing.assert_close(ls.Hessian(f).dense(), H, rtol=0, atol=1e-12)


class Clipping(nn.Linear):
    """As the critics of the first WGANs: each pass clips the weights."""

    def forward(self, x: Tensor) -> Tensor:
        for p in self.parameters():
            p.data.clamp_(-0.2, 0.2)
        return super().forward(x)


class Averaging(nn.Module):
    """A frozen teacher that each pass moves towards the student, in place or not."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.student, self.teacher, self.in_place = nn.Linear(3, 2), nn.Linear(3, 2), in_place
        self.teacher.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for p, q in zip(self.student.parameters(), self.teacher.parameters(), strict=True):
            if self.in_place:
                q.data.mul_(0.9).add_(p.data, alpha=0.1)
            else:
                q.data = 0.9 * q.data + 0.1 * p.data
        return self.student(x) + self.teacher(x).detach()


@pytest.mark.parametrize(
    "make",
    [lambda: Clipping(3, 2), lambda: Averaging(True), lambda: Averaging(False)],
    ids=["clipping", "averaging in place", "averaging"],
)
def test_what_a_pass_writes_into_parameters_stays_in_the_pass(
    make: Callable[[], nn.Module],
) -> None:
    model = make().double()
    before = copy.deepcopy(model.state_dict())
    f = ls.ModelLandscape(model, F.cross_entropy, [data(torch.float64)])
    x = f.point()
    start = x.clone()
    values = [float(f.value(x)) for _ in range(3)]
    f.gradient(x)
    _ = ls.Hessian(f, x) @ x
    assert len(set(values)) == 1
    assert torch.equal(x, start)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {c.name: c for c in ls.check(f)}["chain"].status.name == "BROKEN"


class Shrinking(nn.Linear):
    """Writes into its weight itself, not into ``weight.data``."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.mul_(0.9)
        return super().forward(x)


def test_a_pass_that_writes_into_a_parameter_is_told_what_to_do() -> None:
    f = ls.ModelLandscape(Shrinking(2, 1), F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])
    with pytest.raises(ls.LoadingError, match=r"into a parameter.*w = 0.9 \* w.*modified inplace"):
        f.gradient(f.point())


def test_parameters_in_place_are_parameters_to_who_asks() -> None:
    class Asking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            count = sum(isinstance(p, nn.Parameter) for p in self.parameters())
            return count * super().forward(x)

    model, (x, y) = Asking(3, 2).double(), data(torch.float64)
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    right = F.cross_entropy(2 * F.linear(x, model.weight, model.bias), y).detach()
    torch.testing.assert_close(f.value(f.point()), right)


def test_a_parameter_that_forward_has_tied_is_named() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.b.weight = self.a.weight
            return self.b(self.a(x))

    f = ls.ModelLandscape(Tied(), nn.MSELoss(), [(torch.ones(2, 3), torch.zeros(2, 3))])
    f.model(torch.ones(2, 3))
    with pytest.raises(LoadingError, match=r"b.weight of Tied .* Call the model once"):
        f.point()
