"""Races of optimisers: their paths over contours, and how far they have come against the number of
steps; as a film, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import escape_paths, film, optimisers, style

if TYPE_CHECKING:
    from landscape.gallery import Exhibit

    from ..style import Array

FRAMES, SECONDS, HOLD = 40, 0.12, 2.5
DOTS = 100  # an inch


class Race:
    """The picture of a race at a step: contours drawn once, paths and curves moved."""

    def __init__(self, exhibit: Exhibit, label: str, logarithmic: bool) -> None:
        d = exhibit.data
        self.figure = Figure(figsize=(style.PAGE, 3.1), layout="constrained")
        left, right = self.figure.subplots(1, 2, width_ratios=(1, 1.35))
        xs, ys, values = (np.asarray(d[k]) for k in ("xs", "ys", "values"))
        escape_paths.ground(left, xs, ys, values, np.linspace(values.min(), values.max(), 14)[1:-1])
        left.set(xlabel="x", ylabel="y", aspect="equal")
        self.title = left.set_title(" ", fontweight="normal")
        self.racers = []
        for k, name in enumerate(d["paths"]):
            path, far = (np.asarray(d[key][name]) for key in ("paths", "measure"))
            drawn = optimisers.look(k)
            lines = [
                ax.plot([], [], color=drawn["color"], linewidth=1.3, alpha=0.85, zorder=4)[0]
                for ax in (left, right)
            ]
            heads = [
                ax.plot(
                    [],
                    [],
                    linestyle="none",
                    markersize=5,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    zorder=6,
                    clip_on=False,
                    **drawn,
                )[0]
                for ax in (left, right)
            ]
            self.racers.append((path, far, lines, heads))
            right.plot(
                [],
                [],
                markersize=4,
                linewidth=1.3,
                label=f"{name}: {len(path) - 1:,} steps",
                **drawn,
            )
        _progress(right, exhibit, label, logarithmic)
        self.figure.legend(
            *right.get_legend_handles_labels(), loc="outside upper left", ncols=3, columnspacing=1.4
        )

    def show(self, step: int) -> None:
        """Move the racers to where they were after ``step`` steps, those that are out to where they
        came out.
        """
        self.title.set_text(f"after {step:,} steps")
        for path, far, (walk, curve), (head, tip) in self.racers:
            n = min(step + 1, len(path))
            walk.set_data(path[:n, 0], path[:n, 1])
            curve.set_data(np.arange(1, n + 1), far[:n])
            head.set_data(path[n - 1 : n, 0], path[n - 1 : n, 1])
            tip.set_data([n], far[n - 1 : n])


def _progress(ax: Axes, exhibit: Exhibit, label: str, logarithmic: bool) -> None:
    """The axes of how far they have come, with where they are out; the start has the place of 1 on
    the log scale.
    """
    d = exhibit.data
    ends = [np.asarray(m) for m in d["measure"].values()]
    top = max(float(m[-1]) for m in ends)
    ax.axhline(d["goal"], color=style.QUIET, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    ax.annotate("out", (0.95, d["goal"]), (1, 2), textcoords="offset points", fontsize=7)
    ax.set(
        xscale="log", xlim=(0.9, 1.5 * max(len(m) for m in ends)), xlabel="steps + 1", ylabel=label
    )
    if logarithmic:
        ax.set(yscale="log", ylim=(0.6 * min(float(m[0]) for m in ends), 2 * top))
    else:
        ax.set_ylim(-0.04 * top, 1.08 * top)


def moments(exhibit: Exhibit) -> Array:
    """The steps that a film shows, ascending, even in their logarithm."""
    longest = max(len(path) for path in exhibit.data["paths"].values()) - 1
    return np.unique(np.concatenate([[0], np.geomspace(1, longest, FRAMES).round().astype(int)]))


def _still(exhibit: Exhibit, label: str, logarithmic: bool) -> Figure:
    race = Race(exhibit, label, logarithmic)
    race.show(int(moments(exhibit)[-1]))
    return race.figure


def _film(exhibit: Exhibit, label: str, logarithmic: bool) -> film.Film:
    def frames() -> Iterator[Figure]:
        race = Race(exhibit, label, logarithmic)
        for step in moments(exhibit):
            race.show(int(step))
            yield race.figure

    return film.of(frames(), DOTS, SECONDS, HOLD, optimisers.COLOURS)


@style.styled
def saddle_race(exhibit: Exhibit) -> Figure:
    """Optimisers leaving a saddle, all from one point: the end of the race."""
    return _still(exhibit, "|y|, distance from the ridge", True)


def saddle_film(exhibit: Exhibit) -> film.Film:
    """The same from its start."""
    return _film(exhibit, "|y|, distance from the ridge", True)


@style.styled
def plateau_race(exhibit: Exhibit) -> Figure:
    """Optimisers crossing a plateau to its well, all from one point: the end of the race."""
    return _still(exhibit, "distance from the start", False)


def plateau_film(exhibit: Exhibit) -> film.Film:
    """The same from its start."""
    return _film(exhibit, "distance from the start", False)
