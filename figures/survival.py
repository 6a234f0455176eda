"""What a change of the weights does to the loss, tensor by tensor: predicted beside measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from . import style
from .layers import short

if TYPE_CHECKING:
    from landscape.points.survive import Change, Survival

MOST = 24  # rows


@style.styled
def draw(result: Survival) -> Figure:
    """One row a tensor, the most harmful first, and one for all of them."""
    changes = _changes(result)
    rows = np.arange(len(changes))
    fig = Figure(figsize=(style.COLUMN, 0.2 * len(changes) + 1.2), layout="constrained")
    ax = fig.subplots()
    style.zero_line(ax, vertical=True)
    value, low, high = (
        np.array([getattr(change.predicted, k) for change in changes])
        for k in ("value", "low", "high")
    )
    ax.errorbar(
        value,
        rows,
        xerr=(value - low, high - value),
        fmt="D",
        color=style.QUIET,
        markersize=3,
        elinewidth=0.9,
        label="predicted, with third and fourth order",
    )
    measured = np.array([change.measured.value for change in changes])
    errors = np.nan_to_num([change.measured.error for change in changes])
    ax.errorbar(
        measured,
        rows,
        xerr=errors,
        fmt="o",
        color=style.MEASURED,
        markersize=3,
        elinewidth=0.9,
        label="measured, with sampling error",
    )
    ax.set_yticks(rows, [short(change.name) for change in changes])
    ax.set_ylim(len(changes) - 0.4, -0.6)
    ax.set_xlabel("change of the loss")
    largest = float(np.abs(measured).max()) or 1.0
    style.symlog(ax, min(measured.min(), 0.0), largest, linear=largest / 1e3, most=3)
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=1)
    return fig


def caption(result: Survival) -> str:
    """What the figure shows, in words."""
    whole = _changes(result)[-1]
    return (
        f"What {result.change} does to the loss of {result.name}, tensor by tensor, predicted by "
        f"gradient and Hessian beside measured; all of them together {whole.measured.value:.3g}, "
        f"predicted {whole.predicted.value:.3g}."
    )


def _changes(result: Survival) -> list[Change]:
    if not hasattr(result, "keep") or not hasattr(result, "whole"):
        raise style.NothingToDraw("this result has no change of weights; see `landscape survive`.")
    return [*result.layers[:MOST], result.whole]
