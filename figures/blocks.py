"""The Hessian as a picture, entry by entry in size, with lines between the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from . import layers, levels, style

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

    from landscape.points.blocks import Blocks

DECADES = 4  # of sizes that are told apart
NARROW = 0.02  # of the matrix: layers with less have no name beside them


@style.styled
def draw(result: Blocks) -> Figure:
    """Mean |H| of every cell of ``result.picture`` on a log scale, rows and columns in the layers'
    order.
    """
    style.need(result, "norms", why="blocks of the Hessian; see `ls.points.blocks`.")
    fig = Figure(figsize=(style.COLUMN, 3.0), layout="constrained")
    ax = fig.subplots()
    picture = np.asarray(result.picture)
    drawn = panel(ax, result, limits(picture))
    fig.colorbar(drawn, ax=ax, label="|entry of the Hessian|, mean of a cell", shrink=0.9)
    return fig


def limits(*pictures: style.Array) -> LogNorm:
    """One scale of sizes for all of them."""
    high = max(float(p.max()) for p in pictures) or 1.0
    return LogNorm(high * 10.0**-DECADES, high, clip=True)


def panel(ax: Axes, result: Blocks, norm: LogNorm) -> AxesImage:
    """The picture with lines between layers and their names."""
    sizes = np.asarray(result.sizes)
    n, ends = int(sizes.sum()), np.cumsum(sizes)
    drawn = ax.imshow(
        np.asarray(result.picture),
        norm=norm,
        cmap=levels.DEEP,
        extent=(0, n, n, 0),
        interpolation="nearest",
    )
    for end in ends[:-1]:
        ax.axhline(end, color=style.PREDICTED, linewidth=0.7)
        ax.axvline(end, color=style.PREDICTED, linewidth=0.7)
    middles, shown = ends - sizes / 2, sizes > NARROW * n
    names = [layers.short(name) for name, show in zip(result.layers, shown, strict=True) if show]
    ax.set_xticks(middles[shown], names, rotation=90 if max(map(len, names)) > 4 else 0)
    ax.set_yticks(middles[shown], names)
    ax.tick_params(length=0)
    return drawn


def caption(result: Blocks) -> str:
    """What the figure shows, in words."""
    style.need(result, "norms", why="blocks of the Hessian; see `ls.points.blocks`.")
    cells = len(result.picture)
    return (
        f"Sizes of the entries of the Hessian of {result.name or 'a model'}, {sum(result.sizes):,} "
        f"parameters in {cells} by {cells} cells, layer by layer in the model's order; "
        f"{100 * result.diagonal_share:.3g} % of its squared Frobenius norm lies within the "
        f"{len(result.layers)} layers' own blocks."
    )
