"""What a tracer costs at its defaults on a step of 10 ms: runs with and without it, in turn.

    OMP_NUM_THREADS=1 python tests/benchmarks/tracer_share.py

A small CNN trains; what its own step lacks to 10 ms of the processor's time, its loader takes, which is all that it does. Each run is whole, since the tracer counts the time of its own
run; the ratio is that of the processor's time in the loop, which other processes do not count in. What is spent before the loop (the
first record) and after it (the last; the last look is left out) is told beside: it does not grow with the run.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls

STEPS, PAIRS = 300, 3
STEP = 0.01  # seconds
SAMPLES = 256
MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-3),
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 16, 10)),
    )


def step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: list[tuple[Tensor, Tensor]],
    i: int,
    loading: float,
) -> None:
    x, y = batches[i % len(batches)]
    begun = time.process_time()
    while time.process_time() < begun + loading:
        pass
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def data(samples: int) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(samples, 1, 8, 8, generator=draws),
            torch.randint(10, (samples,), generator=draws),
        )
        for _ in range(4)
    ]


def run(name: str, of_f: int, loading: float) -> tuple[float, float, int]:
    """Seconds of the loop's steps, seconds around it, and records; f of ``of_f`` batches, and not traced with 0."""
    model, batches = net(), data(SAMPLES)
    optimizer = MAKERS[name](model.parameters())
    f = ls.ModelLandscape(model, F.cross_entropy, batches[: max(1, of_f)])
    tracer = ls.Tracer(optimizer, f, last_look=False) if of_f else None
    begun = time.process_time()
    with tracer if tracer is not None else nullcontext():
        entered = time.process_time()
        for i in range(STEPS):
            step(model, optimizer, batches, i, loading)
        left = time.process_time()
    around = time.process_time() - begun - (left - entered)
    return left - entered, around, len(tracer.result.steps) if tracer is not None else 0


def main() -> None:
    loading = STEP - run("SGD", 0, 0.0)[0] / STEPS
    for name in MAKERS:
        for of_f in (1, 4):
            ratios, arounds, records, steps = [], [], [], []
            for _ in range(PAIRS):
                plain, _, _ = run(name, 0, loading)
                traced, around, made = run(name, of_f, loading)
                ratios.append(traced / plain)
                arounds.append(around)
                records.append(made)
                steps.append(1e3 * plain / STEPS)
            print(
                f"{name}, batches of {SAMPLES}, f of {of_f}: a step {statistics.median(steps):.1f} ms; traced over untraced "
                f"{statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f} in {PAIRS} pairs of {STEPS} steps; "
                f"{statistics.median(records):.0f} records; before and after {statistics.median(arounds):.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
