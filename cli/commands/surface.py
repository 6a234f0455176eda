"""`landscape surface LANDSCAPE`: values on a line or plane, or along a curve to another model."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import ParamType, Positive, landscape_options, option, run_options
from ..runs import Run


class Span(ParamType):
    """A positive number, or two numbers with a comma between them, the second one larger."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        parts = str(value).split(",")
        if len(parts) == 1:
            return Positive().convert(value, param, ctx)
        try:
            low, high = (float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not a number, or two with a comma between them.", param, ctx)
        if not low < high:
            self.fail(f"the second number of {value!r} is not larger than the first.", param, ctx)
        return f"{low!r},{high!r}"


@click.command(
    cls=Command,
    short_help="What does the landscape look like?",
    examples=(
        "surface digits-mlp --check",
        "surface net.py --checkpoint net.pt --directions pca --trajectory checkpoints",
        "surface net.py --checkpoint net.pt --connect other.pt",
    ),
)
@landscape_options
@option(
    "--at",
    metavar="POINT",
    help="The centre: 1,2 or a .npy file or a run; default: 0, for a model its parameters.",
)
@option(
    "--directions",
    type=click.Choice(["random", "eigen", "pca", "moments"]),
    default="random",
    show_default=True,
    help="Gaussian; eigenvectors of the largest and smallest eigenvalue; principal axes of "
    "--trajectory; moments in --optimizer-state.",
)
@option(
    "--toward",
    multiple=True,
    metavar="POINT",
    help="Span the line to this checkpoint, or the plane through two.",
)
@option(
    "--dimensions",
    type=click.IntRange(1, 2),
    default=2,
    show_default=True,
    help="1: a line; 2: a plane.",
)
@option(
    "--normalize",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    show_default=True,
    help="Give each filter or layer of a random direction the norm of the weights; eigenvectors "
    "have unit length.",
)
@option("--biases", is_flag=True, help="Move biases and normalisation layers too.")
@option(
    "--span",
    type=Span(),
    help="Steps go from -SPAN to SPAN, or from LOW,HIGH; default: 1, with pca as far as "
    "trajectories go.",
)
@option(
    "--resolution",
    type=click.IntRange(2, 10**9),
    default=51,
    show_default=True,
    help="Steps each way.",
)
@option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Measure this too: accuracy, gradient-norm, or pkg.mod:fn of (output, target), for a "
    "formula of points.",
)
@option(
    "--batch-statistics",
    is_flag=True,
    help="Measure BatchNorm's running statistics anew in every cell.",
)
@option(
    "--trajectory",
    "trajectories",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Points to show on the plane: a .npy file (t, n), or a folder of checkpoints in the order "
    "of their names.",
)
@option(
    "--spectra",
    type=click.IntRange(0, 1000),
    default=0,
    help="Eigenvalues of each end, at every point of a trajectory.",
)
@option(
    "--optimizer-state",
    metavar="FILE[:KEY]",
    help="A file with an optimiser's state_dict, for moments.",
)
@option(
    "--check",
    is_flag=True,
    help="Compare the picture's curvature with the Hessian's, and say what the plane holds.",
)
@option(
    "--connect",
    metavar="POINT",
    help="Train a curve of low loss to this checkpoint or point instead.",
)
@option(
    "--curve",
    type=click.Choice(["bezier", "polygon"]),
    default="bezier",
    show_default=True,
    help="The form of the curve of --connect.",
)
@option(
    "--bends",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Trained points of the curve.",
)
@option(
    "--train-steps",
    type=click.IntRange(1, 10**9),
    default=500,
    show_default=True,
    help="Steps of the curve's training.",
)
@option(
    "--optimizer",
    default="adam:lr=0.02",
    show_default=True,
    metavar="SPEC",
    help="The optimiser that trains the curve.",
)
@option(
    "--noise",
    metavar="NOISE",
    default="none",
    show_default=True,
    help="The noise of the curve's training: none or minibatch:SIZE.",
)
@run_options
@click.pass_context
def surface(ctx: click.Context, /, **options: Unpack[given.Surface]) -> None:
    """Compute the values of LANDSCAPE, a model or formula, on a plane or line, with its figure.

    --resume goes on with a surface that was interrupted, and takes a finished one further with a
    larger --resolution.
    """
    run = Run.of(ctx, options["landscape"], options)
    from ..jobs import surface as job  # here, because torch takes seconds and mistakes do not wait

    work = job.connection if options["connect"] else job.surface
    screens.show(work(run, options), run.target, options)
