"""Counterfactual probes: from where a run stands, what would get it moving?

Every trial starts from copies of the model's parameters and of the optimiser's state, changes one
thing, and takes the same number of steps; the unchanged run is the control, and trials are paired
with it by the seed that draws batches. The user's model, its buffers and gradients, the optimiser
and the global generators stay as they are. Trials hold the learning rate: no schedule is followed.

A remedy wins (``Probes.best``) when its paired interval against the control excludes zero and its
mean gain is more than what is negligible: ``matters`` times the loss's own unit, and ROUNDING eps
|f(x)| at least. The unit is the largest of |f(x)|, the span and, where the caller knows it,
``scale``: the fall of the loss over the run, say. The span is f(x) less the lowest loss seen, at
the ends of trials or on rays x + s u, s from ``kick`` to RAY times that: u is against the gradient,
and in a landscape of few parameters and one batch also along it, along v, and in random directions,
since far from a well the gradient need not point to it. On a plateau every trial gains next to
nothing, and none wins; ``Probes.leap`` is then the s that leaves it, if one was seen. A control
that diverges counts as if it had stayed where it was.

x: parameters (n,), v: the unit eigenvector of the Hessian's lowest eigenvalue, l.
Gradient descent at rate a leaves a strict saddle along v by a factor
1 + a |l| a step, so at the rate ln(1 + a |l|).
"""

import copy
import inspect
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes.model import require_model
from landscape.landscapes.rows import values_in_parts
from landscape.landscapes.states import undisturbed
from landscape.linalg.lanczos import Eigenpairs, eigsh
from landscape.operators.hessian import Hessian
from landscape.results import Estimate, Result, result
from landscape.results.statistics import mean, skewed_mean
from landscape.rng import generator, words
from landscape.training.follow import Followed
from landscape.training.healing import (
    equal_layers,
    rescale,
    revive,
    sick_units,
    started,
    zero_layers,
)
from landscape.training.moving import NONE, Habits, Mover, slices
from landscape.training.reading import standardised

PRIOR = 4  # seeds that the usual spread of trials counts for
FEW_SEEDS = 5  # whose spreads are known within a factor of 3
OWN = 2.0  # usual spreads beyond which a trial is judged by its own
PRODUCTS = 200  # that the search for the lowest eigenvalue may spend
CLOSE = 1e-3  # of the largest curvature: no closer need the lowest be known
FACTORS = (0.1, 10.0, 100.0)  # of the learning rate
TINY, LARGER = 1e-4, 1e4  # up to this rate that factor is tried too
ROUNDING = 64  # units of rounding of the loss that no gain is read from
RAY = 100.0  # how many kicks a ray goes
POINTS = 41  # on a ray, in geometric steps of 1.12
PACED = 4  # steps that tell how fast trials are
FEW = 8  # up to so many parameters more rays are looked along
RANDOM = 48  # so many of them in random directions: one in seven degrees of a plane


@result("probe")
@dataclass(frozen=True)
class Probe:
    """What one remedy did to the loss, over all the seeds."""

    name: str
    change: Estimate  # the loss at the end less that at the start; negative is better
    # The same less the control's, paired by seed; ``high`` is above the mean for all remedies at
    # once with 95 %, and so is ``low`` below it (Bonferroni; Dunnett's test is for trials of one
    # variance that are not paired).
    against_control: Estimate
    diverged: int  # seeds whose loss ended non-finite; the estimates are then infinite
    gradients: float  # passes over all the data spent on gradients, all seeds together
    # ln of the growth along v a step of a small displacement; None for other remedies.
    rate: float | None
    setting: str = ""  # what was set, in the optimiser's own unit: "lr=0.01"


@result("probes")
@dataclass(frozen=True)
class Probes(Result):
    """Trials side by side, the best first."""

    probes: list[Probe]
    # The first one that certainly beats the control by more than is negligible, else "control".
    best: str
    loss: float  # at the start
    negligible: float  # a mean gain up to this is no cure
    # Where no probe wins, the length of a step that gains more than that; None: none was seen.
    leap: float | None
    along: str  # in which direction that step goes; "" without one
    steps: int
    seeds: int
    curvature: float  # the Hessian's lowest eigenvalue at the start
    # ln(1 + lr |curvature|) for plain SGD at a negative curvature, else None.
    predicted_rate: float | None
    products: int  # Hessian-vector products spent
    seconds: float = field(default=math.nan, compare=False)  # that the trials took

    def __getitem__(self, name: str) -> Probe:
        for probe in self.probes:
            if probe.name == name:
                return probe
        raise KeyError(
            f"no probe is called {name!r}; there are {', '.join(p.name for p in self.probes)}"
        )


