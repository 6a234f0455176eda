"""What a figure draws are the result's numbers, all of them and nothing else."""

import dataclasses
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from landscape_figures import (
    RECIPES,
    NothingToDraw,
    density,
    layers,
    slices,
    spectrum,
    style,
    write,
)
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from mpl_toolkits.mplot3d.art3d import Line3D

import landscape as ls
from landscape.linalg.words import lower_end
from landscape.results import Bounded, Provenance


def bars(ax: Axes) -> list[tuple[Any, Any]]:
    """The (low, high) ends and the places of every error bar, a container each."""
    found = []
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            segments = np.array(container[2][0].get_segments())
            found.append((segments[:, 0], segments[:, 1]))
    return found


def test_the_spectrum_shows_every_pair_with_both_errors(report: Any) -> None:
    fig = spectrum.draw(report)
    values, bounds, errors = (
        report.point.pairs.values.numpy(),
        report.point.pairs.bounds.numpy(),
        report.sampling_errors.numpy(),
    )
    split = report.point.pairs.smallest
    top, bottom = fig.axes
    for ax, chosen in ((top, slice(None, split - 1, -1)), (bottom, slice(0, split))):
        (line,) = [line for line in ax.lines if line.get_marker() in ("o", "v")]
        np.testing.assert_array_equal(line.get_ydata(), values[chosen])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(values[chosen]) + 1))
        sampling, solver = bars(ax)
        np.testing.assert_allclose(
            sampling[1][:, 1] - sampling[0][:, 1], 2 * errors[chosen], rtol=1e-9
        )
        np.testing.assert_allclose(
            solver[1][:, 1] - solver[0][:, 1], 2 * bounds[chosen], atol=1e-12
        )


def test_unknown_sampling_errors_are_not_drawn_as_zero(report: Any) -> None:
    unknown: Any = SimpleNamespace(
        point=report.point,
        parameters=report.parameters,
        sampling_errors=report.sampling_errors * float("nan"),
    )
    assert all(len(bars(ax)) == 1 for ax in spectrum.draw(unknown).axes)
    assert "not known" in spectrum.caption(unknown)


@pytest.mark.parametrize(
    ("largest", "smallest", "total", "split"),
    [(6, 5, 20, 5), (6, 0, 20, 0), (10, 5, 15, 7), (3, 0, 3, 1), (1, 0, 1, 0)],
)
def test_where_the_ends_meet_each_pair_is_shown_once(
    largest: int, smallest: int, total: int, split: int
) -> None:
    values, vectors = (
        torch.arange(float(largest + smallest)),
        torch.zeros(total, largest + smallest),
    )
    pairs: Any = SimpleNamespace(values=values, vectors=vectors, largest=largest, smallest=smallest)
    assert lower_end(pairs) == split


