"""The share of saddles among the stationary points against the number of directions, measured
beside what ideas of randomness say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.inventory.counting import DimensionCounts, SaddleCounts, TheoryLine
    from landscape.results import Estimate

LINES = {  # of the theory lines of a result, by name: colour and dashes
    "coin toss": (style.INK, (0, (1, 1.5))),
    "random matrix (GOE)": (style.NEGATIVE, (0, (4, 1.5))),
    "isotropic Gaussian field": (style.PREDICTED, (0, (6, 1.5, 1, 1.5))),
}


@style.styled
def draw(result: SaddleCounts) -> Figure:
    """Measured shares with 95 % intervals; the family's own theory as short bars."""
    found = counted(result)
    fig = Figure(figsize=(style.COLUMN, 3.1), layout="constrained")
    ax = fig.subplots()
    for line in result.lines:
        theory_line(ax, line, line.saddles)
    beside(ax, found, [d.saddles for d in found], [d.expected_saddles for d in found])
    ax.set(xlabel="directions n", ylabel="share of saddles", ylim=(-0.04, 1.06))
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    fig.legend(loc="outside upper left", ncols=1, handlelength=2.6)
    return fig


def caption(result: SaddleCounts) -> str:
    """What the figure shows, in words."""
    found = counted(result)
    last = found[-1]
    return (
        f"The share of saddles among the stationary points of {result.name}, measured over "
        f"{realisations(found)} with 95 % intervals, "
        f"beside the coin toss, random matrices and isotropic Gaussian fields. At n = "
        f"{last.directions} it is "
        f"{last.saddles.value:.4g} (95 %: {last.saddles.low:.4g} to "
        f"{last.saddles.high:.4g}){told(last.expected_saddles)}."
    )


def counted(result: SaddleCounts) -> list[DimensionCounts]:
    """The dimensions in which points were found."""
    why = "counts against dimension; see `landscape saddles count`."
    dimensions: list[DimensionCounts] = style.need(result, "dimensions", "counts", why=why)
    known = [d for d in dimensions if len(d.values)]
    if not known:
        raise style.NothingToDraw(f"this result has no {why}")
    return known


def theory_line(ax: Axes, line: TheoryLine, values: Sequence[float]) -> None:
    """One idea of randomness."""
    colour, dashes = LINES.get(line.name, (style.INK, "-"))
    above = line.name == "coin toss"  # it may lie on the field's line
    ax.plot(
        line.directions,
        values,
        color=colour,
        linestyle=dashes,
        label=line.name,
        linewidth=1.8 if above else 1.2,
        zorder=1.5 if above else 1,
    )


def beside(
    ax: Axes,
    found: Sequence[DimensionCounts],
    shares: Sequence[Estimate],
    expected: Sequence[float],
) -> None:
    """Measured shares with their intervals, and a bar where theory puts them."""
    n = [d.directions for d in found]
    known = [(d, e) for d, e in zip(n, expected, strict=True) if e == e]
    if known:
        ax.plot(
            [d for d, _ in known],
            [e for _, e in known],
            "_",
            color=style.INK,
            markersize=11,
            markeredgewidth=1.3,
            label="expected of this family",
            zorder=2,
        )
    values = [s.value for s in shares]
    errors = [[max(s.value - s.low, 0) for s in shares], [max(s.high - s.value, 0) for s in shares]]
    ax.errorbar(
        n,
        values,
        errors,
        fmt="o",
        color=style.MEASURED,
        markersize=4,
        elinewidth=1,
        capsize=2,
        markeredgewidth=0,
        label="measured",
        zorder=3,
    )


def realisations(found: Sequence[DimensionCounts]) -> str:
    """How many realisations there are of each dimension, in words."""
    each = sorted({d.realisations for d in found})
    return (
        f"{each[0]:,} realisation{'s' * (each[0] > 1)} a dimension"
        if len(each) == 1
        else (f"{each[0]:,} to {each[-1]:,} realisations a dimension")
    )


def told(expected: float) -> str:
    """``, expected 0.25``, where theory says."""
    return "" if expected != expected else f", expected {expected:.4g}"
