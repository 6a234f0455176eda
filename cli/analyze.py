"""`landscape analyze MODEL`: the main job."""

from typing import Any

import click

from . import facts, runs, screens
from .options import Expectation, ExpectationType, option, problem_options, run_options, spectrum_options


@click.command()
@problem_options
@spectrum_options
@option(
    "--method",
    type=click.Choice(["auto", "dense", "lanczos"]),
    default="auto",
    show_default=True,
    help="Of the verdict.",
)
@option(
    "--polish",
    type=click.Choice(["newton-mr", "gradient-norm", "saddle-free"]),
    is_flag=False,
    flag_value="newton-mr",
    metavar="[METHOD]",
    help="Move to the stationary point nearby first, and say how far: newton-mr (where no METHOD follows), gradient-norm or saddle-free.",
)
@option("--layers/--no-layers", default=True, show_default=True, help="Each layer's own block of the Hessian.")
@option(
    "--expect", type=ExpectationType(), help="Exit with 1 unless the point is a minimum, saddle, saddle:K or plateau."
)
@run_options
@click.pass_context
def analyze(
    ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, expect: Expectation | None,
    **options: Any,
) -> None:  # fmt: skip
    """Say where MODEL is in its loss landscape: verdict, spectrum, error bars."""
    target = runs.place(out, options["model"], force=force, resume=resume)
    from landscape.points import analyze as analysis  # here, because torch takes seconds and --help must not

    from . import problems

    kind, compute = analysis.AnalysisReport, analysis.analyze
    report = problems.solve(ctx, target, options, kind, compute, resume=resume)
    if as_json:
        screens.as_json(report, folder=str(target))
    else:
        screens.facts([*facts.of_analysis(report), facts.Fact("written", (str(target),))])
    if expect is not None:
        expect.require(ctx, report.point)
