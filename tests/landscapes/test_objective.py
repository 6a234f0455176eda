"""What is called with what: one rule, whatever kind of batch, input, output and loss people bring."""

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import landscape as ls

GENERATOR = torch.Generator().manual_seed(4)
X = torch.randn(20, 3, generator=GENERATOR)
Y = torch.randint(0, 2, (20,), generator=GENERATOR)
Point = namedtuple("Point", ["a", "b"])


@dataclass
class Batch:
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Frozen:
    inputs: dict[str, Tensor]
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    x: Tensor
    y: Tensor


class Net(nn.Module):
    """A linear layer behind a way to take an input and a way to give an output."""

    def __init__(self, take: Callable[..., Tensor], give: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out, self.take, self.give = nn.Linear(3, 2), take, give


class One(Net):
    def forward(self, x: Any) -> Any:
        return self.give(self.out(self.take(x)))


class Two(Net):
    def forward(self, a: Any, b: Any) -> Any:
        return self.give(self.out(self.take(a, b)))


class Told(Net):
    def forward(self, batch: dict[str, Tensor]) -> Any:
        return self.give(self.out(self.take(batch)))


class ToldSo(Net):
    def forward(self, batch: "Mapping[str, Tensor]") -> Any:
        return self.give(self.out(self.take(batch)))


class Keywords(Net):
    def forward(self, **inputs: Tensor) -> Any:
        return self.give(self.out(self.take(inputs)))


def plain(z: Tensor) -> Tensor:
    return z


TAKES: dict[str, tuple[type[Net], Callable[..., Tensor], Any]] = {
    "a tensor": (One, lambda x: x, X),
    "a tuple, spread": (Two, lambda a, b: torch.cat([a, b], 1), (X[:, :1], X[:, 1:])),
    "a list, spread": (Two, lambda a, b: torch.cat([a, b], 1), [X[:, :1], X[:, 1:]]),
    "a dict of keywords": (Two, lambda a, b: torch.cat([a, b], 1), {"a": X[:, :1], "b": X[:, 1:]}),
    "a dict as one argument": (
        One,
        lambda d: torch.cat([d["p"], d["q"]], 1),
        {"p": X[:, :1], "q": X[:, 1:]},
    ),
    "an OrderedDict": (One, lambda d: d["p"], OrderedDict(p=X)),
    "a UserDict": (One, lambda d: d.data["p"], UserDict(p=X)),
    "a namedtuple": (One, lambda p: torch.cat([p.a, p.b], 1), Point(X[:, :1], X[:, 1:])),
    "a dataclass": (One, lambda p: p.x, Batch(X, Y)),
    "an object": (One, lambda p: p.q, SimpleNamespace(q=X)),
    "nested": (One, lambda d: d["p"][0].a, {"p": [Point(X, X)]}),
    "a list as one argument": (One, lambda p: torch.cat(list(p), 1), [X[:, :1], X[:, 1:]]),
    "a tuple as one argument": (One, lambda p: torch.cat(p, 1), (X[:, :1], X[:, 1:])),
    "numbers as keys": (One, lambda d: torch.cat([d[0], d[1]], 1), {0: X[:, :1], 1: X[:, 1:]}),
    "a mapping by annotation": (Told, lambda d: d["batch"], {"batch": X}),
    "a mapping by a word": (ToldSo, lambda d: d["batch"], {"batch": X}),
    "any keywords": (Keywords, lambda d: d["q"], {"q": X}),
    "a dataclass with slots": (One, lambda p: p.x, Slots(X, Y)),
}
GIVES: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": plain,
    "logits": lambda z: SimpleNamespace(logits=z, hidden=z),
    "a dict with logits": lambda z: {"logits": z, "hidden": z},
    "a dict with out": lambda z: {"out": z, "aux": z},
    "a tuple of one": lambda z: (z,),
    "a dict of one": lambda z: {"scores": z},
}


