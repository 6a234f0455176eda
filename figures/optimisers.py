"""What figures of several optimisers share: a colour and a marker each, measured numbers with
intervals against a setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from . import style

if TYPE_CHECKING:
    from landscape.optimizers.escape import Escapes, Study
    from landscape.results import Estimate

    from .style import Array

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#1b1f24",
)  # Okabe & Ito 2008
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LONG = 34  # characters of a label
TOUCHING = 0.1  # share of an axis between two values whose labels touch


def look(k: int) -> dict[str, Any]:
    """Colour and marker of the k-th."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def short(label: str) -> str:
    """A label that fits."""
    return label if len(label) <= LONG else label[: LONG - 1] + "…"


def against(
    ax: Axes,
    x: Sequence[float] | Array,
    measured: Sequence[Estimate],
    predicted: Sequence[float | None],
    label: str,
    k: int,
    *,
    joined: bool = False,
) -> None:
    """Estimates over x with their 95 % intervals, the theory as a dashed line; those not within the
    limit at the top.
    """
    x = np.asarray(x, dtype=float)
    drawn = look(k)
    if len(measured):
        value = np.array([m.value for m in measured])
        known = np.isfinite(value)
        low, high = (
            np.array([getattr(m, side) for m in measured], dtype=float) for side in ("low", "high")
        )
        value = np.where(known, value, math.nan)
        reach = np.array([value - low, np.where(np.isfinite(high), high, value) - value])
        line = "-" if joined else "none"
        ax.errorbar(
            x[known],
            value[known],
            yerr=np.maximum(reach[:, known], 0),
            linestyle=line,
            linewidth=0.8,
            markersize=3.6,
            elinewidth=0.8,
            capsize=1.5,
            label=short(label),
            zorder=4,
            **drawn,
        )
        ax.plot(
            x[~known],
            np.full((~known).sum(), 0.965),
            linestyle="none",
            marker=6,
            markersize=6,
            color=drawn["color"],
            transform=ax.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
        )
    law = np.array([math.nan if p is None else p for p in predicted], dtype=float)
    law[~np.isfinite(law)] = math.nan
    if np.isfinite(law).any():
        ax.plot(
            x,
            law,
            color=drawn["color"],
            linestyle=(0, (4, 2)),
            linewidth=1.1,
            marker="_" if len(x) == 1 else None,
            zorder=3,
            label=None if len(measured) else short(label),
        )


def scales(
    ax: Axes,
    x: Sequence[float] | Array,
    measured: Sequence[Estimate],
    logarithmic: tuple[bool, bool],
) -> None:
    """Logarithmic axes where asked for and possible; few values of x are the ticks themselves."""
    x = np.unique(np.asarray(x, dtype=float))
    values = np.array([m.value for m in measured if math.isfinite(m.value)])
    if logarithmic[1] and len(values) and values.min() > 0:
        ax.set_yscale("log")
    if logarithmic[0] and len(x) and x.min() > 0:
        ax.set_xscale("log")
    if len(x) <= 7:
        ax.xaxis.set_major_locator(FixedLocator(_apart(x, ax.get_xscale() == "log")))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())


def _apart(x: Array, logarithmic: bool) -> list[float]:
    """Of ascending values those whose labels do not touch the one before."""
    where = np.log(x) if logarithmic else x
    kept: list[int] = []
    for i in range(len(x)):
        if not kept or where[i] - where[kept[-1]] > TOUCHING * (where[-1] - where[0]):
            kept.append(i)
    return [float(x[i]) for i in kept]


def study_of(result: Study) -> dict[str, Escapes]:
    """The results of a study by optimiser."""
    why = "runs of optimisers; run `landscape escape`."
    results: dict[str, Escapes] = style.need(result, "results", "escaped", why=why)
    return results


def key(fig: Figure, ax: Axes, columns: int = 2) -> None:
    """The legend above the axes, theory's dashes explained once."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        order = sorted(range(len(labels)), key=lambda i: labels[i] == "theory")  # that goes last
        handles, labels = [handles[i] for i in order], [labels[i] for i in order]
        fig.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=columns,
            handletextpad=0.5,
            columnspacing=1.2,
        )
