"""Moving figures of surfaces: one that turns, and trajectories that walk over contours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from . import film, levels, style, surface, surface_3d

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface

FRAMES = 36
DOTS = 110  # an inch


def turn(result: Surface) -> film.Film:
    """The surface in space, once round."""
    fig = surface_3d.draw(result)
    axes = fig.axes[0]

    def frames() -> Iterator[Figure]:
        for k in range(FRAMES):
            style.turn(axes, 32, -58 + 360 * k / FRAMES)
            yield fig

    return film.of(frames(), DOTS, 0.1, 0.1)


def walk(result: Surface) -> film.Film:
    """The trajectories walk over the contours, all of them at the same share of their points."""
    plane = levels.plane_of(result)
    found = levels.walks(plane)
    if not found:
        raise style.NothingToDraw(
            "this result has no trajectory that could walk; pass one to `landscape surface "
            "--trajectory`."
        )
    fig = surface.draw(plane)
    lines = [line for ax in fig.axes for line in ax.lines if np.asarray(line.get_xdata()).size > 1]
    ends = [line for ax in fig.axes for line in ax.lines if line.get_marker() == "o"]
    whole = [np.asarray(line.get_data()) for line in lines]

    def frames() -> Iterator[Figure]:
        for k in range(FRAMES):
            for line, (x, y) in zip(lines, whole, strict=True):
                last = max(1, round((k + 1) / FRAMES * len(x)))
                line.set_data(x[:last], y[:last])
            for line, end in zip(lines, ends, strict=False):
                end.set_data([np.asarray(line.get_xdata())[-1]], [np.asarray(line.get_ydata())[-1]])
            yield fig

    return film.of(frames(), DOTS, 0.08, 0.8)