@pytest.mark.parametrize("give", GIVES)
@pytest.mark.parametrize("take", TAKES)
def test_inputs_and_outputs_of_every_kind(take: str, give: str) -> None:
    kind, reader, inputs = TAKES[take]
    model = kind(reader, GIVES[give])
    right = float(F.cross_entropy(model.out(X).double(), Y))
    f = ls.ModelLandscape(model, F.cross_entropy, [(inputs, Y)])
    assert f.samples == 20
    assert float(f.value(f.point())) == pytest.approx(right, rel=1e-6)
    g = ls.ModelLandscape(model, F.cross_entropy, [(inputs, Y)], dtype=torch.float64)
    assert float(g.value(g.point())) == pytest.approx(right, rel=1e-6)  # every tensor has moved


def unpacked(q: Any, r: Any) -> Tensor:
    x, y = r
    return F.cross_entropy(q(x), y)


def with_slope(q: Any, r: Any) -> Tensor:
    """It calls autograd itself, and its arguments' names say nothing."""
    x = r[0].clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(q(x).sum(), x, create_graph=True)
    return F.cross_entropy(q(x), r[1]) + 0 * slope.sum()


LOSSES: dict[str, tuple[Callable[..., Any], Any]] = {
    "model, batch": (lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), (X, Y)),
    "policy, rollout": (
        lambda policy, rollout: F.cross_entropy(policy(rollout[0]), rollout[1]),
        (X, Y),
    ),
    "f, d": (lambda f, d: F.cross_entropy(f(d[0]), d[1]), (X, Y)),
    "a dataclass": (lambda m, b: F.cross_entropy(m(b.x), b.y), Batch(X, Y)),
    "a frozen one": (lambda q, r: F.cross_entropy(q(r.inputs["x"]), r.labels), Frozen({"x": X}, Y)),
    "three of them": (lambda a, b: F.cross_entropy(a(b[0]), b[1]), (X, Y, X)),
    "a dict of results": (
        lambda model, batch: {"loss": F.cross_entropy(model(batch[0]), batch[1])},
        (X, Y),
    ),
    "output, target": (lambda o, t: F.cross_entropy(o, t), (X, Y)),
    "a pair of results": (lambda o, t: (F.cross_entropy(o, t), o), (X, Y)),
    "an object and its target": (lambda o, t: F.cross_entropy(o, t), {"x": X, "labels": Y}),
    "net, y": (lambda net, y: F.cross_entropy(net, y), (X, Y)),
    "output, batch": (lambda recon, batch: F.cross_entropy(recon, batch), (X, Y)),
    "output, data": (lambda o, data: F.cross_entropy(o, data), (X, Y)),
    "unpacked": (lambda q, r: unpacked(q, r), (X, Y)),
    "an input that is written to": (lambda q, r: with_slope(q, r), (X, Y)),
    "options": (lambda m, b, smoothing=0.0: F.cross_entropy(m(b[0]), b[1]), (X, Y)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_whatever_their_arguments_are_called(name: str) -> None:
    loss, batch = LOSSES[name]
    model = One(plain, plain)
    f = ls.ModelLandscape(model, loss, [batch])
    right = float(F.cross_entropy(model.out(X), Y))
    assert float(f.value(f.point())) == pytest.approx(right, rel=1e-6)
    assert torch.isfinite(f.gradient(f.point())).all()


READS: dict[str, tuple[Callable[[Tensor], Any], Callable[..., Tensor]]] = {
    "a dict": (lambda z: {"logits": z, "aux": z}, lambda o, t: F.cross_entropy(o["logits"], t)),
    "an object": (lambda z: SimpleNamespace(logits=z), lambda o, t: F.cross_entropy(o.logits, t)),
    "two of a dict": (
        lambda z: {"out": z, "aux": z.tanh()},
        lambda o, t: F.cross_entropy(o["out"], t) + 0 * F.cross_entropy(o["aux"], t),
    ),
    # of one tensor [0] would be its first row, which broadcasts
    "a tuple of one": (lambda z: (z,), lambda o, t: F.mse_loss(o[0], 0 * o[0]) + 0 * t.sum()),
    "a pair": (lambda z: (z, 2 * z), lambda o, t: F.cross_entropy(o[0], t)),
    "a list": (
        lambda z: [z, z],
        lambda o, t: torch.stack([F.cross_entropy(q, t) for q in o]).mean(),
    ),
}


@pytest.mark.parametrize("name", READS)
def test_a_loss_that_reads_the_output_itself(name: str) -> None:
    give, loss = READS[name]
    model = One(plain, give)
    f = ls.ModelLandscape(model, loss, list(zip(X.split(12), Y.split(12), strict=True)))
    right = loss(give(model.out(X)), Y)
    assert float(f.value(f.point())) == pytest.approx(float(right), rel=1e-6)
    assert {c.name: c for c in ls.check(f)}["mean"].status.name == "OK"


def test_what_was_tried_is_remembered() -> None:
    calls = []

    def loss(output: Any, target: Tensor) -> Tensor:
        calls.append(0)
        return F.cross_entropy(output, target)

    f = ls.ModelLandscape(One(plain, plain), loss, [(X, Y)])
    f.value(f.point())
    before = len(calls)
    f.value(f.point())
    assert len(calls) == before + 1
    assert f._objective.takes_model is False


RESULTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a scalar": lambda loss, z: loss,
    "an object": lambda loss, z: SimpleNamespace(loss=loss, logits=z),
    "a dict": lambda loss, z: {"loss": loss, "logits": z},
    "a tuple": lambda loss, z: (loss, z),
}


