"""Checkpoints beside each other: permuted copies, known barriers, known angles between subspaces."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import landscape_figures
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.paths.compare import barrier, principal_angles, turned
from landscape.paths.families import families
from landscape.paths.matching import aligned
from landscape.paths.units import permuted, state


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.up, self.down, self.norm = nn.Linear(6, 9), nn.Linear(9, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        return self.head(x + self.down(torch.tanh(self.up(self.norm(x)))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Heads(nn.Module):
    """Attention written out, with one layer for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.head = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (3, 2)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return self.head(self.out(mixed.transpose(1, 2).flatten(2)).mean(1))


def convolutional() -> nn.Module:
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4)),
        *(nn.Conv2d(4, 5, 1), nn.PReLU(5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5, 3)),
    )
    for _ in range(3):
        net(torch.randn(8, 1, 6, 6))
    return net


# the network, its input, and the sizes of the families of units that may be permuted
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[int]]] = {
    "mlp": (
        lambda: nn.Sequential(
            *(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))
        ),
        (4,),
        [7, 8],
    ),
    "conv": (convolutional, (1, 6, 6), [4, 5]),
    "flattened": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
        (1, 6, 6),
        [4],
    ),
    "residual": (Residual, (4,), [6, 9]),
    "encoder": (Encoder, (), [2, 8, 12]),
    "heads": (Heads, (5, 6), [3, 6]),
}


def landscape(net: nn.Module, shape: tuple[int, ...]) -> ls.ModelLandscape:
    draws = torch.Generator().manual_seed(3)
    x = torch.randn(40, *shape, generator=draws, dtype=torch.float64)
    x = x if shape else torch.randint(0, 11, (40, 5), generator=draws)
    y = torch.randint(0, 3, (40,), generator=draws)
    batches = list(zip(x.split(10), y.split(10), strict=True))
    return ls.ModelLandscape(net, nn.functional.cross_entropy, batches)


def built(kind: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETS[kind][0]().double().eval()


def loaded(net: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    other = copy.deepcopy(net)
    other.load_state_dict({k: tensors.get(k, t) for k, t in net.state_dict().items()})
    return other


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETS)
def test_a_permuted_copy_is_the_same_network(kind: str) -> None:
    net = built(kind)
    f = landscape(net, NETS[kind][1])
    found = families(f)
    assert sorted(family.size for family in found) == NETS[kind][2]
    draws = torch.Generator().manual_seed(5)
    orders = [torch.randperm(family.size, generator=draws) for family in found]
    moved = permuted(state(f), found, orders)
    g = landscape(loaded(net, moved), NETS[kind][1])
    assert float(g.value(g.point())) == pytest.approx(float(f.value(f.point())), abs=1e-12)
    both = ls.compare([f, g], names=["a", "b"])
    assert float(both.distances[0, 1]) > 0.5
    assert float(both.aligned_distances[0, 1]) < 1e-12
    assert float(both.aligned[0, 1]) < 1e-12
    assert float(both.aligned_overlaps[0, 1]) == pytest.approx(1.0, abs=1e-9)
    assert both.same(0, 1)


def chain(activation: Callable[[], nn.Module], *sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), activation()]
    return nn.Sequential(*layers[:-1])


def signed(draws: torch.Generator, n: int) -> Tensor:
    return torch.randint(0, 2, (n,), generator=draws).double() * 2 - 1


def positive(draws: torch.Generator, n: int) -> Tensor:
    return 10 ** (2 * torch.rand(n, generator=draws, dtype=torch.float64) - 1)


