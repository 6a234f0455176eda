"""Copies of networks whose units no module tells of, made without the program's own means: recurrent units, gates in one layer, tied weights, weights that functions use, layers of one unit."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.paths.compare import barrier
from landscape.paths.families import families
from landscape.paths.matching import aligned
from landscape.paths.units import state

L = nn.Linear
F = nn.functional
Tensors = dict[str, Tensor]


class Draws:
    """Random orders, signs and scales."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def order(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)

    def signs(self, n: int) -> Tensor:
        return torch.randint(0, 2, (n,), generator=self.generator).double() * 2 - 1

    def scales(self, n: int) -> Tensor:
        return 10 ** (torch.rand(n, generator=self.generator, dtype=torch.float64) - 0.5)


def layers(t: Tensors, draws: Draws, writers: list[str], reader: str, *, odd: bool) -> None:
    """Units of linear layers in other places, the first writer's with other signs or scales."""
    n = len(t[f"{writers[0]}.bias"])
    order, c = draws.order(n), draws.signs(n) if odd else draws.scales(n)
    for name in writers:
        factor = c if name == writers[0] else torch.ones(n, dtype=torch.float64)
        t[f"{name}.weight"] = t[f"{name}.weight"][order] * factor[:, None]
        t[f"{name}.bias"] = t[f"{name}.bias"][order] * factor
    t[f"{reader}.weight"] = t[f"{reader}.weight"][:, order] / c


class Recurrent(nn.Module):
    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.r, self.head = kind(3, 5, batch_first=True, **options), L(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.r(x)[0][:, -1])
        return found


