"""A command that is killed in the middle goes on with --resume to the bits of one that was not."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from landscape_cli import runs
from landscape_cli.main import main
from solid import fuzz, kills

import landscape as ls
from landscape.inventory import census as censuses
from landscape.results import journal
from landscape.surfaces import grids

NET = """
import landscape as ls, torch
from torch import nn

def problem(width=2):
    torch.manual_seed(0)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)).double()
    y = torch.arange(8) % 2
    model = nn.Sequential(nn.Linear(2, int(width)), nn.Tanh(), nn.Linear(int(width), 2)).double()
    return ls.ModelLandscape(model, nn.functional.cross_entropy, [(x[:4], y[:4]), (x[4:], y[4:])])

def wells(x):
    return (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2 + 0.3 * x[..., 0] * x[..., 1]

def saddle(x, a=1.0):
    return a * x[..., 0] ** 2 - x[..., 1] ** 2
"""
SADDLE = ["net.py:saddle", "--dim", "2", "--steps", "40", "--optimizer", "sgd:lr=0.02"]
COMMANDS = {
    "analyze": ["analyze", "net.py", "--probes", "2", "--steps", "4"],
    "lanczos": ["analyze", "net.py", "--method", "lanczos", "--largest", "2", "--smallest", "1"],
    "polish": ["analyze", "net.py", "--polish", "--probes", "2", "--steps", "4"],
    "spectrum": ["spectrum", "net.py", "--probes", "2", "--steps", "4"],
    "escape": ["escape", *SADDLE, "--optimizer", "adam:lr=0.01", "--runs", "4"],
    "noise": ["escape", *SADDLE, "--runs", "2050", "--start", "0", "--noise", "isotropic:1"],
    "rates": ["escape", *SADDLE, "--runs", "4", "--start", "0.01", "--sweep", "lr=0.01,0.03"],
    "settings": ["escape", *SADDLE, "--runs", "4", "--sweep", "a=1,2,4"],
    "diagnose": ["diagnose", "net.py", "--optimizer", "sgd:lr=0.1", "--steps", "10", "--trials", "2", "--probe-steps", "2"],
    "stuck": ["diagnose", "saturated-sigmoids", "--trials", "2", "--probe-steps", "2"],
    "find": ["saddles", "find", "net.py", "--max-products", "60"],
    "formula": ["saddles", "find", "net.py:wells", "--dim", "2", "--start", "0.3,0.3"],
    "path": ["saddles", "path", "net.py:wells", "--dim", "2", "--from=-1,0", "--to=1,0"],
    "surface": ["surface", "net.py", "--resolution", "6", "--directions", "eigen", "--check"],
    "census": ["saddles", "census", "net.py:wells", "--dim", "2", "--domain", "box:-3,3", "--starts", "8000"],
    "network": ["saddles", "census", "net.py", "--set", "width=1", "--starts", "1"],
    "compare": ["compare", "a.pt", "b.pt", "--model", "net.py"],
    "survive": ["survive", "net.py", "--change", "int8"],
    "connect": ["surface", "net.py", "--connect", "b.pt", "--train-steps", "10"],
}  # fmt: skip
OTHERS = {
    "model": NET.replace("Tanh", "Sigmoid").replace("x[..., 1] **", "1.1 * x[..., 1] **"),
    "data": NET.replace("manual_seed(1)", "manual_seed(3)").replace("x[..., 0] **", "1.1 * x[..., 0] **"),
}  # fmt: skip
MEASURED = {"seconds", "provenance", "stages", "budget", "unfinished"}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    torch.manual_seed(5)
    for name in ("a.pt", "b.pt"):
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
        torch.save(model.double().state_dict(), name)
    torch.set_num_threads(1)
    return tmp_path


def timeless(value: object) -> object:
    """All that a result says, but how long it took."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in MEASURED}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def said(folder: str) -> str:
    return json.dumps(timeless(fuzz.full(ls.load(folder))))


def invoke(command: list[str], out: str, *more: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, [*command, "--no-figures", "--quiet", "--out", out, *more])
    assert done.exit_code == code, done.output
    return done.output


def keeping(command: list[str]) -> Callable[[], None]:
    def act() -> None:
        journal.LONG, journal.EVERY, grids.EVERY, censuses.KEEP = 0.0, 0.0, 0.0, 0.0
        invoke(command, "run")

    return act


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_goes_on_to_the_same_bits(
    name: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    invoke(command, "whole")
    status, calls = kills.child(keeping(command), desk, 0)
    assert status == 0
    shutil.rmtree("run")
    status, _ = kills.child(keeping(command), desk, int(0.6 * calls))
    assert status == kills.KILLED
    for kind, other in OTHERS.items():
        if "net.py" in str(command):
            Path("net.py").write_text(other)
            told = " ".join(invoke(command, "run", "--resume", code=2).split())
            assert re.search("different|of another", told), (kind, told)
    Path("net.py").write_text(NET)
    assert "a different seed" in invoke(command, "run", "--resume", "--seed", "7", code=2)
    seen = recalls(monkeypatch)
    invoke(command, "run", "--resume")
    assert sum(seen) > 0, "it started afresh"
    assert said("run") == said("whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_finished_run_is_returned_without_a_word(name: str, desk: Path) -> None:
    invoke(COMMANDS[name], "run")
    assert "Note: the stored run" not in invoke(COMMANDS[name], "run", "--resume")


def test_a_finished_run_of_something_else_is_returned_with_a_note(desk: Path) -> None:
    """Options that one side alone has, and files that have been written since."""
    command = [*COMMANDS["analyze"], "--checkpoint", "a.pt"]
    invoke(command, "run")
    invoke([*command, "--l2", "*=0.1", "--dtype", "float32"], "others")
    told = invoke([*command, "--mode", "train", "--exclude", "0.bias"], "run", "--resume")
    assert "a different exclude, mode. Pass --force" in told
    assert "a different dtype, l2. Pass --force" in invoke(command, "others", "--resume")
    assert "a different checkpoint." in invoke(COMMANDS["analyze"], "run", "--resume")
    Path("net.py").write_text(OTHERS["model"])
    assert "a different content of net.py. Pass" in invoke(command, "run", "--resume")
    Path("net.py").write_text(NET)
    shutil.copy("b.pt", "a.pt")
    assert "a different content of a.pt. Pass" in invoke(command, "run", "--resume")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_killed_run_over_a_finished_one_is_gone_on_with(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*COMMANDS["lanczos"], "--checkpoint", "a.pt"]
    invoke(command, "old")
    shutil.copy("b.pt", "a.pt")
    invoke(command, "whole")
    calls = 0
    for share, ended in ((0.0, 0), (0.6, kills.KILLED)):
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree("old", "run")
        status, calls = kills.child(keeping([*command, "--force"]), desk, int(share * calls))
        assert status == ended
    assert "a different seed" in invoke(command, "run", "--resume", "--seed", "7", code=2)
    seen = recalls(monkeypatch)
    invoke(command, "run", "--resume")
    assert sum(seen) > 0, "it started afresh"
    assert said("run") == said("whole") != said("old")


@pytest.mark.slow
def test_what_a_budget_left_open_is_gone_on_with(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was computed is found again; of a run that left nothing open nothing is kept."""
    monkeypatch.setattr(journal, "LONG", 0.0)
    command = COMMANDS["lanczos"]
    invoke(command, "whole")
    invoke(command, "run", "--budget", "0.001s")
    assert (kept("run"), kept("whole")) == (True, False)
    seen = recalls(monkeypatch)
    invoke(command, "run", "--resume")
    assert sum(seen) > 0, "it started afresh"
    assert said("run") == said("whole")
    assert not kept("run")


def kept(folder: str) -> bool:
    return runs.kept(Path(folder)).exists()


LOUD = NET.replace(
    "def problem",
    """
import os
passes = []
def loss(output, target):
    passes.append(0)
    if len(passes) == 45 and "SIGNAL" in os.environ:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    return nn.functional.cross_entropy(output, target)

def problem""",
).replace("nn.functional.cross_entropy, [", "loss, [")


def ended(command: list[str], number: int) -> tuple[int, str]:
    """The status of a command in a fork that sends itself a signal, and what it says on stderr."""
    pid = os.fork()
    if not pid:
        journal.LONG, journal.SHORT = 0.0, 0.0
        os.environ["SIGNAL"] = str(number)
        signal.signal(
            number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler
        )
        for path, descriptor in (("out", 1), ("err", 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        try:
            main([*command, "--no-figures", "--out", "run"], prog_name="landscape")
        except SystemExit as end:
            sys.stderr.flush()
            os._exit(int(str(end.code)))
        finally:
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), Path("err").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(
    ("name", "code", "how"),
    [
        ("SIGINT", 130, "interrupted"),
        ("SIGHUP", 129, "ended by SIGHUP"),
        ("SIGTERM", 143, "ended by SIGTERM"),
    ],
)
def test_a_signal_ends_in_one_line_and_keeps_what_was_done(
    name: str, code: int, how: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("net.py").write_text(LOUD)
    command = COMMANDS["find"]
    status, told = ended(command, getattr(signal, name))
    assert status == code
    assert told == f"Error: {how}; what was done is kept: go on with --resume --out run.\n"
    assert Path("out").read_text() == ""
    seen = recalls(monkeypatch)
    invoke(command, "run", "--resume")
    assert sum(seen) > 0
    invoke(command, "whole")
    assert said("run") == said("whole")


def recalls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is found of an earlier run from now on, a 1 for each."""
    seen: list[int] = []
    for owner, method in ((journal.Journal, "find"), (journal.State, "find")):
        original = getattr(owner, method)

        def find(self: object, *key: bytes, original: Callable[..., object] = original) -> object:
            found = original(self, *key)
            seen.append(int(found is not None))
            return found

        monkeypatch.setattr(owner, method, find)
    return seen


ELSEWHERE = NET.replace(
    "def problem",
    """
import os
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")

def problem""",
)


@pytest.mark.slow
def test_a_model_that_goes_to_another_folder_takes_nothing_along(desk: Path) -> None:
    """Neither the run nor what is kept of it follows."""
    Path("net.py").write_text(ELSEWHERE)
    invoke(COMMANDS["network"], "run")
    assert Path.cwd() == desk
    assert sorted(p.name for p in Path("run").iterdir()) == [
        *("arrays", "config.toml", "manifest.json", "result.json")
    ]
    assert list(Path("elsewhere").iterdir()) == []


@pytest.mark.slow
def test_a_figure_that_cannot_be_drawn_does_not_cost_the_result(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import landscape_figures as figures

    def fails(*given: object, **more: object) -> None:
        raise ValueError("Axis limits cannot be NaN or Inf")

    monkeypatch.setattr(figures, "write", fails)
    surface = ["surface", "net.py:wells", "--dim", "2", "--resolution", "3", "--out", "run"]
    done = CliRunner().invoke(main, surface)
    assert done.exit_code == 0
    assert "Note: the figure surface cannot be drawn (ValueError: Axis limits" in done.stderr
    assert ls.load("run").values.shape == (3, 3)


@pytest.mark.slow
def test_steps_as_long_as_numbers_go_are_no_picture(desk: Path) -> None:
    surface = ["surface", "net.py:wells", "--dim", "2", "--resolution", "3", "--span", "1e308"]
    assert CliRunner().invoke(main, [*surface, "--out", "run"]).exit_code == 0
    done = CliRunner().invoke(main, ["report", "run"])
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.slow
def test_memory_that_runs_out_in_a_users_code_is_told(desk: Path) -> None:
    Path("net.py").write_text(NET.replace("return ls", "torch.empty(2**58)\n    return ls"))
    told = invoke(["spectrum", "net.py"], "run", code=4)
    assert told.startswith("Error: out of memory (")
    assert "pass a smaller --batch-size" in told
