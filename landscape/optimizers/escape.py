"""How long optimisers take to leave a stationary point: many runs, one event, honest censoring.

at: (n,) the stationary point. X: (R, n), one run a row. A run's time is the number of optimiser
steps after which the event first holds, 0 at the start. A run without the event is censored at
``steps``, or at the step where it diverged (Kaplan & Meier 1958, JASA 53:457).
"""

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape import specs
from landscape.core import Landscape, Progress, require_landscape, silent
from landscape.landscapes.arithmetic import owned
from landscape.operators import noises
from landscape.optimizers import predictions
from landscape.optimizers.ensembles import Ensemble, require_fit
from landscape.optimizers.predictions import INNER, Theory
from landscape.optimizers.recording import Paths, Plane, Recorder, plane
from landscape.optimizers.schedules import schedule_curve
from landscape.progress import watched
from landscape.ranks import ALONE
from landscape.results import Estimate, Result, provenance, result
from landscape.results.journal import State, identity, paused
from landscape.results.statistics import exponential_rate, kaplan_meier_median, median
from landscape.specs import whole
from landscape.specs.optimizers import Maker, Spec, as_makers
from landscape.specs.schedules import Schedule

# What is shown all points (R, n) after every step t.
Watcher = Callable[[int, Tensor], None]
# Runs that are stepped together, as one task of a rank: TOGETHER or more, at most BLOCK, and DEALT
# tasks where there are many; their noise, and so what they do, does not hang on the ranks.
TOGETHER, BLOCK, DEALT = 1024, 2**18, 16
CHECK = 64  # steps between two looks at whether all runs are over: a look waits for the device


