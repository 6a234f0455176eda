"""Why a run is stuck: ``rules`` reads the causes from its trace, ``probes`` tries the remedies."""

from dataclasses import dataclass, replace

import torch
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.results import Result, result
from landscape.training.evidence import Tail
from landscape.training.follow import Followed
from landscape.training.probes import Probe, Probes, probe
from landscape.training.rules import REPORTED, Cause, causes
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
def diagnose(
    trace: Trace,
    probes: Probes | None = None,
    *,
    f: Landscape | None = None,
    optimizer: Optimizer | None = None,
    steps: int = 50,
    seeds: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> Diagnosis:
    """Name the causes of a stuck run and, with f and its optimiser, try remedies on copies.

    Args:
        trace: made by ``Tracer``; a loaded one will do. A diverged run has no last look, and only
            its records are judged.
        probes: trials that ``probe`` ran from the trace's end, to be stored with the causes.
        f, optimizer: those of the traced run, where the trace ended. ``probe`` is run from there,
            with the fall of the loss over the run as its scale. A diverged run is not probed:
            nothing finite is left to start from.
        steps, seeds, seed: passed on to ``probe``.

    Raises:
        TypeError: trace is no Trace.
        ValueError: the trace has a single record, so that no step was taken; only one of f and
            optimizer is given, or probes too; f is no longer where the trace ended.

    Cost: none without f; with it the cost of ``probe``.
    """
    if not isinstance(trace, Trace):
        given = type(trace).__name__
        raise TypeError(f"diagnose reads a Trace, tracer.result or ls.load(folder), got {given}.")
    trace = trace.of_f()
    if len(trace.steps) < 2:
        raise ValueError(
            "the trace has one record only: no step was traced, so nothing can be said of a run."
        )
    if (f is None) != (optimizer is None) or (f is not None and probes is not None):
        raise ValueError(
            "pass f and optimizer together to run probes, or the probes of an earlier run, not "
            "both."
        )

    if trace.diverged:
        return Diagnosis([_diverged(trace)], trace.phases, True, probes)
    tail = Tail(trace)
    if f is not None and optimizer is not None:
        _require_end(trace, f, optimizer)
        probes = probe(
            f, optimizer, steps=steps, seeds=seeds, seed=seed, scale=tail.unit, progress=progress
        )
    return Diagnosis(_causes(tail), trace.phases, _stuck(tail), probes)


def _require_end(trace: Trace, f: Landscape, optimizer: Optimizer) -> None:
    """Raise a ValueError unless f is where the trace ended."""
    here = Followed(optimizer, f).point()
    if here.shape != trace.x.shape or not torch.equal(here, trace.x.to(here)):
        raise ValueError(
            f"{f.name} is not where the trace ended: probes start there. Pass "
            f"probes=ls.training.probe(...)."
        )


def _stuck(tail: Tail) -> bool:
    """Whether the late part lost little, and gradients that are followed promise little."""
    return not (tail.falling or (tail.efficiency > 0.3 and tail.promised > 0.1 * tail.unit))


def _causes(tail: Tail) -> list[Cause]:
    """What ``rules`` finds, half as sure where the loss was still falling; at least one cause."""
    judged = causes(tail)
    if not judged:
        evidence = (
            f"no cause stands out: gradient {tail.gradient:.3g}, curvature along it "
            f"{tail.along:.3g}"
        )
        remedy = "Trace for longer, or over more of the data."
        judged = [Cause("flat", REPORTED, [evidence], remedy)]
    if _stuck(tail):
        return judged
    return [
        replace(c, confidence=c.confidence / 2, factors=c.factors | {"stuck": 0.5}) for c in judged
    ]


def _diverged(trace: Trace) -> Cause:
    bad = int(trace.steps[~trace.loss.isfinite()][0])
    rate = float(trace.learning_rate[-1])
    evidence = [f"the loss is not finite at step {bad}, the learning rate {rate:.3g}"]
    sharp, edge = float(trace.sharpness[0]), float(trace.edge[0])
    if sharp > edge:
        evidence.append(f"at the start sharpness {sharp:.3g} was above the edge {edge:.3g}")
    remedy = "Lower it below 2 / sharpness, or warm up, or clip gradients."
    return Cause("learning rate", 0.95, evidence, remedy)
