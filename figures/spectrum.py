"""Both ends of the spectrum by rank, each eigenvalue with the solver's bound and the data's
sampling error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

if TYPE_CHECKING:
    from landscape.linalg.lanczos import Eigenpairs
    from landscape.points.analyze import AnalysisReport, Spectrum

    from .style import Array


@style.styled
def draw(result: AnalysisReport) -> Figure:
    """Largest eigenvalues above, smallest below, outermost first."""
    values, bounds, errors, split = numbers(result)
    parts = [
        ("largest eigenvalues", style.POSITIVE, "o", slice(None, split - 1 if split else None, -1)),
        ("smallest eigenvalues", style.NEGATIVE, "v", slice(0, split)),
    ]
    parts = [part for part in parts if values[part[3]].size]
    fig = Figure(figsize=(style.COLUMN, 1.75 * len(parts) + 0.35), layout="constrained")
    axes = fig.subplots(len(parts), 1, squeeze=False)[:, 0]
    for ax, (title, colour, marker, chosen) in zip(axes, parts, strict=True):
        _panel(ax, values[chosen], bounds[chosen], errors[chosen], colour, marker)
        ax.set_title(title)
    _shade(axes[-1], result, values, bounds, split)
    axes[-1].set_xlabel("rank from the end")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", ncols=len(labels), handlelength=1.2)
    fig.supylabel("eigenvalue of the Hessian", fontsize=7.5)
    return fig


def _panel(ax: Axes, values: Array, bounds: Array, errors: Array, colour: str, marker: str) -> None:
    rank = np.arange(1, len(values) + 1)
    known = np.isfinite(errors)
    if known.any():
        ax.errorbar(
            rank[known],
            values[known],
            yerr=errors[known],
            fmt="none",
            color=colour,
            elinewidth=0.9,
            capsize=2.5,
            alpha=0.6,
            label="sampling error of the data",
        )
    ax.errorbar(
        rank,
        values,
        yerr=bounds,
        fmt="none",
        color=style.INK,
        elinewidth=2.2,
        label="solver bound",
        zorder=3,
    )
    (line,) = ax.plot(
        rank, values, marker, color=colour, markersize=3.6, markeredgewidth=0, zorder=4
    )
    columns = (v.tolist() for v in (rank, values, bounds, errors))
    style.tell(line, map(_told, *columns))
    low, high = values.min(), values.max()
    if low <= 0 <= high or min(abs(low), abs(high)) < 0.5 * (high - low):
        style.zero_line(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlim(0.4, len(values) + 0.6)


def _told(rank: int, value: float, bound: float, error: float) -> str:
    """One eigenvalue in words."""
    sampled = f", sampling error {error:.2g}" if np.isfinite(error) else ""
    return f"{rank}: {value:.6g}, solver bound {bound:.2g}{sampled}"


def _shade(ax: Axes, result: AnalysisReport, values: Array, bounds: Array, split: int) -> None:
    """The smallest eigenvalues that are zero, where verified symmetries make directions flat."""
    point = getattr(result, "point", result)
    flat, symmetric = getattr(point, "flat", {}), getattr(point, "symmetric", 0)
    zero = np.flatnonzero(np.abs(values[:split]) <= bounds[:split])
    if flat and len(zero):
        told = f"zero; {symmetric} flat directions are of symmetries"
        if level := sum(flat.values()) - symmetric:
            told += f", {level} are level on these data"
        ends = zero.min() + 0.5, zero.max() + 1.5
        ax.axvspan(*ends, color=style.QUIET, alpha=0.18, linewidth=0, label=told)
        ax.legend(loc="lower right")


def caption(result: AnalysisReport) -> str:
    """What the figure shows, in words."""
    values, bounds, errors, split = numbers(result)
    sampled = np.isfinite(errors).any()
    tail = (
        ", thin bars the standard error from the data sample"
        if sampled
        else "; the data's sampling error is not known"
    )
    return (
        f"The {split} smallest and {len(values) - split} largest eigenvalues of the Hessian, from "
        f"{values[0]:.4g} to "
        f"{values[-1]:.4g}; thick bars are the solver's bound (at most {bounds.max():.2g}){tail}."
    )


def numbers(result: AnalysisReport | Spectrum) -> tuple[Array, Array, Array, int]:
    """Values (k,), bounds, sampling errors, ascending, and how many belong to the lower end."""
    from landscape.linalg.words import lower_end

    why = "eigenvalues; run `landscape analyze` or `landscape spectrum`."
    held = getattr(result, "point", result)
    field = "" if hasattr(held, "vectors") else "pairs"  # it may be one itself
    pairs: Eigenpairs = style.need(held, field, "vectors", why=why)
    values, bounds = np.asarray(pairs.values), np.asarray(pairs.bounds)
    if not len(values):
        raise style.NothingToDraw(f"this result has no {why}")
    errors = getattr(result, "sampling_errors", None)
    known = np.full(len(values), np.nan) if errors is None else np.asarray(errors)
    return values, bounds, known, lower_end(pairs)
