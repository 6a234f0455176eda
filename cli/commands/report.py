"""`landscape report RUN`: a stored result as one self-contained page."""

from pathlib import Path

import click

from .. import runs, screens
from ..errors import OneLine
from ..help import Command
from ..options import option


@click.command(
    cls=Command,
    short_help="Make one HTML page of a result.",
    examples=("report runs/digits-mlp", "report runs/digits-mlp --out page.html"),
)
@click.argument("run")
@option("--out", metavar="FILE", help="Where the page goes; default: RUN/report.html.")
def report(run: str, out: str | None) -> None:
    """Write the result in the folder RUN as one HTML page that needs no other file or network."""
    from landscape.results import atomic_write

    from .. import page

    with runs.shown(run) as result:
        html = page.build(result).encode()
    try:
        if out is None:
            with runs.adding(Path(run)) as folder:
                (folder / "report.html").write_bytes(html)
        else:
            with atomic_write(out) as file:
                file.write(html)
    except OSError as error:
        raise OneLine(f"{out} cannot be written: {error.strerror}.", 2) from None
    screens.say(out or Path(run) / "report.html")
