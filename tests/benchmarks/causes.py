"""Runs with a planted cause, and healthy ones: is the cause named first?

    python tests/benchmarks/causes.py --runs 600            # half calibrates, half tests
    python tests/benchmarks/causes.py --runs 60 --only saddle
    python tests/benchmarks/causes.py --runs 600 --keep /tmp/traces   # resumable

Every run draws its data, architecture, optimiser, batch size and length by its seed; then one thing
is done to it. Even seeds are those that the thresholds of ``landscape.training`` were read from,
odd seeds are only tested on. Prints the confusion matrix of both halves.
"""

import argparse
import copy
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import Tensor, nn

import landscape as ls

# What is planted and leaves less than a tenth of a constant prediction's loss is a control.
HARMLESS = 0.9
Loss = Callable[[Tensor, Tensor], Tensor]
T = TypeVar("T")


@dataclass
class Plan:
    """A run that works, before something is done to it."""

    x: Tensor
    y: Tensor
    model: nn.Module
    loss: Loss
    optimizer: str
    lr: float
    batch: int
    steps: int
    task: str  # "classes", "numbers" or "yes or no"
    draws: torch.Generator
    schedule: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None = None
    clip: float = math.inf
    cleared: str = "before"  # when zero_grad is called: before, never, after backward
    backward: bool = True
    moved: Callable[[nn.Module], list[nn.Parameter]] | None = None
    fixed: bool = False
    decay: float = 0.0

    def uniform(self, low: float, high: float) -> float:
        """A number, evenly in its decades."""
        return low * (high / low) ** float(torch.rand((), generator=self.draws))

    def choice(self, *options: T) -> T:
        return options[int(torch.randint(len(options), (), generator=self.draws))]


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU)
LR = {"SGD": 0.1, "momentum": 0.02, "Adam": 3e-3, "AdamW": 3e-3, "RMSprop": 1e-3}


def made(
    name: str, parameters: list[nn.Parameter], lr: float, decay: float = 0.0
) -> torch.optim.Optimizer:
    if name == "momentum":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay)
    return getattr(torch.optim, name)(parameters, lr=lr, weight_decay=decay)


def data(draws: torch.Generator) -> tuple[str, Tensor, Tensor, int]:
    """Task, standardised inputs, targets and outputs."""
    kind = ["digits", "wine", "cancer", "blobs", "sines", "linear", "rings"][
        int(torch.randint(7, (), generator=draws))
    ]
    if kind in ("digits", "wine", "cancer"):
        load = {"digits": load_digits, "wine": load_wine, "cancer": load_breast_cancer}[kind]
        a, b = load(return_X_y=True)
        order = torch.randperm(len(a), generator=draws)[:384]
        x, y = torch.tensor(a[order.numpy()]).float(), torch.tensor(b[order.numpy()])
        x = x / 16 if kind == "digits" else (x - x.mean(0)) / x.std(0)
        if kind == "cancer":
            return "yes or no", x, y.float()[:, None], 1
        return "classes", x, y, int(y.max()) + 1
    x = torch.randn(320, 6, generator=draws)
    if kind == "blobs":
        y = torch.randint(5, (320,), generator=draws)
        return "classes", x + 2 * torch.randn(5, 6, generator=draws)[y], y, 5
    if kind == "rings":
        return "classes", x, (x.norm(dim=1) > 2.3).long(), 2
    if kind == "sines":
        return "numbers", x, torch.sin(x[:, :2].sum(1, keepdim=True)), 1
    return "numbers", x, x @ torch.randn(6, 2, generator=draws), 2


