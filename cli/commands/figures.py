"""`landscape figures list|render`: draw stored results, and the gallery."""

from typing import Unpack

import click

from .. import completion, given, screens
from ..help import Command, Option
from ..options import json_option

FORMATS = ("png", "svg", "pdf", "gif", "mp4", "html")


@click.group(short_help="Draw figures of results, or the gallery.")
def figures() -> None:
    """Draw the figures of a stored result, or the gallery of known figures computed again."""


@figures.command("list", short_help="The figures by name.")
@json_option
def list_(as_json: bool) -> None:
    """List the figures of results and the gallery by name."""
    import landscape_figures

    from landscape import gallery

    recipes = [(r.name, r.description) for r in landscape_figures.RECIPES.values()]
    exhibits = [(name, e.title, e.reproduces) for name, e in gallery.ENTRIES.items()]
    if as_json:
        shown = {name: {"shows": title, "after": source} for name, title, source in exhibits}
        results = {name: {"shows": text} for name, text in recipes}
        screens.as_json({"results": results, "gallery": shown})
        return
    screens.table(("of a result", "what it shows"), recipes)
    screens.table(("in the gallery", "what it shows", "after"), exhibits)


@figures.command(
    cls=Command,
    short_help="Draw a figure, or all of them.",
    examples=(
        "figures render spectrum --from runs/digits-mlp --format pdf",
        "figures render all --from runs/digits-mlp",
        "figures render kramers --out gallery",
    ),
)
@click.argument("name", shell_complete=completion.of(completion.FIGURES, completion.EXHIBITS))
@click.option(
    "--from",
    "run",
    metavar="RUN",
    help="The run folder that holds the result; without it, the gallery.",
)
@click.option(
    "--out",
    metavar="DIR",
    help="Where the files go; default: RUN/figures, for the gallery the folder gallery.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="May be repeated; default: png, and gif beside it for films. gif and mp4 for what can "
    "move, html for surfaces.",
)
@click.option(
    "--cache",
    metavar="DIR",
    help="Where computed exhibits are stored; default: the user's cache folder.",
)
@click.option("--afresh", is_flag=True, help="Compute stored exhibits again.")
@click.option(
    "--jobs",
    metavar="N",
    cls=Option,
    type=click.IntRange(1),
    help="Exhibits computed side by side; default: one a core, eight at most.",
)
@json_option
def render(name: str, **options: Unpack[given.Render]) -> None:
    """Draw NAME, or all, from a run or of the gallery.

    Files of the same name are replaced, others left alone. An exhibit of the gallery is computed
    when it is drawn first, which takes up to some minutes, and stored. The expected numbers are
    printed beside those computed here.
    """
    from ..jobs import figures as job  # here, because matplotlib and torch take seconds

    if options["run"] is not None:
        job.draw(name, options["run"], options["out"], options["formats"])
        return
    rows = job.render(name, options)
    if options["as_json"]:
        screens.as_json(rows)
        return
    numbers = [row for exhibit in rows for row in job.numbers(exhibit)]
    if numbers:
        screens.table(job.COLUMNS, numbers)
    screens.say("\n".join(path for exhibit in rows for path in exhibit["files"]))
