"""`landscape inspect FILE`: what is in a checkpoint, executing nothing."""

import click

from . import facts, screens
from .errors import OneLine
from .options import json_option


@click.command()
@click.argument("file")
@json_option
def inspect(file: str, as_json: bool) -> None:
    """List the tensors of a checkpoint and the code it asks for; nothing in it is executed."""
    from landscape import files

    report = files.inspect_file(file)
    if as_json:
        screens.as_json(report)
    else:
        screens.facts(facts.of_file(report))
        if report.tensors:
            screens.table(["tensor", "shape", "dtype"], facts.tensors(report))
    if not report.safe:
        raise OneLine(report.reason if file in report.reason else f"{file} is refused: {report.reason}", 3)