# The point and draws -> where a trial starts.
Start = Callable[[Tensor, torch.Generator], Tensor]
# Copies of the optimiser's parameters, in its order -> an optimiser for them.
Make = Callable[[list[Tensor]], Optimizer]


@dataclass(frozen=True)
class Trial:
    """One remedy: where it starts and what steps it."""

    name: str
    start: Start
    optimizer: Make
    full: bool = False  # gradients over all the data
    habits: Habits = NONE  # what its loop does with gradients
    f: Landscape | None = None  # the landscape whose gradients it takes; None: the run's
    setting: str = ""
    # A trial that starts from a step along ``direction`` has its growth along it measured.
    direction: Tensor | None = None
    sign: int = 1


class Leap(NamedTuple):
    """The lowest loss seen on a ray, and how to get there."""

    loss: float
    length: float
    words: str


def probe(  # noqa: PLR0913
    f: Landscape,
    optimizer: Optimizer,
    *,
    steps: int = 50,
    seeds: int = 8,
    seed: int = 0,
    kick: float | None = None,
    matters: float = 1e-3,
    scale: float = 0.0,
    habits: Habits = NONE,
    only: Collection[str] | None = None,
    known: Eigenpairs | None = None,
    progress: Progress = silent,
) -> Probes:
    """Try remedies on copies of a stuck run, beside the unchanged run.

    Args:
        f: the run's landscape; its micro-batches are those that the run draws from, one a step. The
            point of a formula is the optimiser's parameters, concatenated.
        optimizer: the run's own, over the parameters of f's model.
        steps: of each trial.
        seeds: trials of each remedy, at least 2.
        seed: of batches, noise and fresh weights; the global generators are not touched.
        kick: length of the step along an eigenvector and of noise; None: a tenth of |x|, at least
            0.1.
        matters: the smallest gain worth having, as a share of the loss's unit; see the module.
        scale: a change of the loss that is large in this problem, in its units, such as its fall
            over the run.
        habits: what the run's loop does with gradients; the control does so too, and remedies of
            the loop are trials without.
        only: how the names of the trials begin that are run beside the control; None: all.
        known: eigenpairs of f's Hessian where the run stands, the lowest first. It is verified by a
            product, and searched only where it does not hold.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: fewer than 2 seeds or 1 step.
        NumericalError: the loss is not finite at the start.

    Cost: about steps seeds 9 gradients of a micro-batch, one gradient and 41 values over all the
    data (50 times as many values with up to 8 parameters and one batch, many in one pass), and one
    product, or those of a search for the lowest eigenvalue.
    """
    if seeds < 2 or steps < 1:
        raise ValueError(
            f"probes need at least 2 seeds and 1 step, got seeds={seeds}, steps={steps}."
        )
    begun = time.perf_counter()
    followed = Followed(optimizer, f)
    optimizer = followed.optimizers[0]
    x = followed.point()
    with undisturbed(f):
        loss = float(f.value(x))
        if not math.isfinite(loss):
            raise NumericalError(
                "the loss is not finite where the probes start: go back to an earlier checkpoint."
            )
        run = _Runner(followed, x, steps)
        H = Hessian(f, x)
        pairs, products = _lowest_pairs(H, known, seed)
        lowest, v = float(pairs.values[0]), pairs.vectors[:, 0].to(x)
        kick = max(0.1, 0.1 * float(x.double().norm())) if kick is None else kick
        trials = _chosen(_trials(followed, lowest, v, kick, habits), only)
        *children, rays = np.random.SeedSequence(seed).spawn(seeds + 1)
        ends, spent = _run_all(run, trials, children, progress)
        rates = [run.rate(trial, kick, optimizer) for trial in trials]
        leap = _leap(f, x, v, kick, rays)
    changes = [[end - loss for end in row] for row in ends]
    probes = _compare(trials, changes, spent, rates)
    unit = max(loss - min(leap.loss, _lowest(loss, ends)), abs(loss), scale)
    negligible = max(matters * unit, ROUNDING * torch.finfo(x.dtype).eps * abs(loss))
    best = _best(probes, negligible)
    leaps = best == "control" and loss - leap.loss > negligible
    return Probes(
        probes=probes,
        best=best,
        loss=loss,
        negligible=negligible,
        leap=leap.length if leaps else None,
        along=leap.words if leaps else "",
        steps=steps,
        seeds=seeds,
        curvature=lowest,
        predicted_rate=_predicted_rate(optimizer, lowest),
        products=products,
        seconds=time.perf_counter() - begun,
    )


