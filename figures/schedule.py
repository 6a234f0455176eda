"""Learning rates of schedules, read from a real optimiser before each of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import optimisers, style

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.optimizers.escape import Study
    from landscape.optimizers.schedules import Schedules


@style.styled
def draw(result: Study | Schedules) -> Figure:
    """One curve a schedule, or an optimiser of a study, against steps."""
    rates = _rates(result)
    fig = Figure(figsize=(style.COLUMN * 1.3, 2.3 + 0.12 * len(rates)), layout="constrained")
    ax = fig.subplots()
    for k, (label, values) in enumerate(rates.items()):
        lr = np.asarray(values, dtype=float)
        ax.step(
            np.arange(len(lr)),
            lr,
            where="post",
            linewidth=1.2,
            label=label,
            color=optimisers.look(k)["color"],
            linestyle=["-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1))][k % 4],
        )
    tops = [float(np.asarray(v).max()) for v in rates.values()]
    if min(tops) > 0 and max(tops) / min(tops) > 20:
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, 1.06 * max(tops))
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("learning rate at that step")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    optimisers.key(fig, ax, 1)
    return fig


def caption(result: Study | Schedules) -> str:
    """What the figure shows, in words."""
    rates = _rates(result)
    parts = [
        f"{k} from {float(v[0]):.3g} to {float(v[-1]):.3g} in {len(v)} steps"
        for k, v in rates.items()
    ]
    return f"Learning rates read before each optimiser step; {'; '.join(parts)}."


def _rates(result: Study | Schedules) -> dict[str, Tensor]:
    why = "schedule; pass one to `landscape escape --schedule`."
    found: dict[str, Tensor] = style.need(result, "rates", why=why)
    return found
