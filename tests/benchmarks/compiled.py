"""A Hessian-vector product in gradients, by what is done with the graphs: python tests/benchmarks/compiled.py.

A small network, whose kernels take less time than to start them. A gradient is torch's own, of the plain model.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

import landscape as ls

REPEATS = 200


def seconds(run: Callable[[], object]) -> float:
    """The least of five means."""
    means = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(REPEATS // 5):
            run()
        means.append((time.perf_counter() - start) / (REPEATS // 5))
    return min(means)


def main() -> None:
    torch.manual_seed(0)
    parts = [nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)]
    model, x, y = nn.Sequential(*parts), torch.randn(256, 64), torch.randint(10, (256,))
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)])
    v, weights = torch.randn(f.dim), list(model.parameters())
    loss = nn.functional.cross_entropy
    gradient = seconds(lambda: torch.autograd.grad(loss(model(x), y), weights))
    print(
        f"a gradient takes {1e3 * gradient:.2f} ms, of the landscape "
        f"{seconds(lambda: f.gradient(f.point())) / gradient:.1f} times as long"
    )
    for method in ("retained", "rebuilt", "compiled"):
        H = ls.Hessian(f, method=method)
        start = time.perf_counter()
        for _ in range(6):
            H @ v
        first = time.perf_counter() - start
        print(
            f"{method:9s} {seconds(partial(H.__matmul__, v)) / gradient:.1f} gradients; the first six {first:.1f} s",
            *H.notes,
        )


if __name__ == "__main__":
    main()