@result("leaves-ball")
@dataclass(frozen=True, eq=False)
class LeavesBall:
    """|P(x - at)| > ``radius``, strictly.

    P keeps the part in the columns of ``within`` (n, k); with None all of it.

    ``theory.sgd_exit`` and ``adaptive_exit`` count as strictly; ``noise_exit`` counts the sphere
    itself as outside, where noise is with probability zero.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> event, noise = ls.LeavesBall(0.5), "isotropic:0.01"
        >>> study = ls.escape(f, [0.0, 0.0], ["sgd:lr=0.05"], event=event, noise=noise, runs=20)
        >>> study.results["sgd:lr=0.05"].escaped.sum().item()
        20
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
    """f(x) < f(at) - ``margin``.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> event, noise = ls.FallsBelow(0.5), "isotropic:0.01"
        >>> study = ls.escape(f, [0.0, 0.0], ["sgd:lr=0.05"], event=event, noise=noise, runs=20)
        >>> study.results["sgd:lr=0.05"].escaped.sum().item()
        20
    """

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
    given = specs.line(spec, "an event")
    name, value = given.name, given.value
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
    # Kaplan-Meier's, in steps; infinite where fewer than half escape. Below 6 events an end of
    # [low, high] is open: 0 or infinite.
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


@owned()
@watched
def escape(  # noqa: PLR0913
    f: Landscape,
    at: Tensor | Sequence[float],
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

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> optimizers = ["sgd:lr=0.05", "adam:lr=0.05"]
        >>> study = ls.escape(f, [0.0, 0.0], optimizers, noise="isotropic:0.01", runs=20)
        >>> {name: round(e.median.value) for name, e in study.results.items()}
        {'sgd:lr=0.05': 53, 'adam:lr=0.05': 21}
    """
    whole(1, runs=runs, steps=steps)
    whole(0, record=record)
    require_landscape(f, "escape")
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
    tasks, blocks = [], torch.split(X, min(BLOCK, max(TOGETHER, runs // DEALT)))
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
    ) -> "Block":
        """Runs from the rows of X (R, n) until each is over: a function of these arguments alone,
        whichever rank makes them.
        """
        f, at, steps = self.f, self.at, self.steps
        about = f"{self.noise} {self.schedule} {steps} {self.event} {record} {identity(f)}"
        drawn = f"{seed.entropy} {seed.spawn_key}"
        kept = State(f"escape {label} {make} {drawn} {about}", [X, at])
        if (known := kept.find_end()) is not None:
            return Block.restored(known)
        seen = noises.noise(f, self.noise, seed, at.device)
        ensemble = Ensemble(X, make, seen.gradients, f.value, seen.move, f)
        recorder = Recorder(record) if record else None
        stand = Stand.at_start(kept, f, at, self.event, ensemble, seen, recorder, steps)
        with paused():
            told = partial(_tell, self.progress, label, steps)
            last, over = stand.follow(steps, self.schedule, told)
        paths = None if recorder is None else recorder.paths(f, last, stand.runs.points)
        block = Block.of(stand.runs, stand.growth, paths, over)
        kept.keep_end(block.state())
        return block


def _child(seed: np.random.SeedSequence, number: int) -> np.random.SeedSequence:
    """The seed of the noise of a block of runs; of the first the seed itself."""
    key = (*seed.spawn_key, number) if number else seed.spawn_key
    return np.random.SeedSequence(seed.entropy, spawn_key=key)


def _stationary(
    f: Landscape, at: Tensor | Sequence[float], event: LeavesBall | FallsBelow
) -> Tensor:
    """The point that runs leave, checked."""
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


@dataclass
class Stand:
    """Where the runs of one optimiser stand, all that their next steps depend on."""

    kept: State
    ensemble: Ensemble
    runs: "Runs"
    noise: noises.Noise
    growth: "_Growth | None"
    recorder: Recorder | None

    @classmethod
    def at_start(
        cls,
        kept: State,
        f: Landscape,
        at: Tensor,
        event: LeavesBall | FallsBelow,
        ensemble: Ensemble,
        noise: noises.Noise,
        recorder: Recorder | None,
        steps: int,
    ) -> "Stand":
        """Before the first step; the ensemble moves its own points."""
        X = ensemble.points.clone()
        growth = _Growth(event, at, X) if isinstance(event, LeavesBall) else None
        return cls(kept, ensemble, Runs(X, event.holds(f, at), steps), noise, growth, recorder)

    @property
    def watchers(self) -> list[Watcher]:
        """What is shown the points of all runs."""
        return [w.add for w in (self.growth, self.recorder) if w is not None]

    def follow(
        self, steps: int, schedule: str | None, told: Callable[[int], None]
    ) -> tuple[int, bool]:
        """Step the ensemble until every run is over; the last step, and whether rates ended at
        zero.

        Runs that are over stay where they are and disturb no other.
        """
        ensemble, runs = self.ensemble, self.runs
        watchers = self.watchers
        schedules = [] if schedule is None else _schedules(schedule, ensemble)
        begun = self.resume(schedules)
        if not begun:
            for watch in watchers:
                watch(0, runs.points)
        for t in range(begun + 1, steps + 1):
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
            self.keep(t)
        return t, bool(schedules) and _at_rest(ensemble)

    def keep(self, t: int) -> None:
        """Keep the state after step t, where it is time to."""
        if self.kept.due:
            self.kept.keep(
                {
                    "t": t,
                    "points": self.ensemble.points,
                    "optimizers": [o.state_dict() for o in self.ensemble.optimizers],
                    "runs": self.runs.state(),
                    "noise": self.noise.state(),
                    "growth": None if self.growth is None else [self.growth.step, self.growth.size],
                    "recorder": None if self.recorder is None else self.recorder.state(),
                }
            )

    def resume(self, schedules: list[Schedule]) -> int:
        """Go on from the state that was kept; the step after which it was, 0: there is none."""
        found: Any = self.kept.find()
        if found is None:
            return 0
        device = self.runs.points.device
        with warnings.catch_warnings(action="ignore"):  # that the optimiser has made no steps
            for schedule in schedules:
                for _ in range(found["t"]):
                    schedule.step()
        self.ensemble.put(found["points"].to(device))
        for optimizer, state in zip(self.ensemble.optimizers, found["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.runs.restore(found["runs"])
        self.noise.restore(found["noise"], device)
        if self.growth is not None:
            self.growth.step, self.growth.size = (v.to(device) for v in found["growth"])
        if self.recorder is not None:
            self.recorder.restore(found["recorder"], device)
        return int(found["t"])


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

    def state(self) -> list[Tensor]:
        """All that changes from step to step."""
        own = [self.points, self.escaped, self.diverged, self.time, self.ended, self.moved]
        return [*own, *self._looks]

    def restore(self, state: list[Tensor]) -> None:
        """Go on from a state."""
        moved = [t.to(self.points.device) for t in state]
        self.points, self.escaped, self.diverged, self.time, self.ended, self.moved = moved[:6]
        self._looks = (moved[6], moved[7])

    def look(self) -> bool:
        """Note which runs have moved since the look before the last; whether any is alive.

        A rate or a momentum can pause for a few steps, which two looks span. Waits for the device.
        """
        before, last = self._looks
        self.moved = (before != self.points).any(dim=1)
        self._looks = (last, self.points)
        return bool(self.alive.any())


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
        """E-folds a step (m,) of the runs that escaped in more than one step, on the CPU."""
        measured = runs.escaped & (self.step >= 0) & (runs.ended > self.step)
        folds = (self.distances(runs.points) / self.size).log() / (runs.ended - self.step)
        return folds[measured].cpu()


@dataclass(frozen=True)
class Block:
    """Some of the runs of one optimiser at their end, on the CPU."""

    time: Tensor  # (R,) int64
    escaped: Tensor  # (R,) bool
    diverged: Tensor  # (R,) bool
    stalled: Tensor  # (R,) bool
    ended: Tensor  # (R,) int64
    points: Tensor  # (R, n)
    folds: Tensor | None  # e-folds of the distance a step, of the runs where they were seen
    paths: Paths | None  # of the first runs
    over: bool  # whether rates ended at zero

    @classmethod
    def of(cls, runs: Runs, growth: "_Growth | None", paths: Paths | None, over: bool) -> "Block":
        """What is left of runs that are over."""
        return cls(
            runs.time.cpu(),
            runs.escaped.cpu(),
            runs.diverged.cpu(),
            runs.stalled.cpu(),
            runs.ended.cpu(),
            runs.points.cpu(),
            None if growth is None else growth.folds(runs),
            paths,
            over,
        )

    def state(self) -> dict[str, object]:
        """All of it as tensors, lists and numbers."""
        return {**vars(self), "paths": None if self.paths is None else [*vars(self.paths).values()]}

    @classmethod
    def restored(cls, state: Any) -> "Block":
        """The block of a state."""
        return cls(**{**state, "paths": None if state["paths"] is None else Paths(*state["paths"])})


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
        parts = [getattr(block, name) for block in blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    seen, left, stalled = joined("ended"), joined("escaped"), joined("stalled")
    folds = None if blocks[0].folds is None else joined("folds")
    ends = joined("points")
    over = all(block.over for block in blocks if bool(block.stalled.any()))
    return Escapes(
        steps=joined("time"),
        escaped=left,
        diverged=joined("diverged"),
        stalled=stalled,
        ended=seen,
        ends=ends,
        median=kaplan_meier_median(seen.numpy(), left.numpy()),
        notes=_notes(stalled, ends.dtype, over),
        rate=exponential_rate(seen.numpy(), left.numpy()),
        growth=None if folds is None or not len(folds) else median(folds.numpy()),
        theory=law,
        paths=blocks[0].paths,
    )
