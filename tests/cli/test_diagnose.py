"""`landscape diagnose`: a trace, a checkpoint and a built-in run get the cause they were built with; mistakes take one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls
from landscape.zoo import stuck

OWN = """
import torch
from torch import nn


def net(bias=0.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1e-9)  # next to the saddle at zero
    return model


def other():
    return nn.Linear(3, 1).double()


def data():
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, x[:, :1]
"""
ON = ("--data", "own.py:data", "--loss", "mse", "--optimizer", "sgd:lr=0.05")
FAST = ("--probe-steps", "30", "--trials", "2")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def run(*line: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["diagnose", *map(str, line)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def traced(folder: Path, steps: int = 60) -> ls.training.Trace:
    """A run from next to the saddle, 60 steps of which e-fold a displacement less than ten times."""
    namespace: dict[str, Callable[..., Any]] = {}
    exec(OWN, namespace)
    model, (x, y) = namespace["net"](), namespace["data"]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    f = ls.ModelLandscape(model, torch.nn.functional.mse_loss, [(x, y)], name="near-zero")
    with ls.Tracer(optimizer, f, every=5) as tracer:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    tracer.result.save(folder)
    return tracer.result


@pytest.mark.slow
def test_a_trace_is_diagnosed_and_its_model_probed(desk: Path, undrawn: None) -> None:
    trace = traced(desk / "traced")
    code, out, err = run("traced", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["causes"][0]["name"] == ls.diagnose(trace).causes[0].name == "saddle"
    assert found["trials"] is None
    assert "evidence alone" in found["untried"]
    stored = ls.load(found["run"])
    assert isinstance(stored, ls.training.DiagnosisReport)
    assert stored.diagnosis == ls.diagnose(trace)
    assert torch.equal(stored.trace.loss, trace.loss)
    code, out, err = run("traced", "--model", "own.py:net", *ON, *FAST, "--out", "tried", "--json")
    assert code == 0, err
    trials = json.loads(out)["trials"]
    assert trials["best"].startswith("eigenvector") or trials["best"] == "fresh layers"
    assert trials["loss"] == pytest.approx(
        float(trace.loss[-1]), rel=1e-12
    )  # from where the trace ended
    code, shown, err = run("tried")
    assert code == 0, err
    assert "SADDLE" in shown
    assert (
        run("traced", "--no-probe", "--out", "tried", "--resume")[1].count("eigenvector") >= 2
    )  # the stored result


FORMULA = """
import landscape as ls


def cap(x):
    return -(x**2).sum(-1)


