"""The whole spectrum: shares of eigenvalues at the quadrature's nodes, on a log scale, nothing smoothed."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from . import style


@style.styled
def draw(result: Any) -> Figure:
    """Weights (m,) at nodes (m,) of ``result.density``, with one standard error; weights of zero have no logarithm."""
    density = _density(result)
    nodes, weights, errors = (np.asarray(v) for v in (density.nodes, density.weights, density.errors))
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
    ax.set(xlabel="eigenvalue of the Hessian", ylabel="share of the spectrum")
    ax.set_yscale("log", nonpositive="clip")
    if weights.max() > 0:  # bars that reach down to zero are cut at the frame
        ax.set_ylim(weights[weights > 0].min() / 3, min(weights.max() * 3, 2))
    spread = np.abs(nodes[weights > 0])
    if spread.size and spread.max() > 30 * max(float(np.median(spread)), 1e-300):
        ax.set_xscale("symlog", linthresh=_power_of_ten(spread), linscale=0.5)
        ax.set_xlim(*(v * (1.6 if v * side > 0 else 0.6) for v, side in ((nodes.min(), -1), (nodes.max(), 1))))
    fig.legend(loc="outside upper left", ncols=2, handletextpad=0.2, columnspacing=1)
    return fig


def caption(result: Any) -> str:
    density = _density(result)
    nodes = np.asarray(density.nodes)
    return (
        f"Spectral density of the Hessian at {nodes.size} quadrature nodes from {nodes.min():.3g} to {nodes.max():.3g}; "
        "share of the eigenvalues on a log scale, bars are one standard error between probes, nothing is smoothed."
    )


def _density(result: Any) -> Any:
    density = getattr(result, "density", None)
    if density is None:
        raise style.NothingToDraw(
            "this result has no spectral density; run `landscape analyze` or `landscape spectrum`."
        )
    return density


def _power_of_ten(spread: "np.ndarray[Any, Any]") -> float:
    """Where the symmetric log scale turns linear: at most four decades below the largest node."""
    top = float(np.floor(np.log10(spread.max())))
    low = float(np.floor(np.log10(max(float(np.median(spread)), 10 ** (top - 4)))))
    return float(10.0**low)
