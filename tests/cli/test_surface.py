"""`landscape surface`: the stored grid is the loss at the points of its plane."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls
from landscape import loading


@pytest.mark.parametrize("directions", ["random", "eigen"])
def test_the_run_holds_the_losses_and_the_figure(directions: str, tmp_path: Path) -> None:
    line = ["surface", "digits-tiny", "--directions", directions, "--resolution", "3", "--span", "0.5", "--json"]
    done = CliRunner().invoke(main, [*line, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["steps"]) == 3
    stored = ls.load(tmp_path / "run")
    f = loading.problem(loading.ProblemOptions(model="digits-tiny")).landscape
    corner = stored.x - 0.5 * stored.directions[0] + 0.5 * stored.directions[1]
    torch.testing.assert_close(stored.values[0, 2], f.value(corner))
    assert (tmp_path / "run" / "figures" / "surface.png").stat().st_size > 5000
    again = CliRunner().invoke(main, [*line, "--out", str(tmp_path / "run"), "--resume"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == json.loads(done.stdout)


@pytest.mark.parametrize("wrong", [["--span", "-1"], ["--resolution", "1"], ["--directions", "polar"]])
def test_a_wrong_option_is_named(wrong: list[str]) -> None:
    done = CliRunner().invoke(main, ["surface", "digits-tiny", *wrong])
    assert done.exit_code == 2
    assert wrong[0] in done.output
