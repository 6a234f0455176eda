"""`landscape escape LANDSCAPE`: how long real optimisers stay at a stationary point."""

from typing import Any

import click

from . import numbers, runs, screens
from .facts import Fact
from .options import landscape_options, option, run_options

COLUMNS = ["optimiser", "median steps", "95 % interval", "left", "diverged", "stalled"]


@click.command()
@landscape_options
@option(
    "--at",
    metavar="POINT",
    help="The stationary point: 0,0 or a .npy file or a run; default: 0, of a model its parameters.",
)
@option(
    "--optimizer", "optimizers", multiple=True, required=True, metavar="NAME:KEY=VALUE,...",
    help="A torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9; may be repeated.",
)  # fmt: skip
@option("--runs", type=click.IntRange(1), default=256, show_default=True, help="Starts, the same for each optimiser.")
@option("--steps", type=click.IntRange(1), default=10_000, show_default=True, help="When a run is given up.")
@option("--start", type=click.FloatRange(0), default=1e-3, show_default=True, help="Distance of the starts from POINT.")
@option(
    "--event", default="ball:1.0", show_default=True, metavar="EVENT", help="ball:RADIUS is left, or f falls:MARGIN."
)
@option("--noise", default="none", show_default=True, help="none, isotropic:SIGMA or, of a model, minibatch:SIZE.")
@option(
    "--schedule",
    metavar="SPEC",
    help="A torch scheduler: StepLR:step_size=7,gamma=0.1; A + B chains, A |10| B follows.",
)
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
    screens.facts([Fact("left from", (f"{study.provenance.name}, {study.starts.shape[0]} runs",))])
    screens.table(COLUMNS, [_row(label, found, study.limit) for label, found in study.results.items()])
    notes = tuple(f"{label}: {note}" for label, found in study.results.items() for note in found.notes)
    screens.facts([fact for fact in (Fact("notes", notes), Fact("written", (str(target),))) if fact.lines])


def _row(label: str, found: Any, limit: int) -> tuple[str, ...]:
    m = found.median
    shown = [f"over {numbers.count(limit)}" if v == float("inf") else f"{v:.0f}" for v in (m.value, m.low, m.high)]
    shares = [f"{100 * float(flag.double().mean()):.3g} %" for flag in (found.escaped, found.diverged, found.stalled)]
    return label, shown[0], f"{shown[1]} to {shown[2]}", *shares