class Own(nn.Module):
    """A model that computes its loss."""

    def __init__(self, result: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out, self.result = nn.Linear(3, 2), result

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        z = self.out(x)
        return self.result(F.cross_entropy(z, labels), z)


@pytest.mark.parametrize("result", RESULTS)
def test_a_models_own_loss(result: str) -> None:
    model = Own(RESULTS[result])
    f = ls.ModelLandscape(model, None, [{"x": X, "labels": Y}])
    assert float(f.value(f.point())) == pytest.approx(
        float(F.cross_entropy(model.out(X), Y)), rel=1e-6
    )


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, packed: PackedSequence) -> Tensor:
        return self.out(self.lstm(packed)[1][0][-1])


def test_packed_sequences_are_one_input() -> None:
    lengths = torch.tensor([6, 5, 4, 2, 1])
    packed = pack_padded_sequence(torch.randn(5, 6, 2), lengths, batch_first=True)
    model, target = Tagger(), torch.tensor([0, 1, 0, 1, 1])
    f = ls.ModelLandscape(model, nn.CrossEntropyLoss(), [(packed, target)], dtype=torch.float64)
    assert f.samples == 5
    assert float(f.value(f.point())) == pytest.approx(
        float(F.cross_entropy(model(packed), target)), rel=1e-6
    )


def test_wrappers_over_devices_are_looked_through() -> None:
    model = One(plain, plain)
    f = ls.ModelLandscape(nn.DataParallel(model), F.cross_entropy, [(X, Y)])
    assert list(f.layout) == ["module.out.weight", "module.out.bias"]
    assert float(f.value(f.point())) == pytest.approx(
        float(F.cross_entropy(model.out(X), Y)), rel=1e-6
    )


def test_messages_quote_the_rule() -> None:
    pair = One(plain, lambda z: (z, z))
    f = ls.ModelLandscape(pair, F.cross_entropy, [(X, Y)])
    with pytest.raises(ls.LoadingError, match=r"a tuple of 2.*pass loss=lambda model, batch"):
        f.value(f.point())
    odd = One(plain, lambda z: {"scores": z, "more": z})
    g = ls.ModelLandscape(odd, F.cross_entropy, [(X, Y)])
    with pytest.raises(ls.LoadingError, match=r"a dict with the keys scores, more.*a key 'logits'"):
        g.value(g.point())
    stays = torch.eye(3)
    h = ls.ModelLandscape(
        One(lambda x: x @ stays, plain), F.cross_entropy, [(X, Y)], dtype=torch.float64
    )
    with pytest.raises(
        ls.LoadingError, match=r"in torch.float64 \(dtype=\), the model in torch.float32.*a buffer"
    ):
        h.value(h.point())


