"""Hessians, planes and valleys of networks on digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import blocks, connection, levels, style, surface
from .. import index_loss as by_loss

if TYPE_CHECKING:
    from landscape.gallery import Exhibit


def index_loss(exhibit: Exhibit) -> Figure:
    """Index against loss."""
    return by_loss.draw(exhibit.data["census"])


@style.styled
def outliers(exhibit: Exhibit) -> Figure:
    """The density of one network's Hessian with its top eigenvalues; ratios of neighbours for all
    networks.
    """
    density, T = exhibit.data["density"], np.asarray(exhibit.data["eigenvalues"])
    fig = Figure(figsize=(style.PAGE, 2.6), layout="constrained")
    left, right = fig.subplots(1, 2)
    nodes, weights = np.asarray(density.nodes), np.asarray(density.weights)
    keep = weights > 0.03 / density.dimension
    left.plot(
        nodes[keep],
        weights[keep],
        "o",
        color=style.MEASURED,
        markersize=2.6,
        markeredgewidth=0,
        alpha=0.8,
        label="quadrature",
    )
    left.vlines(
        T[0, :9],
        1e-5,
        1 / density.dimension,
        color=style.NEGATIVE,
        linewidth=1,
        label="the nine largest",
    )
    left.axhline(
        1 / density.dimension,
        color=style.QUIET,
        linewidth=0.7,
        linestyle=":",
        label="one eigenvalue",
    )
    left.set(
        yscale="log",
        xlabel="eigenvalue of the Hessian",
        ylabel="share of the spectrum",
        ylim=(1e-5, 2),
    )
    left.legend(loc="upper right")
    gaps = T[:, :-1] / T[:, 1:]
    rank = np.arange(1, gaps.shape[1] + 1)
    for k, row in enumerate(gaps):
        right.plot(
            rank, row, color="#9fc3dc", linewidth=0.7, zorder=2, label=None if k else "a network"
        )
    right.plot(
        rank,
        np.exp(np.log(gaps).mean(0)),
        "o-",
        color=style.MEASURED,
        markersize=3,
        label="mean of five",
        zorder=3,
    )
    right.axvline(
        9,
        color=style.PREDICTED,
        linestyle=(0, (4, 2)),
        linewidth=1,
        label="classes \u2212 1 = 9",
        zorder=1,
    )
    right.set(xlabel="k, from the largest", ylabel="eigenvalue k over k + 1")
    right.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    right.legend(loc="upper right")
    return fig


@style.styled
def skip_connections(exhibit: Exhibit) -> Figure:
    """Both surfaces in space, in log f, on one scale."""
    found = exhibit.data["surfaces"]
    fig = Figure(figsize=(style.PAGE, 3.0))
    heights = {name: np.log10(np.asarray(s.values)) for name, s in found.items()}
    low = min(np.nanmin(h[np.isfinite(h)]) for h in heights.values())
    high = max(np.nanmax(h[np.isfinite(h)]) for h in heights.values())
    for k, (name, s) in enumerate(found.items()):
        ax = style.axes_in_space(fig, (0.02 + 0.48 * k, 0.0, 0.46, 0.95))
        a = np.asarray(s.steps)
        A, B = np.meshgrid(a, a, indexing="ij")
        ax.plot_surface(
            A,
            B,
            np.where(np.isfinite(heights[name]), heights[name], np.nan),
            cmap=levels.DEEP,
            rstride=1,
            cstride=1,
            linewidth=0.1,
            edgecolor="#ffffff50",
            vmin=low,
            vmax=high,
        )
        style.space(ax)
        ax.set_zlim(low, high)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        ax.zaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel("step along u", labelpad=-5)
        ax.set_ylabel("step along v", labelpad=-5)
        ax.set_zlabel("log$_{10}$ of the loss", labelpad=-3)
        fig.text(0.03 + 0.48 * k, 0.94, name, fontsize=8, fontweight="bold")
    return fig


@style.styled
def block_structure(exhibit: Exhibit) -> Figure:
    """Both Hessians on one scale of sizes."""
    seen = exhibit.data["blocks"]
    fig = Figure(figsize=(style.PAGE, 3.2), layout="constrained")
    axes = fig.subplots(1, 2)
    norm = blocks.limits(*(np.asarray(b.picture) for b in seen.values()))
    for ax, (name, found) in zip(axes, seen.items(), strict=True):
        drawn = blocks.panel(ax, found, norm)
        ax.set_title(f"{name}: {100 * found.diagonal_share:.3g} % within the layers")
    fig.colorbar(drawn, ax=axes, label="|entry of the Hessian|, mean of a cell", shrink=0.9)
    return fig


def training_plane(exhibit: Exhibit) -> Figure:
    """Contours with both runs."""
    return surface.draw(exhibit.data["plane"])


@style.styled
def mode_connection(exhibit: Exhibit) -> Figure:
    """The plane of the curve beside f along it."""
    made = exhibit.data["connection"]
    plane = levels.plane_of(made)
    steps, values = levels.arrays(plane)
    fig = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
    left, right = fig.subplots(1, 2)
    levels.filled(fig, left, steps, values, "loss")
    for name, colour, walk in levels.walks(plane):
        where = np.asarray(walk.where)
        left.plot(where[:, 0], where[:, 1], color=colour, linewidth=1.3, label=name)
        left.plot(
            where[[0, -1], 0], where[[0, -1], 1], "o", color=style.INK, markersize=3.5, zorder=5
        )
    left.set(xlabel="along the line between the networks", ylabel="across it")
    for label, part, colour in (
        ("straight line", made.straight, levels.WALKS[1]),
        (f"{made.kind} curve", made.curve, levels.WALKS[0]),
    ):
        right.plot(
            np.asarray(part.t),
            np.asarray(part.values),
            color=colour,
            label=f"{label}, barrier {part.barrier:.3g}",
        )
    right.set(
        xlabel="t, from one network to the other",
        ylabel="loss along the way",
        ylim=(0, 1.25 * float(np.asarray(made.straight.values).max())),
    )
    right.legend(loc="upper right")
    return fig


__all__ = [
    "block_structure",
    "connection",
    "index_loss",
    "mode_connection",
    "outliers",
    "skip_connections",
    "training_plane",
]
