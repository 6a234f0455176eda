"""Arrays in one file: a ``.npz`` as NumPy writes it, uncompressed, written and read piece by piece.

Members begin at multiples of ``ALIGNED`` bytes, so that a large file can be mapped into memory and
its arrays used where they lie.
"""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import torch

from landscape.errors import LoadingError
from landscape.results import large
from landscape.specs import one_line

ALIGNED = 64
MOST = 100_000  # arrays in a file
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays under their names; the same arrays give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, numbers in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            # 30 bytes of header, 20 of sizes beyond 4 GiB, 4 of the padding's own head
            start = file.tell() + 30 + len(info.filename.encode()) + 20 + 4
            padding = -start % ALIGNED
            info.extra = b"\xfe\xca" + padding.to_bytes(2, "little") + bytes(padding)
            with archive.open(info, "w", force_zip64=True) as member:
                _write(member, np.asanyarray(numbers))


def _write(member: IO[bytes], numbers: np.ndarray) -> None:
    """One array; a large one in pieces, whose memory is let go of."""
    if numbers.nbytes < large.LARGE or not numbers.flags.c_contiguous:
        np.lib.format.write_array(member, numbers, allow_pickle=False)
        return
    np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(numbers))
    for part in large.pieces(torch.from_numpy(numbers)):
        member.write(part.numpy().tobytes())


def read(data: memoryview, path: Path) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an archive, without copies where they are aligned.

    Raises:
        LoadingError: it is damaged; the message names ``path`` and the array.
    """
    where = "its list of arrays"
    try:
        with zipfile.ZipFile(_View(data)) as archive:
            members = archive.infolist()
        if len(members) > MOST:
            raise ValueError(f"{len(members):,} arrays are more than {MOST:,}")
        found = {}
        for info in members:
            where = ascii(info.filename)[:120]
            found[info.filename.removesuffix(".npy")] = array(_stored(data, info))
    # of many kinds: BadZipFile, struct.error, SyntaxError of a header, MemoryError, ...
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(error, 120)}"
        raise LoadingError(f"{path} is damaged at {where} ({why}).") from None
    return found


class _View:
    """Bytes as a file for ``zipfile``: nothing is copied but what is asked for."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = max(0, offset + (0, self.at, len(self.data))[whence])
        return self.at

    def tell(self) -> int:
        return self.at

    def seekable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        end = len(self.data) if count < 0 else min(self.at + count, len(self.data))
        piece = bytes(self.data[self.at : end])
        self.at += len(piece)
        return piece


def _stored(data: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of a member that is stored as it is: nothing unpacks to more than it is."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError("it is compressed, and no result is stored so")
    head = bytes(data[info.header_offset : info.header_offset + 30])
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise ValueError("its header is missing")
    skipped = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    start = info.header_offset + 30 + skipped
    if start + info.file_size > len(data):
        raise ValueError("it ends after the file")
    return data[start : start + info.file_size]


def array(member: memoryview) -> np.ndarray:
    """The array in the bytes of a ``.npy``, which has as many numbers as it says.

    Raises:
        ValueError: it is none, or holds Python objects; other kinds of error for a damaged header.
    """
    file = _View(member)
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its format is {version}")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    count = math.prod(shape)
    if count * dtype.itemsize != len(member) - file.tell():
        raise ValueError(f"its shape {shape} does not fit its {len(member):,} bytes")
    flat = np.frombuffer(member, dtype, count, file.tell())
    shaped = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.require(shaped, requirements=["ALIGNED"])
