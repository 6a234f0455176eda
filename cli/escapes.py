"""From the options of `landscape escape` to a stored study, or a sweep of them, and those in words."""

import re
from pathlib import Path
from typing import Any

import click
import torch

import landscape as ls
from landscape import specs
from landscape.optimizers.escape import event
from landscape.results import origin
from landscape.specs.optimizers import maker

from . import numbers, problems, runs
from .errors import OneLine
from .facts import Fact

RECORDED = 4  # runs of a formula whose paths are kept
SETTINGS = ("noise", "start", "radius")
TIMES = ["optimiser", "median steps", "95 % interval", "theory", "left", "diverged", "stalled"]
RATES = ["optimiser", "escapes a step", "theory", "e-folds a step", "theory"]


def study(
    ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool
) -> ls.optimizers.Study | ls.optimizers.Sweep:
    """The stored study with --resume where there is one, else a new one."""
    kind: type[ls.optimizers.Study] | type[ls.optimizers.Sweep] = (
        ls.optimizers.Sweep if options["sweep"] else ls.optimizers.Study
    )
    if resume and (stored := runs.finished(target, kind, ctx)) is not None:
        return stored
    leaves = event(options["event"])
    varied = _varied(options["sweep"]) if options["sweep"] else None

    def work(bar: Any) -> ls.optimizers.Study | ls.optimizers.Sweep:
        given = {k: options[k] for k in ("runs", "steps", "start", "noise", "schedule", "seed")}
        given |= {"event": leaves, "progress": bar}
        if varied is not None:
            with origin(options["landscape"]):
                return _sweep(options, given, *varied)
        with problems.loaded(options) as problem:
            f = problem.landscape
            return ls.escape(f, problems.at(f, options), options["optimizers"], record=_record(f, options), **given)

    return problems.store(ctx, target, work)


def studies(found: ls.optimizers.Study | ls.optimizers.Sweep) -> dict[str, ls.optimizers.Study]:
    """The studies of a result by what was varied, "" where nothing was."""
    if isinstance(found, ls.optimizers.Study):
        return {"": found}
    return {f"{found.over}={value:g}": s for value, s in zip(found.values, found.studies, strict=True)}


def before(found: ls.optimizers.Study | ls.optimizers.Sweep) -> list[Fact]:
    """What was left, and by how many runs."""
    first = next(iter(studies(found).values()))
    return [Fact("left from", (f"{found.provenance.name}, {first.starts.shape[0]} runs",))]


def tables(found: ls.optimizers.Study | ls.optimizers.Sweep) -> list[tuple[list[str], list[tuple[str, ...]]]]:
    """Columns and rows of the times and of the rates, one row an optimiser and value of a sweep."""
    named = _named(found)
    times = [_times(label, e, limit) for label, e, limit in named]
    return [(TIMES, times), (RATES, [_rates(label, e) for label, e, _ in named])]


def after(found: ls.optimizers.Study | ls.optimizers.Sweep) -> list[Fact]:
    """The laws behind the theory, and what the runs have to say."""
    named = _named(found)
    laws = tuple(f"{label}: {_law(e.theory)}" for label, e, _ in named)
    notes = tuple(f"{label}: {note}" for label, e, _ in named for note in e.notes)
    return [fact for fact in (Fact("theory", laws), Fact("notes", notes)) if fact.lines]


def _sweep(options: dict[str, Any], given: dict[str, Any], key: str, values: list[Any]) -> ls.optimizers.Sweep:
    """Of the optimisers and the study where they know ``key``, else of the landscape."""
    known = {name for spec in options["optimizers"] for name in specs.split(spec.partition(";")[0])[1]} | {"lr"}
    if key in SETTINGS or key in known:
        f = problems.landscape(options).landscape
        named = {_without(spec, key): maker(spec) for spec in options["optimizers"]}
        return ls.optimizers.sweep(f, problems.at(f, options), named, key, values, record=_record(f, options), **given)

    def problem(value: Any) -> tuple[Any, torch.Tensor]:
        others = {k: v for k, v in dict(options["settings"]).items() if k != key}
        chosen = {"dim": value} if key == "dim" else {"settings": tuple((others | {key: value}).items())}
        g = problems.landscape(options | chosen).landscape
        return g, problems.at(g, options)

    return ls.optimizers.sweep(problem, None, options["optimizers"], key, values, **given)


def _without(spec: str, key: str) -> str:
    """The label of an optimiser whose option ``key`` is varied."""
    return re.sub(rf"(?<=[:,])\s*{re.escape(key)}\s*=[^,;]*(,|(?=;)|$)", "", spec).strip().rstrip(",:")


def _varied(text: str) -> tuple[str, list[Any]]:
    """``"lr=0.01,0.1"`` -> ``("lr", [0.01, 0.1])``."""
    key, equals, rest = text.partition("=")
    values = [specs.literal(part.strip()) for part in rest.split(",")]
    if not equals or not key.strip() or not all(isinstance(v, int | float) for v in values):
        raise OneLine(f"--sweep is KEY=NUMBER,NUMBER,..., got {text!r}.", 2)
    return key.strip(), values


def _record(f: Any, options: dict[str, Any]) -> int:
    given: int | None = options["record"]
    return given if given is not None else 0 if f.layout else RECORDED


def _named(found: ls.optimizers.Study | ls.optimizers.Sweep) -> list[tuple[str, ls.optimizers.Escapes, int]]:
    """Every optimiser's runs with their label and the steps after which they were given up."""
    return [
        (f"{label}, {when}" if when else label, e, study.limit)
        for when, study in studies(found).items()
        for label, e in study.results.items()
    ]


def _times(label: str, e: ls.optimizers.Escapes, limit: int) -> tuple[str, ...]:
    m, expected = e.median, e.theory.median
    shown = [_steps(v, limit) for v in (m.value, m.low, m.high)]
    shares = [f"{100 * float(flag.double().mean()):.3g} %" for flag in (e.escaped, e.diverged, e.stalled)]
    return label, shown[0], f"{shown[1]} to {shown[2]}", "-" if expected is None else _steps(expected, limit), *shares


def _steps(value: float, limit: int) -> str:
    return f"over {numbers.count(limit)}" if value == float("inf") else f"{value:.0f}"


def _rates(label: str, e: ls.optimizers.Escapes) -> tuple[str, ...]:
    expected, rate, growth = e.theory, e.rate, e.growth
    measured = f"{rate.value:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
    grown = "-" if growth is None else f"{growth.value:.3g} [{growth.low:.3g}, {growth.high:.3g}]"
    laws = ["-" if v is None else f"{v:.3g}" for v in (expected.rate, expected.growth)]
    return label, measured, laws[0], grown, laws[1]


def _law(theory: Any) -> str:
    return f"{theory.law}; {theory.conditions}" if theory.conditions else theory.law