def remedies(
    f: Landscape, optimizer: Optimizer, habits: Habits = NONE, known: Eigenpairs | None = None
) -> list[str]:
    """The names of the trials that ``probe`` runs beside the control; without known eigenpairs as
    if the lowest eigenvalue were negative.
    """
    followed = Followed(optimizer, f)
    lowest = -1.0 if known is None else float(known.values[0])
    return [one.name for one in _trials(followed, lowest, followed.point(), 0.1, habits)][1:]


def pace(f: Landscape, optimizer: Optimizer, habits: Habits = NONE) -> tuple[float, float]:
    """The seconds that a step of a trial takes, and a value of f, by a few of the unchanged run."""
    followed, took = Followed(optimizer, f), math.inf
    optimizer, x = followed.optimizers[0], followed.point()
    control = Trial("control", _stay, partial(_copy, optimizer), habits=habits)
    with undisturbed(f):
        for _ in range(3):  # the first one finds nothing in the caches
            begun = time.perf_counter()
            _Runner(followed, x, PACED)(control, np.random.SeedSequence(0))
            took = min(took, time.perf_counter() - begun)
        begun = time.perf_counter()
        f.value(x)
        value = time.perf_counter() - begun
    return max(took - value, 0.0) / PACED, value


def _lowest_pairs(H: Hessian, known: Eigenpairs | None, seed: int) -> tuple[Eigenpairs, int]:
    """Eigenpairs, the lowest first, and the products that they took: those that are known, where a
    product shows the residual that they were found with, or is within CLOSE.
    """
    if known is not None:
        v, value = known.vectors[:, 0].to(H.x), float(known.values[0])
        residual = float((H @ v - value * v).norm())
        close = CLOSE * float(known.values.abs().max())
        if residual <= 2 * float(known.residuals[0]) + close:
            return known, 1
    pairs = eigsh(H, 0, 1, seed=seed, max_products=PRODUCTS)
    return pairs, pairs.products + (known is not None)


def _lowest(loss: float, ends: Sequence[Sequence[float]]) -> float:
    """The lowest loss seen at the start and at the ends of trials."""
    return min(end for end in chain([loss], *ends) if math.isfinite(end))


def _chosen(trials: list[Trial], only: Collection[str] | None) -> list[Trial]:
    """The control, and of the others those whose names begin so."""
    if only is None:
        return trials
    return [trials[0], *(t for t in trials[1:] if t.name.startswith(tuple(only)))]


def _run_all(
    run: "_Runner",
    trials: Sequence[Trial],
    seeds: Sequence[np.random.SeedSequence],
    progress: Progress,
) -> tuple[list[list[float]], list[float]]:
    """For each trial the losses at its ends, one a seed, and the gradients spent."""
    ends: list[list[float]] = []
    spent: list[float] = []
    for i, trial in enumerate(trials):
        progress("probes", i, len(trials))
        # The same seeds for every trial: trials are paired with the control.
        losses, passes = zip(*(run(trial, child) for child in seeds), strict=True)
        ends.append(list(losses))
        spent.append(sum(passes))
    return ends, spent


def _best(probes: list[Probe], negligible: float) -> str:
    """The first probe that certainly beats the control, and by more than is negligible."""
    return next((one.name for one in probes if wins(one, negligible)), "control")


def wins(one: Probe, negligible: float) -> bool:
    """Whether a trial certainly beats the control, and by more than is negligible."""
    return one.against_control.high < 0 and one.against_control.value < -negligible


def _predicted_rate(optimizer: Optimizer, lowest: float) -> float | None:
    """ln(1 + lr |lowest|) for plain gradient descent from a saddle, else None."""
    groups = optimizer.param_groups
    plain = type(optimizer) is SGD and not any(g["momentum"] or g["weight_decay"] for g in groups)
    return math.log1p(float(groups[0]["lr"]) * -lowest) if plain and lowest < 0 else None