def either(draws: torch.Generator, n: int) -> Tensor:
    return signed(draws, n) * positive(draws, n)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Slim(nn.Module):
    """A residual stream with no normalisation, whose units are homogeneous where it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.up = nn.Linear(4, 6), nn.Linear(6, 9)
        self.down, self.head = nn.Linear(9, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        return self.head(torch.relu(x + self.down(torch.relu(self.up(x)))))


Factor = Callable[[torch.Generator, int], Tensor]
# the network, its input, and hidden units by what writes and what reads them, with their factors
COPIES: dict[
    str, tuple[Callable[[], nn.Module], tuple[int, ...], list[tuple[str, str, Factor]]]
] = {
    "tanh": (
        lambda: chain(nn.Tanh, 4, 8, 7, 6, 3),
        (4,),
        [("0", "2", signed), ("2", "4", signed), ("4", "6", signed)],
    ),
    **{
        kind.__name__: (
            partial(chain, kind, 4, 8, 7, 3),
            (4,),
            [("0", "2", signed), ("2", "4", signed)],
        )
        for kind in (nn.Softsign, nn.Tanhshrink, nn.Hardtanh, nn.Softshrink, Sine)
    },
    "relu": (
        lambda: chain(nn.ReLU, 4, 8, 7, 6, 3),
        (4,),
        [("0", "2", positive), ("2", "4", positive), ("4", "6", positive)],
    ),
    "leaky and tanh": (
        lambda: nn.Sequential(*chain(nn.LeakyReLU, 4, 8, 7), nn.Tanh(), nn.Linear(7, 3)),
        (4,),
        [("0", "2", positive), ("2", "4", signed)],
    ),
    "linear": (lambda: chain(nn.Identity, 4, 8, 7, 3), (4,), [("0", "2", either)]),
    "conv": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.PReLU(5)),
            *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
        ),
        (1, 6, 6),
        [("0", "2", positive), ("2", "6", positive), ("6", "8", positive)],
    ),
    "flattened": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
        ),
        (1, 6, 6),
        [("0", "4", signed)],
    ),
    "normalised": (convolutional, (1, 6, 6), [("1", "3", positive), ("4", "8", positive)]),
    "residual": (Residual, (4,), [("up", "down", signed)]),
    "slim": (Slim, (4,), [("up", "down", positive)]),
}


def copied(net: nn.Module, pairs: list[tuple[str, str, Factor]], seed: int = 5) -> nn.Module:
    """Units multiplied by c where they are written, by 1 / c where they are read, without the
    program's own means.
    """
    other, draws = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    tensors = dict(other.named_parameters())
    for writer, reader, factor in pairs:
        weight, bias, reads = (
            tensors[k].data for k in (f"{writer}.weight", f"{writer}.bias", f"{reader}.weight")
        )
        c = factor(draws, len(bias))
        weight *= c.view(-1, *[1] * (weight.ndim - 1))
        bias *= c
        if reads.shape[1] == 1:  # one filter a channel
            reads /= c.view(-1, 1, 1, 1)
        else:
            wide = c.repeat_interleave(reads.shape[1] // len(c))
            reads /= wide.view(1, -1, *[1] * (reads.ndim - 2))
    return other


def shuffled(f: ls.ModelLandscape, net: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network with all units that may change places in other places."""
    draws, found = torch.Generator().manual_seed(6), families(f)
    orders = [torch.randperm(family.size, generator=draws) for family in found]
    return loaded(net, permuted(state(landscape(net, shape)), found, orders))


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_with_other_signs_and_scales_is_the_same_network(kind: str) -> None:
    build, shape, pairs = COPIES[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build().double().eval()
    f = landscape(net, shape)
    g = landscape(shuffled(f, copied(net, pairs), shape), shape)
    value = float(f.value(f.point()))
    assert float(g.value(g.point())) == pytest.approx(value, rel=1e-12)
    a, b = state(f), state(g)
    found = aligned(f, a, b, families(f))
    end = found.of(b)
    assert max(float((b[k] - t).abs().max()) for k, t in a.items()) > 0.1
    for k, t in a.items():
        torch.testing.assert_close(end[k], t, rtol=1e-10, atol=1e-12)
    values, _ = barrier(f, a, end, torch.linspace(0, 1, 5, dtype=torch.float64))
    assert float(values.max()) - value < 1e-12 * value


@pytest.mark.parametrize(
    ("build", "shape", "signs", "scales"),
    [
        # odd and homogeneous: tanh and ReLU; neither: the others
        (lambda: chain(nn.Tanh, 4, 8, 7, 3), (4,), 2, 0),
        (lambda: chain(nn.ReLU, 4, 8, 7, 3), (4,), 0, 2),
        *[
            (partial(chain, kind, 4, 8, 7, 3), (4,), 0, 0)
            for kind in (nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Softplus)
        ],
        # the stream that LayerNorm reads has neither, what LayerNorm writes has both
        (Residual, (4,), 2, 1),
        (Encoder, (), 1, 2),
        # the stream, positive, and the units between
        (Slim, (4,), 0, 2),
    ],
    ids=[
        "tanh",
        "relu",
        "gelu",
        "silu",
        "elu",
        "sigmoid",
        "softplus",
        "residual",
        "encoder",
        "slim",
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_nothing_is_claimed_that_the_network_forbids(
    build: Callable[[], nn.Module],
    shape: tuple[int, ...],
    signs: int,
    scales: int,
    dtype: torch.dtype,
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = build().to(dtype).eval()
    f = landscape(net, shape)
    batches = [tuple(t.to(dtype) if t.is_floating_point() else t for t in b) for b in f.batches]
    f = ls.ModelLandscape(net, nn.functional.cross_entropy, batches)
    junctions = [junction for family in families(f) for junction in family.junctions]
    assert sum(junction.signs for junction in junctions) == signs
    assert sum(junction.scales for junction in junctions) == scales


class Shifted(nn.Module):
    """tanh(x + s), which is odd for s = 0 only."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(4, 8), nn.Linear(8, 3)
        self.s = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.write(torch.tanh(self.read(x) + self.s))


def test_what_holds_at_one_checkpoint_alone_is_not_applied_to_the_other() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Shifted().double()
    f = landscape(net, (4,))
    assert [j.signs for family in families(f) for j in family.junctions] == [True]
    other = copied(net, [("read", "write", signed)])
    dict(other.named_parameters())["s"].data += 0.5
    g = landscape(other, (4,))
    found = aligned(f, state(f), state(g), families(f))
    h = landscape(loaded(net, found.of(state(g))), (4,))
    assert float(h.value(h.point())) == pytest.approx(float(g.value(g.point())), rel=1e-12)
    assert all(float((c - 1).abs().max()) == 0 for each in found.after for c in each)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_compare_finds_such_a_copy_in_one_basin(kind: str) -> None:
    """At a minimum whose loss is 0, where the straight line to the copy as it is has a barrier."""
    build, shape, pairs = COPIES[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build().double()
    x = torch.randn(40, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    data = [(x, net(x).detach())]
    f = ls.ModelLandscape(net, nn.functional.mse_loss, data)
    other = shuffled(landscape(net, shape), copied(net, pairs), shape)
    g = ls.ModelLandscape(other, nn.functional.mse_loss, data)
    both = ls.compare([f, g], names=["a", "b"], resolution=9, method="lanczos")
    assert float(both.distances[0, 1]) > 1
    assert float(both.aligned_distances[0, 1]) < 1e-12
    assert float(both.barriers[0, 1]) > 1e-4
    assert float(both.aligned[0, 1]) < 1e-12
    assert both.same(0, 1)
    assert int(both.moved[0, 1]) <= 8 + 7 + 6
    text = " ".join(str(both).split())
    what = {"tanh": "3 can be flipped in sign", "relu": "3 can be rescaled"}[kind]
    assert f"3 groups of hidden units can be permuted, {what}, each verified by the loss" in text
    assert "changed place, sign or scale" in text
    if kind == "tanh":  # signs and permutations are orthogonal: the spectra agree too
        assert float(both.aligned_overlaps[0, 1]) == pytest.approx(1.0, abs=1e-6)


def regression(w: Tensor, x: Tensor, y: Tensor) -> ls.ModelLandscape:
    net = nn.Linear(len(w), 1, bias=False, dtype=torch.float64)
    net.weight.data[:] = w
    batches = list(zip(x.split(20), y.split(20), strict=True))
    return ls.ModelLandscape(net, nn.functional.mse_loss, batches)


def test_a_convex_loss_has_no_barrier_and_one_subspace() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(60, 12, generator=draws, dtype=torch.float64)
    y = torch.randn(60, 1, generator=draws, dtype=torch.float64)
    ends = torch.randn(3, 12, generator=draws, dtype=torch.float64)
    table = ls.compare([regression(w, x, y) for w in ends])
    assert table.names == ("1", "2", "3")
    assert torch.equal(table.barriers, torch.zeros(3, 3, dtype=torch.float64))
    torch.testing.assert_close(table.overlaps, torch.ones(3, 3, dtype=torch.float64))
    assert float(table.angles.max()) < 1e-6
    for i in range(3):
        for j in range(3):
            assert float(table.distances[i, j]) == pytest.approx(float((ends[i] - ends[j]).norm()))


class Well(nn.Module):
    """(w^2 - 1)^2, whose two minima are 1 apart in height of the pass between them."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w, 0.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x * ((self.w[0] ** 2 - 1) ** 2 + self.w[1] ** 2)


def test_the_barrier_of_two_wells_and_its_error_from_the_data() -> None:
    """f = mean(x) ((w^2 - 1)^2 + v^2): barrier mean(x), standard error std(batch means) / sqrt(B)."""
    x = torch.linspace(0.5, 1.5, 40, dtype=torch.float64)[
        torch.randperm(40, generator=torch.Generator().manual_seed(1))
    ]
    batches = [(part, part) for part in x.split(5)]
    wells = [
        ls.ModelLandscape(Well(w), lambda out, target: out.mean(), batches) for w in (-1.0, 1.0)
    ]
    both = ls.compare(wells, names=["left", "right"])
    assert float(both.barriers[0, 1]) == pytest.approx(float(x.mean()))
    means = torch.stack([part.mean() for part in x.split(5)])
    assert float(both.barrier_errors[0, 1]) == pytest.approx(float(means.std()) / math.sqrt(8))
    assert both.same(0, 1) is False
    assert "different basins" in str(both)


def test_two_batches_tell_no_barrier_from_none() -> None:
    """Student's law of one degree of freedom reaches 12.7 errors: between that and two, nobody knows."""
    x = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)
    wells = [
        ls.ModelLandscape(Well(w), lambda out, target: out.mean(), [(p, p) for p in x.split(2)])
        for w in (-1.0, 1.0)
    ]
    both = ls.compare(wells, align=False)
    assert float(both.aligned_reach[0, 1]) == pytest.approx(12.706, abs=1e-3)
    height, error = float(both.aligned[0, 1]), float(both.aligned_errors[0, 1])
    assert 2 * error < height < 12 * error  # 1 and a third
    assert both.same(0, 1) is None
    assert "so few batches do not tell it from none" in " ".join(str(both).split())


@pytest.mark.parametrize("theta", [0.0, 1e-12, 1e-6, 0.3, math.pi / 2])
def test_small_angles_are_not_lost(theta: float) -> None:
    """The cosine of 1e-12 is 1 in float64."""
    V = torch.eye(5, 2, dtype=torch.float64)
    W = V.clone()
    W[0, 0], W[4, 0] = math.cos(theta), math.sin(theta)
    found = principal_angles(V, W)
    assert found.tolist() == pytest.approx([0.0, theta], abs=1e-16 + 1e-14 * theta)


def test_a_span_may_be_turned_by_what_the_next_eigenvalue_may_be() -> None:
    """Its own bound is no gap."""
    H = torch.diag(torch.tensor([*[0.1] * 70, 0.9, 1.0], dtype=torch.float64))
    pairs = replace(ls.eigsh(H, largest=2), residuals=torch.tensor([0.09, 1e-3]).double())
    free = replace(pairs, bounds=torch.zeros(2).double())
    assert turned(free, 1) == pytest.approx(math.asin(1e-3 / 0.1))
    assert turned(replace(pairs, bounds=torch.tensor([0.05, 0.0]).double()), 1) == pytest.approx(
        math.asin(1e-3 / 0.05)
    )
    assert turned(replace(pairs, bounds=torch.tensor([0.2, 0.0]).double()), 1) == math.pi / 2


def test_angles_between_subspaces_that_are_turned_by_a_known_angle() -> None:
    """A quadratic of two steep directions out of four; at the other point they are turned by theta."""
    theta = 0.3

    class Turned(nn.Module):
        H: Tensor

        def __init__(self, angle: float) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.zeros(12, dtype=torch.float64))
            turn = torch.eye(12, dtype=torch.float64)
            c, s = math.cos(angle), math.sin(angle)
            turn[9, 9], turn[9, 0], turn[0, 9], turn[0, 0] = c, -s, s, c
            steep = torch.diag(torch.tensor([1e-3] * 2 + [1.0 + i for i in range(10)]).double())
            self.register_buffer("H", turn @ steep @ turn.T)

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.x @ self.H @ self.x)

    data = [(torch.ones(2, dtype=torch.float64),) * 2]
    fs = [ls.ModelLandscape(Turned(a), lambda out, t: out.mean(), data) for a in (0.0, theta)]
    both = ls.compare(fs, align=False)
    angles = both.angles[0, 1]
    assert float(angles[-1]) == pytest.approx(theta, abs=1e-6)
    assert float(angles[:-1].max()) < 1e-6
    truth = (9 + math.cos(theta) ** 2) / 10
    assert float(both.overlaps[0, 1]) == pytest.approx(truth, abs=1e-9)
    assert float(both.angle_errors[0, 1]) < 1e-6


def test_it_is_stored_drawn_and_said(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=draws, dtype=torch.float64)
    ends = torch.randn(2, 4, generator=draws, dtype=torch.float64)
    both = ls.compare([regression(w, x, x[:, :1]) for w in ends], names=["before", "after"])
    back = ls.load(both.save(tmp_path / "run"))
    assert torch.equal(back.barriers, both.barriers)
    assert str(back) == str(both)
    assert "before and after are in one basin" in " ".join(str(both).split())
    recipe = landscape_figures.RECIPES["basins"]
    assert "barriers" in recipe.caption(back)
    assert recipe.draw(back).axes


def test_mistakes_are_named() -> None:
    x = torch.randn(40, 3, dtype=torch.float64)
    f = regression(torch.ones(3), x, x[:, :1])
    with pytest.raises(ValueError, match="two landscapes or more"):
        ls.compare([f])
    with pytest.raises(ValueError, match="another network"):
        ls.compare([f, regression(torch.ones(2), x[:, :2], x[:, :1])])
    with pytest.raises(ValueError, match="same model object"):
        ls.compare([f, f])
    with pytest.raises(TypeError, match="landscapes of models"):
        ls.compare([f, ls.FunctionLandscape(lambda x: x.sum(-1), 3)])  # type: ignore[list-item]
