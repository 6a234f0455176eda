"""Median escape time of each optimiser against what was varied, with the theory as a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.escape import Study
    from landscape.optimizers.sweeps import Sweep

NAMES = {
    "lr": "learning rate",
    "noise": "noise",
    "start": "distance of the start",
    "dim": "dimension",
    "radius": "radius of the ball",
}


@style.styled
def draw(result: Sweep) -> Figure:
    """Medians with their 95 % intervals; a triangle at the top where fewer than half of the runs
    left.
    """
    studies = _studies(result)
    values = result.values
    fig = Figure(figsize=(style.COLUMN * 1.15, 2.8), layout="constrained")
    ax = fig.subplots()
    every = []
    for k, label in enumerate(studies[0].results):
        runs = [s.results[label] for s in studies]
        optimisers.against(
            ax, values, [r.median for r in runs], [r.theory.median for r in runs], label, k
        )
        every += [r.median for r in runs]
    spread = min(values) > 0 and max(values) / min(values) >= 10
    finite = [m.value for m in every if math.isfinite(m.value) and m.value > 0]
    optimisers.scales(ax, values, every, (spread, bool(finite) and max(finite) / min(finite) > 5))
    ax.set_xlabel(NAMES.get(result.over, result.over))
    ax.set_ylabel("median steps until the event")
    ax.plot([], [], color=style.QUIET, linestyle=(0, (4, 2)), linewidth=1.1, label="theory")
    optimisers.key(fig, ax)
    return fig


def caption(result: Sweep) -> str:
    """What the figure shows, in words."""
    studies = _studies(result)
    values = result.values
    labels = ", ".join(studies[0].results)
    return (
        f"Median steps until runs left {result.provenance.name}, with 95 % intervals, against "
        f"{NAMES.get(result.over, result.over)} from "
        f"{min(values):g} to {max(values):g}; {labels}; dashed lines are theory, triangles at the "
        f"top medians beyond the limit."
    )


def _studies(result: Sweep) -> list[Study]:
    why = "studies to compare; run `landscape escape --sweep`."
    found: list[Study] = style.need(result, "studies", "results", why=why)
    return found
