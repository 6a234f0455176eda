"""Flat directions against closed-form counts: at stationary points the Hessian has as many zero eigenvalues, elsewhere f is constant along as many."""

from collections.abc import Callable
from pathlib import Path

import landscape_figures
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.points.symmetry import explained, symmetries

L = nn.Linear
F = nn.functional


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, size: int, bias: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (L(width, heads * size, bias=bias) for _ in range(3))
        self.o, self.heads = L(heads * size, width, bias=bias), heads

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.q, self.k, self.v)
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in layers)
        mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return self.o(mixed.transpose(1, 2).flatten(2))


class Stream(nn.Module):
    """A residual stream that is read through RMSNorm without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = L(5, 4, bias=False), L(4, 3)
        self.up, self.down = L(4, 6), L(6, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        x = x + self.down(torch.tanh(self.up(F.rms_norm(x, (4,)))))
        return self.head(F.rms_norm(x, (4,)))


class Gated(nn.Module):
    """up * silu(gate), then down: each unit of up may be scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.gate, self.down = L(5, 6, bias=False), L(5, 6), L(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x) * F.silu(self.gate(x)))


class TwoReaders(nn.Module):
    """One ReLU layer read by two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.a, self.b = L(5, 7), L(7, 2), L(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.hidden(x))
        return torch.cat([self.a(h), self.b(h)], -1)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = L(5, 3), L(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Heads(nn.Module):
    """Attention of 4 heads of 2 on 6 channels: all in one Linear head by head, keys and values shared
    by pairs of heads, a tensor with an axis of heads, or turned by rotary positions."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, shared = form, form == "grouped"
        wide = {"one": 24, "grouped": 16, "rotary": 24, "axes": 24}[form]
        self.o = L(8, 6, bias=False)
        if form == "axes":
            self.qkv = nn.ParameterList(0.5 * torch.randn(4, 6, 2) for _ in range(3))
        else:
            self.all = L(6, wide, bias=False) if form == "one" else None
            if form != "one":
                kept = 4 if shared else 8
                self.q, self.k, self.v = (L(6, d, bias=False) for d in (8, kept, kept))

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "one":
            assert self.all is not None
            q, k, v = self.all(x).unflatten(-1, (4, 3, 2)).permute(3, 0, 2, 1, 4)
        elif self.form == "axes":
            q, k, v = (torch.einsum("btw,hwd->bhtd", x, p) for p in self.qkv)
        else:
            parts = (m(x).unflatten(-1, (-1, 2)).transpose(1, 2) for m in (self.q, self.k, self.v))
            q, k, v = (t.repeat_interleave(4 // t.shape[1], 1) for t in parts)
        if self.form == "rotary":
            q, k = turned(q), turned(k)
        mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return self.o(mixed.transpose(1, 2).flatten(2))


def turned(t: Tensor) -> Tensor:
    angle = torch.arange(t.shape[-2], dtype=t.dtype)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * t[..., 0] - sin * t[..., 1], sin * t[..., 0] + cos * t[..., 1]], -1)


class Normed(nn.Module):
    """A residual stream of 4 that is read through LayerNorms with weights and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = L(5, 4), L(4, 3)
        self.norm, self.last = (nn.LayerNorm(4, eps=0.0) for _ in range(2))
        self.up, self.down = L(4, 6), L(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        x = x + self.down(torch.tanh(self.up(self.norm(x))))
        return self.head(self.last(x))


class Adapted(nn.Module):
    """W + B A with all three trained: A and B are free, as W makes up for them."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.a, self.b = (
            nn.Parameter(0.5 * torch.randn(*s)) for s in ((4, 5), (2, 5), (4, 2))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.w + self.b @ self.a).T


def layer() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 6, 0.0, layer_norm_eps=0.0, batch_first=True)


def dead() -> nn.Module:
    """One ReLU unit of six is never active: all that it reads and all that it writes is flat."""
    first = L(5, 6)
    net = nn.Sequential(first, nn.ReLU(), L(6, 3))
    first.bias.data[:] = 0.5
    first.bias.data[2] = -50.0
    return net


