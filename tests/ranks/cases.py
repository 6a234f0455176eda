"""What the ranks of ``test_ranks.py`` compute; ``alone`` says what one process gives."""

import os
import signal
import time
from typing import Any

import torch
from torch import Tensor, nn

import landscape as ls


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