def network(draws: torch.Generator, inputs: int, outputs: int) -> nn.Sequential:
    """A network of one to three hidden layers, or a convolutional one."""
    width = int(torch.randint(16, 48, (), generator=draws))
    depth = int(torch.randint(1, 4, (), generator=draws))
    act = [nn.ReLU, nn.Tanh, nn.GELU][int(torch.randint(3, (), generator=draws))]
    if inputs == 64 and int(torch.randint(3, (), generator=draws)) == 0:
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3),
            act(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(72, outputs),
        )
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), act()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def plan(seed: int) -> Plan:
    draws = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    task, x, y, outputs = data(draws)
    model = network(draws, x.shape[1], outputs)
    losses: dict[str, Loss] = {
        "classes": F.cross_entropy,
        "numbers": F.mse_loss,
        "yes or no": F.binary_cross_entropy_with_logits,
    }
    name = list(LR)[int(torch.randint(len(LR), (), generator=draws))]
    batch = [16, 32, 64][int(torch.randint(3, (), generator=draws))]
    steps = int(torch.randint(300, 600, (), generator=draws))
    return Plan(x, y, model, losses[task], name, LR[name], batch, steps, task, draws)


def classes(seed: int) -> Plan:
    """A plan with classes."""
    p = plan(seed)
    while p.task != "classes":
        seed += 10_007
        p = plan(seed)
    return p


def task(seed: int, wanted: str) -> Plan:
    p = plan(seed)
    while p.task != wanted:
        seed += 10_007
        p = plan(seed)
    return p


