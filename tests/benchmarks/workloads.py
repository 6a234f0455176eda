"""The three workloads that every tool is timed on: a model trained a little, its loss, its batches. Float32, CPU, seeded.

digits-mlp  tanh MLP 64-256-256-10 (85,002 parameters), the 1,797 scikit-learn digits in one batch
resnet20    ResNet-20 with GroupNorm (272,282 parameters), 64 noisy prototypes of 3x32x32 in two batches
gpt         decoder-only transformer, 4 layers of width 128 (867,072 parameters), 32 Markov sequences of 64 tokens in four batches

and one for long work: resnet18, as resnet20 but of widths 64 to 512 (11,172,170 parameters), 8 images in two batches.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batches = list[tuple[Tensor, Tensor]]


class Workload(NamedTuple):
    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: Batches


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target.reshape(-1))


class Block(nn.Module):
    """Two 3x3 convolutions with GroupNorm and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.GroupNorm(4, after),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.GroupNorm(4, after),
        )
        self.shortcut = (
            nn.Identity() if before == after else nn.Conv2d(before, after, 1, stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))


RESNET20 = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
RESNET18 = [64, 64, 64, 128, 128, 256, 256, 512, 512]


def resnet(widths: list[int]) -> nn.Module:
    """For images of 3x32x32: the width of the stem and of each block."""
    first, last = widths[0], widths[-1]
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    stem = [nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.GroupNorm(4, first), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, Mean(), nn.Linear(last, 10))


class Layer(nn.Module):
    """Causal self-attention and an MLP, pre-normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.qkv, self.mix = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.norm2, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (
            part.view(b, t, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        scores = q @ k.mT / (d // self.heads) ** 0.5
        hidden = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        attention = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        x = x + self.mix(attention.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(
        self, vocabulary: int = 256, width: int = 128, layers: int = 4, context: int = 64
    ) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.layers = nn.Sequential(*[Layer(width, 4) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        return self.head(self.norm(self.layers(x))).flatten(0, 1)


def _digits() -> tuple[nn.Module, Batches]:
    from sklearn.datasets import load_digits

    data = load_digits()
    model = nn.Sequential(
        nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)
    )
    return model, [(torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target))]


def _images(widths: list[int], count: int) -> tuple[nn.Module, Batches]:
    prototypes, labels = torch.randn(10, 3, 32, 32), torch.randint(10, (count,))
    images = prototypes[labels] + 2 * torch.randn(count, 3, 32, 32)
    half = count // 2
    return resnet(widths), list(zip(images.split(half), labels.split(half), strict=True))


def _sequences() -> tuple[nn.Module, Batches]:
    chain, tokens = torch.randn(256, 256).mul(2).softmax(-1), torch.randint(256, (32, 1))
    for _ in range(64):
        tokens = torch.cat([tokens, torch.multinomial(chain[tokens[:, -1]], 1)], 1)
    return GPT(), [(part[:, :-1], part[:, 1:]) for part in tokens.split(8)]


BUILD: dict[str, Callable[[], tuple[nn.Module, Batches]]] = {
    "digits-mlp": _digits,
    "resnet20": lambda: _images(RESNET20, 64),
    "gpt": _sequences,
}
LARGE: dict[str, Callable[[], tuple[nn.Module, Batches]]] = {
    "resnet18": lambda: _images(RESNET18, 8)
}


def load(name: str, steps: int = 60) -> Workload:
    """The workload after ``steps`` Adam steps, so that its spectrum has the outliers of a trained net."""
    torch.manual_seed(0)
    model, batches = (BUILD | LARGE)[name]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    model.zero_grad(set_to_none=True)
    return Workload(model, cross_entropy, batches)
