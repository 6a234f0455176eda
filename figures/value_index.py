"""Value against index of the stationary points of a census (Dauphin et al. 2014,
arXiv:1406.2572).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.inventory.census import Census
    from landscape.points.classify import StationaryPoint

FRACTIONS = 20  # above this dimension the index is given as a share of it


@style.styled
def draw(result: Census) -> Figure:
    """One mark a point of ``result`` whose index is known; its area grows with its hits, hollow
    ones have zero eigenvalues.
    """
    _, known = _known(result)
    fig = Figure(figsize=(style.COLUMN, 2.6), layout="constrained")
    ax = fig.subplots()
    share = result.dim > FRACTIONS
    unit = result.dim if share else 1
    _all_marks(ax, known, unit)
    ax.set(xlabel="value of f", ylabel="index / n" if share else "index")
    if not share:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    top = max(_index(p) for p in known) / unit
    ax.set_ylim(-0.12 * (top or 1), 1.15 * (top or 1))
    ax.margins(x=0.08)
    fig.legend(
        loc="outside upper left",
        ncols=2 if len(ax.collections) > 3 else 3,
        handletextpad=0.2,
        columnspacing=1,
    )
    return fig


def _all_marks(ax: Axes, known: list[StationaryPoint], unit: int) -> None:
    """The points kind by kind; those met rarely, with small marks, on top."""
    most = max(max(p.hits for p in known), 1)
    for name, where in style.kinds(known).items():
        chosen = sorted((known[i] for i in where), key=lambda p: -p.hits)
        for hollow in (False, True):
            _marks(ax, name, [p for p in chosen if (p.nullity != 0) == hollow], most, unit, hollow)


def _marks(
    ax: Axes, name: str, points: list[StationaryPoint], most: int, unit: int, hollow: bool
) -> None:
    """Points of one kind, hollow ones with zero eigenvalues; ``most`` hits have the
    largest area.
    """
    if not points:
        return
    marker, colour, size = style.KINDS[name]
    ax.scatter(
        [p.value for p in points],
        [_index(p) / unit for p in points],
        s=[(10 + 70 * p.hits / most) * size**2 for p in points],
        marker=marker,
        facecolors="none" if hollow else colour,
        edgecolors=colour if hollow else "none",
        linewidths=0.9,
        alpha=0.55,
        label=f"{name}, with zero eigenvalues" if hollow and name != "other" else name,
    )


def caption(result: Census) -> str:
    """What the figure shows, in words."""
    points, known = _known(result)
    low, high = min(p.value for p in known), max(p.value for p in known)
    left = (
        f" {len(points) - len(known)} points whose index is not known are left out."
        if len(points) > len(known)
        else ""
    )
    return (
        f"{len(known)} stationary points of {result.name}, value from {low:.4g} to {high:.4g} "
        f"against index from "
        f"{min(map(_index, known))} to {max(map(_index, known))} of {result.dim}; areas grow with "
        f"how often a point was "
        f"found, hollow marks have zero eigenvalues.{left}"
    )


def _index(point: StationaryPoint) -> int:
    return -1 if point.index is None else point.index


def _known(result: Census) -> tuple[list[StationaryPoint], list[StationaryPoint]]:
    points = style.points_of(result)
    known = [p for p in points if p.index is not None and np.isfinite(p.value)]
    if not known:
        raise style.NothingToDraw("this result has no stationary point whose index is known.")
    return points, known
