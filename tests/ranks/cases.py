"""What the ranks of ``test_ranks.py`` compute; ``alone`` says what one process gives."""

import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import landscape as ls
from landscape.errors import RanksError


def net(dtype: torch.dtype = torch.float64, rows: int = 50, width: int = 8) -> ls.ModelLandscape:
    """A small classifier with 503 parameters and batches of unlike size."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 15), nn.Tanh(), nn.Linear(15, 3)
    ).to(dtype)
    x, y = torch.randn(rows, 6, dtype=dtype), torch.randint(3, (rows,))
    batches = list(zip(x.split(width), y.split(width), strict=True))
    return ls.ModelLandscape(model, nn.functional.cross_entropy, batches, l2={"*": 1e-3})


def vectors(f: ls.ModelLandscape) -> Tensor:
    return torch.randn(f.dim, 3, generator=torch.Generator().manual_seed(1), dtype=f.dtype)


def numbers(f: ls.ModelLandscape) -> dict[str, Any]:
    """What is made of f by the operators and the solvers."""
    x = f.point()
    H, G, V = ls.Hessian(f, x), ls.GaussNewton(f, x), vectors(f)
    pairs = ls.eigsh(H, 2, 1, tol=1e-6)
    density = ls.spectral_density(H, 2, 5)
    forms, shares = H.quadratic_forms(V)
    return {
        "value": f.value(x),
        "gradient": f.gradient(x),
        "many": f.many().values(torch.stack([x, 2 * x])),
        "product": H @ V,
        "gauss-newton": G @ V,
        "forms": forms,
        "shares": shares,
        "eigenvalues": pairs.values,
        "vectors": pairs.vectors.abs(),
        "bounds": pairs.bounds,
        "moments": torch.tensor([density.moment(k).value for k in range(4)]),
        "trace": torch.tensor(ls.trace(H, probes=6).value),
        "solution": ls.linalg.minres(H, V[:, 0], max_products=8).x,
    }


def products(rows: int, width: int) -> dict[str, Any]:
    f = ls.over_ranks(net(rows=rows, width=width))
    return numbers(f) | {"ranks": f.ranks.count, "basis": basis_bytes(f)}


def basis_bytes(f: ls.ModelLandscape) -> int:
    import numpy as np

    from landscape.linalg.krylov import Basis
    from landscape.linalg.operand import as_operator

    basis = Basis(as_operator(ls.Hessian(f)), 20, np.random.SeedSequence(0))
    assert isinstance(basis.Q, Tensor)
    return basis.Q.numel()


def report() -> tuple[str, Tensor, Tensor, int, list[str]]:
    found = ls.analyze(
        ls.over_ranks(net()),
        method="lanczos",
        largest=2,
        smallest=2,
        probes=2,
        steps=5,
        layers=False,
    )
    point = found.point
    return (
        point.kind,
        point.pairs.values,
        found.sampling_errors,
        found.products,
        [c.name for c in found.checks],
    )


def wrapped() -> Tensor:
    """A product of a model that DistributedDataParallel has taken."""
    f = net()
    ours = ls.ModelLandscape(
        nn.parallel.DistributedDataParallel(f.model), f.loss, list(f.batches), l2={"*": 1e-3}
    )
    return ls.Hessian(ls.over_ranks(ours)) @ vectors(f)


def searches() -> dict[str, Any]:
    """What starts and runs find that are dealt over the ranks."""
    g = ls.over_ranks(ls.zoo.load("himmelblau"))
    census = ls.census(g, starts=1200, seed=1)
    h = ls.over_ranks(ls.zoo.load("strict-saddle", dim=3))
    at = torch.zeros(3, dtype=torch.float64)
    lines = ["sgd:lr=0.1", "adam:lr=0.01"]
    study = ls.escape(h, at, lines, 1100, 60, 1e-2, ls.LeavesBall(0.5), noise="isotropic:0.001")
    counts = ls.inventory.count_saddles("isotropic-waves", [1, 2], 40, seed=2, ranks=g.ranks)
    w = ls.FunctionLandscape(lambda x: (x**4).sum(-1) / 4 - (x**2).sum(-1) / 2, 2)
    starts = torch.randn(70, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = ls.inventory.critical_points(ls.over_ranks(w), starts)
    return {
        "points": torch.stack([p.x for p in census.points]),
        "hits": [p.hits for p in census.points],
        "failures": census.failures,
        "ends": torch.stack([study[line].ends for line in lines]),
        "steps": torch.stack([study[line].steps for line in lines]),
        "values": torch.cat([d.values for d in counts.dimensions]),
        "counts": torch.cat([d.counts.reshape(-1) for d in counts.dimensions]),
        "critical": points.points,
    }


class Fails(nn.Module):
    """A loss that raises on one batch, which one rank has."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if len(target) == 2:  # the last batch, the smallest
            raise KeyError("no such label")
        return nn.functional.cross_entropy(output, target)


