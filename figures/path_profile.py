"""f along a minimum-energy path: stations, the highest saddle, and the barrier that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.paths.minimum_energy import EnergyPath


@style.styled
def draw(result: EnergyPath) -> Figure:
    """``result.values`` over ``result.arclength``, joined by straight lines; the barrier is
    measured from the first end.
    """
    _check(result)
    s, values = np.asarray(result.arclength), np.asarray(result.values)
    fig = Figure(figsize=(style.COLUMN, 2.6), layout="constrained")
    ax = fig.subplots()
    ax.plot(
        s,
        values,
        color=style.QUIET,
        marker="o",
        markersize=2.2,
        markerfacecolor=style.INK,
        markeredgewidth=0,
        linewidth=0.9,
        label="images",
        zorder=2,
    )
    for name, where in style.kinds(result.stations).items():
        marker, colour, size = style.KINDS[name]
        at = [result.places[i] for i in where]
        ax.plot(
            s[at],
            [result.stations[i].value for i in where],
            marker,
            color=colour,
            markersize=5.5 * size,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=name,
            zorder=4,
        )
    low, high = min(values.min(), result.saddle.value), max(values.max(), result.saddle.value)
    span = (high - low) or max(abs(high), 1.0)
    if result.barrier > 0.02 * span:
        where = s[int(np.abs(values - result.saddle.value).argmin())]
        aside = -0.035 * s[-1]
        ax.plot(
            [aside, where],
            [result.saddle.value] * 2,
            color=style.QUIET,
            linewidth=0.7,
            linestyle=":",
            zorder=1,
        )
        arrow = {
            "arrowstyle": "<|-|>,head_width=0.15,head_length=0.3",
            "color": style.INK,
            "linewidth": 0.8,
        }
        ax.annotate(
            "",
            (aside, result.saddle.value),
            (aside, values[0]),
            arrowprops=arrow | {"shrinkA": 0, "shrinkB": 0},
            zorder=3,
        )
    ax.set_title(
        f"barrier {result.barrier:.4g} forward, {result.barrier_back:.4g} back".replace("-", "−")
    )
    ax.set_ylim(low - 0.1 * span, high + 0.1 * span)
    ax.set_xlim(-0.07 * s[-1] - 1e-12, 1.04 * s[-1] + 1e-12)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.set(xlabel="length along the path", ylabel="value of f")
    fig.legend(loc="outside upper left", ncols=4, handletextpad=0.3, columnspacing=1)
    return fig


def caption(result: EnergyPath) -> str:
    """What the figure shows, in words."""
    _check(result)
    inner = len(result.stations) - 2
    return (
        f"Value of {result.name} along a path of {len(result.values)} points between two ends, "
        f"with {inner} stationary points on "
        f"the way; the highest point is {result.saddle.value:.6g} ({result.saddle.kind}), "
        f"{result.barrier:.4g} above the first end and "
        f"{result.barrier_back:.4g} above the last; {result.stop.value}."
    )


def _check(result: EnergyPath) -> None:
    if getattr(result, "arclength", None) is None or getattr(result, "stations", None) is None:
        raise style.NothingToDraw("this result has no path; it is no minimum-energy path.")
