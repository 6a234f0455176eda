"""What the ranks of ``test_large.py`` compute: models of which no rank keeps the whole."""

import ctypes
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import torch
from live import Live
from torch import Tensor, nn

import landscape as ls
from landscape.landscapes import sharded as module
from landscape.landscapes.sharded import Sharded
from landscape.loading.problems import load_checkpoint, load_parts


def gpt() -> ls.ModelLandscape:
    """2.3 M parameters."""
    return cases.gpt(batches=2, vocabulary=800, width=256, layers=4)


def over(f: ls.ModelLandscape) -> Sharded:
    g = ls.over_ranks(f, shard=True)
    assert isinstance(g, Sharded)
    return g


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def product(method: str) -> dict[str, Any]:
    """A product of a GPT with tied embedding, and what was whole at the same time."""
    f = gpt()
    v = cases.vectors(f)[:, 0].contiguous()
    truth = ls.Hessian(f, method="rebuilt") @ v
    g = over(f)
    lie, count = g.spread, g.ranks.count
    mine = lie.own(v)
    large = {count * w * 8 for w in lie.widths if count * w > module.SMALL}
    seen = []
    for _ in range(2):  # in one of some ten a thread lets go of a tensor later than usual
        with Live(lambda size: size in large) as whole:
            found = ls.Hessian(g, method=method) @ mine
        seen.append(whole.most)
    with Live() as most:
        ls.Hessian(g, method=method) @ mine
    return {
        "error": error(lie.whole(found), truth),
        "local": lie.local * 8,
        "unit": max(lie.sizes) * 8,
        "whole": min(seen),
        "most": most.most,
        "dim": f.dim,
    }


def activations(method: str) -> int:
    """What one process keeps of passes beside what is as large as a weight."""
    f = gpt()
    v = cases.vectors(f)[:, 0].contiguous()
    with Live(lambda size: size < module.SMALL * 8) as small:
        ls.Hessian(f, method=method) @ v
    return small.most


def derivatives(f: ls.ModelLandscape, v: Tensor) -> list[Tensor]:
    """The gradient, and the derivatives of the second, third and fourth order along v."""
    x, found = f.point().requires_grad_(True), []
    with f.evaluation(), torch.enable_grad():
        slope = torch.zeros_like(x)
        for term in f.dealt_terms():
            slope = slope + torch.autograd.grad(term.function(x), x, create_graph=True)[0]
        for _ in range(4):
            found.append(slope.detach())
            (slope,) = torch.autograd.grad((slope * v).sum(), x, create_graph=True)
    return found


def orders() -> list[float]:
    module.SMALL = 100
    f = cases.gpt()
    g, v = over(f), cases.vectors(f)[:, 0].contiguous()
    mine = derivatives(g, g.spread.own(v))
    return [error(g.spread.whole(a), b) for a, b in zip(mine, derivatives(f, v), strict=True)]


class Mixed(nn.Module):
    """Dropout, attention whose output layer is read and not called, frozen weights and one
    that no module below has, each used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 12))
        self.first, self.frozen = nn.Linear(12, 12), nn.Linear(12, 12).requires_grad_(False)
        self.attend = nn.MultiheadAttention(12, 2, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = x + self.attend(x, x, x, need_weights=False)[0] * self.scale
            x = torch.tanh(self.frozen(self.first(x))) + x
        return x.mean(1)


def mixed(model: nn.Module | None = None) -> ls.ModelLandscape:
    torch.manual_seed(3)
    model = Mixed().double() if model is None else model
    draws = torch.Generator().manual_seed(4)
    data = [
        (torch.randn(3, 5, 12, generator=draws).double(), torch.randint(12, (3,), generator=draws))
        for _ in range(3)
    ]
    loss = nn.functional.cross_entropy
    return ls.ModelLandscape(model, loss, data, mode="train", l2={"*": 1e-2}, exclude="first.bias")


def unusual() -> dict[str, Any]:
    module.SMALL = 20
    f = mixed()
    g, V = over(f), cases.vectors(f)
    lie, x = g.spread, f.point()
    return {
        "value": abs(float(g.value(g.point()) - f.value(x))),
        "product": error(lie.whole(ls.Hessian(g) @ lie.own(V)), ls.Hessian(f) @ V),
        "fingerprint": g.fingerprint() == f.fingerprint(),
    }


def wrapped(kind: str) -> dict[str, Any]:
    """Products of a model that ``fully_shard``, DTensors, DistributedDataParallel or accelerate
    have taken before."""
    module.SMALL = 100
    f = cases.gpt()
    V, x = cases.vectors(f), f.point()
    torch.manual_seed(0)
    model, inputs = cases.GPT().double(), f.batches[0][0]
    taken = TAKEN[kind](model)
    mixes = kind != "dtensors"  # which takes no plain tensors as inputs
    before = taken(inputs).detach() if mixes else inputs
    ours = ls.ModelLandscape(taken, f.loss, list(f.batches), l2=f.l2, l1=glob(kind, f.l1))
    refused = ""
    try:
        ours.point()
    except ls.LoadingError as refusal:
        refused = str(refusal)
    g = over(ours)
    lie = g.spread
    told = {
        "refused": refused,
        "point": torch.equal(lie.whole(g.point()), x),
        "product": error(lie.whole(ls.Hessian(g) @ lie.own(V)), ls.Hessian(f) @ V),
        "after": not mixes or torch.equal(taken(inputs).detach(), before),
    }
    g.load(2 * g.point())
    return told | {"loaded": torch.equal(lie.whole(g.point()), 2 * x)}


def glob(kind: str, l1: dict[str, float]) -> dict[str, float]:
    """Wrappers put ``module.`` before every name."""
    return {f"*{k}": c for k, c in l1.items()} if kind in ("ddp", "accelerate") else l1


def _fully_sharded(model: nn.Module) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    for block in model.layers:  # type: ignore[union-attr]
        fully_shard(block)
    fully_shard(model)
    return model


def _distributed(model: nn.Module) -> nn.Module:
    """Every parameter a DTensor, cut along its last dimension."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    cut: dict[int, nn.Parameter] = {}
    for part in model.modules():
        for name, held in part._parameters.items():
            if held is not None:
                where = [Shard(held.ndim - 1)]
                made = nn.Parameter(distribute_tensor(held.detach(), mesh, where))
                part._parameters[name] = cut.setdefault(id(held), made)
    return model


