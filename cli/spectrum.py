"""`landscape spectrum MODEL`: eigenvalues and density only."""

from typing import Any

import click

from . import facts, runs, screens
from .options import problem_options, run_options, spectrum_options


@click.command()
@problem_options
@spectrum_options
@run_options
@click.pass_context
def spectrum(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Compute both ends of MODEL's Hessian spectrum and its density, without a verdict."""
    target = runs.place(out, options["model"], force=force, resume=resume)
    from landscape.points import (
        analyze as analysis,  # here, because torch takes seconds and a mistake must not wait for it
    )

    from . import problems

    result = problems.solve(ctx, target, options, analysis.Spectrum, analysis.spectrum, resume=resume)
    if as_json:
        screens.as_json(result, folder=str(target))
    else:
        screens.facts([*facts.of_spectrum(result), facts.Fact("written", (str(target),))])
