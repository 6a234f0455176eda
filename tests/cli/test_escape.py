"""`landscape escape`: times on the screen and in the folder are those of the recursion; mistakes take one line."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls

SADDLE = """
import torch


def saddle(x, fall=1.0):
    return 0.5 * (x[..., 0] ** 2 - fall * x[..., 1] ** 2)
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(SADDLE)
    return tmp_path


def run(*line: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["escape", "own.py:saddle", "--dim", "2", *line])
    return done.exit_code, done.stdout, done.stderr


def test_the_run_holds_the_times(desk: Path) -> None:
    line = (
        "--set",
        "fall=0.5",
        "--optimizer",
        "sgd:lr=0.2",
        "--optimizer",
        "SGD:lr=0.1,momentum=0.5",
        "--runs",
        "9",
        "--start",
        "1e-4",
    )
    code, out, err = run(*line, "--out", "run", "--json")
    assert code == 0, err
    study = ls.load(desk / "run")
    falling = study.starts[:, 1].abs()
    for start, steps in zip(falling.tolist(), study["sgd:lr=0.2"].steps.tolist(), strict=True):
        assert abs(steps - math.log(1 / start) / math.log(1.1)) <= 1
    assert json.loads(out)["results"]["sgd:lr=0.2"]["steps"] == study["sgd:lr=0.2"].steps.tolist()
    code, again, _ = run(*line, "--out", "run", "--json", "--resume")
    assert (code, again) == (0, out)
    code, shown, _ = run(*line, "--out", "other")
    assert code == 0
    assert f"{study['sgd:lr=0.2'].median.value:.0f}" in shown
    assert "100 %" in shown


def test_runs_that_stay_are_told(desk: Path) -> None:
    code, out, _ = run("--optimizer", "sgd:lr=0.1", "--start", "0", "--steps", "200", "--runs", "4")
    assert code == 0
    assert "over 200" in out
    assert "arithmetic" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--optimizer", "sdg:lr=0.1"), "Did you mean 'sgd'"),
        (("--optimizer", "sgd:rl=0.1"), "'rl'"),
        (("--optimizer", "sgd:lr=0.1", "--event", "bal:1"), "Did you mean 'ball'"),
        (("--optimizer", "sgd:lr=0.1", "--event", "ball:-1"), "radius must be a positive number"),
        (("--optimizer", "sgd:lr=0.1", "--noise", "minibatch:3"), "needs a model's landscape"),
        (("--optimizer", "sgd:lr=0.1", "--schedule", "StepLRR"), "Did you mean 'steplr'"),
        (("--optimizer", "sgd:lr=0.1", "--at", "1,2,3"), "--at"),
        ((), "--optimizer"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_a_mistake_takes_one_line(desk: Path, line: tuple[str, ...], said: str) -> None:
    code, out, err = run(*line)
    assert code == 2
    assert said in err.replace("\n", " ")
    assert "Traceback" not in out + err
    assert not (desk / "runs").exists()
