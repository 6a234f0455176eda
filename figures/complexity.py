"""The complexity of a spherical p-spin glass by energy and index, with its threshold energies (Auffinger, Ben Arous & Cerny 2013)."""

import math
from typing import Any

from matplotlib.figure import Figure

from . import style

COLOURS = (style.POSITIVE, style.NEGATIVE, style.KINDS["maximum"][1], style.PREDICTED)


@style.styled
def draw(result: Any) -> Figure:
    """Lines: the limit of many spins. Steps: the same logarithm of mean counts, measured at the spins at hand."""
    found = _found(result)
    fig = Figure(figsize=(style.COLUMN, 3.3), layout="constrained")
    ax = fig.subplots()
    names = ("minima", *(f"index {k}" for k in range(1, len(found.limit))))
    for colour, name, limit in zip(COLOURS, names, found.limit, strict=False):
        ax.plot(found.energies, limit, color=colour, label=name)
    for colour, measured in zip(COLOURS, found.measured, strict=False):
        ax.step(found.energies, measured, where="mid", color=colour, linewidth=0.8, linestyle=(0, (2, 1)), alpha=0.9)
    ax.plot([], [], color=style.INK, linewidth=0.8, linestyle=(0, (2, 1)), label=f"measured, {found.spins} spins")
    ax.axhline(0, color=style.QUIET, linewidth=0.7, zorder=0)
    levels = {r"$-E_\infty$": -found.thresholds.e_inf, r"$-E_0$": -found.thresholds.e_index[0]}
    top = max(max(limit) for limit in found.limit)
    steps = [v for row in found.measured for v in row if math.isfinite(v)]
    ax.set_ylim(-0.6 * top, 1.25 * max([top, *steps]))
    for name, level in levels.items():
        ax.axvline(level, color=style.QUIET, linewidth=0.8, linestyle=":", zorder=0)
        ax.text(level, 0.985, f" {name}", transform=ax.get_xaxis_transform(), va="top", ha="left", color=style.INK)
    ax.set(
        xlabel="energy a spin, E", ylabel="ln (mean number below E) / N", xlim=(found.energies[0], found.energies[-1])
    )
    fig.legend(loc="outside upper left", ncols=2, handlelength=2.2)
    return fig


def caption(result: Any) -> str:
    """What the figure shows, in words."""
    found = _found(result)
    t = found.thresholds
    return (
        f"Logarithm of the mean number of stationary points of {result.name} (order {t.order}) below an energy, a spin, for the lowest "
        f"indices: lines for many spins, dashes measured with {found.spins}. Below -E_inf = {-t.e_inf:.4f} only finite indices are left, "
        f"below -E_0 = {-t.e_index[0]:.4f} nothing; the complexity of all points is {t.total:.4f}, of minima {t.minima:.4f}."
    )


def _found(result: Any) -> Any:
    found = getattr(result, "complexity", None)
    if found is None or not hasattr(found, "thresholds"):
        raise style.NothingToDraw("this result has no complexity; see `landscape saddles count p-spin`.")
    return found
