"""Saddles in space with runs that leave them, and a census over its contours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import contours, levels, style

if TYPE_CHECKING:
    from landscape.gallery import Exhibit

    from ..style import Array

SHOWN = 12  # runs of each optimiser that are drawn


@style.styled
def saddle(exhibit: Exhibit) -> Figure:
    """x^2 - y^2 and runs of three optimisers."""
    return _space(exhibit, lambda x, y: x**2 - y**2)


@style.styled
def monkey_saddle(exhibit: Exhibit) -> Figure:
    """x^3 - 3 x y^2 and runs of SGD with noise."""
    return _space(exhibit, lambda x, y: x**3 - 3 * x * y**2)


def _space(exhibit: Exhibit, f: Callable[[Array, Array], Array]) -> Figure:
    steps, values = (np.asarray(exhibit.data["surface"][k]) for k in ("steps", "values"))
    fig = Figure(figsize=(style.COLUMN, 3.1))
    ax = style.axes_in_space(fig, (0.0, 0.0, 0.96, 0.98))
    A, B = np.meshgrid(steps, steps, indexing="ij")
    ax.plot_surface(
        A,
        B,
        values,
        cmap=levels.DEEP,
        rstride=2,
        cstride=2,
        linewidth=0.15,
        edgecolor="#ffffff50",
        alpha=0.93,
        zorder=1,
    )
    several = (
        len(exhibit.data["paths"]) > 1
    )  # runs of one lie on those of another: the first are the widest
    for k, (name, paths) in enumerate(exhibit.data["paths"].items()):
        P = np.asarray(paths)
        for run in range(0, P.shape[1], max(1, P.shape[1] // SHOWN)):
            x, y = P[:, run, 0], P[:, run, 1]
            z = f(x, y)
            inside = (np.abs(P[:, run]) <= steps[-1]).all(axis=1)
            x, y, z = (np.where(inside, v, np.nan) for v in (x, y, z))
            ax.plot(
                x,
                y,
                z + 0.01,
                color=levels.WALKS[k],
                linewidth=max(2.4 - 0.7 * k, 0.9) if several else 0.9,
                zorder=5,
                label=name if run == 0 else None,
            )
    ax.plot([0], [0], f(*np.zeros((2, 1))), "o", color=style.INK, markersize=3.5, zorder=6)
    style.space(ax)
    ax.view_init(elev=38, azim=-52)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("x", labelpad=-6)
    ax.set_ylabel("y", labelpad=-6)
    ax.set_zlabel("f", labelpad=-9)
    fig.legend(loc="upper left", ncols=3, handlelength=1.6, columnspacing=1.2)
    return fig


def styblinski_tang(exhibit: Exhibit) -> Figure:
    """All stationary points over contours."""
    census = exhibit.data["census"]
    return contours.draw(replace(census, picture=exhibit.data["picture"]))
