"""The values on a plane through a point as a surface in space, its trajectories at their own
values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from . import levels, style, views

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface

    from .style import Array


@style.styled
def draw(result: Surface) -> Figure:
    """The surface, in log10 f where f spans decades; cells that are not finite are left open; gaps
    of trajectories as lines.
    """
    surface = levels.plane_of(result)
    steps, values = levels.arrays(surface)
    log = levels.logarithmic(values)
    values = np.where(np.isfinite(values), values, np.nan)
    height = _height(values, log)
    fig = Figure(figsize=(style.COLUMN, 3.0))
    ax = style.axes_in_space(fig, (0.02, 0.03, 0.9, 0.95))
    if np.isfinite(height).any():
        A, B = np.meshgrid(steps, steps, indexing="ij")
        every = max(1, (len(steps) - 1) // 50)
        low, high = np.nanmin(height), np.nanmax(height)
        ax.plot_surface(
            A,
            B,
            height,
            cmap=levels.DEEP,
            rstride=every,
            cstride=every,
            linewidth=0.15,
            edgecolor="#ffffff40",
            antialiased=True,
            vmin=low,
            vmax=high + 1e-12 * abs(high),
            zorder=1,
        )
        ax.set_zlim(low, high if high > low else low + 1)
        for name, colour, walk in levels.walks(surface):
            where = np.asarray(walk.where)
            own, under = (
                _height(np.asarray(v, dtype=float), log) for v in (walk.values, walk.below)
            )
            inside = ((steps[0] <= where) & (where <= steps[-1])).all(axis=1) & (
                own <= high + 0.2 * (high - low)
            )
            own, under, where = (
                np.where(inside.reshape(-1, *[1] * (v.ndim - 1)), v, np.nan)
                for v in (own, under, where)
            )
            lines = np.stack(
                [np.column_stack([where, own]), np.column_stack([where, under])], axis=1
            )
            for one, other in lines:
                ax.plot(
                    *zip(one, other, strict=True), color=colour, linewidth=0.5, alpha=0.7, zorder=4
                )
            ax.plot(
                where[:, 0],
                where[:, 1],
                own,
                ".-",
                color=colour,
                linewidth=1.1,
                markersize=2.4,
                label=style.label(name),
                zorder=5,
            )
        if len(levels.walks(surface)) > 1:
            fig.legend(loc="upper left", ncols=2, handlelength=1.6)
    style.space(ax)
    style.turn(ax, *views.chosen(steps, height, _walks(surface, log)))
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    across, up = ("u", "v")
    ax.set_xlabel(f"step along {across}", labelpad=-4)
    ax.set_ylabel(f"step along {up}", labelpad=-4)
    ax.set_zlabel("f", labelpad=-3)
    if log:
        ax.zaxis.set_major_locator(FixedLocator(decades(*ax.get_zlim())))
        ax.zaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
    return fig


def decades(low: float, high: float) -> list[float]:
    """Heights of ticks in log10 f: powers of ten, those and their threes, or ones, twos and fives,
    so that there are some.
    """
    for parts in ((1,), (1, 3), (1, 2, 5)):
        ticks = [
            k + math.log10(p) for k in range(math.floor(low), math.ceil(high) + 1) for p in parts
        ]
        shown = [t for t in ticks if low <= t <= high]
        if len(shown) > 2:
            break
    return shown[:: math.ceil(len(shown) / 6)] if shown else [low, high]


def number(height: float) -> str:
    """What log10 f stands for."""
    return (
        f"{10**height:g}"
        if -3 < height < 4
        else f"$10^{{{height:.0f}}}$"
        if height == round(height)
        else ""
    )


def _walks(surface: Surface, log: bool) -> list[tuple[Array, Array]]:
    """Coordinates and heights of every walk."""
    return [
        (np.asarray(walk.where), _height(np.asarray(walk.values, dtype=float), log))
        for _, _, walk in levels.walks(surface)
    ]


def _height(values: Array, log: bool) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log10(np.where(values > 0, values, np.nan)) if log else values


def caption(result: Surface) -> str:
    """What the figure shows, in words."""
    surface = levels.plane_of(result)
    scale = (
        "The height is log f."
        if levels.logarithmic(levels.arrays(surface)[1])
        else "The height is f."
    )
    drop = (
        " Each point of a trajectory is at its own value, with a line to the plane's."
        if levels.walks(surface)
        else ""
    )
    return (
        f"{levels.words(surface).replace('hatched', 'left open')} "
        f"{scale}{drop}{levels.outside(surface)}"
    )
