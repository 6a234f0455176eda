"""The gallery: every entry is drawn, exhibits are kept, the same result gives the same bytes, numbers stand beside published ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from landscape_cli.main import main
from landscape_figures import RECIPES, NothingToDraw, style, write
from landscape_figures.gallery import DRAWN, caption, estimate

import landscape as ls
from landscape import gallery

QUICK = ("monkey-saddle", "styblinski-tang")
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


@pytest.mark.parametrize("name", QUICK)
def test_numbers_agree_and_the_same_result_gives_the_same_bytes(name: str, cache: Path) -> None:
    exhibit = gallery.recall(name, cache)
    assert exhibit.matches
    assert all(match.agrees for match in exhibit.matches)
    stored = ls.load(cache / f"{name}-{gallery.fingerprint(name)}")
    for format in style.FORMATS:
        one, two = (
            style.render(DRAWN[name](e), format, title=name, alt=caption(e), provenance=e.provenance)
            for e in (exhibit, stored)
        )
        assert one == two
    for match in exhibit.matches:
        assert match.what in caption(exhibit)


def test_an_exhibit_is_computed_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_number_that_differs_says_so() -> None:
    def match(found: float, error: float, within: float = 0.0) -> gallery.Match:
        return gallery.Match("x", 1.0, "a paper", ls.Estimate(found, error, 0.0, 2.0), within)

    assert match(1.0, 0.0).agrees
    assert match(1.02, 0.01).agrees
    assert not match(1.04, 0.01).agrees
    assert match(1.04, 0.01, 0.02).agrees
    assert estimate(ls.Estimate(1.23456, 0.012, 0, 2)) == "1.235 ± 0.012"
    assert estimate(ls.Estimate(-2.0, 0.0, 0, 2)) == "\u22122"


def test_the_command_draws_and_tells_the_numbers(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "ENTRIES", {name: gallery.ENTRIES[name] for name in QUICK})
    line = ["figures", "render", "all", "--cache", str(cache), "--out", str(tmp_path), "--format", "svg", "--jobs", "1"]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "turns of the gradient" in " ".join(done.stdout.split())
    assert "DIFFERS" not in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", *(f"{name}.svg" for name in QUICK)]
    rows = json.loads((tmp_path / "manifest.json").read_text())
    assert [row["name"] for row in rows] == list(QUICK)
    assert rows[0]["numbers"][0]["published"] == "\u22122"
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
    ],
    ids=["name", "no run", "format"],
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
    pictures = [FOLDER / f"{row['name']}.png" for row in rows]
    assert sum(p.stat().st_size for p in pictures) < 3_000_000
    assert sum(bool(row["numbers"]) for row in rows) >= 12
    for row in rows:
        entry = gallery.entry(row["name"])
        assert (row["title"], row["reproduces"], row["setting"]) == (entry.title, entry.reproduces, entry.setting)
        for number in row["numbers"]:
            assert number["published"]
            assert number["source"]


def test_walks_move_and_surfaces_turn(plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from landscape_figures import motion
    from PIL import Image

    monkeypatch.setattr(motion, "FRAMES", 5)
    for name, least in (("surface", 2), ("surface_3d", 5)):  # a walk of three points stands still in some frames
        animate = RECIPES[name].animate
        assert animate is not None
        data = animate(plane)
        assert data == animate(plane)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "GIF"
            assert picture.n_frames >= least  # type: ignore[attr-defined]


def test_a_page_needs_nothing_else(plane: Any, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    path = write(RECIPES["surface_3d"], plane, tmp_path / "s.html", alt="what it shows", provenance=plane.provenance)
    page = path.read_text(encoding="utf-8")
    assert "<script src" not in page
    assert "what it shows" in page
    assert "plotly_click" in page
    spectra = json.loads(page.partition("spectra = ")[2].partition(";")[0])
    for name, walk in plane.walks.items():
        # f = x0^2 - log(1.4 + x1) + x2 / 10: eigenvalues 2 and 1 / (1.4 + x1)^2, and 0; the outermost are 0 and the larger
        assert len(spectra[name]) == len(walk.values)
        assert spectra[name][-1][0] == pytest.approx(0, abs=1e-7)
        assert spectra[name][-1][-1] == pytest.approx(2, abs=1e-6)  # at the last point, where x is 0
    first = float(plane.walks["one"].where[0, 1])
    assert spectra["one"][0][-1] == pytest.approx(max(2.0, 1 / (1.4 + first) ** 2), rel=1e-5)
    assert page == RECIPES["surface_3d"].page(plane, "what it shows")  # type: ignore[misc]


def test_other_forms_are_refused_by_name(report: Any, tmp_path: Path) -> None:
    for form in ("gif", "html"):
        with pytest.raises(NothingToDraw, match="surface_3d"):
            write(RECIPES["density"], report, tmp_path / f"x.{form}", alt="", provenance=report.provenance)
