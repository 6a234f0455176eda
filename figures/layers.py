"""Gradient and curvature of each layer: the norm of its share of the gradient, the ends of its own
block of the Hessian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from . import style

if TYPE_CHECKING:
    from landscape.points.analyze import AnalysisReport, Layer

LONGEST = 18  # characters of a layer's name that fit


@style.styled
def draw(result: AnalysisReport) -> Figure:
    """One row a layer of ``result.layers``, in the model's order; bounds of the solver as bars."""
    layers = _layers(result)
    rows = np.arange(len(layers))
    fig = Figure(figsize=(style.COLUMN, 0.19 * len(layers) + 1.0), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True, width_ratios=(1, 1.25))
    _gradients(left, layers, rows, result.point.gradient_noise)
    _block_ends(right, layers, rows)
    left.set_yticks(rows, [short(layer.name) for layer in layers])
    left.set_ylim(len(layers) - 0.4, -0.6)
    for ax in (left, right):
        ax.grid(axis="y", color=style.QUIET, alpha=0.25, linewidth=0.5)
        ax.tick_params(axis="y", length=0)
    fig.legend(
        *right.get_legend_handles_labels(),
        loc="outside upper right",
        ncols=2,
        handletextpad=0.2,
        columnspacing=1,
    )
    return fig


def _gradients(ax: Axes, layers: Sequence[Layer], rows: np.ndarray, noise: float) -> None:
    """The norms of the layers' shares of the gradient; within its rounding ``noise`` it is 0."""
    gradient = np.array([layer.gradient_norm for layer in layers])
    shown = gradient > noise
    (line,) = ax.plot(gradient[shown], rows[shown], "D", color=style.INK, markersize=3)
    names = [layer.name for layer in layers]
    style.tell(line, [f"{names[row]}: |gradient| {gradient[row]:.4g}" for row in rows[shown]])
    ax.set_xlabel("|gradient|")
    for row in rows[~shown]:  # zero has no logarithm
        ax.text(0.03, row, "0", transform=ax.get_yaxis_transform(), va="center")
    if shown.any():
        ax.set_xscale("log")
        low, high = gradient[shown].min(), gradient[shown].max()
        ax.set_xlim(10 ** np.floor(np.log10(low) - 0.1), 10 ** np.ceil(np.log10(high) + 0.1))
        ax.xaxis.set_major_locator(LogLocator(numticks=3))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        # a length begins at 0, and there is no other
        ax.set_xlim(0, 1)
        ax.set_xticks([0])


def _block_ends(ax: Axes, layers: Sequence[Layer], rows: np.ndarray) -> None:
    """The largest and the smallest eigenvalue of each layer's own block, with the bounds."""
    style.zero_line(ax, vertical=True)
    for which, colour, marker in (
        ("largest", style.POSITIVE, "o"),
        ("smallest", style.NEGATIVE, "v"),
    ):
        ends = [getattr(layer, which) for layer in layers]
        value, error = (np.array([getattr(e, k) for e in ends]) for k in ("value", "bound"))
        drawn = ax.errorbar(
            value,
            rows,
            xerr=error,
            fmt=marker,
            color=colour,
            markersize=3,
            elinewidth=0.8,
            label=which,
        )
        told = [f"{layer.name}: {which} {v:.4g}" for layer, v in zip(layers, value, strict=True)]
        style.tell(drawn.lines[0], told)
    outer = np.array(
        [
            [layer.smallest.low, layer.smallest.high, layer.largest.low, layer.largest.high]
            for layer in layers
        ]
    )
    extent = np.abs(outer).max()
    if extent > 10 * max(float(np.median([layer.largest.high for layer in layers])), 1e-300):
        style.symlog(ax, outer.min(), outer.max(), linear=extent / 1e3, most=2)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel("ends of its block")


def caption(result: AnalysisReport) -> str:
    """What the figure shows, in words."""
    layers = _layers(result)
    steep = max(layers, key=lambda layer: layer.gradient_norm)
    sharp = max(layers, key=lambda layer: layer.largest.value)
    still = steep.gradient_norm <= result.point.gradient_noise
    slope = (
        "gradients are zero within rounding"
        if still
        else f"layer {steep.name} has the largest gradient ({steep.gradient_norm:.3g})"
    )
    return (
        f"Gradient norm and largest and smallest eigenvalue of each of {len(layers)} layers' own "
        f"block of the Hessian. Layer {sharp.name} has the largest curvature "
        f"({sharp.largest.value:.3g}); {slope}."
    )


def _layers(result: AnalysisReport) -> tuple[Layer, ...]:
    why = "layers: a formula has none, `spectrum` and --no-layers leave them out."
    found: tuple[Layer, ...] = style.need(result, "layers", "largest", why=why)
    return found


def short(name: str) -> str:
    """A layer's name, its middle left out where it is long."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST // 2 - 2].rstrip('.')}…{name[-(LONGEST // 2) :].lstrip('.')}"
