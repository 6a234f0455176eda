"""The loss on the straight lines between checkpoints, before and after their units are matched."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.paths.compare import Compared

MOST = 6  # pairs drawn
COLUMNS = 2


@style.styled
def draw(result: Compared) -> Figure:
    """One panel a pair; a ring where the barrier is."""
    pairs = _pairs(result)
    wide = min(len(pairs), COLUMNS)
    rows = -(-len(pairs) // wide)
    fig = Figure(
        figsize=(style.COLUMN * (1 + 0.7 * (wide - 1)), 2.0 * rows + 0.5), layout="constrained"
    )
    axes = fig.subplots(rows, wide, squeeze=False).ravel()
    t = np.asarray(result.t)
    for ax, (i, j) in zip(axes, pairs, strict=False):
        for label, lines, colour, dash in (
            ("as they are", result.lines, style.QUIET, (0, (4, 2))),
            ("units matched", result.aligned_lines, style.MEASURED, "-"),
        ):
            values = np.asarray(lines[i, j], dtype=float)
            shown = np.where(np.isfinite(values), values, np.nan)
            ax.plot(t, shown, color=colour, linestyle=dash, label=label)
            if values.max() > max(values[0], values[-1]):
                top = int(values.argmax())
                ax.plot(t[top], values[top], "o", color=colour, markersize=3.6, fillstyle="none")
        ax.set_title(f"{result.names[i]} to {result.names[j]}")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_ylabel("loss")
    for ax in axes[len(pairs) :]:
        ax.set_visible(False)
    axes[len(pairs) - 1].set_xlabel("share of the way")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=2)
    return fig


def caption(result: Compared) -> str:
    """What the figure shows, in words."""
    parts = [
        f"{result.names[i]} to {result.names[j]}: {float(result.barriers[i, j]):.3g} as they are, "
        f"{float(result.aligned[i, j]):.3g} with units matched"
        for i, j in _pairs(result)
    ]
    return "The loss on the straight line between checkpoints; barriers: " + "; ".join(parts) + "."


def _pairs(result: Compared) -> list[tuple[int, int]]:
    if not hasattr(result, "aligned_lines"):
        raise style.NothingToDraw(
            "this result has no checkpoints beside each other; see `landscape compare`."
        )
    return list(combinations(range(len(result.names)), 2))[:MOST]
