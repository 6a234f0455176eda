"""What README.md shows works: its Python runs, its file is analysed by its commands, every command line parses."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import landscape_figures
import pages
import pytest
import torch
from click.testing import CliRunner
from landscape_cli import runs
from landscape_cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


COMMANDS = pages.commands(README)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as the reader's own, on the path, with the files that README names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for block in pages.blocks(README, "python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / name[1]).write_text(block)
    yield tmp_path
    for module in ("wine", "train"):
        sys.modules.pop(module, None)


@pytest.mark.slow
def test_the_python_runs_and_the_file_is_analysed(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(landscape_figures, "RECIPES", {})  # they take longer than all the rest
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in pages.blocks(README, "python"):
            exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.split()
    assert printed[0] == "minimum"
    assert printed[-1] == "saddle"
    assert (desk / "runs/from-python/result.json").exists()
    diagnosed = [line for line in COMMANDS if line[0] == "diagnose"]
    assert [line[1] for line in diagnosed] == ["zero-tanh"]
    result = CliRunner().invoke(main, diagnosed[0])
    assert result.exit_code == 0, result.output
    assert "SADDLE" in result.stdout
    own = [line for line in COMMANDS if line[0] == "analyze" and line[1].startswith("wine.py")]
    assert len(own) == 2
    shown = next(b for b in pages.blocks(README, "text") if "wine: 139 parameters" in b)
    for line in own:
        result = CliRunner().invoke(main, line)
        assert result.exit_code == 0, result.output
        assert "MINIMUM" in result.stdout
        assert "178 samples" in result.stdout
        if line[1] == "wine.py":
            assert pages.missing(shown, result.stdout) == []


@pytest.mark.slow
def test_what_is_shown_of_a_census_is_printed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape_figures, "RECIPES", {})
    shown = next(b for b in pages.blocks(README, "text") if "Euler sum   1" in b)
    result = CliRunner().invoke(main, ["saddles", "census", "himmelblau"])
    assert pages.missing(shown, result.stdout) == []


@pytest.mark.slow
def test_the_formula_is_searched(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landscape_figures, "RECIPES", {})
    own = [line for line in COMMANDS if line[0] == "saddles"]
    assert [line[1] for line in own] == ["census", "path", "find"]
    census, path, find = (CliRunner().invoke(main, line) for line in own)
    assert (census.exit_code, path.exit_code, find.exit_code) == (0, 0, 0), path.output
    assert "2 minima" in census.stdout
    assert "1 saddle" in census.stdout
    assert "SADDLE of index 1" in path.stdout


@pytest.mark.slow
def test_a_walk_and_a_curve_are_seen(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        landscape_figures, "RECIPES", {"surface_3d": landscape_figures.RECIPES["surface_3d"]}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec((desk / "train.py").read_text(), {})
    walk, curve = (line for line in COMMANDS if line[0] == "surface" and line[1] == "wine.py")
    turned = next(line for line in COMMANDS if line[:3] == ["figures", "render", "surface_3d"])
    for line, shown in (
        (walk, "wine: 10 points"),
        (curve, "along the straight line"),
        (turned, "surface_3d.html"),
    ):
        result = CliRunner().invoke(main, line)
        assert result.exit_code == 0, result.output
        assert shown in " ".join(result.stdout.split())


def test_what_a_line_reads_is_made_above_it(desk: Path) -> None:
    """Typed from the top, no line lacks a file: those that are written, trained, or left by a command."""
    written = {path.name for path in desk.iterdir()}
    known: set[str] = set()
    for language, body in pages.FENCE.findall(README):
        if language == "python" and (name := re.match(r"# (\w+\.py)\n", body)):
            known.add(name[1])
        for line in body.splitlines() if language == "sh" else ():
            if line.startswith("python train.py"):
                exec((desk / "train.py").read_text(), {})
                known |= {
                    str(path.relative_to(desk))
                    for path in desk.rglob("*")
                    if path.name not in written
                }
            for words in pages.commands(f"```sh\n{line}\n```"):
                out = words.index("--out") + 1 if "--out" in words else None
                read = [
                    w.partition(":")[0].rstrip("/")
                    for i, w in enumerate(words)
                    if i != out and not w.startswith("-")
                ]
                missing = [w for w in read if re.search(r"/|\.(py|pt)$", w) and w not in known]
                assert not missing, line
                known |= (
                    {words[out]}
                    if out
                    else {f"runs/{runs.slug(words[1])}"}
                    if len(words) > 1
                    else set()
                )


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
def test_every_command_line_parses(line: list[str]) -> None:
    pages.parse(line)


def test_every_command_is_told() -> None:
    table = README.partition("## Other commands")[2].partition("\n## ")[0]
    missing = [
        name for name in main.commands if name != "analyze" and f"`landscape {name}" not in table
    ]
    assert not missing


def test_files_that_it_points_to_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