def residual(model: nn.Module, batch: Tensor) -> Tensor:
    """Of u'' + u = 0."""
    x = batch.clone().requires_grad_(True)
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    return ((ddu + u) ** 2).mean()


def penalty(model: nn.Module, batch: Tensor) -> Tensor:
    x = batch.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return model(x).mean() + ((g.norm(dim=1) - 1) ** 2).mean()


def forces(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, force = batch[0].clone().requires_grad_(True), batch[1]
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return F.mse_loss(-g, force)


AUTOGRAD: dict[str, tuple[Callable[..., Tensor], list[Any]]] = {
    "a residual": (residual, list(torch.linspace(0, 1, 20).double()[:, None].split(12))),
    "a gradient penalty": (penalty, [X[:, :1].double()]),
    "forces": (forces, [(X[:, :1].double(), X[:, 1:2].double())]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AUTOGRAD)
def test_losses_that_call_autograd_are_evaluated_everywhere(name: str) -> None:
    loss, batches = AUTOGRAD[name]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    f = ls.ModelLandscape(model, loss, batches)
    x = f.point()
    counts = [len(b if isinstance(b, Tensor) else b[0]) for b in batches]
    right = sum(n * float(loss(model, b)) for n, b in zip(counts, batches, strict=True)) / sum(
        counts
    )
    assert float(f.value(x)) == pytest.approx(right, rel=1e-10)
    assert torch.allclose(f.value(torch.stack([x, x])), torch.tensor(right).double())
    report = ls.analyze(f, polish="newton-mr", layers=False, probes=2, steps=5)
    assert report.polish is not None
    assert report.polish.gradient_norm < report.polish.gradient_norm_before
    assert ls.surface(f, x, resolution=3).values.isfinite().all()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with ls.Tracer(optimizer, f, every=2) as tracer:
        for _ in range(4):
            optimizer.zero_grad()
            loss(model, batches[0]).backward()
            optimizer.step()
    assert tracer.result.loss.isfinite().all()


def flow(model: nn.Module, batch: Tensor) -> Tensor:
    """Of Burgers' equation, of second order in space."""
    x = batch.clone().requires_grad_(True)
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du[:, 0].sum(), x, create_graph=True)
    return (du[:, 1:] + u * du[:, :1] - 0.1 * ddu[:, :1]).square().mean()


def hamiltonian(model: nn.Module, batch: Tensor) -> Tensor:
    z = batch.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    return (torch.stack([slope[:, 1], -slope[:, 0]], 1) - batch.flip(1).sin()).square().mean()


def sobolev(model: nn.Module, batch: Tensor) -> Tensor:
    x = batch.clone().requires_grad_(True)
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return (u - x.sin().sum(1, keepdim=True)).square().mean() + (slope - x.cos()).square().mean()


def by_backward(model: nn.Module, batch: Tensor) -> Tensor:
    """Forces that are left in ``.grad``."""
    x = batch.clone().requires_grad_(True)
    model(x).sum().backward(create_graph=True)
    assert x.grad is not None
    return (x.grad + batch).square().mean()


def by_func(model: nn.Module, batch: Tensor) -> Tensor:
    slope = torch.func.vmap(torch.func.grad(lambda z: model(z[None])[0, 0]))(batch)
    return (slope - batch.cos()).square().mean()


def pushed(model: nn.Module, batch: Tensor) -> Tensor:
    return torch.func.jvp(model, (batch,), (torch.ones_like(batch),))[1].square().mean()


def smooth(model: nn.Module, batch: Tensor) -> Tensor:
    """A penalty on the gradient of the weights, which joins all samples."""
    loss = model(batch).square().mean()
    slopes = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    return loss + 0.1 * torch.stack([s.square().sum() for s in slopes]).sum()


def inner(model: nn.Module, batch: Tensor) -> Tensor:
    """The loss after a step on it (MAML)."""
    named = dict(model.named_parameters())
    loss = model(batch).square().mean()
    slopes = torch.autograd.grad(loss, list(named.values()), create_graph=True)
    stepped = {k: p - 0.1 * s for (k, p), s in zip(named.items(), slopes, strict=True)}
    return torch.func.functional_call(model, stepped, (batch + 1,)).sin().mean()


def attacked(model: nn.Module, batch: Tensor) -> Tensor:
    """At inputs that a step of fixed signs makes worse (FGSM)."""
    x = batch.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x).square().sum(), x)
    return model(batch + 0.1 * slope.sign()).square().mean()