class Crowded(nn.Module):
    """A module for which one rank's memory runs out where it makes a graph of more than 3 samples."""

    def __init__(self, inner: nn.Module, rank: int) -> None:
        super().__init__()
        self.inner, self.rank = inner, rank

    def forward(self, x: Tensor) -> Tensor:
        here = int(os.environ.get("RANK", "0"))
        if torch.is_grad_enabled() and here == self.rank and len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        found: Tensor = self.inner(x)
        return found


def crowded(shard: bool) -> dict[str, Any] | str:
    """What is computed where the memory of one rank of several does not hold a batch's graph."""
    f = net()
    small = ls.ModelLandscape(Crowded(f.model, 1), f.loss, list(f.batches), l2={"*": 1e-3})
    g = ls.over_ranks(small, shard=shard)
    try:
        H = ls.Hessian(g)
        pairs = ls.eigsh(H, 2, 1, tol=1e-6)
        found = {"eigenvalues": pairs.values, "gradient": g.gradient(g.point())}
        return found | {"pieces": g.pieces, "notes": H.notes, "product": H @ vectors(f)}
    except torch.OutOfMemoryError as error:
        return f"memory: {error}"
    except RanksError as error:
        return str(error)


def failure() -> str:
    f = net()
    g = ls.over_ranks(
        ls.ModelLandscape(f.model, Fails(), list(f.batches), weight=lambda b: len(b[1]))
    )
    try:
        ls.Hessian(g) @ vectors(f)
    except ls.LoadingError as error:
        return str(error)
    return "nothing was raised"


def death(rank: int) -> None:
    """Products without end; after some of them one rank is killed."""
    f = ls.over_ranks(net())
    H, v = ls.Hessian(f), vectors(f)
    for i in range(10**6):
        if i == 20 and f.ranks.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        v = H @ v
        v = v / v.norm()
        time.sleep(0.001)


