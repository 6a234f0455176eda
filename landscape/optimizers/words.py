"""What is said of optimisers that move: escapes, sweeps, schedules, studies."""

from collections.abc import Iterator, Sequence

from landscape.optimizers.edge import EdgeRun, EdgeStudy
from landscape.optimizers.escape import Escapes, Study
from landscape.optimizers.predictions import Theory
from landscape.optimizers.schedules import Schedules
from landscape.optimizers.studies import Comparison
from landscape.optimizers.sweeps import Sweep
from landscape.results import Estimate, Result
from landscape.results.numbers import count, plain, several, uncertain
from landscape.results.words import Fact, Table, Words, columns, said

TIMES = ("optimiser", "median steps", "95 % interval", "theory", "left", "diverged", "stalled")
RATES = ("optimiser", "escapes a step", "theory", "e-folds a step", "theory")
# The label of some runs with what was varied, the runs, and the steps after which they ended.
Named = tuple[str, Escapes, int]


@said.register
def study(result: Study, folder: str) -> Words:
    """How long the runs of each optimiser stayed, beside theory."""
    brief = f"{several(len(result.starts), 'run')} of {', '.join(result.results)}"
    return Words(brief, _escapes(result, result, list(_named(result))))


@said.register
def sweep(result: Sweep, folder: str) -> Words:
    """The same for each value of what was varied."""
    named = [row for value, one in _varied(result) for row in _named(one, value)]
    values = several(len(result.values), "value")
    return Words(f"{values} of {result.over}", _escapes(result, result.studies[0], named))


@said.register
def edge(result: EdgeStudy, folder: str) -> Words:
    """Where each run's sharpness stayed, in units of its limit."""
    rows = tuple(_edge(label, run) for label, run in result.runs.items())
    head = ("optimiser", "steps", "last loss", "limit", "sharpness / limit", "reached at")
    return Words(f"{several(len(rows), 'run')}", [Table(head, rows)])


@said.register
def schedules(result: Schedules, folder: str) -> Words:
    """The first and last rate of each schedule."""
    rows = tuple(
        (spec, count(len(r)), plain(float(r[0])), plain(float(r[-1])))
        for spec, r in result.rates.items()
    )
    brief = several(len(rows), "schedule")
    return Words(brief, [Table(("schedule", "steps", "first rate", "last rate"), rows)])


@said.register
def comparison(result: Comparison, folder: str) -> Words:
    """Measured and predicted numbers side by side, and what was fitted."""
    rows = tuple(
        (label, f"{x:g}", "-" if m is None else _measured(m), "-" if p is None else plain(p))
        for label, x, m, p in _numbers(result)
    )
    fits = tuple(f"{what}: {_measured(found)}" for what, found in result.fits.items())
    notes = [f"{s.label}, {x:g}: {n}" for s in result.series for x, n in _noted(s.x, s.notes)]
    parts: list[Fact | Table] = [
        Fact("study", (f"{result.title}: {result.quantity}",)),
        Table(("series", result.over, "measured", "predicted"), rows),
        Fact("fits", fits),
        Fact("notes", tuple(notes)),
    ]
    return Words(f"{result.title}, {several(len(result.series), 'series', 'series')}", parts)


@columns.register
def _study_columns(result: Study) -> dict[str, Sequence[object]]:
    """One row a run."""
    return _run_columns([(label, escapes, {}) for label, escapes in result.results.items()])


@columns.register
def _sweep_columns(result: Sweep) -> dict[str, Sequence[object]]:
    """One row a run, with the value of what was varied."""
    rows = zip(result.values, result.studies, strict=True)
    return _run_columns(
        [(label, e, {result.over: value}) for value, s in rows for label, e in s.results.items()]
    )


