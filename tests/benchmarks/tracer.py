"""What a tracer costs: steps of a small CNN with and without it, alternated; and with curvature, by products.

Run: ``OMP_NUM_THREADS=1 python tests/benchmarks/tracer.py``. The traced landscape is one batch of the data, a record every 100 steps.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls

STEPS, ROUNDS, EVERY = 200, 7, 100


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10)
    )
    x, y = torch.randn(128, 1, 8, 8), torch.randint(0, 10, (128,))
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def loop() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        return (time.perf_counter() - start) / STEPS

    loop()
    plain: list[float] = []
    traced: dict[int, list[float]] = {0: [], 1: []}
    products = 0
    for _ in range(ROUNDS):
        plain.append(loop())
        for curvature, times in traced.items():
            with ls.Tracer(optimizer, f, every=EVERY, curvature=curvature, last_look=False) as tracer:
                if curvature:  # the first refresh, from random vectors, is not the steady cost
                    before = tracer.result.products
                times.append(loop())
            if curvature:
                products = tracer.result.products - before
    base = statistics.median(plain)
    print(f"step {1e3 * base:.3f} ms, median of {ROUNDS} x {STEPS} steps")
    for curvature, times in traced.items():
        over = statistics.median(t - p for t, p in zip(times, plain, strict=True))
        name = f"with curvature, {products} products in {STEPS} steps" if curvature else "without curvature"
        each = f", {1e3 * over * STEPS / products:.2f} ms a product" if curvature else ""
        print(f"{name}: {100 * over / base:+.1f} % of a step{each}")


if __name__ == "__main__":
    main()
