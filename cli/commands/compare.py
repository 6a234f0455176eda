"""`landscape compare A B ...`: checkpoints of one network beside each other."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import comparison_options, option, run_options
from ..runs import Run


@click.command(
    cls=Command,
    short_help="Are two checkpoints in the same basin?",
    examples=(
        "compare a.pt b.pt --model net.py",
        "compare a.pt b.pt c.pt --model net.py:build --data data.npz --loss cross-entropy",
        "compare before.py after.py --no-align",
    ),
)
@comparison_options
@option(
    "--model",
    metavar="MODEL",
    help="The network of which A, B, ... are checkpoints; default: A, B, ... are models "
    "themselves.",
)
@option(
    "--align/--no-align",
    default=True,
    show_default=True,
    help="Match hidden units first, by permutation, sign and scale, and tell the barrier before "
    "and after.",
)
@option(
    "--resolution",
    type=click.IntRange(3),
    default=25,
    show_default=True,
    help="Points of each straight line.",
)
@run_options
@click.pass_context
def compare(ctx: click.Context, /, **options: Unpack[given.Compare]) -> None:
    """Compare checkpoints A, B, ... of one network: verdicts, losses, both ends of
    the spectra, top subspaces, and the barrier between them before and after their hidden units
    are matched.
    """
    run = Run.of(ctx, "compare", options)
    from ..jobs import compare as job  # here, because torch takes seconds and --help must not

    screens.show(job.compare(run, options), run.target, options)
