"""Figures of counts against dimension show the numbers of the result, all of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from landscape_figures import (
    NothingToDraw,
    complexity,
    index_counts,
    index_energy,
    index_width,
    minimum_chance,
    saddle_share,
    style,
)
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from landscape.results import Estimate


def measured(ax: Axes) -> tuple[Any, Any]:
    """Places of the measured marks (k, 2) and the ends of their bars (k, 2)."""
    (container,) = [c for c in ax.containers if isinstance(c, ErrorbarContainer)]
    line, _, bars = container.lines
    ends = np.array([segment[:, 1] for segment in bars[0].get_segments()])
    return None if line is None else line.get_xydata(), ends


@pytest.mark.slow
@pytest.mark.parametrize(
    ("figure", "share"), [(saddle_share, "saddles"), (minimum_chance, "minima")]
)
def test_shares_with_their_intervals_and_the_theory(glasses: Any, figure: Any, share: str) -> None:
    (ax,) = figure.draw(glasses).axes
    places, ends = measured(ax)
    found = [getattr(d, share) for d in glasses.dimensions]
    np.testing.assert_allclose(
        places, [(d.directions, s.value) for d, s in zip(glasses.dimensions, found, strict=True)]
    )
    np.testing.assert_allclose(ends, [(s.low, s.high) for s in found], atol=1e-12)
    lines = {line.get_label(): line for line in ax.lines}
    for theory in glasses.lines:
        np.testing.assert_array_equal(lines[theory.name].get_ydata(), getattr(theory, share))
    expected = lines["expected of this family"].get_ydata()
    np.testing.assert_allclose(
        expected, [getattr(d, f"expected_{share}") for d in glasses.dimensions]
    )
    assert f"{found[-1].value:.3g}" in figure.caption(glasses)


@pytest.mark.slow
def test_no_minimum_is_an_arrow_and_no_mark(glasses: Any) -> None:
    last = glasses.dimensions[-1]
    counts = last.counts.clone()
    counts[:, 0] = 0
    none = dataclasses.replace(last, counts=counts)
    result = dataclasses.replace(glasses, dimensions=[*glasses.dimensions[:-1], none])
    (ax,) = minimum_chance.draw(result).axes
    assert len(measured(ax)[0]) == len(glasses.dimensions) - 1
    (arrow,) = ax.texts
    assert arrow.xyann == (none.directions, none.minima.high)  # type: ignore[attr-defined]


def test_every_index_of_every_dimension_has_its_bar(glasses: Any) -> None:
    fig = index_counts.draw(glasses)
    for ax, d in zip(fig.axes, glasses.dimensions, strict=True):
        rectangles: Any = ax.patches
        assert [patch.get_height() for patch in rectangles] == [m.value for m in d.means]
        _, ends = measured(ax)
        np.testing.assert_allclose(ends, [(m.value - m.error, m.value + m.error) for m in d.means])
        (line,) = [
            line
            for line in ax.lines
            if line.get_marker() == "_" and len(np.asarray(line.get_ydata())) == len(d.means)
        ][-1:]
        np.testing.assert_array_equal(line.get_ydata(), d.expected.counts)
    assert f"{glasses[4].total.value:.4g} in dim 4" in index_counts.caption(glasses)


def test_index_against_energy(glasses: Any) -> None:
    (ax,) = index_energy.draw(glasses).axes
    places, ends = measured(ax)
    law = glasses.energy
    np.testing.assert_allclose(
        places, [(w, s.value) for w, s in zip(law.levels, law.shares, strict=True)]
    )
    np.testing.assert_allclose(ends, [(s.value - s.error, s.value + s.error) for s in law.shares])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), law.limit)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), law.finite)


def test_complexity_with_its_thresholds(glasses: Any) -> None:
    many, few = complexity.draw(glasses).axes
    found = glasses.complexity
    for k, limit in enumerate(found.limit):
        np.testing.assert_array_equal(
            many.lines[k].get_xydata(), np.column_stack([found.energies, limit])
        )
        np.testing.assert_array_equal(few.lines[k].get_ydata(), found.measured[k])
    at = {
        float(np.asarray(line.get_xdata())[0]) for line in many.lines if line.get_linestyle() == ":"
    }
    assert at == {-found.thresholds.e_inf, *(-e for e in found.thresholds.e_index[:3])}
    with pytest.raises(NothingToDraw, match="p-spin"):
        complexity.draw(dataclasses.replace(glasses, complexity=None))


@pytest.mark.slow
def test_index_by_width(widths: Any) -> None:
    axes = index_width.draw(widths).axes
    for ax, net in zip(axes, widths.networks, strict=True):
        (marks,) = ax.collections
        np.testing.assert_allclose(
            np.asarray(marks.get_offsets()), np.column_stack([net.losses, net.fractions])
        )
        assert ax.get_title(loc="left") == f"width {net.width}, n = {net.dim}"
        assert [line.get_color() for line in ax.lines] == [style.PREDICTED] * bool(net.law.losses)
    assert "correlation" in index_width.caption(widths)


def test_one_realisation_has_no_error_bar_that_says_something(glasses: Any) -> None:
    d = glasses.dimensions[0]
    one = dataclasses.replace(d, counts=d.counts[:1], values=d.values[: int(d.counts[0].sum())])
    assert isinstance(one.minima, Estimate)
    assert (one.minima.low, one.minima.high) == (0, 1)
    for figure in (saddle_share, minimum_chance, index_counts):
        figure.draw(dataclasses.replace(glasses, dimensions=[one]))
