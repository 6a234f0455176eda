"""`landscape saddles count`: what it prints and stores, how it goes on after an interruption, and what it says of mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

import landscape as ls

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("undrawn")

FAMILY = """
import time
from pathlib import Path

import landscape as ls
import torch


def wells(dim, seed, pause=0.0):
    tilt = 0.1 * torch.rand(dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    time.sleep(pause)
    return ls.FunctionLandscape(lambda x: (x**4 / 4 - x**2 / 2 + tilt * x).sum(-1), dim, ls.Box(-3, 3))


def random(dim, seed):  # torch's own random state decides
    tilt = 0.1 * torch.rand(dim, dtype=torch.float64)
    return ls.FunctionLandscape(lambda x: (x**4 / 4 - x**2 / 2 + tilt * x).sum(-1), dim, ls.Box(-3, 3))


def broken(dim, seed):
    raise RuntimeError("no such luck")


def number(dim, seed):
    return 7


def one(dim):
    return wells(dim, 0)


five = 5
family = wells
"""


@pytest.fixture
def folder(here: Path) -> Path:
    (here / "mine.py").write_text(FAMILY)
    return here


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_the_table_holds_what_was_measured_and_what_is_expected(here: Path, run: Run) -> None:
    result = run(
        "saddles",
        "count",
        "isotropic-waves",
        "--dims",
        "1:3",
        "--realisations",
        "20",
        "--out",
        "run",
    )
    counts = ls.load("run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert counts.dims == [1, 2, 3]
    assert counts.provenance.config["dims"] == "1:3"
    rows = {
        line.split()[0]: line.split()
        for line in result.stdout.splitlines()
        if line.split()[:1] in (["2"], ["3"])
    }
    assert float(rows["2"][1].split("±")[0]) == pytest.approx(counts[2].total.value, abs=0.006)
    assert rows["2"][2] == "4.837"  # 8 pi / (3 sqrt 3)
    # the same in every realisation, which is no proof of the next one
    assert rows["2"][3].startswith("50.0±")
    assert [rows["2"][4], rows["2"][6]] == ["50", "25"]
    assert rows["3"][-1] == ["100", "%"][-1]
    for words in (
        "20 realisations a dimension, seed 0",
        "Kac-Rice",
        "right in 60 of 60",
        "written run",
    ):
        assert words in flat(result.stdout)


def test_json_has_a_row_of_each_dimension(here: Path, run: Run) -> None:
    result = run("saddles", "count", "styblinski-tang", "--dims", "1,3", "--json", "--out", "run")
    body = json.loads(result.stdout)
    assert [row["dim"] for row in body["dimensions"]] == [1, 3]
    assert [m["value"] for m in body["dimensions"][1]["means"]] == [8, 12, 6, 1]
    assert body["dimensions"][1]["expected"]["counts"] == [8, 12, 6, 1]
    assert body["dimensions"][1]["incomplete"] == 0
    assert body["name"] == "styblinski-tang"


@pytest.mark.slow
def test_a_family_from_a_file(folder: Path, run: Run) -> None:
    found = []
    for spec, settings in (
        ("mine.py:wells", ["--set", "pause=0.0"]),
        ("mine.py", []),
        ("mine.py:random", []),
    ):
        result = run(
            "saddles", "count", spec, "--dims", "1:2", "--realisations", "3", *settings, "--json"
        )
        assert result.exit_code == 0, result.stderr
        found.append([row["means"] for row in json.loads(result.stdout)["dimensions"]])
        assert [m["value"] for m in found[-1][1]] == [4, 4, 1]
    assert found[0] == found[1]
    again = run(
        "saddles",
        "count",
        "mine.py:random",
        "--dims",
        "1:2",
        "--realisations",
        "3",
        "--out",
        "again",
    )
    assert again.exit_code == 0
    assert torch.equal(ls.load("again")[2].values, ls.load("runs/mine-random")[2].values)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["p-spn", "--dims", "2"], 2, "Did you mean 'p-spin'"),
        (["himmelblau", "--dims", "2"], 2, "no number of variables to vary"),
        (["p-spin", "--dims", "1:3"], 2, "spins must be"),
        (["isotropic-waves", "--dims", "1:9"], 2, "from 1 to 4"),
        (["p-spin", "--dims", "3:2"], 2, "the lower one first"),
        (["p-spin", "--dims", "two"], 2, "1:12, 1:12:2 or 2,3,5"),
        (["p-spin", "--dims", "1:4:0"], 2, "1:12, 1:12:2 or 2,3,5"),
        (["p-spin", "--dims", "0:2"], 2, "at least 1"),
        (["p-spin"], 2, "--dims"),
        (["p-spin", "--dims", "2", "--set", "oder=3"], 2, "Did you mean 'order'"),
        (["nowhere.py:wells", "--dims", "2"], 3, "no file nowhere.py"),
        (["mine.py:well", "--dims", "2"], 3, "Did you mean 'wells'"),
        (["mine.py:broken", "--dims", "2"], 3, "mine.py:21: RuntimeError: no such luck"),
        (["mine.py:five", "--dims", "2"], 3, "not a function family(dim, seed)"),
        (["mine.py:one", "--dims", "2"], 3, "A family is family(dim, seed)"),
        (["mine.py:number", "--dims", "2"], 2, "must give a formula"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, run: Run, words: list[str], code: int, said: str
) -> None:
    result = run("saddles", "count", *words, "--out", "run")
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr
    assert not (folder / "run").exists()


def test_resume_returns_extends_and_refuses(folder: Path, run: Run) -> None:
    base = ["saddles", "count", "isotropic-waves", "--out", "run", "--dims"]
    assert run(*base, "2", "--realisations", "10").exit_code == 0
    assert run(*base, "2", "--realisations", "10").exit_code == 2  # not empty
    before = (folder / "run" / "result.json").read_bytes()
    again = run(*base, "2", "--realisations", "10", "--resume")
    assert (again.exit_code, again.stderr) == (0, "")
    assert (folder / "run" / "result.json").read_bytes() == before
    assert run(*base, "1:2", "--realisations", "15", "--resume").exit_code == 0
    fresh = run(
        "saddles",
        "count",
        "isotropic-waves",
        "--dims",
        "1:2",
        "--realisations",
        "15",
        "--out",
        "fresh",
    )
    assert fresh.exit_code == 0
    one, two = ls.load("run"), ls.load("fresh")
    assert one.dims == two.dims == [1, 2]
    for dim in (1, 2):
        assert torch.equal(one[dim].counts, two[dim].counts)
        assert torch.equal(one[dim].values, two[dim].values)
    refused = run(*base, "1:2", "--realisations", "20", "--seed", "3", "--resume")
    assert refused.exit_code == 2
    assert "different seed" in refused.stderr


def test_a_file_that_has_changed_is_noticed(folder: Path, run: Run) -> None:
    base = ["saddles", "count", "mine.py:wells", "--out", "run", "--dims", "1", "--realisations"]
    assert run(*base, "2").exit_code == 0
    (folder / "mine.py").write_text(FAMILY.replace("0.1", "0.2"))
    changed = run(*base, "4", "--resume")
    assert changed.exit_code == 2
    assert "the file has changed" in changed.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_counted_and_resume_goes_on(folder: Path, run: Run) -> None:
    words = [
        "saddles",
        "count",
        "mine.py:wells",
        "--dims",
        "1:2",
        "--realisations",
        "8",
        "--starts",
        "5000",
        "--out",
        "run",
    ]
    command = [
        sys.executable,
        "-c",
        "from landscape_cli.main import main; main(prog_name='landscape')",
    ]
    process = subprocess.Popen(
        [*command, *words, "--set", "pause=0.2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "run/.landscape-kept/result.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert len(stderr.splitlines()) == 1
    assert "what was done is kept: go on with --resume --out run" in stderr
    kept = ls.load("run/.landscape-kept")
    assert 0 < sum(d.realisations for d in kept.dimensions) < 16
    assert run(*words, "--set", "pause=0.0").exit_code == 2  # not without --resume or --force
    assert run(*words, "--set", "pause=0.0", "--resume").exit_code == 2  # another family
    assert run(*words, "--set", "pause=0.2", "--resume").exit_code == 0
    whole = run(*words[:-1], "whole", "--set", "pause=0.0")
    assert whole.exit_code == 0
    one, two = ls.load("run"), ls.load("whole")
    assert all(torch.equal(one[dim].values, two[dim].values) for dim in (1, 2))
    assert not (folder / "run/.landscape-kept").exists()


@pytest.mark.slow
def test_what_is_missing_is_said(folder: Path, run: Run) -> None:
    (folder / "bowl.py").write_text(
        "import math, torch, landscape as ls\n"
        "def family(dim, seed):\n"  # hundreds of points, of which five starts do not find all
        "    draws = torch.Generator().manual_seed(seed)\n"
        "    k = torch.randint(-9, 10, (60, dim), generator=draws).double()\n"
        "    phase = 6.28 * torch.rand(60, generator=draws, dtype=torch.float64)\n"
        "    wave = lambda x: (0.5 * math.pi * x @ k.T.to(x) + phase.to(x)).cos().sum(-1)\n"
        "    return ls.FunctionLandscape(wave, dim, ls.Torus(4.0))\n"
    )
    result = run(
        "saddles", "count", "bowl.py", "--dims", "2", "--realisations", "2", "--starts", "5"
    )
    assert result.exit_code == 0
    assert "INCOMPLETE, and counted as they are: 2 in dim 2; raise --starts" in flat(result.stdout)


def test_help_is_there_without_torch() -> None:
    script = (
        "import sys\nfrom landscape_cli.main import main\n"
        "try: main(['saddles', 'count', '--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "--realisations" in done.stdout
