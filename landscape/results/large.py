"""Tensors that are too large for memory: they lie in a temporary file, of which the parts in use
are in memory and no others.
"""

import math
import mmap
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

LARGE = 2**28  # bytes from which a tensor on the CPU lies in a file
PIECE = 2**25  # bytes that are looked at at once
_MAPS: dict[int, mmap.mmap] = {}  # by where they lie


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A tensor of NaN in the dtype and on the device of ``like``; a large one holds zeros, and lies
    in a file in the system's folder for temporary files.
    """
    size = math.prod(shape) * like.dtype.itemsize
    if size < LARGE or like.device.type != "cpu":
        return torch.full(shape, torch.nan, dtype=like.dtype, device=like.device)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size)
    array = np.frombuffer(
        mapped, dtype=torch.empty(0, dtype=like.dtype, device="cpu").numpy().dtype
    )
    made = torch.from_numpy(array).reshape(shape)
    _MAPS[made.data_ptr()] = mapped
    return made


def release(t: Tensor) -> None:
    """Let go of the memory of a tensor in a file; its numbers stay."""
    mapped = _MAPS.get(t.data_ptr())
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def pieces(t: Tensor) -> Iterator[Tensor]:
    """All numbers of a tensor, part by part in their order."""
    flat = t.reshape(-1)
    for part in torch.split(flat, max(1, PIECE // t.dtype.itemsize)):
        yield part
        release(t)
