"""Index against loss for networks of growing width, one panel a width, with Bray & Dean's curve
fitted in place and scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.inventory.widths import WidthCounts, WidthStudy


ROW = 4  # panels


@style.styled
def draw(result: WidthStudy) -> Figure:
    """One mark a stationary end."""
    networks = _networks(result)
    rows, columns = math.ceil(len(networks) / ROW), min(len(networks), ROW)
    fig = Figure(
        figsize=(style.COLUMN if columns == 1 else style.PAGE, 0.7 + 1.9 * rows),
        layout="constrained",
    )
    axes = fig.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    marker, colour, _ = style.KINDS["saddle"]
    top = max(float(net.fractions.max()) for net in networks)
    for ax, net in zip(axes, networks, strict=False):
        ax.scatter(
            net.losses,
            net.fractions,
            s=14,
            marker=marker,
            color=colour,
            linewidths=0,
            alpha=0.45,
            label="stationary points",
        )
        if net.law.losses:
            ax.plot(
                net.law.losses,
                net.law.fractions,
                color=style.PREDICTED,
                label="Bray & Dean, place and scale fitted",
            )
        ax.set_title(f"width {net.width}, n = {net.dim}")
        ax.set_ylim(-0.04 * top, 1.12 * top)
        ax.set_xlim(*_range(net.losses))
    for ax in axes[len(networks) :]:
        ax.set_visible(False)
    fig.supxlabel("loss", fontsize=7.5)
    fig.supylabel("index / n", fontsize=7.5)
    best = max(axes[: len(networks)], key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    fig.legend(*best.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return fig


def caption(result: WidthStudy) -> str:
    """What the figure shows, in words."""
    networks = _networks(result)
    said = "; ".join(
        f"width {net.width}: {len(net.losses)} ends at {net.distinct} points, correlation "
        f"{net.correlation.value:.3f} ± "
        f"{net.correlation.error:.2g}, R^2 of the curve {net.law.explained:.2f}"
        for net in networks
    )
    return (
        f"Loss against the share of negative eigenvalues at stationary points of {result.name}. "
        f"{said}."
    )


def _range(losses: Tensor) -> tuple[float, float]:
    low, high = float(losses.min()), float(losses.max())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _networks(result: WidthStudy) -> list[WidthCounts]:
    why = "stationary points of networks; see index_by_width."
    found: list[WidthCounts] = style.need(result, "networks", "law", why=why)
    known = [net for net in found if len(net.losses)]
    if not known:
        raise style.NothingToDraw(f"this result has no {why}")
    return known
