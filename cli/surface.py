"""`landscape surface MODEL`: the loss on a plane through the model."""

from typing import Any

import click

from . import facts, runs, screens
from .options import Positive, option, problem_options, run_options


@click.command()
@problem_options
@option(
    "--directions",
    type=click.Choice(["random", "eigen"]),
    default="random",
    show_default=True,
    help="Gaussian, or the eigenvectors of the largest and of the smallest eigenvalue.",
)
@option(
    "--normalize",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    show_default=True,
    help="What of a random direction gets the norm of the weights; eigenvectors have unit length.",
)
@option("--biases", is_flag=True, help="Move biases and normalisation layers too.")
@option("--span", type=Positive(), default=1.0, show_default=True, help="Steps go from -SPAN to SPAN.")
@option("--resolution", type=click.IntRange(2), default=51, show_default=True, help="Steps each way.")
@run_options
@click.pass_context
def surface(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Compute the loss on a plane through MODEL, with its figure."""
    target = runs.place(out, options["model"], force=force, resume=resume)
    from landscape.surfaces import grids  # here, because torch takes seconds and a mistake must not wait for it

    from . import problems

    def compute(problem: Any, *, normalize: str, **settings: Any) -> grids.Surface:
        f, how = problem.landscape, None if normalize == "none" else normalize
        return grids.surface(f, f.point(), normalize=how, name=problem.name, **settings)

    result = problems.solve(ctx, target, options, grids.Surface, compute, resume=resume)
    if as_json:
        screens.as_json(result, folder=str(target))
    else:
        finite = result.values[result.values.isfinite()]
        lost = result.values.numel() - finite.numel()
        values = f"{float(finite.min()):.6g} to {float(finite.max()):.6g}" if finite.numel() else "none is finite"
        rows = [
            ("plane", f"{result.chosen} directions, normalisation {result.normalize or 'none'}"),
            ("grid", f"{len(result.steps)} by {len(result.steps)}, steps to {float(result.steps[-1]):g}"),
            ("values", values + (f"; {lost} are not finite" if lost else "")),
            ("written", str(target)),
        ]
        screens.facts([facts.Fact(label, (line,)) for label, line in rows])
