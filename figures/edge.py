"""Training at the edge of stability: the sharpness beside the largest curvature that the optimiser
can bear, and the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.edge import EdgeRun, EdgeStudy


@style.styled
def draw(result: EdgeStudy) -> Figure:
    """Above, sharpness against steps with each optimiser's limit dashed; below, the loss."""
    runs = _runs(result)
    fig = Figure(figsize=(style.COLUMN * 1.2, 3.7), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=[1.7, 1])
    height = 1.25 * max(_highest(r) for r in runs.values())
    for k, (label, run) in enumerate(runs.items()):
        colour = optimisers.look(k)["color"]
        steps = np.asarray(run.steps)
        top.plot(
            steps,
            np.asarray(run.sharpness),
            color=colour,
            linewidth=1.2,
            label=optimisers.short(label),
        )
        top.axhline(run.limit, color=colour, linestyle=(0, (4, 2)), linewidth=1.0)
        apart = [other.limit - run.limit for other in runs.values()]
        place = {
            "top": min((d for d in apart if d > 0), default=height),
            "bottom": -max((d for d in apart if d < 0), default=-height),
        }
        near = min(place, key=lambda side: place[side])
        top.annotate(
            f"limit {run.limit:.3g}",
            (1, run.limit),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va=near if place[near] < 0.09 * height else "center",
            fontsize=6.5,
            color=colour,
        )
        bottom.plot(steps, np.asarray(run.losses), color=colour, linewidth=1.0)
    top.set_ylim(0, height)
    top.set_ylabel("sharpness, largest eigenvalue")
    bottom.set(ylabel="loss", xlabel="step", yscale="log")
    bottom.xaxis.set_major_locator(MaxNLocator(5))
    optimisers.key(fig, top, 1 if len(runs) == 1 else 2)
    return fig


def caption(result: EdgeStudy) -> str:
    """What the figure shows, in words."""
    parts = [f"{label}: limit {r.limit:.4g}, {_end(r)}" for label, r in _runs(result).items()]
    return (
        f"Sharpness and loss of {result.provenance.name} in full-batch training, with the "
        f"stability limit dashed; {'; '.join(parts)}."
    )


def _highest(run: EdgeRun) -> float:
    """What the axis has to hold; a run that diverges leaves the picture."""
    top = float(np.asarray(run.sharpness).max())
    limit = float(run.limit)
    return max(limit, top if run.diverged is None else min(top, 1.5 * limit))


def _end(run: EdgeRun) -> str:
    return (
        f"late sharpness {run.late:.3f} of it"
        if run.diverged is None
        else f"diverged by step {run.diverged}"
    )


def _runs(result: EdgeStudy) -> dict[str, EdgeRun]:
    why = "runs with their sharpness; edge_of_stability gives them."
    found: dict[str, EdgeRun] = style.need(result, "runs", "sharpness", why=why)
    return found
