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


@pytest.mark.slow
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
    assert json.loads(out)["optimizers"][0]["steps"] == study["sgd:lr=0.2"].steps.tolist()
    code, again, _ = run(*line, "--out", "run", "--json", "--resume")
    assert (code, again) == (0, out)
    code, shown, _ = run(*line, "--out", "other")
    assert code == 0
    assert f"{study['sgd:lr=0.2'].median.value:.0f}" in shown
    assert "100 %" in shown


@pytest.mark.slow
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


@pytest.mark.slow
def test_theory_stands_beside_what_is_measured(desk: Path) -> None:
    code, out, err = run(
        "--optimizer", "sgd:lr=0.1", "--optimizer", "nadam:lr=0.1", "--runs", "5", "--out", "run"
    )
    assert code == 0, err
    study = ls.load(desk / "run")
    (row,) = [line.split() for line in out.splitlines() if line.strip().startswith("sgd:lr=0.1 ")][
        :1
    ]
    assert row[1] == f"{study['sgd:lr=0.1'].median.value:.0f}"
    assert row[5] == f"{study['sgd:lr=0.1'].theory.median:.0f}"
    assert "exact recursion on the quadratic" in out
    assert "no law for nadam" in out
    figures = {path.name for path in (desk / "run" / "figures").iterdir()}
    assert {
        "escape_times.png",
        "escape_paths.png",
        "escape_space.png",
        "escape_film.png",
        "escape_film.gif",
    } <= figures
    done = CliRunner().invoke(
        main,
        ["figures", "render", "escape_film", "--from", "run", "--out", "again", "--format", "gif"],
    )
    assert done.exit_code == 0, done.stderr
    assert (desk / "again/escape_film.gif").read_bytes() == (
        desk / "run/figures/escape_film.gif"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "values"), [("lr", "0.05,0.5"), ("start", "1e-5,0.1"), ("fall", "0.2,2")]
)
def test_a_sweep_is_one_study_a_value(desk: Path, key: str, values: str) -> None:
    line = [
        "--optimizer",
        "sgd:lr=0.1,momentum=0.5",
        "--runs",
        "6",
        "--sweep",
        f"{key}={values}",
        "--out",
        "run",
        "--json",
    ]
    code, out, err = run(*line)
    assert code == 0, err
    found = ls.load(desk / "run")
    assert (found.over, found.values) == (key, [float(v) for v in values.split(",")])
    for study in found.studies:
        (runs,) = study.results.values()
        assert runs.median.value == runs.theory.median
    assert found[0].results.keys() == (
        {"sgd:momentum=0.5"} if key == "lr" else {"sgd:lr=0.1,momentum=0.5"}
    )
    assert (desk / "run/figures/escape_sweep.png").exists()
    assert run(*line, "--resume")[:2] == (0, out)
    code, shown, _ = run(*line[:-3], "--out", "other")
    assert code == 0
    assert f"{key}={found.values[0]:g}" in shown


@pytest.mark.slow
def test_noise_and_groups_on_the_line(desk: Path) -> None:
    code, _, err = run("--optimizer", "sgd:lr=0.1", "--runs", "3", "--noise", "perturbed:radius=1e-3,threshold=0.1,interval=5",
                       "--start", "0", "--out", "run")  # fmt: skip
    assert code == 0, err
    assert bool(ls.load(desk / "run")["sgd:lr=0.1"].escaped.all())
    line = ["escape", "digits-tiny", "--set", "steps=0", "--optimizer", "adamw:lr=0.01; *.bias:weight_decay=0", "--runs", "2",
            "--steps", "3", "--noise", "minibatch:8", "--out", "net"]  # fmt: skip
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.stderr
    assert "no law with groups" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--sweep", "lr"), "--sweep is KEY=NUMBER"),
        (("--sweep", "fal=1,2"), "fal"),
        (("--noise", "perturbed:radius=1,threshold=1"), "interval must be"),
        (("--optimizer", "sgd:lr=0.1; *.bias:lr=0"), "a formula has none"),
    ],
)
def test_new_mistakes_take_one_line(desk: Path, line: tuple[str, ...], said: str) -> None:
    code, out, err = run("--optimizer", "sgd:lr=0.1", *line)
    assert code == 2
    assert said in err.replace("\n", " ")
    assert "Traceback" not in out + err
