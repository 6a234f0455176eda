"""All optimisers leaving one point, as a film: frames at steps spaced evenly in their logarithm,
from step 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from . import escape_paths, optimisers, style
from . import film as films

if TYPE_CHECKING:
    from landscape.optimizers.escape import Study

    from .style import Array

FRAMES, SECONDS, HOLD = 32, 0.12, 1.5  # how many frames; how long one is shown, and the last one
DOTS = 120  # an inch


def frames(result: Study) -> Array:
    """The steps that are shown, ascending."""
    _, results = escape_paths.planar(result)
    longest = max(int(r.ended[: len(paths.points)].max()) for r, paths in results.values())
    return np.unique(
        np.concatenate([[0], np.geomspace(1, max(longest, 1), FRAMES).round().astype(int)])
    )


class Scene:
    """The picture of a study at a step: contours drawn once, paths moved."""

    def __init__(self, result: Study) -> None:
        self.figure, self.ax = escape_paths.canvas(result)
        plane, results = escape_paths.planar(result)
        self.walks = []
        for k, (label, (runs, paths)) in enumerate(results.items()):
            drawn = optimisers.look(k)
            for path, end in zip(
                escape_paths.across(plane, paths), escape_paths.last(runs, paths), strict=True
            ):
                (line,) = self.ax.plot(
                    [], [], color=drawn["color"], linewidth=0.9, alpha=0.8, zorder=4
                )
                (head,) = self.ax.plot(
                    [],
                    [],
                    markersize=4.4,
                    linestyle="none",
                    markeredgecolor="white",
                    markeredgewidth=0.5,
                    zorder=5,
                    **drawn,
                )
                self.walks.append((np.asarray(paths.steps), path[: end + 1], line, head))
            self.ax.plot(
                [], [], linewidth=1.1, markersize=3.6, label=optimisers.short(label), **drawn
            )
        self.title = self.ax.set_title(" ", loc="right", fontweight="normal")
        optimisers.key(self.figure, self.ax, 1 if len(results) < 3 else 2)

    def show(self, step: int) -> None:
        """Move the paths to where they were after ``step`` steps."""
        self.title.set_text(f"step {step:,}")
        for steps, path, line, head in self.walks:
            reached = min(int(np.searchsorted(steps, step, side="right")), len(path))
            line.set_data(path[:reached, 0], path[:reached, 1])
            head.set_data(path[reached - 1 : reached, 0], path[reached - 1 : reached, 1])


@style.styled
def draw(result: Study) -> Figure:
    """The last frame."""
    scene = Scene(result)
    scene.show(int(frames(result)[-1]))
    return scene.figure


def film(result: Study) -> films.Film:
    """The frames."""

    def moments() -> Iterator[Figure]:
        scene = Scene(result)
        for step in frames(result):
            scene.show(int(step))
            yield scene.figure

    return films.of(moments(), DOTS, SECONDS, HOLD, optimisers.COLOURS)


def caption(result: Study) -> str:
    """What the figure shows, in words."""
    return (
        f"{escape_paths.caption(result)} The last of {len(frames(result))} frames, whose steps are "
        f"evenly spaced in the logarithm."
    )
