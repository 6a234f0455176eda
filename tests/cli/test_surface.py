"""`landscape surface`: the stored grid is the loss at the points of its plane."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main
from torch import nn

import landscape as ls
from landscape import loading


@pytest.mark.slow
@pytest.mark.parametrize("directions", ["random", "eigen"])
def test_the_run_holds_the_losses_and_the_figure(directions: str, tmp_path: Path) -> None:
    line = [
        "surface",
        "digits-tiny",
        "--directions",
        directions,
        "--resolution",
        "3",
        "--span",
        "0.5",
        "--json",
    ]
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


@pytest.mark.parametrize(
    "wrong", [["--span", "-1"], ["--resolution", "1"], ["--directions", "polar"]]
)
def test_a_wrong_option_is_named(wrong: list[str]) -> None:
    done = CliRunner().invoke(main, ["surface", "digits-tiny", *wrong])
    assert done.exit_code == 2
    assert wrong[0] in done.output


FORMULA = """
import os


def bowl(x, wide=1.0):
    if "LIMIT" in os.environ and x.shape == (10, 2):  # what a surface asks for here
        os.environ["LIMIT"] = str(int(os.environ["LIMIT"]) - 10)
        if int(os.environ["LIMIT"]) < 0:
            raise KeyboardInterrupt
    return wide * x.square().sum(-1)
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a formula that is interrupted after LIMIT points, and checkpoints of a network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(FORMULA)
    return tmp_path


def run(*line: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["surface", *line])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.slow
def test_an_interrupted_surface_is_finished_by_resume(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from landscape.landscapes import metrics as cells

    monkeypatch.setattr(cells, "BUDGET", 10 * 16)  # ten points at once
    line = ["own.py:bowl", "--dim", "2", "--resolution", "9", "--out", "run"]
    monkeypatch.setenv("LIMIT", "30")
    code, out, err = run(*line)
    assert (code, out) == (130, "")
    assert "what was done is kept: go on with --resume --out run" in err
    assert int(ls.load(desk / "run/.landscape-kept").done.sum()) == 30
    assert not (desk / "run" / "result.json").exists()
    assert run(*line)[0] == 2  # the folder is not empty
    monkeypatch.setenv("LIMIT", "60")  # of 81 cells 51 are left
    code, out, err = run(*line, "--resume")
    assert code == 0, err
    monkeypatch.delenv("LIMIT")
    stored = ls.load(desk / "run")
    assert stored.reused == 0  # all are of this run
    u, v = stored.directions
    torch.testing.assert_close(stored.values[0, 8], (-u + v).square().sum())
    assert sorted(p.name for p in (desk / "run").iterdir()) == [
        "arrays",
        "config.toml",
        "figures",
        "manifest.json",
        "result.json",
    ]
    code, _, err = run(
        "own.py:bowl", "--dim", "2", "--resolution", "17", "--out", "run", "--resume"
    )
    assert code == 0, err
    assert ls.load(desk / "run").reused == 81


@pytest.mark.slow
def test_another_plane_is_not_gone_on_from(desk: Path) -> None:
    line = ["own.py:bowl", "--dim", "2", "--out", "run"]
    assert run(*line, "--resolution", "3")[0] == 0
    (desk / "own.py").write_text(FORMULA.replace("wide * x", "2 * wide * x"))
    code, _, err = run(*line, "--resolution", "5", "--resume")
    assert code == 2
    assert "--force" in err
    assert len(ls.load(desk / "run").steps) == 3


@pytest.mark.slow
def test_lines_trajectories_metrics_and_curves_of_a_network(desk: Path) -> None:
    f = ls.zoo.load("digits-tiny", steps=30)
    x = f.point()
    (desk / "walk").mkdir()
    other = x.flip(0)
    for step in (1, 2, 10):
        f.load(x + other / step)
        torch.save(f.model.state_dict(), desk / "walk" / f"step-{step}.pt")
    common = ["digits-tiny", "--set", "steps=30", "--at", "walk/step-10.pt", "--resolution", "3"]
    code, out, err = run(
        *common,
        "--toward",
        "walk/step-1.pt",
        "--span",
        "0,1",
        "--metric",
        "accuracy",
        "--out",
        "line",
    )
    assert code == 0, err
    line = ls.load(desk / "line")
    truth = f.value(torch.stack([x + other / 10, x + 0.55 * other, x + other]))
    torch.testing.assert_close(line.values, truth)
    assert "accuracy" in out
    code, out, err = run(
        *common,
        "--directions",
        "pca",
        "--trajectory",
        "run=walk",
        "--check",
        "--dimensions",
        "1",
        "--out",
        "pca",
    )
    assert code == 0, err
    pca = ls.load(desk / "pca")
    assert float(pca.steps[-1]) == pytest.approx(
        1.15 * 0.9 * float(other.norm())
    )  # a little beyond the farthest point
    walk = pca.walks["run"]
    torch.testing.assert_close(
        walk.values, torch.stack([f.value(x + other / s) for s in (1, 2, 10)])
    )
    assert "squared Frobenius norm" in " ".join(out.split())
    code, out, err = run(
        *common, "--connect", "walk/step-1.pt", "--train-steps", "3", "--out", "curve"
    )
    assert code == 0, err
    made = ls.load(desk / "curve")
    torch.testing.assert_close(made.curve.values[-1], f.value(x + other))
    assert {p.name for p in (desk / "curve" / "figures").iterdir()} >= {
        "connection.png",
        "surface.png",
    }


@pytest.mark.slow
def test_a_curve_of_a_model_with_batch_normalisation_says_whose_statistics(desk: Path) -> None:
    (desk / "normed.py").write_text(
        "import torch\nfrom torch import nn\nimport landscape as ls\n\n\ndef problem():\n"
        "    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))\n"
        "    return ls.ModelLandscape(model, nn.MSELoss(), [(torch.ones(4, 2), torch.zeros(4, 1))])\n"
    )
    other = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    nn.init.zeros_(other.get_parameter("0.weight"))
    torch.save(other.state_dict(), desk / "other.pt")
    line = ["normed.py", "--connect", "other.pt", "--train-steps", "1", "--resolution", "3"]
    code, _, err = run(*line)
    assert code == 0, err
    assert "--batch-statistics measures them at every point" in err
    assert "--batch-statistics" not in run(*line, "--batch-statistics")[2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--directions", "pca"], "--trajectory"),
        (["--directions", "moments"], "--optimizer-state"),
        (["--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--span", "2,1"], "--span"),
        (["--batch-statistics"], "BatchNorm"),
        (["--toward", "a", "--toward", "b", "--toward", "c"], "--toward"),
    ],
    ids=lambda v: v if isinstance(v, str) else " ".join(v),
)
def test_what_a_surface_needs_is_said(wrong: list[str], said: str, desk: Path) -> None:
    code, out, err = run("digits-tiny", "--set", "steps=0", *wrong)
    assert (code, out) == (2, "")
    assert said.lower() in err.lower()
    assert err.count("\n") == 1 or "Usage" in err
