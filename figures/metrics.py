"""What was measured on a plane beside f, a panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style

if TYPE_CHECKING:
    from landscape.surfaces.result import Surface

    from .style import Array


@style.styled
def draw(result: Surface) -> Figure:
    """Contours of each metric; cells that are not finite are hatched."""
    surface, found = _metrics(result)
    steps = np.asarray(surface.steps[levels.thin(surface)], dtype=float)
    fig = Figure(figsize=(style.COLUMN, 2.9 * len(found)), layout="constrained")
    for ax, (name, values) in zip(
        fig.subplots(len(found), 1, squeeze=False)[:, 0], found.items(), strict=True
    ):
        levels.filled(fig, ax, steps, values, name)
        ax.plot(0, 0, "+", color=style.NEGATIVE, markersize=7, markeredgewidth=1.4)
        ax.set(xlabel="step along u", ylabel="step along v")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
    return fig


def caption(result: Surface) -> str:
    """What the figure shows, in words."""
    surface, found = _metrics(result)
    return (
        f"{levels.words(surface).replace('Values', ' and '.join(found).capitalize(), 1)} The cross "
        f"is the centre."
    )


def _metrics(result: Surface) -> tuple[Surface, dict[str, Array]]:
    found = getattr(result, "metrics", None)
    if not found or getattr(result, "chosen", None) is None or np.asarray(result.values).ndim != 2:
        raise style.NothingToDraw(
            "this result has no other metric on a plane; pass one to `landscape surface --metric`."
        )
    some = levels.thin(result)
    return result, {name: np.asarray(v[some, some], dtype=float) for name, v in found.items()}
