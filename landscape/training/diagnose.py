"""Why a run is stuck: ``rules`` reads the causes from its trace, ``probes`` tries the remedies."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.linalg.lanczos import Eigenpairs
from landscape.progress import watched
from landscape.results import Result, result
from landscape.training.causes import REPORTED, Cause, surest
from landscape.training.evidence import Tail
from landscape.training.follow import Followed
from landscape.training.loop_mistakes import habits
from landscape.training.probes import POINTS, Probe, Probes, pace, probe, remedies, wins
from landscape.training.rules import MINIMUM, MISTAKES, causes
from landscape.training.trace import Phase, Trace


@result("diagnosis")
@dataclass(frozen=True)
class Diagnosis(Result):
    """The causes in order, the surest first."""

    causes: list[Cause]
    phases: list[Phase]
    stuck: bool  # whether the last part of the run made little progress
    # Remedies tried side by side with the unchanged run; None where none were tried.
    trials: Probes | None = None
    untried: str = ""  # why none were tried, in words; "" where they were

    @property
    def probes(self) -> list[Probe]:
        """The trials of remedies, the best first; empty where none were run."""
        return [] if self.trials is None else self.trials.probes


@result("diagnosis-report")
@dataclass(frozen=True, eq=False)
class DiagnosisReport(Result):
    """A diagnosis with the trace that it was read from, as a command stores it."""

    parameters: int
    how: str  # where the trace is from, in words
    diagnosis: Diagnosis
    trace: Trace
    seconds: float

    @property
    def causes(self) -> list[Cause]:
        """The causes in order, the surest first."""
        return self.diagnosis.causes

    @property
    def phases(self) -> list[Phase]:
        """What the run went through."""
        return self.diagnosis.phases

    @property
    def probes(self) -> list[Probe]:
        """The trials of remedies, the best first; empty where none were run."""
        return self.diagnosis.probes


@owned()
@watched
def diagnose(
    trace: Trace,
    probes: Probes | None = None,
    *,
    f: Landscape | None = None,
    optimizer: Optimizer | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    share: float = 0.25,
    seed: int = 0,
    progress: Progress = silent,
) -> Diagnosis:
    """Name the causes of a stuck run and, with f and its optimiser, try remedies on copies.

    Without trials the order is that of the evidence in the trace. With trials a cause goes first
    whose remedy beat the unchanged run, the one that gained most ahead; gains within GAINS of the
    largest are told apart by the evidence, and so are causes whose remedy cannot be tried on a
    copy. A remedy that was tried and did not win is not recommended.

    Args:
        trace: made by ``Tracer``; a loaded one will do. A diverged run has no last look, and only
            its records are judged.
        probes: trials that ``probe`` ran from the trace's end, to be stored with the causes.
        f, optimizer: those of the traced run, where the trace ended. ``probe`` is run from there,
            with the fall of the loss over the run as its scale. A diverged run is not probed:
            nothing finite is left to start from.
        steps, seeds: passed on to ``probe``; None: as many as ``share`` allows, at most 50 and 8.
            Where that is short, only the remedies of the causes that the trace speaks for are
            tried, of the first cause alone where it is shorter, and none where not even that fits;
            ``Diagnosis.untried`` then says so.
        share: of the run's own time, what the trials may take where nothing is said of steps and
            seeds.
        seed: passed on to ``probe``.
        progress: is told beforehand what the trials will cost, then how far they are; ``print``
            will do.

    Raises:
        TypeError: trace is no Trace.
        ValueError: the trace was read within the block of its tracer, before a step was taken; only
            one of f and optimizer is given, or probes too; f is no longer where the trace ended.

    Cost: none without f; with it the cost of ``probe``.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> optimizer = torch.optim.SGD(f.model.parameters(), lr=1e-4)
        >>> with ls.Tracer(optimizer, f, every=10) as tracer:
        ...     for _ in range(100):
        ...         optimizer.zero_grad()
        ...         torch.nn.functional.mse_loss(f.model(x), y).backward()
        ...         _ = optimizer.step()
        >>> ls.diagnose(tracer.result, f=f, optimizer=optimizer).causes[0].name
        'learning rate'
    """
    if _stood(trace):
        return _answer([_no_step(trace)], [], True, probes, UNMOVED)
    trace = _of_steps(trace)
    if (f is None) != (optimizer is None) or (f is not None and probes is not None):
        raise ValueError(
            "pass f and optimizer together to run probes, or the probes of an earlier run, not "
            "both."
        )

    tail = Tail(trace)
    if trace.diverged:
        found = sorted([*surest(MISTAKES, tail), _diverged(trace)], key=lambda c: -c.confidence)
        return _answer(found, trace.phases, True, probes, GONE)
    judged, untried = _causes(tail), ALONE
    if f is not None and optimizer is not None:
        _require_end(trace, f, optimizer)
        allowed = math.inf if steps or seeds else share * _seconds(trace)
        plan = _planned(tail, f, optimizer, _ways(judged, steps, seeds), allowed)
        progress(plan.told, 0, None)
        probes, untried = _tried_on(tail, f, optimizer, plan, seed, progress), plan.told
    ordered = judged if probes is None else _in_order(judged, probes)
    return _answer(_falling(ordered), trace.phases, _stuck(tail), probes, untried)


def _answer(
    causes: list[Cause], phases: list[Phase], stuck: bool, trials: Probes | None, untried: str
) -> Diagnosis:
    return Diagnosis(causes, phases, stuck, trials, untried if trials is None else "")


def _tried_on(
    tail: Tail, f: Landscape, optimizer: Optimizer, plan: "_Plan", seed: int, progress: Progress
) -> Probes | None:
    """The trials that were planned; None where none fits."""
    if plan.way is None:
        return None
    return probe(
        f,
        optimizer,
        steps=plan.way.steps,
        seeds=plan.way.seeds,
        seed=seed,
        scale=tail.unit,
        habits=habits(tail),
        only=plan.way.only,
        known=_lower(tail.trace, f),
        progress=progress,
    )


def _of_steps(trace: object) -> Trace:
    """The records at which f was evaluated, where a step was taken."""
    if not isinstance(trace, Trace):
        given = type(trace).__name__
        raise TypeError(f"diagnose reads a Trace, tracer.result or ls.load(folder), got {given}.")
    trace = trace.of_f()
    if len(trace.steps) < 2:
        if trace.notes:
            raise ValueError(
                "the trace has not two records of f, so nothing can be said of a run. The tracer "
                f"has noted: {'; '.join(trace.notes)}."
            )
        raise ValueError(
            "the trace has one record only: no step was traced, so nothing can be said of a run. "
            "Does the loop call optimizer.step(), and of this optimiser?"
        )
    return trace


def _lower(trace: Trace, f: Landscape) -> Eigenpairs | None:
    """The lowest eigenpairs that the last look at the trace's end has found."""
    pairs = None if trace.last is None else trace.last.pairs.lower
    there = pairs is not None and pairs.vectors.shape[0] == f.dim and pairs.vectors.shape[1] > 0
    return pairs if there else None