ready = ls.FunctionLandscape(lambda x: -(x**2).sum(-1), dim=3)
"""


def descended(
    f: ls.FunctionLandscape, start: list[float], folder: Path, make: Any = None
) -> ls.training.Trace:
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1e-3, momentum=0.5) if make is None else make([w])
    with ls.Tracer(optimizer, f, every=5) as tracer:
        for _ in range(40):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
    tracer.result.save(folder)
    return tracer.result


@pytest.mark.slow
def test_the_trace_of_a_built_in_formula_is_probed(desk: Path, undrawn: None) -> None:
    trace = descended(ls.zoo.load("styblinski-tang", dim=3), [0.1567] * 3, desk / "traced")
    code, out, err = run("traced", *FAST, "--json", "--out", "run")
    assert code == 0, err
    found = json.loads(out)
    assert found["causes"][0]["name"] == "saddle"
    assert found["trials"]["loss"] == pytest.approx(float(trace.loss[-1]), rel=1e-12)
    assert found["trials"]["curvature"] == pytest.approx(
        12 * 0.1567**2 / 2 - 16, rel=1e-3
    )  # 6 x^2 - 16
    probes = ls.load(desk / "run").diagnosis.trials
    direct = ls.training.probe(
        ls.zoo.load("styblinski-tang", dim=3),
        torch.optim.SGD([trace.x.clone().requires_grad_(True)], lr=1e-3, momentum=0.5),
        steps=30, seeds=2, scale=abs(float(trace.loss[0])),
    )  # fmt: skip
    assert probes["control"].change == direct["control"].change  # the optimiser is the run's own
    assert json.loads(run("traced", "--no-probe", "--json", "--out", "bare")[1])["trials"] is None
    descended(
        ls.zoo.load("octopus", gamma=2.0), [1e-3] * 3, desk / "other"
    )  # an option that is not stored
    code, out, err = run("other", *FAST, "--json", "--out", "doubtful")
    assert code == 0, err
    assert json.loads(out)["trials"] is None
    assert "no remedies are tried: octopus is" in json.loads(out)["notes"][0]
    code, out, err = run("other", "--set", "gamma=2.0", *FAST, "--json", "--out", "sure")
    assert code == 0, err
    assert json.loads(out)["trials"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("attr", ["cap", "ready"])
def test_the_trace_of_a_users_formula_is_probed(attr: str, desk: Path, undrawn: None) -> None:
    (desk / "form.py").write_text(FORMULA)
    f = ls.FunctionLandscape(lambda x: -(x**2).sum(-1), dim=3)
    descended(f, [1e-9, 0.0, 0.0], desk / "traced", lambda p: torch.optim.Adam(p, lr=1e-12))
    code, out, err = run("traced", "--model", f"form.py:{attr}", *FAST, "--json", "--out", "run")
    assert code == 0, err
    assert json.loads(out)["trials"]["curvature"] == pytest.approx(-2.0)
    code, _, err = run("traced", "--model", "himmelblau", *FAST, "--out", "wrong")
    assert (code, err.count("\n")) == (2, 1)
    assert "has 2 parameters, the trace 3" in err


@pytest.mark.slow
def test_a_checkpoint_is_continued_on_a_copy(desk: Path, undrawn: None) -> None:
    code, out, err = run("own.py:net", *ON, *FAST, "--steps", "60", "--out", "run")
    assert code == 0, err
    assert "SADDLE" in out
    assert "eigenvector" in out
    stored = ls.load(desk / "run")
    assert stored.trace.steps.tolist() == list(range(0, 61, 3))
    assert stored.probes[0].name == stored.diagnosis.trials.probes[0].name
    assert stored.diagnosis.trials.predicted_rate == pytest.approx(
        next(p.rate for p in stored.probes if p.rate is not None), rel=1e-3
    )
    code, _, err = run("--config", "run/config.toml", "--out", "again", "--json", "--trust")
    assert code == 0, err
    assert ls.load(desk / "again").diagnosis == stored.diagnosis


@pytest.mark.slow
def test_the_optimiser_of_a_checkpoint_goes_on(desk: Path, undrawn: None) -> None:
    namespace: dict[str, Callable[..., Any]] = {}
    exec(OWN, namespace)
    model, (x, y) = namespace["net"](), namespace["data"]()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)

    def steps(count: int) -> float:
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        return float(torch.cat([p.detach().reshape(-1) for p in model.parameters()]).norm())

    steps(40)
    body = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 40}
    torch.save(body, "both.pt")
    torch.save(body["optimizer"], "optimizer.pt")
    torch.save(body["model"], "net.pt")
    torch.save(torch.optim.Adam(namespace["other"]().parameters()).state_dict(), "other.pt")
    truth = steps(20)
    line = (
        "own.py:net",
        *ON[:-1],
        "sgd",
        "--batch-size",
        "32",
        "--no-probe",
        "--steps",
        "20",
        "--out",
    )
    for out, *source in (
        ("both", "--checkpoint", "both.pt"),
        ("apart", "--checkpoint", "net.pt", "--optimizer-state", "optimizer.pt"),
    ):
        code, shown, err = run(*line, out, *source)
        assert code == 0, err
        assert "momentum_buffer of 2 tensors, and its rate of 0.03" in " ".join(shown.split())
        assert float(ls.load(desk / out).trace.weight_norm[-1]) == pytest.approx(truth, rel=1e-9)
    for out, *source in (
        ("anew", "--checkpoint", "net.pt"),
        ("none", "--checkpoint", "both.pt", "--optimizer-state", "none"),
        ("other", "--checkpoint", "both.pt", "--optimizer", "adam"),
    ):
        code, shown, err = run(*line, out, *source)
        assert code == 0, err
        assert "starting anew" in " ".join(shown.split())
        assert float(ls.load(desk / out).trace.weight_norm[-1]) != pytest.approx(truth, rel=1e-3)
    assert any(
        "left out: the saved state is of another optimiser" in note
        for note in ls.load(desk / "other").notes
    )
    code, _, err = run(*line, "bad", "--checkpoint", "net.pt", "--optimizer-state", "other.pt")
    assert (code, err.count("\n")) == (3, 1)
    assert "other.pt: the saved state is of another optimiser" in err
    code, _, err = run(*line, "bad", "--optimizer-state", "net.pt")
    assert code == 3
    assert "holds no optimiser's state" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dead-relus", "gaussian-well", "converged"])
def test_built_in_runs_need_no_files(name: str, desk: Path, undrawn: None) -> None:
    code, out, err = run(name, *FAST, "--seed", "3", "--set", "variant=1", "--out", "run")
    assert code == 0, err
    known = stuck.get(name)
    stored = ls.load(desk / "run")
    assert stored.causes[0].name == known.cause
    assert known.cause.upper() in out
    assert stored.diagnosis.trials.best in known.remedies
    code, _, err = run("--config", "run/config.toml", "--out", "again", "--json", "--trust")
    assert code == 0, err
    assert all(line.endswith("...") for line in err.splitlines())  # the stages of a slow machine


@pytest.mark.slow
def test_a_report_is_one_page(desk: Path, undrawn: None) -> None:
    assert run("zero-tanh", *FAST, "--out", "run")[0] == 0
    done = CliRunner().invoke(main, ["report", "run"])
    assert done.exit_code == 0, done.output
    page = (desk / "run" / "report.html").read_text()
    for text in ("SADDLE", "eigenvector +", "Phases", "What was tried on copies", "zero-tanh"):
        assert text in page


@pytest.mark.slow
def test_a_diverged_run_is_named_and_not_probed(desk: Path, undrawn: None) -> None:
    code, out, err = run("own.py:net", *ON[:-1], "sgd:lr=1e9", *FAST, "--out", "run")
    assert code == 0, err
    stored = ls.load(desk / "run")
    assert stored.trace.diverged
    assert stored.causes[0].name == "learning rate"
    assert stored.diagnosis.trials is None
    assert "nothing finite" in out


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("gausian-well",), 2, "Did you mean 'gaussian-well'"),
        (("own.py:net", *ON[:4]), 2, "needs --optimizer"),
        (("own.py:net", *ON[:-1], "sdg:lr=0.1"), 2, "Did you mean 'sgd'"),
        (("own.py:net", *ON[:-1], "sgd:lr=-1"), 2, "Invalid learning rate"),
        (("own.py:net", *ON, "--schedule", "StepLRR"), 2, "Did you mean 'steplr'"),
        (("own.py:net", *ON, "--model", "own.py:net"), 2, "--model"),
        (("gaussian-well", "--optimizer", "sgd:lr=0.1"), 2, "is fixed in the built-in run"),
        (("gaussian-well", "--set", "variant=7"), 2, "variants 0 to 2"),
        (("gaussian-well", "--set", "width=7"), 2, "--set width"),
        (("traced", "--probe"), 2, "--probe on a stored trace needs --model"),
        (("traced", "--optimizer", "sgd:lr=0.1"), 2, "pass --model too"),
        (("traced", "--steps", "7"), 2, "--steps is about steps from a model on"),
        (("traced", "--model", "own.py:net"), 2, "needs --data"),
        (("traced", "--model", "own.py:other", *ON), 2, "of another model"),
        (("empty",), 3, "holds no result"),
        (("unsaved",), 3, "no finished trace"),
        (("other",), 2, "holds a SpectralDensity"),
        (("nowhere/at/all",), 2, "no folder with a trace"),
        (("missing.py:net", *ON), 3, "missing.py"),
    ],
    ids=lambda v: " ".join(map(str, v)) if isinstance(v, tuple) else "",
)
def test_a_mistake_takes_one_line(
    desk: Path, undrawn: None, line: tuple[str, ...], code: int, said: str
) -> None:
    if line[0] == "traced":
        traced(desk / "traced", 10)
    (desk / "empty").mkdir()
    (desk / "unsaved").mkdir()
    (desk / "unsaved" / "records.f64").write_bytes(b"")
    if line[0] == "other":
        ls.results.save(
            ls.spectral_density(torch.eye(4, dtype=torch.float64), probes=2, steps=2),
            desk / "other",
        )
    done, out, err = run(*line, "--out", "run")
    assert (done, out) == (code, "")
    assert said in err.replace("\n", " ")
    assert "Traceback" not in err
    assert not (desk / "run").exists()
