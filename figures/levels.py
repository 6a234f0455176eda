"""What figures of a surface share: which numbers they read, contour levels, and cells that are not
finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from . import contours, style

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.surfaces.result import Surface
    from landscape.surfaces.walks import Walk

    from .style import Array

# of the largest to the smallest value, all positive, from which levels are spaced evenly in log f
RATIO = 30.0
SHOWN = 2_001  # values each way in a picture
MOST = 1e200  # matplotlib takes values from 1e250 for beyond all levels
DEEP = LinearSegmentedColormap.from_list(
    "deep", ["#0b3c5d", "#3f87b5", "#a9c9dc", "#f3ead3"]
)  # low values are dark
WALKS = (
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)  # of trajectories, in turn; labels tell them too
LABELS = {
    "eigen": ("largest eigenvalue", "smallest eigenvalue"),
    "pca": ("first principal axis", "second principal axis"),
    "moments": ("mean gradient", "mean squared gradient"),
}
HOW = {
    "filter": "filter-normalised",
    "layer": "layer-normalised",
    "unit": "of unit length",
    None: "not normalised",
}
PLANES = {
    "random": "random directions",
    "given": "given directions",
    "eigen": "eigenvectors",
    "pca": "principal axes of a trajectory",
    "moments": "an optimiser's moments",
}


def plane_of(result: Result) -> Surface:
    """The surface on a plane that a result is, or holds as ``plane``."""
    held = getattr(result, "plane", None) or result
    why = "values on a plane; a surface has them."
    style.need(held, "steps", why=why)
    surface: Surface = style.need(held, "", "chosen", why=why)
    if surface.values.ndim != 2:
        raise style.NothingToDraw(
            "this result has no values on a plane but on a line; see the figure line."
        )
    return surface


def arrays(surface: Surface) -> tuple[Array, Array]:
    """Steps (r,) and values (r, r) as they are drawn: of a finer grid every k-th."""
    some = thin(surface)
    shown = surface.values[some, some] if surface.values.ndim == 2 else surface.values
    steps = np.asarray(surface.steps[some] if surface.values.ndim == 2 else surface.steps, float)
    with np.errstate(all="ignore"):
        if not np.isfinite(2 * (steps[-1] - steps[0])):
            raise style.NothingToDraw("its steps are longer than an axis can be.")
    return steps, np.asarray(shown, dtype=float)


def thin(surface: Surface) -> slice:
    """Which steps of a plane are drawn: no picture shows more than ``SHOWN``."""
    return slice(None, None, -(-len(surface.steps) // SHOWN))


def logarithmic(values: Array) -> bool:
    """Whether levels are spaced evenly in log f."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() / RATIO > finite.min())


def of(values: Array) -> Array:
    """Contour levels (l,) of the finite values: evenly spaced in log f where f spans decades, else
    at quantiles.
    """
    finite = values[np.isfinite(values)]
    if finite.size and logarithmic(values):
        return np.geomspace(finite.min(), finite.max(), contours.LEVELS + 2)[1:-1]
    return contours.levels_of(finite)


def filled(fig: Figure, ax: Axes, steps: Array, values: Array, label: str) -> None:
    """Contours of values (r, r) with a bar; cells that are not finite are hatched."""
    finite = np.isfinite(values)
    unit = max(1.0, float(np.abs(values[finite]).max(initial=0.0)) / MOST)
    values = values / unit
    levels = of(values)
    drawn = contours.shade(ax, steps, steps, values, levels)
    if drawn is not None:
        number = FuncFormatter(lambda v, _: f"{v * unit:.3g}".replace("-", "\u2212"))
        fig.colorbar(
            drawn, ax=ax, label=style.label(label), ticks=levels[::3], format=number, shrink=0.9
        )
    ax.set_aspect("equal")


def walks(surface: Surface) -> list[tuple[str, str, Walk]]:
    """Name, colour and walk of every trajectory."""
    found = getattr(surface, "walks", None) or {}
    return [(name, WALKS[k % len(WALKS)], walk) for k, (name, walk) in enumerate(found.items())]


def words(surface: Surface) -> str:
    """Where the values are, in words."""
    _, values = arrays(surface)
    size = " by ".join([str(len(surface.steps))] * values.ndim)
    what = "plane of two" if values.ndim == 2 else "line along one of"
    lost = int((~np.isfinite(values)).sum())
    text = (
        f"Values of {surface.provenance.name} on the {what} {PLANES[surface.chosen]}, "
        f"{HOW[surface.normalize]}, on a grid of {size} "
        f"with steps from {float(surface.steps[0]):g} to {float(surface.steps[-1]):g}."
    )
    every = thin(surface).step if values.ndim == 2 else 1
    text += f" One in {every} each way is drawn." if every > 1 else ""
    return text + (
        f" {lost} values that are not finite are {'hatched' if values.ndim == 2 else 'left out'}."
        if lost
        else ""
    )


def outside(surface: Surface) -> str:
    """What of the trajectories the plane does not hold, in words."""
    return "".join(_outside(name, walk) for name, _, walk in walks(surface))


def _outside(name: str, walk: Walk) -> str:
    gap = np.abs(np.asarray(walk.gap, dtype=float))
    finite = gap[np.isfinite(gap)]
    parts = []
    if np.isfinite(walk.lost):
        parts.append(
            f"of the squared distances of {name} from the centre a share of {walk.lost:.2g} is "
            f"outside the plane"
        )
    if finite.size:
        parts.append(
            f"the values of its points differ from the plane's by up to {finite.max():.3g}"
        )
    if len(finite) < len(gap):
        parts.append(
            f"{len(gap) - len(finite)} of the {len(gap)} points of {name} have no finite value "
            f"there or on the plane"
        )
    text = "; ".join(parts)
    return f" {text[0].upper()}{text[1:]}."
