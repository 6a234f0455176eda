"""A fixed set of results, bit by bit: what a change of the house must not move.

    python tests/fixed/results.py compare     # against results.json; exit status 1 where a bit differs
    python tests/fixed/results.py write       # where a commit changes numbers on purpose and says why

Bits hang on the processor and on torch's kernels, so a comparison means something only on a machine like the one that
wrote the file: `machine()` is stored beside the results. Seconds, dates and versions are left out.
"""

import dataclasses
import enum
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from torch import nn

import landscape as ls

STORED = Path(__file__).with_name("results.json")
LEFT_OUT = {"seconds", "provenance", "created"}


def machine() -> dict[str, str]:
    """What must be equal for bits to be equal."""
    capability = torch.backends.cpu.get_cpu_capability()
    processors = [line for line in _cpuinfo() if line.startswith(("model name", "flags"))][:2]
    digest = hashlib.sha256("\n".join(processors).encode()).hexdigest()[:16]
    versions = {"torch": torch.__version__, "numpy": np.__version__, "scipy": scipy.__version__}
    return {"processor": digest, "capability": capability, **versions}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def _net(
    kind: type[nn.Module], widths: list[int], dtype: torch.dtype, rows: int
) -> ls.ModelLandscape:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), kind()]
    model = nn.Sequential(*layers[:-1]).to(dtype)
    x = torch.randn(rows, widths[0]).to(dtype)
    y = (x[:, 0] * x[:, 1] > 0).long()
    batches = list(zip(x.split(16), y.split(16), strict=True))
    return ls.ModelLandscape(
        model, nn.functional.cross_entropy, batches, l2={"*": 0.01}, name="fixed"
    )


def _analyze_dense() -> Any:
    f = _net(nn.Tanh, [3, 5, 2], torch.float64, 40)
    return ls.analyze(f, largest=4, smallest=4, probes=3, steps=15)


def _analyze_lanczos() -> Any:
    f = _net(nn.Tanh, [4, 30, 20, 2], torch.float32, 40)
    return ls.analyze(f, method="lanczos", largest=4, smallest=3, probes=3, steps=20)


def _census() -> Any:
    return ls.census(ls.zoo.load("himmelblau"), starts=400, seed=1)


def _count() -> Any:
    return ls.inventory.count_saddles("isotropic-waves", [1, 2], 10, seed=2)


def _escape() -> Any:
    f = ls.zoo.load("strict-saddle", dim=3)
    at = torch.zeros(3, dtype=torch.float64)
    lines = ["sgd:lr=0.1", "adam:lr=0.01", "sgd:lr=0.05,momentum=0.9"]
    return ls.escape(
        f, at, lines, 16, 300, 1e-3, ls.LeavesBall(0.5), noise="isotropic:0.001", seed=3
    )


def _diagnosis() -> Any:
    f = _net(nn.Sigmoid, [3, 6, 6, 2], torch.float64, 40)
    optimizer = torch.optim.SGD(f.model.parameters(), lr=0.01)
    with ls.Tracer(optimizer, f, every=5) as tracer:
        for _ in range(60):
            optimizer.zero_grad()
            x, y = next(iter(f.batches))
            nn.functional.cross_entropy(f.model(x), y).backward()
            optimizer.step()
    return {
        "trace": tracer.result,
        "cause": ls.diagnose(tracer.result, f=f, optimizer=optimizer, steps=10, seeds=2),
    }


def _surface() -> Any:
    f = _net(nn.Tanh, [3, 5, 2], torch.float64, 40)
    return ls.surface(f, f.point(), directions="eigen", resolution=9, span=0.5)


def _searches() -> Any:
    f = _net(nn.Tanh, [2, 3, 2], torch.float64, 40)
    g = ls.zoo.load("styblinski-tang", dim=2)
    start = torch.tensor([0.4, -2.0], dtype=torch.float64)
    minima = (
        torch.tensor(x, dtype=torch.float64)
        for x in ([-2.903534, -2.903534], [2.746803, -2.903534])
    )
    return {
        "newton-mr": ls.find_stationary(f, f.point()),
        "gradient-norm": ls.find_stationary(g, start, method="gradient-norm"),
        "following": ls.find_stationary(g, start, method="eigenvector-following", index=1),
        "path": ls.minimum_energy_path(g, *minima),
    }


CASES: dict[str, Callable[[], Any]] = {
    "analyze, dense": _analyze_dense,
    "analyze, Lanczos": _analyze_lanczos,
    "census": _census,
    "count": _count,
    "escape": _escape,
    "diagnosis": _diagnosis,
    "surface": _surface,
    "searches": _searches,
}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number of a result by its path, each as text that tells all its bits; large tensors by a hash."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.name not in LEFT_OUT:
                yield from flat(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, torch.Tensor):
        kept = value.detach().contiguous()
        yield (
            path,
            f"{kept.dtype!s} {list(kept.shape)} {hashlib.sha256(kept.numpy().tobytes()).hexdigest()[:16]}",
        )
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from flat(one, f"{path}[{key}]")
    elif isinstance(value, list | tuple):
        for i, one in enumerate(value):
            yield from flat(one, f"{path}[{i}]")
    else:
        yield path, value.name if isinstance(value, enum.Enum) else repr(value)


def computed(name: str) -> dict[str, str]:
    """One of the results, computed on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            return dict(flat(CASES[name]()))
    finally:
        torch.set_num_threads(threads)


def main(verb: str) -> int:
    found = {name: computed(name) for name in CASES}
    if verb == "write":
        STORED.write_text(json.dumps({"machine": machine(), "results": found}, indent=1) + "\n")
        return 0
    stored = json.loads(STORED.read_text())
    if stored["machine"] != machine():
        sys.stderr.write(f"another machine wrote them: {stored['machine']}, this is {machine()}\n")
    apart = 0
    for name, before in stored["results"].items():
        for path in sorted({*before, *found[name]}):
            if before.get(path) != found[name].get(path):
                apart += 1
                sys.stdout.write(f"{name}{path}: {before.get(path)} -> {found[name].get(path)}\n")
    sys.stdout.write(f"{sum(map(len, found.values()))} values, {apart} differ\n")
    return int(apart > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
