"""Whose mistake an exception is: the user's, or ours."""

import statistics
from pathlib import Path
from typing import Any

import click
import pytest
from landscape_cli import errors, progress

import landscape as ls


def judged(function: object, *arguments: object) -> errors.OneLine | None:
    """What becomes of the exception that ``function`` raises."""
    try:
        function(*arguments)  # type: ignore[operator]
    except BaseException as error:
        return errors.judge(error)
    raise AssertionError("nothing was raised")


def test_a_bad_argument_named_by_our_library_is_usage() -> None:
    known = judged(ls.Box, 1, 0)
    assert known is not None
    assert known.exit_code == 2
    assert "low < high" in known.message


@pytest.mark.parametrize(
    ("error", "code"), [(ls.LoadingError("x"), 3), (ls.NumericalError("x"), 4)]
)
def test_our_errors_carry_their_status(error: Exception, code: int) -> None:
    known = errors.judge(error)
    assert known is not None
    assert (known.exit_code, known.message) == (code, "x")


def test_what_the_users_code_raises_below_ours_is_loading(tmp_path: Path) -> None:
    file = tmp_path / "theirs.py"
    code = compile("def formula(x):\n    raise IndexError('out of luck')\n", str(file), "exec")
    names: dict[str, Any] = {"__name__": "theirs"}
    exec(code, names)
    known = judged(
        ls.FunctionLandscape(names["formula"], dim=2).value, __import__("torch").zeros(2)
    )
    assert known is not None
    assert known.exit_code == 3
    assert known.message == f"{file}, line 2, raised IndexError: out of luck"


def test_what_neither_the_user_nor_our_checks_raise_is_a_bug_and_keeps_its_traceback() -> None:
    assert judged(statistics.mean, []) is None  # a ValueError, but not one that our library wrote


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError(), 4), (PermissionError(13, "Permission denied", "f"), 2)]
)
def test_the_machines_limits(error: Exception, code: int) -> None:
    known = errors.judge(error)
    assert known is not None
    assert known.exit_code == code


def test_a_message_of_many_lines_becomes_one() -> None:
    assert errors.one_line(click.UsageError("a\n\n\tb  c")) == "a b c"


def test_a_progress_bar_is_silent_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.bar() as bar:
        bar("spectrum", 1, 10)
        bar("density", 0, None)
    assert capfd.readouterr() == ("", "")


def test_a_progress_bar_tells_the_stage_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.bar() as bar:
        for done in range(11):
            bar("spectrum", done, 10)
        bar("density", 0, None)
        bar("density", 5, 20)
    captured = capfd.readouterr()
    assert "density" in captured.err
    assert captured.out == ""
