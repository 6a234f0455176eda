"""`landscape analyze MODEL`: the main job."""

from typing import Unpack

import click

from .. import given, screens
from ..errors import OneLine
from ..options import (
    Duration,
    ExpectationType,
    option,
    problem_options,
    run_options,
    spectrum_options,
)
from ..runs import Run


@click.command()
@problem_options
@spectrum_options
@option(
    "--method",
    type=click.Choice(["auto", "dense", "lanczos"]),
    default="auto",
    show_default=True,
    help="How the eigenvalues behind the verdict are computed.",
)
@option(
    "--polish",
    type=click.Choice(["newton-mr", "gradient-norm", "saddle-free"]),
    is_flag=False,
    flag_value="newton-mr",
    metavar="[METHOD]",
    help="Move to the stationary point nearby first, and say how far: newton-mr (where no METHOD "
    "follows), gradient-norm or saddle-free.",
)
@option(
    "--layers/--no-layers",
    default=True,
    show_default=True,
    help="Look at each layer's own block of the Hessian.",
)
@option(
    "--budget",
    type=Duration(),
    help="Time it may take, 60s, 5m or 1h: the best honest answer by then and what it leaves open; "
    "--resume goes on from there.",
)
@option(
    "--estimate",
    is_flag=True,
    help="Only say what it would take, from one gradient and two products.",
)
@option(
    "--expect",
    type=ExpectationType(),
    help="Exit with 1 unless the point is a minimum, saddle, saddle:K or plateau.",
)
@run_options
@click.pass_context
def analyze(ctx: click.Context, /, **options: Unpack[given.Analyze]) -> None:
    """Say where MODEL is in its loss landscape: verdict, spectrum, error bars."""
    if options["estimate"]:
        from ..jobs import problem

        screens.alone(problem.forecast(options), options["as_json"])
        return
    run = Run.of(ctx, options["model"], options)
    from ..jobs import problem  # here, because torch takes seconds and --help must not

    report = problem.analyze(run, options)
    screens.show(report, run.target, options["as_json"])
    if report.broken:
        named = ", ".join(check.name for check in report.broken)
        raise OneLine(f"a check broke ({named}): the numbers are of no one function.", 4)
    if options["expect"] is not None:
        options["expect"].require(ctx, report.point)
