"""The gallery: every entry is drawn, exhibits are kept, the same result gives the same bytes, numbers stand beside those expected."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from landscape_cli.main import main
from landscape_figures import RECIPES, NothingToDraw, film, motion, style, write
from landscape_figures.gallery import DRAWN, FILMS, caption, estimate, races
from PIL import Image

import landscape as ls
from landscape import gallery

QUICK = ("monkey-saddle", "styblinski-tang")
TRUTH = Path(__file__).parents[1] / "truth" / "dynamics"
FOLDER = Path(__file__).parents[2] / "figures" / "gallery"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_every_entry_is_drawn_and_names_its_source() -> None:
    assert list(DRAWN) == gallery.names()
    for name in gallery.names():
        entry = gallery.entry(name)
        assert any(c.isdigit() for c in entry.reproduces), name  # a year
        assert entry.setting
        assert len(gallery.fingerprint(name)) == 8
    with pytest.raises(ValueError, match="kramers"):
        gallery.entry("kramer")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_numbers_agree_and_the_same_result_gives_the_same_bytes(name: str, cache: Path) -> None:
    exhibit = gallery.recall(name, cache)
    assert exhibit.matches
    assert all(match.agrees for match in exhibit.matches)
    stored = ls.load(cache / f"{name}-{gallery.fingerprint(name)}")
    for format in style.FORMATS:
        one, two = (
            style.render(
                DRAWN[name](e), format, title=name, alt=caption(e), provenance=e.provenance
            )
            for e in (exhibit, stored)
        )
        assert one == two
    for match in exhibit.matches:
        assert match.what in caption(exhibit)


@pytest.mark.slow
def test_an_exhibit_is_computed_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = gallery.compute

    def counted(name: str, **more: Any) -> gallery.Exhibit:
        calls.append(name)
        return real(name, **more)

    monkeypatch.setattr(gallery, "compute", counted)
    for _ in range(2):
        gallery.recall("monkey-saddle", tmp_path)
    assert len(calls) == 1
    assert gallery.kept("monkey-saddle", tmp_path)
    gallery.recall("monkey-saddle", tmp_path, afresh=True)
    assert len(calls) == 2
    (folder,) = tmp_path.iterdir()
    (folder / "result.json").write_text("{")
    gallery.recall("monkey-saddle", tmp_path)
    assert len(calls) == 3


@pytest.mark.slow
def test_an_exhibit_of_an_earlier_library_says_so(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = gallery.recall("monkey-saddle", cache)
    assert now.library == gallery.library()
    line = [
        "figures",
        "render",
        "monkey-saddle",
        "--cache",
        str(cache),
        "--out",
        str(tmp_path),
        "--format",
        "svg",
    ]
    assert "earlier" not in CliRunner().invoke(main, line).stderr
    monkeypatch.setattr(gallery, "library", lambda: "of later")
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0
    assert (
        "Note: an earlier state of this library has computed these exhibits, --afresh computes "
        "them again: monkey-saddle." in done.stderr
    )
    assert (
        json.loads(CliRunner().invoke(main, [*line, "--json"]).stdout)[0]["library"] == now.library
    )


@pytest.mark.slow
def test_races_take_the_steps_of_the_tables(cache: Path) -> None:
    rows = json.loads((TRUTH / "t1_saddle_sgd.json").read_text())["rows"]
    adaptive = json.loads((TRUTH / "t3_adaptive_exit.json").read_text())["rows"]
    wells = json.loads((TRUTH / "t8_plateaus.json").read_text())["gaussian_well"]
    (sgd,) = (
        r["exit_step"]
        for r in rows
        if (r["x0"], r["lr"], r["lam"], r["momentum"]) == ([0.7, 1e-3], 0.01, [1.0, -1.0], 0.0)
    )
    told = {r["optimizer"]: r["exit_step"] for r in adaptive
            if r["kwargs"] == {"lr": 0.01} and r["x0"][1] == 1e-3 and r["lam"] == [1.0, -1.0]}  # fmt: skip
    race = gallery.compute("saddle-race")
    assert all(match.agrees for match in race.matches)
    took = {name: len(path) - 1 for name, path in race.data["paths"].items()}
    assert took == {
        "SGD": sgd,
        **{k: told[k] for k in ("Adam", "RMSprop", "Adagrad")},
        "momentum 0.9": took["momentum 0.9"],
    }
    y, b, n = 1e-3, 0.0, 0
    while abs(y) <= 1:
        b = 0.9 * b + 0.01 * y
        y, n = y + b, n + 1
    assert took["momentum 0.9"] == n
    plateau = gallery.recall("plateau-race", cache)
    assert all(match.agrees for match in plateau.matches)
    flat = plateau.data["paths"]
    for name, rate in (("SGD, rate 1", 1.0), ("SGD, rate 0.1", 0.1)):
        (steps,) = (r["gd_steps_x_lt_1"] for r in wells if (r["x0"], r["lr"]) == (4.0, rate))
        assert len(flat[name]) - 1 == steps


@pytest.mark.slow
def test_a_race_is_drawn_beside_its_film(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(races, "FRAMES", 12)
    line = ["figures", "render", "plateau-race", "--cache", str(cache), "--out", str(tmp_path)]
    assert CliRunner().invoke(main, line).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plateau-race.gif", "plateau-race.png"]
    data = (tmp_path / "plateau-race.gif").read_bytes()
    exhibit = gallery.recall("plateau-race", cache)
    assert film.gif(FILMS["plateau-race"](exhibit)) == data
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.n_frames > 8  # type: ignore[attr-defined]
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    axes = DRAWN["plateau-race"](exhibit).axes
    ends = [
        np.asarray(line.get_xydata())[-1]
        for line in axes[0].lines
        if line.get_marker() in ("o", "s", "D", "^", "v")
    ]
    np.testing.assert_allclose(ends, [path[-1] for path in exhibit.data["paths"].values()])


def _film(size: tuple[int, int] = (31, 20)) -> film.Film:
    """Three frames of one colour each, of an odd width."""
    return film.Film(
        tuple(Image.new("RGB", size, c) for c in ("#0072b2", "#d55e00", "#009e73")),
        0.2,
        0.8,
        ("#0072b2", "#d55e00"),
    )


def test_a_gif_has_its_colours_and_times() -> None:
    with Image.open(io.BytesIO(film.gif(_film()))) as picture:
        seen = []
        for k in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(k)
            seen.append((picture.convert("RGB").getpixel((3, 3)), picture.info["duration"]))
    assert seen == [((0, 0x72, 0xB2), 200), ((0xD5, 0x5E, 0), 200), ((0, 0x9E, 0x73), 800)]


@pytest.mark.slow
def test_an_mp4_lasts_as_long_and_is_the_same_again(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    data = film.mp4(_film())
    assert data == film.mp4(_film())
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    frames, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert frames == 30 == round(1.2 * film.RATE)
    assert seconds == pytest.approx(1.2, abs=0.05)
    reader = ffmpeg.read_frames(str(path))
    assert next(reader)["size"] == (32, 20)
    first = np.frombuffer(next(reader), dtype=np.uint8).reshape(20, 32, 3)
    assert np.abs(first[10, 10].astype(int) - [0, 0x72, 0xB2]).max() < 8  # H.264 is lossy


def test_an_mp4_without_its_extra_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(NothingToDraw, match=r"torch-landscape\[mp4\]"):
        film.mp4(_film())
    line = [
        "figures",
        "render",
        "saddle-race",
        "--format",
        "mp4",
        "--cache",
        str(tmp_path / "cache"),
    ]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 2
    assert "torch-landscape[mp4]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()  # refused before anything was computed


def test_an_encoder_that_dies_without_a_word_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*arguments: object, **options: object) -> Iterator[None]:
        raise OSError
        yield

    monkeypatch.setattr(film, "encoder", lambda: dies)
    with pytest.raises(NothingToDraw, match="made no MP4: OSError"):
        film.mp4(_film())


def test_a_number_that_differs_says_so() -> None:
    def match(found: float, error: float, within: float = 0.0) -> gallery.Match:
        return gallery.Match("x", 1.0, "a paper", ls.Estimate(found, error, 0.0, 2.0), within)

    assert match(1.0, 0.0).agrees
    assert match(1.02, 0.01).agrees
    assert not match(1.04, 0.01).agrees
    assert match(1.04, 0.01, 0.02).agrees
    assert estimate(ls.Estimate(1.23456, 0.012, 0, 2)) == "1.235 ± 0.012"
    assert estimate(ls.Estimate(-2.0, 0.0, 0, 2)) == "\u22122"


@pytest.mark.slow
def test_the_command_draws_and_tells_the_numbers(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "ENTRIES", {name: gallery.ENTRIES[name] for name in QUICK})
    line = [
        "figures",
        "render",
        "all",
        "--cache",
        str(cache),
        "--out",
        str(tmp_path),
        "--format",
        "svg",
        "--jobs",
        "1",
    ]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "turns of the" in " ".join(done.stdout.split())
    assert "DIFFERS" not in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "manifest.json",
        *(f"{name}.svg" for name in QUICK),
    ]
    rows = json.loads((tmp_path / "manifest.json").read_text())
    assert [row["name"] for row in rows] == list(QUICK)
    assert rows[0]["numbers"][0]["expected"] == "\u22122"
    assert rows[0]["command"] == "landscape figures render monkey-saddle"
    before = (tmp_path / "monkey-saddle.svg").read_bytes()
    assert CliRunner().invoke(main, line).exit_code == 0
    assert (tmp_path / "monkey-saddle.svg").read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["render", "monkey-sadle"], "Did you mean 'monkey-saddle'"),
        (["render", "surface"], "--from RUN"),
        (["render", "saddle", "--format", "html"], "--format html"),
        (
            ["render", "saddle", "--format", "gif"],
            "the films of the gallery are saddle-race, plateau-race",
        ),
    ],
    ids=["name", "no run", "format", "no film"],
)
def test_mistakes_take_one_line(line: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["figures", *line, "--cache", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_list_has_both_kinds() -> None:
    done = CliRunner().invoke(main, ["figures", "list"])
    assert done.exit_code == 0
    assert "spectrum" in done.stdout
    assert "kramers" in done.stdout


def test_the_committed_gallery_is_whole() -> None:
    rows = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in rows] == gallery.names()
    pictures = [FOLDER / name for row in rows for name in row["files"]]
    assert {p.suffix for p in pictures} == {".png", ".gif"}
    assert sum(p.stat().st_size for p in pictures if p.suffix == ".png") < 3_700_000
    assert all(p.stat().st_size < 600_000 for p in pictures)
    assert sum(bool(row["numbers"]) for row in rows) >= 12
    for row in rows:
        entry = gallery.entry(row["name"])
        assert (row["title"], row["reproduces"], row["setting"]) == (
            entry.title,
            entry.reproduces,
            entry.setting,
        )
        for number in row["numbers"]:
            assert number["expected"]
            assert number["source"]


@pytest.mark.slow
def test_walks_move_and_surfaces_turn(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "FRAMES", 5)
    for name, least in (
        ("surface", 2),
        ("surface_3d", 5),
    ):  # a walk of three points stands still in some frames
        animate = RECIPES[name].animate
        assert animate is not None
        data = film.gif(animate(plane))
        assert data == film.gif(animate(plane))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "GIF"
            assert picture.n_frames >= least  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_page_needs_nothing_else(plane: Any, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    path = write(
        RECIPES["surface_3d"],
        plane,
        tmp_path / "s.html",
        alt="what it shows",
        provenance=plane.provenance,
    )
    page = path.read_text(encoding="utf-8")
    assert "<script src" not in page
    assert "what it shows" in page
    assert "plotly_click" in page
    spectra = json.loads(page.partition("spectra = ")[2].partition(";")[0])
    for name, walk in plane.walks.items():
        # f = x0^2 - log(1.4 + x1) + x2 / 10: eigenvalues 2 and 1 / (1.4 + x1)^2, and 0; the outermost are 0 and the larger
        assert len(spectra[name]) == len(walk.values)
        assert spectra[name][-1][0] == pytest.approx(0, abs=1e-7)
        assert spectra[name][-1][-1] == pytest.approx(
            2, abs=1e-6
        )  # at the last point, where x is 0
    first = float(plane.walks["one"].where[0, 1])
    assert spectra["one"][0][-1] == pytest.approx(max(2.0, 1 / (1.4 + first) ** 2), rel=1e-5)
    assert page == RECIPES["surface_3d"].page(plane, "what it shows")  # type: ignore[misc]


@pytest.mark.slow
def test_other_forms_are_refused_by_name(report: Any, tmp_path: Path) -> None:
    for form in ("gif", "mp4", "html"):
        with pytest.raises(NothingToDraw, match="surface_3d"):
            write(
                RECIPES["density"],
                report,
                tmp_path / f"x.{form}",
                alt="",
                provenance=report.provenance,
            )
