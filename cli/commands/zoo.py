"""`landscape zoo`: the built-in models and formulas."""

import click

from .. import screens
from ..help import Command
from ..options import json_option

HEADS = {
    "model": "what it is",
    "formula": "what it is",
    "stuck run": "its cause",
    "family": "what it is",
}


@click.command(
    cls=Command,
    short_help="The built-in models, formulas and runs.",
    examples=("zoo", "zoo --json"),
)
@json_option
def zoo(as_json: bool) -> None:
    """List what is built in by name: models, formulas, stuck runs for `landscape diagnose`, and
    families of random landscapes for `landscape saddles count`.
    """
    found = _rooms()
    if as_json:
        screens.as_json(found)
        return
    for (room, what), names in zip(HEADS.items(), found.values(), strict=True):
        screens.table((room, what), list(names.items()))


def _rooms() -> dict[str, dict[str, str]]:
    """Of each kind the names with a line about each."""
    from landscape import zoo as built_in
    from landscape.inventory import families
    from landscape.zoo import stuck

    told = {name: built_in.describe(name) for name in built_in.names()}
    told_families = {"isotropic-waves": "isotropic random waves on a torus"} | told
    return {
        "models": {k: text for k, text in told.items() if not built_in.is_formula(k)},
        "formulas": {k: text for k, text in told.items() if built_in.is_formula(k)},
        "stuck runs": {name: stuck.get(name).cause for name in stuck.names()},
        "families": {name: told_families[name] for name in families.names()},
    }
