"""`landscape survive MODEL --change int8`: what a change of the weights does to the loss."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import option, problem_options, run_options
from ..runs import Run


@click.command(
    cls=Command,
    short_help="Will it survive quantisation or pruning?",
    examples=(
        "survive digits-cnn --change int4",
        "survive net.py --checkpoint net.pt --change prune:0.5",
        "survive net.py --checkpoint base.pt --change finetune:tuned.pt",
    ),
)
@problem_options
@option(
    "--change",
    required=True,
    metavar="KIND",
    help="int8 or int4 (:asymmetric), prune:SHARE, prune:N:M, noise:SHARE, or finetune:FILE: the "
    "weights of another checkpoint.",
)
@run_options
@click.pass_context
def survive(ctx: click.Context, /, **options: Unpack[given.Survive]) -> None:
    """Say what a change of MODEL's weights does to its loss, layer by layer: predicted by gradient
    and Hessian beside measured, and which layers to keep as they are.
    """
    run = Run.of(ctx, options["model"], options)
    from ..jobs import survive as job  # here, because torch takes seconds and --help must not

    screens.show(job.survive(run, options), run.target, options)