def normed(mode: str) -> nn.Module:
    net = nn.Sequential(L(5, 6), nn.BatchNorm1d(6, eps=1e-30), nn.ReLU(), L(6, 2))
    net.train()
    for _ in range(3):
        net(torch.randn(50, 5))
    return net.train(mode == "train")


# network, shape of a sample, whether it ends in softmax, and the closed-form count
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool, int]] = {
    "softmax regression, d + 1": (lambda: L(5, 4), (5,), True, 6),
    "one a ReLU unit, and softmax": (
        lambda: nn.Sequential(L(5, 8), nn.ReLU(), L(8, 4)),
        (5,),
        True,
        8 + 9,
    ),
    "leaky units of two layers": (
        lambda: nn.Sequential(L(5, 6), nn.LeakyReLU(), L(6, 4), nn.LeakyReLU(), L(4, 2)),
        (5,),
        False,
        10,
    ),
    "r^2 between linear layers, and r of the bias": (
        lambda: nn.Sequential(L(5, 3), L(3, 4)),
        (5,),
        False,
        9 + 3,
    ),
    "r^2 without biases": (
        lambda: nn.Sequential(L(5, 3, bias=False), L(3, 4, bias=False)),
        (5,),
        False,
        9,
    ),
    "2 d^2 a head": (lambda: Attention(4, 2, 2, False), (4, 4), False, 16),
    "the same with biases, of the key all, of the value through": (
        lambda: Attention(4, 2, 2, True),
        (4, 4),
        False,
        16 + 4 + 4,
    ),
    "torch's own attention": (
        lambda: nn.Sequential(Own()),
        (4, 4),
        False,
        16 + 4 + 4,
    ),
    "rotations and the scale that RMSNorm leaves": (Stream, (5,), False, 6 + 1),
    "units that gate": (Gated, (5,), False, 6),
    "two readers": (TwoReaders, (5,), False, 7),
    "weight normalisation": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(L(5, 6)), nn.Softplus(), L(6, 2)
        ),
        (5,),
        False,
        6,
    ),
    "before BatchNorm: scale and bias, and after it": (
        lambda: normed("train"),
        (5,),
        False,
        6 + 6 + 6,
    ),
    "BatchNorm that stands": (lambda: normed("eval"), (5,), False, 18),
    "unused parameters": (Unused, (5,), False, 10),
    "a dead unit": (dead, (5,), False, 5 + 6 + 3),
    "channels, pooled and flattened": (
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), L(16, 3))
        ),
        (1, 6, 6),
        False,
        4,
    ),
    "heads in one Linear, head by head": (lambda: Heads("one"), (5, 6), False, 32),
    "keys and values of pairs of heads": (lambda: Heads("grouped"), (5, 6), False, 16),
    "an axis of heads": (lambda: Heads("axes"), (5, 6), False, 32),
    # of queries and keys the complex numbers, which commute with rotations
    "rotary positions": (lambda: Heads("rotary"), (5, 6), False, 4 * 2 + 4 * 4),
    # the stream: rotations that leave the mean, scale, means of what is written; each norm's weights
    # and biases, and the mean that what reads it does not see
    "a stream through LayerNorms": (Normed, (5,), False, 3 + 1 + 14 - 1 + 2 * 8 + 6 + 3),
    # linear2 and out_proj into norms: means; between: weights and bias of norm1, blind readers, units
    "torch's own layer": (layer, (5, 4), False, 24 + 7 + 5 + 4 + 6 + 6 + 1),
    "a grouped convolution": (
        lambda: nn.Sequential(
            *(nn.Conv1d(3, 6, 2), nn.ReLU(), nn.Conv1d(6, 4, 3, groups=2), nn.ReLU()),
            *(nn.Conv1d(4, 2, 1), nn.Flatten()),
        ),
        (3, 7),
        False,
        10,
    ),
    # B, A and what W does for them; maps that are found where the point is stationary only
    "an adapter whose base is trained": (Adapted, (5,), False, 8 + 10),
    "no symmetry": (lambda: nn.Sequential(L(5, 6), nn.Tanh(), L(6, 2)), (5,), False, 0),
}


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return found


