"""What a checkpoint holds, its tensors unread, and a way to read some rows of one: for processes
each of which keeps a part of a model that none could hold.

In an outline's tree stand tensors on the meta device, of the right shape and dtype. ``entries``
reads a tensor by its place there. Of a .safetensors file and a folder of
``torch.distributed.checkpoint`` the rows asked for are read and no others; PyTorch's own files are
mapped into memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from landscape.files import distributed, folders, formats

Rows = Callable[[int, int], Tensor]  # rows low to high of a tensor, which has one at least


@dataclass
class Outline:
    """The tree of a checkpoint, its tensors unread."""

    tree: object = None
    notes: list[str] = field(default_factory=list)
    _rows: dict[int, Rows] = field(default_factory=dict)  # by the tensor that stands for it

    def add(self, shape: torch.Size, dtype: torch.dtype, rows: Rows) -> Tensor:
        """A tensor to stand in the tree for one that ``rows`` reads."""
        stands = torch.empty(shape, dtype=dtype, device="meta")
        self._rows[id(stands)] = rows
        return stands

    def entries(self, t: Tensor, low: int, high: int) -> Tensor:
        """The entries low to high, row by row, of the tensor for which t stands in the tree, or
        which t is.
        """
        if id(t) not in self._rows:
            return t.detach().reshape(-1)[low:high]
        beside = max(1, t.numel() // t.shape[0]) if t.ndim and t.shape[0] else 1
        first, last = low // beside, -(-high // beside)
        if first == last:
            return torch.empty(0, dtype=t.dtype, device="cpu")
        found = self._rows[id(t)](first, last).reshape(-1)
        return found[low - first * beside : high - first * beside].clone()


def outline(path: Path) -> Outline:
    """What a file or a folder of weights holds.

    Raises:
        LoadingError: as ``files.read_tree`` and ``folders.read_weights``.
    """
    found = Outline()

    def chunks(folder: Path) -> dict[str, object]:
        return distributed.outline(folder, found.add)

    def tensors(file: Path) -> dict[str, Tensor]:
        return formats.named_tensors(_file(found, file))

    if path.is_dir():
        found.tree, note = folders.read_weights(path, tensors, chunks)
        found.notes.append(note)
    else:
        found.tree = _file(found, path)
    return found


def _file(found: Outline, path: Path) -> object:
    if formats.file_format(path) != "safetensors":
        content = formats.read(path)
        found.notes += content.notes
        return content.tree
    try:
        file: Any = safe_open(path, framework="pt", device="cpu")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: _stands(found, part) for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise formats.damaged(path, error) from None


def _stands(found: Outline, part: Any) -> Tensor:
    """What stands in the tree for a slice of safetensors."""
    shape = torch.Size(part.get_shape())
    if not shape:
        one: Tensor = part[...]
        return found.add(shape, one.dtype, lambda low, high: one)
    return found.add(shape, part[0:0].dtype, lambda low, high: part[low:high])
