"""Kills, damage and attacks, a few of each; the long forms are options of the scripts themselves."""

import os
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main
from solid import attacks, fuzz, kills
from solid.log import Log


@pytest.fixture(autouse=True)
def _back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_the_old_run_or_the_new_one() -> None:
    log = Log()
    kills.kills(7, log)
    assert sum(log.counts().values()) == 7


@pytest.mark.slow
def test_damaged_runs_are_told_and_never_differ_silently() -> None:
    log = Log()
    fuzz.flips(60, log)
    assert log.counts()["refused"] > 30


@pytest.mark.slow
def test_damaged_kept_states_are_told_or_computed_again() -> None:
    log = Log()
    fuzz.kept(30, log)
    assert log.counts()["same"] > 0


@pytest.mark.slow
def test_damaged_inputs_are_told() -> None:
    log = Log()
    fuzz.inputs(32, log)
    assert log.counts()["refused"] > 0


@pytest.mark.slow
def test_nothing_of_a_strangers_runs_or_reaches_out() -> None:
    kinds = attacks.attacks()
    assert len(kinds) >= 50
    for attack in kinds.values():
        attacks.attempt(attack)


NET = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
COMMANDS = (
    ["zoo"],
    ["saddles", "find", "himmelblau", "--start", "0,0", "--out", "found"],
    ["surface", "himmelblau", "--resolution", "5", "--out", "surface"],
    ["figures", "render", "surface_3d", "--from", "surface", "--format", "html"],
    ["report", "surface"],
    ["inspect", "surface"],
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_no_command_asks_the_net() -> None:
    torch.set_num_threads(1)
    pid = os.fork()
    if not pid:
        leave = os._exit
        sys.addaudithook(lambda event, arguments: leave(99) if event in NET else None)
        try:
            codes = [CliRunner().invoke(main, command).exit_code for command in COMMANDS]
            leave(0 if set(codes) <= {0, 2, 3} and codes[:3] == [0] * 3 else 70)
        finally:
            leave(71)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
