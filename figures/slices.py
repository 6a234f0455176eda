"""The loss measured along the top and the most negative eigenvector, over the parabola that
gradient and curvature predict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.points.analyze import AnalysisReport, Slice

NAMES = {"largest": "along the top eigenvector", "smallest": "along the lowest eigenvector"}


@style.styled
def draw(result: AnalysisReport) -> Figure:
    """One panel a slice of ``result.slices``; points where the loss is not finite are left out of
    the line and marked.
    """
    slices = _slices(result)
    fig = Figure(figsize=(style.COLUMN, 2.05 * len(slices) + 0.25), layout="constrained")
    axes = fig.subplots(len(slices), 1, squeeze=False)[:, 0]
    for ax, piece in zip(axes, slices, strict=True):
        _panel(ax, piece)
    axes[-1].set_xlabel("distance from the point along the unit eigenvector")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=len(labels),
        handlelength=1.8,
        columnspacing=1.2,
    )
    return fig


def _panel(ax: Axes, piece: Slice) -> None:
    t, values, predicted = (np.asarray(v) for v in (piece.t, piece.values, piece.predicted))
    finite = np.isfinite(values)
    ax.plot(
        t,
        predicted,
        color=style.PREDICTED,
        linestyle=(0, (4, 2)),
        linewidth=1.8,
        label="predicted parabola",
    )
    (line,) = ax.plot(
        t,
        np.where(finite, values, np.nan),
        color=style.MEASURED,
        marker="o",
        markersize=2.4,
        linewidth=0.8,
        label="measured",
    )
    style.tell(line, map("at {:.4g}: {:.6g}".format, t[finite], values[finite]))
    if finite.any():  # the frame is the measured loss; a parabola that leaves it is cut
        low, high = values[finite].min(), values[finite].max()
        margin = 0.12 * (high - low) or max(abs(high) * 1e-6, 1e-12)
        ax.set_ylim(low - margin, high + 1.5 * margin)
    if not finite.all():
        ax.plot(
            t[~finite],
            np.full(int((~finite).sum()), 0.04),
            "x",
            color=style.NEGATIVE,
            markersize=4,
            transform=ax.get_xaxis_transform(),
            label="not finite",
        )
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.axvline(0, color=style.QUIET, linewidth=0.7, zorder=0)
    name = NAMES.get(piece.name, piece.name).removeprefix("along the ")
    ax.set_title(f"{name}, curvature {piece.curvature:.3g}".replace("-", "−"))
    ax.set_ylabel("loss")


def caption(result: AnalysisReport) -> str:
    """What the figure shows, in words."""
    parts = [
        f"{NAMES.get(s.name, s.name)} (curvature {s.curvature:.3g}, slope {s.slope:.3g})"
        for s in _slices(result)
    ]
    lost = sum(int((~np.isfinite(np.asarray(s.values))).sum()) for s in result.slices)
    marked = f" {lost} points where the loss is not finite are marked by crosses." if lost else ""
    return (
        f"Measured loss {' and '.join(parts)}, over the parabola that the gradient and the Hessian "
        f"predict; "
        f"where they part, the quadratic picture ends.{marked}"
    )


def _slices(result: AnalysisReport) -> tuple[Slice, ...]:
    why = "slices along eigenvectors; run `landscape analyze`."
    found: tuple[Slice, ...] = style.need(result, "slices", "predicted", why=why)
    return found