# Gains within this factor of the largest are told apart by the evidence; smaller ones weaken it.
GAINS = 4.0
MOST, LEAST = (50, 8), (20, 3)  # steps and seeds
# Why nothing is tried.
UNMOVED = "none: no step was taken"
GONE = "none: nothing finite is left to start from"
ALONE = "none: the causes are in the order of the evidence alone"
SEEN = 3  # causes whose remedies are tried where not all fit
# What comes besides the steps, in values of f: a gradient and a product, the values on a ray, and
# where no eigenpair is known the search for one, of some 40 products.
AROUND, SEARCH, WHOLE = POINTS + 12, 400, 3  # and a step on all the data


class _Way(NamedTuple):
    """How remedies are tried."""

    steps: int
    seeds: int
    only: set[str] | None = None  # how the names of the remedies begin; None: all
    what: str = "all remedies"  # in words


class _Plan(NamedTuple):
    way: _Way | None  # None: no way fits
    told: str  # what it will cost, or why nothing is tried, in words


def _ways(judged: list[Cause], steps: int | None, seeds: int | None) -> list[_Way]:
    """From the most that is of use to the least that tells anything."""
    if steps or seeds:
        return [_Way(steps or MOST[0], seeds or MOST[1])]
    few, one = _remedies(judged[:SEEN]), _remedies(judged[:1])
    return [
        *(_Way(*each) for each in (MOST, (50, 4), (30, 4), LEAST)),
        _Way(*LEAST, few, "the remedies that the trace speaks for"),
        _Way(*LEAST, one, "the remedies of the first cause"),
    ]


def _seconds(trace: Trace) -> float:
    """What the run took itself; inf where nobody has timed it."""
    loop = trace.loop
    return loop.seconds if loop is not None and loop.seconds > 0 else math.inf


def _planned(
    tail: Tail, f: Landscape, optimizer: Optimizer, ways: list[_Way], allowed: float
) -> _Plan:
    """The first of the ways that takes no longer than is allowed."""
    known = _lower(tail.trace, f)
    names = remedies(f, optimizer, habits(tail), known)
    step, value = pace(f, optimizer, habits(tail))
    around = (AROUND + (SEARCH if known is None else 0)) * value
    for way in ways:
        took = _seconds_of(way, names, step, value) + around
        told = f"{way.what}, {way.seeds} seeds, {way.steps} steps each: about {took:.1g} s"
        if took <= allowed:
            return _Plan(way, told)
    return _Plan(
        None,
        f"none: {told}, of a run that took {_seconds(tail.trace):.1g} s; to try them pass "
        f"steps={LEAST[0]}, seeds={LEAST[1]} to diagnose",
    )


