"""Figures of stored results: one recipe a module, each ``draw(result) -> Figure`` and
``caption(result) -> str``.

A recipe reads numbers and never computes them: any figure can be drawn again from a run folder.
``RECIPES`` lists them, ``save`` writes one to a file with its provenance.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from landscape.specs import closest

from . import (
    basins,
    blocks,
    comparison,
    complexity,
    connection,
    contours,
    density,
    disconnectivity,
    edge,
    escape_film,
    escape_paths,
    escape_space,
    escape_sweep,
    escape_times,
    film,
    hits,
    index_counts,
    index_energy,
    index_loss,
    index_width,
    interactive,
    layers,
    line,
    metrics,
    minimum_chance,
    motion,
    path_profile,
    probes,
    run_curvature,
    run_layers,
    run_loss,
    saddle_share,
    schedule,
    slices,
    spectrum,
    surface,
    surface_3d,
    survival,
    svg,
    value_index,
    walks,
)
from .style import NothingToDraw, save, store

if TYPE_CHECKING:
    from landscape.results import Provenance, Result

__all__ = ["RECIPES", "NothingToDraw", "Recipe", "draw", "plot", "save", "write"]


@dataclass(frozen=True)
class Recipe:
    """One kind of figure.

    ``draw`` and ``caption`` take any result, and raise NothingToDraw where it lacks the numbers.
    """

    name: str
    description: str
    draw: Callable[[Any], Figure]
    caption: Callable[[Any], str]  # what the figure shows, in words: its alt text
    animate: Callable[[Any], film.Film] | None = None  # for a GIF or an MP4
    page: Callable[[Any, str], str] | None = None  # an HTML page of the result and its caption
    stored: tuple[str, ...] = ("png",)  # the forms that a run folder gets

    @classmethod
    def of(
        cls,
        module: ModuleType,
        description: str,
        animate: Callable[..., film.Film] | None = None,
        page: Callable[..., str] | None = None,
        stored: tuple[str, ...] = ("png",),
    ) -> Recipe:
        """The recipe of a module with ``draw`` and ``caption``, called as the module is."""
        name = module.__name__.rpartition(".")[2]
        return cls(name, description, module.draw, module.caption, animate, page, stored)

    def can(self, form: str) -> bool:
        """Whether there is this form of it."""
        if form in film.FORMS:
            return self.animate is not None
        return form != "html" or self.page is not None


_ALL = (
    Recipe.of(spectrum, "both ends of the spectrum, with solver bounds and sampling errors"),
    Recipe.of(density, "the whole spectrum as shares on a log scale, with errors"),
    Recipe.of(slices, "the loss measured along eigenvectors, over the parabola predicted"),
    Recipe.of(layers, "gradient and curvature of each layer's own parameters"),
    Recipe.of(blocks, "the sizes of the Hessian's entries, layer by layer"),
    Recipe.of(survival, "what a change of the weights does, predicted beside measured"),
    Recipe.of(contours, "the stationary points of a census on the values of f"),
    Recipe.of(value_index, "value against index of the stationary points"),
    Recipe.of(hits, "how often each stationary point was found, by rank"),
    Recipe.of(disconnectivity, "minima joined at their lowest passes, as a tree"),
    Recipe.of(index_loss, "index against loss of a network's points"),
    Recipe.of(path_profile, "f along a minimum-energy path"),
    Recipe.of(saddle_share, "share of saddles against the number of directions"),
    Recipe.of(minimum_chance, "chance of a minimum against the number of directions, log scale"),
    Recipe.of(index_counts, "mean numbers of points by index"),
    Recipe.of(index_energy, "index against energy, beside Bray and Dean"),
    Recipe.of(index_width, "index against loss of networks by width"),
    Recipe.of(complexity, "complexity of a p-spin glass by energy"),
    Recipe.of(run_loss, "the loss along a traced run, its phases shaded"),
    Recipe.of(
        run_curvature, "both ends of the spectrum along a traced run, with the edge of stability"
    ),
    Recipe.of(run_layers, "each layer's health along a traced run"),
    Recipe.of(probes, "what remedies did, against the unchanged run"),
    Recipe.of(surface, "the values on a plane through a point", motion.walk),
    Recipe.of(surface_3d, "the same as a surface in space", motion.turn, interactive.page),
    Recipe.of(metrics, "other metrics on the plane, accuracy say"),
    Recipe.of(walks, "trajectories: their own values beside the plane's"),
    Recipe.of(line, "the values along a line or curve"),
    Recipe.of(basins, "the loss between checkpoints, before and after matching their units"),
    Recipe.of(connection, "f along a curve between two networks"),
    Recipe.of(escape_times, "escape times by optimiser, censored runs apart"),
    Recipe.of(escape_sweep, "median escape times against a setting"),
    Recipe.of(escape_paths, "paths of optimisers on contours"),
    Recipe.of(escape_space, "paths of optimisers on the surface in space"),
    Recipe.of(
        escape_film,
        "all optimisers leaving one point, also as a film",
        escape_film.film,
        stored=("png", "gif"),
    ),
    Recipe.of(schedule, "learning rates of schedules"),
    Recipe.of(edge, "sharpness beside the stability limit"),
    Recipe.of(comparison, "measured against predicted in a study"),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}


def write(
    recipe: Recipe,
    result: Result,
    path: Path,
    *,
    alt: str,
    provenance: Provenance,
    dpi: int = 300,
) -> Path:
    """Draw a result and write it to ``path`` by its suffix.

    Suffixes are .png (of ``dpi`` dots an inch), .svg, .pdf, .gif, .mp4 and .html.

    Raises:
        NothingToDraw: the result lacks the numbers, or there is no such form of this figure.
        OSError: the folder cannot be written.
    """
    form = path.suffix.removeprefix(".").lower()
    if form in film.FORMS:
        if recipe.animate is None:
            names = _with("animate")
            raise NothingToDraw(f"{recipe.name} has no animation; these figures have: {names}.")
        return store(path, film.FORMS[form](recipe.animate(result)))
    if form == "html":
        if recipe.page is None:
            names = _with("page")
            raise NothingToDraw(
                f"{recipe.name} has no interactive page; these figures have: {names}."
            )
        return store(path, recipe.page(result, alt).encode())
    return save(recipe.draw(result), path, alt=alt, provenance=provenance, dpi=dpi)


def draw(name: str, result: Result) -> Figure:
    """The figure of this name of a result, as ``landscape figures render`` draws it.

    Raises:
        ValueError: no figure is called so.
        NothingToDraw: the result lacks the numbers.
    """
    if name not in RECIPES:
        raise ValueError(
            f"no figure is called {name!r}.{closest(name, RECIPES)} There are {', '.join(RECIPES)}."
        )
    return RECIPES[name].draw(result)


def plot(result: Result) -> Figure:
    """The main figure of a result: of all recipes the first that can draw it.

    Raises:
        NothingToDraw: there is none.
    """
    return _main(result)[1]


def inline(result: Result) -> str:
    """The main figure as SVG for a notebook, with its caption; nothing where there is none."""
    try:
        recipe, figure = _main(result)
    except NothingToDraw:
        return ""
    alt = html.escape(recipe.caption(result))
    return f"<figure>{svg.plain(recipe, result, figure)}<figcaption>{alt}</figcaption></figure>"


def _main(result: Result) -> tuple[Recipe, Figure]:
    from .gallery import RECIPES as EXHIBITS

    exhibit = EXHIBITS.get(result.name) if hasattr(result, "matches") else None
    for recipe in RECIPES.values() if exhibit is None else [exhibit]:
        try:
            return recipe, recipe.draw(result)
        except NothingToDraw:
            continue
    raise NothingToDraw(f"there is no figure of a {type(result).__name__}.")


def _with(form: str) -> str:
    return ", ".join(name for name, recipe in RECIPES.items() if getattr(recipe, form) is not None)
