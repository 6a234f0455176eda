"""Run folders: complete or not there, and nothing of anyone else's touched."""

import errno
from pathlib import Path

import pytest
from landscape_cli import runs
from landscape_cli.errors import OneLine


def write(target: Path, text: str, failure: BaseException | None = None) -> None:
    with runs.writing(target) as folder:
        (folder / "result.json").write_text(text)
        (folder / "figures").mkdir()
        (folder / "figures" / "density.png").write_text(text)
        if failure is not None:
            raise failure


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
        target = runs.place(None, "net.py", force=False, resume=False)
        assert target == Path(expected)
        write(target, "x")
    assert runs.place(None, "net.py", force=True, resume=False) == Path("runs/net")


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
    assert names(target) == ["figures/density.png", "notes.txt", "result.json"]
    assert (target / "result.json").read_text() == "old"


def test_a_new_run_replaces_what_a_run_owns_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run"
    write(target, "old")
    (target / "notes.txt").write_text("mine")
    (target / "report.html").write_text("of the old run")
    (target / "figures" / "layers.png").write_text("of the old run")
    write(target, "new")
    assert names(target) == ["figures/density.png", "notes.txt", "result.json"]
    assert (target / "result.json").read_text() == "new"
    assert (target / "notes.txt").read_text() == "mine"


def test_an_exchange_that_fails_halfway_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    write(target, "old")
    rename = Path.rename

    def failing(self: Path, goal: Path) -> Path:
        if self.parent.name == "new" and self.name == "result.json":
            raise KeyboardInterrupt
        return rename(self, goal)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt):
        write(target, "new")
    assert names(target) == ["figures/density.png", "result.json"]
    assert (target / "result.json").read_text() == "old"
    assert (target / "figures" / "density.png").read_text() == "old"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OneLine, match="is a file"):
        runs.place(str(tmp_path / "file"), "net.py", force=False, resume=False)
    with pytest.raises(OneLine, match="cannot be written"):
        write(tmp_path / "file" / "run", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_a_second_run_at_the_same_time_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = runs.place(None, "net.py", force=False, resume=False)
    with runs.writing(first) as folder:
        (folder / "result.json").write_text("first")
        second = runs.place(None, "net.py", force=False, resume=False)
        assert second != first
        write(second, "second")
        with pytest.raises(OneLine, match="not empty"):
            runs.place(str(first), "net.py", force=False, resume=False)
    assert (first / "result.json").read_text() == "first"
    assert (second / "result.json").read_text() == "second"


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
