"""Products of resnet20 with the convolutions and group norms that are for products, and with torch's own, in gradients.

    [OMP_NUM_THREADS=1] python tests/benchmarks/convolutions.py [--rounds 20] [--keep]

Gradients, graphs kept and graphs rebuilt go by turns in one process; medians of seconds of the clock over the gradient's. ``--keep``
keeps freed memory, as the commands do on Linux. Last the product in float64, with both.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import matmul
from statistics import median
from typing import Any
from unittest import mock

import torch
import workloads
from torch import nn

import landscape as ls
from landscape.landscapes import convolutions
from landscape.operators import hessian

KEPT = {"MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_MMAP_THRESHOLD_": "33554432"}


def torchs(model: nn.Module | None) -> AbstractContextManager[None]:
    return nullcontext()


def seconds(rounds: int) -> dict[str, float]:
    work = workloads.load("resnet20")
    params = list(work.model.parameters())

    def gradient() -> None:
        for x, y in work.batches:
            torch.autograd.grad(work.loss(work.model(x), y), params)

    kinds: dict[str, Any] = {"own": convolutions.few_passes, "torch": torchs}
    actions: dict[str, tuple[Any, Callable[[], object]]] = {"gradient": (torchs, gradient)}
    for name, kernels in kinds.items():
        f = ls.ModelLandscape(*work)
        v = torch.randn(f.dim, generator=torch.Generator().manual_seed(0))
        for method in ("retained", "rebuilt"):
            H = ls.Hessian(f, method=method)
            actions[f"{method}, {name}"] = kernels, partial(matmul, H, v)
        actions[f"float64, {name}"] = kernels, partial(H.reference, v)
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 2):  # the first two warm up
        for name, (kernels, action) in actions.items():
            if "float64" in name and turn > 4:
                continue
            with mock.patch.object(hessian, "few_passes", kernels):
                begun = time.perf_counter()
                action()
                taken[name].append(time.perf_counter() - begun)
    return {name: median(found[2:]) for name, found in taken.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    if arguments.keep and not os.environ.keys() & KEPT.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEPT)
    found = seconds(arguments.rounds)
    told = {name: round(s / found["gradient"], 2) for name, s in found.items()}
    told["gradient"] = round(found["gradient"], 4)
    print(json.dumps({"threads": torch.get_num_threads(), "memory kept": arguments.keep} | told))