def run(p: Plan) -> tuple[ls.training.Trace, ls.ModelLandscape, torch.optim.Optimizer]:
    size = 384 if p.batch >= len(p.x) else 128
    f = ls.ModelLandscape(p.model, p.loss, list(zip(p.x.split(size), p.y.split(size), strict=True)))
    parameters = list(p.model.parameters()) if p.moved is None else p.moved(p.model)
    optimizer = made(p.optimizer, parameters, p.lr, p.decay)
    with ls.Tracer(optimizer, f, every=max(1, p.steps // 12)) as tracer:
        loop(p, optimizer)
    return tracer.result, f, optimizer


def loop(p: Plan, optimizer: torch.optim.Optimizer) -> None:
    """The training loop of a plan."""
    schedule = None if p.schedule is None else p.schedule(optimizer)
    fixed = torch.randint(len(p.x), (p.batch,), generator=p.draws)
    for _ in range(p.steps):
        i = fixed if p.fixed else torch.randint(len(p.x), (p.batch,), generator=p.draws)
        i = i if p.batch < len(p.x) else torch.arange(len(p.x))
        if p.cleared == "before":
            optimizer.zero_grad()
        value = p.loss(p.model(p.x[i]), p.y[i])
        if p.backward:
            value.backward()
        if p.cleared == "after backward":
            optimizer.zero_grad()
        if p.clip < math.inf:
            nn.utils.clip_grad_norm_(p.model.parameters(), p.clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()


# ---- what is done to a plan


def stack(p: Plan) -> nn.Sequential:
    """The layers of a plan's network."""
    assert isinstance(p.model, nn.Sequential)
    return p.model


def zero_grad(seed: int) -> Plan:
    p = plan(seed)
    p.cleared = "never"
    return p


def backward(seed: int) -> Plan:
    p = plan(seed)
    if p.choice(True, False):
        p.backward = False
    else:
        p.cleared = "after backward"
    return p


def outside(seed: int) -> Plan:
    p = plan(seed)
    kept = int(p.choice(1, 2))  # a bias, or the last layer's bias and the first's
    p.moved = lambda m: [q for q in m.parameters() if q.ndim == 1][-kept:]
    return p


class Detached(nn.Module):
    """Features of which nothing leads back."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).detach()


def split(p: Plan) -> tuple[nn.Sequential, nn.Module]:
    """The features of a plan's network, narrow at their end so that a head alone does not do, and
    a head.
    """
    layers = stack(p)
    head = linears(p.model)[-1]
    narrow = nn.Linear(head.in_features, 2)
    return nn.Sequential(*list(layers)[:-1], narrow, nn.Tanh()), nn.Linear(2, head.out_features)


def detached(seed: int) -> Plan:
    p = plan(seed)
    features, head = split(p)
    p.model = nn.Sequential(Detached(features), head)
    return p


def frozen(seed: int) -> Plan:
    p = plan(seed)
    features, head = split(p)
    features.requires_grad_(False)
    p.model = nn.Sequential(features, head)
    return p


def made_again(seed: int) -> Plan:
    p = plan(seed)
    old = copy.deepcopy(p.model)
    p.moved = lambda m: list(old.parameters())
    return p


def decay(seed: int) -> Plan:
    p = plan(seed)
    p.optimizer = str(p.choice("SGD", "momentum", "Adam"))
    p.lr, p.decay = LR[p.optimizer], p.uniform(0.7, 2)
    return p


def same_batch(seed: int) -> Plan:
    p = plan(seed)
    p.fixed, p.batch = True, int(p.choice(4, 8, 16))
    return p


def clipping(seed: int) -> Plan:
    p = plan(seed)
    p.optimizer = str(p.choice("SGD", "momentum"))
    p.lr, p.clip = LR[p.optimizer], p.uniform(1e-5, 1e-3)
    return p


def schedule(seed: int) -> Plan:
    p = plan(seed)
    gamma, every = p.uniform(0.05, 0.5), int(p.choice(1, 3))
    p.schedule = lambda o: torch.optim.lr_scheduler.StepLR(o, every, gamma)
    return p


def softmax_twice(seed: int) -> Plan:
    p = classes(seed)
    stack(p).append(nn.Softmax(1))
    return p


def log_softmax_of_softmax(seed: int) -> Plan:
    p = classes(seed)
    stack(p).extend([nn.Softmax(1), nn.LogSoftmax(1)])
    p.loss = F.nll_loss
    return p


def probabilities_as_logs(seed: int) -> Plan:
    p = classes(seed)
    stack(p).append(nn.Softmax(1))
    p.loss = F.nll_loss
    return p


def softmax_over_batch(seed: int) -> Plan:
    p = classes(seed)
    stack(p).append(nn.Softmax(0))
    return p


def sigmoid_twice(seed: int) -> Plan:
    p = task(seed, "yes or no")
    stack(p).append(nn.Sigmoid())
    return p


def broadcast(seed: int) -> Plan:
    p = task(seed, "numbers")
    while p.y.shape[1] > 1:
        seed += 7
        p = task(seed, "numbers")
    p.y = p.y[:, 0]
    kind = p.choice("mse", "l1", "own")
    p.loss = {"mse": F.mse_loss, "l1": F.l1_loss, "own": lambda o, t: ((o - t) ** 2).mean()}[kind]
    return p


def unscaled(seed: int) -> Plan:
    p = plan(seed)
    way = p.choice("large", "uneven", "offset")
    if way == "large":
        p.x = p.x * p.uniform(200, 2000)
    elif way == "uneven":
        scales = torch.ones(p.x.shape[1])
        scales[:: int(p.choice(3, 5))] = p.uniform(1e3, 1e4)
        p.x = p.x * scales
    else:
        p.x = p.x + p.uniform(100, 1000)
    return p


def constant(seed: int) -> Plan:
    p = plan(seed)
    if p.choice(True, False):
        p.x = torch.zeros_like(p.x) + p.x[:1]
    else:
        p.x = p.x.clone()
        p.x[:, torch.randperm(p.x.shape[1], generator=p.draws)[: -(p.x.shape[1] // 20) or None]] = 0
    return p


def shuffled(seed: int) -> Plan:
    p = plan(seed)
    p.y = p.y[torch.randperm(len(p.y), generator=p.draws)]
    return p


def linears(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def activated(p: Plan, act: type[nn.Module]) -> None:
    """Exchange the activations of a plan."""
    layers = stack(p)
    for i, module in enumerate(layers):
        if isinstance(module, ACTIVATIONS):
            layers[i] = act()


def dead(seed: int) -> Plan:
    p = plan(seed)
    activated(p, nn.ReLU)
    with torch.no_grad():
        for layer in linears(p.model)[:-1]:
            layer.bias.fill_(-p.uniform(30, 300))
    return p


def saturated(seed: int) -> Plan:
    p = plan(seed)
    activated(p, [nn.Tanh, nn.Sigmoid][seed % 2])
    p.optimizer = str(p.choice("SGD", "momentum"))
    p.lr = LR[p.optimizer]
    with torch.no_grad():
        for layer in linears(p.model)[:-1]:
            layer.weight *= p.uniform(100, 1000)
            layer.bias += p.uniform(30, 100)
    return p


def vanishing(seed: int) -> Plan:
    p = plan(seed)
    depth, width = int(p.choice(8, 12)), 16
    sizes = [p.x.shape[1], *[width] * depth]
    outputs = linears(p.model)[-1].out_features
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Sigmoid()]
    p.model = nn.Sequential(*layers, nn.Linear(width, outputs))
    p.optimizer = str(p.choice("SGD", "momentum"))
    p.lr = LR[p.optimizer]
    return p


def too_small(seed: int) -> Plan:
    p = plan(seed)
    p.lr *= p.uniform(1e-5, 1e-3)
    return p


def too_large(seed: int) -> Plan:
    p = plan(seed)
    p.lr *= p.uniform(100, 1000)
    return p


def saddle(seed: int) -> Plan:
    p = plan(seed)
    activated(p, [nn.Tanh, nn.GELU][seed % 2])
    p.optimizer = str(p.choice("SGD", "momentum"))
    p.lr, p.steps = LR[p.optimizer] / 3, 120
    size = float(p.choice(0.0, 1e-6))
    with torch.no_grad():
        for q in p.model.parameters():
            q.mul_(size)
    return p


def equal(seed: int) -> Plan:
    p = plan(seed)
    with torch.no_grad():
        for layer in linears(p.model):
            layer.weight.fill_(1 / layer.weight[0].numel())
            layer.bias.zero_()
    return p


def dropout(seed: int) -> Plan:
    p = plan(seed)
    rate = float(p.choice(0.9, 0.95))
    layers: list[nn.Module] = []
    for module in stack(p):
        layers += [module, nn.Dropout(rate)] if isinstance(module, ACTIVATIONS) else [module]
    p.model = nn.Sequential(*layers)
    return p


def noise(seed: int) -> Plan:
    p = task(seed, "numbers")
    p.model = nn.Sequential(nn.Linear(p.x.shape[1], p.y.shape[1]))
    p.y = p.x @ torch.randn(6, p.y.shape[1], generator=p.draws)
    p.y = p.y + 2 * torch.randn(p.y.shape, generator=p.draws)
    p.optimizer = str(p.choice("SGD", "Adam"))
    p.lr, p.batch, p.steps = {"SGD": 0.05, "Adam": 0.1}[p.optimizer], 2, 800
    return p


def minimum(seed: int) -> Plan:
    p = task(seed, "numbers")
    p.model = nn.Sequential(nn.Linear(p.x.shape[1], p.y.shape[1]))
    p.y = p.x @ torch.randn(6, p.y.shape[1], generator=p.draws)  # what a linear model can tell
    p.y = p.y + 2 * torch.randn(p.y.shape, generator=p.draws)
    p.optimizer, p.lr, p.batch, p.steps = "SGD", 0.1, len(p.x), 600
    return p


def control(seed: int) -> Plan:
    return plan(seed)


def short(seed: int) -> Plan:
    p = plan(seed)
    p.steps //= 3
    return p


KINDS: dict[str, tuple[tuple[str, ...], Callable[[int], Plan]]] = {
    "zero_grad missing": (("loop",), zero_grad),
    "backward missing": (("loop",), backward),
    "parameters outside": (("loop",), outside),
    "model made again": (("loop",), made_again),
    "detached": (("loop",), detached),
    "frozen": (("loop",), frozen),
    "weight decay": (("loop",), decay),
    "same batch": (("loop",), same_batch),
    "clipping": (("loop",), clipping),
    "schedule": (("learning rate", "loop"), schedule),
    "softmax twice": (("loss",), softmax_twice),
    "log_softmax of softmax": (("loss",), log_softmax_of_softmax),
    "nll of probabilities": (("loss",), probabilities_as_logs),
    "softmax over the batch": (("loss",), softmax_over_batch),
    "sigmoid twice": (("loss",), sigmoid_twice),
    "broadcast": (("loss",), broadcast),
    "unscaled": (("data",), unscaled),
    "constant inputs": (("data",), constant),
    "shuffled": (("data",), shuffled),
    "dead": (("dead",), dead),
    "saturated": (("saturated",), saturated),
    "vanishing": (("vanishing",), vanishing),
    "too small": (("learning rate",), too_small),
    "too large": (("learning rate",), too_large),
    "saddle": (("saddle",), saddle),
    "equal units": (("saddle",), equal),
    "dropout": (("noise",), dropout),
    "noise": (("noise",), noise),
    "minimum": (("minimum",), minimum),
    "control": ((), control),
    "control, short": ((), short),
}


@dataclass
class Outcome:
    kind: str
    seed: int
    named: str
    sure: float
    stuck: bool
    right: bool
    progress: float


def judged(kind: str, seed: int, trials: bool, keep: Path | None) -> Outcome:
    accepted, build = KINDS[kind]
    where = None if keep is None else keep / f"{kind.replace(' ', '_').replace(',', '')}-{seed}"
    if trials or where is None or not where.exists():
        trace, f, optimizer = run(build(seed))
        found = ls.diagnose(trace, f=f, optimizer=optimizer) if trials else ls.diagnose(trace)
        if where is not None:
            trace.save(where)
    else:
        trace = ls.training.Trace.load(where)
        found = ls.diagnose(trace)
    named = found.causes[0].name if found.causes else "none"
    sure = found.causes[0].confidence if found.causes else 0.0
    fallen = float(trace.loss[-1] / trace.loss[0])
    progress = 1 - trace.reading.loss / trace.reading.constant if trace.reading else fallen
    right = named in accepted
    if not accepted or (progress > HARMLESS and not right):
        right = not (found.stuck and sure > 0.5)
        named = named if not right else "not stuck"
    return Outcome(kind, seed, named, sure, found.stuck, right, progress)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--only", default="")
    parser.add_argument("--trials", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder of traces: those there are read again")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kinds = [k for k in KINDS if given.only in k]
    found: list[Outcome] = []
    begun = time.perf_counter()
    for n in range(given.runs):
        kind, seed = kinds[n % len(kinds)], given.first + n // len(kinds)
        found.append(judged(kind, seed, given.trials, given.keep))
        if given.show and not found[-1].right:
            print(found[-1], flush=True)
    print(f"{len(found)} runs in {time.perf_counter() - begun:.0f} s")
    for half, name in ((0, "calibration (even seeds)"), (1, "test (odd seeds)")):
        table(name, [o for o in found if o.seed % 2 == half])


def table(name: str, found: list[Outcome]) -> None:
    """Rows are what was planted, columns what was named first."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for o in found:
        rows[o.kind][o.named] += 1
    right = sum(o.right for o in found)
    print(f"\n{name}: {right} of {len(found)} right")
    print("| planted | runs | right | named first |\n|---|---|---|---|")
    for kind, counts in rows.items():
        those = [o for o in found if o.kind == kind]
        said = ", ".join(f"{k} {n}" for k, n in counts.most_common())
        print(f"| {kind} | {len(those)} | {np.mean([o.right for o in those]):.0%} | {said} |")


if __name__ == "__main__":
    main()
