"""What remedies did on copies of a stuck run, against the unchanged run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.results import Estimate
    from landscape.training.diagnose import Diagnosis, DiagnosisReport
    from landscape.training.probes import Probes

ROOM = 1.25  # of the largest gain: what goes beyond is marked at the border


@style.styled
def draw(result: DiagnosisReport) -> Figure:
    """One row a remedy: the mean change of the loss less the control's, with its 95 % interval;
    gains are on the left.
    """
    trials = _trials(result)
    rows = trials.probes
    gains = [-p.against_control.value for p in rows if np.isfinite(p.against_control.value)]
    extent = ROOM * max([*gains, 3 * trials.negligible])
    fig = Figure(figsize=(style.COLUMN, 0.2 * len(rows) + 1.2), layout="constrained")
    ax = fig.subplots()
    ax.axvspan(
        -trials.negligible,
        trials.negligible,
        color=style.QUIET,
        alpha=0.22,
        linewidth=0,
        zorder=0,
        label="negligible",
    )
    style.zero_line(ax, vertical=True)
    for i, probe in enumerate(rows):
        change = probe.against_control
        if not np.isfinite(change.value) or change.value > extent:
            _outside(ax, i, change, extent)
        elif probe.name == "control":
            ax.plot([0], [i], "D", color=style.INK, markersize=4, zorder=4)
        else:
            _inside(ax, i, change, extent, won=probe.name == trials.best)
    ax.set_yticks(range(len(rows)), [p.name for p in rows])
    for label, probe in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if probe.name == trials.best else "normal")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(-extent, extent)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=style.QUIET, alpha=0.25, linewidth=0.5)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("loss, less the unchanged run's")
    winner = "no remedy wins" if trials.best == "control" else f"{trials.best} wins"
    fig.suptitle(
        f"after {trials.steps} steps: {winner}", x=0.02, ha="left", fontsize=8, fontweight="bold"
    )
    fig.legend(loc="outside lower right", handlelength=1.2)
    return fig


def _outside(ax: Axes, row: int, change: Estimate, extent: float) -> None:
    """A change beyond the axis, or none that is finite: an arrow at the border, and words."""
    words = f"+{change.value:.2g}" if np.isfinite(change.value) else "not finite"
    red = style.NEGATIVE
    ax.plot([extent], [row], ">", color=red, markersize=4.5, clip_on=False, zorder=4)
    ax.text(0.93 * extent, row, words, ha="right", va="center", color=red, fontsize=6.5)


def _inside(ax: Axes, row: int, change: Estimate, extent: float, *, won: bool) -> None:
    """A change and its interval; the winner's mark is a larger one."""
    colour = style.INK if change.value <= 0 else style.QUIET
    marker, size = "s", 3.5
    if won:
        colour, marker, size = style.POSITIVE, "o", 5
    ends = np.clip([change.low, change.high], -extent, extent)
    ax.plot(ends, [row, row], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=3)
    ax.plot([change.value], [row], marker, color=colour, markersize=size, zorder=4)


def caption(result: DiagnosisReport) -> str:
    """What the figure shows, in words."""
    trials = _trials(result)
    told = "no remedy gains more than is negligible for certain"
    if trials.best != "control":
        gain = trials[trials.best].against_control
        told = (
            f"{trials.best} wins, by {-gain.value:.3g} (95 % interval {-gain.high:.3g} to "
            f"{-gain.low:.3g})"
        )
    leap = (
        ""
        if trials.leap is None
        else f"; a step of length {trials.leap:.3g} {trials.along} gains more"
    )
    return (
        f"Loss after {trials.steps} steps with each of {len(trials.probes) - 1} remedies less that "
        f"of the unchanged run, mean and 95 % "
        f"interval over {trials.seeds} seeds: {told}{leap}. Shaded: up to {trials.negligible:.2g} "
        f"gains are negligible. Triangles: beyond."
    )


def _trials(result: DiagnosisReport | Diagnosis | Probes) -> Probes:
    why = "trials of remedies; `landscape diagnose` runs them where it has a model."
    holder = result.diagnosis if hasattr(result, "diagnosis") else result
    field = "" if hasattr(result, "negligible") else "trials"
    trials: Probes = style.need(holder, field, "negligible", why=why)
    return trials
