"""`landscape figures list|render`: draw stored results."""

from pathlib import Path
from typing import Any

import click

from . import runs, screens
from .errors import OneLine
from .options import option


@click.group(short_help="Draw the figures of a stored result.")
def figures() -> None:
    """Draw the figures of a stored result."""


@figures.command("list")
def list_() -> None:
    """List the figures by name."""
    import landscape_figures

    screens.table(["name", "what it shows"], [(r.name, r.description) for r in landscape_figures.RECIPES.values()])


@figures.command()
@click.argument("name")
@click.option("--from", "run", required=True, metavar="RUN", help="The run folder that holds the result.")
@option("--out", metavar="DIR", help="Where the files go; default: RUN/figures.")
@option(
    "--format",
    "formats",
    type=click.Choice(["png", "svg", "pdf"]),
    multiple=True,
    default=["png"],
    show_default=True,
    help="May be repeated.",
)
def render(name: str, run: str, out: str | None, formats: tuple[str, ...]) -> None:
    """Draw NAME, or all, from a run; files of the same name are replaced, others left alone."""
    import landscape_figures

    recipes = landscape_figures.RECIPES
    if name != "all" and name not in recipes:
        raise OneLine(f"there is no figure {name!r}; there are {', '.join(recipes)}, and all.", 2)
    result = runs.load(run)
    folder = Path(out) if out else Path(run) / "figures"
    for recipe in recipes.values() if name == "all" else [recipes[name]]:
        try:
            written = draw(recipe, result, folder, formats)
        except landscape_figures.NothingToDraw as error:
            if name != "all":
                raise
            click.echo(f"Note: no {recipe.name}: {error}", err=True)
        else:
            click.echo("\n".join(map(str, written)))


def draw(recipe: Any, result: Any, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write one figure in every format."""
    import landscape_figures

    from landscape.results import atomic_write

    figure, alt = recipe.draw(result), recipe.caption(result)
    try:
        written = [
            landscape_figures.save(figure, folder / f"{recipe.name}.{f}", alt=alt, provenance=result.provenance)
            for f in formats
        ]
        if recipe.film is not None:
            written.append(folder / f"{recipe.name}.gif")
            with atomic_write(written[-1]) as file:
                file.write(recipe.film(result))
        return written
    except OSError as error:
        raise OneLine(f"the folder {folder} cannot be written: {error.strerror}.", 2) from None