def _compare(
    trials: list[Trial],
    ends: list[list[float]],
    spent: list[float],
    rates: list[float | None],
) -> list[Probe]:
    """A probe a trial, the largest mean gain over the control, the first trial, first."""
    control = [c if math.isfinite(c) else 0.0 for c in ends[0]]
    apart = [mean([a - b for a, b in zip(row, control, strict=True)]) for row in ends]
    probes = [
        Probe(
            name=trial.name,
            change=skewed_mean(changes),
            against_control=gain,
            diverged=sum(not math.isfinite(c) for c in changes),
            gradients=passes,
            rate=rate,
            setting=trial.setting,
        )
        for trial, changes, gain, passes, rate in zip(
            trials, ends, at_once(apart, len(control)), spent, rates, strict=True
        )
    ]
    return sorted(probes, key=lambda one: one.against_control.value)


def at_once(gains: list[Estimate], seeds: int) -> list[Estimate]:
    """The estimates with ends that each hold together with those of the other comparisons: whether
    a remedy is better is asked on one side.

    A few seeds tell little of a spread. It is taken as the usual one of all the trials where that
    is larger, and counts as known from PRIOR seeds more, two of two seeds, as in moderated tests
    (Smyth 2004, SAGMB 3:3); but one of more than OWN times the usual spread is like no other, and
    has its own alone, and so has a single trial. Of FEW_SEEDS and fewer a spread may be small by
    chance, so that the third quartile stands for the usual one, wherever it is larger. Where a
    trial's own spread makes do with less at half of the error allowed, by Student's law, that is
    taken: others that are wild say nothing of it.
    """
    spreads = sorted(g.error for g in gains if math.isfinite(g.error) and g.error > 0)
    usual = least = _usual(spreads, 0.5, seeds)
    if seeds <= FEW_SEEDS:
        least = max(least, _usual(spreads, 0.75, seeds))
    wrong = 0.05 / max(len(gains) - 1, 1)  # the first is the control with itself
    bounded = []
    for gain in gains:
        prior = min(PRIOR, 2 * (seeds - 1)) if gain.error <= OWN * usual else 0
        factor = float(stats.t.isf(wrong, seeds - 1 + prior))
        width = factor * max(gain.error, least if prior and gain.error > 0 else 0.0)
        width = min(width, float(stats.t.isf(wrong / 2, seeds - 1)) * gain.error)
        known = math.isfinite(width) and width > 0
        bounded.append(
            replace(gain, low=gain.value - width, high=gain.value + width) if known else gain
        )
    return bounded


def _usual(spreads: list[float], share: float, seeds: int) -> float:
    """The quantile of the ascending spreads, over that of chi, since few seeds make small ones; 0
    of fewer than two.
    """
    if len(spreads) < 2 or seeds < 2:
        return 0.0
    chi = float(stats.chi2.ppf(share, seeds - 1) / (seeds - 1)) ** 0.5
    return float(spreads[int(share * len(spreads))] / chi)


def _leap(f: Landscape, x: Tensor, v: Tensor, kick: float, seed: np.random.SeedSequence) -> Leap:
    """The lowest loss on the rays."""
    slope = _unit(f.gradient(x))
    rays = [(-u, "against the gradient") for u in slope]
    with f.evaluation():
        small = x.numel() <= FEW and sum(1 for _ in f.terms()) == 1
    if small:
        shape = (RANDOM, x.numel())
        draws = generator(words(seed)[0])
        U = torch.randn(shape, generator=draws, dtype=torch.float64, device="cpu").to(x.device)
        rays += [(u, "along the gradient") for u in slope]
        rays += [(v, "along eigenvector +"), (-v, "along eigenvector -")]
        rays += [(u, "in a random direction") for row in U for u in _unit(row)]
    return _lowest_on(f, x, rays, kick, small)


def _unit(g: Tensor) -> list[Tensor]:
    """g over its norm, in a list; an empty one where it has no direction."""
    g = g.double()
    largest = float(g.abs().max())
    if largest == 0.0 or not math.isfinite(largest):
        return []
    g = g / largest  # squares of a plateau's gradient may underflow
    return [g / g.norm()]


