"""Plateaus, barriers and schedules: what was run beside what theory says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .. import style

if TYPE_CHECKING:
    from landscape.gallery import Exhibit

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


@style.styled
def saxe(exhibit: Exhibit) -> Figure:
    """The modes of the product in time, and the loss."""
    d = exhibit.data
    t, modes, law = (np.asarray(d[k]) for k in ("t", "modes", "theory"))
    fig = Figure(figsize=(style.PAGE, 2.5), layout="constrained")
    left, right = fig.subplots(1, 2)
    for k, s in enumerate(np.asarray(d["strengths"])):
        left.plot(
            t,
            law[:, k],
            color=style.INK,
            linewidth=0.8,
            linestyle=(0, (3, 2)),
            label="theory" if k == 0 else None,
            zorder=4,
        )
        left.plot(t, modes[:, k], color=COLOURS[k], linewidth=2.2, alpha=0.75, label=f"mode {s:g}")
    left.set(xlabel="time, rate times steps", ylabel="strength learned")
    left.legend(loc="center right", bbox_to_anchor=(1.0, 0.73))
    right.plot(t, np.asarray(d["loss"]), color=style.MEASURED)
    right.set(xlabel="time, rate times steps", ylabel="loss", yscale="log", ylim=(1e-4, None))
    return fig


@style.styled
def kramers(exhibit: Exhibit) -> Figure:
    """Mean time against inverse temperature; measured over exact."""
    d = exhibit.data
    T, curves, rows = (np.asarray(d[k]) for k in ("T", "curves", "measured"))
    fig = Figure(figsize=(style.PAGE, 2.5), layout="constrained")
    left, right = fig.subplots(1, 2)
    for ax, base, points in (
        (left, np.ones(len(T)), np.ones(len(rows))),
        (right, curves[:, 0], rows[:, 3]),
    ):
        ax.plot(1 / T, curves[:, 0] / base, color=style.INK, label="exact quadrature")
        ax.plot(
            1 / T,
            curves[:, 1] / base,
            color=style.PREDICTED,
            linestyle=(0, (4, 2)),
            label="Kramers",
        )
        ax.plot(
            1 / T,
            curves[:, 2] / base,
            color="#009e73",
            linestyle=(0, (1, 1)),
            label="with the next order",
        )
        ax.errorbar(
            1 / rows[:, 0],
            rows[:, 1] / points,
            yerr=rows[:, 2] / points,
            fmt="o",
            color=style.NEGATIVE,
            markersize=3.5,
            label="SGD with noise",
            zorder=4,
        )
        ax.set_xlabel("1 / temperature")
    left.set(yscale="log", ylabel="mean time, rate times steps")
    style.plain_log(left.yaxis, [20, 50, 100, 200])
    left.legend(loc="upper left")
    right.set(ylabel="the same, over the exact time", ylim=(0.6, 1.3))
    return fig


@style.styled
def schedules(exhibit: Exhibit) -> Figure:
    """Rates, and E x^2 under them."""
    d = exhibit.data
    fig = Figure(figsize=(style.PAGE, 2.6), layout="constrained")
    left, right = fig.subplots(1, 2)
    for (name, rates), colour in zip(d["rates"].items(), COLOURS, strict=True):
        left.plot(np.asarray(rates), color=colour, label=name)
        seen, law = np.asarray(d["measured"][name]), np.asarray(d["exact"][name])
        right.plot(seen, color=colour, linewidth=1.6, alpha=0.45)
        right.plot(
            law,
            color=style.INK,
            linewidth=0.6,
            linestyle=(0, (4, 3)),
            label="exact" if name == "constant" else None,
            zorder=4,
        )
    left.set(xlabel="step", ylabel="learning rate")
    left.legend(loc="upper right")
    right.set(xlabel="step", ylabel="mean of x² over 4,000 runs", yscale="log")
    right.legend(loc="upper right")
    return fig
