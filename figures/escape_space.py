"""Recorded paths away from a point on the surface of f in space, each point at its own value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import escape_paths, levels, optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.escape import Study


@style.styled
def draw(result: Study) -> Figure:
    """The surface as a quiet sheet, paths above it."""
    plane, results = escape_paths.planar(result)
    xs, ys, values = (np.asarray(v, dtype=float) for v in (plane.xs, plane.ys, plane.values))
    height = np.where(np.isfinite(values), values, np.nan)
    fig = Figure(figsize=(style.COLUMN * 1.15, 3.3))
    ax = style.axes_in_space(fig, (0.0, 0.02, 0.93, 0.9))
    X, Y = np.meshgrid(xs, ys, indexing="ij")
    ax.plot_surface(
        X,
        Y,
        height,
        cmap=levels.DEEP,
        rstride=2,
        cstride=2,
        linewidth=0.15,
        edgecolor="#ffffff40",
        alpha=0.92,
        antialiased=True,
        zorder=1,
    )
    lift = 0.012 * (np.nanmax(height) - np.nanmin(height))
    for k, (label, (runs, paths)) in enumerate(results.items()):
        drawn = optimisers.look(k)
        own = np.asarray(paths.values, dtype=float)
        ends = escape_paths.last(runs, paths)
        for path, f, end in zip(escape_paths.across(plane, paths), own, ends, strict=True):
            ax.plot(
                path[: end + 1, 0],
                path[: end + 1, 1],
                f[: end + 1] + lift,
                color="white",
                linewidth=1.9,
                zorder=4,
            )
            ax.plot(
                path[: end + 1, 0],
                path[: end + 1, 1],
                f[: end + 1] + lift,
                color=drawn["color"],
                linewidth=1.1,
                zorder=5,
            )
            ax.plot(
                *path[end],
                f[end] + lift,
                markersize=3.4,
                markeredgecolor="white",
                markeredgewidth=0.4,
                zorder=6,
                **drawn,
            )
        ax.plot([], [], [], linewidth=1.1, markersize=3.4, label=optimisers.short(label), **drawn)
    fig.legend(loc="upper left", ncols=2, handletextpad=0.5, columnspacing=1.2)
    style.space(ax)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel(escape_paths.name(plane, 0).removesuffix(" of the paths"), labelpad=-5)
    ax.set_ylabel(escape_paths.name(plane, 1).removesuffix(" of the paths"), labelpad=-5)
    ax.set_zlabel("f", labelpad=-3)
    return fig


def caption(result: Study) -> str:
    """What the figure shows, in words."""
    return escape_paths.caption(result).replace(
        "over contours of f", "on the surface of f, each point at its own value"
    )
