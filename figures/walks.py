"""Trajectories on a plane: each point's own value beside the plane's below it, and how far off the
plane it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface
    from landscape.surfaces.walks import Walk


@style.styled
def draw(result: Surface) -> Figure:
    """Own value and the plane's, over the points of each trajectory; below, the share of the
    distance outside the plane.
    """
    found = _walks(result)
    fig = Figure(figsize=(style.COLUMN, 3.2), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    every = []
    for name, colour, walk in found:
        own, below, outside = (
            np.asarray(v, dtype=float) for v in (walk.values, walk.below, walk.outside)
        )
        top.plot(
            own,
            "o-",
            color=colour,
            markersize=2.4,
            linewidth=1,
            label=style.label(f"{name}, its own"),
        )
        top.plot(
            below,
            color=colour,
            linestyle=(0, (3, 2)),
            linewidth=0.9,
            label=style.label(f"{name}, the plane's"),
        )
        bottom.plot(outside, color=colour, linewidth=1)
        every += [own, below]
    if levels.logarithmic(np.concatenate(every)):
        top.set_yscale("log")
    top.set_ylabel("f")
    bottom.set(ylabel="share outside", xlabel="point of the trajectory", ylim=(-0.04, 1.04))
    bottom.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    fig.legend(
        *top.get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.2
    )
    return fig


def caption(result: Surface) -> str:
    """What the figure shows, in words."""
    count = len(_walks(result))
    return (
        f"{count} trajectories on a plane of {result.provenance.name}: f at each point and at its "
        f"place on the plane, and the share "
        f"of its distance from the centre that is outside the "
        f"plane.{levels.outside(levels.plane_of(result))}"
    )


def _walks(result: Surface) -> list[tuple[str, str, Walk]]:
    surface = getattr(result, "plane", None) or result
    if not getattr(surface, "walks", None) or np.asarray(surface.values).ndim != 2:
        raise style.NothingToDraw(
            "this result has no trajectory on a plane; pass one to `landscape surface "
            "--trajectory`."
        )
    return levels.walks(surface)