def teacher(name: str, samples: int = 200, l2: float = 0.0) -> ls.ModelLandscape:
    """A net whose targets are its own outputs: a minimum where it stands."""
    build, shape, softmax, _ = NETS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        net = build().double()
        for parameter in net.parameters():  # no biases at zero, no scales at one
            parameter.data += 0.1 * torch.randn_like(parameter)
        x = torch.randn(samples, *shape, dtype=torch.float64)
    mode = "train" if "before BatchNorm" in name else "eval"
    net.train(mode == "train")
    with torch.no_grad():
        y = net(x)
    y = torch.softmax(y, -1) if softmax else y
    loss = F.cross_entropy if softmax else F.mse_loss
    return ls.ModelLandscape(net.eval(), loss, [(x, y)], mode=mode, l2={"*": l2} if l2 else None)


def named(*without: str) -> list[object]:
    """The nets but for some; those that take long are slow."""
    names = [name for name in NETS if not any(word in name for word in without)]
    long = ("heads", "rotary", "stream", "torch's own layer", "grouped")
    return [
        pytest.param(name, marks=[pytest.mark.slow] * any(word in name for word in long))
        for name in names
    ]


@pytest.mark.parametrize("name", named())
def test_at_a_minimum_symmetries_explain_every_zero_eigenvalue(name: str) -> None:
    f = teacher(name)
    point = ls.classify(f)
    count = NETS[name][3]
    assert point.nullity == sum(point.flat.values()) == count
    assert point.kind == "minimum"
    rank = f.dim - count
    assert point.learning_coefficient == (rank / 2, rank / 2)
    spectrum = torch.linalg.eigvalsh(ls.Hessian(f).dense()).abs().sort().values
    if count:
        assert float(spectrum[count - 1]) < 1e-4 * float(spectrum[count])


@pytest.mark.parametrize("name", named("dead", "unused", "adapter"))
def test_elsewhere_the_loss_is_constant_along_as_many_directions(name: str) -> None:
    """A random point, where the gradient is orthogonal to every orbit, with targets of its own."""
    f = teacher(name, samples=40)
    draws = torch.Generator().manual_seed(9)
    x = f.point() + 0.2 * torch.randn(f.dim, generator=draws, dtype=torch.float64)
    found = symmetries(f, x)
    assert sum(explained(found).values()) == NETS[name][3]
    g = f.gradient(x)
    for flat in found:
        assert float((flat.tangents.T @ g).norm()) < 1e-10 * float(g.norm())


@pytest.mark.parametrize("name", list(NETS)[:5])
def test_a_regulariser_breaks_them(name: str) -> None:
    f = teacher(name, l2=1e-2)
    x = f.point()
    dims = explained(symmetries(f, x))
    # |w|^2 is left by rotations alone, of the linear maps between
    rotations = 3 if "r^2" in name else 0
    assert sum(dims.values()) == rotations


@pytest.mark.parametrize(
    "name",
    ["leaky units of two layers", pytest.param("torch's own attention", marks=pytest.mark.slow)],
)
def test_a_search_from_both_ends_leaves_them_out(name: str) -> None:
    f = teacher(name)
    whole = torch.linalg.eigvalsh(ls.Hessian(f).dense())
    point = ls.classify(f, method="lanczos", smallest=4)
    count = NETS[name][3]
    assert (point.kind, point.index, point.nullity) == ("minimum", 0, count)
    assert sum(point.flat.values()) == count
    assert float(point.eigenvalues[0]) == pytest.approx(float(whole[count]), rel=1e-6)
    assert any("left out of the search" in reason for reason in point.reasons)


