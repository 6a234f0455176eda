"""Figures of traced runs and of remedies show the stored numbers."""

from typing import Any

import numpy as np
import pytest
from landscape_figures import NothingToDraw, probes, run_curvature, run_layers, run_loss, style
from matplotlib.figure import Figure


@pytest.mark.slow
def test_every_loss_is_drawn_and_what_is_not_finite_is_marked(
    diagnosed: Any, diverged: Any
) -> None:
    trace = diagnosed.trace
    top, bottom = run_loss.draw(diagnosed).axes
    np.testing.assert_array_equal(
        top.lines[0].get_xydata(), np.column_stack([trace.steps, trace.loss])
    )
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), trace.gradient_norm)
    rectangles: Any = top.patches
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in rectangles]
    assert spans == [(p.start, p.stop) for p in trace.phases]
    top, _ = run_loss.draw(diverged).axes
    assert np.isnan(np.asarray(top.lines[0].get_ydata())[-2:]).all()
    assert np.asarray(top.lines[1].get_xdata())[0] == trace.steps[-2]
    assert "2 records the loss is not finite" in run_loss.caption(diverged)
    assert run_loss.draw(trace).axes  # a trace alone will do


def test_both_ends_and_the_edge_are_drawn(diagnosed: Any) -> None:
    trace = diagnosed.trace
    top, bottom = run_curvature.draw(diagnosed).axes
    lines = {line.get_label(): line for line in (*top.lines, *bottom.lines)}
    np.testing.assert_array_equal(lines["largest eigenvalue"].get_ydata(), trace.largest)
    np.testing.assert_array_equal(lines["smallest eigenvalue"].get_ydata(), trace.smallest)
    np.testing.assert_array_equal(lines["edge of stability"].get_ydata(), trace.edge)
    np.testing.assert_array_equal(
        lines["as the optimiser feels it"].get_ydata(), trace.sharpness[1:]
    )


@pytest.mark.slow
def test_layers_are_maps_of_the_records(diagnosed: Any) -> None:
    trace = diagnosed.trace
    gradient, update, units, *_ = run_layers.draw(diagnosed).axes
    np.testing.assert_array_equal(gradient.collections[0].get_array(), trace.layer_gradient.T)
    shown, rows = update.collections[0].get_array(), units.collections[0].get_array()
    assert shown is not None
    assert rows is not None
    assert np.ma.getmaskarray(shown)[:, 0].all()  # no step was taken before the first record
    np.testing.assert_array_equal(shown[:, 1:], trace.update_to_weight.T[:, 1:])
    np.testing.assert_array_equal(rows[0], trace.dead[:, 0])
    np.testing.assert_array_equal(rows[1], trace.saturated[:, 1])
    assert isinstance(gradient.figure, Figure)
    svg = style.render(
        gradient.figure, "svg", title="layers", alt="", provenance=diagnosed.provenance
    ).decode()
    assert f"fill: {style.SHADE}" in svg  # the grey of what was not measured


def test_remedies_are_drawn_with_their_intervals(diagnosed: Any, diverged: Any) -> None:
    trials = diagnosed.diagnosis.trials
    fig = probes.draw(diagnosed)
    (ax,), (legend,) = fig.axes, fig.legends
    fig.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(ax.bbox)
    assert [t.get_text() for t in ax.get_yticklabels()] == [p.name for p in trials.probes]
    low, high = ax.get_xlim()
    for row, probe in enumerate(trials.probes):
        gain = probe.against_control
        if probe.name != "control" and gain.value < high:
            (bar,) = [
                line
                for line in ax.lines
                if np.asarray(line.get_ydata()).tolist() == [row, row]
                and len(np.asarray(line.get_xdata())) == 2
            ]
            np.testing.assert_allclose(
                np.asarray(bar.get_xdata()), np.clip([gain.low, gain.high], low, high)
            )
    (ax,) = probes.draw(diverged).axes
    assert [t.get_text() for t in ax.texts][-1] == "not finite"


def test_what_was_not_run_is_not_drawn(diagnosed: Any) -> None:
    with pytest.raises(NothingToDraw, match="no trials"):
        probes.draw(diagnosed.trace)
