"""What a tracer costs: steps of a small CNN with and without it, alternated; with curvature, by products; and its memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/tracer.py

A record is one evaluation of the traced landscape with its gradient, two to three steps of this small net where f has as many samples
as a batch, and some norms, a sixth to a third of a step; with ``evaluate=m`` the first is at every m-th record only. Memory is the
process's peak during runs of two lengths, each in a process of its own.
"""

import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls

STEPS, ROUNDS = 100, 20
# (samples that f has, every, evaluate, curvature)
SETTINGS = (
    (128, 100, 1, 0),
    (128, 50, 1, 0),
    (128, 20, 1, 0),
    (32, 25, 1, 0),
    (128, 10, 10, 0),
    (128, 10, 5, 0),
    (128, 100, 1, 1),
    (128, 50, 1, 1),
)
LENGTHS = (5_000, 50_000)


def small_cnn() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )
    return model, torch.randn(128, 1, 8, 8), torch.randint(0, 10, (128,))


def overhead() -> None:
    """Blocks of steps by optimisers of one model, in turn: one that is not traced, and one for every setting."""
    model, x, y = small_cnn()

    def block(optimizer: torch.optim.Optimizer) -> float:
        start = time.process_time()  # other processes on the machine do not count
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        return 1e3 * (time.process_time() - start) / STEPS

    plain = torch.optim.SGD(model.parameters(), lr=1e-3)
    traced: dict[tuple[int, int, int, int], tuple[torch.optim.Optimizer, ls.Tracer]] = {}
    with ExitStack() as stack:
        for setting in SETTINGS:
            samples, every, evaluate, curvature = setting
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
            f = ls.ModelLandscape(model, F.cross_entropy, [(x[:samples], y[:samples])])
            tracer = ls.Tracer(
                optimizer, f, every, evaluate=evaluate, curvature=curvature, last_look=False
            )
            traced[setting] = (optimizer, stack.enter_context(tracer))
        block(plain)
        before = {
            setting: tracer.result.products for setting, (_, tracer) in traced.items()
        }  # the first refresh's, from random vectors
        bare: list[float] = []
        times: dict[tuple[int, int, int, int], list[float]] = {setting: [] for setting in SETTINGS}
        for _ in range(ROUNDS):
            bare.append(block(plain))
            for setting, (stepped, _) in traced.items():
                times[setting].append(block(stepped))
        products = {
            setting: tracer.result.products - before[setting]
            for setting, (_, tracer) in traced.items()
        }
    step = statistics.median(bare)
    print(
        f"step {step:.2f} ms, at least {min(bare):.2f}, a batch of 128; {ROUNDS} blocks of {STEPS} steps, in turn"
    )
    for setting, found in times.items():
        samples, every, evaluate, curvature = setting
        middle, least = statistics.median(found) / step - 1, min(found) / min(bare) - 1
        words = (
            f"f of {samples} samples at every {every * evaluate} steps, a record every {every}: "
        )
        words += f"{100 * middle:+.1f} % of a step by medians, {100 * least:+.1f} % by minima"
        if curvature:
            each = (
                (statistics.median(found) - statistics.median(times[samples, every, evaluate, 0]))
                * STEPS
                * ROUNDS
                / products[setting]
            )
            words += f" with curvature, {products[setting]} products in {STEPS * ROUNDS} steps, {each:.2f} ms a product"
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
        done = subprocess.run(
            [sys.executable, __file__, str(records)], capture_output=True, text=True, check=True
        )
        print(f"peak memory of a run of {records:,} records: {float(done.stdout):.0f} MiB")


if __name__ == "__main__":
    memory(int(sys.argv[1])) if len(sys.argv) > 1 else main()
