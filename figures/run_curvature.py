"""Both ends of the spectrum along a traced run, with the edge of stability over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import run_loss, style

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.training.trace import Trace


@style.styled
def draw(result: Result) -> Figure:
    """Top: the largest eigenvalue, what an adaptive optimiser feels of it, and its edge. Bottom:
    the smallest, and g'Hg / g'g.
    """
    trace = _curved(result)
    steps = np.asarray(trace.steps)
    largest, bound = np.asarray(trace.largest), np.asarray(trace.largest_bound)
    sharpness, edge = np.asarray(trace.sharpness), np.asarray(trace.edge)
    known = np.isfinite(largest)
    fig = Figure(figsize=(style.COLUMN, 3.1), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True)
    run_loss.shade((top, bottom), trace)
    marker = "." if known.sum() <= 60 else ""
    kept = {"marker": marker, "markersize": 3.5, "linewidth": 1.1}
    top.fill_between(
        steps[known],
        (largest - bound)[known],
        (largest + bound)[known],
        color=style.POSITIVE,
        alpha=0.25,
        linewidth=0,
    )
    top.plot(steps[known], largest[known], color=style.POSITIVE, label="largest eigenvalue", **kept)
    _ring(top, trace)
    felt = np.isfinite(sharpness) & ~np.isclose(sharpness, largest, rtol=1e-9)
    shown = [largest[known]]
    if felt.any():
        top.plot(
            steps[felt],
            sharpness[felt],
            color="#009e73",
            label="as the optimiser feels it",
            **(kept | {"marker": ""}),
        )
        shown.append(sharpness[felt])
    if np.isfinite(edge).any():
        top.plot(
            steps,
            np.where(np.isfinite(edge), edge, np.nan),
            color=style.PREDICTED,
            linestyle="--",
            label="edge of stability",
        )
        shown.append(edge[np.isfinite(edge)])
    run_loss.log_if_wide(top, np.concatenate(shown))
    top.set_ylabel("largest")
    smallest, lower = np.asarray(trace.smallest), np.asarray(trace.smallest_bound)
    along = np.asarray(trace.rayleigh)
    style.zero_line(bottom)
    bottom.fill_between(
        steps[known],
        (smallest - lower)[known],
        (smallest + lower)[known],
        color=style.NEGATIVE,
        alpha=0.25,
        linewidth=0,
    )
    bottom.plot(
        steps[known], smallest[known], color=style.NEGATIVE, label="smallest eigenvalue", **kept
    )
    has = np.isfinite(along)
    if has.any():
        bottom.plot(
            steps[has], along[has], color=style.INK, linestyle=":", label="along the gradient"
        )
    bottom.margins(y=0.12)
    bottom.ticklabel_format(axis="y", useOffset=False)
    bottom.yaxis.set_major_locator(MaxNLocator(5))
    bottom.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    bottom.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    bottom.set(xlabel=style.STEPS, ylabel="smallest")
    handles = [h for ax in (top, bottom) for h in ax.get_legend_handles_labels()[0]]
    fig.legend(
        handles=handles, loc="outside upper left", ncols=2, handlelength=1.6, columnspacing=1
    )
    fig.align_ylabels()
    return fig


def _ring(ax: Axes, trace: Trace) -> None:
    """Rings around the values that were searched from random starts."""
    if trace.searched is None or not bool(trace.searched.any()):
        return
    ax.plot(
        np.asarray(trace.steps[trace.searched]),
        np.asarray(trace.largest[trace.searched]),
        "o",
        color=style.POSITIVE,
        markersize=5,
        markerfacecolor="none",
        label="searched from random starts",
    )


def caption(result: Result) -> str:
    """What the figure shows, in words."""
    trace = _curved(result)
    known = np.isfinite(np.asarray(trace.largest))
    largest, smallest = (np.asarray(getattr(trace, k))[known] for k in ("largest", "smallest"))
    edge = float(trace.edge[-1])
    against = f"; the edge of stability ends at {edge:.3g}" if np.isfinite(edge) else ""
    return (
        f"Largest and smallest eigenvalue of the Hessian of {trace.provenance.name} along the run, "
        f"with the solver's bounds as bands: from "
        f"{largest[0]:.3g} and {smallest[0]:.3g} to {largest[-1]:.3g} and "
        f"{smallest[-1]:.3g}{against}. Dotted: g'Hg / g'g, the curvature "
        "along the gradient. Phases are shaded as in the figure of the loss."
    )


def _curved(result: Result) -> Trace:
    trace = run_loss.trace_of(result)
    if not np.isfinite(np.asarray(trace.largest)).any():
        raise style.NothingToDraw(
            "this result has no curvature: the run was traced with curvature=0."
        )
    return trace
