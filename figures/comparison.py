"""A study: measured times or rates against a setting, predictions as dashed lines, what arithmetic
decides marked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from . import optimisers, style

if TYPE_CHECKING:
    from landscape.optimizers.studies import Comparison, Series


@style.styled
def draw(result: Comparison) -> Figure:
    """Every series with its 95 % intervals; triangles at the top did not end within the limit."""
    series = _series(result)
    fig = Figure(figsize=(style.COLUMN * 1.2, 3.0), layout="constrained")
    ax = fig.subplots()
    stalled = []
    for k, s in enumerate(series):
        optimisers.against(ax, s.x, s.measured, s.predicted, s.label, k)
        stalled += [x for x, note in zip(s.x, s.notes, strict=True) if "stalled" in note]
    optimisers.scales(
        ax,
        [x for s in series for x in s.x],
        [m for s in series for m in s.measured],
        result.logarithmic,
    )
    if stalled:
        ax.annotate(
            "stalled by underflow",
            (min(stalled), 0.965),
            xycoords=("data", "axes fraction"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=6.5,
            color=style.QUIET,
        )
    ax.set_xlabel(result.over)
    ax.set_ylabel(result.quantity)
    ax.plot([], [], color=style.QUIET, linestyle=(0, (4, 2)), linewidth=1.1, label="theory")
    optimisers.key(fig, ax)
    return fig


def caption(result: Comparison) -> str:
    """What the figure shows, in words."""
    series = _series(result)
    fits = "; ".join(
        f"{name} {e.value:.4g} [{e.low:.4g}, {e.high:.4g}]" for name, e in result.fits.items()
    )
    notes = "; ".join(
        f"{s.label} at {x:g}: {note}"
        for s in series
        for x, note in zip(s.x, s.notes, strict=True)
        if note
    )
    return (
        f"{result.title}: {result.quantity} against {result.over}, with 95 % intervals, of "
        f"{', '.join(s.label for s in series)}; "
        f"dashed lines are "
        f"theory.{' ' + fits + '.' if fits else ''}{' ' + notes + '.' if notes else ''}"
    )


def _series(result: Comparison) -> list[Series]:
    why = "series to compare; a study has them."
    found: list[Series] = style.need(result, "series", "measured", why=why)
    return found
