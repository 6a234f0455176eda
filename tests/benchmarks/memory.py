"""Peak memory of `analyze` and of Hessian products on a built-in network beside that of one forward and backward pass.

    python tests/benchmarks/memory.py [--name rnet] [--products 3]

Linux only. Every line is a fresh process with one thread: the growth of its peak resident size over what it held with network and data
loaded and one value computed. What the libraries load for a second derivative counts as the products'. ``whole`` is a pass over
all the data in one batch, ``pass`` one in micro-batches. Basis: the most vectors that ``analyze`` holds for its spectrum.
"""

import argparse
import ctypes
import multiprocessing
from pathlib import Path

import torch

import landscape as ls
from landscape.linalg.lanczos import ROWS


def status(key: str) -> float:
    """A line of this process's status, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(key))


def measure(name: str, task: str, products: int) -> float:
    """Growth of the peak in MiB."""
    torch.set_num_threads(1)
    f = ls.zoo.model(name)
    x = f.point()
    f.value(x)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    if task == "pass":
        f.gradient(x)
    elif task == "whole":
        inputs, targets = (torch.cat(parts) for parts in zip(*f.batches, strict=True))
        ls.ModelLandscape(f.model, f.loss, [(inputs, targets)], mode=f.mode).gradient(x)
    elif task == "analyze":
        ls.analyze(f)
    else:
        H = ls.Hessian(f, x, method=task)
        for _ in range(products):
            H @ x
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="rnet")
    parser.add_argument("--products", type=int, default=3)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    grown = {}
    for task in ("pass", "whole", "rebuilt", "retained", "auto", "analyze"):
        with context.Pool(1) as pool:
            grown[task] = pool.apply(measure, (options.name, task, options.products))
        print(f"{task}: {grown[task]:.0f} MiB", flush=True)
    f = ls.zoo.load(options.name)
    basis = (
        (ROWS + 4 * 20) * f.dim * torch.finfo(f.dtype).bits / 8 / 2**20
    )  # the default asks for 20 eigenpairs
    print(f"basis of analyze: {basis:.0f} MiB")
    print(
        f"analyze less its basis: {(grown['analyze'] - basis) / grown['whole']:.2f} times a pass over all the data in one batch"
    )


if __name__ == "__main__":
    main()
