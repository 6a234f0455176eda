"""`landscape figures list|render`: draw stored results, and the gallery."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from . import runs, screens
from .errors import OneLine
from .options import json_option, option


@click.group(short_help="Draw the figures of a stored result, or the gallery.")
def figures() -> None:
    """Draw the figures of a stored result, or the gallery of known figures computed again."""


@figures.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the figures of results and the gallery by name."""
    import landscape_figures

    from . import exhibits

    recipes = [(r.name, r.description) for r in landscape_figures.RECIPES.values()]
    if as_json:
        shown = {name: {"shows": title, "after": source} for name, title, source in exhibits.listed()}
        screens.as_json({"results": {name: {"shows": text} for name, text in recipes}, "gallery": shown})
        return
    screens.table(["of a result", "what it shows"], recipes)
    screens.table(["in the gallery", "what it shows", "after"], exhibits.listed())


@figures.command()
@click.argument("name")
@click.option("--from", "run", metavar="RUN", help="The run folder that holds the result; without it, the gallery.")
@option("--out", metavar="DIR", help="Where the files go; default: RUN/figures, of the gallery the folder gallery.")
@option(
    "--format",
    "formats",
    type=click.Choice(["png", "svg", "pdf", "gif", "mp4", "html"]),
    multiple=True,
    help="May be repeated; default: png, and gif beside it for films. gif and mp4 for what can move, html for surfaces.",
)
@option("--cache", metavar="DIR", help="Where computed exhibits are kept; default: the user's cache folder.")
@option("--afresh", is_flag=True, help="Compute exhibits again that are kept.")
@option("--jobs", type=click.IntRange(1), help="Exhibits computed side by side; default: one a core, eight at most.")
@json_option
def render(name: str, run: str | None, out: str | None, formats: tuple[str, ...], **options: Any) -> None:
    """Draw NAME, or all, from a run or of the gallery; files of the same name are replaced, others left alone.

    An exhibit of the gallery is computed when it is drawn first, which takes up to three minutes, and kept. It prints the published numbers
    beside those found.
    """
    import landscape_figures

    recipes = landscape_figures.RECIPES
    if run is None:
        from . import exhibits

        exhibits.render(name, Path(out or "gallery"), formats, **options)
        return
    if name != "all" and name not in recipes:
        raise OneLine(f"there is no figure {name!r}; there are {', '.join(recipes)}, and all.", 2)
    result = runs.load(run)
    folder = Path(out) if out else Path(run) / "figures"
    lacking = []
    for recipe in recipes.values() if name == "all" else [recipes[name]]:
        forms = [f for f in formats or recipe.stored if name != "all" or recipe.can(f)]
        if not forms:
            continue
        try:
            written = draw(recipe, result, folder, forms)
        except landscape_figures.NothingToDraw:
            if name != "all":
                raise
            lacking.append(recipe.name)
        else:
            click.echo("\n".join(map(str, written)))
    if lacking:
        kind = type(result).__name__
        click.echo(f"Note: this {kind} has not the numbers for the other figures: {', '.join(lacking)}.", err=True)


def draw(recipe: Any, result: Any, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write one figure in every format."""
    import landscape_figures

    alt = recipe.caption(result)
    try:
        return [
            landscape_figures.write(
                recipe, result, folder / f"{recipe.name}.{f}", alt=alt, provenance=result.provenance
            )
            for f in formats
        ]
    except OSError as error:
        raise OneLine(f"the folder {folder} cannot be written: {error.strerror}.", 2) from None
