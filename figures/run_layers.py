"""The health of each layer along a traced run: gradients, relative updates, saturated and dead
units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from . import layers, run_loss, style

if TYPE_CHECKING:
    from landscape.results import Result
    from landscape.training.trace import Trace

    from .style import Array

ROWS = 14  # names that fit beside a map


@style.styled
def draw(result: Result) -> Figure:
    """One row a parameter tensor: its gradient's norm, the norm of its step over that of its
    weights; below, a row an activation.
    """
    trace = run_loss.trace_of(result)
    units = _units(trace)
    maps = [
        (np.asarray(trace.layer_gradient), "|gradient|"),
        (np.asarray(trace.update_to_weight), "|step| / |weights|"),
    ]
    tall = [min(len(trace.layers), ROWS)] * 2 + ([min(len(units), ROWS)] if units else [])
    heights = [0.14 * t + 0.42 for t in tall]
    fig = Figure(figsize=(style.COLUMN, sum(heights) + 0.25), layout="constrained")
    axes = np.atleast_1d(fig.subplots(len(tall), 1, sharex=True, height_ratios=heights))
    steps = np.asarray(trace.steps)
    for ax, (values, title) in zip(axes, maps, strict=False):
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        _map(fig, ax, steps, shown.T, list(trace.layers), title, _norm(shown))
    if units:
        names, shares = zip(*units.items(), strict=True)
        _map(fig, axes[-1], steps, np.stack(shares), list(names), "share stuck", Normalize(0, 1))
    axes[-1].set_xlabel(style.STEPS)
    axes[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return fig


def caption(result: Result) -> str:
    """What the figure shows, in words."""
    trace = run_loss.trace_of(result)
    last = np.asarray(trace.layer_gradient)[-1]
    last = np.where(np.isfinite(last), last, -1.0)
    steep, faint = int(last.argmax()), int(last.argmin())
    units = {name: share[-1] for name, share in _units(trace).items()}
    worst = max(units, key=lambda k: np.nan_to_num(units[k], nan=-1.0), default=None)
    stuck = (
        f" Of the units of {worst}, {units[worst]:.0%} are stuck at the end."
        if worst is not None
        else ""
    )
    ends = (
        f"largest in {trace.layers[steep]} ({last[steep]:.2g}) and least in {trace.layers[faint]} "
        f"({last[faint]:.2g})"
    )
    return (
        f"Norm of the gradient of each of {len(trace.layers)} parameter tensors, and of its step "
        f"over its weights, along the run; at the "
        f"end the gradient is {ends if last[steep] > 0 else 'zero in all of them'}. "
        f"Grey: zero, or not measured.{stuck}"
    )


def _units(trace: Trace) -> dict[str, Array]:
    """Activation -> the share of its units that are dead, or of its outputs that are saturated, at
    every record.
    """
    dead, saturated = np.asarray(trace.dead), np.asarray(trace.saturated)
    found = {}
    for i, name in enumerate(trace.activations):
        kind = "dead" if name.endswith("relu") else "saturated"
        found[f"{name}, {kind}"] = (dead if kind == "dead" else saturated)[:, i]
    return found


def _norm(values: Array) -> Normalize:
    known = values[np.isfinite(values)]
    if not len(known):
        return Normalize(0, 1)
    low, high = known.min(), known.max()
    return LogNorm(max(low, high * 1e-12), high) if high > 12 * low else Normalize(0, high)


def _map(
    fig: Figure,
    ax: Axes,
    steps: Array,
    values: Array,
    names: list[str],
    title: str,
    norm: Normalize,
) -> None:
    """Rows by steps as colours; a record's colour reaches half way to its neighbours."""
    middle = (steps[1:] + steps[:-1]) / 2 if len(steps) > 1 else np.array([])
    edges = np.concatenate(
        [
            [steps[0] - 0.5 if not len(middle) else steps[0]],
            middle,
            [max(steps[-1], steps[0] + 0.5)],
        ]
    )
    if (np.diff(edges) <= 0).any():
        edges = np.arange(len(steps) + 1) + steps[0]
    behind = Rectangle(
        (0, 0), 1, 1, color=style.SHADE, linewidth=0, zorder=-1, transform=ax.transAxes
    )
    ax.add_patch(behind)  # zero, or not measured; an SVG leaves out the axes' own colour
    mesh = ax.pcolormesh(
        edges,
        np.arange(len(names) + 1) - 0.5,
        np.ma.masked_invalid(values),
        norm=norm,
        cmap="viridis",
        rasterized=True,
    )
    bar = fig.colorbar(mesh, ax=ax, pad=0.02, aspect=12, fraction=0.06)
    bar.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(numticks=4))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(2))
    every = -(-len(names) // ROWS)
    rows = range(0, len(names), every)
    ax.set_yticks(list(rows), [layers.short(names[i]) for i in rows])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_title(title, fontsize=7.5, fontweight="normal")
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
