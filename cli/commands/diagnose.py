"""`landscape diagnose RUN`: why a training run is stuck, and what gets it moving."""

from typing import Unpack

import click

from .. import given, screens
from ..help import Command
from ..options import diagnosis_options, option, run_options
from ..runs import Run


@click.command(
    cls=Command,
    short_help="Why is my training stuck?",
    examples=(
        "diagnose zero-tanh",
        "diagnose runs/traced",
        "diagnose net.py --checkpoint net.pt --optimizer adam:lr=1e-3 --batch-size 32",
    ),
)
@diagnosis_options
@option(
    "--model",
    metavar="MODEL",
    help="The model behind a stored trace, to try remedies on.",
)
@option(
    "--optimizer",
    metavar="NAME:KEY=VALUE,...",
    help="The run's own: a torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9.",
)
@option(
    "--optimizer-state",
    metavar="FILE",
    help="The saved state of the run's optimiser; default: the one in --checkpoint, if any; none: "
    "start anew.",
)
@option(
    "--schedule",
    metavar="SPEC",
    help="A torch scheduler for the traced steps, as in `landscape escape`.",
)
@option(
    "--steps",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Steps traced from a model on.",
)
@option(
    "--every",
    type=click.IntRange(1),
    metavar="K",
    help="Record every K-th of them; default: about 20 records.",
)
@option(
    "--probe/--no-probe",
    "probe",
    default=None,
    help="Try remedies on copies, beside the unchanged run; default: where there is a model to try "
    "them on.",
)
@option(
    "--probe-steps",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Steps of each trial.",
)
@option(
    "--trials",
    type=click.IntRange(2, 10_000),
    default=8,
    show_default=True,
    help="Trials of each remedy, by seed.",
)
@run_options
@click.pass_context
def diagnose(ctx: click.Context, /, **options: Unpack[given.Diagnose]) -> None:
    """Say why a training run is stuck, with the evidence and the remedy, and try remedies out.

    RUN is a folder with a trace (`ls.Tracer`), or one of the built-in stuck runs (an unknown name
    lists them), or a MODEL as `landscape analyze` takes it, at its checkpoint: with --optimizer a
    copy of it is trained on for --steps traced steps, one micro-batch (--batch-size) a step. Your
    model and files stay as they are.
    """
    run = Run.of(ctx, options["run"], options)
    from ..jobs import diagnose as job  # here, because torch takes seconds and --help must not

    screens.show(job.diagnose(run, options), run.target, options)