def test_the_density_shows_every_weight_that_has_a_logarithm(report: Any) -> None:
    report = dataclasses.replace(report, point=dataclasses.replace(report.point, eigenvalues=report.point.eigenvalues[:3]))  # fmt: skip
    ax, _ = density.draw(report).axes
    drawn = np.concatenate([np.column_stack(c[0].get_data()) for c in ax.containers])
    nodes, weights = report.density.nodes.numpy(), report.density.weights.numpy()
    expected = np.column_stack([nodes, weights])[weights > 0]
    np.testing.assert_array_equal(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 1 / report.parameters
    assert high > expected[:, 1].max()
    below = int((weights < low).sum())
    assert (f"{below} nodes" in density.caption(report)) == (below > 0)
    left, right = ax.get_xlim()
    assert left < nodes.min()
    assert right > nodes.max()


def test_the_band_below_the_density_holds_the_whole_spectrum(report: Any) -> None:
    """The number of eigenvalues beyond every level, seen from 0, of a spectrum that is known otherwise."""
    values = np.sort(report.point.eigenvalues.numpy())
    less = dataclasses.replace(report, point=dataclasses.replace(report.point, eigenvalues=report.point.eigenvalues[:3]))  # fmt: skip
    _, ax = density.draw(less).axes
    (levels, least), (_, most) = (map(np.asarray, line.get_data()) for line in ax.lines[1:])
    below = np.searchsorted(values, levels, side="right")
    beyond = np.where(levels < 0, below, len(values) - below)
    assert (np.where(least > 0.5, least, 0) <= beyond + 1e-6).all()
    assert (beyond <= np.where(most > 0.5, most, 0) + 1e-6)[beyond > 0].all()
    assert (most - least < len(values) / 2).any()  # it says something
    assert "for all levels at once" in density.caption(less)
    assert "for all levels" not in density.caption(report)


def test_a_spectrum_that_is_known_whole_is_a_histogram(report: Any) -> None:
    values = report.point.eigenvalues.numpy()
    assert len(values) == report.parameters
    (ax,) = density.draw(report).axes
    shares = np.zeros(density.BINS)
    for stairs in ax.patches:
        assert isinstance(stairs, StepPatch)
        heights, edges, _ = stairs.get_data()
        shares += heights
    counts, _ = np.histogram(values, edges)
    np.testing.assert_allclose(shares, counts / len(values))
    assert counts.sum() == len(values)
    assert f"All {len(values)} eigenvalues" in density.caption(report)


def test_a_slice_shows_what_was_measured_over_what_was_predicted(report: Any) -> None:
    fig = slices.draw(report)
    assert len(fig.axes) == len(report.slices) == 2
    for ax, piece in zip(fig.axes, report.slices, strict=True):
        lines = {line.get_label(): line for line in ax.lines}
        np.testing.assert_array_equal(
            lines["measured"].get_xydata(), np.column_stack([piece.t, piece.values])
        )
        np.testing.assert_array_equal(
            lines["predicted parabola"].get_xydata(), np.column_stack([piece.t, piece.predicted])
        )
        assert "not finite" not in lines


def test_values_that_are_not_finite_are_masked_and_marked(broken: Any) -> None:
    ax = slices.draw(broken).axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert np.isnan(np.asarray(lines["measured"].get_ydata())[-3:]).all()
    np.testing.assert_array_equal(lines["not finite"].get_xdata(), broken.slices[0].t[-3:])
    assert "3 points" in slices.caption(broken)


def test_a_length_of_nothing_begins_at_zero(report: Any) -> None:
    point = dataclasses.replace(report.point, gradient_noise=float("inf"))
    left, _ = layers.draw(dataclasses.replace(report, point=point)).axes
    assert left.get_xlim()[0] == 0
    assert list(left.get_xticks()) == [0]
    assert [text.get_text() for text in left.texts] == ["0"] * len(report.layers)


def test_layers_show_gradient_and_curvature(report: Any) -> None:
    left, right = layers.draw(report).axes
    np.testing.assert_array_equal(
        left.lines[0].get_xdata(), [layer.gradient_norm for layer in report.layers]
    )
    assert [t.get_text() for t in left.get_yticklabels()] == [layer.name for layer in report.layers]
    for container, which in zip(right.containers, ("largest", "smallest"), strict=True):
        np.testing.assert_array_equal(
            container[0].get_xdata(), [getattr(layer, which).value for layer in report.layers]
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_stored_result_draws_the_same(name: str, drawn: Any, tmp_path: Path) -> None:
    recipe, report = RECIPES[name], drawn(name)
    again = ls.load(report.save(tmp_path / "run"))
    alt = recipe.caption(report)
    assert recipe.caption(again) == alt
    for format in style.FORMATS:
        one, two = (
            style.render(recipe.draw(r), format, title=name, alt=alt, provenance=r.provenance)
            for r in (report, again)
        )
        assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_files_hold_their_provenance_and_alt_text_and_no_date(
    name: str, drawn: Any, tmp_path: Path
) -> None:
    recipe, report = RECIPES[name], drawn(name)
    alt = recipe.caption(report)
    for format in style.FORMATS:
        path = style.save(
            recipe.draw(report),
            tmp_path / "new" / f"{name}.{format}",
            alt=alt,
            provenance=report.provenance,
        )
        data = path.read_bytes()
        if format != "pdf":  # whose strings may be in UTF-16
            origin = report.provenance
            for text in (
                "torch-landscape 0.1.0",
                f"model {origin.name}, seed 0",
                origin.model_hash,
                name,
            ):
                assert text.encode() in data
            assert (
                alt.split(";")[0].encode().replace(b"'", b"'") in data.replace(b"&#x27;", b"'")
                or format == "png"
            )
        assert b"torch-landscape" in data
        for word in (b"CreationDate", b"<dc:date>"):
            assert word not in data
    assert sorted(p.suffix for p in (tmp_path / "new").iterdir()) == [".pdf", ".png", ".svg"]


def test_surfaces_show_their_values(plane: Any, line: Any, joined: Any) -> None:
    ax = RECIPES["surface"].draw(plane).axes[0]
    (one, two) = [drawn for drawn in ax.lines if drawn.get_label() in ("one", "two")]
    np.testing.assert_allclose(np.asarray(one.get_xydata()), plane.walks["one"].where)
    assert two.get_label() == "two"
    assert [c.get_hatch() for c in ax.collections].count("////") == 1
    lost = int((~plane.values.isfinite()).sum())
    for name in ("surface", "surface_3d"):
        assert f"{lost} values that are not finite" in RECIPES[name].caption(plane)
    own = RECIPES["walks"].draw(plane).axes[0].lines[0]
    np.testing.assert_array_equal(own.get_ydata(), plane.walks["one"].values)
    f, beside = RECIPES["line"].draw(line).axes
    shown = line.values.numpy()
    np.testing.assert_array_equal(
        f.lines[0].get_ydata(), np.where(np.isfinite(shown), shown, np.nan)
    )
    np.testing.assert_array_equal(f.lines[0].get_xdata(), line.steps)
    assert beside.get_ylabel() == "slope"
    straight, curve = RECIPES["connection"].draw(joined).axes[0].lines
    np.testing.assert_array_equal(straight.get_ydata(), joined.straight.values)
    np.testing.assert_array_equal(curve.get_ydata(), joined.curve.values)
    with pytest.raises(NothingToDraw, match="line"):
        RECIPES["surface"].draw(line)


def test_levels_are_even_in_the_logarithm_where_values_span_decades() -> None:
    from landscape_figures import levels

    values = np.geomspace(1e-3, 10, 49).reshape(7, 7)
    steps = np.diff(np.log(levels.of(values)))
    np.testing.assert_allclose(steps, steps[0])
    assert not levels.logarithmic(values - 1e-3)


@pytest.mark.slow
def test_text_stays_text(report: Any) -> None:
    svg = style.render(
        density.draw(report), "svg", title="t", alt="a", provenance=report.provenance
    ).decode()
    assert ">eigenvalue of the Hessian<" in svg


def test_a_pointer_on_a_mark_of_an_svg_finds_its_numbers(report: Any) -> None:
    svg = style.render(
        spectrum.draw(report), "svg", title="t", alt="a", provenance=report.provenance
    ).decode()
    values, bounds, _, _ = spectrum.numbers(report)
    told = re.findall(r"<title>\d+: ([^,]+), solver bound ([^,<]+)", svg)
    assert sorted(told) == sorted(
        (f"{v:.6g}", f"{b:.2g}") for v, b in zip(values, bounds, strict=True)
    )
    assert "told:" not in svg


def test_marks_that_are_not_all_drawn_have_no_words() -> None:
    figure = Figure()
    axes = figure.subplots()
    (line,) = axes.plot([0.0, 1.0, np.nan], [0.0, 1.0, 2.0], "o")
    style.tell(line, ["a", "b", "c"])
    svg = style.render(figure, "svg", title="t", alt="a", provenance=Provenance()).decode()
    assert "<title>a</title>" not in svg
    assert "told:" not in svg


def test_another_suffix_is_refused_and_a_failed_save_keeps_the_earlier_file(
    report: Any, tmp_path: Path
) -> None:
    fig = density.draw(report)
    with pytest.raises(ValueError, match=r"\.png, \.svg or \.pdf"):
        style.save(fig, tmp_path / "x.bmp", alt="", provenance=report.provenance)
    (tmp_path / "x.png").write_bytes(b"earlier")
    with pytest.raises(AttributeError):
        style.save(fig, tmp_path / "x.png", alt="", provenance=None)  # type: ignore[arg-type]
    assert (tmp_path / "x.png").read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_a_result_without_the_numbers_says_which(name: str) -> None:
    with pytest.raises(NothingToDraw, match="this result has no"):
        RECIPES[name].draw(SimpleNamespace(layers=(), slices=(), density=None))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_users_matplotlib_is_left_alone(name: str, drawn: Any) -> None:
    report = drawn(name)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        fig = RECIPES[name].draw(report)
        assert dict(mpl.rcParams) == before
        assert float(fig.axes[0].xaxis.label.get_fontsize()) < 10


@pytest.mark.slow
def test_no_figure_goes_through_pyplot() -> None:
    import subprocess

    script = "import sys, landscape_figures; assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_no_text_collides_or_is_cut(name: str, drawn: Any) -> None:
    fig = RECIPES[name].draw(drawn(name, broken=True))
    assert_readable(fig)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1e-6, 0.3, 17.0, 4e5])
