"""Run folders: complete or not there, and nothing of anyone else's touched."""

import contextlib
import errno
import os
from pathlib import Path

import pytest
from landscape_cli import runs
from landscape_cli.errors import OneLine

import landscape as ls


def write(target: Path, text: str, failure: BaseException | None = None) -> None:
    claim = runs.claimed(target)
    try:
        with runs.writing(target) as folder:
            (folder / "result.json").write_text(text)
            (folder / "figures").mkdir()
            (folder / "figures" / "density.png").write_text(text)
            if failure is not None:
                raise failure
    finally:
        claim.release()


RUN = ["figures/density.png", "manifest.json", "result.json"]


def placed(out: str | None, *, force: bool = False) -> Path:
    claim = runs.place(out, "net.py", force=force, resume=False)
    claim.release()
    return claim.folder


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("digits-mlp", "digits-mlp"),
        ("a/b/net.py", "net"),
        ("net.py:build", "net-build"),
        ("pkg.mod:Net.small", "pkg.mod-Net.small"),
        ("../..", "run"),
        ("a b/c d.py", "c-d"),
        ("", "run"),
    ],
)
def test_a_folder_is_named_after_the_model(model: str, name: str) -> None:
    assert runs.slug(model) == name


def test_a_taken_default_folder_is_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/net", "runs/net-2", "runs/net-3"):
        target = placed(None)
        assert target == Path(expected)
        write(target, "x")
    assert placed(None, force=True) == Path("runs/net")


def test_a_failed_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "deep" / "run", "half", KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    target = tmp_path / "run"
    write(target, "old")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no luck"):
        write(target, "half", ValueError("no luck"))
    assert names(target) == sorted([*RUN, "notes.txt"])
    assert (target / "result.json").read_text() == "old"


def test_a_new_run_replaces_what_the_manifest_lists_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run"
    write(target, "old")
    with runs.adding(target) as folder:
        (folder / "report.html").write_text("of the old run")
    (target / "notes.txt").write_text("mine")
    (target / "figures" / "paper.pdf").write_text("mine too")
    write(target, "new")
    assert names(target) == sorted([*RUN, "notes.txt", "figures/paper.pdf"])
    assert (target / "result.json").read_text() == "new"
    assert (target / "notes.txt").read_text() == "mine"


def test_a_figure_of_someone_elses_is_left_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "run"
    (target / "figures").mkdir(parents=True)
    (target / "figures" / "density.png").write_text("mine")
    write(target, "new")
    assert (target / "figures" / "density.png").read_text() == "mine"
    assert "density.png is not of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("result.json", "is no run's: result.json is there"),
        ("config.toml", "is no run's: config.toml is there"),
        ("manifest.json", "is damaged"),
    ],
)
def test_force_refuses_a_folder_that_is_no_runs(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises((OneLine, ls.LoadingError), match=words):
        placed(str(tmp_path), force=True)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("call", ["rename", "replace", "unlink", "fsync", "rmdir"])
def test_an_exchange_that_fails_halfway_is_finished_or_undone(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = getattr(os, call), [0]

    def failing(*arguments: object, **more: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return original(*arguments, **more)

    number = 0
    while left[0] <= 0:
        number += 1
        target = tmp_path / str(number)
        write(target, "old")
        (target / "figures" / "mine.png").write_text("mine")
        monkeypatch.setattr(os, call, failing)
        left[0] = number
        with contextlib.suppress(KeyboardInterrupt):
            write(target, "new")
        monkeypatch.undo()
        runs.claimed(target).release()
        assert names(target) == sorted([*RUN, "figures/mine.png"])
        texts = {(target / name).read_text() for name in ("result.json", "figures/density.png")}
        assert texts in ({"old"}, {"new"})
    assert texts == {"new"}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OneLine, match="is a file"):
        placed(str(tmp_path / "file"))
    with pytest.raises(OneLine, match="cannot be written"):
        write(tmp_path / "file" / "run", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_a_second_run_at_the_same_time_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = runs.place(None, "net.py", force=False, resume=False)
    with runs.writing(first.folder) as folder:
        (folder / "result.json").write_text("first")
        second = placed(None)
        assert second != first.folder
        write(second, "second")
        with pytest.raises(OneLine, match="another process is writing"):
            placed(str(first.folder), force=True)
    first.release()
    assert (first.folder / "result.json").read_text() == "first"
    assert (second / "result.json").read_text() == "second"


def test_what_a_killed_run_has_left_is_removed_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / ".landscape-half" / "arrays").mkdir(parents=True)
    assert placed(str(tmp_path / "run")) == tmp_path / "run"
    assert list((tmp_path / "run").iterdir()) == []
    assert "has been removed" in capsys.readouterr().err


def test_an_empty_folder_of_the_users_outlives_a_failed_run(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="no luck"):
        write(tmp_path / "mine", "half", ValueError("no luck"))
    assert (tmp_path / "mine").is_dir()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_full_disk_is_named_by_the_folder(tmp_path: Path) -> None:
    target = tmp_path / "run"
    write(target, "old")
    with pytest.raises(OneLine, match="run cannot be written: No space left on device"):
        write(target, "new", OSError(errno.ENOSPC, "No space left on device"))
    assert (target / "result.json").read_text() == "old"
    with pytest.raises(OSError, match="of the data"):
        write(target, "new", OSError(errno.EIO, "of the data"))
