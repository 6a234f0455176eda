"""Peak memory of Hessian products on a built-in network beside that of one forward and backward pass over all the data.

    python tests/benchmarks/memory.py [--name rnet] [--products 3]

Linux only. Every line is a fresh process: the growth of its peak resident size over what it held with network and data loaded and one
value computed. What the libraries load for a second derivative counts as the products'.
"""

import argparse
import ctypes
import multiprocessing
from pathlib import Path

import torch

import landscape as ls


def status(key: str) -> float:
    """A line of this process's status, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(key))


def measure(name: str, task: str, products: int) -> float:
    """Growth of the peak in MiB."""
    torch.set_num_threads(1)
    f = ls.zoo.load(name)
    x = f.point()
    f.value(x)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    if task == "pass":
        f.gradient(x)
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
    for task in ("pass", "retained", "rebuilt", "auto"):
        with context.Pool(1) as pool:
            print(f"{task}: {pool.apply(measure, (options.name, task, options.products)):.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
