"""The values along a line through a point or along a curve, and what else was measured there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import levels, style

if TYPE_CHECKING:
    from landscape.paths.curves import Profile
    from landscape.surfaces.result import Surface

    from .style import Array


@style.styled
def draw(result: Surface | Profile) -> Figure:
    """A panel for f and one for each metric; values that are not finite are left out and marked."""
    across, places, panels = _read(result)
    fig = Figure(figsize=(style.COLUMN, 2.3 + 1.2 * (len(panels) - 1)), layout="constrained")
    axes = fig.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[1.6, *[1.0] * (len(panels) - 1)]
    )[:, 0]
    for ax, (label, values) in zip(axes, panels.items(), strict=True):
        _panel(ax, places, values)
        ax.set_ylabel(style.label(label))
    if levels.logarithmic(panels["f"]):
        axes[0].set_yscale("log")
    axes[-1].set_xlabel(across)
    return fig


def _panel(ax: Axes, places: Array, values: Array) -> None:
    finite = np.isfinite(values)
    ax.plot(
        places,
        np.where(finite, values, np.nan),
        color=style.MEASURED,
        marker="o",
        markersize=2.2,
        linewidth=0.9,
    )
    if not finite.all():
        ax.plot(
            places[~finite],
            np.full(int((~finite).sum()), 0.04),
            "x",
            color=style.NEGATIVE,
            markersize=4,
            transform=ax.get_xaxis_transform(),
        )
    if places[0] < 0 < places[-1]:
        style.zero_line(ax, vertical=True)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def caption(result: Surface | Profile) -> str:
    """What the figure shows, in words."""
    _, _, panels = _read(result)
    lost = int((~np.isfinite(panels["f"])).sum())
    more = f" Below it: {', '.join(list(panels)[1:])}." if len(panels) > 1 else ""
    marked = f" {lost} values that are not finite are marked by crosses." if lost else ""
    if (curve := _curve(result)) is not None:
        points = f"{len(curve.t)} points; barrier {curve.barrier:.4g}"
        return f"Value of {curve.name} along a curve of {points}.{marked}{more}"
    return f"{levels.words(_line(result))}{marked}{more}"


def _curve(result: Surface | Profile) -> Profile | None:
    along = hasattr(result, "arclength") and hasattr(result, "control")
    curve: Profile | None = style.need(result, "", "t", why="curve") if along else None
    return curve


def _line(result: Surface | Profile) -> Surface:
    why = "values along a line; a surface with one direction has them."
    style.need(result, "chosen", why=why)
    surface: Surface = style.need(result, "", "steps", why=why)
    if surface.values.ndim != 1:
        raise style.NothingToDraw(f"this result has no {why}")
    return surface


def _read(result: Surface | Profile) -> tuple[str, Array, dict[str, Array]]:
    """What is across, the places (r,), and the panels, each (r,)."""
    curve = _curve(result)
    held = curve or _line(result)
    panels = {"f": held.values, **held.metrics}
    arrays = {name: np.asarray(values, dtype=float) for name, values in panels.items()}
    if curve is not None:
        return "length along the curve", np.asarray(curve.arclength, dtype=float), arrays
    line = _line(result)
    across = levels.LABELS.get(line.chosen, ("the direction",))[0]
    return f"step along {across}", np.asarray(line.steps, dtype=float), arrays
