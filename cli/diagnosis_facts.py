"""What a diagnosis says, as labelled lines and rows: the screen and the page show the same ones."""

import math
from typing import Any

from . import numbers
from .facts import Fact

FELT = 0.01  # e-folds of a displacement in a trial: with fewer nothing is measured
COLUMNS = ["remedy", "change of the loss", "against the unchanged run", "95 %"]


def of(report: Any) -> list[Fact]:
    """Every line of a DiagnosisReport up to its trials."""
    first, *others = report.diagnosis.causes
    trace = report.trace.of_f()
    records = f"{numbers.count(len(trace.steps))} records, one every {numbers.count(trace.every)} steps"
    facts = [
        Fact("diagnosed", (f"{report.name}: {numbers.count(report.parameters)} parameters, {report.how}; {records}",)),
        Fact("cause", (headline(report),)),
        Fact("evidence", tuple(first.evidence)),
        Fact("remedy", (first.remedy,)),
        Fact("also", tuple(f"{c.name} ({c.confidence:.2f}): {'; '.join(c.evidence)}" for c in others)),
        Fact("phases", tuple(f"{p.name}, steps {p.start} to {p.stop}: {p.evidence}" for p in report.phases)),
        Fact("loss", (f"{numbers.plain(float(trace.loss[0]))} at the start, {numbers.plain(float(trace.loss[-1]))} at the end",)),
        Fact("notes", tuple(report.notes)),
    ]  # fmt: skip
    return [fact for fact in facts if fact.lines]


def headline(report: Any) -> str:
    """``SADDLE: confidence 0.92``."""
    first = report.diagnosis.causes[0]
    named = f"{first.name.upper()}: confidence {first.confidence:.2f}"
    if report.diagnosis.stuck:
        return named
    return f"NOT STUCK: the loss was still falling when the trace ended; if anything {named}"


def rows(trials: Any) -> list[tuple[str, ...]]:
    """A row a trial, the best first."""
    return [_row(probe) for probe in trials.probes]


def after(report: Any) -> list[Fact]:
    """What the trials say."""
    trials = report.diagnosis.trials
    if trials is None:
        why = "nothing finite is left to start from" if report.trace.diverged else "none were run"
        return [Fact("tried", (why,))]
    return [Fact("tried", tuple(told(trials)))]


def told(trials: Any) -> list[str]:
    """What won, and what is to be compared with it."""
    lines = []
    if trials.best == "control":
        lines.append(
            f"no remedy gains more than {numbers.plain(trials.negligible)} for certain in {trials.steps} steps"
        )
        if trials.leap is not None:
            lines.append(f"a step of length {numbers.plain(trials.leap)} {trials.along} does")
    else:
        gain = -trials[trials.best].against_control.value
        more = (
            f"gains {numbers.plain(gain)} more than the unchanged run in {trials.steps} steps"
            if math.isfinite(gain)
            else "wins"
        )
        lines.append(f"{trials.best} {more}, over {trials.seeds} seeds")
    escapes = [p.rate for p in trials.probes if p.rate is not None and math.isfinite(p.rate)]
    if escapes and trials.predicted_rate is not None and trials.predicted_rate * trials.steps > FELT:
        lines.append(
            f"along the lowest eigenvector the run leaves at rate {numbers.plain(max(escapes))} a step; "
            f"ln(1 + rate |curvature|) predicts {numbers.plain(trials.predicted_rate)}"
        )
    return lines


def _row(probe: Any) -> tuple[str, ...]:
    if probe.diverged:
        return probe.name, f"not finite in {probe.diverged} trials", "", ""
    gain = probe.against_control
    if probe.name == "control":
        return f"{probe.name} (unchanged)", f"{probe.change.value:+.3g}", "", ""
    return probe.name, f"{probe.change.value:+.3g}", f"{gain.value:+.3g}", f"± {gain.high - gain.value:.1g}"
