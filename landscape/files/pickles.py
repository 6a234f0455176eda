"""Which globals a pickle asks for, read with ``pickletools.genops``: nothing is imported, built or
called.

A pickle is a program for a stack machine; GLOBAL, INST and STACK_GLOBAL name what it will import.
The first two carry the name; STACK_GLOBAL takes it from the stack, so the stack and the memo are
followed, with ``None`` for anything that is not a string. A PyTorch file holds pickles in a zip
(since 1.6), one after the other (before), or in a tar (before 0.1.10); a NumPy object array holds
one after its header. A damaged file yields what could be read before the damage.
"""

import io
import pickletools
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

MOST_BYTES = 1 << 26  # read of one member: a bomb that unpacks to more is cut off here
MOST_MEMBERS = 10_000
MOST_OPERATIONS = 2_000_000  # about two seconds
MOST_NAMES = 200
_MARK = object()
_STRINGS = {
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
}
_BUILDERS = (
    "torch._utils._rebuild",
    "torch.storage.",
    "torch.serialization._get_layout",
    "torch.Size",
    "torch.device",
)
_HARMLESS = {"collections.OrderedDict", "collections.defaultdict", "numpy.dtype", "numpy.ndarray"}


def asked_globals(path: Path) -> list[str]:
    """Every ``module.name`` that the pickles in a file ask for, sorted, those that build plain
    tensors last.

    Args:
        path: any file; read as zip, tar, .npy or one pickle after another, as its first bytes say.

    Cost: reads at most ``MOST_BYTES`` of a file or a member, and five times that of a whole
        archive.
    """
    found: dict[str, None] = {}
    with path.open("rb") as file:
        for stream in _streams(file):
            with warnings.catch_warnings(action="ignore"):  # of escapes in damaged strings
                found |= dict.fromkeys(_in_stream(stream)[:MOST_NAMES])
    return sorted(found, key=lambda name: (builds_tensors(name), name))


def builds_tensors(name: str) -> bool:
    """Whether a global is one that every file of plain tensors asks for."""
    storage = name.startswith("torch.") and name.endswith("Storage")
    return storage or name in _HARMLESS or name.startswith(_BUILDERS)


def _streams(file: BinaryIO) -> Iterator[bytes]:
    """The byte strings inside a file that may hold pickles."""
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        yield from _zip_members(file)
    elif head[257:262] == b"ustar":
        yield from _tar_members(file)
    else:
        yield _after_npy_header(file.read(MOST_BYTES))


def _zip_members(file: BinaryIO, *, within: bool = False) -> Iterator[bytes]:
    """The members of an archive, and those of archives among them, but no deeper."""
    try:
        with zipfile.ZipFile(file) as archive:
            spent = 0
            for info in archive.infolist()[:MOST_MEMBERS]:
                numbers = "/data/" in info.filename and not info.filename.endswith(
                    ".npy"
                )  # of a PyTorch file
                if not info.is_dir() and not numbers and spent < 4 * MOST_BYTES:
                    data = _read_zip_member(archive, info)
                    spent += len(data)
                    nested = data.startswith(b"PK\x03\x04") and not within
                    yield from _zip_members(io.BytesIO(data), within=True) if nested else (data,)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as member:
            head = member.read(1 << 16)
            if info.filename.endswith(".npy") and not _has_objects(head):
                return b""
            return _after_npy_header(head + member.read(MOST_BYTES))
    except (
        Exception
    ):  # a damaged, encrypted or oddly compressed member: zlib, struct and others raise their own
        return b""


def _tar_members(file: BinaryIO) -> Iterator[bytes]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for _, info in zip(range(MOST_MEMBERS), archive, strict=False):
                member = archive.extractfile(info) if info.isfile() else None
                if member is not None:
                    yield member.read(MOST_BYTES)
    except (tarfile.TarError, OSError, ValueError):
        return


def npy_header(head: bytes) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and dtype of an array in .npy format, and where its data begin.

    Raises:
        ValueError: not such a header.
    """
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    return shape, dtype, stream.tell()


def _has_objects(head: bytes) -> bool:
    try:
        return npy_header(head)[1].hasobject
    except Exception:  # the header is a Python literal, whose parser has errors of its own
        return True  # look for pickles all the same


def _after_npy_header(data: bytes) -> bytes:
    if not data.startswith(b"\x93NUMPY"):
        return data
    try:
        _, dtype, start = npy_header(data)
    except Exception:
        return data[8:]
    return data[start:] if dtype.hasobject else b""


def _in_stream(data: bytes) -> list[str]:
    """The globals of the pickles that follow one another in ``data``; what follows the last may be
    anything.
    """
    stream, found, first = io.BytesIO(data), [], True
    while (start := stream.tell()) < len(data):
        names, ended = _in_pickle(stream)
        if (
            ended or first or data[start] == 0x80
        ):  # a later one without a PROTO opcode may be raw numbers
            found += names
        if not ended:
            break
        first = False
    return found


def _in_pickle(stream: io.BytesIO) -> tuple[list[str], bool]:
    """The globals of one pickle, and whether it came to its end."""
    machine, names = _Machine(), []
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            name = machine.step(opcode, arg)
            if name is not None:
                names.append(name)
            if opcode.name == "STOP":
                return names, True
            if count > MOST_OPERATIONS or len(names) > 100 * MOST_NAMES:
                break
    except (
        Exception
    ):  # truncated or not a pickle: genops raises ValueError, UnicodeDecodeError and others
        pass
    return names, False


class _Machine:
    """The stack and the memo of an unpickler, holding strings, marks and None for
    everything else.
    """

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[object, object] = {}

    def step(self, opcode: pickletools.OpcodeInfo, arg: object) -> str | None:
        """Do one operation; the global that it asks for, if it does."""
        kind, name = opcode.name, None
        if kind in ("GLOBAL", "INST"):
            name = _printable(*str(arg).split(" ", 1))
        elif kind == "STACK_GLOBAL":
            name = _printable(
                *[part if isinstance(part, str) else "?" for part in (self._top(2), self._top(1))]
            )
        elif kind.startswith("EXT"):
            name = f"copyreg extension {arg}"
        self._move(opcode, arg)
        return name

    def _top(self, depth: int) -> object:
        return self.stack[-depth] if len(self.stack) >= depth else None

    def _move(self, opcode: pickletools.OpcodeInfo, arg: object) -> None:
        kind = opcode.name
        if kind in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[arg] = self._top(1)
        elif kind == "MEMOIZE":
            self.memo[len(self.memo)] = self._top(1)
        elif kind in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo.get(arg))
        elif kind == "DUP":
            self.stack.append(self._top(1))
        elif kind == "MARK":
            self.stack.append(_MARK)
        else:
            self._pop(opcode)
            pushed = arg if kind in _STRINGS else None
            self.stack += [pushed] * len(opcode.stack_after)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> None:
        before = list(opcode.stack_before)
        if pickletools.markobject in before:
            while self.stack and self.stack.pop() is not _MARK:
                pass
            before = before[: before.index(pickletools.markobject)]
        if before:
            del self.stack[-len(before) :]


def _printable(module: str, name: str = "?") -> str:
    text = f"{module}.{name}"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:100])
