"""The installed command in a process of its own: instant help, streams, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from landscape_cli.main import main; main(prog_name='landscape')"]
Snapshot = Callable[[Path], dict[str, bytes]]


def landscape(*arguments: str, **settings: Any) -> "subprocess.CompletedProcess[str]":
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **settings
    )
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["analyze", "--help"],
        ["spectrum", "--help"],
        ["figures", "--help"],
    ],
    ids=" ".join,
)
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom landscape_cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n"
        "    assert stop.code == 0\nheavy = {'torch', 'numpy', 'matplotlib', 'rich', 'scipy', 'landscape'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_completion_does_not_import_torch() -> None:
    env = os.environ | {
        "_LANDSCAPE_COMPLETE": "bash_complete",
        "COMP_WORDS": "landscape ana",
        "COMP_CWORD": "1",
    }
    script = (
        "import sys\nfrom landscape_cli.main import main\ntry:\n    main(prog_name='landscape')\n"
        "finally:\n    assert 'torch' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=env,
    )
    assert "analyze" in result.stdout, result.stderr


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    """Help is instant because it imports no library that takes its time."""
    code = (
        "import sys; from landscape_cli.main import main; main(['--help'], standalone_mode=False); "
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_mistake_is_one_line_on_stderr_in_a_real_process(here: Path) -> None:
    for arguments, code in [
        (["analyze", "syntax.py"], 3),
        (["analyze", "net.py", "--tol", "x"], 2),
    ]:
        result = landscape(*arguments)
        assert result.returncode == code
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_json_is_all_of_stdout_and_stderr_is_silent_in_a_pipe(here: Path) -> None:
    result = landscape("analyze", "net.py", "--json", "--no-layers")
    assert json.loads(result.stdout)["verdict"]
    assert result.stderr == ""


NOISY = """
import ctypes
import os
import sys

import landscape as ls
import torch
from torch import nn

os.system("echo from a shell")
print("from Python")
ctypes.CDLL(None).puts(b"from C")


class Noisy(nn.Linear):
    def forward(self, x):
        os.write(1, b"from below\\n")
        sys.__stdout__.write("from Python's own stdout\\n")
        return super().forward(x)


def problem():
    return ls.ModelLandscape(Noisy(2, 1), nn.functional.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])


def family(dim, seed):
    os.write(1, b"from below\\n")
    sys.__stdout__.write("from Python's own stdout\\n")
    return ls.FunctionLandscape(lambda x: (x ** 2).sum(-1), dim=dim, domain=ls.Box(-1, 1))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell and a C library are needed")
@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "noisy.py", "--no-layers", "--no-figures"],
        ["analyze", "noisy.py", "--estimate"],
        ["saddles", "count", "noisy.py", "--dims", "1", "--realisations", "2", "--no-figures"],
    ],
    ids=["analyze", "estimate", "count"],
)
def test_json_is_all_of_stdout_whatever_users_code_writes(here: Path, arguments: list[str]) -> None:
    (here / "noisy.py").write_text(NOISY)
    done = landscape(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]
    for who in ("a shell", "Python", "C", "below", "Python's own stdout"):
        assert f"from {who}\n" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell is needed")
@pytest.mark.parametrize(
    ("closed", "stdout", "stderr"),
    [
        ("", "before\nafter\n", "aside\n"),
        ("2>&-", "before\naside\nafter\n", ""),
        (">&-", "", ""),
        ("<&- >&- 2>&-", "", ""),
    ],
    ids=["both", "no stderr", "no stdout", "none"],
)
def test_stdout_is_put_back(closed: str, stdout: str, stderr: str) -> None:
    """After an error too, in its order, and with no file left open."""
    script = """
import os
from contextlib import suppress
from landscape_cli.screens import aside

files = len(os.listdir("/dev/fd"))
print("before")
with suppress(OSError, KeyError), aside():
    os.write(1, b"aside\\n")
    raise KeyError
with suppress(OSError):
    os.write(1, b"after\\n")
assert len(os.listdir("/dev/fd")) == files
"""
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (stdout, stderr)


@pytest.mark.slow
def test_a_terminal_without_unicode_gets_a_table_all_the_same(here: Path) -> None:
    result = landscape(
        "spectrum", "net.py", env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    assert result.returncode == 0, result.stderr
    assert "largest" in result.stdout


SLOW = """
import time
from pathlib import Path

import landscape as ls
import torch
from torch import nn


def loss(output, target):
    Path("started").touch()
    time.sleep(0.02)
    return (output ** 2).mean()


def problem():
    return ls.ModelLandscape(nn.Linear(60, 60), loss, [(torch.ones(2, 60), torch.ones(2))] * 20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True], ids=["fresh", "forced"])
def test_ctrl_c_is_one_line_and_damages_nothing(
    here: Path, snapshot: Snapshot, force: bool
) -> None:
    (here / "slow.py").write_text(SLOW)
    before = snapshot(here)
    out = ["--out", "runs/earlier", "--force"] if force else []
    process = subprocess.Popen(
        [*COMMAND, "analyze", "slow.py", *out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while (
        not (here / "started").exists() and time.monotonic() < deadline and process.poll() is None
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("Error: interrupted")
    (here / "started").unlink()
    assert snapshot(here) == before
    assert not list(here.rglob(".landscape-*"))
    assert not (here / "runs" / "slow").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell is needed")
@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        ("--help > /dev/full", 2, "Error: stdout cannot be written: No space left on device.\n"),
        ("zoo > /dev/full", 2, "Error: stdout cannot be written: No space left on device.\n"),
        ("zoo >&-", 0, ""),
        ("zoo >&- 2>&- <&-", 0, ""),
        ("surface nothing >&- 2>&-", 2, ""),
    ],
)
def test_a_stream_that_takes_nothing(redirected: str, code: int, told: str) -> None:
    line = f"import sys; from landscape_cli.main import main; main({redirected.split('>')[0].split()}, 'landscape')"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "{line}" >{redirected.partition(">")[2]}', sys.executable],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, told)
