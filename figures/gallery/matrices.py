"""Laws of random matrices and landscapes, with what was sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import levels, style

if TYPE_CHECKING:
    from landscape.gallery import Exhibit


@style.styled
def coin_toss(exhibit: Exhibit) -> Figure:
    """P(no negative eigenvalue) against n on a log scale, and -ln P / n^2."""
    d = exhibit.data
    exact = np.asarray(d["exact"])
    n = np.arange(1, len(exact) + 1)
    fig = Figure(figsize=(style.PAGE, 2.6), layout="constrained")
    left, right = fig.subplots(1, 2)
    shown = n <= 14
    left.plot(
        n[shown],
        0.5 ** n[shown],
        color=style.QUIET,
        linestyle=(0, (4, 2)),
        label="coin toss, $2^{-n}$",
    )
    left.plot(n[shown], np.exp(exact[shown]), color=style.MEASURED, label="GOE, exact")
    sampled, errors = np.asarray(d["sampled"]), np.asarray(d["errors"])
    seen = sampled > 0
    left.errorbar(
        np.asarray(d["sizes"])[seen],
        sampled[seen],
        yerr=errors[seen],
        fmt="o",
        color=style.NEGATIVE,
        markersize=3,
        label="200,000 matrices each",
        zorder=4,
    )
    left.set(yscale="log", xlabel="n", ylabel="P(every curvature positive)", ylim=(1e-24, 2))
    left.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    left.legend(loc="lower left")
    right.plot(n, -exact / n**2, color=style.MEASURED, label="exact, $-\\ln P / n^2$")
    second = np.diff(exact, 2) / 2
    right.plot(
        n[1:-1],
        -second,
        color=style.POSITIVE,
        linestyle=(0, (1, 1)),
        label="half the second difference of $-\\ln P$",
    )
    right.axhline(
        np.log(3) / 4,
        color=style.PREDICTED,
        linewidth=1,
        linestyle=(0, (4, 2)),
        label="$(\\ln 3) / 4$",
    )
    right.set(xlabel="n", ylabel="$-\\ln P / n^2$", ylim=(0.2, 0.72), xscale="log")
    style.plain_log(right.xaxis, [1, 2, 5, 10, 20, 50])
    right.legend(loc="upper right")
    return fig


@style.styled
def bray_dean(exhibit: Exhibit) -> Figure:
    """The share of negative curvatures against energy."""
    d = exhibit.data
    w = np.asarray(d["levels"])
    fig = Figure(figsize=(style.COLUMN, 3.0), layout="constrained")
    ax = fig.subplots()
    ax.plot(w, np.asarray(d["limit"]), color=style.INK, label="limit")
    for (n, curve), shade in zip(
        d["curves"].items(), ("#9fc3dc", "#5b9bc4", "#1f6fa3"), strict=True
    ):
        ax.plot(w, np.asarray(curve), color=shade, linewidth=0.9, label=f"exact, n = {n}")
    x, y, e = np.asarray(d["measured"]).T
    ax.errorbar(
        x,
        y,
        yerr=e,
        fmt="o",
        color=style.NEGATIVE,
        markersize=3,
        zorder=4,
        label=f"{d['points']:,} points on {d['spins']} spins".replace(",", "\u2009"),
    )
    ax.set(
        xlabel="energy over its threshold, $E / E_\\infty$", ylabel="share of negative curvatures"
    )
    fig.legend(loc="outside upper left", ncols=2, columnspacing=1.2)
    return fig


@style.styled
def p_spin(exhibit: Exhibit) -> Figure:
    """Exponents of mean counts by index, against energy; the exact total against the number of
    spins.
    """
    d = exhibit.data
    e = np.asarray(d["energies"])
    fig = Figure(figsize=(style.PAGE, 2.6), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
    for k, colour in zip(range(4), ("#0b3c5d", "#1f6fa3", "#5b9bc4", "#9fc3dc"), strict=True):
        left.plot(e, np.asarray(d["curves"][str(k)]), color=colour, label=f"index {k}")
    style.zero_line(left)
    left.axvline(
        -d["e_inf"],
        color=style.PREDICTED,
        linestyle=(0, (4, 2)),
        linewidth=1,
        label="$-E_\\infty = -1.633$",
    )
    left.plot(
        [-float(d["levels"][0])],
        [0],
        "o",
        color=style.NEGATIVE,
        markersize=4,
        label="ground state, $-E_0 = -1.657$",
        zorder=5,
    )
    left.set(
        xlabel="energy a spin",
        ylabel="exponent of the mean number",
        ylim=(-0.022, 0.03),
        xlim=(-1.69, -1.61),
    )
    left.legend(loc="upper left")
    n, totals = np.asarray(d["sizes"]), np.asarray(d["totals"])
    right.plot(
        n,
        totals,
        "o-",
        color=style.MEASURED,
        markersize=3,
        linewidth=0.8,
        label="exact, all indices",
    )
    right.plot(
        n,
        totals[-1] + d["total"] * (n - n[-1]),
        color=style.PREDICTED,
        linestyle=(0, (4, 2)),
        label="slope $(\\ln 2) / 2$",
    )
    right.set(xlabel="spins", ylabel="ln of the mean number")
    right.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    right.legend(loc="upper left")
    return fig


__all__ = ["bray_dean", "coin_toss", "levels", "p_spin"]
