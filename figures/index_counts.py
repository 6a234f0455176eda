"""Mean numbers of stationary points by index, one panel of bars a dimension, with standard errors
and what is expected.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style
from .saddle_share import counted, realisations

if TYPE_CHECKING:
    from landscape.inventory.counting import DimensionCounts, SaddleCounts

ROW = 4  # panels


@style.styled
def draw(result: SaddleCounts) -> Figure:
    """Bars are means, whiskers one standard error, bars of ink the expected means."""
    found = counted(result)
    rows = math.ceil(len(found) / ROW)
    columns = min(len(found), ROW)
    width = style.COLUMN if columns < 3 else style.PAGE
    fig = Figure(figsize=(width, 0.5 + 1.7 * rows), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).flatten()
    for ax, d in zip(axes, found, strict=False):
        _panel(ax, d)
    for ax in axes[len(found) :]:
        ax.set_visible(False)
    fig.supxlabel("index", fontsize=7.5)
    fig.supylabel("mean number of points", fontsize=7.5)
    return fig


def _panel(ax: Axes, counts: DimensionCounts) -> None:
    """The mean numbers in one dimension."""
    k = list(range(counts.directions + 1))
    colours = [style.NEGATIVE for _ in k]
    colours[-1], colours[0] = style.KINDS["maximum"][1], style.POSITIVE
    means = [m.value for m in counts.means]
    errors = [m.error if math.isfinite(m.error) else 0.0 for m in counts.means]
    ax.bar(k, means, color=colours, alpha=0.75, width=0.75)
    ax.errorbar(k, means, errors, fmt="none", ecolor=style.INK, elinewidth=0.9, capsize=2)
    if counts.expected is not None:
        size = 70 / (counts.directions + 4)
        expected = counts.expected.counts
        ax.plot(k, expected, "_", color=style.INK, markersize=size, markeredgewidth=1.4)
    ax.set_title(f"dim {counts.dim}")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    ax.set_xlim(-0.6, counts.directions + 0.6)


def caption(result: SaddleCounts) -> str:
    """What the figure shows, in words."""
    found = counted(result)
    totals = ", ".join(f"{d.total.value:.4g} in dim {d.dim}" for d in found)
    beside = (
        " with the expected means as bars of ink"
        if any(d.expected is not None for d in found)
        else ""
    )
    return (
        f"Mean numbers of stationary points of {result.name} by index over {realisations(found)}: "
        f"minima left, maxima right, saddles "
        f"between; whiskers are one standard error{beside}. In all {totals}."
    )
