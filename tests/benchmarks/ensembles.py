"""1,024 runs of a torch optimiser in one ensemble beside the same runs one by one, on a formula and on a small MLP with mini-batches.

    python tests/benchmarks/ensembles.py

The separate runs are the user's own loop: one optimiser, autograd, one start. SAMPLE of them are timed and multiplied by 1,024 / SAMPLE,
since all of them would take minutes; both sides alternate, and the smallest and largest of ROUNDS ratios are printed.

A separate run's step costs its calls, about 0.2 ms, whatever the size of a small network; a row of an ensemble costs its arithmetic.
The last line is the floor of that: the same 1,024 gradients by hand in batched matrix products, without autograd or vmap.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import landscape as ls
from landscape.dynamics import ensembles, makers, noises

ROWS, SAMPLE, STEPS, ROUNDS = 1024, 4, 100, 3
torch.set_num_threads(2)


def timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def report(name: str, together: Callable[[], None], alone: Callable[[], None]) -> None:
    together()
    ratios, seconds = [], []
    for _ in range(ROUNDS):
        seconds.append(timed(together))
        ratios.append(timed(alone) * ROWS / SAMPLE / seconds[-1])
    print(
        f"{name:32} {min(seconds):6.2f} s for {ROWS} runs of {STEPS} steps; ratio {min(ratios):.0f} to {max(ratios):.0f}"
    )


def formula(spec: str) -> None:
    f = ls.zoo.load("styblinski-tang", dim=4)
    X = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    make = makers.maker(spec)

    def together() -> None:
        ensemble = ensembles.Ensemble(X, make, noises.gradients(f), f.value)
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


def network(spec: str, inputs: int = 8, hidden: int = 16, outputs: int = 3, batch: int = 16) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
    x, y = torch.randn(256, inputs), torch.randint(outputs, (256,))
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x, y)])
    X = f.point() + 0.1 * torch.randn(ROWS, f.dim)
    make = makers.maker(spec)

    def together() -> None:
        ensemble = ensembles.Ensemble(X, make, noises.minibatch(f, batch, np.random.SeedSequence(0)), f.value)
        for _ in range(STEPS):
            ensemble.step()

    def alone() -> None:
        for row in X[:SAMPLE]:
            f.load(row)
            optimizer = make(list(model.parameters()))
            for _ in range(STEPS):
                chosen = torch.randperm(len(x))[:batch]
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
                optimizer.step()

    report(f"MLP of {f.dim}, batches of {batch}, {spec}", together, alone)


def by_hand(inputs: int = 8, hidden: int = 16, outputs: int = 3, batch: int = 16) -> None:
    """Cross-entropy's gradient of ROWS networks in torch's batched products alone."""
    n = inputs * hidden + hidden
    X = 0.3 * torch.randn(ROWS, n + hidden * outputs + outputs)
    x, y = torch.randn(ROWS, batch, inputs), torch.randint(outputs, (ROWS, batch))

    def gradient() -> torch.Tensor:
        W1, b1 = X[:, : inputs * hidden].view(-1, hidden, inputs), X[:, inputs * hidden : n]
        W2, b2 = X[:, n:-outputs].view(-1, outputs, hidden), X[:, -outputs:]
        h = torch.baddbmm(b1[:, None], x, W1.mT).tanh_()
        p = torch.baddbmm(b2[:, None], h, W2.mT).softmax(-1)
        p = p.scatter_add_(2, y[..., None], -torch.ones(ROWS, batch, 1)) / batch
        d = torch.bmm(p, W2).mul_(1 - h * h)
        parts = [torch.bmm(d.mT, x).flatten(1), d.sum(1), torch.bmm(p.mT, h).flatten(1), p.sum(1)]
        return torch.cat(parts, dim=1)

    gradient()
    seconds = min(timed(lambda: [gradient() for _ in range(STEPS)] and None) for _ in range(ROUNDS))
    print(f"by hand, MLP of {X.shape[1]}: {seconds:.2f} s for {ROWS} runs of {STEPS} gradients")


if __name__ == "__main__":
    for line in ("sgd:lr=0.01,momentum=0.9", "adam:lr=0.01"):
        formula(line)
        network(line)
        network(line, 4, 8, 2, 8)
        network(line, 2, 4, 2, 4)
    by_hand()
