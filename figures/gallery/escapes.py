"""Studies of escape, sharpness and counts: drawn as those of a user's own run."""

from typing import Any

from matplotlib.figure import Figure

from .. import comparison, edge, minimum_chance


def octopus(exhibit: Any) -> Figure:
    """Times against dimension."""
    return comparison.draw(exhibit.data["study"])


def edge_of_stability(exhibit: Any) -> Figure:
    """Sharpness beside its limit, and the loss."""
    return edge.draw(exhibit.data["study"])


def minima_are_rare(exhibit: Any) -> Figure:
    """The chance of a minimum against dimension, measured beside theory."""
    return minimum_chance.draw(exhibit.data["counts"])
