"""What the checks of the data, the mean and the chain cost, in Hessian-vector products.

    python tests/benchmarks/checks.py [ROUNDS]

Each is timed beside products of the same landscape that build their graphs anew, as they do where memory is short; the
numbers are the medians of ROUNDS (5) measurements of both. The three together are to cost at most 10 products.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.landscapes.data import pinned
from landscape.points.chain import chain
from landscape.points.look import Look

MOST = 10.0


class Words(nn.Module):
    """A small language model with a loss of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, F.gelu, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 50)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        scores = self.head(self.body(self.embed(input_ids)))
        return F.cross_entropy(scores[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def mlp() -> ls.ModelLandscape:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 10)
    )
    x, y = torch.randn(1024, 64), torch.randint(0, 10, (1024,))
    parts = list(zip(x.split(128), y.split(128), strict=True))
    return ls.ModelLandscape(net, lambda o, t: F.cross_entropy(o, t), parts)


def conv() -> ls.ModelLandscape:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.Tanh(),
        nn.Conv2d(16, 16, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )
    x, y = torch.randn(256, 1, 12, 12), torch.randint(0, 10, (256,))
    return ls.ModelLandscape(
        net, lambda o, t: F.cross_entropy(o, t), list(zip(x.split(32), y.split(32), strict=True))
    )


def words() -> ls.ModelLandscape:
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (64, 24))
    batches = [{"input_ids": part, "labels": part} for part in ids.split(8)]
    return ls.ModelLandscape(Words(), None, batches)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def costs(build: Callable[[], ls.ModelLandscape]) -> tuple[int, float, dict[str, float]]:
    """Parameters, seconds of a product, and what each check costs in products of its own landscape's."""
    f = build()
    x = f.point()
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(0))
    H = ls.Hessian(f, x, memory=0)
    _ = H @ v
    product = statistics.median(seconds(lambda: H @ v) for _ in range(3))

    def mean() -> object:
        f._mean = None
        return f.mean

    look = Look(f, x, "check")
    _ = look.gradient, look.value  # the analysis has looked there already
    each = {
        "data": seconds(lambda: pinned(list(f.batches), 0)),
        "mean": seconds(mean),
        "chain": seconds(lambda: chain(look, 0)),
    }
    return f.dim, product, {name: spent / product for name, spent in each.items()}


def main(rounds: int) -> None:
    print("landscape   parameters   ms a product   data   mean   chain   together")
    for build in (mlp, conv, words):
        runs = [costs(build) for _ in range(rounds)]
        parts = {k: statistics.median(run[2][k] for run in runs) for k in ("data", "mean", "chain")}
        product, total = statistics.median(run[1] for run in runs), sum(parts.values())
        columns = "   ".join(f"{parts[k]:4.1f}" for k in parts)
        told = "" if total <= MOST else f"   more than {MOST:g}"
        print(
            f"{build.__name__:9}   {runs[0][0]:10,}   {1000 * product:12.1f}   {columns}    {total:6.1f}{told}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
