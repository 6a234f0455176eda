"""The whole spectrum: shares of eigenvalues at the quadrature's nodes, on a log scale, nothing
smoothed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from landscape.linalg.quadrature import SpectralDensity
    from landscape.points.analyze import AnalysisReport

    from .style import Array

FLOOR = 0.03  # of one eigenvalue's share: nodes with less are copies that rounding makes, and noise


@style.styled
def draw(result: AnalysisReport) -> Figure:
    """Weights (m,) at nodes (m,) of ``result.density``, with one standard error; weights of zero
    have no logarithm.
    """
    density = _density(result)
    nodes, weights, errors = (
        np.asarray(v) for v in (density.nodes, density.weights, density.errors)
    )
    fig = Figure(figsize=(style.COLUMN, 2.5), layout="constrained")
    ax = fig.subplots()
    style.zero_line(ax, vertical=True)
    for label, colour, marker, mask in (
        ("negative", style.NEGATIVE, "v", nodes < 0),
        ("positive", style.POSITIVE, "o", nodes >= 0),
    ):
        mask = mask & (weights > 0)
        if mask.any():
            ax.errorbar(
                nodes[mask],
                weights[mask],
                yerr=errors[mask],
                fmt=marker,
                color=colour,
                label=label,
                markersize=2.6,
                markeredgewidth=0,
                elinewidth=0.6,
                alpha=0.85,
            )
    ax.axhline(
        1 / density.dimension,
        color=style.QUIET,
        linewidth=0.7,
        linestyle=":",
        zorder=0,
        label="one eigenvalue",
    )
    ax.set(xlabel="eigenvalue of the Hessian", ylabel="share of the spectrum")
    ax.set_yscale("log", nonpositive="clip")  # bars that reach down to zero are cut at the frame
    ax.set_ylim(FLOOR / density.dimension, 2)
    extent = np.abs(nodes).max()
    bulk = _bulk(nodes, weights)
    if extent > 30 * bulk:
        style.symlog(ax, nodes.min(), nodes.max(), linear=max(bulk, extent / 1e3), most=3)
    fig.legend(loc="outside upper left", ncols=3, handletextpad=0.2, columnspacing=1)
    return fig


def caption(result: AnalysisReport) -> str:
    """What the figure shows, in words."""
    density = _density(result)
    nodes, weights = np.asarray(density.nodes), np.asarray(density.weights)
    below = int((weights < FLOOR / density.dimension).sum())
    hidden = (
        f" {below} nodes with less than {FLOOR:g} eigenvalues' share lie below the frame."
        if below
        else ""
    )
    return (
        f"Spectral density of the Hessian at {nodes.size} quadrature nodes from {nodes.min():.3g} "
        f"to {nodes.max():.3g}; "
        "share of the eigenvalues on a log scale, bars are one standard error between probes, "
        "nothing is smoothed, the dotted "
        f"line is the share of a single eigenvalue.{hidden}"
    )


def _density(result: AnalysisReport) -> SpectralDensity:
    why = "spectral density; run `landscape analyze` or `landscape spectrum`."
    field = "" if hasattr(result, "nodes") else "density"
    density: SpectralDensity = style.need(result, field, "nodes", why=why)
    return density


def _bulk(nodes: Array, weights: Array) -> float:
    """The |eigenvalue| that nine tenths of the spectrum lie within: it decides the scale of the
    axis, nothing else.
    """
    order = np.argsort(np.abs(nodes))
    return float(
        np.abs(nodes)[order][np.searchsorted(np.cumsum(weights[order]), 0.9 * weights.sum())]
    )
