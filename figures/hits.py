"""How often each stationary point was found, by rank: whether a census is near its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from . import style

if TYPE_CHECKING:
    from landscape.inventory.census import Census
    from landscape.points.classify import StationaryPoint


@style.styled
def draw(result: Census) -> Figure:
    """Hits of every point of ``result``, the most found first, on a log scale; the estimate of what
    was not found above.
    """
    points = _found(result)
    order = sorted(range(len(points)), key=lambda i: -points[i].hits)
    rank = {i: k + 1 for k, i in enumerate(order)}
    fig = Figure(figsize=(style.COLUMN, 2.5), layout="constrained")
    ax = fig.subplots()
    for name, where in style.kinds(points).items():
        marker, colour, size = style.KINDS[name]
        ax.plot(
            [rank[i] for i in where],
            [points[i].hits for i in where],
            marker,
            color=colour,
            markersize=4 * size,
            markeredgewidth=0,
            alpha=0.85,
            label=name,
        )
    most = max(p.hits for p in points)
    ax.axhline(1, color=style.QUIET, linewidth=0.7, linestyle=":", zorder=0)
    ax.set_yscale("log")
    ax.set_ylim(0.7, 1.6 * max(most, 10))
    ax.yaxis.set_major_locator(LogLocator(numticks=6))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_xlim(0.4 - 0.01 * len(points), 1.02 * len(points) + 0.6)
    ax.set(xlabel="rank of the point", ylabel="how often it was found")
    # in two lines: the font is too large for one
    ax.set_title(_unseen(result).replace("; ", ";\n"))
    fig.legend(loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1)
    return fig


def caption(result: Census) -> str:
    """What the figure shows, in words."""
    points = _found(result)
    once = sum(p.hits == 1 for p in points)
    return (
        f"How often each of {len(points)} stationary points of {result.name} was found in "
        f"{result.starts} searches, by rank; "
        f"{once} were found once. {_unseen(result)} "
        f"with 95 % (Good 1953, from the points found once and twice)."
    )


def _unseen(result: Census) -> str:
    number = round(result.unseen.value)
    known = f"about {number}" if number > result.unseen.low else "unknown"
    known = f"{result.unseen.low:.3g} or more" if result.unseen.low >= max(number, 1) else known
    return f"Not found yet: {known}; under {100 * result.unmet:.2g} % of starts"


def _found(result: Census) -> list[StationaryPoint]:
    points = [p for p in style.points_of(result) if p.hits > 0]
    if not points:
        raise style.NothingToDraw("this result has no hits: its points were not found by searches.")
    return points
