"""The values on a plane through a point: contours at levels that are closer where f is low, with what was walked on it."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import contours, style

LABELS = {
    "eigen": ("largest eigenvalue", "smallest eigenvalue"),
    "pca": ("first principal axis", "second principal axis"),
}


@style.styled
def draw(result: Any) -> Figure:
    """Contours of ``result.values``, the centre, and the trajectory where there is one; cells that are not finite are hatched."""
    steps, values = _grid(result)
    fig = Figure(figsize=(style.COLUMN, 3.0), layout="constrained")
    ax = fig.subplots()
    finite = np.isfinite(values)
    levels = contours.levels_of(values[finite]) if finite.any() else np.array([])
    if len(levels) > 1:
        shades = len(levels) + 1  # one between two levels, whatever their distance
        shown = np.ma.masked_array(values, ~finite)
        filled = ax.contourf(steps, steps, shown.T, levels=levels, extend="both", cmap=contours.PAPER.resampled(shades),
                             norm=BoundaryNorm(levels, shades, extend="both"))  # fmt: skip
        ax.contour(steps, steps, shown.T, levels=levels, colors=style.QUIET, linewidths=0.45, linestyles="solid")
        fig.colorbar(
            filled,
            ax=ax,
            label="f",
            ticks=levels[::3],
            format=FuncFormatter(lambda v, _: f"{v:.3g}".replace("-", "\u2212")),
            shrink=0.9,
        )
    if not finite.all():
        hole = np.ma.masked_array(np.ones_like(values), finite)
        ax.pcolor(steps, steps, hole.T, shading="nearest", cmap=ListedColormap(["white"]), hatch="////",
                  edgecolor=style.QUIET, linewidth=0, zorder=1)  # fmt: skip
    _walked(ax, result)
    ax.plot(0, 0, "+", color=style.NEGATIVE, markersize=7, markeredgewidth=1.4, zorder=6)
    ax.set_xlim(steps[0], steps[-1])
    ax.set_ylim(steps[0], steps[-1])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    ax.set_aspect("equal")
    across, up = LABELS.get(result.chosen, ("first direction", "second direction"))
    ax.set_xlabel(f"step along u, {across}")
    ax.set_ylabel(f"step along v, {up}")
    return fig


def _walked(ax: Axes, result: Any) -> None:
    if result.trajectory is not None:
        where = np.asarray(result.trajectory)
        ax.plot(where[:, 0], where[:, 1], ".-", color=style.INK, linewidth=0.9, markersize=3, zorder=5)


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    steps, values = _grid(result)
    lost = int((~np.isfinite(values)).sum())
    how = {"filter": "filter-normalised", "layer": "layer-normalised", "unit": "of unit length", None: "not normalised"}
    plane = {"random": "two random directions", "given": "two given directions", "eigen": "two eigenvectors",
             "pca": "two principal axes of a trajectory"}[result.chosen]  # fmt: skip
    text = (
        f"Values of {result.provenance.name} on the plane of {plane}, {how[result.normalize]}, on a grid of {len(steps)} by "
        f"{len(steps)} with steps to {steps[-1]:g}; contours are closer where f is low, the cross is the centre."
    )
    text += f" {lost} values that are not finite are hatched." if lost else ""
    if result.outside is not None:
        outside = np.asarray(result.outside)
        text += (
            f" Of the trajectory's distance from the centre a share of up to {outside.max():.2g} is outside the plane."
        )
    return text


def _grid(result: Any) -> tuple[Any, Any]:
    if getattr(result, "chosen", None) is None or getattr(result, "steps", None) is None:
        raise style.NothingToDraw("this result has no values on a plane; a surface has them.")
    return np.asarray(result.steps, dtype=float), np.asarray(result.values, dtype=float)
