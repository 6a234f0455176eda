"""`landscape surface LANDSCAPE`: values on a line or plane through a point, or along a curve to another model."""

from typing import Any

import click

from . import runs, screens
from .facts import Fact
from .options import Positive, landscape_options, option, run_options


class Span(Positive):
    """A positive number, or two numbers with a comma between them, the second one larger."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = str(value).split(",")
        if len(parts) == 1:
            return super().convert(value, param, ctx)
        try:
            low, high = (float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not a number, or two with a comma between them.", param, ctx)
        if not low < high:
            self.fail(f"the second number of {value!r} is not larger than the first.", param, ctx)
        return f"{low!r},{high!r}"


@click.command()
@landscape_options
@option("--at", metavar="POINT", help="The centre: 1,2 or a .npy file or a run; of a model its parameters unless said.")
@option(
    "--directions",
    type=click.Choice(["random", "eigen", "pca", "moments"]),
    default="random",
    show_default=True,
    help="Gaussian; eigenvectors of the largest and smallest eigenvalue; principal axes of --trajectory; of --optimizer-state.",
)
@option("--toward", multiple=True, metavar="POINT", help="Span the line to this checkpoint, or the plane through two.")
@option("--dimensions", type=click.IntRange(1, 2), default=2, show_default=True, help="1: a line; 2: a plane.")
@option(
    "--normalize",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    show_default=True,
    help="What of a random direction gets the norm of the weights; eigenvectors have unit length.",
)
@option("--biases", is_flag=True, help="Move biases and normalisation layers too.")
@option(
    "--span",
    type=Span(),
    help="Steps go from -SPAN to SPAN, or from LOW,HIGH; default: 1, with pca as far as trajectories go.",
)
@option("--resolution", type=click.IntRange(2), default=51, show_default=True, help="Steps each way.")
@option(
    "--metric", "metrics", multiple=True, metavar="NAME",
    help="Measure this too: accuracy, gradient-norm, or pkg.mod:fn of (output, target), of a formula of points.",
)  # fmt: skip
@option("--batch-statistics", is_flag=True, help="Measure BatchNorm's running statistics anew in every cell.")
@option(
    "--trajectory", "trajectories", multiple=True, metavar="[NAME=]PATH",
    help="Points to show on the plane: a .npy file (t, n), or a folder of checkpoints in the order of their names.",
)  # fmt: skip
@option("--spectra", type=click.IntRange(0), default=0, help="Eigenvalues of each end, at every point of a trajectory.")
@option("--optimizer-state", metavar="FILE[:KEY]", help="A file with an optimiser's state_dict, for moments.")
@option(
    "--check", is_flag=True, help="Is the picture right? Its curvature against the Hessian, and what the plane holds."
)
@option("--connect", metavar="POINT", help="Train a curve of low loss to this checkpoint or point instead.")
@option("--curve", type=click.Choice(["bezier", "polygon"]), default="bezier", show_default=True, help="Of --connect.")
@option("--bends", type=click.IntRange(1), default=1, show_default=True, help="Trained points of the curve.")
@option("--train-steps", type=click.IntRange(1), default=500, show_default=True, help="Of the curve's training.")
@option("--optimizer", default="adam:lr=0.02", show_default=True, metavar="SPEC", help="Of the curve's training.")
@option("--noise", default="none", show_default=True, help="Of the curve's training: none or minibatch:SIZE.")
@run_options
@click.pass_context
def surface(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Compute the values of LANDSCAPE, a model or formula, on a plane or line, with its figure.

    --resume goes on with a surface that was interrupted, and takes a finished one further with a larger --resolution.
    """
    target = runs.place(out, options["landscape"], force=force, resume=resume)
    from . import surfaces  # here, because torch takes seconds and a mistake must not wait for it

    result = surfaces.connection(ctx, target, options, resume=resume) if options["connect"] else surfaces.picture(
        ctx, target, options, resume=resume
    )  # fmt: skip
    if as_json:
        screens.as_json(result, folder=str(target))
    else:
        screens.facts([*surfaces.facts(result), Fact("written", (str(target),))])