def recurrent(odd: int | None) -> Callable[[Tensors, Draws], None]:
    """Units in other places, with other signs of what one gate, ``odd``, gives through a tanh; with
    other scales where there are no gates (None)."""

    def moved(t: Tensors, draws: Draws) -> None:
        order, c = draws.order(5), draws.scales(5) if odd is None else draws.signs(5)
        for name in [k for k in t if k.startswith("r.")]:
            gates = list(t[name].split(5))
            for i, gate in enumerate(gates):
                factor = c if i == (odd or 0) else torch.ones(5, dtype=torch.float64)
                gates[i] = gate[order] * factor.view(-1, *[1] * (gate.ndim - 1))
            t[name] = torch.cat(gates)
        for name in ("r.weight_hh_l0", "head.weight"):
            t[name] = t[name][:, order] / c

    return moved


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.gate, self.down = L(4, 6), L(4, 6), L(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.up, self.down = nn.Embedding(9, 4), L(4, 7), L(7, 4)
        self.head = L(4, 9, bias=False)
        self.head.weight = self.e.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.e(x)
        return self.head(x + self.down(torch.tanh(self.up(x)))).mean(1)


def tied(t: Tensors, draws: Draws) -> None:
    layers(t, draws, ["up"], "down", odd=True)
    order, c = draws.order(4), draws.signs(4)
    for name in ("e.weight", "head.weight", "up.weight"):
        t[name] = t[name][:, order] * c
    t["down.weight"], t["down.bias"] = (
        t["down.weight"][order] * c[:, None],
        t["down.bias"][order] * c,
    )


class Functions(nn.Module):
    """Layers whose weights functions use."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = L(4, 6), L(6, 6), L(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for m in (self.a, self.b):
            x = torch.tanh(F.linear(x, m.weight, m.bias))
        return F.linear(x, self.c.weight, self.c.bias)


def functions(t: Tensors, draws: Draws) -> None:
    layers(t, draws, ["a"], "b", odd=True)
    layers(t, draws, ["b"], "c", odd=True)


class Unrolled(nn.Module):
    """One layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w, self.out = L(4, 5), L(5, 5, bias=False), L(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.out(torch.relu(self.w(torch.relu(self.w(h)))))


def unrolled(t: Tensors, draws: Draws) -> None:
    order, c = draws.order(5), draws.scales(5)
    t["a.weight"], t["a.bias"] = t["a.weight"][order] * c[:, None], t["a.bias"][order] * c
    t["w.weight"] = t["w.weight"][order][:, order] * c[:, None] / c
    t["out.weight"] = t["out.weight"][:, order] / c


class Crossed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.MultiheadAttention(4, 2, kdim=2, vdim=2, batch_first=True)
        self.head = L(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.split((4, 2, 2), -1)
        return self.head(self.a(q, k, v, need_weights=False)[0].mean(1))


def crossed(t: Tensors, draws: Draws) -> None:
    order = torch.tensor([2, 3, 0, 1])
    for name in "qkv":
        t[f"a.{name}_proj_weight"] = t[f"a.{name}_proj_weight"][order]
    t["a.in_proj_bias"] = t["a.in_proj_bias"].view(3, 4)[:, order].reshape(-1)
    t["a.out_proj.weight"] = t["a.out_proj.weight"][:, order]


def gates(t: Tensors, draws: Draws) -> None:
    order, c = draws.order(6), draws.scales(6) * draws.signs(6)
    both, factor = torch.cat([order, order + 6]), torch.cat([c, torch.ones(6).double()])
    t["0.weight"], t["0.bias"] = t["0.weight"][both] * factor[:, None], t["0.bias"][both] * factor
    t["2.weight"] = t["2.weight"][:, order] / c


class Biased(nn.Module):
    """Attention with a key and a value of its own, behind a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = L(3, 6), L(6, 2)
        self.a = nn.MultiheadAttention(6, 3, add_bias_kv=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.read(x)
        return self.head(self.a(h, h, h, need_weights=False)[0].mean(1))


def biased(t: Tensors, draws: Draws) -> None:
    """Heads in other places, and the channels that attention reads and those that it writes."""
    heads, read, wrote = draws.order(3), draws.order(6), draws.order(6)
    rows = (2 * heads[:, None] + torch.arange(2)).flatten()
    three = torch.cat([rows, rows + 6, rows + 12])
    t["a.in_proj_weight"] = t["a.in_proj_weight"][three][:, read]
    t["a.in_proj_bias"] = t["a.in_proj_bias"][three]
    t["a.bias_k"], t["a.bias_v"] = t["a.bias_k"][..., rows], t["a.bias_v"][..., rows]
    t["a.out_proj.weight"] = t["a.out_proj.weight"][:, rows][wrote]
    t["a.out_proj.bias"] = t["a.out_proj.bias"][wrote]
    t["read.weight"], t["read.bias"] = t["read.weight"][read], t["read.bias"][read]
    t["head.weight"] = t["head.weight"][:, wrote]


def chain(activation: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(L(4, 1), activation(), L(1, 5), nn.Tanh(), L(5, 3))


def one_unit(odd: bool) -> Callable[[Tensors, Draws], None]:
    def moved(t: Tensors, draws: Draws) -> None:
        c = -1.0 if odd else 3.0
        t["0.weight"], t["0.bias"] = c * t["0.weight"], c * t["0.bias"]
        t["2.weight"] = t["2.weight"] / c
        layers(t, draws, ["2"], "4", odd=True)

    return moved


def silent() -> nn.Module:
    """One unit is never active, one is always 0, and one is not read."""
    first, second, last = L(4, 6), L(6, 5), L(5, 3)
    first.bias.data[1] = -50.0
    second.weight.data[2], second.bias.data[2], last.weight.data[:, 1] = 0.0, 0.0, 0.0
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)


def stacked(t: Tensors, draws: Draws) -> None:
    layers(t, draws, ["0"], "2", odd=False)
    layers(t, draws, ["2"], "4", odd=False)


Case = tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Tensors, Draws], None]]
CASES: dict[str, Case] = {
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 3), recurrent(2)),
    "gru": (lambda: Recurrent(nn.GRU), (5, 3), recurrent(2)),
    "rnn": (lambda: Recurrent(nn.RNN), (5, 3), recurrent(0)),
    "rnn, scales": (lambda: Recurrent(nn.RNN, nonlinearity="relu"), (5, 3), recurrent(None)),
    "glu, scales of what is gated": (
        lambda: nn.Sequential(L(4, 12), nn.GLU(), L(6, 3)),
        (4,),
        gates,
    ),
    "swiglu, signs of up": (
        Gated,
        (4,),
        lambda t, draws: layers(t, draws, ["up", "gate"], "down", odd=True),
    ),
    "swiglu, scales of up": (
        Gated,
        (4,),
        lambda t, draws: layers(t, draws, ["up", "gate"], "down", odd=False),
    ),
    "tied": (Tied, (), tied),
    "functions": (Functions, (4,), functions),
    "unrolled": (Unrolled, (4,), unrolled),
    "heads with keys of another width": (Crossed, (3, 8), crossed),
    "heads with a key of their own": (Biased, (4, 3), biased),
    "one tanh unit": (chain(nn.Tanh), (4,), one_unit(True)),
    "one relu unit": (chain(nn.ReLU), (4,), one_unit(False)),
    "silent units": (silent, (4,), stacked),
}


def inputs(shape: tuple[int, ...]) -> Tensor:
    draws = torch.Generator().manual_seed(3)
    if not shape:
        return torch.randint(0, 9, (40, 5), generator=draws)
    return torch.randn(40, *shape, generator=draws, dtype=torch.float64)


def landscape(net: nn.Module, x: Tensor, y: Tensor) -> ls.ModelLandscape:
    batches = list(zip(x.split(20), y.split(20), strict=True))
    return ls.ModelLandscape(net, F.mse_loss, batches)


def built(name: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CASES[name][0]().double().eval()


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[pytest.mark.slow] * (k == "lstm")) for k in CASES]
)
@pytest.mark.parametrize("seed", [1, pytest.param(22, marks=pytest.mark.slow)])
def test_a_copy_is_found_exactly(name: str, seed: int) -> None:
    _, shape, change = CASES[name]
    net, x = built(name, seed), inputs(shape)
    other, tensors = copy.deepcopy(net), net.state_dict()
    change(tensors, Draws(4 + seed))
    other.load_state_dict(tensors)
    with torch.no_grad():
        y = net(x)
        torch.testing.assert_close(other(x), y, rtol=1e-11, atol=1e-13)
    f, g = landscape(net, x, y), landscape(other, x, y)
    a, b = state(f), state(g)
    assert max(float((b[k] - t).abs().max()) for k, t in a.items()) > 0.05
    end = aligned(f, a, b, families(f)).of(b)
    for key, tensor in a.items():
        torch.testing.assert_close(end[key], tensor, rtol=1e-9, atol=1e-11)
    values, _ = barrier(f, a, end, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert float(values.max()) < 1e-18


@pytest.mark.parametrize("name", ["gru", "swiglu, signs of up", "tied"])
def test_another_network_is_no_copy(name: str) -> None:
    """Not the same to rounding after alignment, which leaves its loss what it is."""
    x = inputs(CASES[name][1])
    net, other = built(name, 1), built(name, 2)
    with torch.no_grad():
        y = net(x)
    f, g = landscape(net, x, y), landscape(other, x, y)
    a, b = state(f), state(g)
    end = aligned(f, a, b, families(f)).of(b)
    values, _ = barrier(f, a, end, torch.linspace(0, 1, 3, dtype=torch.float64))
    assert float(values[-1]) == pytest.approx(float(g.value(g.point())), rel=1e-9)
    assert max(float((end[k] - t).abs().max()) for k, t in a.items()) > 0.1
