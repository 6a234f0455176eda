"""`landscape spectrum MODEL`: eigenvalues and density only."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import option, problem_options, run_options, spectrum_options
from ..runs import Run


@click.command(
    cls=Command,
    short_help="Both ends of the Hessian's spectrum.",
    examples=(
        "spectrum digits-mlp",
        "spectrum net.py --checkpoint net.pt --largest 20 --tol 1e-6",
        "spectrum net.py --device cuda --dtype float64 --out runs/spectrum",
    ),
)
@problem_options
@spectrum_options
@option(
    "--shard",
    is_flag=True,
    help="Under torchrun: points, vectors and eigenvectors lie on the ranks by parts, and weights "
    "are gathered only while they are used.",
)
@run_options
@click.pass_context
def spectrum(ctx: click.Context, /, **options: Unpack[given.Sharded]) -> None:
    """Compute both ends of MODEL's Hessian spectrum and its density, without a verdict."""
    run = Run.of(ctx, options["model"], options)
    from ..jobs import problem  # here, because torch takes seconds and a mistake must not wait

    screens.show(problem.spectrum(run, options), run.target, options)