def _accelerated(model: nn.Module) -> nn.Module:
    import accelerate  # type: ignore[import-untyped]

    prepared: nn.Module = accelerate.Accelerator(cpu=True).prepare(model)
    return prepared


TAKEN: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fully_shard": _fully_sharded,
    "dtensors": _distributed,
    "ddp": nn.parallel.DistributedDataParallel,
    "accelerate": _accelerated,
}


def tensor_parallel() -> str:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    try:
        ls.ModelLandscape(
            parallelize_module(model, mesh, plan),
            nn.functional.mse_loss,
            [(torch.randn(4, 6), torch.randn(4, 4))],
        )
    except ls.LoadingError as refusal:
        return str(refusal)
    return "nothing was raised"


def empty_gpt() -> nn.Module:
    """Its parameters take no memory."""
    with torch.device("meta"):
        return cases.GPT().double()


def read(path: str) -> dict[str, Any]:
    """A landscape of a model on the meta device, whose parts were read from a checkpoint."""
    f = cases.gpt()
    V, x = cases.vectors(f), f.point()
    g = over(ls.ModelLandscape(empty_gpt(), f.loss, list(f.batches), l2=f.l2, l1=f.l1))
    unread = ""
    try:
        g.point()
    except ls.LoadingError as refusal:
        unread = str(refusal)
    whole = {p.numel() * 8 for p in f.model.parameters() if p.numel() > 250}
    with Live(lambda size: size in whole) as live:
        notes = load_parts(g, path)
    lie = g.spread
    return {
        "unread": unread,
        "point": torch.equal(lie.whole(g.point()), x),
        "product": error(lie.whole(ls.Hessian(g) @ lie.own(V)), ls.Hessian(f) @ V),
        "notes": notes,
        "whole": live.most,
        "unit": max(whole),
        "fingerprint": g.fingerprint() == f.fingerprint(),
    }


def saved(folder: str) -> None:
    """A checkpoint of the ranks together, each with its shards."""
    from torch.distributed import checkpoint

    torch.manual_seed(0)
    model = _fully_sharded(cases.GPT().double())
    checkpoint.save(  # type: ignore[attr-defined]
        {"model": model.state_dict()}, checkpoint_id=folder
    )


ROOM = 30  # times the weights: less than a basis of 33 vectors, more than half of it


class Wide(nn.Module):
    """Eight layers, 3.9 M weights, one number at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(700, 700) for _ in range(8)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x.sum(1) / 26


def wide(model: nn.Module) -> ls.ModelLandscape:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(4, 700, generator=draws)
    data = [(x[:2], torch.ones(2)), (x[2:], torch.zeros(2))]
    return ls.ModelLandscape(model, nn.functional.mse_loss, data)


def limited(path: str, shard: bool) -> dict[str, Any]:
    """Both ends of a spectrum, whose smallest basis is 33 vectors, where the system grants a
    process ``ROOM`` times the weights in all, for weights, basis and passes."""
    ctypes.CDLL(None).mallopt(-3, 2**16)  # what is freed goes back to the system
    small = cases.gpt(torch.float32, 2)
    H = ls.Hessian(over(small) if shard else small)
    _ = H @ H.x.detach()  # threads have their stacks now
    with torch.device("meta"):
        model = Wide()
    most = _taken() + ROOM * 4 * sum(p.numel() for p in model.parameters())
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        if shard:
            g = over(wide(model))
            load_parts(g, path)
        else:
            model = Wide()
            load_checkpoint(model, path)
            g = wide(model)  # type: ignore[assignment]
        H = ls.Hessian(g, method="rebuilt")
        pairs = ls.eigsh(H, 6, 6, tol=1e-2, probes=0)
    except (MemoryError, RuntimeError) as full:
        return {"full": str(full)}
    return {"values": pairs.values, "bounds": pairs.bounds, "converged": pairs.converged}


def _taken() -> int:
    """Bytes of this process that count for the limit."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
