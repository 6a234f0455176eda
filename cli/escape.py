"""`landscape escape LANDSCAPE`: how long real optimisers stay at a stationary point."""

from typing import Any

import click

from . import numbers, runs, screens
from .facts import Fact
from .options import landscape_options, option, run_options

COLUMNS = ["optimiser", "median steps", "95 % interval", "theory", "left", "diverged", "stalled"]
RATES = ["optimiser", "escapes a step", "theory", "e-folds a step", "theory"]


@click.command()
@landscape_options
@option(
    "--at",
    metavar="POINT",
    help="The stationary point: 0,0 or a .npy file or a run; default: 0, of a model its parameters.",
)
@option(
    "--optimizer", "optimizers", multiple=True, required=True, metavar="NAME:KEY=VALUE,...",
    help="A torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9; of a model also groups of parameters by "
    "globs, 'adamw:lr=0.01; *.bias:weight_decay=0'. May be repeated.",
)  # fmt: skip
@option("--runs", type=click.IntRange(1), default=256, show_default=True, help="Starts, the same for each optimiser.")
@option("--steps", type=click.IntRange(1), default=10_000, show_default=True, help="When a run is given up.")
@option("--start", type=click.FloatRange(0), default=1e-3, show_default=True, help="Distance of the starts from POINT.")
@option(
    "--event", default="ball:1.0", show_default=True, metavar="EVENT", help="ball:RADIUS is left, or f falls:MARGIN."
)
@option(
    "--noise", default="none", show_default=True,
    help="none, isotropic:SIGMA, hessian:SIZE, perturbed:radius=R,threshold=G,interval=T or, of a model, minibatch:SIZE.",
)  # fmt: skip
@option(
    "--schedule",
    metavar="SPEC",
    help="A torch scheduler: StepLR:step_size=7,gamma=0.1; A + B chains, A |10| B follows.",
)
@option(
    "--sweep",
    metavar="KEY=V1,V2,...",
    help="One study a value: of an option of the optimisers (lr), of noise, start, radius, dim, or of a --set option.",
)
@option("--record", type=click.IntRange(0), help="Runs whose paths are kept for figures; default: 4, of a model 0.")
@run_options
@click.pass_context
def escape(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Start many runs of torch optimisers near a stationary point of LANDSCAPE and time how they leave it."""
    target = runs.place(out, options["landscape"], force=force, resume=resume)
    from . import escapes  # here, because torch takes seconds and --help must not

    study = escapes.study(ctx, target, options, resume=resume)
    if as_json:
        screens.as_json(study, folder=str(target))
        return
    studies = escapes.studies(study)
    first = next(iter(studies.values()))
    screens.facts([Fact("left from", (f"{study.provenance.name}, {first.starts.shape[0]} runs",))])
    rows = [(name, found, s.limit) for when, s in studies.items() for name, found in _named(when, s)]
    screens.table(COLUMNS, [_row(*row) for row in rows])
    screens.table(RATES, [_rates(name, found) for name, found, _ in rows])
    laws = tuple(f"{name}: {_law(found.theory)}" for name, found, _ in rows)
    notes = tuple(f"{name}: {note}" for name, found, _ in rows for note in found.notes)
    facts = [Fact("theory", laws), Fact("notes", notes), Fact("written", (str(target),))]
    screens.facts([fact for fact in facts if fact.lines])


def _named(when: str, study: Any) -> list[tuple[str, Any]]:
    return [(f"{label}, {when}" if when else label, found) for label, found in study.results.items()]


def _row(label: str, found: Any, limit: int) -> tuple[str, ...]:
    m, expected = found.median, found.theory.median
    shown = [_steps(v, limit) for v in (m.value, m.low, m.high)]
    shares = [f"{100 * float(flag.double().mean()):.3g} %" for flag in (found.escaped, found.diverged, found.stalled)]
    return label, shown[0], f"{shown[1]} to {shown[2]}", "-" if expected is None else _steps(expected, limit), *shares


def _steps(value: float, limit: int) -> str:
    return f"over {numbers.count(limit)}" if value == float("inf") else f"{value:.0f}"


def _rates(label: str, found: Any) -> tuple[str, ...]:
    expected, rate, growth = found.theory, found.rate, found.growth
    measured = f"{rate.value:.3g} [{rate.low:.3g}, {rate.high:.3g}]"
    grown = "-" if growth is None else f"{growth.value:.3g} [{growth.low:.3g}, {growth.high:.3g}]"
    laws = ["-" if v is None else f"{v:.3g}" for v in (expected.rate, expected.growth)]
    return label, measured, laws[0], grown, laws[1]


def _law(theory: Any) -> str:
    return f"{theory.law}; {theory.conditions}" if theory.conditions else theory.law
