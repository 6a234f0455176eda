"""Small networks of many kinds with data and a loss, and their loss written out a second time as one plain function.

``problem(kind, seed)`` gives a float64 model, its loss, one full batch, L2 terms; ``plain_loss`` is the same objective on the full batch,
with nothing of the library in it, to be differentiated by ``torch.autograd.functional``.
"""

from collections.abc import Callable
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLES = 23  # prime: no batch size divides it


class Net(NamedTuple):
    model: nn.Module
    loss: Callable[..., Tensor]
    batch: tuple[Tensor, Tensor]
    l2: dict[str, float]

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        x, y = self.batch
        return list(zip(x.split(size), y.split(size), strict=True))


class Recurrent(nn.Module):
    def __init__(
        self, kind: type[nn.RNN | nn.LSTM | nn.GRU], hidden: int = 5, **options: Any
    ) -> None:
        super().__init__()
        self.rnn, self.head = kind(3, hidden, batch_first=True, **options), nn.Linear(hidden, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.attention, self.head = (
            nn.MultiheadAttention(width, 2, batch_first=True),
            nn.Linear(width, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class FusedAttention(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(width, 3 * width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v, is_causal=True).mean(1))


class Encoder(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 2, dim_feedforward=8, batch_first=True)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Tied(nn.Module):
    """A language model whose output layer shares the embedding's weight."""

    def __init__(self, vocabulary: int = 7, width: int = 5) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(vocabulary, width), nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.mix(self.embedding(x).mean(1))))


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.T)


def asymmetric(output: Tensor, target: Tensor) -> Tensor:
    return torch.where(output > target, output - target, 10 * (target - output)).mean()


def _vectors(*shape: int) -> Tensor:
    return torch.randn(SAMPLES, *shape)


def _mlp(activation: Callable[[], nn.Module], *widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def _batch_norm() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    for _ in range(3):
        model(_vectors(4))  # running statistics that are not the initial ones
    return model


_BUILD: dict[str, Callable[[], nn.Module]] = {
    "tanh-mlp": lambda: _mlp(nn.Tanh, 4, 8, 8, 3),
    "relu-mlp": lambda: _mlp(nn.ReLU, 4, 12, 3),
    "gelu-deep": lambda: _mlp(nn.GELU, 4, 6, 6, 6, 6, 3),
    "wide-mlp": lambda: _mlp(nn.SiLU, 4, 100, 3),
    "conv": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ),
    "group-norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ),
    "batch-norm": _batch_norm,
    "layer-norm": lambda: nn.Sequential(
        nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)
    ),
    "weight-norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.Softplus(), nn.Linear(8, 3)
    ),
    "gru": lambda: Recurrent(nn.GRU),
    "lstm": lambda: Recurrent(nn.LSTM, num_layers=2),
    "rnn": lambda: Recurrent(nn.RNN),
    "attention": Attention,
    "fused-attention": FusedAttention,
    "encoder": Encoder,
    "tied": Tied,
    "tied-autoencoder": TiedAutoencoder,
    "regression": lambda: _mlp(nn.Tanh, 4, 10, 2),
    "asymmetric": lambda: _mlp(nn.Tanh, 4, 10, 2),
    "huber": lambda: _mlp(nn.Sigmoid, 4, 10, 2),
}
KINDS = tuple(_BUILD)


def problem(kind: str, seed: int = 0) -> Net:
    """A network of one kind in float64; the global random state is left as it was."""
    loss: Callable[..., Tensor]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILD[kind]().double()
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(
                parameter
            )  # zero biases and unit scales are special points
        if kind in ("conv", "group-norm"):
            x = _vectors(1, 6, 6)
        elif kind in ("gru", "lstm", "rnn"):
            x = _vectors(5, 3)
        elif kind in ("attention", "fused-attention", "encoder"):
            x = _vectors(4, 6)
        elif kind == "tied":
            x = torch.randint(0, 7, (SAMPLES, 4))
        else:
            x = _vectors(6 if kind == "tied-autoencoder" else 4)
        y, loss = torch.randint(0, 7 if kind == "tied" else 3, (SAMPLES,)), F.cross_entropy
        if kind in ("regression", "asymmetric", "huber"):
            y = _vectors(2)
            losses: dict[str, Callable[..., Tensor]] = {
                "regression": F.mse_loss,
                "asymmetric": asymmetric,
                "huber": F.huber_loss,
            }
            loss = losses[kind]
        elif kind == "tied-autoencoder":
            y, loss = x.clone(), F.mse_loss
    model = (
        model.float().double()
    )  # numbers that float32 holds exactly, so that both dtypes see the same landscape
    batch = (_exact(x), _exact(y))
    return Net(model.eval(), loss, batch, {"*weight*": 1e-2} if seed % 2 else {})


def _exact(t: Tensor) -> Tensor:
    return t.float().double() if t.is_floating_point() else t


def plain_loss(net: Net) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """(objective of a flat float64 vector, the current point); written without the library."""
    names = [k for k, _ in net.model.named_parameters()]
    shapes = [p.shape for p in net.model.parameters()]
    point = torch.cat([p.detach().flatten() for p in net.model.parameters()])
    x, y = net.batch
    model = _plain(net.model)

    def objective(flat: Tensor) -> Tensor:
        values, start = {}, 0
        for name, shape in zip(names, shapes, strict=True):
            values[name] = flat[start : start + shape.numel()].reshape(shape)
            start += shape.numel()
        originals = dict(values)
        _normalise(values)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            total = net.loss(torch.func.functional_call(model, values, (x,)), y)
        for glob, c in net.l2.items():
            for name, value in originals.items():
                if fnmatch(name, glob):
                    total = total + 0.5 * c * (value * value).sum()
        return total

    return objective, point


def _normalise(values: dict[str, Tensor]) -> None:
    """w = g v / |v| by hand: the second derivative of ``torch._weight_norm`` is wrong."""
    for name in [k for k in values if k.endswith("weight.original0")]:
        layer = name.removesuffix(".parametrizations.weight.original0")
        g, v = values.pop(name), values.pop(name.replace("original0", "original1"))
        values[f"{layer}.weight"] = g * v / v.square().sum(1, keepdim=True).sqrt()


def _plain(model: nn.Module) -> nn.Module:
    """The model with ordinary linear layers in place of parametrised ones."""
    if not any("parametrizations" in k for k, _ in model.named_parameters()):
        return model
    assert isinstance(model, nn.Sequential)
    layers = [
        nn.Linear(m.in_features, m.out_features).double() if isinstance(m, nn.Linear) else m
        for m in model
    ]
    return nn.Sequential(*layers)
