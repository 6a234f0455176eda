"""`landscape doctor`: what this machine can do."""

import click

from .. import screens
from ..help import Command
from ..options import json_option


@click.command(
    cls=Command,
    short_help="Is this machine ready? What is missing?",
    examples=("doctor", "doctor --json"),
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Report versions, devices and extras, and try second derivatives of real kernels.

    Exits with 4 if one of the kernels fails.
    """
    from landscape.results.words import Fact, Words

    from ..jobs import doctor as look

    found, kernels = look.machine(), look.kernels()
    if as_json:
        screens.as_json(found | {"kernels": kernels})
    else:
        facts = [Fact(name, _lines(value)) for name, value in found.items()]
        screens.words(Words("", [*facts, Fact("second derivatives", _lines(kernels))]))
    ctx.exit(0 if all(what.startswith("ok") for what in kernels.values()) else 4)


def _lines(value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(f"{name} {what}" for name, what in value.items())
    return (", ".join(value) if isinstance(value, list) else str(value),)