@pytest.mark.slow
def test_above_3000_parameters_against_the_dense_spectrum() -> None:
    """3,024 parameters, 60 units: the smallest curvature is the 61st of the whole spectrum."""
    net = nn.Sequential(L(25, 60), nn.LeakyReLU(0.3), L(60, 24)).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        x = torch.randn(600, 25, dtype=torch.float64)
        for parameter in net.parameters():
            parameter.data = 0.3 * torch.randn_like(parameter)
    f = ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())])
    point = ls.classify(f, max_products=2000)
    assert (point.method, point.kind, point.nullity) == ("lanczos", "minimum", 60)
    assert sum(point.flat.values()) == 60
    whole = torch.linalg.eigvalsh(ls.Hessian(f).dense())
    assert float(point.eigenvalues[0]) == pytest.approx(float(whole[60]), rel=1e-4)


def test_what_few_samples_leave_open_is_no_symmetry() -> None:
    """Of 66 parameters 5 samples of 3 outputs see 15 directions; rescaling explains 7 others."""
    net = nn.Sequential(L(5, 7), nn.LeakyReLU(0.5), L(7, 3)).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = torch.randn(5, 5, dtype=torch.float64)
    point = ls.classify(ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())]))
    assert point.nullity == len(point.x) - 15
    assert sum(count for name, count in point.flat.items() if "rescaling" in name) == 7
    # what no sample sees anywhere: the first layer's weights and bias read 5 samples of 6 columns
    assert sum(point.flat.values()) <= 7 + 7
    assert point.kind == "degenerate"


def test_an_accidental_zero_is_no_symmetry() -> None:
    """(a b - 1)^2 + c^4: GL(1) of a and b is one, the zero of c is not, and the verdict stays open."""

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Parameter(torch.tensor([v], dtype=torch.float64)) for v in (2.0, 0.5, 0.0)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x * ((self.a * self.b - 1) ** 2 + self.c**4)

    data = [(torch.ones(4, 1, dtype=torch.float64),) * 2]
    point = ls.classify(ls.ModelLandscape(Product(), lambda out, t: out.mean(), data))
    assert point.kind == "degenerate"
    assert point.nullity == 2
    assert sum(point.flat.values()) == 1
    assert any("1 of the 2 zero eigenvalues" in reason for reason in point.reasons)
    assert any("minimum to fourth order" in reason for reason in point.reasons)


def test_a_valley_that_is_flat_to_second_order_only_stays_open() -> None:
    """y^2 - 3 x^2 y is constant along y = 0 and falls beside it: a straight way is not enough."""

    class Peano(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.p[1] ** 2 - 3 * self.p[0] ** 2 * self.p[1])

    data = [(torch.ones(4, 1, dtype=torch.float64),) * 2]
    point = ls.classify(ls.ModelLandscape(Peano(), lambda out, t: out.mean(), data))
    assert point.kind == "degenerate"
    assert point.flat == {}


@pytest.mark.slow
def test_a_report_says_and_draws_it(tmp_path: Path) -> None:
    f = teacher("2 d^2 a head")
    report = ls.analyze(f)
    text = " ".join(str(report).split())
    assert "MINIMUM: every eigenvalue is positive but for 16 flat directions" in text
    assert "8 of 2 x GL(2) of q, k" in text
    assert "local learning coefficient 24" in text
    back = ls.load(report.save(tmp_path / "run"))
    assert back.point.flat == report.point.flat
    assert landscape_figures.RECIPES["spectrum"].draw(back).axes


@pytest.mark.slow
def test_where_the_loss_slopes_the_gradients_share_is_told() -> None:
    f = teacher("one a ReLU unit, and softmax", samples=40)
    x = f.point() + 0.3 * torch.randn(
        f.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    report = ls.analyze(f, x)
    assert report.point.kind == "not-stationary"
    assert sum(report.point.flat.values()) == 17
    assert any("are the gradient's share" in reason for reason in report.point.reasons)


@pytest.mark.slow
def test_polish_finds_a_minimum_modulo_symmetry() -> None:
    f = teacher("the same with biases, of the key all, of the value through", samples=100)
    draws = torch.Generator().manual_seed(1)
    start = f.point() + 1e-3 * torch.randn(f.dim, generator=draws, dtype=torch.float64)
    point = ls.find_stationary(f, start)
    assert point.kind == "minimum"
    assert point.nullity == sum(point.flat.values()) == 24
