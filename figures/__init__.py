"""Figures of stored results: one recipe a module, each ``draw(result) -> Figure`` and ``caption(result) -> str``.

A recipe reads numbers and never computes them: any figure can be drawn again from a run folder. ``RECIPES`` lists
them, ``save`` writes one to a file with its provenance.
"""

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import (
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
    svg,
    value_index,
    walks,
)
from .style import NothingToDraw, save, store

__all__ = ["RECIPES", "NothingToDraw", "Recipe", "save", "write"]


@dataclass(frozen=True)
class Recipe:
    """One kind of figure. ``draw`` and ``caption`` take a result and raise NothingToDraw where it lacks the numbers."""

    name: str
    description: str
    draw: Callable[[Any], Figure]
    caption: Callable[[Any], str]  # what the figure shows, in words: its alt text
    animate: Callable[[Any], film.Film] | None = None  # for a GIF or an MP4
    page: Callable[[Any, str], str] | None = None  # a self-contained HTML page, of the result and its caption
    stored: tuple[str, ...] = ("png",)  # the forms that a run folder gets

    def can(self, form: str) -> bool:
        """Whether there is this form of it."""
        if form in film.FORMS:
            return self.animate is not None
        return form != "html" or self.page is not None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "spectrum",
            "both ends of the spectrum, with solver bounds and sampling errors",
            spectrum.draw,
            spectrum.caption,
        ),
        Recipe("density", "the whole spectrum as shares on a log scale, with errors", density.draw, density.caption),
        Recipe(
            "slices", "the loss measured along eigenvectors, over the parabola predicted", slices.draw, slices.caption
        ),
        Recipe("layers", "gradient and curvature of each layer's own parameters", layers.draw, layers.caption),
        Recipe("contours", "the stationary points of a census on the values of f", contours.draw, contours.caption),
        Recipe("value_index", "value against index of the stationary points", value_index.draw, value_index.caption),
        Recipe("hits", "how often each stationary point was found, by rank", hits.draw, hits.caption),
        Recipe(
            "disconnectivity",
            "minima joined at their lowest passes, as a tree",
            disconnectivity.draw,
            disconnectivity.caption,
        ),
        Recipe("index_loss", "index against loss of a network's points", index_loss.draw, index_loss.caption),
        Recipe("path_profile", "f along a minimum-energy path", path_profile.draw, path_profile.caption),
        Recipe(
            "saddle_share", "share of saddles against the number of directions", saddle_share.draw, saddle_share.caption
        ),
        Recipe(
            "minimum_chance",
            "chance of a minimum against the number of directions, log scale",
            minimum_chance.draw,
            minimum_chance.caption,
        ),
        Recipe("index_counts", "mean numbers of points by index", index_counts.draw, index_counts.caption),
        Recipe("index_energy", "index against energy, beside Bray and Dean", index_energy.draw, index_energy.caption),
        Recipe("index_width", "index against loss of networks by width", index_width.draw, index_width.caption),
        Recipe("complexity", "complexity of a p-spin glass by energy", complexity.draw, complexity.caption),
        Recipe("run_loss", "the loss along a traced run, its phases shaded", run_loss.draw, run_loss.caption),
        Recipe(
            "run_curvature",
            "both ends of the spectrum along a traced run, with the edge of stability",
            run_curvature.draw,
            run_curvature.caption,
        ),
        Recipe("run_layers", "each layer's health along a traced run", run_layers.draw, run_layers.caption),
        Recipe("probes", "what remedies did, against the unchanged run", probes.draw, probes.caption),
        Recipe("surface", "the values on a plane through a point", surface.draw, surface.caption, motion.walk),
        Recipe(
            "surface_3d",
            "the same as a surface in space",
            surface_3d.draw,
            surface_3d.caption,
            motion.turn,
            interactive.page,
        ),
        Recipe("metrics", "other metrics on the plane, accuracy say", metrics.draw, metrics.caption),
        Recipe("walks", "trajectories: their own values beside the plane's", walks.draw, walks.caption),
        Recipe("line", "the values along a line or curve", line.draw, line.caption),
        Recipe("connection", "f along a curve between two networks", connection.draw, connection.caption),
        Recipe(
            "escape_times", "escape times by optimiser, censored runs apart", escape_times.draw, escape_times.caption
        ),
        Recipe("escape_sweep", "median escape times against a setting", escape_sweep.draw, escape_sweep.caption),
        Recipe("escape_paths", "paths of optimisers on contours", escape_paths.draw, escape_paths.caption),
        Recipe("escape_space", "paths of optimisers on the surface in space", escape_space.draw, escape_space.caption),
        Recipe(
            "escape_film",
            "all optimisers leaving one point, also as a film",
            escape_film.draw,
            escape_film.caption,
            escape_film.film,
            stored=("png", "gif"),
        ),
        Recipe("schedule", "learning rates of schedules", schedule.draw, schedule.caption),
        Recipe("edge", "sharpness beside the stability limit", edge.draw, edge.caption),
        Recipe("comparison", "measured against predicted in a study", comparison.draw, comparison.caption),
    )
}


def write(recipe: Recipe, result: Any, path: Path, *, alt: str, provenance: Any, dpi: int = 300) -> Path:
    """Draw a result and write it to ``path`` by its suffix, .png (of ``dpi`` dots an inch), .svg, .pdf, .gif, .mp4 or .html.

    Raises:
        NothingToDraw: the result lacks the numbers, or there is no such form of this figure.
        OSError: the folder cannot be written.
    """
    form = path.suffix.removeprefix(".").lower()
    if form in film.FORMS:
        if recipe.animate is None:
            raise NothingToDraw(f"there is no animation of {recipe.name}; there are of {_with('animate')}.")
        return store(path, film.FORMS[form](recipe.animate(result)))
    if form == "html":
        if recipe.page is None:
            raise NothingToDraw(f"there is no interactive page of {recipe.name}; there are of {_with('page')}.")
        return store(path, recipe.page(result, alt).encode())
    return save(recipe.draw(result), path, alt=alt, provenance=provenance, dpi=dpi)


def plot(result: Any) -> Figure:
    """The main figure of a result: of all recipes the first that can draw it.

    Raises:
        NothingToDraw: there is none.
    """
    return _main(result)[1]


def inline(result: Any) -> str:
    """The main figure as SVG for a notebook, with its caption; nothing where there is none."""
    try:
        recipe, _ = _main(result)
    except NothingToDraw:
        return ""
    alt = html.escape(recipe.caption(result))
    return f"<figure>{svg.plain(recipe, result)}<figcaption>{alt}</figcaption></figure>"


def _main(result: Any) -> tuple[Recipe, Figure]:
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