class Block(nn.Module):
    """Causal self-attention and an MLP, pre-normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width + 1), nn.Linear(2 * width + 1, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (q @ k.mT / x.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
        x = x + self.mix(scores.softmax(-1) @ v)
        return x + self.down(torch.tanh(self.up(self.norm2(x))))


class GPT(nn.Module):
    """Embedding and output share their weight, which is read outside of its module too."""

    def __init__(self, vocabulary: int = 31, width: int = 12, layers: int = 1) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(9, width)
        self.layers = nn.Sequential(*[Block(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        return (self.norm(self.layers(x)) @ self.token.weight.T).flatten(0, 1)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target.reshape(-1))


def gpt(dtype: torch.dtype = torch.float64, batches: int = 3, **size: int) -> ls.ModelLandscape:
    torch.manual_seed(0)
    model = GPT(**size).to(dtype)
    return of_gpt(model, batches)


def of_gpt(model: nn.Module, batches: int = 3, device: str | None = None) -> ls.ModelLandscape:
    draws = torch.Generator().manual_seed(1)
    rows = torch.randint(31, (2 * batches, 2, 9), generator=draws)
    data = [(x, y) for x, y in zip(rows[::2], rows[1::2], strict=True)]
    l2, l1 = {"*.weight": 1e-2}, {"place*": 1e-4}
    return ls.ModelLandscape(model, cross_entropy, data, l2=l2, l1=l1, device=device)


def sharded(dtype: torch.dtype, method: str, small: int) -> dict[str, Any]:
    """Products and pairs of a point that no rank holds whole, as one process would hold them."""
    from landscape.landscapes import sharded as module

    module.SMALL = small
    f = gpt(dtype)
    g = ls.over_ranks(f, shard=True)
    assert isinstance(g, module.Sharded)
    V, lie = vectors(f), g.spread
    x = g.point()
    H = ls.Hessian(g, method=method)
    pairs = ls.eigsh(H, 1, 1, tol=1e-2, probes=0)
    forms, shares = H.quadratic_forms(pairs.vectors)
    return {
        "local": x.numel(),
        "point": lie.whole(x),
        "value": g.value(x),
        "gradient": lie.whole(g.gradient(x)),
        "product": lie.whole(H @ lie.own(V)),
        "values": pairs.values,
        "bounds": pairs.bounds,
        "vectors": lie.whole(pairs.vectors),
        "forms": forms,
        "shares": shares,
        "kept": sum(not o.storage.expired() for o in g._gathered.values()),
    }


def trained(traced: bool) -> tuple[Tensor, list[int]]:
    """The weights after a loop under DistributedDataParallel, each rank with its own rows, and the
    steps that the first rank's tracer recorded."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    wrapped = nn.parallel.DistributedDataParallel(model)
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    y = torch.arange(32) % 3
    rows = slice(torch.distributed.get_rank(), None, torch.distributed.get_world_size())
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.01)
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)])
    tracer = ls.Tracer(optimizer, f, every=2) if traced and rows.start == 0 else None
    with tracer if tracer is not None else nullcontext():
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(wrapped(x[rows]), y[rows]).backward()
            optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return weights, [] if tracer is None else tracer.result.steps.tolist()


NET = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import cases

def problem():
    return cases.net()
"""

# The model holds no numbers: those of a checkpoint are read by each rank in parts.
UNFILLED = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import cases, torch

def problem():
    with torch.device("meta"):
        model = cases.GPT().double()
    return cases.of_gpt(model, device="cpu")
"""


def command(folder: str, words: list[str]) -> None:
    """A command of landscape as one of several ranks, everything that it takes long for kept at
    once; what it says goes into a file."""
    from landscape_cli.main import main

    from landscape.results import journal

    journal.LONG = journal.EVERY = 0.0
    os.chdir(folder)
    said = Path(f"{os.environ['RANK']}.said").open("w", buffering=1)  # noqa: SIM115
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = said  # type: ignore[misc]
    found, hits = journal.Journal.find, []

    def find(self: journal.Journal, key: bytes) -> list[Tensor] | None:
        hits.append(found(self, key) is not None)
        return found(self, key)

    journal.Journal.find = find  # type: ignore[method-assign]
    try:
        main(words)
    except SystemExit as end:
        if end.code:
            raise
    finally:
        Path(f"{os.environ['RANK']}.hits").write_text(str(sum(hits)))


def stored(shard: bool) -> dict[str, Any]:
    """Pairs from a basis in float16, beside those of the dense matrix, and the bytes of a basis."""
    f = net(torch.float32)
    truth = torch.linalg.eigvalsh(ls.Hessian(f).dense().double())
    g = ls.over_ranks(f, shard=shard)
    pairs = ls.eigsh(ls.Hessian(g), 3, 2, tol=1e-3, storage="float16")
    return {
        "values": pairs.values,
        "vectors": pairs.vectors,
        "converged": pairs.converged,
        "residuals": pairs.residuals,
        "bounds": pairs.bounds,
        "truth": torch.cat([truth[:2], truth[-3:]]),
        "dim": f.dim,
        "basis": narrow_bytes(g),
    }


def narrow_bytes(f: ls.ModelLandscape) -> int:
    import numpy as np

    from landscape.linalg.narrow import Narrow
    from landscape.linalg.operand import as_operator

    H, seeds = as_operator(ls.Hessian(f)), np.random.SeedSequence(0)
    Q = Narrow(H, 20, seeds, torch.float16, 2).Q
    return Q.whole.nbytes + Q.narrow.nbytes
