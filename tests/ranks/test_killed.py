"""A rank is killed at a random moment of a command: the others end soon, one line says why, and
--resume comes to the result of a run that nobody killed.

``LANDSCAPE_KILLS=20`` kills each of the commands so often.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape as ls
from landscape.results import store

sys.path.insert(0, str(Path(__file__).parent))
import cases
import together

KILLS = int(os.environ.get("LANDSCAPE_KILLS", "0"))
SMALL = ["--largest", "2", "--smallest", "2", "--probes", "2", "--steps", "5"]
COMMANDS = {
    "analyze": ["analyze", "net.py", "--method", "lanczos", "--no-layers", *SMALL],
    "sharded": ["spectrum", "net.py", "--shard", *SMALL],
    "surface": ["surface", "net.py", "--resolution", "7"],
    "census": ["saddles", "census", "himmelblau", "--starts", "3000"],
    "count": ["saddles", "count", "isotropic-waves", "--dims", "1:3", "--realisations", "60"],
}
TIMES = {"seconds", "created", "stages", "config", "versions"}  # what another run may say otherwise


def said(folder: Path) -> str:
    """What a stored result says, but for the time it took."""
    return json.dumps(_timeless(store.plain(ls.load(folder))), sort_keys=True)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def finished(folder: Path, words: list[str]) -> float:
    """How long two ranks took for a command."""
    begun = time.monotonic()
    processes = together.start(2, folder, cases.command, str(folder), words)
    together.wait(processes, 120)
    lines = [(folder / f"{rank}.said").read_text() for rank in range(2)]
    assert [process.exitcode for process in processes] == [0, 0], lines
    return time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS if KILLS else ["sharded"])
def test_what_is_left_of_a_killed_rank(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(cases.NET)
    words = [*COMMANDS[name], "--out", "run", "--no-figures"]
    length = finished(tmp_path, words)
    truth = said(tmp_path / "run")
    draws = np.random.default_rng(sum(map(ord, name)))
    for kill in range(KILLS or 1):
        folder = tmp_path / f"kill {kill}"
        folder.mkdir()
        (folder / "net.py").write_text(cases.NET)
        victim, moment = int(draws.integers(2)), float(draws.uniform(0.1, 0.9)) * length
        processes = together.start(2, folder, cases.command, str(folder), words)
        time.sleep(moment)
        os.kill(processes[victim].pid or 0, signal.SIGKILL)
        assert together.wait(processes, 60) < 30
        other = processes[1 - victim]
        told = (folder / f"{1 - victim}.said").read_text().strip().splitlines()
        lines = [line for line in told if not line.endswith("...")]  # how far it is
        if processes[victim].exitcode == -signal.SIGKILL and other.exitcode != 0:
            assert len(lines) == 1, lines
            assert "another process of this run has ended" in lines[0]
        finished(folder, [*words, "--resume"])
        assert said(folder / "run") == truth
        assert [p.name for p in folder.glob("run/.landscape-*")] == []


@pytest.mark.slow
def test_what_ranks_have_kept_is_recalled(tmp_path: Path) -> None:
    """By both of them, though the one that was killed has kept less."""
    (tmp_path / "net.py").write_text(cases.NET)
    words = [*COMMANDS["analyze"], "--out", "run", "--no-figures"]
    processes = together.start(2, tmp_path, cases.command, str(tmp_path), words)
    kept = [tmp_path / f"run/.landscape-kept/work-{rank}-of-2/work.bin" for rank in range(2)]
    end = time.monotonic() + 60
    while time.monotonic() < end and not all(p.exists() and p.stat().st_size > 2**16 for p in kept):
        time.sleep(0.01)
    os.kill(processes[1].pid or 0, signal.SIGKILL)
    assert together.wait(processes, 60) < 30
    finished(tmp_path, [*words, "--resume"])
    hits = [int((tmp_path / f"{rank}.hits").read_text()) for rank in range(2)]
    assert min(hits) > 5, hits
    finished(tmp_path, [*words[:-3], "--out", "again", "--no-figures"])
    assert said(tmp_path / "run") == said(tmp_path / "again")
