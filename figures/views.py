"""From where a surface in space is looked at, so that the run on it is seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates

from .style import Array

PLAIN = (32.0, -58.0)  # elevation and azimuth in degrees where nothing is hidden
HEIGHT = 0.7  # of the box that the surface fills, in units of its sides
ELEVATIONS = (25.0, 32.0, 45.0, 60.0)
AZIMUTHS = tuple(PLAIN[1] + 15.0 * k for k in range(24))
STRIDES = np.linspace(0.02, 1.2, 48)  # along a line of sight, in units of the box's sides


def chosen(
    steps: Array, height: Array, walks: Sequence[tuple[Array, Array]]
) -> tuple[float, float]:
    """Elevation and azimuth from which the fewest points of the walks lie behind the surface; of
    equals the one nearest to ``PLAIN``.

    Args:
        steps: (r,) of both axes.
        height: (r, r), NaN where nothing is drawn.
        walks: of each the coordinates (t, 2) and the heights (t,).
    """
    points = _points(steps, height, walks)
    views = [(e, a) for e in ELEVATIONS for a in AZIMUTHS]
    if not len(points):
        return PLAIN
    ground = (height - np.nanmin(height)) * (HEIGHT / (np.ptp(height[np.isfinite(height)]) or 1.0))

    def cost(view: tuple[float, float]) -> tuple[int, float]:
        turn = abs((view[1] - PLAIN[1] + 180.0) % 360.0 - 180.0)
        return _hidden(points, ground, toward(*view)), turn + 2.0 * abs(view[0] - PLAIN[0])

    return min(views, key=cost)


def toward(elevation: float, azimuth: float) -> Array:
    """The unit vector (3,) from the centre to the eye."""
    e, a = np.radians([elevation, azimuth])
    return np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])


def _points(steps: Array, height: Array, walks: Sequence[tuple[Array, Array]]) -> Array:
    """The points of the walks (m, 3) in units of the box, those within it."""
    finite = height[np.isfinite(height)]
    if not finite.size or not walks:
        return np.empty((0, 3))
    low, span = finite.min(), np.ptp(finite) or 1.0
    where = np.concatenate([w for w, _ in walks])
    up = np.concatenate([z for _, z in walks])
    flat = (where - steps[0]) / (steps[-1] - steps[0])
    points = np.column_stack([flat, HEIGHT * (up - low) / span])
    inside: Array = np.isfinite(points).all(1) & ((flat >= 0) & (flat <= 1)).all(1)
    kept: Array = points[inside]
    return kept


def _hidden(points: Array, ground: Array, eye: Array) -> int:
    """How many points have ground between them and the eye."""
    sight = points[:, None] + STRIDES[:, None] * eye
    inside: Array = np.all((sight[..., :2] >= 0) & (sight[..., :2] <= 1), axis=-1)
    cells = (sight[..., :2] * (len(ground) - 1)).transpose(2, 0, 1)
    with np.errstate(invalid="ignore"):
        above = map_coordinates(ground, cells, order=1, mode="nearest") > sight[..., 2]
    return int((inside & above).any(1).sum())
