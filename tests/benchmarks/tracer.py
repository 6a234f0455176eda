"""What a tracer costs: steps of a small CNN with and without it, alternated; with curvature, by products; and its memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/tracer.py

A record is one evaluation of the traced landscape with its gradient: its share of the run is about the samples that f has over those
of ``every`` steps. Memory is the process's peak during runs of two lengths, each in a process of its own.
"""

import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls

STEPS, ROUNDS = 200, 15
# (samples that f has, every, curvature)
SETTINGS = ((128, 100, 0), (128, 50, 0), (32, 20, 0), (128, 100, 1), (128, 50, 1))
LENGTHS = (5_000, 50_000)


def small_cnn() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10)
    )
    return model, torch.randn(128, 1, 8, 8), torch.randint(0, 10, (128,))


def overhead() -> None:
    model, x, y = small_cnn()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def loop() -> float:
        start = time.process_time()  # other processes on the machine do not count
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        return (time.process_time() - start) / STEPS

    loop()
    plain: list[float] = []
    over: dict[tuple[int, int, int], list[float]] = {s: [] for s in SETTINGS}
    products = dict.fromkeys(SETTINGS, 0)
    for _ in range(ROUNDS):
        for setting, times in over.items():
            samples, every, curvature = setting
            f = ls.ModelLandscape(model, F.cross_entropy, [(x[:samples], y[:samples])])
            before = loop()
            with ls.Tracer(optimizer, f, every=every, curvature=curvature, last_look=False) as tracer:
                spent = tracer.result.products  # of the first refresh, from random vectors: not the steady cost
                during = loop()
                products[setting] = tracer.result.products - spent
            after = loop()
            plain += [before, after]
            times.append(during - (before + after) / 2)
    base = statistics.median(plain)
    print(f"step {1e3 * base:.2f} ms, a batch of 128; medians of {ROUNDS} alternated rounds of {STEPS} steps")
    for (samples, every, curvature), times in over.items():
        extra = statistics.median(times)
        words = f"f of {samples} samples, a record every {every} steps: {100 * extra / base:+.1f} % of a step"
        if curvature:
            n = products[samples, every, curvature]
            alone = statistics.median(over[samples, every, 0])
            each = 1e3 * (extra - alone) * STEPS / n
            words += f" with curvature, {n} products in {STEPS} steps, {each:.2f} ms a product"
        print(words)


def memory(records: int) -> None:
    """Peak of this process during a run of so many records, in MiB."""
    w = torch.ones(50, dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(lambda x: 0.5 * (x * x).sum(-1), dim=50)
    optimizer = torch.optim.SGD([w], lr=1e-6)
    with ls.Tracer(optimizer, f, every=1, curvature=0, last_look=False):
        for _ in range(records):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    overhead()
    for records in LENGTHS:
        done = subprocess.run([sys.executable, __file__, str(records)], capture_output=True, text=True, check=True)
        print(f"peak memory of a run of {records:,} records: {float(done.stdout):.0f} MiB")


if __name__ == "__main__":
    memory(int(sys.argv[1])) if len(sys.argv) > 1 else main()