CALLS: list[Callable[..., Tensor]] = [
    flow, hamiltonian, sobolev, by_backward, by_func, pushed, smooth, inner, attacked
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("loss", CALLS, ids=[loss.__name__ for loss in CALLS])
def test_losses_that_call_autograd_against_torchs_own_hessian(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = X[:12, :2].double()
    sizes = [12] if loss in (smooth, inner) else [8, 4]
    f = ls.ModelLandscape(model, loss, list(x.split(sizes)))
    shapes = f.shapes

    def whole(flat: Tensor) -> Tensor:
        given = {k: flat[s].view(shapes[k]) for k, s in f.layout.items()}

        class Named(nn.Module):
            """The model with other parameters, by name."""

            def forward(self, batch: Tensor) -> Tensor:
                out: Tensor = torch.func.functional_call(model, given, (batch,))
                return out

            def parameters(self, recurse: bool = True) -> Any:
                return iter(given.values())

        if loss is inner:
            first = Named()(x).square().mean()
            slopes = torch.autograd.grad(first, list(given.values()), create_graph=True)
            moved = {k: p - 0.1 * s for (k, p), s in zip(given.items(), slopes, strict=True)}
            out: Tensor = torch.func.functional_call(model, moved, (x + 1,))
            return out.sin().mean()
        return loss(Named(), x)

    at = f.point().requires_grad_(True)
    (gradient,) = torch.autograd.grad(whole(at), at)
    H = torch.autograd.functional.hessian(whole, at.detach())
    assert float(f.value(f.point())) == pytest.approx(float(whole(at).detach()), rel=1e-12)
    torch.testing.assert_close(f.gradient(f.point()), gradient, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(ls.Hessian(f).dense(), H, rtol=1e-9, atol=1e-12)
    v = torch.ones(f.dim, dtype=torch.float64)
    torch.testing.assert_close(ls.Hessian(f, memory=0) @ v, H @ v, rtol=1e-9, atol=1e-12)
    assert {c.status.name for c in ls.check(f)} <= {"OK", "NOTE"}


def by_output(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)


def by_model(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def by_model_unnamed(a: Any, b: Any) -> Tensor:
    return F.cross_entropy(a(b[0]), b[1])


def by_output_misnamed(model: Any, target: Tensor) -> Tensor:
    return F.cross_entropy(model, target)


@pytest.mark.parametrize("loss", [by_output, by_model, by_model_unnamed, by_output_misnamed])
@pytest.mark.parametrize("batches", [1, 2])
def test_trying_how_a_loss_is_called_is_no_part_of_a_pass(
    loss: Callable[..., Any], batches: int
) -> None:
    """Dropout draws the same numbers in the first pass as in all others, and hooks see one call."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.Linear(16, 2))
    data = list(zip(X.chunk(batches), Y.chunk(batches), strict=True))
    f = ls.ModelLandscape(model, loss, data, mode="train", seed=3)
    calls: list[object] = []
    model.register_forward_hook(lambda *_: calls.append(None))
    with f.evaluation():
        term = next(iter(f.terms()))
        calls.clear()
        term.function(f.point().requires_grad_())
    assert len(calls) == 1
    first = ls.ModelLandscape(model, loss, data, mode="train", seed=3)
    assert len({float(first.value(first.point())) for _ in range(3)}) == 1
