"""Figures of a census and of a path show the numbers of the result, all of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from censuses import styblinski_census
from landscape_figures import (
    NothingToDraw,
    contours,
    disconnectivity,
    hits,
    index_loss,
    path_profile,
    style,
    value_index,
)
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text

import landscape as ls
from landscape.results import Estimate


def marks(ax: Axes, colour: str) -> Any:
    """Places of the marks of a colour, sorted, (k, 2)."""
    found = [
        line.get_xydata()
        for line in ax.lines
        if line.get_color() == colour and line.get_marker() != "None"
    ]
    return np.array(sorted(map(tuple, np.concatenate(found)))) if found else np.empty((0, 2))


@pytest.mark.parametrize("kind", ["minimum", "saddle", "maximum"])
def test_contours_show_every_point_at_its_place(counted: Any, kind: str) -> None:
    (ax,) = contours.draw(counted).axes
    expected = sorted(tuple(p.x.tolist()) for p in counted.points if p.kind == kind)
    np.testing.assert_array_equal(marks(ax, style.KINDS[kind][1]), expected)
    assert ax.get_xlim() == (-6, 6)
    assert "4 minima, 4 saddles, 1 maximum" in contours.caption(counted)


def test_cells_that_are_not_finite_are_hatched_and_counted(counted: Any) -> None:
    values = counted.picture.values.clone()
    values[:3, :5] = torch.nan
    values[-1, -1] = torch.inf
    holed = dataclasses.replace(
        counted, picture=dataclasses.replace(counted.picture, values=values)
    )
    assert "16 values that are not finite are hatched" in contours.caption(holed)
    before, after = (len(contours.draw(c).axes[0].collections) for c in (counted, holed))
    hatched = [c for c in contours.draw(holed).axes[0].collections if c.get_hatch()]
    assert after == before + 1
    holes = hatched[0].get_array()
    assert isinstance(holes, np.ma.MaskedArray)
    assert np.asarray(holes.compressed()).size == 16
    nothing = dataclasses.replace(counted.picture, values=torch.full_like(values, torch.nan))
    contours.draw(dataclasses.replace(counted, picture=nothing))


def test_a_line_is_drawn_as_a_curve() -> None:
    f, census = styblinski_census(1)
    shown = dataclasses.replace(census, picture=ls.inventory.picture(f, census, 31))
    assert shown.picture is not None
    (ax,) = contours.draw(shown).axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), shown.picture.values)
    np.testing.assert_allclose(
        marks(ax, style.KINDS["maximum"][1])[0], [0.156731, 0.1956], atol=1e-3
    )


def test_points_outside_the_frame_are_counted(counted: Any) -> None:
    """Two minima, two saddles and the maximum have x_1 < 0."""
    half = dataclasses.replace(
        counted.picture, xs=counted.picture.xs[20:], values=counted.picture.values[20:]
    )
    assert "5 points lie outside the frame" in contours.caption(
        dataclasses.replace(counted, picture=half)
    )


def test_value_against_index(counted: Any) -> None:
    (ax,) = value_index.draw(counted).axes
    drawn = sorted(tuple(row) for c in ax.collections for row in np.asarray(c.get_offsets()))
    assert drawn == sorted((p.value, float(p.index)) for p in counted.points)
    dots: Any = ax.collections
    areas = {
        tuple(o): s
        for c in dots
        for o, s in zip(np.asarray(c.get_offsets()), c.get_sizes(), strict=True)
    }
    saddles = sorted((p for p in counted.points if p.index == 1), key=lambda p: p.hits)
    sizes = [areas[(p.value, 1.0)] for p in saddles]
    assert sizes == sorted(sizes)
    lost = [dataclasses.replace(counted.points[0], index=None), *counted.points[1:]]
    assert "1 points whose index is not known" in value_index.caption(
        dataclasses.replace(counted, points=lost)
    )


def test_zero_eigenvalues_are_hollow(counted: Any) -> None:
    flat = [dataclasses.replace(p, kind="degenerate", nullity=1) for p in counted.points[:2]]
    (ax,) = value_index.draw(dataclasses.replace(counted, points=[*flat, *counted.points[2:]])).axes
    hollow = [c for c in ax.collections if not len(np.asarray(c.get_facecolor()))]
    assert sum(len(np.asarray(c.get_offsets())) for c in hollow) == 2


def test_a_large_dimension_is_shown_by_the_share_of_negative_eigenvalues(counted: Any) -> None:
    (ax,) = value_index.draw(dataclasses.replace(counted, dim=200)).axes
    assert ax.get_ylabel() == "index / n"
    assert max(o[1] for c in ax.collections for o in np.asarray(c.get_offsets())) == 0.01


def test_hits_by_rank_with_what_is_unseen(counted: Any) -> None:
    (ax,) = hits.draw(counted).axes
    drawn = sorted(tuple(row) for kind in style.KINDS.values() for row in marks(ax, kind[1]))
    assert [n for _, n in drawn] == sorted((p.hits for p in counted.points), reverse=True)
    assert [k for k, _ in drawn] == list(range(1, 10))
    said = f"under {100 * counted.unmet:.2g} % of starts"
    assert said in ax.get_title(loc="left")
    assert said in hits.caption(counted)
    unknown = dataclasses.replace(counted, starts=10_000, unseen=Estimate(0.0, 0.0, 0.0, 0.0))
    fig = hits.draw(unknown)
    fig.draw_without_rendering()
    (title,) = (text for text in fig.findobj(Text) if "unknown" in text.get_text())
    assert title.get_window_extent().x1 <= fig.bbox.x1


def test_the_tree_has_a_line_for_every_minimum_and_a_bar_at_every_pass(counted: Any) -> None:
    (ax,) = disconnectivity.draw(counted).axes
    tree = counted.tree
    np.testing.assert_allclose(
        sorted(marks(ax, style.KINDS["minimum"][1])[:, 1]), sorted(tree.values), atol=0
    )
    bars = [
        np.asarray(line.get_ydata())
        for line in ax.lines
        if line.get_marker() == "None" and len(np.asarray(line.get_ydata())) == 4
    ]
    assert [max(bar) for bar in bars] == [m.level for m in tree.merges]
    for bar, merge in zip(
        bars, tree.merges, strict=True
    ):  # level between its two legs, which reach down to what they join
        assert bar[1] == bar[2] == merge.level
        assert max(bar[0], bar[3]) <= merge.level
    assert {t.get_text() for t in ax.texts} == {str(i) for i in tree.minima}


@pytest.mark.slow
def test_no_lines_of_a_tree_cross() -> None:
    f, census = styblinski_census(4)
    tree = ls.paths.disconnectivity(f, census)
    order = disconnectivity._order(tree)
    assert sorted(order) == sorted(tree.minima)
    for merge in tree.merges:
        places = sorted(order.index(i) for i in merge.groups[0] + merge.groups[1])
        assert places == list(range(places[0], places[0] + len(places)))


def test_groups_that_nothing_joins_stand_apart(counted: Any) -> None:
    alone = dataclasses.replace(
        counted.tree, merges=[], edges=[], groups=[[i] for i in counted.tree.minima]
    )
    (ax,) = disconnectivity.draw(dataclasses.replace(counted, tree=alone)).axes
    assert sum(line.is_dashed() for line in ax.lines) == 4
    assert "4 groups are not joined" in disconnectivity.caption(
        dataclasses.replace(counted, tree=alone)
    )


def test_the_profile_shows_images_stations_and_the_barrier(path: Any) -> None:
    (ax,) = path_profile.draw(path).axes
    np.testing.assert_array_equal(
        ax.lines[0].get_xydata(), np.column_stack([path.arclength, path.values])
    )
    expected = [
        (float(path.arclength[i]), s.value) for s, i in zip(path.stations, path.places, strict=True)
    ]
    for kind in ("minimum", "saddle"):
        chosen = sorted(e for e, s in zip(expected, path.stations, strict=True) if s.kind == kind)
        np.testing.assert_array_equal(marks(ax, style.KINDS[kind][1]), chosen)
    assert "barrier 106" in ax.get_title(loc="left")
    arrow = ax.texts[0]
    assert isinstance(arrow, Annotation)
    assert {arrow.xy[1], arrow.xyann[1]} == {path.saddle.value, float(path.values[0])}


def test_a_path_without_a_barrier_has_no_arrow(path: Any) -> None:
    (ax,) = path_profile.draw(dataclasses.replace(path, saddle=path.stations[0], barrier=0.0)).axes
    assert not ax.texts


@pytest.mark.parametrize("module", [contours, value_index, hits, disconnectivity, path_profile])
def test_other_results_have_nothing_to_draw(
    module: Any, report: Any, counted: Any, path: Any
) -> None:
    bare = dataclasses.replace(counted, points=[], picture=None, tree=None)
    for other in [report, bare] + ([counted] if module is path_profile else [path]):
        for act in (module.draw, module.caption):
            with pytest.raises(NothingToDraw, match="this result has no"):
                act(other)


@pytest.mark.slow
def test_index_against_loss_shows_every_stationary_and_every_flat_end(network: Any) -> None:
    (ax,) = index_loss.draw(network).axes
    flat, stationary = (np.asarray(marks.get_offsets()) for marks in ax.collections)
    for drawn, chosen in ((flat, network.flat), (stationary, network.stationary)):
        np.testing.assert_allclose(
            drawn, np.column_stack([network.losses[chosen], network.fractions[chosen]])
        )
    assert f"{int(network.stationary.sum())} stationary points" in index_loss.caption(network)
