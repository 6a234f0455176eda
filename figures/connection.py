"""f along a trained curve between two networks, beside the straight line (Garipov et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style

if TYPE_CHECKING:
    from landscape.paths.connect import Connection


@style.styled
def draw(result: Connection) -> Figure:
    """Both profiles over t, a panel for f and one for each metric."""
    _check(result)
    names = list(result.curve.metrics)
    fig = Figure(figsize=(style.COLUMN, 2.6 + 1.2 * len(names)), layout="constrained")
    axes = fig.subplots(
        1 + len(names), 1, sharex=True, squeeze=False, height_ratios=[1.7, *[1.0] * len(names)]
    )[:, 0]
    every = []
    for label, part, colour, dash in (
        (
            f"straight, barrier {result.straight_barrier:.3g}",
            result.straight,
            style.QUIET,
            (0, (4, 2)),
        ),
        (f"{result.kind}, barrier {result.barrier:.3g}", result.curve, style.MEASURED, "-"),
    ):
        t = np.asarray(part.t)
        for ax, values in zip(axes, [part.values, *(part.metrics[n] for n in names)], strict=True):
            shown = np.asarray(values, dtype=float)
            ax.plot(
                t,
                np.where(np.isfinite(shown), shown, np.nan),
                color=colour,
                linestyle=dash,
                label=label,
            )
        every.append(np.asarray(part.values, dtype=float))
    if levels.logarithmic(np.concatenate(every)):
        axes[0].set_yscale("log")
    for ax, name in zip(axes, ["f", *names], strict=True):
        ax.set_ylabel(style.label(name))
        ax.xaxis.set_major_locator(MaxNLocator(6))
    axes[-1].set_xlabel("t, from the first network to the second")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=1)
    return fig


def caption(result: Connection) -> str:
    """What the figure shows, in words."""
    _check(result)
    return (
        f"Value of {result.provenance.name} along a {result.kind} curve with "
        f"{len(result.control) - 2} trained points between two "
        f"networks, barrier {result.barrier:.3g} above the higher end, and along the straight "
        f"line, barrier {result.straight_barrier:.3g}."
    )


def _check(result: Connection) -> None:
    if not hasattr(result, "straight") or not hasattr(result, "curve"):
        raise style.NothingToDraw(
            "this result has no curve between two networks; see `landscape surface --connect`."
        )
