"""`landscape diagnose RUN`: why a training run is stuck, and what gets it moving."""

from typing import Any

import click

from . import diagnosis_facts, runs, screens
from .facts import Fact
from .options import diagnosis_options, option, run_options


@click.command()
@diagnosis_options
@option("--model", metavar="MODEL", help="Of a stored trace: the model that was traced, to try remedies on.")
@option(
    "--optimizer", metavar="NAME:KEY=VALUE,...",
    help="The run's own: a torch.optim class in any case, such as sgd:lr=0.1,momentum=0.9.",
)  # fmt: skip
@option(
    "--optimizer-state", metavar="FILE",
    help="What the run's optimiser had gathered, saved by it; default: that in --checkpoint, if any; none: start anew.",
)  # fmt: skip
@option("--schedule", metavar="SPEC", help="A torch scheduler for the traced steps, as in `landscape escape`.")
@option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Steps traced from a model on.")
@option("--every", type=click.IntRange(1), metavar="K", help="Record every K-th of them; default: about 20 records.")
@option(
    "--probe/--no-probe", "probe", default=None,
    help="Try remedies on copies, beside the unchanged run; default: where there is a model to try them on.",
)  # fmt: skip
@option("--probe-steps", type=click.IntRange(1), default=50, show_default=True, help="Steps of each trial.")
@option("--trials", type=click.IntRange(2), default=8, show_default=True, help="Trials of each remedy, by seed.")
@run_options
@click.pass_context
def diagnose(ctx: click.Context, /, out: str | None, force: bool, resume: bool, as_json: bool, **options: Any) -> None:
    """Say why a training run is stuck, with the evidence and the remedy, and try remedies out.

    RUN is a folder with a trace (`ls.Tracer`), or one of the built-in stuck runs (an unknown name lists them), or a MODEL as
    `landscape analyze` takes it, at its checkpoint: with --optimizer a copy of it is trained on for --steps traced steps, one micro-batch
    (--batch-size) a step. Your model and files stay as they are.
    """
    target = runs.place(out, options["run"], force=force, resume=resume)
    from . import diagnoses  # here, because torch takes seconds and --help must not

    report = diagnoses.report(ctx, target, options, resume=resume)
    if as_json:
        shown = ("name", "parameters", "how", "notes", "seconds")
        screens.as_json(report.diagnosis, folder=str(target), **{key: getattr(report, key) for key in shown})
        return
    screens.facts(diagnosis_facts.of(report))
    if report.diagnosis.trials is not None:
        screens.table(diagnosis_facts.COLUMNS, diagnosis_facts.rows(report.diagnosis.trials))
    screens.facts([*diagnosis_facts.after(report), Fact("written", (str(target),))])
