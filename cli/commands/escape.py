"""`landscape escape LANDSCAPE`: how long real optimisers stay at a stationary point."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import landscape_options, option, run_options
from ..runs import Run


@click.command(
    cls=Command,
    short_help="How long do optimisers stay at a saddle?",
    examples=(
        "escape strict-saddle --optimizer sgd:lr=0.1 --optimizer adam:lr=0.01",
        "escape tanh-net --optimizer sgd:lr=0.05,momentum=0.9 --event ball:0.5",
        "escape double-well --optimizer sgd:lr=0.01 --noise isotropic:1.0 --sweep noise=1.0,2.0",
    ),
)
@landscape_options
@option(
    "--at",
    metavar="POINT",
    help="The stationary point: 0,0 or a .npy file or a run; default: 0, for a model its "
    "parameters.",
)
@option(
    "--optimizer",
    "optimizers",
    multiple=True,
    required=True,
    metavar="NAME:KEY=VALUE,...",
    help="A torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9; for a model also "
    "groups of parameters by globs, 'adamw:lr=0.01; *.bias:weight_decay=0'. May be repeated.",
)
@option(
    "--runs",
    type=click.IntRange(1, 10**12),
    default=256,
    show_default=True,
    help="Starts, the same for each optimiser.",
)
@option(
    "--steps",
    type=click.IntRange(1, 10**12),
    default=10_000,
    show_default=True,
    help="Give a run up after so many steps.",
)
@option(
    "--start",
    metavar="NUMBER",
    type=click.FloatRange(0),
    default=1e-3,
    show_default=True,
    help="Distance of the starts from POINT.",
)
@option(
    "--event",
    default="ball:1.0",
    show_default=True,
    metavar="EVENT",
    help="A run has left when it leaves ball:RADIUS, or when f falls:MARGIN.",
)
@option(
    "--noise",
    metavar="NOISE",
    default="none",
    show_default=True,
    help="none, isotropic:SIGMA, hessian:SIZE, perturbed:radius=R,threshold=G,interval=T or, for a "
    "model, minibatch:SIZE.",
)
@option(
    "--schedule",
    metavar="SPEC",
    help="A torch scheduler: StepLR:step_size=7,gamma=0.1; A + B chains, A |10| B follows.",
)
@option(
    "--sweep",
    metavar="KEY=V1,V2,...",
    help="Make a study for each value: of an option of the optimisers (lr), of noise, start, "
    "radius, dim, or of a --set option.",
)
@option(
    "--record",
    type=click.IntRange(0, 1000),
    help="Record the paths of so many runs for figures; default: 4, for a model 0.",
)
@run_options
@click.pass_context
def escape(ctx: click.Context, /, **options: Unpack[given.Escape]) -> None:
    """Start many runs of torch optimisers near a stationary point of LANDSCAPE and time them."""
    run = Run.of(ctx, options["landscape"], options)
    from ..jobs import escape as job  # here, because torch takes seconds and --help must not

    screens.show(job.escape(run, options), run.target, options)
