"""Kills, damage and attacks, a few of each; the long forms are options of the scripts themselves."""

from pathlib import Path

import pytest
from solid import attacks, fuzz, kills


@pytest.fixture(autouse=True)
def _back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_the_old_run_or_the_new_one() -> None:
    assert sum(kills.kills(7).values()) == 7


@pytest.mark.slow
def test_damaged_runs_are_told_and_never_differ_silently() -> None:
    seen = fuzz.flips(60)
    assert seen["refused"] > seen["same"]


@pytest.mark.slow
def test_damaged_kept_states_are_told_or_computed_again() -> None:
    assert fuzz.kept(30)["same"] > 0


@pytest.mark.slow
def test_damaged_inputs_are_told() -> None:
    assert fuzz.inputs(32)["refused"] > 0


@pytest.mark.slow
def test_nothing_of_a_strangers_runs_or_reaches_out() -> None:
    kinds = attacks.attacks()
    assert len(kinds) >= 50
    for attack in kinds.values():
        attacks.attempt(attack)
