"""How optimisers leave a point: recorded paths on the values of f around it, and as an animation."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import contours, optimisers, style


@style.styled
def draw(result: Any) -> Figure:
    """Contours, the point left as a cross, and each optimiser's recorded runs up to their ends."""
    fig, ax = canvas(result)
    plane, results = planar(result)
    for k, (label, runs) in enumerate(results.items()):
        drawn = optimisers.look(k)
        for path, end in zip(across(plane, runs.paths), last(runs), strict=True):
            shown = path[: end + 1]
            ax.plot(shown[:, 0], shown[:, 1], color=drawn["color"], linewidth=0.9, alpha=0.85, zorder=4)
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


def canvas(result: Any) -> tuple[Figure, Axes]:
    """Contours of f on the plane with the point left."""
    plane, results = planar(result)
    fig = Figure(figsize=(style.COLUMN * 1.1, 3.1 + 0.11 * len(results)), layout="constrained")
    ax = fig.subplots()
    ground(ax, *(np.asarray(v, dtype=float) for v in (plane.xs, plane.ys, plane.values)))
    ax.plot(0, 0, "+", color=style.INK, markersize=8, markeredgewidth=1.2, zorder=6)
    ax.set_xlabel(name(plane, 0))
    ax.set_ylabel(name(plane, 1))
    return fig, ax


def ground(ax: Axes, xs: Any, ys: Any, values: Any, levels: Any = None) -> None:
    """Contours of values (r, s), at ``levels`` or closer where they are low, on the axes, which they fill."""
    finite = np.isfinite(values)
    steps = levels
    if levels is None:
        steps = contours.levels_of(values[finite]) if finite.any() else np.array([])
    if len(steps) > 1:
        shades = len(steps) + 1
        shown = np.ma.masked_array(values, ~finite)
        ax.contourf(xs, ys, shown.T, levels=steps, extend="both", cmap=contours.PAPER.resampled(shades),
                    norm=BoundaryNorm(steps, shades, extend="both"))  # fmt: skip
        ax.contour(xs, ys, shown.T, levels=steps, colors=style.QUIET, linewidths=0.4, linestyles="solid")
    ax.set_xlim(xs[0], xs[-1])
    ax.set_ylim(ys[0], ys[-1])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def name(plane: Any, k: int) -> str:
    """What an axis is."""
    return f"$x_{k + 1}$ from the point" if plane.axes else ("first", "second")[k] + " direction of the paths"


def planar(result: Any) -> tuple[Any, Any]:
    """The plane of a study and the results with paths."""
    plane = getattr(result, "plane", None)
    results = {
        k: r for k, r in (getattr(result, "results", None) or {}).items() if getattr(r, "paths", None) is not None
    }
    if plane is None or not results:
        raise style.NothingToDraw("this result has no recorded paths; pass --record to `landscape escape`.")
    return plane, results


def across(plane: Any, paths: Any) -> Any:
    """Where the paths are on the plane, (k, T, 2)."""
    return (np.asarray(paths.points, dtype=float) - np.asarray(plane.origin)) @ np.asarray(plane.directions)


def last(runs: Any) -> Any:
    """The position among the recorded moments at which each recorded run was over, (k,)."""
    steps = np.asarray(runs.paths.steps)
    ended = np.asarray(runs.ended)[: len(np.asarray(runs.paths.points))]
    return np.minimum(np.searchsorted(steps, ended), len(steps) - 1)


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    plane, results = planar(result)
    counts = ", ".join(f"{len(r.paths.points)} runs of {label}" for label, r in results.items())
    off = "" if plane.axes else f" Up to {100 * plane.outside:.2g} % of a point's distance is outside of this plane."
    return (
        f"Paths away from a stationary point of {result.provenance.name}, the cross, over contours of f; {counts}.{off}"
    )
