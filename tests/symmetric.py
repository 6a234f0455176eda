"""Nets whose flat directions are known in closed form, each beside its count, and landscapes at whose minima they stand."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import landscape as ls

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


class Narrow(nn.Module):
    """A gated branch whose output two units read, of the four that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down, self.head = L(4, 10), L(5, 4), L(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.both(x).chunk(2, -1)
        found: Tensor = self.head(x + self.down(F.silu(gate) * up))
        return found


class Experts(nn.Module):
    """Linear experts, mixed by a softmax, beside a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.beside = L(4, 3), L(4, 2)
        self.experts = nn.ModuleList(L(4, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.gate(x), -1).unsqueeze(-1)
        found: Tensor = self.beside(x)
        return found + (shares * torch.stack([e(x) for e in self.experts], 1)).sum(1)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pieces, self.head = L(4, 8), L(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.pieces(x).unflatten(-1, (4, 2)).amax(-1))
        return found


class Crossed(nn.Module):
    """torch's own attention with keys and values of another width, behind a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.q = L(6, 4)
        self.attention = nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        k, v = x.chunk(2, -1)
        found: Tensor = self.attention(self.q(x), k, v, need_weights=False)[0]
        return found


class Bilinear(nn.Module):
    """A bilinear form of two linear maps of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = L(4, 3, bias=False), L(3, 2, bias=False)
        self.both = nn.Bilinear(3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.both(self.a(x[:, :4]), self.b(x[:, 4:]))
        return found


class Cosine(nn.Module):
    """Cosines between what a LayerNorm gives and vectors of classes, times a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.norm = L(5, 4), nn.LayerNorm(4, eps=0.0)
        self.classes, self.sharp = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        h = F.normalize(self.norm(self.read(x)), dim=-1)
        return self.sharp * h @ F.normalize(self.classes, dim=-1).T


class Hyper(nn.Module):
    """A layer whose 12 weights a linear map makes of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.make = nn.Parameter(torch.randn(2)), L(2, 12, bias=False)
        self.head = L(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        w: Tensor = self.make(self.code).view(3, 4)
        found: Tensor = self.head(torch.tanh(x @ w.T))
        return found


class NormedBranch(nn.Module):
    """A stream of channels beside which a convolution is normalised over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.Conv1d(2, 3, 1), L(3, 2)
        self.conv = nn.Conv1d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(3, eps=1e-30)

    def forward(self, x: Tensor) -> Tensor:
        x = self.read(x)
        x = x + torch.relu(self.norm(self.conv(x)))
        found: Tensor = self.head(x.mean(-1))
        return found


class Squeezed(nn.Module):
    """Attention whose keys and values are made of three numbers a place."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.c = L(5, 4, bias=False), L(5, 3, bias=False)
        self.k, self.v, self.o = (L(*s, bias=False) for s in ((3, 4), (3, 4), (4, 3)))

    def forward(self, x: Tensor) -> Tensor:
        c = self.c(x)
        parts = (self.q(x), self.k(c), self.v(c))
        q, k, v = (t.unflatten(-1, (2, 2)).transpose(1, 2) for t in parts)
        mixed = F.scaled_dot_product_attention(q, k, v)
        found: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return found


class Conditioned(nn.Module):
    """ReLU units whose scale and shift two other inputs give."""

    def __init__(self) -> None:
        super().__init__()
        self.given, self.read, self.head = L(2, 8), L(3, 4), L(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.given(x[:, 3:]).chunk(2, -1)
        found: Tensor = self.head(torch.relu(scale * self.read(x[:, :3]) + shift))
        return found


class Gains(nn.Module):
    """Squared ReLU units, each times a positive gain."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.gain, self.head = L(4, 5), nn.Parameter(torch.randn(5)), L(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(F.softplus(self.gain) * torch.relu(self.read(x)) ** 2)
        return found


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.r, self.head = L(3, 2), nn.GRU(2, 3, batch_first=True), L(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.r(self.read(x))[0])
        return found


def weighted() -> nn.Module:
    """Two layers whose weights are lengths and directions, with ReLUs between."""
    of = nn.utils.parametrizations.weight_norm
    return nn.Sequential(of(L(4, 5)), nn.ReLU(), of(L(5, 3)))


def spectral() -> nn.Module:
    """A layer whose weights are divided by their norm, before ReLUs."""
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(L(4, 5)), nn.ReLU(), L(5, 3))


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
    # biases of down, units of up, and what the head's two units do not see of the four
    "a narrow head behind gates": (Narrow, (4,), False, 4 + 5 + 2 * 5),
    # of the gate's softmax, and every entry of the experts against the map beside
    "experts beside a linear map": (Experts, (4,), False, 5 + 8 + 2),
    # constants and scales of units, and linear functions that units exchange unseen by the head
    "maxout": (Maxout, (4,), False, 4 + 4 + 2 * 4),
    # two heads, the map before the queries with its bias, biases of keys and values
    "cross attention, keys of another width": (Crossed, (4, 6), False, 16 + 16 + 4 + 4 + 4),
    # two biases for one of two gates, GL of the map before and the bias that it has
    "a recurrent layer behind a linear map": (Recurrent, (4, 3), False, 6 + 4 + 2),
    # lengths of both layers, and the units, whose velocities are not affine
    "weight normalisation on both sides of ReLUs": (weighted, (4,), False, 5 + 3 + 5),
    "spectral normalisation before ReLUs": (spectral, (4,), False, 5),
    # GL of both maps
    "a bilinear form": (Bilinear, (7,), False, 9 + 4),
    # 8 x 3 weights each of queries and keys, and of values and outputs, of whose products 9 are free
    "heads wider than what they read": (lambda: Attention(3, 2, 4, False), (4, 3), False, 4 * 15),
    # the 14 numbers that make 12 weights, 24 of them
    "weights that a linear map makes": (Hyper, (4,), False, 2 + 24 - 12),
    # GL of two heads, twice, and of what keys and values are made of
    "keys and values of few numbers": (Squeezed, (4, 5), False, 16 + 9),
    # units, what is scaled against what scales, and the bias before the scale against the shift
    "units that other inputs scale and shift": (Conditioned, (5,), False, 4 + 4 + 4),
    # units, and what each gain makes up for
    "squares and gains": (Gains, (4,), False, 5 + 5),
    # by the rank of a dense Jacobian: no closed form is known
    "cosines behind a LayerNorm": (Cosine, (5,), True, 15),
    "a residual branch, before BatchNorm": (NormedBranch, (2, 6), False, 14),
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
