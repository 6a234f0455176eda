"""`landscape zoo`: the built-in models and formulas."""

import click

from .. import screens
from ..help import Command
from ..options import json_option


@click.command(
    cls=Command,
    short_help="The built-in models, formulas and runs.",
    examples=("zoo", "zoo --json"),
)
@json_option
def zoo(as_json: bool) -> None:
    """List the built-in models and formulas by name."""
    from landscape import zoo as rooms

    kinds = {name: "formula" if rooms.is_formula(name) else "model" for name in rooms.names()}
    if as_json:
        told = {name: {"kind": kind, "text": rooms.describe(name)} for name, kind in kinds.items()}
        screens.as_json(told)
        return
    for kind in ("model", "formula"):
        rows = [(name, rooms.describe(name)) for name in kinds if kinds[name] == kind]
        screens.table((kind, "what it is"), rows)
