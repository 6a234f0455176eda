"""The loss along a traced run, its phases shaded, and the gradient below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from . import style

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.training.trace import Trace

    from .style import Array

PHASES = {  # colour and opacity, over paper of any colour
    "descent": ("#0072b2", 0.16),
    "plateau": ("#8a929b", 0.22),
    "saddle approach": ("#e69f00", 0.22),
    "saddle escape": ("#d55e00", 0.34),
    "edge of stability": ("#cc79a7", 0.30),
    "divergence": ("#b3261e", 0.38),
    "converged": ("#009e73", 0.22),
}
FLAT = 0.02  # a quantity that changes by less than this share looks constant
DECADES = 1.5  # a positive quantity that spans more is drawn on a log scale


@style.styled
def draw(result: Result) -> Figure:
    """Every record's loss, and the norms of the gradient of the whole and of the one the optimiser
    was given.
    """
    trace = trace_of(result)
    steps = np.asarray(trace.steps)
    fig = Figure(figsize=(style.COLUMN, 3.1), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=(1.35, 1))
    shade((top, bottom), trace)
    marker = "." if len(steps) <= 60 else ""
    loss = np.asarray(trace.loss)
    finite = np.isfinite(loss)
    top.plot(
        steps, np.where(finite, loss, np.nan), color=style.MEASURED, marker=marker, markersize=3.5
    )
    if not finite.all():
        where = steps[~finite][0]
        top.plot(
            [where],
            [0.94],
            "x",
            color=style.NEGATIVE,
            markersize=5,
            transform=top.get_xaxis_transform(),
        )
    log_if_wide(top, loss[finite])
    top.set_ylabel("loss")
    gradient, given = np.asarray(trace.gradient_norm), np.asarray(trace.batch_gradient_norm)
    bottom.plot(
        steps, _finite(gradient), color=style.INK, marker=marker, markersize=3.5, label="gradient"
    )
    bottom.plot(
        steps,
        _finite(given),
        color=style.PREDICTED,
        linestyle="--",
        linewidth=1,
        label="gradient given",
    )
    both = np.concatenate([gradient, given])
    log_if_wide(bottom, both[np.isfinite(both)])
    bottom.set(xlabel=style.STEPS, ylabel="|gradient|")
    bottom.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    bottom.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    found = dict.fromkeys(p.name for p in trace.phases)
    lines = bottom.get_legend_handles_labels()[0]
    handles = [Patch(color=PHASES[k][0], alpha=PHASES[k][1], linewidth=0, label=k) for k in found]
    fig.legend(
        handles=[*lines, *handles],
        loc="outside upper left",
        ncols=3,
        handlelength=1.2,
        columnspacing=1,
    )
    fig.align_ylabels()
    return fig


def caption(result: Result) -> str:
    """What the figure shows, in words."""
    trace = trace_of(result)
    phases = ", then ".join(f"{p.name} (steps {p.start} to {p.stop})" for p in trace.phases[:6])
    more = f" and {len(trace.phases) - 6} more" if len(trace.phases) > 6 else ""
    broken = int((~np.isfinite(np.asarray(trace.loss))).sum())
    lost = f"; at {broken} records the loss is not finite" if broken else ""
    return (
        f"Loss and gradient norm of {trace.provenance.name} at {len(trace.steps)} records of a run "
        f"of {trace.optimizer}: from "
        f"{float(trace.loss[0]):.4g} to {float(trace.loss[-1]):.4g}{lost}; "
        f"{phases or 'no phase'}{more}. Given: the gradient "
        "that the optimiser stepped by."
    )


def trace_of(result: Result) -> Trace:
    """The trace that a result is or holds, where f was evaluated."""
    why = "traced run; `landscape diagnose` and ls.Tracer store one."
    field = "" if hasattr(result, "layer_gradient") else "trace"
    held: Trace = style.need(result, field, "layer_gradient", "phases", why=why)
    return held.of_f()


def shade(axes: tuple[Axes, ...], trace: Trace) -> None:
    """The phases behind the data."""
    for phase in trace.phases:
        colour, alpha = PHASES[phase.name]
        for ax in axes:
            ax.axvspan(phase.start, phase.stop, color=colour, alpha=alpha, linewidth=0, zorder=0)


def log_if_wide(ax: Axes, values: Array) -> None:
    """A log scale for positive values over more than DECADES, with a margin and few ticks."""
    ax.ticklabel_format(axis="y", useOffset=False)
    size, middle = (
        np.ptp(values) if len(values) else 0.0,
        float(np.mean(values)) if len(values) else 0.0,
    )
    if size < FLAT * abs(middle):  # drawn as what it is
        ax.set_ylim(middle - FLAT * abs(middle), middle + FLAT * abs(middle))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        return
    positive = values[values > 0]
    if (
        not len(positive)
        or (values < 0).any()
        or np.log10(positive.max() / positive.min()) < DECADES
    ):
        ax.margins(y=0.12)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        return
    ax.set_yscale("log")
    low, high = np.log10(positive.min()), np.log10(positive.max())
    margin = 0.08 * (high - low)
    ax.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    ax.yaxis.set_major_locator(LogLocator(numticks=5))
    ax.yaxis.set_minor_locator(NullLocator())


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)
