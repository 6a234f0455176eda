"""`landscape escape LANDSCAPE`: how long real optimisers stay at a stationary point."""

from typing import Any

import click

from . import runs, screens
from .facts import Fact
from .options import landscape_options, option, run_options


@click.command()
@landscape_options
@option(
    "--at",
    metavar="POINT",
    help="The stationary point: 0,0 or a .npy file or a run; default: 0, of a model its parameters.",
)
@option(
    "--optimizer", "optimizers", multiple=True, required=True, metavar="NAME:KEY=VALUE,...",
    help="A torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9; of a model also groups of parameters by "
    "globs, 'adamw:lr=0.01; *.bias:weight_decay=0'. May be repeated.",
)  # fmt: skip
@option("--runs", type=click.IntRange(1), default=256, show_default=True, help="Starts, the same for each optimiser.")
@option("--steps", type=click.IntRange(1), default=10_000, show_default=True, help="When a run is given up.")
@option("--start", type=click.FloatRange(0), default=1e-3, show_default=True, help="Distance of the starts from POINT.")
@option(
    "--event", default="ball:1.0", show_default=True, metavar="EVENT", help="ball:RADIUS is left, or f falls:MARGIN."
)
@option(
    "--noise", default="none", show_default=True,
    help="none, isotropic:SIGMA, hessian:SIZE, perturbed:radius=R,threshold=G,interval=T or, of a model, minibatch:SIZE.",
)  # fmt: skip
@option(
    "--schedule",
    metavar="SPEC",
    help="A torch scheduler: StepLR:step_size=7,gamma=0.1; A + B chains, A |10| B follows.",
)
@option(
    "--sweep",
    metavar="KEY=V1,V2,...",
    help="One study a value: of an option of the optimisers (lr), of noise, start, radius, dim, or of a --set option.",
)
@option("--record", type=click.IntRange(0), help="Runs whose paths are kept for figures; default: 4, of a model 0.")
@run_options
@click.pass_context
def escape(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Start many runs of torch optimisers near a stationary point of LANDSCAPE and time how they leave it."""
    target = runs.place(out, options["landscape"], force=force, resume=resume)
    from . import escapes  # here, because torch takes seconds and --help must not

    study = escapes.study(ctx, target, options, resume=resume)
    if as_json:
        screens.as_json(study, folder=str(target))
        return
    screens.facts(escapes.before(study))
    for columns, rows in escapes.tables(study):
        screens.table(columns, rows)
    screens.facts([*escapes.after(study), Fact("written", (str(target),))])
