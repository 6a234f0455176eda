"""Counterfactual probes: from where a run stands, what would get it moving?

Every trial starts from copies of the model's parameters and of the optimiser's state, changes one thing, and takes the same number of
steps; the unchanged run is the control, and trials are paired with it by the seed that draws batches. The user's model, its buffers
and gradients, the optimiser and the global generators stay as they are. Trials hold the learning rate: no schedule is followed.

A remedy wins (``Probes.best``) when its paired interval against the control excludes zero and its mean gain is more than what is
negligible: the largest of SHARE of the span, ROUNDING eps |f(x)|, and the caller's ``matters``. The span is f(x) less the lowest
loss seen, at the ends of trials or on the ray x - s g / |g|, g the gradient, s from ``kick`` to RAY times that. On a plateau every
trial gains next to nothing, and none wins; ``Probes.leap`` is then the s that leaves it, if one was seen on the ray. A
control that diverges counts as if it had stayed where it was.

x: parameters (n,), v: the unit eigenvector of the Hessian's lowest eigenvalue, l.
Gradient descent at rate a leaves a strict saddle along v by a factor
1 + a |l| a step, so at the rate ln(1 + a |l|).
"""

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from landscape.core import Progress, Term, silent
from landscape.errors import NumericalError
from landscape.hessian import Hessian
from landscape.linalg.lanczos import eigsh
from landscape.model import ModelLandscape
from landscape.results import Estimate, result

FACTORS = (0.1, 10.0, 100.0)  # of the learning rate
SATURATED = 1e-3  # largest slope, as a share of the activation's largest, of a unit that is called saturated
SHARE = 1e-3  # of the span: a smaller gain is no cure
ROUNDING = 64  # units of rounding of the loss that no gain is read from
RAY = 100.0  # how many kicks the ray along the gradient goes
POINTS = 21  # on the ray, in geometric steps of 1.26


@result
@dataclass(frozen=True)
class Probe:
    """What one remedy did to the loss, over all the seeds."""

    name: str
    change: Estimate  # the loss at the end less that at the start; negative is better
    against_control: Estimate  # the same less the control's, paired by seed
    diverged: int  # seeds whose loss ended non-finite; the estimates are then infinite
    gradients: float  # passes over all the data spent on gradients, all seeds together
    rate: float | None  # ln of the growth along v a step, over the first quarter; of the eigenvector's probes only


@result
@dataclass(frozen=True)
class Probes:
    """Trials side by side, the best first."""

    probes: list[Probe]
    best: str  # the first one that certainly beats the control by more than is negligible, else "control"
    loss: float  # at the start
    negligible: float  # a mean gain up to this is no cure
    leap: (
        float | None
    )  # where none wins, a step of this length against the gradient gains more than that; or none found
    steps: int
    seeds: int
    curvature: float  # the Hessian's lowest eigenvalue at the start
    predicted_rate: float | None  # ln(1 + lr |curvature|) for plain SGD at a negative curvature, else None
    products: int  # Hessian-vector products spent

    def __getitem__(self, name: str) -> Probe:
        for probe in self.probes:
            if probe.name == name:
                return probe
        raise KeyError(f"no probe is called {name!r}; there are {', '.join(p.name for p in self.probes)}")

    def __str__(self) -> str:
        lines = [f"{p.name}: {p.change.value:+.3g}, against the control {p.against_control}" for p in self.probes]
        head = (
            "best: control, no remedy gains more than is negligible" if self.best == "control" else f"best: {self.best}"
        )
        if self.leap is not None:
            head += f"; a step of length {self.leap:.3g} against the gradient does"
        return "\n".join([head, *lines])


@dataclass(frozen=True)
class _Trial:
    name: str
    start: Callable[[Tensor, torch.Generator], Tensor]  # the point, draws -> where the trial starts
    optimizer: Callable[[list[Tensor]], Optimizer]  # copies of the optimiser's parameters, in its order -> one for them
    full: bool = False  # gradients over all the data


