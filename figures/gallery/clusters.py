"""The disconnectivity tree of a cluster."""

from typing import Any

from matplotlib.figure import Figure

from .. import disconnectivity


def lennard_jones(exhibit: Any) -> Figure:
    """Minima joined at their lowest passes."""
    return disconnectivity.draw(exhibit.data["census"])
