"""The share of negative curvatures of stationary points against their energy, beside Bray & Dean
(2007).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import style

if TYPE_CHECKING:
    from landscape.inventory.counting import SaddleCounts
    from landscape.inventory.energies import IndexByEnergy


@style.styled
def draw(result: SaddleCounts) -> Figure:
    """Each mark a twelfth of the points, with the standard error over realisations."""
    law = _law(result)
    fig = Figure(figsize=(style.COLUMN, 2.9), layout="constrained")
    ax = fig.subplots()
    ax.plot(law.curve, law.limit, color=style.PREDICTED, label=r"Bray & Dean, $n \to \infty$")
    if law.finite:
        ax.plot(
            law.curve,
            law.finite,
            color=style.INK,
            linestyle=(0, (4, 1.5)),
            label=f"exact at n = {law.directions}",
        )
    values, errors = [s.value for s in law.shares], [s.error for s in law.shares]
    ax.errorbar(
        law.levels,
        values,
        errors,
        fmt="o",
        color=style.MEASURED,
        markersize=4,
        elinewidth=1,
        capsize=2,
        markeredgewidth=0,
        label=f"measured, n = {law.directions}",
    )
    ax.set(
        xlabel="energy w, in units in which the law ends at ±1",
        ylabel="index / n",
        ylim=(-0.04, 1.04),
    )
    fig.legend(loc="outside upper left", ncols=1, handlelength=2.4)
    return fig


def caption(result: SaddleCounts) -> str:
    """What the figure shows, in words."""
    law = _law(result)
    finite = f" and exactly at n = {law.directions}" if law.finite else ""
    return (
        f"The share of negative curvatures of the stationary points of {result.name} with n = "
        f"{law.directions} directions against their "
        f"energy, from {law.shares[0].value:.3g} at w = {law.levels[0]:.3g} to "
        f"{law.shares[-1].value:.3g} at {law.levels[-1]:.3g}; "
        f"lines: expected for n to infinity{finite}."
    )


def _law(result: SaddleCounts) -> IndexByEnergy:
    why = "index against energy; see `landscape saddles count p-spin`."
    found: IndexByEnergy = style.need(result, "energy", "curve", why=why)
    return found