def _seconds_of(way: _Way, names: list[str], step: float, value: float) -> float:
    """What the trials of a way take, from what a step takes, and a value of f."""
    tried = [n for n in names if way.only is None or n.startswith(tuple(way.only))]
    runs = (1 + len(tried)) * way.seeds
    # steps on all the data: of one trial, and of those that measure how fast a saddle is left
    whole = way.seeds * ("full batch" in tried) + sum(n.startswith("eigen") for n in tried) / 2
    return runs * (way.steps * step + value) + WHOLE * way.steps * whole * value


def _require_end(trace: Trace, f: Landscape, optimizer: Optimizer) -> None:
    """Raise a ValueError unless f is where the trace ended."""
    here = Followed(optimizer, f).point()
    if here.shape != trace.x.shape or not torch.equal(here, trace.x.to(here)):
        raise ValueError(
            f"{f.name} is not where the trace ended: probes start there. Pass "
            f"probes=ls.training.probe(...)."
        )


# A run that is rid of this share of a constant prediction's loss is not called stuck; one that is
# rid of the lesser share, and at a minimum for certain, has done what it can.
DONE, ENDED = 0.8, 0.03
# A run that is above its start by this share of the loss's unit is stuck, however it moves.
RISEN = 0.5
# What is told of a run that is not stuck must be as sure as this.
SURE = 0.75
# A minimum is where a run has ended from this confidence on.
LIKELY = 0.5


def _stuck(tail: Tail) -> bool:
    """Whether the late part lost little, gradients that are followed promise little, and a good
    part of what a constant prediction costs is still there, at no minimum; or the loss is far above
    its start.
    """
    if tail.progress > DONE or tail.risen > RISEN:
        return tail.risen > RISEN
    if tail.progress > ENDED and MINIMUM.weigh(tail)[0] > LIKELY:
        return False
    return not (tail.falling or (tail.efficiency > 0.3 and tail.promised > 0.1 * tail.unit))


def _causes(tail: Tail) -> list[Cause]:
    """What ``rules`` finds. Where the run is not stuck, what is sure only, half as sure unless it
    is a mistake of loop or loss; else at least one cause.
    """
    judged = causes(tail)
    if not _stuck(tail):
        sure = [c for c in judged if c.confidence >= SURE]
        halved = [_halved(c, ("loop", "loss"), "the run is stuck") for c in sure]
        return sorted(halved, key=lambda c: -c.confidence)
    if judged:
        return _behind(judged)
    evidence = (
        f"no cause stands out: gradient {tail.gradient:.3g}, curvature along it {tail.along:.3g}"
    )
    remedy = "Trace for longer, or over more of the data."
    return [Cause("flat", REPORTED, [evidence], remedy)]


def _behind(judged: list[Cause]) -> list[Cause]:
    """The causes: what a mistake of loop or loss brings about is believed half beside it."""
    first, *others = judged
    if _seen(first):
        why = f"no mistake of the {first.name} holds the run up"
        others = [_halved(c, ("loop", "loss", "data"), why) for c in others]
    return [first, *sorted(others, key=lambda c: -c.confidence)]


def _halved(cause: Cause, whole: tuple[str, ...], sign: str) -> Cause:
    """The cause at half its confidence for want of a sign, unless it is one of these."""
    if cause.name in whole:
        return cause
    signs = cause.factors | {sign: 0.5}
    return replace(cause, confidence=cause.confidence / 2, factors=signs)


def _remedies(judged: list[Cause]) -> set[str]:
    """How the names of the trials begin that apply the remedies of the causes."""
    return {name for cause in judged for name in cause.tried}


def _in_order(judged: list[Cause], trials: Probes) -> list[Cause]:
    """The causes by what their remedies did, each remedy with what was tried of it."""
    won = {c.name: best for c in judged if (best := _winner(c, trials)) is not None}
    most = max((-p.against_control.value for p in won.values()), default=0.0)

    def order(cause: Cause) -> tuple[bool, bool, float]:
        winner, weight = won.get(cause.name), 1.0
        if winner is not None and most > 0:
            weight = min(1.0, GAINS * -winner.against_control.value / most)
        # where something gains, the run is at no minimum
        open_ = cause.confidence > SURE and cause.name != "minimum" and not _tried(cause, trials)
        return not _seen(cause), winner is None and not open_, -cause.confidence * weight

    weaker = 0.5 if won else 1.0  # where nothing wins, the evidence alone tells causes apart
    told = [_after_trials(c, won.get(c.name), trials, weaker) for c in sorted(judged, key=order)]
    if told and told[0].name == "flat" and not won:
        told[0] = replace(told[0], remedy=f"{told[0].remedy}{_did(trials)}")
    return told


