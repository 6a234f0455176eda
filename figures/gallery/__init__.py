"""Figures of the gallery: one recipe an exhibit, by the name of its entry in ``landscape.gallery``.

A recipe here reads an ``Exhibit`` as those beside it read a result. The PNG files in this folder
are what README and docs show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from landscape.results.numbers import uncertain

from .. import Recipe
from ..film import Film
from . import clusters, dynamics, escapes, matrices, networks, races, saddles, walks

if TYPE_CHECKING:
    from landscape.gallery import Exhibit
    from landscape.results import Estimate

DRAWN: dict[str, Callable[[Any], Figure]] = {
    "saddle": saddles.saddle,
    "saddle-race": races.saddle_race,
    "plateau-race": races.plateau_race,
    "monkey-saddle": saddles.monkey_saddle,
    "styblinski-tang": saddles.styblinski_tang,
    "coin-toss": matrices.coin_toss,
    "bray-dean": matrices.bray_dean,
    "p-spin": matrices.p_spin,
    "index-loss": networks.index_loss,
    "outliers": networks.outliers,
    "skip-connections": networks.skip_connections,
    "block-structure": networks.block_structure,
    "training-plane": networks.training_plane,
    "random-walk": walks.random_walk,
    "mode-connection": networks.mode_connection,
    "lennard-jones": clusters.lennard_jones,
    "saxe-plateaus": dynamics.saxe,
    "kramers": dynamics.kramers,
    "octopus": escapes.octopus,
    "edge-of-stability": escapes.edge_of_stability,
    "minima-are-rare": escapes.minima_are_rare,
    "schedules": dynamics.schedules,
}
FILMS: dict[str, Callable[[Any], Film]] = {
    "saddle-race": races.saddle_film,
    "plateau-race": races.plateau_film,
}


def caption(exhibit: Exhibit) -> str:
    """What the figure shows, with the expected numbers beside those found."""
    numbers = "; ".join(
        f"{m.what}: {number(m.expected)} expected, {estimate(m.found)} found"
        for m in exhibit.matches
    )
    told = f" {numbers}." if numbers else ""
    return f"{exhibit.title}, after {exhibit.reproduces}. Here: {exhibit.setting}.{told}"


def number(value: float) -> str:
    """Seven digits at most, none that say nothing."""
    return f"{value:.7g}".replace("-", "\u2212")


def estimate(found: Estimate) -> str:
    """No more digits than the error supports."""
    if not found.error:
        return number(found.value)
    return uncertain(found.value, found.error).replace("-", "\u2212")


RECIPES = {
    name: Recipe(
        name,
        draw.__doc__ or "",
        draw,
        caption,
        FILMS.get(name),
        stored=("png", "gif") if name in FILMS else ("png",),
    )
    for name, draw in DRAWN.items()
}
