"""What is said of a traced run, of why it is stuck, and of remedies that were tried."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from landscape.results.numbers import count, plain, several
from landscape.results.words import Fact, Table, Words, columns, said
from landscape.training.causes import Cause
from landscape.training.diagnose import Diagnosis, DiagnosisReport
from landscape.training.probes import Probe, Probes
from landscape.training.trace import Phase, Trace

FELT = 0.01  # e-folds of a displacement in a trial: with fewer nothing is measured
TRIALS = ("remedy", "change of the loss", "against the unchanged run", "95 %")
SHOWN = 200  # records of a run that a table has at most
RECORDS = {  # a column's name: the field of a trace that it shows
    "loss": "loss",
    "|gradient|": "gradient_norm",
    "|gradient given|": "batch_gradient_norm",
    "largest curvature": "largest",
    "smallest": "smallest",
    "felt": "sharpness",
    "edge": "edge",
    "learning rate": "learning_rate",
    "|weights|": "weight_norm",
    "from start": "from_start",
}
FALLING = "the loss was still falling, or nearly gone, when the trace ended; if anything"


@said.register
def diagnosis_report(report: DiagnosisReport, folder: str) -> Words:
    """Where the trace is from, the cause with its evidence and remedy, and what was tried."""
    trace, diagnosis = report.trace.of_f(), report.diagnosis
    size = several(report.parameters, "parameter")
    about = f"{report.name}: {size}, {report.how}; {_records(trace)}"
    parts = [
        Fact("diagnosed", (about,)),
        *_causes(diagnosis),
        _loss(trace),
        Fact("notes", tuple(report.notes)),
        *_tried(diagnosis),
    ]
    return Words(f"{_brief(diagnosis)}, {size}", parts)


@said.register
def diagnosis(result: Diagnosis, folder: str) -> Words:
    """The cause with its evidence and remedy, and what was tried."""
    return Words(_brief(result), [*_causes(result), *_tried(result)])


@said.register
def trace(result: Trace, folder: str) -> Words:
    """What was recorded of a run, and its phases."""
    seen = result.of_f()
    end = "the loss became non-finite" if result.diverged else ""
    parts = [
        Fact("traced", (f"{result.optimizer}, {_records(seen)}",)),
        _loss(seen),
        Fact("ended", (end,) if end else ()),
        _phases(result.phases),
    ]
    steps = int(result.steps[-1]) if len(result.steps) else 0
    return Words(f"{result.optimizer}, {several(steps, 'step')}", parts)


@said.register
def probes(result: Probes, folder: str) -> Words:
    """What remedies did beside the unchanged run."""
    return Words(f"best: {result.best}, {several(len(result.probes), 'trial')}", _trials(result))


@columns.register
def _trace_columns(result: Trace) -> dict[str, Sequence[object]]:
    """One row a record."""
    records = len(result.steps)
    vectors = {
        key: value
        for key, value in vars(result).items()
        if isinstance(value, Tensor) and value.shape == (records,) and key != "x"
    }
    return {key: value.tolist() for key, value in vectors.items()}


@columns.register
def _probe_columns(result: Probes) -> dict[str, Sequence[object]]:
    """One row a remedy."""
    return {
        "name": [p.name for p in result.probes],
        "change": [p.change.value for p in result.probes],
        "against_control": [p.against_control.value for p in result.probes],
        "error": [p.against_control.error for p in result.probes],
        "diverged": [p.diverged for p in result.probes],
    }


def records(trace: Trace) -> Table:
    """A row a record at which f was evaluated, evenly chosen where there are many; what was never
    measured has no column.
    """
    seen = trace.of_f()
    last, shown = len(seen.steps) - 1, min(len(seen.steps), SHOWN)
    kept = torch.linspace(0, last, shown, dtype=torch.float64, device="cpu").round().long()
    fields = {name: getattr(seen, field)[kept].tolist() for name, field in RECORDS.items()}
    fields = {n: values for n, values in fields.items() if not all(map(math.isnan, values))}
    rows = tuple(
        (count(step), _phase_at(seen.phases, step), *map(_measured, row))
        for step, *row in zip(seen.steps[kept].tolist(), *fields.values(), strict=True)
    )
    return Table(("step", "phase", *fields), rows)


def _phase_at(phases: Sequence[Phase], step: int) -> str:
    return next((p.name for p in phases if p.start <= step <= p.stop), "")


def _measured(value: float) -> str:
    return "" if math.isnan(value) else plain(value)


def headline(diagnosis: Diagnosis) -> str:
    """``SADDLE: confidence 0.92``."""
    if not diagnosis.causes:
        return "NOT STUCK: no cause is sure"
    first = diagnosis.causes[0]
    named = f"{first.name.upper()}: confidence {first.confidence:.2f}"
    return named if diagnosis.stuck else f"NOT STUCK: {FALLING} {named}"


def _brief(diagnosis: Diagnosis) -> str:
    named = diagnosis.stuck and diagnosis.causes
    return diagnosis.causes[0].name if named else "not stuck"


def _records(trace: Trace) -> str:
    every = "every step" if trace.every == 1 else f"one every {count(trace.every)} steps"
    if trace.every == 0:
        every = "as often as the tracer's share of the run's time allowed"
    return f"{several(len(trace.steps), 'record')}, {every}"


def _loss(trace: Trace) -> Fact:
    if not len(trace.loss):
        return Fact("loss")
    first, last = plain(float(trace.loss[0])), plain(float(trace.loss[-1]))
    return Fact("loss", (f"{first} at the start, {last} at the end",))


def _phases(phases: Sequence[Phase]) -> Fact:
    return Fact(
        "phases", tuple(f"{p.name}, steps {p.start} to {p.stop}: {p.evidence}" for p in phases)
    )


def _causes(diagnosis: Diagnosis) -> list[Fact]:
    first, *others = [*diagnosis.causes, *([] if diagnosis.causes else [NOTHING])]
    return [
        Fact("cause", (headline(diagnosis),)),
        Fact("evidence", (*first.evidence, *first.signs())),
        Fact("remedy", (first.remedy,) if first.remedy else ()),
        Fact("also", tuple(_other(cause) for cause in others)),
        _phases(diagnosis.phases),
    ]


NOTHING = Cause("", 0.0, [], "")


def _other(cause: Cause) -> str:
    return f"{cause.name} ({cause.confidence:.2f}): {'; '.join(cause.evidence)}"


def _tried(diagnosis: Diagnosis) -> list[Fact | Table]:
    if diagnosis.trials is not None:
        return _trials(diagnosis.trials)
    return [Fact("tried", (diagnosis.untried or "none",))]


def _trials(trials: Probes) -> list[Fact | Table]:
    rows = tuple(_row(probe) for probe in trials.probes)
    return [Table(TRIALS, rows), Fact("tried", tuple(_told(trials)))]


def _told(trials: Probes) -> Iterator[str]:
    """What won, and what is to be compared with it."""
    steps = several(trials.steps, "step")
    if trials.best != "control":
        gain = -trials[trials.best].against_control.value
        more = f"gains {plain(gain)} more than the unchanged run in {steps}"
        seeds = several(trials.seeds, "seed")
        yield f"{trials.best} {more if math.isfinite(gain) else 'wins'}, over {seeds}"
    else:
        yield f"no remedy gains more than {plain(trials.negligible)} for certain in {steps}"
        if trials.leap is not None:
            yield f"a step of length {plain(trials.leap)} {trials.along} does"
    rates = [p.rate for p in trials.probes if p.rate is not None and math.isfinite(p.rate)]
    predicted = trials.predicted_rate
    if rates and predicted is not None and predicted * trials.steps > FELT:
        yield (
            f"along the lowest eigenvector the run leaves at rate {plain(max(rates))} a step; "
            f"ln(1 + rate |curvature|) predicts {plain(predicted)}"
        )


def _row(probe: Probe) -> tuple[str, ...]:
    if probe.diverged:
        return probe.name, f"not finite in {several(probe.diverged, 'trial')}", "", ""
    gain, change = probe.against_control, f"{probe.change.value:+.3g}"
    if probe.name == "control":
        return f"{probe.name} (unchanged)", change, "", ""
    name = f"{probe.name} ({probe.setting})" if probe.setting else probe.name
    return name, change, f"{gain.value:+.3g}", f"± {gain.high - gain.value:.1g}"
