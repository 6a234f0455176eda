"""Counterfactual probes: from where a run stands, what would get it moving?

Every trial starts from copies of the model's parameters and of the optimiser's state, changes one thing, and takes the same number of
steps; the unchanged run is the control, and trials are paired with it by the seed that draws batches. The user's model, its buffers
and gradients, the optimiser and the global generators stay as they are. Trials hold the learning rate: no schedule is followed.

A remedy wins (``Probes.best``) when its paired interval against the control excludes zero and its mean gain is more than what is
negligible: ``matters`` times the loss's own unit, and ROUNDING eps |f(x)| at least. The unit is the largest of |f(x)|, the span and,
where the caller knows it, ``scale``: the fall of the loss over the run, say. The span is f(x) less the lowest loss seen, at the ends
of trials or on rays x + s u, s from ``kick`` to RAY times that: u is against the gradient, and in a landscape of few parameters and one
batch also along it, along v, and in random directions, since far from a well the gradient need not point to it. On a plateau every
trial gains next to nothing, and none wins; ``Probes.leap`` is then the s that leaves it, if one was seen. A control that diverges
counts as if it had stayed where it was.

x: parameters (n,), v: the unit eigenvector of the Hessian's lowest eigenvalue, l.
Gradient descent at rate a leaves a strict saddle along v by a factor
1 + a |l| a step, so at the rate ln(1 + a |l|).
"""

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes.model import require_model
from landscape.linalg.lanczos import eigsh
from landscape.operators.hessian import Hessian
from landscape.results import Estimate, Result, result
from landscape.training.follow import Followed
from landscape.training.moving import Mover, slices
from landscape.training.units import rescale, revive, sick_units

FACTORS = (0.1, 10.0, 100.0)  # of the learning rate
ROUNDING = 64  # units of rounding of the loss that no gain is read from
RAY = 100.0  # how many kicks a ray goes
POINTS = 41  # on a ray, in geometric steps of 1.12
FEW = 8  # up to so many parameters more rays are looked along
RANDOM = 48  # so many of them in random directions: one in seven degrees of a plane


@result("probe")
@dataclass(frozen=True)
class Probe:
    """What one remedy did to the loss, over all the seeds."""

    name: str
    change: Estimate  # the loss at the end less that at the start; negative is better
    against_control: Estimate  # the same less the control's, paired by seed
    diverged: int  # seeds whose loss ended non-finite; the estimates are then infinite
    gradients: float  # passes over all the data spent on gradients, all seeds together
    rate: float | None  # ln of the growth along v a step of a small displacement; of the eigenvector's probes only


@result("probes")
@dataclass(frozen=True)
class Probes(Result):
    """Trials side by side, the best first."""

    probes: list[Probe]
    best: str  # the first one that certainly beats the control by more than is negligible, else "control"
    loss: float  # at the start
    negligible: float  # a mean gain up to this is no cure
    leap: float | None  # where none wins: the length of a step that gains more than that; None: none was found
    along: str  # in which direction that step goes; "" without one
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


@dataclass(frozen=True)
class _Trial:
    name: str
    start: Callable[[Tensor, torch.Generator], Tensor]  # the point, draws -> where the trial starts
    optimizer: Callable[[list[Tensor]], Optimizer]  # copies of the optimiser's parameters, in its order -> one for them
    full: bool = False  # gradients over all the data


