"""The whole spectrum on a log scale: a histogram where every eigenvalue is known, else the shares
at the quadrature's nodes as they are, with a smoothed line behind them for the eye, and below them
the band in which the number of eigenvalues beyond every level lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from landscape.linalg.quadrature import SpectralDensity
    from landscape.points.analyze import AnalysisReport

    from .style import Array

FLOOR = 0.03  # of one eigenvalue's share: nodes with less are copies that rounding makes, and noise
BINS = 60  # of a histogram
WIDTH = 0.012  # of the smoothed line's kernel, as a share of the axis
LEVELS = 240  # at which the band is drawn


@style.styled
def draw(result: AnalysisReport) -> Figure:
    """A histogram of all eigenvalues of ``result.point``; else weights (m,) at nodes (m,) of
    ``result.density``, with one standard error, above its ``band``; weights of zero have no
    logarithm.
    """
    density, exact = _density(result), _exact(result)
    nodes, weights = np.asarray(density.nodes), np.asarray(density.weights)
    if exact is not None:
        nodes, weights = exact, np.full(len(exact), 1 / len(exact))
    fig, ax, below = _axes(band=exact is None)
    style.zero_line(ax, vertical=True)
    extent, bulk = np.abs(nodes).max(), _bulk(nodes, weights)
    ax.set_xlim(*_limits(nodes))
    if extent > 30 * bulk:
        style.symlog(ax, nodes.min(), nodes.max(), linear=max(bulk, extent / 1e3), most=3)
    if exact is not None:
        _histogram(ax, exact)
    else:
        _nodes(ax, nodes, weights, np.asarray(density.errors))
        _band(below, density)
    ax.axhline(
        1 / density.dimension,
        color=style.QUIET,
        linewidth=0.7,
        linestyle=":",
        zorder=0,
        label="one eigenvalue",
    )
    below.set_xlabel("eigenvalue of the Hessian")
    ax.set_ylabel("share of the spectrum")
    ax.set_yscale("log", nonpositive="clip")  # bars that reach down to zero are cut at the frame
    ax.set_ylim(FLOOR / density.dimension if exact is None else 0.5 / len(exact), 2)
    fig.legend(loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1)
    return fig


def _axes(*, band: bool) -> tuple[Figure, Axes, Axes]:
    """A figure, the axes of the density, and those below it, which are the same without a band."""
    fig = Figure(figsize=(style.COLUMN, 3.6 if band else 2.5), layout="constrained")
    if not band:
        ax = fig.subplots()
        return fig, ax, ax
    ax, below = fig.subplots(2, sharex=True, height_ratios=[3, 2])
    return fig, ax, below


def _band(ax: Axes, density: SpectralDensity) -> None:
    """Between how many eigenvalues lie beyond each level, seen from 0."""
    levels = _across(ax, LEVELS)
    low, high = (np.asarray(side) for side in density.band(levels.tolist()))
    least = np.where(levels < 0, low, density.dimension - high)
    most = np.where(levels < 0, high, density.dimension - low)
    style.zero_line(ax, vertical=True)
    ax.fill_between(levels, np.maximum(least, 0.5), np.maximum(most, 0.5), color=style.SHADE)
    for side in (least, most):
        ax.step(levels, np.maximum(side, 0.5), where="mid", color=style.QUIET, linewidth=0.7)
    ax.set_yscale("log")
    ax.set_ylim(0.5, 2 * density.dimension)
    ax.set_ylabel("eigenvalues beyond")


def _histogram(ax: Axes, values: Array) -> None:
    """Shares of all eigenvalues in bins that are equally wide on the axis."""
    edges = _across(ax, BINS + 1)
    for label, colour, sign in (
        ("negative", style.NEGATIVE, values < 0),
        ("positive", style.POSITIVE, values >= 0),
    ):
        if sign.any():
            counts, _ = np.histogram(values[sign], edges)
            ax.stairs(counts / len(values), edges, color=colour, fill=True, alpha=0.75, label=label)


def _nodes(ax: Axes, nodes: Array, weights: Array, errors: Array) -> None:
    """The shares at the nodes with their errors, before a line that is smoothed for the eye."""
    line = _across(ax, 400)
    places, at = (ax.xaxis.get_transform().transform(v) for v in (nodes, line))
    width = WIDTH * (at[-1] - at[0])
    kernel = np.exp(-(((at[:, None] - places) / width) ** 2) / 2)
    ax.plot(line, kernel @ weights, color=style.QUIET, linewidth=0.9, label="smoothed", zorder=1)
    for label, colour, marker, mask in (
        ("negative", style.NEGATIVE, "v", nodes < 0),
        ("positive", style.POSITIVE, "o", nodes >= 0),
    ):
        mask = mask & (weights > 0)
        if mask.any():
            drawn = ax.errorbar(
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
            style.tell(
                drawn.lines[0],
                map("{:.4g}: {:.3g} of the spectrum".format, nodes[mask], weights[mask]),
            )


def _limits(nodes: Array) -> tuple[float, float]:
    """The ends of the axis: those of the spectrum and a twentieth more."""
    low, high = min(float(nodes.min()), 0.0), max(float(nodes.max()), 0.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _across(ax: Axes, count: int) -> Array:
    """So many places that are equally far apart on the axis."""
    transform = ax.xaxis.get_transform()
    low, high = transform.transform(np.array(ax.get_xlim()))
    return np.asarray(transform.inverted().transform(np.linspace(low, high, count)))


def caption(result: AnalysisReport) -> str:
    """What the figure shows, in words."""
    density, exact = _density(result), _exact(result)
    if exact is not None:
        return (
            f"All {len(exact):,} eigenvalues of the Hessian, from {exact.min():.3g} to "
            f"{exact.max():.3g}, in {BINS} bins; share of the spectrum on a log scale, the dotted "
            f"line is the share of a single eigenvalue."
        )
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
        "the grey line is smoothed for the eye, the dotted "
        f"line is the share of a single eigenvalue.{hidden} Below: between how many eigenvalues "
        "lie beyond each level, seen from 0, with 95 % confidence for all levels at once."
    )


def _density(result: AnalysisReport) -> SpectralDensity:
    why = "spectral density; run `landscape analyze` or `landscape spectrum`."
    field = "" if hasattr(result, "nodes") else "density"
    density: SpectralDensity = style.need(result, field, "nodes", why=why)
    return density


def _exact(result: AnalysisReport) -> Array | None:
    """All eigenvalues (n,), where the whole spectrum was computed."""
    values = getattr(getattr(result, "point", None), "eigenvalues", None)
    if values is None or len(values) != _density(result).dimension:
        return None
    return np.asarray(values)


def _bulk(nodes: Array, weights: Array) -> float:
    """The |eigenvalue| that nine tenths of the spectrum lie within: it decides the scale of the
    axis, nothing else.
    """
    order = np.argsort(np.abs(nodes))
    return float(
        np.abs(nodes)[order][np.searchsorted(np.cumsum(weights[order]), 0.9 * weights.sum())]
    )
