"""`landscape saddles find|census|path` on formulas whose stationary points are plain: what they print, store, and how they exit.

The well is depth (x^2 - 1)^2 + y^2: minima 0 at (-1, 0) and (1, 0), a saddle of index 1 and value depth at (0, 0).
"""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from landscape_cli import page
from landscape_figures import svg

import landscape as ls
from landscape.inventory.words import LISTED
from landscape.points.words import coordinates

Run = Callable[..., Result]
Snapshot = Callable[[Path], dict[str, bytes]]
WELL = ["formulas.py:well", "--dim", "2", "--domain", "box:-3,3"]
pytestmark = pytest.mark.usefixtures("undrawn")


def flat(text: str) -> str:
    return " ".join(text.split())


def close(x: torch.Tensor, *truth: float, within: float = 1e-6) -> bool:
    return bool((x - torch.tensor(truth, dtype=x.dtype)).abs().max() < within)


# ---- census


def test_a_census_finds_the_three_points_and_says_so(here: Path, run: Run) -> None:
    result = run("saddles", "census", *WELL, "--starts", "200", "--out", "run")
    census = ls.load("run")
    text = flat(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert census.counts == {0: 2, 1: 1}
    assert (census.starts, census.name, census.dim) == (200, "well", 2)
    assert [p.kind for p in census.points] == ["minimum", "minimum", "saddle"]
    assert close(census.points[2].x, 0.0, 0.0)
    for words in (
        "index 0: 2 minima",
        "index 1: 1 saddle",
        "200 starts",
        "Euler sum",
        "unseen",
        "written run",
        "0 to 1",
    ):
        assert words in text
    assert "--census run --from 0 --to 1" in text  # what to do next
    assert sorted(p.name for p in Path("run").iterdir()) == [
        "arrays",
        "config.toml",
        "manifest.json",
        "result.json",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_network_is_searched_along_its_training(run: Run) -> None:
    arguments = [
        "saddles",
        "census",
        "digits-tiny",
        "--set",
        "steps=0",
        "--starts",
        "2",
        "--out",
        "run",
    ]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    census = ls.load("run")
    assert (len(census.points), census.dim, census.provenance.name) == (2, 310, "digits-tiny")
    assert "2 starts on 1 training path, seed 0" in flat(result.stdout)
    assert f"{int(census.stationary.sum())} searches became stationary" in flat(result.stdout)
    again = run(*arguments, "--resume", "--json")
    assert json.loads(again.stdout)["parameters"] == 310
    assert run("report", "run").exit_code == 0


def test_a_census_as_json_is_the_result(here: Path, run: Run) -> None:
    result = run("saddles", "census", *WELL, "--starts", "100", "--out", "run", "--json")
    body, census = json.loads(result.stdout), ls.load("run")
    assert body["run"] == "run"
    assert [p["loss"] for p in body["points"]] == [p.value for p in census.points]
    assert [p["x"] for p in body["points"]] == [p.x.tolist() for p in census.points]
    assert census.provenance.config["domain"] == "box:-3,3"
    assert census.provenance.dtype == "float64"
    assert len(census.provenance.model_hash) == 16


def test_the_written_configuration_repeats_a_census(here: Path, run: Run) -> None:
    first = run(
        "saddles",
        "census",
        *WELL,
        "--starts",
        "60",
        "--seed",
        "7",
        "--set",
        "depth=2",
        "--out",
        "one",
    )
    refused = run("saddles", "census", "--config", "one/config.toml", "--out", "two")
    assert refused.exit_code == 2
    assert "--trust" in refused.stderr
    second = run("saddles", "census", "--config", "one/config.toml", "--out", "two", "--trust")
    assert (first.exit_code, second.exit_code) == (0, 0)
    one, two = ls.load("one"), ls.load("two")
    assert [p.x.tolist() for p in one.points] == [p.x.tolist() for p in two.points]
    assert [p.hits for p in one.points] == [p.hits for p in two.points]
    assert tomllib.loads(Path("one/config.toml").read_text()) == tomllib.loads(
        Path("two/config.toml").read_text()
    )
    assert "landscape saddles census --config" in Path("one/config.toml").read_text()
    assert one.provenance.model_hash == two.provenance.model_hash


@pytest.mark.slow
def test_resume_returns_a_finished_census_and_takes_one_of_fewer_starts_further(
    here: Path, run: Run, snapshot: Snapshot
) -> None:
    census = ["saddles", "census", *WELL, "--out", "run", "--resume", "--starts"]
    first = run(*census, "50")
    before, hits = snapshot(here), sum(p.hits for p in ls.load("run").points)
    again = run(*census, "50")
    assert again.stdout == first.stdout
    assert snapshot(here) == before
    fewer = run(*census, "20")
    assert "starts" in fewer.stderr
    assert snapshot(here) == before
    more = run(*census, "150")
    assert (more.exit_code, more.stderr) == (0, "")
    found = ls.load("run")
    assert found.starts == 150
    assert sum(p.hits for p in found.points) + sum(found.failures.values()) == 150
    assert sum(p.hits for p in found.points) > hits
    assert tomllib.loads(Path("run/config.toml").read_text())["starts"] == 150


STOPPING = """
from pathlib import Path

import torch

calls = 0


def stopping(x):
    global calls
    calls += 1
    if Path("stop").exists() and Path("run/.landscape-kept/result.json").exists():
        raise KeyboardInterrupt
    return ((x ** 2 - 1) ** 2).sum(-1)
"""


@pytest.mark.slow
def test_what_an_interrupted_census_has_done_is_kept_and_gone_on_with(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape.inventory.census.KEEP", 0.0)
    (here / "stopping.py").write_text(STOPPING)
    (here / "stop").touch()
    census = [
        "saddles",
        "census",
        "stopping.py:stopping",
        "--dim",
        "2",
        "--domain",
        "box:-3,3",
        "--out",
        "run",
    ]
    stopped = run(*census, "--starts", "6000")
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert (
        flat(stopped.stderr)
        == "Error: interrupted; what was done is kept: go on with --resume --out run."
    )
    kept = ls.load("run/.landscape-kept")
    assert (kept.starts, kept.counts) == (2000, {0: 4, 1: 4, 2: 1})
    (here / "stop").unlink()
    assert run(*census, "--starts", "6000").exit_code == 2
    shutil.copytree(
        "run", "enough"
    )  # as many starts as are asked for: nothing is left to do but to store them
    assert run(*census[:-1], "enough", "--starts", "1000", "--resume").exit_code == 0
    assert ls.load("enough").starts == 2000
    other = run(*census, "--starts", "6000", "--resume", "--seed", "5")
    assert other.exit_code == 2
    assert "seed" in other.stderr
    assert run(*census, "--starts", "6000", "--resume").exit_code == 0
    found = ls.load("run")
    assert (found.starts, found.counts) == (6000, {0: 4, 1: 4, 2: 1})
    assert sum(p.hits for p in found.points) + sum(found.failures.values()) == 6000
    assert sum(p.hits for p in found.points) > sum(p.hits for p in kept.points)
    assert not list(here.rglob(".landscape-*"))


def test_resume_of_a_formula_that_has_changed_is_refused(
    here: Path, run: Run, snapshot: Snapshot
) -> None:
    run("saddles", "census", *WELL, "--out", "run", "--starts", "20")
    Path("formulas.py").write_text(
        Path("formulas.py").read_text().replace("depth * (", "(1 + depth) * (")
    )
    before = snapshot(here)
    result = run("saddles", "census", *WELL, "--out", "run", "--resume", "--starts", "40")
    assert result.exit_code == 2
    assert "changed" in result.stderr
    assert snapshot(here) == before


def test_holes_in_the_domain_are_told_and_searched_around(here: Path, run: Run) -> None:
    result = run(
        "saddles", "census", "formulas.py:half", *WELL[1:], "--starts", "100", "--out", "run"
    )
    assert result.exit_code == 0
    assert "NaN or infinite at" in flat(result.stdout)
    assert [(p.kind, close(p.x, 1.0, 0.0)) for p in ls.load("run").points] == [("minimum", True)]


@pytest.mark.parametrize(
    ("landscape", "kinds"),
    [
        (["formulas.py:factory"], {"minimum": 2, "saddle": 1}),
        (["formulas.py:finished"], {"minimum": 2, "saddle": 1}),
        (["ground.py"], {"minimum": 2, "saddle": 1}),
        (["formulas.py:factory", "--set", "depth=4"], {"minimum": 2, "saddle": 1}),
        (["formulas.py:by_dim", "--dim", "2"], {"minimum": 1, "saddle": 2, "maximum": 1}),
        (
            ["formulas.py:waves", "--dim", "2", "--domain", "torus"],
            {"minimum": 1, "saddle": 2, "maximum": 1},
        ),
        (["himmelblau"], {"minimum": 4, "saddle": 4, "maximum": 1}),
        (["styblinski-tang", "--dim", "2"], {"minimum": 4, "saddle": 4, "maximum": 1}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_kind_of_landscape(
    here: Path, run: Run, landscape: list[str], kinds: dict[str, int]
) -> None:
    result = run("saddles", "census", *landscape, "--starts", "300", "--out", "run")
    assert result.exit_code == 0, result.stderr
    found = [p.kind for p in ls.load("run").points]
    assert {kind: found.count(kind) for kind in set(found)} == kinds


# ---- find


def test_a_search_tells_what_it_found_and_how_far_it_was(here: Path, run: Run) -> None:
    result = run("saddles", "find", *WELL, "--start", "0.2,0.3", "--out", "run")
    report, text = ls.load("run"), flat(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert report.found.kind == "saddle"
    assert close(report.found.x, 0.0, 0.0)
    assert report.found.distance == pytest.approx(0.13**0.5, rel=1e-6)
    assert report.start == "0.2,0.3"
    for words in (
        "SADDLE of index 1",
        "newton-mr from 0.2,0.3",
        "0.3606 from the start",
        "written run",
        "eigenvalues -4, 2",
    ):
        assert words in text
    assert run("report", "run").exit_code == 0
    run(
        "saddles", "find", *WELL, "--start", "run", "--out", "on"
    )  # a search may go on from a stored one
    assert ls.load("on").found.start_value == report.found.value


@pytest.mark.parametrize(
    ("expected", "code"), [("saddle", 0), ("saddle:1", 0), ("saddle:2", 1), ("minimum", 1)]
)
def test_what_is_expected_decides_the_exit_status(
    here: Path, run: Run, expected: str, code: int
) -> None:
    result = run("saddles", "find", *WELL, "--start", "0.1,0", "--expect", expected, "--out", "run")
    assert result.exit_code == code
    assert result.stderr.startswith(f"Expected {expected}, found saddle" if code else "")
    assert Path("run/result.json").exists()


def test_starts_from_files_and_at_random(here: Path, run: Run) -> None:
    run(
        "saddles", "find", *WELL, "--start", "start.npy", "--method", "saddle-free", "--out", "file"
    )
    assert close(ls.load("file").found.x, 1.0, 0.0)
    for out, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert (
            run("saddles", "find", *WELL, "--random", "--seed", seed, "--out", out).exit_code == 0
        )
    one, two, other = (ls.load(out).found for out in ("one", "two", "other"))
    assert (one.start_value, one.x.tolist()) == (two.start_value, two.x.tolist())
    assert one.start_value != other.start_value


def test_an_index_is_followed(here: Path, run: Run) -> None:
    for index, kind in ((0, "minimum"), (1, "saddle")):
        run(
            "saddles", "find", *WELL, "--start", "0.4,0.1", "--index", index, "--out", f"run{index}"
        )
        found = ls.load(f"run{index}").found
        assert (found.search, found.kind, found.index) == ("eigenvector-following", kind, index)


@pytest.mark.slow
def test_a_model_is_searched_from_its_parameters_or_a_checkpoint(here: Path, run: Run) -> None:
    options = ["--method", "saddle-free", "--max-products", "2000"]
    own = run("saddles", "find", "net.py", "--out", "own", *options)
    other = run("saddles", "find", "net.py", "--start", "good.npz", "--out", "other", *options)
    assert (own.exit_code, other.exit_code) == (0, 0)
    start = ls.load("runs/earlier").point.value
    assert ls.load("own").found.start_value == pytest.approx(start)
    assert ls.load("own").found.value < start
    assert ls.load("other").found.start_value != pytest.approx(start)
    assert ls.load("own").provenance.data_hash


# ---- path


@pytest.mark.parametrize(
    "ends",
    [["--from", "-1,0", "--to", "1,0"], ["--census", "runs/census", "--from", "0", "--to", "1"]],
    ids=["points", "census"],
)
def test_a_path_finds_the_saddle_and_the_barrier(here: Path, run: Run, ends: list[str]) -> None:
    result = run("saddles", "path", *WELL, *ends, "--out", "run")
    found = ls.load("run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert found.barrier == pytest.approx(1.0, abs=1e-6)
    assert found.barrier_back == pytest.approx(1.0, abs=1e-6)
    assert close(found.saddle.x, 0.0, 0.0, within=1e-4)
    for words in ("barrier", "SADDLE of index 1", "stations", "written run"):
        assert words in flat(result.stdout)
    again = run("saddles", "path", *WELL, *ends, "--out", "run", "--resume", "--json")
    assert json.loads(again.stdout)["barrier"] == found.barrier
    assert run("report", "run").exit_code == 0
    assert "barrier" in Path("run/report.html").read_text()


def test_a_path_in_a_changed_formula_is_told(here: Path, run: Run) -> None:
    arguments = ["--census", "runs/census", "--from", "0", "--to", "1", "--out", "run"]
    result = run("saddles", "path", *WELL, "--set", "depth=3", *arguments)
    assert result.exit_code == 0
    assert "another landscape" in result.stderr
    assert ls.load("run").barrier == pytest.approx(3.0, abs=1e-6)


# ---- streams, mistakes of a formula that only show later


def test_what_a_formula_prints_goes_to_stderr(here: Path, run: Run) -> None:
    result = run("saddles", "find", "formulas.py:talking", *WELL[1:], "--start", "0.1,0", "--json")
    assert json.loads(result.stdout)["verdict"] == "saddle"
    assert "hello from the formula" in result.stderr


LATE = """
import time
from pathlib import Path

import torch

calls = 0


def late(x):
    global calls
    calls += 1
    if calls > 60:
        Path("started").touch()
        raise KeyError("too late")
    return (x ** 4 - x ** 2).sum(-1)


def early(x):
    Path("started").touch()
    time.sleep(0.05)
    return (x ** 4 - x ** 2).sum(-1)


def slow(x):
    global calls
    calls += 1
    if calls > 60:
        Path("started").touch()
    time.sleep(0.02)
    return (x ** 4 - x ** 2).sum(-1)
"""


def test_a_formula_that_raises_in_the_middle_is_one_line(
    here: Path, run: Run, snapshot: Snapshot
) -> None:
    (here / "late.py").write_text(LATE)
    (here / "started").touch()
    before = snapshot(here)
    result = run(
        "saddles",
        "census",
        "late.py:late",
        *WELL[1:],
        "--starts",
        "5000",
        "--out",
        "runs/census",
        "--force",
    )
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "late.py" in result.stderr
    assert "15" in result.stderr
    assert "too late" in result.stderr
    assert snapshot(here) == before


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True], ids=["fresh", "forced"])
@pytest.mark.parametrize("when", ["early", "slow"], ids=["loading", "searching"])
def test_ctrl_c_is_one_line_and_damages_nothing(
    here: Path, snapshot: Snapshot, when: str, force: bool
) -> None:
    (here / "late.py").write_text(LATE)
    before = snapshot(here)
    command = [
        sys.executable,
        "-c",
        "from landscape_cli.main import main; main(prog_name='landscape')",
        "saddles",
        "census",
    ]
    out = ["--out", "runs/census", "--force"] if force else []
    process = subprocess.Popen(
        [*command, f"late.py:{when}", *WELL[1:], *out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while (
        not (here / "started").exists() and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("Error: interrupted")
    (here / "started").unlink()
    assert snapshot(here) == before
    assert not list(here.rglob(".landscape-*"))


@pytest.mark.parametrize("command", ["find", "census", "path"])
def test_help_is_there_without_torch(command: str) -> None:
    script = (
        "import sys\nfrom landscape_cli.main import main\ntry:\n    main(['saddles', sys.argv[1], '--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\nassert not {'torch', 'landscape'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_defaults_are_those_of_the_library() -> None:
    from landscape_cli.commands.saddles import METHODS, saddles

    for command, function in (
        ("census", ls.census),
        ("path", ls.minimum_energy_path),
        ("find", ls.find_stationary),
    ):
        library = inspect.signature(function).parameters
        options = {
            p.name: p.default
            for p in saddles.commands[command].params
            if isinstance(p.default, int | float | str)
        }
        shared = set(options) & set(library) - {"device"}  # auto on the command line
        assert "seed" in shared
        for name in shared:
            assert options[name] == library[name].default, (command, name)
    assert inspect.signature(ls.find_stationary).parameters["method"].default == METHODS[0]


# ---- words and page, from a stored census


def test_report_shows_a_stored_census(here: Path, run: Run) -> None:
    assert run("report", "runs/census").exit_code == 0
    html = Path("runs/census/report.html").read_text()
    census = ls.load("runs/census")
    for text in (
        "index 0: 2 minima",
        "as it must be",
        census.provenance.model_hash,
        "saddles census --config",
    ):
        assert text in html
    assert html.count("<td>saddle</td>") == 1
    assert html.count("<script") == 1  # the page's own, which sorts tables


def test_a_census_that_python_has_saved_is_reported_and_used_too(here: Path, run: Run) -> None:
    from dataclasses import replace

    replace(ls.load("runs/census"), provenance=ls.results.Provenance()).save("plain")
    assert run("report", "plain").exit_code == 0
    html = Path("plain/report.html").read_text()
    assert "index 0: 2 minima" in html
    assert "<td>machine</td>" not in html
    assert (
        run("saddles", "path", *WELL, "--census", "plain", "--from", "0", "--to", "2").exit_code
        == 2
    )


def test_a_census_that_cannot_be_whole_says_what_to_do(here: Path) -> None:
    from dataclasses import replace

    census = replace(
        ls.load("runs/census"),
        euler=2,
        failures={"left the domain": 40, "gave up": 0},
        families=[1],
    )
    said = census.words("there")
    lines = {label: fact.lines for label, fact in said.facts.items()}
    assert lines["Euler sum"] == ("2, and it must be 1: it grows outwards",)
    assert lines["failures"] == ("40 searches (80 %): left the domain",)
    assert "--out there --resume --starts 500" in lines["next"][0]
    assert any("another --domain" in line for line in lines["next"])
    assert said.tables[0].rows[1][1] == "minimum, a family"
    unknown = replace(census, euler_expected=None, provenance=ls.results.Provenance())
    lines = {label: fact.lines for label, fact in unknown.words().facts.items()}
    assert lines["Euler sum"] == ("2; what it must be is not known: it grows outwards",)


def test_a_long_census_is_cut_and_says_so(here: Path) -> None:
    from dataclasses import replace

    census = ls.load("runs/census")
    long = replace(census, points=census.points * 10)
    said = long.words()
    assert len(said.tables[0].rows) == LISTED
    assert said.facts["points"].lines == (
        "30 distinct ones; the first 20 are listed, all are in result.json",
        "index 0: 20 minima",
        "index 1: 10 saddles",
    )


def test_a_page_of_what_is_no_run_is_refused() -> None:
    with pytest.raises(Exception, match="a page shows"):
        page.build(ls.Estimate(1.0, 0.1, 0.8, 1.2))


def test_coordinates_read_back(here: Path) -> None:
    x = torch.tensor([-0.0, 1.23456, -2e-7], dtype=torch.float64)
    text = coordinates(x, 4)
    assert text == "0, 1.235, -2e-07"
    assert np.allclose([float(part) for part in text.split(",")], x, rtol=1e-3)
    assert coordinates(torch.ones(1_000), 2) == "1, 1, … (998 more)"


def test_shades_under_contours_follow_the_readers_theme() -> None:
    def themed(colour: str) -> str:
        return svg.themed(f'<path style="fill: {colour}; stroke: #123456"/>')

    for paper, share in (
        ("#a9c3d8", "0%"),
        ("#fbfcfd", "100%"),
        ("#d2dfeb", "50%"),
    ):  # low, high, half way between
        shown = themed(paper)
        assert f"fill: color-mix(in srgb, var(--low), var(--high) {share})" in shown
        assert "stroke: #123456" in shown
    for other in ("#009e73", "#ffffff", "#d2d2ea"):
        assert f"fill: {other}" in themed(other)
