"""A disconnectivity tree: every minimum a line that ends at its value, joined at the lowest pass to
others (Becker & Karplus 1997).
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
    from landscape.inventory.tree import Tree

LABELLED = 16  # up to so many minima carry their number in the census


@style.styled
def draw(result: Census) -> Figure:
    """The tree of ``result.tree``, drawn to the scale of f; groups that no saddle joins stand
    apart, open at the top.
    """
    tree = _tree(result)
    values = dict(zip(tree.minima, np.asarray(tree.values).tolist(), strict=True))
    order = _order(tree)
    place = {i: float(k) for k, i in enumerate(order)}
    fig = Figure(figsize=(style.COLUMN, 2.9), layout="constrained")
    ax = fig.subplots()
    stem = _joined(ax, tree, place, values)
    low = min(values.values())
    high = max([*values.values(), *(m.level for m in tree.merges)])
    span = (high - low) or max(abs(high), 1.0)
    for group in tree.groups:
        x, y = stem[group[0]]
        ax.plot(
            [x, x],
            [y, high + 0.08 * span],
            color=style.INK,
            linewidth=0.9,
            zorder=2,
            linestyle="-" if len(tree.groups) == 1 else (0, (2, 2)),
        )
    marker, colour, _ = style.KINDS["minimum"]
    ax.plot(
        [place[i] for i in order],
        [values[i] for i in order],
        marker,
        color=colour,
        markersize=3.6,
        zorder=3,
    )
    if len(order) <= LABELLED:
        for i in order:
            ax.annotate(
                str(i),
                (place[i], values[i]),
                (0, -5),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6.5,
            )
    ax.set_ylim(low - 0.12 * span, high + 0.1 * span)
    ax.set_xlim(-0.7, len(order) - 0.3)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.set_ylabel("value of f")
    ax.set_xlabel(
        "minima, by their number in the census"
        if len(order) <= LABELLED
        else f"{len(order)} minima"
    )
    return fig


def _joined(
    ax: Axes, tree: Tree, place: dict[int, float], values: dict[int, float]
) -> dict[int, tuple[float, float]]:
    """Draw where groups meet, and give each minimum's group its stem: where it stands,
    its level.
    """
    # a group is known by any of its minima: where its line stands, and from what level it rises
    stem = {i: (place[i], values[i]) for i in tree.minima}
    for merge in tree.merges:
        (a, b) = (group[0] for group in merge.groups)
        (xa, ya), (xb, yb) = stem[a], stem[b]
        ax.plot(
            [xa, xa, xb, xb],
            [ya, merge.level, merge.level, yb],
            color=style.INK,
            linewidth=0.9,
            solid_joinstyle="miter",
            zorder=2,
        )
        joined = merge.groups[0] + merge.groups[1]
        middle = (min(place[i] for i in joined) + max(place[i] for i in joined)) / 2
        for i in joined:
            stem[i] = (middle, merge.level)
    return stem


def caption(result: Census) -> str:
    """What the figure shows, in words."""
    tree = _tree(result)
    apart = (
        f" {len(tree.groups)} groups are not joined by any saddle found."
        if len(tree.groups) > 1
        else ""
    )
    lost = (
        f" {tree.lost} descents from saddles ended at no minimum of the list." if tree.lost else ""
    )
    levels = (
        f" at levels from {tree.merges[0].level:.4g} to {tree.merges[-1].level:.4g}"
        if tree.merges
        else ""
    )
    return (
        f"Disconnectivity tree of {len(tree.minima)} minima of {result.name}: {len(tree.edges)} "
        f"saddles of index 1 join "
        f"them{levels}; where two lines meet is the lowest pass between them that the list "
        f"knows.{apart}{lost}"
    )


def _order(tree: Tree) -> list[int]:
    """The minima from left to right so that no lines cross: a group stays together, the deeper part
    on the left.
    """
    values = dict(zip(tree.minima, np.asarray(tree.values).tolist(), strict=True))
    rows = {i: [i] for i in tree.minima}
    for merge in tree.merges:
        a, b = (rows[group[0]] for group in merge.groups)
        if min(values[i] for i in b) < min(values[i] for i in a):
            a, b = b, a
        row = a + b
        for i in row:
            rows[i] = row
    return [
        i
        for group in sorted(tree.groups, key=lambda g: min(values[i] for i in g))
        for i in rows[group[0]]
    ]


def _tree(result: Census) -> Tree:
    why = "disconnectivity tree; a census of minima and saddles can hold one."
    found: Tree = style.need(result, "tree", "merges", why=why)
    if not found.minima:
        raise style.NothingToDraw(f"this result has no {why}")
    return found
