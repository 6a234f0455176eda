"""Escape times by optimiser: every run, the median with its interval, theory beside it; runs that
did not leave, apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from . import optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.escape import Escapes, Study

SHOWN = 20_000  # runs of an optimiser that are drawn one by one; of more, one in so many
SPAN = 30  # ratio of the longest to the shortest time from which steps are on a log scale


@style.styled
def draw(result: Study) -> Figure:
    """One row an optimiser: times as a cloud, the median and its 95 % interval above, a tick where
    theory has it.
    """
    results = optimisers.study_of(result)
    fig = Figure(figsize=(style.PAGE * 0.72, 0.85 + 0.48 * len(results)), layout="constrained")
    ax = fig.subplots()
    ends = np.concatenate([np.asarray(r.ended, dtype=float) for r in results.values()])
    log = ends.max() > SPAN * max(ends.min(), 1)
    for row, (k, (label, runs)) in enumerate(reversed(list(enumerate(results.items())))):
        _row(ax, row, k, runs, result.limit)
        ax.text(
            0,
            row + 0.36,
            optimisers.short(label),
            transform=ax.get_yaxis_transform(),
            va="bottom",
            fontsize=7,
        )
    if log:
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
        ax.xaxis.set_minor_locator(NullLocator())
        top = int(np.ceil(np.log10(ends.max())))
        ax.xaxis.set_major_locator(FixedLocator([0.0, *(10.0**p for p in range(top + 1))]))
    ax.set_xlim(0, ends.max() * (1.7 if log else 1.05))
    ax.set_ylim(-0.45, len(results) - 0.12)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("optimiser steps until the event")
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    fig.legend(
        unique.values(),
        unique.keys(),
        loc="outside upper left",
        ncols=len(unique),
        columnspacing=1.2,
        handletextpad=0.3,
    )
    return fig


def _row(ax: Axes, row: int, k: int, runs: Escapes, limit: int) -> None:
    colour = optimisers.look(k)["color"]
    times, left, diverged = (np.asarray(v) for v in (runs.ended, runs.escaped, runs.diverged))
    order = np.argsort(np.argsort(times, kind="stable"))
    height = row + 0.2 * ((order * 0.6180339887) % 1 - 0.5)  # spread evenly whatever the number
    some = slice(None, None, -(-len(times) // SHOWN))
    ax.plot(
        times[left][some],
        height[left][some],
        ".",
        color=colour,
        markersize=2.6,
        alpha=0.5,
        markeredgewidth=0,
    )
    for gone, marker, words in ((~left & ~diverged, ">", "given up"), (diverged, "x", "diverged")):
        if gone.any():
            at, count = times[gone].max(), int(gone.sum())
            shown = min(count, 5)
            spread = row + 0.2 * (np.arange(shown) - (shown - 1) / 2) / 4
            ax.plot(
                [at] * shown,
                spread,
                linestyle="none",
                marker=marker,
                markersize=3.6,
                markerfacecolor="white",
                markeredgecolor=colour if marker == ">" else style.NEGATIVE,
                markeredgewidth=0.7,
                zorder=3,
            )
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
            ax.annotate(
                f"{count} {words}",
                (at, row),
                xytext=(-6, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=6.5,
                color=style.INK,
                bbox=paper,
            )
    m = runs.median
    if np.isfinite(m.value):
        high = m.high if np.isfinite(m.high) else limit
        ax.plot([m.low, high], [row + 0.24] * 2, color=style.INK, linewidth=1.1)
        ax.plot(m.value, row + 0.24, "o", color=style.INK, markersize=3.4, label="median, 95 %")
    expected = runs.theory.median
    if expected is not None and np.isfinite(expected):
        ax.plot(
            [expected] * 2,
            [row - 0.22, row + 0.22],
            color=style.INK,
            linewidth=1.0,
            linestyle=(0, (2, 1)),
            label="median in theory",
            zorder=5,
        )


def caption(result: Study) -> str:
    """What the figure shows, in words."""
    results = optimisers.study_of(result)
    parts = []
    for label, runs in results.items():
        m, expected = runs.median, runs.theory.median
        stays = int((~np.asarray(runs.escaped) & ~np.asarray(runs.diverged)).sum())
        words = (
            f"{label}: median {m.value:.0f}"
            if np.isfinite(m.value)
            else f"{label}: median beyond {result.limit}"
        )
        words += (
            f", in theory {expected:.0f}" if expected is not None and np.isfinite(expected) else ""
        )
        words += f", {stays} runs given up" if stays else ""
        parts.append(
            words
            + (
                f", {int(np.asarray(runs.diverged).sum())} diverged"
                if bool(np.asarray(runs.diverged).any())
                else ""
            )
        )
    return (
        f"Steps until {len(result.starts)} runs left {result.provenance.name} by optimiser; "
        f"{'; '.join(parts)}."
    )
