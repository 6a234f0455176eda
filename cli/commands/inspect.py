"""`landscape inspect FILE`: what is in a checkpoint, a file or a folder, executing nothing."""

import click

from .. import screens
from ..errors import OneLine
from ..help import Command
from ..options import json_option


@click.command(
    cls=Command,
    short_help="What is in a checkpoint? Nothing is run.",
    examples=("inspect net.pt", "inspect model.safetensors", "inspect net.ckpt --json"),
)
@click.argument("file")
@json_option
def inspect(file: str, as_json: bool) -> None:
    """List the tensors of a checkpoint, of the files in a folder, and the code they ask for.

    Nothing in them is executed.
    """
    from landscape.files import folders

    report = folders.inspect(file)
    if as_json:
        screens.as_json(report)
    else:
        screens.words(report.words())
    if not report.safe:
        refused = f"{file} is refused: {report.reason}"
        raise OneLine(report.reason if file in report.reason else refused, 3)
