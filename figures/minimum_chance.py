"""The chance that a stationary point is a minimum against the number of directions, on
a log scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from . import style
from .saddle_share import beside, counted, realisations, theory_line, told

if TYPE_CHECKING:
    from landscape.inventory.counting import SaddleCounts


@style.styled
def draw(result: SaddleCounts) -> Figure:
    """Measured shares of minima with 95 % intervals; where none was found, an arrow at the upper
    end.
    """
    found = counted(result)
    fig = Figure(figsize=(style.COLUMN, 3.1), layout="constrained")
    ax = fig.subplots()
    for line in result.lines:
        theory_line(ax, line, line.minima)
    seen = [d for d in found if d.minima.value > 0]
    beside(ax, seen, [d.minima for d in seen], [d.expected_minima for d in seen])
    for d in found:
        if d.minima.value == 0:
            ax.annotate(
                "",
                (d.directions, d.minima.high / 8),
                (d.directions, d.minima.high),
                arrowprops={"arrowstyle": "->", "color": style.MEASURED},
            )
    ax.set(xlabel="directions n", ylabel="chance of a minimum", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(numticks=7))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    ax.margins(y=0.08)
    fig.legend(loc="outside upper left", ncols=1, handlelength=2.6)
    return fig


def caption(result: SaddleCounts) -> str:
    """What the figure shows, in words."""
    found = counted(result)
    last = found[-1]
    ideas = [
        f"{line.name} {line.minima[last.directions - 1]:.3g}"
        for line in result.lines
        if last.directions in line.directions
    ]
    return (
        f"The chance that a stationary point of {result.name} is a minimum, measured over "
        f"{realisations(found)} with 95 % intervals. "
        f"At n = {last.directions}: {last.minima.value:.3g} (95 %: {last.minima.low:.3g} to "
        f"{last.minima.high:.3g})"
        f"{told(last.expected_minima)}; {', '.join(ideas)}."
    )
