"""`landscape spectrum MODEL`: eigenvalues and density only."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from . import config, facts, progress, runs, screens
from .options import problem_options, run_options, spectrum_options


@click.command()
@problem_options
@spectrum_options
@run_options
@click.pass_context
def spectrum(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Compute both ends of MODEL's Hessian spectrum and its density, without a verdict."""
    target = runs.place(out, options["model"], force=force, resume=resume)
    result = finished_or_new(ctx, target, resume, options)
    if as_json:
        screens.as_json(result, folder=str(target))
    else:
        screens.facts([*facts.of_spectrum(result), facts.Fact("written", (str(target),))])


def finished_or_new(ctx: click.Context, target: Path, resume: bool, options: dict[str, Any]) -> Any:
    """The stored spectrum with --resume where there is one, else a new one, stored in ``target``."""
    from . import problems, spectral

    if resume and (result := runs.finished(target, spectral.Spectrum, ctx)) is not None:
        return result
    with (
        redirect_stdout(sys.stderr),
        runs.writing(target) as folder,
        progress.bar() as bar,
    ):  # users' own code may print
        problem, rest = problems.load(options)
        result = spectral.spectrum(problem, config=config.resolved(ctx), progress=bar, **rest)
        runs.fill(folder, result, config.resolved(ctx), "spectrum")
    return result
