"""The values along a line through a point or along a curve, and what else was measured there."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style


@style.styled
def draw(result: Any) -> Figure:
    """A panel for f and one for each metric; values that are not finite are left out and marked."""
    across, places, panels = _read(result)
    fig = Figure(figsize=(style.COLUMN, 2.3 + 1.2 * (len(panels) - 1)), layout="constrained")
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[1.6, *[1.0] * (len(panels) - 1)])[
        :, 0
    ]
    for ax, (label, values) in zip(axes, panels.items(), strict=True):
        _panel(ax, places, values)
        ax.set_ylabel(style.label(label))
    if levels.logarithmic(panels["f"]):
        axes[0].set_yscale("log")
    axes[-1].set_xlabel(across)
    return fig


def _panel(ax: Axes, places: Any, values: Any) -> None:
    finite = np.isfinite(values)
    ax.plot(places, np.where(finite, values, np.nan), color=style.MEASURED, marker="o", markersize=2.2, linewidth=0.9)
    if not finite.all():
        ax.plot(places[~finite], np.full(int((~finite).sum()), 0.04), "x", color=style.NEGATIVE, markersize=4,
                transform=ax.get_xaxis_transform())  # fmt: skip
    if places[0] < 0 < places[-1]:
        style.zero_line(ax, vertical=True)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    _, _, panels = _read(result)
    lost = int((~np.isfinite(panels["f"])).sum())
    more = f" Below it: {', '.join(list(panels)[1:])}." if len(panels) > 1 else ""
    marked = f" {lost} values that are not finite are marked by crosses." if lost else ""
    if hasattr(result, "arclength"):
        what = (
            f"Value of {result.provenance.name} along a curve of {len(result.t)} points; barrier {result.barrier:.4g}."
        )
        return f"{what}{marked}{more}"
    return f"{levels.words(result)}{marked}{more}"


def _read(result: Any) -> tuple[str, Any, dict[str, Any]]:
    """What is across, the places (r,), and the panels, each (r,)."""
    along = hasattr(result, "arclength") and hasattr(result, "control")
    line = getattr(result, "chosen", None) is not None and np.asarray(result.values).ndim == 1
    if not along and not line:
        raise style.NothingToDraw("this result has no values along a line; a surface with one direction has them.")
    panels = {"f": result.values, **result.metrics}
    arrays = {name: np.asarray(values, dtype=float) for name, values in panels.items()}
    if along:
        return "length along the curve", np.asarray(result.arclength, dtype=float), arrays
    across = levels.LABELS.get(result.chosen, ("the direction",))[0]
    return f"step along {across}", np.asarray(result.steps, dtype=float), arrays
