"""`landscape doctor`: what this machine can do."""

import click

from . import screens
from .facts import Fact
from .options import json_option


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Tell versions, devices and extras, and try second derivatives of real kernels; exit with 4 if one fails."""
    from . import selftest

    found = selftest.machine()
    kernels = selftest.kernels()
    if as_json:
        screens.as_json(found | {"kernels": kernels})
    else:
        rows = [
            Fact(k, (", ".join(v) if isinstance(v, list) else str(v),))
            for k, v in found.items()
            if not isinstance(v, dict)
        ]
        rows += [
            Fact(k, tuple(f"{name} {what}" for name, what in v.items()))
            for k, v in found.items()
            if isinstance(v, dict)
        ]
        screens.facts([*rows, Fact("second derivatives", tuple(f"{name}: {what}" for name, what in kernels.items()))])
    ctx.exit(0 if all(what.startswith("ok") for what in kernels.values()) else 4)
