"""A bar for whoever asks for one: ``progress=True``."""

import pytest

from landscape import progress
from landscape.core import Progress, silent


@progress.watched
def work(steps: int, *, progress: Progress = silent) -> int:
    for step in range(steps):
        progress("counting sheep", step + 1, steps)
    return steps


@pytest.mark.parametrize("asked", [{}, {"progress": False}, {"progress": None}])
def test_nothing_is_shown_unless_asked(
    asked: dict[str, bool | None], capfd: pytest.CaptureFixture[str]
) -> None:
    wrong: dict[str, object] = dict(asked)
    assert work(3, **wrong) == 3  # type: ignore[arg-type]
    assert capfd.readouterr() == ("", "")


def test_true_shows_the_stage_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert work(3, progress=True) == 3  # type: ignore[arg-type]
    shown = capfd.readouterr()
    assert "counting sheep" in shown.err
    assert "3 of 3" in shown.err
    assert shown.out == ""


def test_a_callback_is_called(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, int, int | None]] = []
    work(2, progress=lambda *told: seen.append(told))
    assert seen == [("counting sheep", 1, 2), ("counting sheep", 2, 2)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (36.2, "36 s"), (245, "4 min 05 s"), (7980, "2 h 13 min")],
)
def test_times_are_told_as_people_do(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