def probe(
    f: Landscape,
    optimizer: Optimizer,
    *,
    steps: int = 50,
    seeds: int = 8,
    seed: int = 0,
    kick: float | None = None,
    matters: float = 1e-3,
    scale: float = 0.0,
    progress: Progress = silent,
) -> Probes:
    """Try remedies on copies of a stuck run, beside the unchanged run.

    Args:
        f: the run's landscape; its micro-batches are those that the run draws from, one a step. The point of a formula is the
            optimiser's parameters, concatenated.
        optimizer: the run's own, over the parameters of f's model.
        steps: of each trial.
        seeds: trials of each remedy, at least 2.
        seed: of batches, noise and fresh weights; the global generators are not touched.
        kick: length of the step along an eigenvector and of noise; None: a tenth of |x|, at least 0.1.
        matters: the smallest gain worth having, as a share of the loss's unit; see the module.
        scale: a change of the loss that is large in this problem, in its units, such as its fall over the run.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: fewer than 2 seeds or 1 step, or an optimiser that holds none of the model's parameters.
        NumericalError: the loss is not finite at the start.

    Cost: about steps seeds 9 gradients of a micro-batch, one gradient and 41 values over all the data (50 times as many values with
    up to 8 parameters and one batch), and the products of one search for the lowest eigenvalue.
    """
    if seeds < 2 or steps < 1:
        raise ValueError(f"probes need at least 2 seeds and 1 step, got seeds={seeds}, steps={steps}.")
    followed = Followed(optimizer, f)
    x = followed.point()
    loss = float(f.value(x))
    if not math.isfinite(loss):
        raise NumericalError("the loss is not finite where the probes start: go back to an earlier checkpoint.")
    run = _Runner(followed, x, steps)
    pairs = eigsh(Hessian(f, x), largest=0, smallest=1, seed=seed)
    lowest, v = float(pairs.values[0]), pairs.vectors[:, 0]
    kick = max(0.1, 0.1 * float(x.double().norm())) if kick is None else kick
    trials = _trials(f, optimizer, lowest, v, kick)
    *children, rays = np.random.SeedSequence(seed).spawn(seeds + 1)
    changes: dict[str, list[float]] = {}
    spent: dict[str, float] = {}
    for i, trial in enumerate(trials):
        for child in children:  # the same seeds for every trial: they are paired
            progress("probes", i, len(trials))
            end, passes = run(trial, child)
            changes.setdefault(trial.name, []).append(end - loss)
            spent[trial.name] = spent.get(trial.name, 0.0) + passes
    rates = {f"eigenvector {s}": run.rate(v, float(f"{s}1") * kick, optimizer) for s in "+-"} if lowest < 0 else {}
    found = _compare(changes, spent, rates)
    lowered, length, along = _leap(f, x, v, kick, rays)
    ends = [loss + c for values in changes.values() for c in values if math.isfinite(c)]
    unit = max(loss - min([loss, lowered, *ends]), abs(loss), scale)
    negligible = max(matters * unit, ROUNDING * torch.finfo(x.dtype).eps * abs(loss))
    best = next(
        (p.name for p in found if p.against_control.high < 0 and p.against_control.value < -negligible), "control"
    )
    leaps = best == "control" and loss - lowered > negligible
    plain = type(optimizer) is SGD and not any(g["momentum"] or g["weight_decay"] for g in optimizer.param_groups)
    predicted = math.log1p(float(optimizer.param_groups[0]["lr"]) * -lowest) if plain and lowest < 0 else None
    return Probes(
        found, best, loss, negligible, length if leaps else None, along if leaps else "", steps, seeds, lowest, predicted,
        pairs.products,
    )  # fmt: skip


def _compare(changes: dict[str, list[float]], spent: dict[str, float], rates: dict[str, float]) -> list[Probe]:
    """A probe a trial, the largest mean gain over the control first."""
    control = [c if math.isfinite(c) else 0.0 for c in changes["control"]]
    found = [
        Probe(
            name,
            _estimate(values),
            _estimate([a - b for a, b in zip(values, control, strict=True)]),
            sum(not math.isfinite(value) for value in values),
            spent[name],
            rates.get(name),
        )
        for name, values in changes.items()
    ]
    return sorted(found, key=lambda p: p.against_control.value)


def _leap(f: Landscape, x: Tensor, v: Tensor, kick: float, seed: np.random.SeedSequence) -> tuple[float, float, str]:
    """The lowest loss on the rays, how far it is and in which direction."""
    found = [_ray(f, x, -u, kick, "against the gradient") for u in _unit(f.gradient(x))]
    with f.evaluation():
        small = x.numel() <= FEW and sum(1 for _ in f.terms()) == 1
    if small:
        found += [_ray(f, x, u, kick, "along the gradient") for u in _unit(f.gradient(x))]
        found += [_ray(f, x, s * v, kick, f"along eigenvector {'+' if s > 0 else '-'}") for s in (1.0, -1.0)]
        draws = torch.Generator("cpu").manual_seed(int(seed.generate_state(1)[0]))
        shape = (RANDOM, x.numel())
        U = torch.randn(shape, generator=draws, dtype=torch.float64, device="cpu").to(x.device)
        found += [_ray(f, x, u, kick, "in a random direction") for row in U for u in _unit(row)]
    return min(found, default=(math.inf, 0.0, ""))


def _unit(g: Tensor) -> list[Tensor]:
    """g over its norm, in a list; an empty one where it has no direction."""
    g = g.double()
    largest = float(g.abs().max())
    if largest == 0.0 or not math.isfinite(largest):
        return []
    g = g / largest  # squares of a plateau's gradient may underflow
    return [g / g.norm()]


def _ray(f: Landscape, x: Tensor, u: Tensor, kick: float, words: str) -> tuple[float, float, str]:
    """The lowest loss on x + s u, that s, and the words for u."""
    lengths = [kick * RAY ** (i / (POINTS - 1)) for i in range(POINTS)]
    values = [(float(f.value(x + (s * u).to(x))), s, words) for s in lengths]
    return min((value for value in values if math.isfinite(value[0])), default=(math.inf, 0.0, words))


