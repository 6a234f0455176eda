"""`landscape analyze MODEL`: the main job."""

from typing import Unpack

import click

from .. import given, screens
from ..errors import OneLine
from ..help import Command
from ..options import (
    Duration,
    ExpectationType,
    option,
    problem_options,
    run_options,
    spectrum_options,
)
from ..runs import Run


@click.command(
    cls=Command,
    short_help="Is it a minimum, a saddle or a plateau?",
    examples=(
        "analyze digits-mlp",
        "analyze net.py:build --checkpoint net.pt --data data.npz --loss cross-entropy",
        "analyze net.py --polish --expect minimum --json",
    ),
)
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
    "--optimizer",
    metavar="NAME:KEY=VALUE,...",
    help="Your own, a torch.optim class in any case such as adamw:lr=1e-3: is its rate stable "
    "here, and how much room has it?",
)
@option(
    "--optimizer-state",
    metavar="FILE",
    help="The saved state of your optimiser; default: the one in --checkpoint, if any; none: as at "
    "the first step.",
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
    help="Exit with 1 unless the verdict is KIND: a word of the verdicts, or saddle:K.",
)
@run_options
@click.pass_context
def analyze(ctx: click.Context, /, **options: Unpack[given.Analyze]) -> None:
    """Say where MODEL is in its loss landscape: verdict, spectrum, error bars."""
    if options["estimate"]:
        from ..jobs import problem

        screens.alone(problem.forecast(options), options)
        return
    run = Run.of(ctx, options["model"], options)
    from ..jobs import problem  # here, because torch takes seconds and --help must not

    report = problem.analyze(run, options)
    screens.show(report, run.target, options)
    if report.broken:
        named = ", ".join(check.name for check in report.broken)
        raise OneLine(f"a check broke ({named}): the numbers are of no one function.", 4)
    if options["expect"] is not None:
        options["expect"].require(ctx, report.point)