@columns.register
def _comparison_columns(result: Comparison) -> dict[str, Sequence[object]]:
    """One row a number, measured or predicted."""
    rows = [
        (label, x, None if m is None else m.value, None if m is None else m.error, p)
        for label, x, m, p in _numbers(result)
    ]
    names = ("series", "x", "measured", "error", "predicted")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _run_columns(
    studies: list[tuple[str, Escapes, dict[str, float]]],
) -> dict[str, Sequence[object]]:
    found: dict[str, list[object]] = {}
    for label, escapes, more in studies:
        runs = len(escapes.steps)
        for name, value in {"optimizer": label, **more}.items():
            found.setdefault(name, []).extend([value] * runs)
        found.setdefault("run", []).extend(range(runs))
        for name in ("steps", "escaped", "diverged", "stalled", "ended"):
            found.setdefault(name, []).extend(getattr(escapes, name).tolist())
    return dict(found)


def _varied(result: Sweep) -> Iterator[tuple[str, Study]]:
    for value, one in zip(result.values, result.studies, strict=True):
        yield f", {result.over}={value:g}", one


def _named(result: Study, value: str = "") -> Iterator[Named]:
    for label, escapes in result.results.items():
        yield f"{label}{value}", escapes, result.limit


def _escapes(result: Result, first: Study, named: list[Named]) -> list[Fact | Table]:
    """What was left, the times, the rates, the laws behind the theory, and notes on the runs."""
    return [
        Fact("left from", (f"{result.name}, {several(len(first.starts), 'run')}",)),
        Table(TIMES, tuple(_times(label, e, limit) for label, e, limit in named)),
        Table(RATES, tuple(_rates(label, e) for label, e, _ in named)),
        Fact("theory", tuple(f"{label}: {_law(e.theory)}" for label, e, _ in named)),
        Fact("notes", tuple(f"{label}: {note}" for label, e, _ in named for note in e.notes)),
    ]


def _times(label: str, e: Escapes, limit: int) -> tuple[str, ...]:
    m, expected = e.median, e.theory.median
    middle, low, high = (_steps(v, limit) for v in (m.value, m.low, m.high))
    flags = (e.escaped, e.diverged, e.stalled)
    shares = [f"{100 * float(flag.double().mean()):.3g} %" for flag in flags]
    law = "-" if expected is None else _steps(expected, limit)
    return label, middle, f"{low} to {high}", law, *shares


def _steps(value: float, limit: int) -> str:
    return f"over {count(limit)}" if value == float("inf") else f"{value:.0f}"


def _rates(label: str, e: Escapes) -> tuple[str, ...]:
    laws = ["-" if v is None else f"{v:.3g}" for v in (e.theory.rate, e.theory.growth)]
    return label, _interval(e.rate), laws[0], _interval(e.growth), laws[1]


def _interval(found: Estimate | None) -> str:
    return "-" if found is None else f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _law(theory: Theory) -> str:
    return f"{theory.law}; {theory.conditions}" if theory.conditions else theory.law


def _edge(label: str, run: EdgeRun) -> tuple[str, ...]:
    last = plain(float(run.losses[-1])) if len(run.losses) else "-"
    late = "diverged" if run.diverged is not None else uncertain(run.late, run.spread)
    reached = "-" if run.reached is None else count(run.reached)
    steps = count(int(run.steps[-1])) if len(run.steps) else "0"
    return label, steps, last, plain(run.limit), late, reached


def _numbers(result: Comparison) -> Iterator[tuple[str, float, Estimate | None, float | None]]:
    """The label, x, what was measured and what was predicted there: a formula measures nothing."""
    for s in result.series:
        measured: Sequence[Estimate | None] = s.measured or [None] * len(s.x)
        for x, m, p in zip(s.x, measured, s.predicted, strict=True):
            yield s.label, x, m, p


def _measured(found: Estimate) -> str:
    return uncertain(found.value, found.error)


def _noted(x: list[float], notes: list[str]) -> list[tuple[float, str]]:
    return [(value, note) for value, note in zip(x, notes, strict=False) if note]