def probe(
    f: ModelLandscape,
    optimizer: Optimizer,
    *,
    steps: int = 50,
    seeds: int = 4,
    seed: int = 0,
    kick: float | None = None,
    matters: float = 1e-6,
    progress: Progress = silent,
) -> Probes:
    """Try remedies on copies of a stuck run, beside the unchanged run.

    Args:
        f: the run's landscape; its micro-batches are those that the run draws from, one a step.
        optimizer: the run's own, over the parameters of f's model.
        steps: of each trial.
        seeds: trials of each remedy, at least 2.
        seed: of batches, noise and fresh weights; the global generators are not touched.
        kick: length of the step along an eigenvector and of noise; None: a tenth of |x|, at least 0.1.
        matters: the smallest change of the loss worth having, in its units; lower it for a loss that is small everywhere.

    Raises:
        ValueError: fewer than 2 seeds or 1 step, or an optimiser that holds none of the model's parameters.
        NumericalError: the loss is not finite at the start.

    Cost: about steps seeds 9 gradients of a micro-batch, one gradient and 21 values over all the data, and the products of
    one search for the lowest eigenvalue.
    """
    if seeds < 2 or steps < 1:
        raise ValueError(f"probes need at least 2 seeds and 1 step, got seeds={seeds}, steps={steps}.")
    x = f.point()
    loss = float(f.value(x))
    if not math.isfinite(loss):
        raise NumericalError("the loss is not finite where the probes start: go back to an earlier checkpoint.")
    run = _Runner(f, optimizer, steps)
    pairs = eigsh(Hessian(f, x), largest=0, smallest=1, seed=seed)
    lowest, v = float(pairs.values[0]), pairs.vectors[:, 0]
    kick = max(0.1, 0.1 * float(x.double().norm())) if kick is None else kick
    trials = _trials(f, optimizer, lowest, v, kick)
    children = np.random.SeedSequence(seed).spawn(seeds)
    changes: dict[str, list[float]] = {}
    spent: dict[str, float] = {}
    rates: dict[str, list[float]] = {}
    for i, trial in enumerate(trials):
        for child in children:  # the same seeds for every trial: they are paired
            progress("probes", i, len(trials))
            before = run.spent
            end, grown = run(trial, x, child, v)
            changes.setdefault(trial.name, []).append(end - loss)
            spent[trial.name] = spent.get(trial.name, 0.0) + run.spent - before
            if trial.name.startswith("eigenvector"):
                rates.setdefault(trial.name, []).append(
                    math.log(grown / kick) / max(1, steps // 4) if grown else -math.inf
                )
    found = _compare(changes, spent, rates)
    length, lowered = _ray(f, x, kick)
    ends = [loss + c for values in changes.values() for c in values if math.isfinite(c)]
    span = loss - min([loss, lowered, *ends])
    negligible = max(SHARE * span, ROUNDING * torch.finfo(f.dtype).eps * abs(loss), matters)
    best = next(
        (p.name for p in found if p.against_control.high < 0 and p.against_control.value < -negligible), "control"
    )
    leap = length if best == "control" and loss - lowered > negligible else None
    plain = type(optimizer) is SGD and not any(g["momentum"] or g["weight_decay"] for g in optimizer.param_groups)
    predicted = math.log1p(float(optimizer.param_groups[0]["lr"]) * -lowest) if plain and lowest < 0 else None
    return Probes(found, best, loss, negligible, leap, steps, seeds, lowest, predicted, pairs.products)


def _compare(changes: dict[str, list[float]], spent: dict[str, float], rates: dict[str, list[float]]) -> list[Probe]:
    """A probe a trial, the largest mean gain over the control first."""
    control = [c if math.isfinite(c) else 0.0 for c in changes["control"]]
    found = [
        Probe(
            name,
            _estimate(values),
            _estimate([a - b for a, b in zip(values, control, strict=True)]),
            sum(not math.isfinite(value) for value in values),
            spent[name],
            float(np.mean(rates[name])) if name in rates else None,
        )
        for name, values in changes.items()
    ]
    return sorted(found, key=lambda p: p.against_control.value)


def _ray(f: ModelLandscape, x: Tensor, kick: float) -> tuple[float, float]:
    """The length of the step against the gradient that lowers the loss most, and the loss there."""
    g = f.gradient(x).double()
    largest = float(g.abs().max())
    if largest == 0.0 or not math.isfinite(largest):
        return 0.0, math.inf
    g = g / largest  # squares of a plateau's gradient may underflow
    u = (g / g.norm()).to(x)
    lengths = [kick * RAY ** (i / (POINTS - 1)) for i in range(POINTS)]
    values = [(float(f.value(x - s * u)), s) for s in lengths]
    lowest, length = min((pair for pair in values if math.isfinite(pair[0])), default=(math.inf, 0.0))
    return length, lowest


def _estimate(values: list[float]) -> Estimate:
    """Mean with Student's interval over the seeds."""
    if not all(math.isfinite(v) for v in values):
        return Estimate(math.inf, math.inf, -math.inf, math.inf)
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    width = float(scipy.stats.t.ppf(0.975, len(values) - 1)) * error
    return Estimate(mean, error, mean - width, mean + width)


class _Runner:
    """Runs trials on copies; counts gradients in passes over all the data."""

    def __init__(self, f: ModelLandscape, optimizer: Optimizer, steps: int) -> None:
        self.f, self.steps, self.spent = f, steps, 0.0
        where = {id(p): f.layout[name] for name, p in f.model.named_parameters() if name in f.layout}
        self.originals = [p for group in optimizer.param_groups for p in group["params"]]
        self.slices = [where.get(id(p)) for p in self.originals]
        if not any(s is not None for s in self.slices):
            raise ValueError(
                "the optimizer holds none of the landscape's parameters: build it from f.model.parameters()."
            )

    def __call__(self, trial: _Trial, x: Tensor, seed: np.random.SeedSequence, v: Tensor) -> tuple[float, float]:
        """The loss at the end, and how far x went along v in the first quarter of the steps."""
        a, b = (int(s) for s in seed.generate_state(2))
        draws, batches = (torch.Generator("cpu").manual_seed(s) for s in (a, b))
        start = trial.start(x, draws)
        copies = [p.detach().clone() for p in self.originals]
        base = start.clone()
        self._write(start, copies)
        optimizer = trial.optimizer(copies)
        grown = 0.0
        with self.f.evaluation():
            terms = list(self.f.terms())
            data = [t for t in terms if t.batch is not None]
            for step in range(self.steps):
                chosen = None if trial.full else int(torch.randint(len(data), (), generator=batches, device="cpu"))
                used = terms if chosen is None else [data[chosen], *(t for t in terms if t.batch is None)]

                def closure(used: list[Term] = used, whole: bool = chosen is None) -> float:
                    return self._differentiate(base, copies, used, whole)

                optimizer.step(closure)
                if step + 1 == max(1, self.steps // 4):
                    grown = abs(float(v @ (self._read(base, copies) - x)))
        return float(self.f.value(self._read(base, copies))), grown

    def _read(self, base: Tensor, copies: Sequence[Tensor]) -> Tensor:
        x = base.clone()
        for where, p in zip(self.slices, copies, strict=True):
            if where is not None:
                x[where] = p.detach().reshape(-1).to(x)
        return x

    def _write(self, x: Tensor, copies: Sequence[Tensor]) -> None:
        for where, p in zip(self.slices, copies, strict=True):
            if where is not None:
                p.copy_(x[where].view_as(p))

    def _differentiate(self, base: Tensor, copies: Sequence[Tensor], terms: list[Term], whole: bool) -> float:
        """Write the gradients of the terms into the copies; the value."""
        x = self._read(base, copies).requires_grad_(True)
        gradient, total = torch.zeros_like(x), x.new_zeros(())
        with torch.enable_grad():
            for term in terms:
                value = term.function(x)
                scale = 1.0 if whole or term.batch is None else 1.0 / term.share
                gradient += scale * torch.autograd.grad(value, x)[0]
                total += scale * value.detach()
                self.spent += term.share
        for where, p in zip(self.slices, copies, strict=True):
            p.grad = None if where is None else gradient[where].view_as(p).to(p)
        return float(total)


def _trials(f: ModelLandscape, optimizer: Optimizer, lowest: float, v: Tensor, kick: float) -> list[_Trial]:
    def stay(x: Tensor, _: torch.Generator) -> Tensor:
        return x.clone()

    def noise(x: Tensor, draws: torch.Generator) -> Tensor:
        u = torch.randn(x.shape, generator=draws, dtype=torch.float64, device="cpu")
        moved: Tensor = x + (kick * u / u.norm()).to(x)
        return moved

    def same(copies: list[Tensor]) -> Optimizer:
        return _copy(optimizer, copies)

    trials = [_Trial("control", stay, same)]
    trials += [_Trial(f"rate x{c:g}", stay, partial(_copy, optimizer, factor=c)) for c in FACTORS]
    if lowest < 0:
        trials += [_Trial(f"eigenvector {s}", partial(_along, v, kick * float(f"{s}1")), same) for s in "+-"]
    trials.append(_Trial("noise", noise, same))
    if isinstance(optimizer, Adam):
        trials.append(_Trial("sgd:lr=0.01,momentum=0.9", stay, lambda copies: SGD(copies, lr=0.01, momentum=0.9)))
    else:
        trials.append(_Trial("adam:lr=0.01", stay, lambda copies: Adam(copies, lr=0.01)))
    dead, saturated = _sick_units(f)
    if dead:
        trials.append(_Trial("revive dead units", lambda x, draws: _revive(f, x, dead, draws), same))
    if saturated:
        trials.append(_Trial("rescale saturated units", lambda x, _: _rescale(f, x, saturated), same))
    if sum(1 for _ in f.batches) > 1:
        trials.append(_Trial("full batch", stay, same, full=True))
    return trials


def _along(v: Tensor, length: float, x: Tensor, _: torch.Generator) -> Tensor:
    return x + length * v.to(x)


def _copy(optimizer: Optimizer, copies: list[Tensor], factor: float = 1.0) -> Optimizer:
    """An optimiser of the same class, options and state over the copies, its rates times ``factor``; hooks are left behind."""
    remaining = iter(copies)
    groups: list[dict[str, Any]] = [
        {**{k: v for k, v in g.items() if k != "param_names"}, "params": [next(remaining) for _ in g["params"]]}
        for g in optimizer.param_groups
    ]
    known = inspect.signature(type(optimizer)).parameters
    clone = type(optimizer)(groups, **{k: v for k, v in optimizer.defaults.items() if k in known})
    clone.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in clone.param_groups:
        group["lr"] = group["lr"] * factor
    return clone


# a linear layer's name, which of its units (outputs,), their mean |input| (outputs,)
Sick = list[tuple[str, Tensor, Tensor]]


def _sick_units(f: ModelLandscape) -> tuple[Sick, Sick]:
    """Units of linear layers that are dead (ReLU, never active) or saturated (sigmoid, tanh, never on their slope), over all data."""
    layers = {id(m): name for name, m in f.model.named_modules() if isinstance(m, nn.Linear)}
    made: dict[int, tuple[str, Tensor]] = {}  # the tensors are held, so that no identity is used twice
    # (layer, whether ReLU) -> the most active or steepest over the data, a unit
    largest: dict[tuple[str, bool], Tensor] = {}
    size: dict[str, list[Tensor]] = {}

    def linear(module: nn.Module, _: Any, output: Tensor) -> None:
        made[id(output)] = (layers[id(module)], output)

    def activation(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if id(inputs[0]) not in made:
            return
        name = made[id(inputs[0])][0]
        relu = isinstance(module, nn.ReLU)
        y = output.detach().reshape(-1, output.shape[-1])
        slope = y if relu else y * (1 - y) / 0.25 if isinstance(module, nn.Sigmoid) else 1 - y * y
        most = slope.amax(0)
        key = (name, relu)
        largest[key] = torch.maximum(largest[key], most) if key in largest else most
        size.setdefault(name, []).append(inputs[0].detach().reshape(y.shape).abs().mean(0))

    hooks = []
    try:
        for m in f.model.modules():
            if isinstance(m, nn.Linear):
                hooks.append(m.register_forward_hook(linear))
            elif isinstance(m, nn.ReLU | nn.Sigmoid | nn.Tanh):
                hooks.append(m.register_forward_hook(activation))
        f.value(f.point())
    finally:
        for hook in hooks:
            hook.remove()
    dead, saturated = Sick(), Sick()
    for (name, relu), most in largest.items():
        units = most <= (0.0 if relu else SATURATED)
        if bool(units.any()):
            (dead if relu else saturated).append((name, units, torch.stack(size[name]).mean(0)))
    return dead, saturated


def _revive(f: ModelLandscape, x: Tensor, dead: Sick, draws: torch.Generator) -> Tensor:
    """x with fresh incoming weights, normal of variance 2 / inputs, and zero biases for the dead units."""
    x = x.clone()
    for name, units, _ in dead:
        where = f.layout.get(f"{name}.weight")
        if where is not None:
            W = x[where].view(len(units), -1)
            fresh = torch.randn(W.shape, generator=draws, dtype=torch.float64, device="cpu") * math.sqrt(2 / W.shape[1])
            W[units] = fresh.to(W)[units]
        if (where := f.layout.get(f"{name}.bias")) is not None:
            x[where][units] = 0.0
    return x


def _rescale(f: ModelLandscape, x: Tensor, saturated: Sick) -> Tensor:
    """x with the incoming weights and biases of saturated units divided by their mean absolute input."""
    x = x.clone()
    for name, units, size in saturated:
        for part in ("weight", "bias"):
            where = f.layout.get(f"{name}.{part}")
            if where is not None:
                rows = x[where].view(len(units), -1)
                rows[units] /= size[units, None].to(rows)
    return x
