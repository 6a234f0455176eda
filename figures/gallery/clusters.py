"""The disconnectivity tree of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from .. import disconnectivity

if TYPE_CHECKING:
    from landscape.gallery import Exhibit


def lennard_jones(exhibit: Exhibit) -> Figure:
    """Minima joined at their lowest passes."""
    return disconnectivity.draw(exhibit.data["census"])
