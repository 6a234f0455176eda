"""`landscape zoo`: the built-in models."""

import click

from . import screens
from .options import json_option


@click.command()
@json_option
def zoo(as_json: bool) -> None:
    """List the built-in models by name."""
    from landscape import zoo as rooms

    rows = [(name, rooms.describe(name)) for name in rooms.names()]
    if as_json:
        screens.as_json(dict(rows))
    else:
        screens.table(["name", "what it is"], rows)
