"""`landscape inspect FILE`: what is in a checkpoint, executing nothing."""

import click

from . import facts, screens
from .options import json_option


@click.command()
@click.argument("file")
@json_option
@click.pass_context
def inspect(ctx: click.Context, file: str, as_json: bool) -> None:
    """List the tensors of a checkpoint and the code it asks for; nothing in it is executed."""
    from landscape import loading

    report = loading.inspect_file(file)
    if as_json:
        screens.as_json(report)
    else:
        screens.facts(facts.of_file(report))
        screens.table(["tensor", "shape", "dtype"], facts.tensors(report))
    ctx.exit(0 if report.safe else 3)
