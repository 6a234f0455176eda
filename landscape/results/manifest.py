"""Which files a run folder holds: ``manifest.json`` lists each with its size and its SHA-256.

Only a manifest makes a folder a run, and only files that it lists are touched when the run is
replaced. What is read is a plain file inside the folder: no link, no pipe, no device. Names are of
one form, so that none leads out of the folder. Runs that version 0.1 has written have no manifest;
what is theirs is told by their own contents.

A run that is complete and not yet in its place lies in ``READY``; then the run that stands is that
one, and its files are looked for there first (``exchange``).
"""

import hashlib
import json
import mmap
import os
import re
import stat
from collections.abc import Mapping
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple

from landscape.errors import LoadingError

NAME = "manifest.json"
PREFIX = ".landscape-"
READY = f"{PREFIX}run"
# The files that a run may have; "figures/" and "arrays/" hold no folders.
MAY_BE = re.compile(
    r"result\.json|config\.toml|report\.html|(arrays|figures)/[A-Za-z0-9_][A-Za-z0-9_.-]*"
)
MOST_FILES = 10_000
MOST_TEXT = 2**28  # bytes of a JSON file
MAPPED = 2**26  # bytes from which a file is mapped into memory in the place of being read
ANEW = "Run the analysis again with --force, or into another folder."
# How files of ours that no manifest lists are known: version 0.1 has written them.
MARKS = {
    "config.toml": b"# Again with `landscape ",
    "report.html": b" in its loss landscape</title>",
    "figures": b"torch-landscape",
}


class Listed(NamedTuple):
    """What a manifest says of a file."""

    size: int  # bytes
    sha256: str  # 64 hexadecimal digits


Files = Mapping[str, Listed]


def listed(folder: Path) -> dict[str, Listed] | None:
    """The files of the run that stands in ``folder``; None: no manifest is there.

    Raises:
        LoadingError: the manifest is damaged.
    """
    ready = folder / READY / NAME
    return read(ready if ready.exists() else folder / NAME)


def read(path: Path) -> dict[str, Listed] | None:
    """The files that the manifest ``path`` lists; None where it is missing.

    Raises:
        LoadingError: it is damaged.
    """
    body = _parsed(path)
    if body is None:
        return None
    files = _named(body, path)
    if body.get("sha256") != checksum(files):
        raise LoadingError(f"{path} is damaged: its own checksum is another one. {ANEW}")
    return files


def text(files: Files) -> bytes:
    """A manifest of these files."""
    told = {name: entry._asdict() for name, entry in sorted(files.items())}
    body = {"manifest": 1, "files": told, "sha256": checksum(files)}
    return (json.dumps(body, indent=1) + "\n").encode()