def _lowest_on(
    f: Landscape, x: Tensor, rays: Sequence[tuple[Tensor, str]], kick: float, together: bool
) -> Leap:
    """The lowest loss on x + s u of the rays u, that s, and the words for u: the first of them."""
    lengths = [kick * RAY ** (i / (POINTS - 1)) for i in range(POINTS)]
    places = [(u, s, told) for u, told in rays for s in lengths]
    points = ((x + s * u).to(x) for u, s, _ in places)
    if together and places:
        losses = values_in_parts(f, torch.stack(list(points))).tolist()
    else:
        losses = [float(f.value(point)) for point in points]
    seen = (Leap(loss, s, told) for loss, (_, s, told) in zip(losses, places, strict=True))
    return min((p for p in seen if math.isfinite(p.loss)), default=Leap(math.inf, 0.0, ""))


class _Runner:
    """Runs trials on copies, from x."""

    def __init__(self, followed: Followed, x: Tensor, steps: int) -> None:
        self.f, self.x, self.steps = followed.f, x, steps
        self.originals, self.slices = slices(followed)
        # those that no group holds come last
        held = {id(p) for p in self.originals}
        for p, where in zip(followed.parameters, followed.layout.values(), strict=True):
            if id(p) not in held:
                self.originals.append(p)
                self.slices.append(where)

    def __call__(self, trial: Trial, seed: np.random.SeedSequence) -> tuple[float, float]:
        """The loss at the end, and the gradients spent."""
        draws, batches = (generator(s) for s in words(seed, 2))
        copies = [p.detach().clone() for p in self.originals]
        f = self.f if trial.f is None else trial.f
        mover = Mover(f, copies, self.slices, self.x, trial.habits)
        mover.write(trial.start(self.x, draws))
        optimizer = trial.optimizer(copies)
        for _ in range(self.steps):
            mover.step(optimizer, None if trial.full else batches)
        return float(f.value(mover.point())), mover.spent

    def rate(self, trial: Trial, kick: float, optimizer: Optimizer) -> float | None:
        """ln of the growth a step of a small displacement along the trial's direction, if it has
        one.

        The displacement is much smaller than ``kick``, so that the curvature stays what it is over
        the first quarter of the steps. They are steps on all the data, and beside the same run
        without the displacement, so that a drift does not count.
        """
        if trial.direction is None:
            return None
        v, steps = trial.direction, max(1, self.steps // 4)
        small = trial.sign * kick * math.sqrt(torch.finfo(self.x.dtype).eps)
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


def _stay(x: Tensor, _: torch.Generator) -> Tensor:
    return x.clone()


def _trials(
    followed: Followed, lowest: float, v: Tensor, kick: float, habits: Habits
) -> list[Trial]:
    f, optimizer = followed.f, followed.optimizers[0]

    def noise(x: Tensor, draws: torch.Generator) -> Tensor:
        u = torch.randn(x.shape, generator=draws, dtype=torch.float64, device="cpu")
        moved: Tensor = x + (kick * u / u.norm()).to(x)
        return moved

    def same(copies: list[Tensor]) -> Optimizer:
        return _copy(optimizer, copies)

    trials = [Trial("control", _stay, same), *_of_rates(optimizer)]
    if lowest < 0:
        trials += [_aside(v, kick, sign, same) for sign in (1, -1)]
    trials.append(Trial("noise", noise, same))
    # what scales its steps is no remedy for what scales them already
    scales = any(k in optimizer.param_groups[0] for k in ("betas", "alpha"))
    another = ("sgd:lr=0.01,momentum=0.9", _momentum) if scales else ("adam:lr=0.01", _adam)
    trials.append(Trial(another[0], _stay, another[1]))
    trials += _of_a_model(f, same) if f.layout else []
    trials = [replace(trial, habits=habits) for trial in trials]
    return trials + _of_a_loop(followed, same, habits)


def _of_rates(optimizer: Optimizer) -> list[Trial]:
    """Other rates, and the one before a schedule began."""
    lr = float(optimizer.param_groups[0].get("lr", math.nan))
    trials = [
        Trial(
            f"rate x{c:g}", _stay, partial(_copy, optimizer, factor=c), setting=f"lr={c * lr:.3g}"
        )
        for c in (*FACTORS, *([LARGER] if lr <= TINY else []))
    ]
    first = max(float(g.get("initial_lr", 0.0)) for g in optimizer.param_groups)
    if any(g.get("initial_lr", 0.0) > 2 * g["lr"] for g in optimizer.param_groups):
        initial = partial(_copy, optimizer, initial=True)
        trials.append(Trial("initial rate", _stay, initial, setting=f"lr={first:.3g}"))
    return trials


def _of_a_loop(followed: Followed, same: Make, habits: Habits) -> list[Trial]:
    """Remedies for what the loop does with gradients, and for parameters that it leaves out."""
    trials = []
    if habits.adds_up or habits.gives_none:
        cleared = replace(habits, adds_up=False, gives_none=False)
        trials.append(Trial("zero_grad and backward", _stay, same, habits=cleared))
    if habits.clip < math.inf:
        trials.append(Trial("no clipping", _stay, same, habits=replace(habits, clip=math.inf)))
    if habits.one_batch:
        fresh = replace(habits, one_batch=False)
        trials.append(Trial("new batches", _stay, same, habits=fresh))
    if followed.decay() > 0:
        free = partial(_without_decay, followed.optimizers[0])
        trials.append(Trial("no weight decay", _stay, free, habits=habits))
    if followed.f.layout and followed.unmoved()[0]:
        added = partial(_of_all, followed.optimizers[0])
        trials.append(Trial("all parameters", _stay, added, habits=habits))
    return trials


def _of_a_model(f: Landscape, same: Make) -> list[Trial]:
    """Remedies for the units of a model and for its inputs, and all of its data at once."""
    f = require_model(f, "units are a model's.")
    dead, saturated = sick_units(f)
    trials = []
    if dead:
        trials.append(Trial("revive dead units", lambda x, draws: revive(f, x, dead, draws), same))
    if saturated:
        trials.append(Trial("rescale saturated units", lambda x, _: rescale(f, x, saturated), same))
    x = f.point()
    if stiff := sorted({*zero_layers(f, x), *equal_layers(f, x)}):
        trials.append(Trial("fresh layers", lambda x, draws: started(f, x, stiff, draws), same))
    with f.evaluation():
        batches = sum(term.batch is not None for term in f.terms())
    if batches > 1:
        trials.append(Trial("full batch", _stay, same, full=True))
    scaled = standardised(f)
    if scaled is not None:
        trials.append(Trial("standardised inputs", _stay, same, f=scaled))
    return trials


def _momentum(copies: list[Tensor]) -> Optimizer:
    return SGD(copies, lr=0.01, momentum=0.9)


def _adam(copies: list[Tensor]) -> Optimizer:
    return Adam(copies, lr=0.01)


def _aside(v: Tensor, kick: float, sign: int, same: Make) -> Trial:
    """From a step along the eigenvector v, one way."""

    def start(x: Tensor, _: torch.Generator) -> Tensor:
        return x + sign * kick * v.to(x)

    return Trial(f"eigenvector {'+' if sign > 0 else '-'}", start, same, direction=v, sign=sign)


def _copy(
    optimizer: Optimizer, copies: list[Tensor], factor: float = 1.0, initial: bool = False
) -> Optimizer:
    """An optimiser of the same class, options and state over the copies, without its hooks.

    Its rates are multiplied by ``factor``, or are those before its schedule began.
    """
    remaining = iter(copies)
    groups: list[dict[str, object]] = [
        {
            **{k: v for k, v in g.items() if k != "param_names"},
            "params": [next(remaining) for _ in g["params"]],
        }
        for g in optimizer.param_groups
    ]
    known = inspect.signature(type(optimizer)).parameters
    clone = type(optimizer)(groups, **{k: v for k, v in optimizer.defaults.items() if k in known})
    clone.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in clone.param_groups:
        group["lr"] = (
            group["initial_lr"] if initial and "initial_lr" in group else group["lr"] * factor
        )
    return clone


def _of_all(optimizer: Optimizer, copies: list[Tensor]) -> Optimizer:
    """The copy, with those that are in no group in one with the options of the first."""
    clone = _copy(optimizer, copies)
    held = sum(len(g["params"]) for g in clone.param_groups)
    options = {k: v for k, v in clone.param_groups[0].items() if k in clone.defaults}
    clone.add_param_group({**options, "params": copies[held:]})
    return clone


def _without_decay(optimizer: Optimizer, copies: list[Tensor]) -> Optimizer:
    """The copy, whose weights are not pulled to zero."""
    clone = _copy(optimizer, copies)
    for group in clone.param_groups:
        group["weight_decay"] = 0.0
    return clone