def _estimate(values: list[float]) -> Estimate:
    """Mean with Student's interval over the seeds."""
    if not all(math.isfinite(v) for v in values):
        return Estimate(math.inf, math.inf, -math.inf, math.inf)
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    width = float(scipy.stats.t.ppf(0.975, len(values) - 1)) * error
    return Estimate(mean, error, mean - width, mean + width)


class _Runner:
    """Runs trials on copies, from x."""

    def __init__(self, followed: Followed, x: Tensor, steps: int) -> None:
        self.f, self.x, self.steps = followed.f, x, steps
        self.originals, self.slices = slices(followed)

    def __call__(self, trial: _Trial, seed: np.random.SeedSequence) -> tuple[float, float]:
        """The loss at the end, and the gradients spent."""
        draws, batches = (torch.Generator("cpu").manual_seed(int(s)) for s in seed.generate_state(2))
        copies = [p.detach().clone() for p in self.originals]
        mover = Mover(self.f, copies, self.slices, self.x)
        mover.write(trial.start(self.x, draws))
        optimizer = trial.optimizer(copies)
        for _ in range(self.steps):
            mover.step(optimizer, None if trial.full else batches)
        return float(self.f.value(mover.point())), mover.spent

    def rate(self, v: Tensor, kick: float, optimizer: Optimizer) -> float:
        """ln of the growth a step, over the first quarter of the steps, of a displacement along v much smaller than ``kick``.

        On all the data, and against the same run without the displacement, so that a drift does not count.
        """
        steps, small = max(1, self.steps // 4), kick * math.sqrt(torch.finfo(self.x.dtype).eps)
        ends = []
        for start in (self.x, self.x + (small * v).to(self.x)):
            copies = [p.detach().clone() for p in self.originals]
            mover = Mover(self.f, copies, self.slices, self.x)
            mover.write(start)
            ours = _copy(optimizer, copies)
            for _ in range(steps):
                mover.step(ours, None)
            ends.append(mover.point().double())
        grown = abs(float(v.double() @ (ends[1] - ends[0])))
        return math.log(grown / abs(small)) / steps if 0 < grown < math.inf else math.nan


def _trials(f: Landscape, optimizer: Optimizer, lowest: float, v: Tensor, kick: float) -> list[_Trial]:
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
    if any(g.get("initial_lr", 0.0) > 2 * g["lr"] for g in optimizer.param_groups):
        trials.append(_Trial("initial rate", stay, partial(_copy, optimizer, initial=True)))
    if lowest < 0:
        trials += [_Trial(f"eigenvector {s}", partial(_along, v, kick * float(f"{s}1")), same) for s in "+-"]
    trials.append(_Trial("noise", noise, same))
    if isinstance(optimizer, Adam):
        trials.append(_Trial("sgd:lr=0.01,momentum=0.9", stay, lambda copies: SGD(copies, lr=0.01, momentum=0.9)))
    else:
        trials.append(_Trial("adam:lr=0.01", stay, lambda copies: Adam(copies, lr=0.01)))
    if not f.layout:
        return trials
    f = require_model(f, "units are a model's.")
    dead, saturated = sick_units(f)
    if dead:
        trials.append(_Trial("revive dead units", lambda x, draws: revive(f, x, dead, draws), same))
    if saturated:
        trials.append(_Trial("rescale saturated units", lambda x, _: rescale(f, x, saturated), same))
    with f.evaluation():
        batches = sum(term.batch is not None for term in f.terms())
    if batches > 1:
        trials.append(_Trial("full batch", stay, same, full=True))
    return trials


def _along(v: Tensor, length: float, x: Tensor, _: torch.Generator) -> Tensor:
    return x + length * v.to(x)


def _copy(optimizer: Optimizer, copies: list[Tensor], factor: float = 1.0, initial: bool = False) -> Optimizer:
    """An optimiser of the same class, options and state over the copies, without its hooks.

    Its rates are multiplied by ``factor``, or are those before its schedule began.
    """
    remaining = iter(copies)
    groups: list[dict[str, Any]] = [
        {**{k: v for k, v in g.items() if k != "param_names"}, "params": [next(remaining) for _ in g["params"]]}
        for g in optimizer.param_groups
    ]
    known = inspect.signature(type(optimizer)).parameters
    clone = type(optimizer)(groups, **{k: v for k, v in optimizer.defaults.items() if k in known})
    clone.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in clone.param_groups:
        group["lr"] = group["initial_lr"] if initial and "initial_lr" in group else group["lr"] * factor
    return clone
