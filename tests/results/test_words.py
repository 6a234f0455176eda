"""Every kind of stored result says itself: in print, in one line, in a notebook, as a figure and as a table."""

import html
import sys
from pathlib import Path
from types import SimpleNamespace

import landscape_figures
import pytest
from click.testing import CliRunner
from landscape_cli import screens
from landscape_cli.main import main

import landscape as ls
from landscape.results.words import Fact, Table, Words

RUNS = sorted(
    p.parent for p in (Path(__file__).parents[1] / "fixed" / "runs").glob("*/result.json")
)
RESULTS = [run for run in RUNS if run.name != "estimate"]
UNDRAWN = {
    "certificate",
    "exit",
    "file",
    "picture-check",
    "prediction",
    "pspin",
    "search",
    "solution",
}
TABLES = {
    "analysis": ("value", "bound", "residual", "sampling_error"),
    "census": ("kind", "value", "index", "x0", "x1"),
    "counts": ("dim", "saddles", "saddles_error", "expected_saddles"),
    "density": ("node", "weight", "error"),
    "escapes": ("optimizer", "run", "steps", "escaped"),
    "pairs": ("value", "bound"),
    "path": ("arclength", "value"),
    "spectrum": ("value", "bound", "sampling_error"),
    "sweep": ("optimizer", "lr", "steps"),
    "trace": ("steps", "loss", "gradient_norm"),
}
# A command that shows a stored result again, by --resume.
AGAIN = {
    "analysis": ["analyze", "net.py"],
    "spectrum": ["spectrum", "net.py"],
    "search": ["saddles", "find", "well"],
    "census": ["saddles", "census", "well", "--starts", "1"],
    "network-census": ["saddles", "census", "net.py"],
    "path": ["saddles", "path", "well", "--from", "0,0", "--to", "1,0"],
    "counts": ["saddles", "count", "isotropic-waves", "--dims", "1:2", "--realisations", "1"],
    "escapes": ["escape", "well", "--optimizer", "sgd:lr=0.2"],
    "sweep": ["escape", "well", "--optimizer", "sgd", "--sweep", "lr=0.1,0.2"],
    "surface": ["surface", "well", "--config", str(RUNS[0].parent / "surface" / "config.toml")],
    "connection": ["surface", "well", "--connect", "1,0"],
    "diagnosis": ["diagnose", "zero-tanh"],
}


def load(name: str) -> ls.results.Result:
    return ls.load(next(run for run in RUNS if run.name == name))


@pytest.mark.parametrize("run", RESULTS, ids=lambda run: run.name)
def test_str_and_repr(run: Path) -> None:
    result = ls.load(run)
    line, text = repr(result), str(result)
    assert line.startswith(f"{type(result).__name__}(")
    assert line.endswith(")")
    assert "\n" not in line
    assert "tensor(" not in line
    assert len(line) < 100
    assert text.strip()
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert not any(row != row.rstrip() for row in text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("run", RESULTS, ids=lambda run: run.name)
def test_a_notebook_and_a_figure(run: Path) -> None:
    result = ls.load(run)
    shown = result._repr_html_()
    assert shown.startswith("<table>")
    assert shown.count("<svg") == (run.name not in UNDRAWN)
    assert "± ±" not in shown + str(result)
    if run.name in UNDRAWN:
        with pytest.raises(ValueError, match="no figure"):
            result.plot()
    else:
        assert type(result.plot()).__name__ == "Figure"


def test_what_users_name_is_escaped_in_a_notebook() -> None:
    words = Words("", [Fact("<b>", ("a & b",)), Table(("<i>",), (("<script>",),))])
    assert not any(tag in words.html() for tag in ("<b>", "<i>", "<script>"))
    assert html.escape("<script>") in words.html()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_becomes_a_data_frame(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    frame = load(name).to_pandas()
    assert set(TABLES[name]) <= set(frame)
    assert len({len(column) for column in frame.values()}) == 1


def test_without_pandas_or_a_table_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        load("census").to_pandas()
    with pytest.raises(TypeError, match="Connection is no table"):
        load("connection").to_pandas()


@pytest.mark.parametrize("name", AGAIN)
def test_a_command_prints_the_words_of_its_result(name: str) -> None:
    run = next(run for run in RUNS if run.name == name)
    done = CliRunner().invoke(main, [*AGAIN[name], "--out", str(run), "--resume"])
    assert done.exit_code == 0, done.output
    said = ls.load(run).words(run)
    printed = done.stdout.split()
    for block in said.blocks():
        parts = [*block.columns, *sum(block.rows, ())] if isinstance(block, Table) else []
        parts += [] if isinstance(block, Table) else [line for f in block for line in f.lines]
        for word in (word for part in parts for word in part.split()):
            assert word in printed or word[:20] in done.stdout, word
    assert "written" in printed
    if not said.tables:  # nothing stands behind the folder
        assert done.stdout.partition("\n written")[0].split() == str(said).split()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_screen_and_a_text_have_the_same_lines(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("analysis", "census", "diagnosis", "sweep"):
        said = load(name).words()
        assert max(map(len, said.text(width).splitlines())) <= width
    monkeypatch.setenv("COLUMNS", "200")
    screens.words(said)
    assert capsys.readouterr().out.rstrip() == said.text(80).rstrip()


def test_columns_give_way_between_words_first() -> None:
    table = Table(("name", "what it is"), (("sgd:lr=0.01,momentum=0.9", "a word " * 30),))
    lines = Words("", [table]).text(60).splitlines()
    assert lines[2].startswith(" sgd:lr=0.01,momentum=0.9 ")
    assert max(map(len, lines)) <= 60


@pytest.mark.slow
def test_no_figure_is_imported_with_the_library() -> None:
    import subprocess

    code = "import sys, landscape as ls; ls.points, ls.analyze; print('landscape_figures' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert landscape_figures.RECIPES