def _did(trials: Probes) -> str:
    """What left flat land though it is the remedy of no cause that was found."""
    if trials.best != "control":
        return f" What did: {_gains(trials[trials.best], trials)}"
    if trials.leap is None:
        return ""
    return f" What did: a step of length {trials.leap:.3g} {trials.along}."


def _gains(winner: Probe, trials: Probes) -> str:
    """A trial that beat the control, with how much and until when."""
    gain, until = winner.against_control, f"{trials.steps} steps, {trials.seeds} seeds"
    set_to = f", {winner.setting}" if winner.setting else ""
    how = f"gains {-gain.value:.3g} [{-gain.high:.3g}, {-gain.low:.3g}] more than the unchanged"
    return f"{winner.name}{set_to}, {how} run within {until}."


def _seen(cause: Cause) -> bool:
    """Whether a cause is seen itself, so that no trial is needed: a gradient that is not cleared or
    not computed, a batch that is always the same, a loss that is given what it is not made for.
    What it has done to the weights, its remedy may not undo in the few steps of a trial.
    """
    return cause.name in ("loop", "loss") and cause.confidence > SURE


def _tried(cause: Cause, trials: Probes) -> bool:
    """Whether the remedy was tried that is named first, or another one won."""
    first = any(p.name.startswith(cause.tried[:1]) for p in trials.probes if cause.tried)
    return first or _winner(cause, trials) is not None


def _winner(cause: Cause, trials: Probes) -> Probe | None:
    """The best trial of a cause's remedies that beat the control."""
    of_it = [p for p in trials.probes if cause.tried and p.name.startswith(tuple(cause.tried))]
    beat = [p for p in of_it if wins(p, trials.negligible)]
    return min(beat, key=lambda p: p.against_control.value, default=None)


def _after_trials(cause: Cause, winner: Probe | None, trials: Probes, weaker: float) -> Cause:
    """The cause with what its remedy did; what did not win is not recommended."""
    if winner is not None:
        return replace(cause, remedy=f"{cause.remedy} Tried: {_gains(winner, trials)}")
    if not _tried(cause, trials):
        return cause
    of_it = [p.name for p in trials.probes if p.name.startswith(cause.tried)]
    within = f"did not beat the unchanged run within {trials.steps} steps"
    if _seen(cause):
        return replace(cause, remedy=f"{cause.remedy} From here that {within}: start again.")
    told = f"None that was tried: {', '.join(of_it)} {within}."
    told += f" What cannot be tried from here: {cause.besides}" if cause.besides else ""
    if weaker == 1.0:
        return replace(cause, remedy=told)
    factors = cause.factors | {"its remedy beat the unchanged run": weaker}
    return replace(cause, remedy=told, confidence=cause.confidence * weaker, factors=factors)


def _falling(judged: list[Cause]) -> list[Cause]:
    """The causes, none surer than the one before: trials may have changed their order."""
    least, ordered = math.inf, []
    for cause in judged:
        least = min(least, cause.confidence)
        ordered.append(cause if cause.confidence == least else replace(cause, confidence=least))
    return ordered


def _stood(trace: object) -> bool:
    """Whether a traced run has ended without a step."""
    return isinstance(trace, Trace) and trace.loop is not None and len(trace.of_f().steps) == 1


def _no_step(trace: Trace) -> Cause:
    notes = [f"the tracer has noted: {note}" for note in trace.provenance.notes]
    evidence = [
        f"the {trace.optimizer} that was traced has taken no step between the tracer's beginning "
        f"and its end",
        *notes,
    ]
    remedy = "Call optimizer.step() in every step, after backward(), and of this optimiser."
    return Cause("loop", 0.99, evidence, remedy)


ANOMALY = (
    "Look for log, sqrt or a division at 0, for overflow, and for data that are not finite: "
    "torch.autograd.set_detect_anomaly(True) names the operation."
)


def _diverged(trace: Trace) -> Cause:
    bad = int(trace.steps[~trace.loss.isfinite()][0])
    if bad == int(trace.steps[0]):
        evidence = [f"the loss is not finite at step {bad} already, before a step was traced"]
        return Cause("loss", 0.95, evidence, ANOMALY)
    rate = float(trace.learning_rate[-1])
    evidence = [f"the loss is not finite at step {bad}, the learning rate {rate:.3g}"]
    sharp, edge = float(trace.sharpness[0]), float(trace.edge[0])
    if sharp > edge:
        evidence.append(f"at the start sharpness {sharp:.3g} was above the edge {edge:.3g}")
    remedy = (
        "Lower it below 2 / sharpness, or warm up, or clip gradients. Where it is a usual rate, "
        "look for data that are not finite (torch.isfinite), and for log, sqrt or a division at 0."
    )
    return Cause("learning rate", 0.95, evidence, remedy)
