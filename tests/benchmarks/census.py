"""Stationary points of Styblinski-Tang in 6 dimensions from 20,000 starts: a census beside a loop of scipy.optimize.root.

    python tests/benchmarks/census.py [--starts 20000] [--loop 500] [--dim 6]

Three things are timed in one run: a whole census (searches, merging, a verdict for each point); its searches alone, every method on the
same starts; and ``scipy.optimize.root`` (hybr) with the exact gradient and Hessian, in torch and in plain numpy, over the first of
these starts, which is as much as patience allows. Rates are starts a second, ratios those of the searches over the loop.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import root

import landscape as ls
from landscape.operators.pointwise import derivatives
from landscape.points.many import search


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20_000)
    parser.add_argument("--loop", type=int, default=500)
    parser.add_argument("--dim", type=int, default=6)
    options = parser.parse_args()
    f = ls.zoo.load("styblinski-tang", dim=options.dim)
    X = f.domain.sample(options.starts, f.dim, torch.Generator().manual_seed(0))
    search(f, X[:10])  # the first call pays for imports

    census, seconds = timed(lambda: ls.census(f, options.starts))
    print(
        f"census: {len(census.points)} of {3**f.dim} points from {options.starts} starts in {seconds:.2f} s"
    )
    rates = {}
    for method in ("minimise", "newton"):
        found, seconds = timed(partial(search, f, X, method))
        rates[method] = len(X) / seconds
        print(
            f"{method}: {seconds:.2f} s, {rates[method]:.0f} starts a second, {int((found.ends == 0).sum())} arrived"
        )

    def by_torch(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g, H = derivatives(f, torch.from_numpy(x)[None])
        return g[0].numpy(), H[0].numpy()

    def by_numpy(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * x**3 - 16 * x + 2.5, np.diag(6 * x**2 - 16)

    def by_scipy(function: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> list[Any]:
        return [root(function, x, jac=True) for x in X[: options.loop].numpy()]

    for name, function in (("torch", by_torch), ("numpy", by_numpy)):
        solved, seconds = timed(partial(by_scipy, function))
        rate = len(solved) / seconds
        ratios = ", ".join(f"{method} {rates[method] / rate:.0f} times" for method in rates)
        print(
            f"scipy.optimize.root, {name}: {rate:.0f} starts a second, {sum(s.success for s in solved)} arrived; {ratios}"
        )


if __name__ == "__main__":
    main()
