"""How optimisers leave a point: recorded paths on the values of f around it, and as an
animation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import contours, optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.escape import Escapes, Study
    from landscape.optimizers.recording import Paths, Plane

    from .style import Array


@style.styled
def draw(result: Study) -> Figure:
    """Contours, the point left as a cross, and each optimiser's recorded runs up to their ends."""
    fig, ax = canvas(result)
    plane, results = planar(result)
    for k, (label, (runs, paths)) in enumerate(results.items()):
        drawn = optimisers.look(k)
        for path, end in zip(across(plane, paths), last(runs, paths), strict=True):
            shown = path[: end + 1]
            ax.plot(
                shown[:, 0], shown[:, 1], color=drawn["color"], linewidth=0.9, alpha=0.85, zorder=4
            )
            ax.plot(
                *shown[-1],
                markersize=3.4,
                linestyle="none",
                markeredgecolor="white",
                markeredgewidth=0.4,
                zorder=5,
                **drawn,
            )
        ax.plot([], [], linewidth=1.1, markersize=3.4, label=optimisers.short(label), **drawn)
    optimisers.key(fig, ax, 1 if len(results) < 3 else 2)
    return fig


def canvas(result: Study) -> tuple[Figure, Axes]:
    """Contours of f on the plane with the point left."""
    plane, results = planar(result)
    fig = Figure(figsize=(style.COLUMN * 1.1, 3.1 + 0.11 * len(results)), layout="constrained")
    ax = fig.subplots()
    ground(ax, *(np.asarray(v, dtype=float) for v in (plane.xs, plane.ys, plane.values)))
    ax.plot(0, 0, "+", color=style.INK, markersize=8, markeredgewidth=1.2, zorder=6)
    ax.set_xlabel(name(plane, 0))
    ax.set_ylabel(name(plane, 1))
    return fig, ax


def ground(ax: Axes, xs: Array, ys: Array, values: Array, levels: Array | None = None) -> None:
    """Contours of values (r, s), at ``levels`` or closer where they are low, on the axes, which
    they fill.
    """
    finite = np.isfinite(values)
    steps = np.array([]) if levels is None else levels
    if levels is None:
        steps = contours.levels_of(values[finite]) if finite.any() else np.array([])
    if len(steps) > 1:
        shades = len(steps) + 1
        shown = np.ma.masked_array(values, ~finite)
        ax.contourf(
            xs,
            ys,
            shown.T,
            levels=steps,
            extend="both",
            cmap=contours.PAPER.resampled(shades),
            norm=BoundaryNorm(steps, shades, extend="both"),
        )
        ax.contour(
            xs, ys, shown.T, levels=steps, colors=style.QUIET, linewidths=0.4, linestyles="solid"
        )
    ax.set_xlim(xs[0], xs[-1])
    ax.set_ylim(ys[0], ys[-1])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def name(plane: Plane, k: int) -> str:
    """What an axis is."""
    return (
        f"$x_{k + 1}$ from the point"
        if plane.axes
        else ("first", "second")[k] + " direction of the paths"
    )


def planar(result: Study) -> tuple[Plane, dict[str, tuple[Escapes, Paths]]]:
    """The plane of a study, and each optimiser's runs with their paths."""
    why = "recorded paths; pass --record to `landscape escape`."
    plane: Plane = style.need(result, "plane", "origin", why=why)
    results: dict[str, Escapes] = style.need(result, "results", "escaped", why=why)
    shown = {k: (r, r.paths) for k, r in results.items() if r.paths is not None}
    if not shown:
        raise style.NothingToDraw(f"this result has no {why}")
    return plane, shown


def across(plane: Plane, paths: Paths) -> Array:
    """Where the paths are on the plane, (k, T, 2)."""
    away: Array = np.asarray(paths.points, dtype=float) - np.asarray(plane.origin)
    places: Array = away @ np.asarray(plane.directions)
    return places


def last(runs: Escapes, paths: Paths) -> Array:
    """The position among the recorded moments at which each recorded run was over, (k,)."""
    steps = np.asarray(paths.steps)
    ended = np.asarray(runs.ended)[: len(np.asarray(paths.points))]
    places: Array = np.minimum(np.searchsorted(steps, ended), len(steps) - 1)
    return places


def caption(result: Study) -> str:
    """What the figure shows, in words."""
    plane, results = planar(result)
    counts = ", ".join(
        f"{len(paths.points)} runs of {label}" for label, (_, paths) in results.items()
    )
    off = (
        ""
        if plane.axes
        else f" Up to {100 * plane.outside:.2g} % of a point's distance is outside of this plane."
    )
    return (
        f"Paths away from a stationary point of {result.provenance.name}, the cross, over contours "
        f"of f; {counts}.{off}"
    )
