"""Studies of escape, sharpness and counts: drawn as those of a user's own run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from .. import comparison, edge, minimum_chance

if TYPE_CHECKING:
    from landscape.gallery import Exhibit


def octopus(exhibit: Exhibit) -> Figure:
    """Times against dimension."""
    return comparison.draw(exhibit.data["study"])


def edge_of_stability(exhibit: Exhibit) -> Figure:
    """Sharpness beside its limit, and the loss."""
    return edge.draw(exhibit.data["study"])


def minima_are_rare(exhibit: Exhibit) -> Figure:
    """The chance of a minimum against dimension, measured beside theory."""
    return minimum_chance.draw(exhibit.data["counts"])
