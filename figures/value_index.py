"""Value against index of the stationary points of a census (Dauphin et al. 2014, arXiv:1406.2572)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

FRACTIONS = 20  # above this dimension the index is given as a share of it


@style.styled
def draw(result: Any) -> Figure:
    """One mark a point of ``result`` whose index is known; its area grows with its hits, hollow ones have zero eigenvalues."""
    _, known = _known(result)
    fig = Figure(figsize=(style.COLUMN, 2.6), layout="constrained")
    ax = fig.subplots()
    share = result.dim > FRACTIONS
    most = max(max(p.hits for p in known), 1)
    for name, where in style.kinds(known).items():
        marker, colour, size = style.KINDS[name]
        chosen = sorted((known[i] for i in where), key=lambda p: -p.hits)  # small ones on top of large ones
        for hollow in (False, True):
            some = [p for p in chosen if (p.nullity != 0) == hollow]
            if some:
                ax.scatter(
                    [p.value for p in some],
                    [p.index / result.dim if share else p.index for p in some],
                    s=[(10 + 70 * p.hits / most) * size**2 for p in some],
                    marker=marker,
                    facecolors="none" if hollow else colour,
                    edgecolors=colour if hollow else "none",
                    linewidths=0.9,
                    alpha=0.55,
                    label=f"{name}, with zero eigenvalues" if hollow and name != "other" else name,
                )
    ax.set(xlabel="value of f", ylabel="index / n" if share else "index")
    if not share:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    top = max(p.index for p in known) / (result.dim if share else 1)
    ax.set_ylim(-0.12 * (top or 1), 1.15 * (top or 1))
    ax.margins(x=0.08)
    fig.legend(loc="outside upper left", ncols=2 if len(ax.collections) > 3 else 3, handletextpad=0.2, columnspacing=1)
    return fig


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    points, known = _known(result)
    low, high = min(p.value for p in known), max(p.value for p in known)
    left = (
        f" {len(points) - len(known)} points whose index is not known are left out." if len(points) > len(known) else ""
    )
    return (
        f"{len(known)} stationary points of {result.name}, value from {low:.4g} to {high:.4g} against index from "
        f"{min(p.index for p in known)} to {max(p.index for p in known)} of {result.dim}; areas grow with how often a point was "
        f"found, hollow marks have zero eigenvalues.{left}"
    )


def _known(result: Any) -> tuple[Any, Any]:
    points = style.points_of(result)
    known = [p for p in points if p.index is not None and np.isfinite(p.value)]
    if not known:
        raise style.NothingToDraw("this result has no stationary point whose index is known.")
    return points, known