def checksum(files: Files) -> str:
    """The SHA-256 of a list of files."""
    lines = [f"{name} {entry.size} {entry.sha256}\n" for name, entry in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def owned(folder: Path) -> set[str]:
    """The names of the files in ``folder`` that a run has written; empty where there is no run.

    Raises:
        LoadingError: the manifest is damaged so much that it names nothing.
    """
    path = folder / NAME
    body = _parsed(path)
    return {NAME, *_named(body, path)} if body is not None else _of_an_earlier_version(folder)


def place(folder: Path, name: str) -> Path:
    """Where a file of the run that stands lies."""
    ready = folder / READY
    if ready.is_symlink() or not (ready / NAME).is_file():
        return folder / name
    return ready / name if os.path.lexists(ready / name) else folder / name


def contents(folder: Path, name: str, files: Files | None, most: int | None = None) -> memoryview:
    """The bytes of a file of the run that stands, compared with its manifest.

    Args:
        files: what the manifest lists; None for a run without one.
        most: bytes that are read at most.

    Raises:
        LoadingError: the file is missing, no plain file, too large, or another one than listed.
    """
    path = place(folder, name)
    if files is not None and name not in files:
        raise LoadingError(f"{folder / NAME} does not list {name}. {ANEW}")
    with open_plain(path, folder) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise LoadingError(f"{path} is refused: {size:,} bytes are more than {most:,}.")
        if files is not None and size != files[name].size:
            there = f"it has {size:,} bytes and {NAME} says {files[name].size:,}"
            raise LoadingError(f"{path} is damaged: {there}. {ANEW}")
        if files is not None and hashlib.file_digest(file, "sha256").hexdigest() != (
            files[name].sha256
        ):
            raise LoadingError(f"{path} is damaged: its SHA-256 is not that in {NAME}. {ANEW}")
        file.seek(0)
        if size < MAPPED:
            return memoryview(bytearray(file.read(size)))
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


def open_plain(path: Path, folder: Path) -> BufferedReader:
    """A file below ``folder`` for reading, where it is a plain one.

    Raises:
        LoadingError: it is missing, a link, a pipe or a device, or lies behind a link.
    """
    refuse_links(path.parent, folder)
    flags = os.O_RDONLY
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, flag, 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise LoadingError(f"{path} is missing. {ANEW}") from None
    except OSError as error:
        why = "it is a link" if path.is_symlink() else error.strerror
        raise LoadingError(f"{path} cannot be read: {why}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LoadingError(f"{path} cannot be read: it is no plain file.")
    return BufferedReader(FileIO(descriptor))


def refuse_links(path: Path, folder: Path) -> None:
    """Raise a LoadingError where a folder between ``folder`` and ``path`` is a link."""
    for part in (path, *path.parents):
        if part == folder:
            return
        if part.is_symlink():
            raise LoadingError(f"{part} is a link, and a run folder holds none.")


def _parsed(path: Path) -> dict[str, object] | None:
    """The JSON of a manifest; None where it is missing."""
    if not os.path.lexists(path):
        return None
    with open_plain(path, path.parent) as file:
        data = file.read(MOST_TEXT)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LoadingError(f"{path} is damaged: {type(error).__name__}. {_BY_HAND}") from None
    if not isinstance(body, dict) or body.get("manifest") != 1:
        raise LoadingError(f"{path} is no manifest of a run. {_BY_HAND}")
    return body


def _named(body: Mapping[str, object], path: Path) -> dict[str, Listed]:
    files = body.get("files")
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise LoadingError(f"{path} is damaged: it lists no files. {_BY_HAND}")
    found = {}
    for name, told in files.items():
        size = told.get("size") if isinstance(told, dict) else None
        digest = told.get("sha256") if isinstance(told, dict) else None
        if not MAY_BE.fullmatch(name):
            raise LoadingError(f"{path} is refused: {name!a} is no name of a run's file.")
        if type(size) is not int or not isinstance(digest, str):
            raise LoadingError(f"{path} is damaged at {name}. {_BY_HAND}")
        found[name] = Listed(size, digest)
    return found


def _of_an_earlier_version(folder: Path) -> set[str]:
    """The files that a run of version 0.1 has written, as far as they say so themselves."""
    try:
        with open_plain(folder / "result.json", folder) as file:
            body = json.loads(file.read(MOST_TEXT))
        schema, arrays = body["schema"], body["arrays"]
        if schema not in (1, 2) or not MAY_BE.fullmatch(arrays):
            return set()
    except (LoadingError, ValueError, TypeError, KeyError, RecursionError):
        return set()
    drawn = [f"figures/{p.name}" for p in (folder / "figures").glob("*") if p.is_file()]
    return {"result.json", arrays} | {
        name
        for name in ("config.toml", "report.html", *drawn)
        if _marked(folder / name, MARKS[name.partition("/")[0]], folder)
    }


def _marked(path: Path, mark: bytes, folder: Path) -> bool:
    try:
        with open_plain(path, folder) as file:
            return mark in file.read(4096)
    except LoadingError:
        return False


_BY_HAND = "Remove the folder, or use another one."
