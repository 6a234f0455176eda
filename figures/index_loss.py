"""Index against loss of a network's stationary points (Dauphin et al. 2014, figure 1), the
gradient-flat ends apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.inventory.networks import NetworkCensus


@style.styled
def draw(result: NetworkCensus) -> Figure:
    """One mark an end: stationary ones filled, gradient-flat ones hollow, the others left out."""
    stationary, flat = _ends(result)
    fig = Figure(figsize=(style.COLUMN, 2.6), layout="constrained")
    ax = fig.subplots()
    marker, colour, _ = style.KINDS["saddle"]
    ax.scatter(
        result.losses[flat],
        result.fractions[flat],
        s=14,
        marker="s",
        facecolors="none",
        edgecolors=style.QUIET,
        linewidths=0.8,
        label=f"gradient-flat, not stationary ({int(flat.sum())})",
    )
    ax.scatter(
        result.losses[stationary],
        result.fractions[stationary],
        s=16,
        marker=marker,
        color=colour,
        linewidths=0,
        alpha=0.6,
        label=f"stationary ({int(stationary.sum())})",
    )
    ax.set(xlabel="loss", ylabel="index / n")
    ax.margins(x=0.06, y=0.1)
    fig.legend(loc="outside upper left", ncols=1, handletextpad=0.2)
    return fig


def caption(result: NetworkCensus) -> str:
    """What the figure shows, in words."""
    stationary, flat = _ends(result)
    losses, r = result.losses[stationary], result.correlation
    searches = "searches that ended where the gradient norm has a minimum and is not zero"
    return (
        f"{int(stationary.sum())} stationary points of {result.name} ({result.distinct} of them "
        f"distinct), loss from "
        f"{float(losses.min()):.4g} to {float(losses.max()):.4g} against the share of negative "
        f"eigenvalues; "
        f"correlation {r.value:.4f} ± {r.error:.2g}. Hollow: {int(flat.sum())} {searches}."
    )


def _ends(result: NetworkCensus) -> tuple[Tensor, Tensor]:
    """Which ends are stationary, and which gradient-flat."""
    why = "stationary points of a network; see `landscape saddles census`."
    stationary: Tensor = style.need(result, "stationary", why=why)
    if not bool(stationary.any()):
        raise style.NothingToDraw(f"this result has no {why}")
    return stationary, result.flat
