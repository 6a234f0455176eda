"""Kills, damage and attacks, a few of each; the long forms are options of the scripts themselves."""

from pathlib import Path

import pytest
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
