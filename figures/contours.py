"""The stationary points of a census on the values of f: contours over the plane, a curve over the
line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.inventory.census import Census
    from landscape.landscapes.grid import Grid

    from .style import Array

LEVELS = 14
PAPER = LinearSegmentedColormap.from_list("paper", style.PAPER)  # low values are dark


@style.styled
def draw(result: Census) -> Figure:
    """The points of ``result`` by their kinds over ``result.picture``; cells that are not finite
    are hatched.
    """
    picture = _picture(result)
    plane = np.asarray(picture.values).ndim == 2
    fig = Figure(figsize=(style.COLUMN, 3.5 if plane else 2.6), layout="constrained")
    ax = fig.subplots()
    (_plane if plane else _line)(ax, picture)
    for name, where in style.kinds(result.points).items():
        marker, colour, size = style.KINDS[name]
        x = np.array([np.asarray(result.points[i].x) for i in where])
        height = x[:, 1] if plane else np.array([result.points[i].value for i in where])
        ax.plot(
            x[:, 0],
            height,
            marker,
            color=colour,
            markersize=5.2 * size,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=_plural(name, len(where)),
            zorder=5,
        )
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.set_xlabel("$x_1$" if plane else "$x$")
    ax.set_ylabel("$x_2$" if plane else "f")
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=min(len(labels), 4),
        handletextpad=0.2,
        columnspacing=1,
    )
    return fig


def _plane(ax: Axes, picture: Grid) -> None:
    xs, ys, values = (np.asarray(v, dtype=float) for v in (picture.xs, picture.ys, picture.values))
    shade(ax, xs, ys, values, levels_of(values[np.isfinite(values)]))
    if 0.4 < (xs[-1] - xs[0]) / (ys[-1] - ys[0]) < 2.5:
        ax.set_aspect("equal")


def shade(ax: Axes, xs: Array, ys: Array, values: Array, levels: Array) -> QuadContourSet | None:
    """Contours of values (len(xs), len(ys)), filled between the levels (l,), of which one alone
    draws none; cells that are not finite are hatched.
    """
    finite, drawn = np.isfinite(values), None
    if len(levels) > 1:
        shades = len(levels) + 1  # one between two levels, whatever their distance
        shown = np.ma.masked_array(values, ~finite)
        drawn = ax.contourf(
            xs,
            ys,
            shown.T,
            levels=levels,
            extend="both",
            cmap=PAPER.resampled(shades),
            norm=BoundaryNorm(levels, shades, extend="both"),
        )
        ax.contour(
            xs,
            ys,
            shown.T,
            levels=levels,
            colors=style.QUIET,
            linewidths=0.45,
            linestyles="solid",
        )
    if not finite.all():
        hole = np.ma.masked_array(np.ones_like(values), finite)
        ax.pcolor(
            xs,
            ys,
            hole.T,
            shading="nearest",
            cmap=ListedColormap(["white"]),
            hatch="////",
            edgecolor=style.QUIET,
            linewidth=0,
            zorder=1,
        )
    ax.set_xlim(xs[0], xs[-1])
    ax.set_ylim(ys[0], ys[-1])
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    return drawn


def levels_of(values: Array) -> Array:
    """Contour levels at quantiles of the finite values, closer where f is low: equal steps would
    all lie in the steep corners.
    """
    if not values.size:
        return values
    shares = np.linspace(0, 1, LEVELS + 2)[1:-1] ** 1.7
    return np.unique(np.quantile(values, shares))


def _line(ax: Axes, picture: Grid) -> None:
    xs, values = np.asarray(picture.xs), np.asarray(picture.values)
    finite = np.isfinite(values)
    ax.plot(xs, np.where(finite, values, np.nan), color=style.INK, linewidth=1.0)
    if not finite.all():
        ax.fill_between(
            xs,
            0,
            1,
            where=~finite,
            transform=ax.get_xaxis_transform(),
            facecolor="none",
            hatch="////",
            edgecolor=style.QUIET,
            linewidth=0,
        )
    ax.set_xlim(xs[0], xs[-1])


def caption(result: Census) -> str:
    """What the figure shows, in words."""
    picture = _picture(result)
    values = np.asarray(picture.values)
    lost = int((~np.isfinite(values)).sum())
    found = ", ".join(
        _plural(name, len(where)) for name, where in style.kinds(result.points).items()
    )
    plane = values.ndim == 2
    how = (
        f"contours of f on a grid of {values.shape[0]} by {values.shape[1]}, closer where f is low"
        if plane
        else "f"
    )
    hidden = f" {lost} values that are not finite are hatched." if lost else ""
    outside = _outside(result, picture)
    beyond = f" {outside} points lie outside the frame." if outside else ""
    return f"Stationary points of {result.name}: {found}, over {how}.{hidden}{beyond}"


def _outside(result: Census, picture: Grid) -> int:
    axes = [np.asarray(a) for a in (picture.xs, picture.ys) if len(a)]
    x = np.array([np.asarray(p.x) for p in result.points])
    inside = [(x[:, k] >= a[0]) & (x[:, k] <= a[-1]) for k, a in enumerate(axes)]
    return int((~np.logical_and.reduce(inside)).sum())


def _plural(name: str, count: int) -> str:
    words = {"minimum": "minima", "maximum": "maxima", "saddle": "saddles", "other": "others"}
    return f"{count} {name if count == 1 else words[name]}"


def _picture(result: Census) -> Grid:
    style.points_of(result)
    why = "values on a grid; a census of one or two coordinates can hold them."
    picture: Grid = style.need(result, "picture", "xs", why=why)
    return picture
