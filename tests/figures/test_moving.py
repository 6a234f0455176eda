"""What figures of escapes draw is what the results hold."""

import dataclasses
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from landscape_figures import RECIPES, film
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

import landscape as ls


def test_every_run_is_there_and_the_censored_are_apart(left: Any) -> None:
    ax = RECIPES["escape_times"].draw(left).axes[0]
    drawn = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "."])
    every = np.concatenate([r.steps[r.escaped].numpy() for r in left.results.values()])
    np.testing.assert_array_equal(np.sort(drawn), np.sort(every))
    assert [t.get_text() for t in ax.texts if "given up" in t.get_text()] == ["12 given up"]
    medians = [
        float(np.asarray(line.get_xdata())[0])
        for line in ax.lines
        if line.get_label() == "median, 95 %"
    ]
    assert sorted(medians) == sorted(
        r.median.value for r in left.results.values() if r.escaped.any()
    )


def test_paths_end_where_the_runs_did(left: Any) -> None:
    for name in ("escape_paths", "escape_film"):
        ax = RECIPES[name].draw(left).axes[0]
        ends = [
            np.asarray(line.get_xydata())[-1]
            for line in ax.lines
            if line.get_marker() in ("o", "s", "D") and len(np.asarray(line.get_xdata())) == 1
        ]
        expected = np.concatenate([r.ends[:2].numpy() for r in left.results.values()])
        np.testing.assert_allclose(ends, expected, atol=1e-12)


@pytest.mark.slow
def test_the_film_moves_and_stays_small(left: Any, tmp_path: Path) -> None:
    animate = RECIPES["escape_film"].animate
    assert animate is not None
    data = film.gif(animate(left))
    again = film.gif(animate(ls.load(left.save(tmp_path))))
    assert data == again
    with Image.open(io.BytesIO(data)) as gif:
        assert isinstance(gif, GifImageFile)
        assert gif.n_frames > 15
        first = np.asarray(gif.convert("RGB"))
        gif.seek(gif.n_frames - 1)
        assert (np.asarray(gif.convert("RGB")) != first).any()
    assert len(data) < 500_000
    assert sum("gif" in recipe.stored for recipe in RECIPES.values()) >= 1


def test_sweeps_show_theory_and_what_is_beyond_the_limit(swept: Any) -> None:
    ax = RECIPES["escape_sweep"].draw(swept).axes[0]
    dashed = next(
        line
        for line in ax.lines
        if line.get_linestyle() == "--" and len(np.asarray(line.get_xdata())) == 3
    )
    expected = [s["sgd:lr=0.1"].theory.median for s in swept.studies]
    assert np.isnan(np.asarray(dashed.get_ydata())[0])
    np.testing.assert_array_equal(np.asarray(dashed.get_ydata())[1:], expected[1:])
    above = next(line for line in ax.lines if line.get_marker() == 6)
    np.testing.assert_array_equal(above.get_xdata(), [1e-4])
    assert np.isinf(swept[0]["sgd:lr=0.1"].median.value)


def test_schedules_and_edges(left: Any, edged: Any) -> None:
    ax = RECIPES["schedule"].draw(left).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), left.rates["sgd:lr=0.1"].numpy())
    top = RECIPES["edge"].draw(edged).axes[0]
    limits = [np.asarray(line.get_ydata())[0] for line in top.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(limits, [10.0, 30.0])
    curves = ls.optimizers.schedule_curves(
        ["StepLR:step_size=2", "ExponentialLR:gamma=0.5"], 0.1, 5
    )
    assert len(RECIPES["schedule"].draw(curves).axes[0].lines) == 2


@pytest.mark.slow
def test_labels_of_values_side_by_side_do_not_touch(compared: Any) -> None:
    """Of 0.249 and 0.277, beside 0.035, one has a label; both keep their points."""
    first = compared.series[0]
    series = [dataclasses.replace(first, x=[0.0349, 0.249, 0.277, 0.5])]
    fig = RECIPES["comparison"].draw(
        dataclasses.replace(compared, series=series, logarithmic=(True, True))
    )
    fig.canvas.draw()
    boxes = [label.get_window_extent() for label in fig.axes[0].get_xticklabels()]
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == [
        "0.0349",
        "0.249",
        "0.5",
    ]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
