"""1,024 runs of a torch optimiser in one ensemble beside the same runs one by one, on a formula and on small MLPs with mini-batches.

    python tests/benchmarks/ensembles.py [THREADS]

The separate runs are the user's own loop: one optimiser, autograd, one start. SAMPLE of them are timed and multiplied by 1,024 / SAMPLE,
since all of them would take minutes; both sides alternate, and the median, smallest and largest of ROUNDS ratios are printed. Time is
the processor's on one thread, which other work on the machine disturbs little; with more THREADS it is the wall clock's.

A separate run's step costs its calls, about 0.3 ms, whatever the size of a small network; a row of an ensemble costs its arithmetic. So the
ratio falls with the size, and the last lines are its ceiling: the gradients alone, in batched products by hand, with autograd and without.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

import landscape as ls
from landscape.operators import noises
from landscape.optimizers import ensembles
from landscape.specs import optimizers as makers

ROWS, SAMPLE, STEPS, ROUNDS = 1024, 4, 100, 7
THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
clock = time.process_time if THREADS == 1 else time.perf_counter
torch.set_num_threads(THREADS)


def timed(work: Callable[[], None]) -> float:
    begun = clock()
    work()
    return clock() - begun


def report(name: str, together: Callable[[], None], alone: Callable[[], None]) -> None:
    together()
    ratios, seconds = [], []
    for _ in range(ROUNDS):
        seconds.append(timed(together))
        ratios.append(timed(alone) * ROWS / SAMPLE / seconds[-1])
    ratios.sort()
    print(
        f"{name:56} {1e3 * min(seconds) / STEPS:6.2f} ms a step of {ROWS} runs; "
        f"ratio {ratios[ROUNDS // 2]:.0f} [{ratios[0]:.0f}, {ratios[-1]:.0f}]"
    )


def formula(spec: str) -> None:
    f = ls.zoo.load("styblinski-tang", dim=4)
    X = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    make = makers.maker(spec)

    def together() -> None:
        ensemble = ensembles.Ensemble(X, make, f.many().gradients, f.value)
        for _ in range(STEPS):
            ensemble.step()

    def alone() -> None:
        for x in X[:SAMPLE]:
            p = nn.Parameter(x.clone())
            optimizer = make([p])
            for _ in range(STEPS):
                optimizer.zero_grad()
                f.function(p).backward()
                optimizer.step()

    report(f"styblinski-tang, {spec}", together, alone)


def network_of(inputs: int, hidden: int, outputs: int) -> tuple[ls.ModelLandscape, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
    x, y = torch.randn(256, inputs), torch.randint(outputs, (256,))
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)])
    return f, f.point() + 0.1 * torch.randn(ROWS, f.dim)


def separate(
    f: ls.ModelLandscape, X: torch.Tensor, make: makers.Maker, batch: int
) -> Callable[[], None]:
    model, [(x, y)] = f.model, f.batches

    def alone() -> None:
        for row in X[:SAMPLE]:
            f.load(row)
            optimizer = make(list(model.parameters()))
            for _ in range(STEPS):
                chosen = torch.randperm(len(x))[:batch]
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
                optimizer.step()

    return alone


def network(
    spec: str, inputs: int = 8, hidden: int = 16, outputs: int = 3, batch: int = 16
) -> None:
    f, X = network_of(inputs, hidden, outputs)
    make = makers.maker(spec)

    def together() -> None:
        ensemble = ensembles.Ensemble(
            X, make, noises.minibatch(f, batch, np.random.SeedSequence(0)), f.value
        )
        for _ in range(STEPS):
            ensemble.step()

    report(f"MLP of {f.dim}, batches of {batch}, {spec}", together, separate(f, X, make, batch))


def by_hand(inputs: int = 8, hidden: int = 16, outputs: int = 3, batch: int = 16) -> None:
    """Cross-entropy's gradient of ROWS networks in torch's batched products, beside ROWS steps of SGD one by one."""
    n = inputs * hidden + hidden
    X = 0.3 * torch.randn(ROWS, n + hidden * outputs + outputs)
    x, y = torch.randn(ROWS, batch, inputs), torch.randint(outputs, (ROWS, batch))

    def parts(X: torch.Tensor) -> tuple[torch.Tensor, ...]:
        W1, b1 = X[:, : inputs * hidden].view(-1, hidden, inputs), X[:, inputs * hidden : n]
        return W1, b1, X[:, n:-outputs].view(-1, outputs, hidden), X[:, -outputs:]

    def followed() -> torch.Tensor:
        leaf = X.detach().requires_grad_(True)
        W1, b1, W2, b2 = parts(leaf)
        out = torch.baddbmm(b2[:, None], torch.baddbmm(b1[:, None], x, W1.mT).tanh(), W2.mT)
        loss = nn.functional.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="sum") / batch
        return torch.autograd.grad(loss, leaf)[0]

    def written() -> torch.Tensor:
        W1, b1, W2, b2 = parts(X)
        h = torch.baddbmm(b1[:, None], x, W1.mT).tanh_()
        p = torch.baddbmm(b2[:, None], h, W2.mT).softmax(-1)
        p = p.scatter_add_(2, y[..., None], -torch.ones(ROWS, batch, 1)) / batch
        d = torch.bmm(p, W2).mul_(1 - h * h)
        return torch.cat(
            [torch.bmm(d.mT, x).flatten(1), d.sum(1), torch.bmm(p.mT, h).flatten(1), p.sum(1)],
            dim=1,
        )

    torch.testing.assert_close(followed(), written())
    alone = separate(
        *network_of(inputs, hidden, outputs), makers.maker("sgd:lr=0.01,momentum=0.9"), batch
    )

    def times(gradient: Callable[[], torch.Tensor]) -> None:
        for _ in range(STEPS):
            gradient()

    for name, gradient in {"autograd": followed, "no autograd": written}.items():
        report(
            f"by hand, {name}, MLP of {X.shape[1]}",
            partial(times, gradient),
            alone,
        )


if __name__ == "__main__":
    for line in ("sgd:lr=0.01,momentum=0.9", "adam:lr=0.01"):
        formula(line)
        network(line)
        network(line, 4, 8, 2, 8)
        network(line, 2, 4, 2, 4)
    by_hand()
