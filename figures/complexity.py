"""The complexity of a spherical p-spin glass by energy and index, with its threshold energies
(Auffinger, Ben Arous & Cerny 2013).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from landscape.inventory.counting import SaddleCounts
    from landscape.inventory.energies import Complexity

COLOURS = (style.POSITIVE, style.NEGATIVE, style.KINDS["maximum"][1], style.PREDICTED)


@style.styled
def draw(result: SaddleCounts) -> Figure:
    """Left the limit of many spins around the thresholds, right the same logarithm of mean counts
    at the spins at hand.
    """
    found = _found(result)
    fig = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
    many, few = fig.subplots(1, 2)
    names = ("minima", *(f"index {k}" for k in range(1, len(found.limit))))
    for colour, name, limit in zip(COLOURS, names, found.limit, strict=False):
        many.plot(found.energies, limit, color=colour, label=name)
    for colour, measured in zip(COLOURS, found.measured, strict=False):
        few.plot(found.levels, measured, color=colour, drawstyle="steps-mid")
    levels = [("$-E_\\infty$", -found.thresholds.e_inf)]
    levels += [
        (f"$-E_{k}$", -e) for k, e in enumerate(found.thresholds.e_index[: len(found.limit)])
    ]
    top = max(max(limit) for limit in found.limit)
    many.set(ylim=(-1.2 * top, 1.5 * top), xlim=(found.energies[0], found.energies[-1]))
    for row, (name, level) in enumerate(levels):
        many.axvline(level, color=style.QUIET, linewidth=0.8, linestyle=":", zorder=0)
        many.text(
            level,
            0.99 - 0.075 * row,
            f" {name}",
            transform=many.get_xaxis_transform(),
            va="top",
            ha="right" if name == "$-E_0$" else "left",
            bbox={"color": "white", "pad": 0.3},
        )
    few.axvspan(
        -found.thresholds.e_index[0],
        -found.thresholds.e_inf,
        color=style.SHADE,
        zorder=0,
        linewidth=0,
    )
    few.text(
        -found.thresholds.e_inf,
        0.98,
        r" $-E_0$ to $-E_\infty$",
        transform=few.get_xaxis_transform(),
        va="top",
    )
    few.set_xlim(found.levels[0], found.levels[-1])
    for ax, title in ((many, "Many spins"), (few, f"Measured, {found.spins} spins")):
        style.zero_line(ax)
        ax.set_title(title)
        ax.set(xlabel="energy a spin, E", ylabel="ln (mean number below E) / N")
    fig.legend(loc="outside upper right", ncols=len(names), handlelength=2.2)
    return fig


def caption(result: SaddleCounts) -> str:
    """What the figure shows, in words."""
    found = _found(result)
    t = found.thresholds
    return (
        f"Logarithm of the mean number of stationary points of {result.name} (order {t.order}) "
        f"below an energy, a spin, for the lowest "
        f"indices: on the left for many spins, on the right measured with {found.spins}. Below "
        f"-E_inf = {-t.e_inf:.4f} "
        f"only finite indices are left, below -E_0 = {-t.e_index[0]:.4f} nothing; the complexity "
        f"of all points is "
        f"{t.total:.4f}, of minima {t.minima:.4f}."
    )


def _found(result: SaddleCounts) -> Complexity:
    why = "complexity; see `landscape saddles count p-spin`."
    found: Complexity = style.need(result, "complexity", "thresholds", why=why)
    return found
