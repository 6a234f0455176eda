"""How long optimisers take to leave a stationary point: many runs, one event, honest censoring.

at: (n,) the stationary point. X: (R, n), one run a row. A run's time is the number of optimiser
steps after which the event first holds, 0 at the start. A run without the event is censored at
``steps``, or at the step where it diverged (Kaplan & Meier 1958, JASA 53:457).
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from landscape import specs
from landscape.core import Landscape, Progress, require_landscape, silent
from landscape.operators import noises
from landscape.optimizers import predictions
from landscape.optimizers.ensembles import Ensemble, require_fit
from landscape.optimizers.predictions import INNER, Theory
from landscape.optimizers.recording import Paths, Plane, Recorder, plane
from landscape.optimizers.schedules import schedule_curve
from landscape.ranks import ALONE
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import exponential_rate, kaplan_meier_median, median
from landscape.specs import whole
from landscape.specs.optimizers import Maker, Spec, as_makers
from landscape.specs.schedules import Schedule

# What is shown all points (R, n) after every step t.
Watcher = Callable[[int, Tensor], None]
TOGETHER = 1024  # runs that are stepped side by side, on one rank, with noise of their own
CHECK = 64  # steps between two looks at whether all runs are over: a look waits for the device


@result("leaves-ball")
@dataclass(frozen=True, eq=False)
class LeavesBall:
    """|P(x - at)| > ``radius``, strictly.

    P keeps the part in the columns of ``within`` (n, k); with None all of it.

    ``theory.sgd_exit`` and ``adaptive_exit`` count as strictly; ``noise_exit`` counts the sphere
    itself as outside, where noise is with probability zero.
    """

    radius: float
    within: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.radius < math.inf:
            raise ValueError(f"the radius must be a positive number, got {self.radius!r}.")

    def holds(self, f: Landscape, at: Tensor) -> Callable[[Tensor], Tensor]:
        """Points (R, n) -> (R,) bool."""
        distances = self.distances(at)
        return lambda X: distances(X) > self.radius

    def distances(self, at: Tensor) -> Callable[[Tensor], Tensor]:
        """Points (R, n) -> (R,) float64, |P(x - at)|."""
        if self.within is None:
            return lambda X: _norms((X - at).double())
        if self.within.ndim != 2 or len(self.within) != len(at):
            raise ValueError(f"within must be ({len(at)}, k), got {tuple(self.within.shape)}.")
        Q = torch.linalg.qr(self.within.to(at).double()).Q
        return lambda X: _norms((X - at).double() @ Q)


def _norms(D: Tensor) -> Tensor:
    """Norms (R,) of the rows of D, also where the squares overflow or underflow."""
    scale = D.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(D.dtype).tiny)
    return scale[:, 0] * (D / scale).square().sum(dim=1).sqrt()


@result("falls-below")
@dataclass(frozen=True)
class FallsBelow:
    """f(x) < f(at) - ``margin``."""

    margin: float

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"the margin must be a number of at least 0, got {self.margin!r}.")

    def holds(self, f: Landscape, at: Tensor) -> Callable[[Tensor], Tensor]:
        """Points (R, n) -> (R,) bool."""
        values = f.many().values

        # One number of rows a study; rows of equal points have equal bits in one pass, not in
        # passes of two sizes.
        @cache
        def level(runs: int) -> Tensor:
            return values(at.expand(runs, -1)) - self.margin

        return lambda X: values(X) < level(len(X))


def event(spec: str) -> LeavesBall | FallsBelow:
    """``"ball:RADIUS"`` or ``"falls:MARGIN"``.

    Raises:
        ValueError: it is neither.
    """
    name, _, text = spec.partition(":")
    value = specs.literal(text)
    kinds: dict[str, type[LeavesBall] | type[FallsBelow]] = {
        "ball": LeavesBall,
        "falls": FallsBelow,
    }
    if name not in kinds or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"an event is ball:RADIUS or falls:MARGIN, got {spec!r}.{specs.closest(name, kinds)}"
        )
    return kinds[name](float(value))


@result("escapes")
@dataclass(frozen=True, eq=False)
class Escapes:
    """The runs of one optimiser. Tensors are on the CPU, in the order of the starts."""

    # (runs,) int64, optimiser steps after which the event first held; where it did not, the
    # study's ``steps``.
    steps: Tensor
    escaped: Tensor  # (runs,) bool
    diverged: Tensor  # (runs,) bool, became non-finite before the event
    # (runs,) bool, neither escaped nor diverged, and the point no longer changes in any bit, so
    # that more steps would not help; see ``notes``.
    stalled: Tensor
    ended: Tensor  # (runs,) int64, the last step at which the run was observed
    ends: Tensor  # (runs, n) the last finite point; of an escaped run the first outside
    # Kaplan-Meier's, in steps; infinite where fewer than half escape. [low, high]: Brookmeyer &
    # Crowley's interval.
    median: Estimate
    notes: list[str]
    # Escapes a run and step, as of an exponential law: events over all steps seen, with its 95 %
    # interval.
    rate: Estimate
    # E-folds of the distance a step, from a tenth of the radius to the radius: the median over
    # the runs that escaped.
    growth: Estimate | None
    theory: Theory  # the same from a law, where there is one
    paths: Paths | None  # of the first runs, where they were to be recorded


@result("escape-study")
@dataclass(frozen=True, eq=False)
class Study(Result):
    """Escape of several optimisers from one point; ``study[label]`` are the runs of one."""

    at: Tensor  # (n,)
    starts: Tensor  # (runs, n), the same for all
    event: LeavesBall | FallsBelow
    noise: str
    schedule: str | None
    limit: int  # steps after which runs are censored
    results: dict[str, Escapes]
    plane: Plane | None  # f around the point, where paths were recorded
    rates: dict[str, Tensor]  # of the schedule, (steps made,) float64 each; empty without one

    def __getitem__(self, label: str) -> Escapes:
        return self.results[label]


def escape(
    f: Landscape,
    at: Tensor,
    optimizers: Sequence[str] | dict[str, Maker],
    runs: int = 256,
    steps: int = 10_000,
    start: float | Tensor = 1e-3,
    event: LeavesBall | FallsBelow = LeavesBall(1.0),  # frozen
    noise: str = "none",
    schedule: str | None = None,
    seed: int = 0,
    *,
    theory: bool = True,
    record: int = 0,
    progress: Progress = silent,
) -> Study:
    """Let real torch optimisers leave a stationary point.

    Args:
        f: a formula's landscape, or a model's (its model is not touched); float32 or float64, CPU
            or CUDA.
        at: (n,) the stationary point.
        optimizers: ``"sgd:lr=0.1"``: a torch class in any case with its options; ``"adamw:lr=1e-3;
            *.bias:weight_decay=0"``: others for the parameters of a model whose names match; or
            label -> function of a list of parameters.
        runs, steps: how many, and when they are given up.
        start: a distance from ``at`` in random directions, or displacements (runs, n). The same
            starts for all optimisers.
        event: what counts as having left.
        noise: "none": f's own gradient; "isotropic:S": S N(0, I) added to it; "minibatch:B": every
            run draws B samples at every step; "hessian:B": N(0, |H| / B) added, H the Hessian where
            the run is (Xie et al. 2021), up to 64 variables;
            "perturbed:radius=R,threshold=G,interval=T": a kick, uniform in a ball of radius R,
            before a step at which |gradient| <= G and the run's last kick is more than T steps ago
            (Jin et al. 2017).
        schedule: see ``schedules``; every run of an optimiser has the same rate. None: the rate is
            constant.
        seed: of starts and noise; optimisers get independent noise.
        theory: whether to look for a law beside the measured times: forms the Hessian at the point,
            up to 400 parameters.
        record: of how many of the first runs to keep the paths, and f on a plane around the point.

    Raises:
        ValueError: an option is out of range, or a name is unknown; the message has the nearest
            one.

    Cost: one gradient a run and step, and one value where the event asks for it; rows are evaluated
    together.
    """
    whole(1, runs=runs, steps=steps)
    whole(0, record=record)
    f, ranks = f.over(ALONE), f.ranks
    at = _stationary(f, at, event)
    makers = as_makers(optimizers)
    for make in makers.values():
        require_fit(make, f)
    first, *children = np.random.SeedSequence(seed).spawn(1 + len(makers))
    X = noises.starts(at, start, runs, first)
    noises.noise(f, noise, first, at.device)  # a wrong one is named before anything runs
    results = {}
    model = _model(f, at, event) if theory else "not asked for"
    setting = Setting(f, at, event, noise, schedule, steps, progress)
    tasks, blocks = [], torch.split(X, TOGETHER)
    for (label, make), child in zip(makers.items(), children, strict=True):
        for number, block in enumerate(blocks):
            recorded = 0 if number else min(record, len(block))
            own = _child(child, number)
            tasks.append(partial(setting.runs, label, make, block, own, recorded))
    done = iter(ranks.deal(tasks))
    for label, make in makers.items():
        law = predictions.predict(make, X - at, model, noise, schedule, steps)
        results[label] = _escapes([next(done) for _ in blocks], law)
    origin = provenance(
        f, at, seed, noise=noise, schedule=schedule, runs=runs, steps=steps, event=str(event)
    )
    picture = (
        plane(f, at, [r.paths for r in results.values() if r.paths is not None]) if record else None
    )
    rates = _rates(makers, schedule, results)
    return Study(
        at.cpu(), X.cpu(), event, noise, schedule, steps, results, picture, rates, provenance=origin
    )


@dataclass(frozen=True, eq=False)
class Block:
    """What runs that were stepped side by side did; tensors are on the CPU."""

    points: Tensor  # (R, n)
    time: Tensor  # (R,) int64
    ended: Tensor  # (R,) int64
    escaped: Tensor  # (R,) bool
    diverged: Tensor  # (R,) bool
    stalled: Tensor  # (R,) bool
    folds: Tensor | None  # e-folds of the distance a step, of the runs where they were seen
    paths: Paths | None
    over: bool  # whether the schedule ended at a rate of zero


@dataclass(frozen=True, eq=False)
class Setting:
    """What all runs of a study share."""

    f: Landscape
    at: Tensor
    event: LeavesBall | FallsBelow
    noise: str
    schedule: str | None
    steps: int
    progress: Progress

    def runs(
        self, label: str, make: Maker, X: Tensor, seed: np.random.SeedSequence, record: int
    ) -> Block:
        """Runs from the rows of X (R, n) until each is over: a function of these arguments alone,
        whichever rank makes them.
        """
        f, at, event = self.f, self.at, self.event
        seen = noises.noise(f, self.noise, seed, at.device)
        ensemble = Ensemble(X, make, seen.gradients, f.value, seen.move, f)
        # The ensemble moves its own points.
        states = Runs(ensemble.points.clone(), event.holds(f, at), self.steps)
        growth = _Growth(event, at, X) if isinstance(event, LeavesBall) else None
        recorder = Recorder(record) if record else None
        watchers: list[Watcher] = [w.add for w in (growth, recorder) if w is not None]
        told = partial(_tell, self.progress, label, self.steps)
        last, over = _followed(ensemble, states, self.steps, self.schedule, watchers, told)
        return Block(
            points=states.points.cpu(),
            time=states.time.cpu(),
            ended=states.ended.cpu(),
            escaped=states.escaped.cpu(),
            diverged=states.diverged.cpu(),
            stalled=states.stalled.cpu(),
            folds=None if growth is None else growth.folds(states),
            paths=None if recorder is None else recorder.paths(f, last, states.points),
            over=over,
        )


def _child(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """The seed of the noise of a block of runs; of the first the seed itself."""
    key = (*seed.spawn_key, number) if number else seed.spawn_key
    return np.random.SeedSequence(seed.entropy, spawn_key=key)


def _stationary(f: Landscape, at: Tensor, event: LeavesBall | FallsBelow) -> Tensor:
    """The point that runs leave, checked."""
    require_landscape(f, "escape")
    if not isinstance(event, LeavesBall | FallsBelow):
        raise ValueError(f"event must be LeavesBall(radius) or FallsBelow(margin), got {event!r}.")
    at = f.locate(at)
    if not bool(torch.isfinite(at).all()):
        raise ValueError("at has values that are not finite: pass the stationary point to leave.")
    return at


def _tell(progress: Progress, label: str, steps: int, t: int) -> None:
    progress(label, t, steps)


def _rates(
    makers: dict[str, Maker], schedule: str | None, results: dict[str, Escapes]
) -> dict[str, Tensor]:
    """The rates at the steps that each optimiser made, where its own rate is known."""
    if schedule is None:
        return {}
    known = {}
    for label, make in makers.items():
        if not isinstance(make, Spec):
            continue
        lr = make.options.get("lr", inspect.signature(make.kind).parameters["lr"].default)
        if isinstance(lr, int | float) and lr > 0:
            known[label] = schedule_curve(
                schedule, float(lr), max(1, int(results[label].ended.max()))
            )
    return known


def _model(f: Landscape, at: Tensor, event: LeavesBall | FallsBelow) -> predictions.Model | str:
    if isinstance(event, FallsBelow):
        return "no law for a fall in value"
    return predictions.model(f, at, event.radius, event.within)


class Runs:
    """Which runs of an ensemble are over, since when, and where all of them are.

    points: (R, n), of a run that is over where it ended. time: (R,) the step of the event, the
    limit where there was none. ended: (R,) the last step at which the run was observed.
    """

    def __init__(self, X: Tensor, holds: Callable[[Tensor], Tensor], limit: int) -> None:
        self.points, self.holds = X, holds
        self.escaped = holds(X)
        self.diverged = torch.zeros_like(self.escaped)
        self.time = torch.where(self.escaped, 0, limit)
        self.ended = self.time.clone()
        self.moved = torch.ones_like(self.escaped)
        self._looks = (X, X)

    @property
    def alive(self) -> Tensor:
        """(R,) bool: neither escaped nor diverged."""
        return ~(self.escaped | self.diverged)

    @property
    def stalled(self) -> Tensor:
        """(R,) bool: alive, and no bit of the point has changed between the last looks."""
        return self.alive & ~self.moved

    def take(self, t: int, new: Tensor) -> Tensor:
        """Move the runs that are alive to new (R, n), step t; returns the points of all runs."""
        alive, finite = self.alive, torch.isfinite(new).all(dim=1)
        self.points = torch.where((alive & finite)[:, None], new, self.points)
        diverged = alive & ~finite
        escaped = alive & finite & self.holds(self.points)
        self.diverged, self.escaped = self.diverged | diverged, self.escaped | escaped
        self.time = torch.where(escaped, t, self.time)
        self.ended = torch.where(escaped | diverged, t, self.ended)
        return self.points

    def look(self) -> bool:
        """Note which runs have moved since the look before the last; whether any is alive.

        A rate or a momentum can pause for a few steps, which two looks span. Waits for the device.
        """
        before, last = self._looks
        self.moved = (before != self.points).any(dim=1)
        self._looks = (last, self.points)
        return bool(self.alive.any())


def _followed(
    ensemble: Ensemble,
    runs: Runs,
    steps: int,
    schedule: str | None,
    watchers: list[Watcher],
    told: Callable[[int], None],
) -> tuple[int, bool]:
    """Step the ensemble until every run is over; the last step, and whether rates ended at zero.

    Runs that are over stay where they are and disturb no other.
    """
    schedules = [] if schedule is None else _schedules(schedule, ensemble)
    for watch in watchers:
        watch(0, runs.points)
    for t in range(1, steps + 1):
        ensemble.step()
        for s in schedules:
            s.step()
        X = runs.take(t, ensemble.points)
        ensemble.put(X)
        for watch in watchers:
            watch(t, X)
        if t % CHECK == 0 or t == steps:
            told(t)
            if not runs.look():
                break
    return t, bool(schedules) and _at_rest(ensemble)


def _schedules(spec: str, ensemble: Ensemble) -> list[Schedule]:
    schedules = [Schedule(spec, optimizer) for optimizer in ensemble.optimizers]
    if any(s.needs_loss for s in schedules):
        raise ValueError(
            "ReduceLROnPlateau needs one loss, and an ensemble has as many as runs: use another "
            "schedule."
        )
    return schedules


def _at_rest(ensemble: Ensemble) -> bool:
    """Whether every rate is zero."""
    return not any(float(group["lr"]) for o in ensemble.optimizers for group in o.param_groups)


class _Growth:
    """e-folds of the distance a step, from a tenth of the radius to the end.

    A start that is farther out counts from there.
    """

    def __init__(self, event: LeavesBall, at: Tensor, X: Tensor) -> None:
        self.distances, self.inner = event.distances(at), INNER * event.radius
        self.step = torch.full((len(X),), -1, dtype=torch.int64, device=X.device)
        self.size = torch.ones(len(X), dtype=torch.float64, device=X.device)

    def add(self, t: int, X: Tensor) -> None:
        D = self.distances(X)
        new = (self.step < 0) & (self.inner < D)
        self.step, self.size = torch.where(new, t, self.step), torch.where(new, D, self.size)

    def folds(self, runs: Runs) -> Tensor:
        """Of the runs that escaped in more than one step."""
        measured = runs.escaped & (self.step >= 0) & (runs.ended > self.step)
        folds = (self.distances(runs.points) / self.size).log() / (runs.ended - self.step)
        return folds[measured].cpu()


def _notes(stalled: Tensor, dtype: torch.dtype, over: bool) -> list[str]:
    """What holds the runs (R,) that stopped. over: the schedule has ended at a rate of zero."""
    if not bool(stalled.any()):
        return []
    stopped = f"{int(stalled.sum())} of {len(stalled)} runs stopped"
    if over:
        return [f"{stopped}: the schedule took their rate to zero, so that they would never leave."]
    return [
        f"{stopped} changing in any bit of {str(dtype).removeprefix('torch.')}: their step is "
        "zero or below rounding, so that they would never leave. "
        "That is a property of the arithmetic, not of the landscape."
    ]


def _escapes(blocks: Sequence[Block], law: Theory) -> Escapes:
    """The runs of one optimiser, in the order of their starts."""

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(block, name) for block in blocks])

    seen, left, stalled = joined("ended"), joined("escaped"), joined("stalled")
    folds = [block.folds for block in blocks if block.folds is not None and len(block.folds)]
    ends = joined("points")
    return Escapes(
        steps=joined("time"),
        escaped=left,
        diverged=joined("diverged"),
        stalled=stalled,
        ended=seen,
        ends=ends,
        median=kaplan_meier_median(seen.numpy(), left.numpy()),
        notes=_notes(stalled, ends.dtype, any(block.over for block in blocks)),
        rate=exponential_rate(seen.numpy(), left.numpy()),
        growth=median(torch.cat(folds).numpy()) if folds else None,
        theory=law,
        paths=blocks[0].paths,
    )
