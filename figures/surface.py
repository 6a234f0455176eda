"""The values on a plane through a point: contours closer where f is low, or evenly in log f, with
what was walked on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface


@style.styled
def draw(result: Surface) -> Figure:
    """Contours of the plane's values, the centre, and trajectories where there are some; cells that
    are not finite are hatched.
    """
    surface = levels.plane_of(result)
    steps, values = levels.arrays(surface)
    fig = Figure(figsize=(style.COLUMN, 3.0), layout="constrained")
    ax = fig.subplots()
    levels.filled(fig, ax, steps, values, "f")
    if _walked(ax, surface) > 1:
        fig.legend(loc="outside upper left", ncols=2, handlelength=1.6, columnspacing=1.2)
    ax.plot(0, 0, "+", color=style.INK, markersize=7, markeredgewidth=1.2, zorder=6)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    across, up = levels.LABELS.get(surface.chosen, ("first direction", "second direction"))
    ax.set_xlabel(f"step along u, {across}")
    ax.set_ylabel(f"step along v, {up}")
    return fig


def _walked(ax: Axes, surface: Surface) -> int:
    found = levels.walks(surface)
    for name, colour, walk in found:
        where = np.asarray(walk.where)
        ax.plot(
            where[:, 0],
            where[:, 1],
            ".-",
            color=colour,
            linewidth=0.9,
            markersize=3,
            zorder=5,
            label=style.label(name),
        )
        ax.plot(*where[-1], "o", color=colour, markersize=3.6, zorder=5)
    return len(found)


def caption(result: Surface) -> str:
    """What the figure shows, in words."""
    surface = levels.plane_of(result)
    spaced = (
        "evenly spaced in log f"
        if levels.logarithmic(levels.arrays(surface)[1])
        else "closer where f is low"
    )
    marks = " The dot is a trajectory's end." if levels.walks(surface) else ""
    return (
        f"{levels.words(surface)} Contours are {spaced}; the cross is the "
        f"centre.{marks}{levels.outside(surface)}"
    )
