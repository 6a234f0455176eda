"""How a run comes into its folder: staged beside it, made to stand by one rename, then put into
place.

A run is written into a hidden folder inside its own, brought to the disk, and renamed to ``READY``:
from that moment it stands, and until then the earlier run does. Its files are then moved to their
names one by one and the earlier run's removed, which the next claim finishes where a kill has
interrupted it. Nothing but what a manifest lists is replaced or removed.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from landscape.results import manifest
from landscape.results.manifest import NAME, PREFIX, READY, Listed

try:
    import fcntl
except ImportError:  # Windows: folders are not locked
    fcntl = None  # type: ignore[assignment]

KEPT = f"{PREFIX}kept"  # what an unfinished run has done so far
FINISHED = "a run that was interrupted while it was put into {folder} has been put there now"
SWEPT = "what a run that was killed had left in {folder} has been removed"


class Claim:
    """The right to write into a folder, which is made if missing.

    It goes when the process ends, however that ends.

    Args:
        folder: where to write.
        patience: seconds to wait for another process that writes there.

    Attributes:
        left: what was done about what a killed process had left, in words.

    Raises:
        BlockingIOError: another process is writing into the folder.
        LoadingError: what a killed process has left there is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, patience: float = 0.0) -> None:
        self.folder, self._descriptor = folder, -1
        self._made: list[Path] = []
        try:
            locked = self._lock(time.monotonic() + patience)
            self.left = settle(folder, sweep=locked)
        except BaseException:
            self.release()
            raise

    def _lock(self, deadline: float) -> bool:
        """Whether the folder is locked: some file systems have no locks."""
        while True:
            missing = [p for p in (self.folder, *self.folder.parents) if not p.exists()]
            self._made += [p for p in missing if p not in self._made]
            self.folder.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                return False
            self._descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(self._descriptor, self.folder):
                    return True  # else its owner has removed it between the two calls
            except BlockingIOError:
                if time.monotonic() > deadline:
                    what = "another process is writing there"
                    raise BlockingIOError(errno.EWOULDBLOCK, what, str(self.folder)) from None
                time.sleep(0.02)
            except OSError:
                return False
            os.close(self._descriptor)
            self._descriptor = -1

    def release(self) -> None:
        """Let others write there; folders that were made for this claim go as far as they are
        empty.
        """
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                break
        self._made = []
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def replacing(
    folder: Path, *, keeping: str = "", left_out: list[str] | None = None
) -> Iterator[Path]:
    """A hidden folder to write a run's files into: they become those of the run in ``folder`` when
    the block ends, and go when it raises. The folder must be claimed.

    Args:
        keeping: a pattern of the names of the earlier run's files that stay the run's; the others
            go.
        left_out: gets the names of figures and pages that are not stored because a file that no run
            has written is in their place.

    Raises:
        FileExistsError: another file of the run would replace one that no run has written.
    """
    staged = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    try:
        yield staged
        _stand(folder, staged, keeping, [] if left_out is None else left_out)
        _put(folder, folder / READY)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def require_free(folder: Path, names: tuple[str, ...]) -> None:
    """Raise a FileExistsError where one of these is a file in ``folder`` that no run has
    written.
    """
    ours = manifest.owned(folder)
    for name in names:
        if name not in ours and os.path.lexists(folder / name):
            what = f"{name} is there, and no run has written it"
            raise FileExistsError(errno.EEXIST, what, str(folder))


def _stand(folder: Path, staged: Path, keeping: str, left_out: list[str]) -> None:
    """Make the staged files the run that stands."""
    ours = manifest.owned(folder)
    stay = {name for name in ours - {NAME} if re.fullmatch(keeping, name)}
    files = _earlier(folder, stay)
    for path in sorted(p for p in staged.rglob("*") if p.is_file()):
        name = path.relative_to(staged).as_posix()
        if not manifest.MAY_BE.fullmatch(name):
            raise ValueError(f"{name} is no name of a run's file.")
        if name not in ours and os.path.lexists(folder / name) and name.startswith("figures/"):
            left_out.append(name)
            path.unlink()
            continue
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            files[name] = Listed(size, hashlib.file_digest(file, "sha256").hexdigest())
            os.fsync(file.fileno())
    require_free(folder, (*files, NAME))
    with (staged / NAME).open("wb") as file:
        file.write(manifest.text(files))
        to_disk(file)
    for made in (*(p for p in staged.iterdir() if p.is_dir()), staged):
        folder_to_disk(made)
    staged.rename(folder / READY)
    folder_to_disk(folder)


def _earlier(folder: Path, names: set[str]) -> dict[str, Listed]:
    """What is known of these files; of a run without a manifest as they are now."""
    known = manifest.listed(folder) if names else None
    if known is not None:
        return {name: known[name] for name in names}
    found = {}
    for name in names:
        data = manifest.contents(folder, name, None)
        found[name] = Listed(len(data), hashlib.sha256(data).hexdigest())
    return found


def settle(folder: Path, *, sweep: bool = True) -> str:
    """Finish or remove what a killed process has left in a folder that is claimed; says which.

    Args:
        sweep: whether to remove what nobody will go on with: only where the folder is locked is it
            certain that nobody writes there.
    """
    said = ""
    ready = folder / READY
    if not ready.is_symlink() and (ready / NAME).is_file():
        _put(folder, ready)
        said = FINISHED.format(folder=folder)
    for path in folder.glob(f"{PREFIX}*") if sweep else ():
        if path.name != KEPT or _outlived(path, folder / NAME):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            said = said or SWEPT.format(folder=folder)
    return said


def _outlived(kept: Path, finished: Path) -> bool:
    """Whether what was kept is of a run that has finished since."""
    if kept.is_symlink() or not finished.exists():
        return False
    times = [p.lstat().st_mtime_ns for p in kept.rglob("*") if not p.is_dir()]
    return max(times, default=0) < finished.stat().st_mtime_ns


def _put(folder: Path, ready: Path) -> None:
    """Move the files of the run that stands to their names; any number of times does the same."""
    new = manifest.read(ready / NAME) or {}
    parents = {(folder / name).parent for name in new}
    for name in manifest.owned(folder) - {*new, NAME}:
        manifest.refuse_links((folder / name).parent, folder)
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds more
            (folder / name).parent.rmdir()
    for name in new:
        if os.path.lexists(ready / name):
            manifest.refuse_links((folder / name).parent, folder)
            (folder / name).parent.mkdir(exist_ok=True)
            (ready / name).replace(folder / name)
    for parent in parents - {folder}:
        folder_to_disk(parent)
    (ready / NAME).replace(folder / NAME)
    folder_to_disk(folder)
    shutil.rmtree(ready)


def to_disk(file: BinaryIO) -> None:
    """Bring what was written to the disk."""
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
