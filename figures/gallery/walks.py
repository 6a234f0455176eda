"""A random walk on its principal axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .. import style

if TYPE_CHECKING:
    from landscape.gallery import Exhibit


@style.styled
def random_walk(exhibit: Exhibit) -> Figure:
    """The walk on its first two axes, its coordinates in time, and the shares of the axes beside 6
    / (pi k)^2.
    """
    P = np.asarray(exhibit.data["projections"])
    shares, errors = (np.asarray(exhibit.data[k]) for k in ("shares", "errors"))
    fig = Figure(figsize=(style.PAGE, 2.4), layout="constrained")
    one, two, three = fig.subplots(1, 3)
    one.scatter(P[:, 0], P[:, 1], c=np.arange(len(P)), cmap="cividis", s=3, linewidths=0)
    for row, name, right in ((0, "start", 5), (-1, "end", -5)):
        one.annotate(
            name,
            P[row, :2],
            (right, 0),
            textcoords="offset points",
            ha="left" if right > 0 else "right",
        )
    one.set(xlabel="first axis", ylabel="second axis")
    t = np.arange(len(P))
    for k, colour in zip(range(3), (style.MEASURED, style.NEGATIVE, "#009e73"), strict=True):
        sign = np.sign(P[0, k]) or 1.0
        two.plot(t, sign * P[:, k], color=colour, linewidth=1, label=f"axis {k + 1}")
        scale = np.sqrt(2 * (P[:, k] ** 2).mean())
        two.plot(
            t,
            scale * np.cos(np.pi * (k + 1) * t / len(P)),
            color=style.INK,
            linewidth=0.7,
            linestyle=(0, (3, 3)),
            label="cosines" if k == 2 else None,
        )
    two.set(xlabel="step", ylabel="coordinate")
    two.legend(loc="upper right", ncols=2, fontsize=6, handlelength=1.2, columnspacing=0.8)
    axis = np.arange(1, len(shares) + 1)
    three.errorbar(
        axis,
        shares,
        yerr=errors,
        fmt="o",
        color=style.MEASURED,
        markersize=3.5,
        label="eight walks",
        zorder=3,
    )
    three.plot(
        axis,
        6 / (np.pi * axis) ** 2,
        color=style.PREDICTED,
        linestyle=(0, (4, 2)),
        label="$6 / (\\pi k)^2$",
    )
    three.set(yscale="log", xlabel="axis k", ylabel="share of the variance")
    three.legend(loc="upper right")
    return fig