@pytest.mark.parametrize("smallest", [-3e-7, -0.5, 0.0])
@pytest.mark.parametrize("bulk", [1e-9, 0.02])
def test_no_scale_makes_labels_collide(largest: float, smallest: float, bulk: float) -> None:
    nodes = np.array(sorted([smallest, -bulk / 2, bulk / 3, bulk, largest]))
    spread = SimpleNamespace(
        nodes=nodes,
        weights=np.array([0.01, 0.3, 0.38, 0.3, 0.01]),
        errors=np.full(5, 1e-3),
        dimension=500,
        band=lambda levels: (np.full(len(levels), 3.0), np.full(len(levels), 400.0)),
    )
    ends = [Bounded(v, 0.1 * abs(v)) for v in (largest, bulk, smallest)]
    rows = tuple(
        SimpleNamespace(
            name=f"encoder.layers.{i}.self_attn",
            gradient_norm=10.0 ** (-3 * i),
            largest=ends[i],
            smallest=ends[2],
        )
        for i in range(2)
    )
    point = SimpleNamespace(gradient_noise=0.0, eigenvalues=())
    report: Any = SimpleNamespace(density=spread, layers=rows, point=point)
    assert_readable(density.draw(report))
    assert_readable(layers.draw(report))


def assert_readable(fig: Figure) -> None:
    """Tick labels of an axis do not overlap, and all text is inside the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer = canvas.get_renderer()
    frame = fig.bbox
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                t.label1
                for t in axis.get_major_ticks()
                if low <= t.get_loc() <= high and t.label1.get_text()
            ]
            boxes = [label.get_window_extent(renderer) for label in labels if label.get_visible()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]), [
                t.get_text() for t in labels
            ]
        texts = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]  # type: ignore[attr-defined]
        for text in texts:
            if text.get_text():
                box = text.get_window_extent(renderer)
                assert box.x0 >= frame.x0 - 1, text.get_text()
                assert box.x1 <= frame.x1 + 1, text.get_text()
                assert box.y0 >= frame.y0 - 1, text.get_text()


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.17, 4.7, ["0.3", "1", "3"]),
        (2e-3, 3.0, ["0.01", "0.1", "1"]),
        (1e-9, 1e8, ["$10^{-9}$", "$10^{-6}$", "$10^{-3}$", "1", "1000", "$10^{6}$"]),
    ],
)
def test_heights_on_a_log_scale_have_their_numbers(
    low: float, high: float, shown: list[str]
) -> None:
    from landscape_figures import surface_3d

    heights = surface_3d.decades(np.log10(low), np.log10(high))
    assert [surface_3d.number(h) for h in heights] == shown


def _drawn(values: Any, *, trajectory: str = "run", **options: Any) -> Any:
    e = torch.eye(3, dtype=torch.float64)
    path = 0.3 * torch.stack([e[0], e[1] + e[2], -e[0] + 2 * e[2]])
    f = ls.FunctionLandscape(values, 3, name="formula")
    return ls.surface(
        f, 0 * e[0], (e[0], e[1]), resolution=5, trajectory={trajectory: path}, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        lambda: _drawn(lambda x: torch.where(x[..., 0] > 0.4, torch.inf, (4 * x[..., 0]).exp())),
        lambda: _drawn(lambda x: 1e300 * x.sum(-1)),
        lambda: _drawn(
            lambda x: x.sum(-1), trajectory="$x^$", metrics={"$\\q": lambda x: x[..., 0]}
        ),
    ],
    ids=["infinite beside decades", "huge of both signs", "dollars in names"],
)
@pytest.mark.filterwarnings("error")
def test_odd_surfaces_are_drawn(made: Any, tmp_path: Path) -> None:
    result = made()
    for name in ("surface", "surface_3d", "walks"):
        recipe = RECIPES[name]
        file = write(
            recipe,
            result,
            tmp_path / f"{name}.svg",
            alt=recipe.caption(result),
            provenance=result.provenance,
        )
        assert file.stat().st_size > 5000


def test_names_of_trajectories_are_kept_as_they_are() -> None:
    fig = RECIPES["walks"].draw(_drawn(lambda x: x.sum(-1), trajectory="_$run"))
    assert "_\\$run, its own" in fig.legends[0].texts[0].get_text()


def test_points_without_a_value_are_counted_in_words() -> None:
    result = _drawn(lambda x: torch.where(x[..., 2] > 0.5, torch.nan, x.square().sum(-1)))
    words = RECIPES["surface"].caption(result)
    assert "1 of the 3 points of run have no finite value" in words
    assert "differ from the plane's by up to 0.09;" in words


def test_a_trajectory_is_drawn_where_the_surface_is() -> None:
    result = _drawn(lambda x: x.square().sum(-1), span=(-0.1, 2.0))
    (run,) = [
        line
        for line in RECIPES["surface_3d"].draw(result).axes[0].lines
        if line.get_label() == "run"
    ]
    assert isinstance(run, Line3D)
    assert np.isfinite(np.asarray(run.get_data_3d()[2], dtype=float)).tolist() == [
        True,
        True,
        False,
    ]


def test_alt_text_of_odd_names_is_valid_xml(tmp_path: Path) -> None:
    result = _drawn(lambda x: x.sum(-1), trajectory="a\x07b")
    recipe = RECIPES["surface"]
    path = write(
        recipe,
        result,
        tmp_path / "surface.svg",
        alt=recipe.caption(result),
        provenance=result.provenance,
    )
    assert "distances of a b from" in " ".join(ElementTree.parse(path).getroot().itertext())


def test_python_draws_by_name_as_the_command_does(report: Any) -> None:
    assert ls.figures.RECIPES is RECIPES
    assert "figures" in dir(ls)
    drawn, again = ls.figures.draw("spectrum", report), spectrum.draw(report)
    assert [ax.get_title() for ax in drawn.axes] == [ax.get_title() for ax in again.axes]
    with pytest.raises(
        ValueError, match=r"no figure is called 'spectra'\. Did you mean 'spectrum'\?"
    ):
        ls.figures.draw("spectra", report)
