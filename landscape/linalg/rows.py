"""Vectors as the rows of a matrix, most of them held in a narrower dtype than they are used in.

A unit vector of n entries has entries of about n^-½: at n = 1e8 they are about 1e-4, and below 6e-5
float16 loses digits. Vectors are therefore multiplied by a power of two near n^½ before they are
rounded, which is exact; no entry of a unit vector is above 1, so that none overflows. Rounded so, a
unit vector moves by 2e-4 in float16 (11 binary digits) and by 1.4e-3 in bfloat16 (8), whose wider
range nothing here needs.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

LARGEST = 15  # 2**15 is float16's largest power of two


class Rows:
    """m vectors of norm 1, of which the first w are whole and the others narrow; what is read is
    in the dtype of the whole ones.

    Args:
        whole: (w, local), multiplied by ``scale`` as the others.
        narrow: (m - w, local), in a narrower dtype.
        scale: a power of two.
    """

    def __init__(self, whole: Tensor, narrow: Tensor, scale: float) -> None:
        self.whole, self.narrow, self.scale = whole, narrow, scale
        self.shape = (len(whole) + len(narrow), whole.shape[1])
        self.dtype, self.device = whole.dtype, whole.device

    @classmethod
    def empty(cls, rows: int, whole: int, like: Tensor, narrow: torch.dtype, n: int) -> Rows:
        """Room for ``rows`` vectors of n entries, of which as many lie here as in each of ``like``
        (m, local).
        """
        whole, local = min(whole, rows), like.shape[1]
        return cls(
            like.new_empty(whole, local),
            like.new_empty(rows - whole, local, dtype=narrow),
            2.0 ** min(LARGEST, int(math.log2(n) / 2)),
        )

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, key: slice) -> Rows: ...
    @overload
    def __getitem__(self, key: int | Tensor | tuple[slice, slice]) -> Tensor: ...
    def __getitem__(self, key: int | Tensor | slice | tuple[slice, slice]) -> Rows | Tensor:
        """The first ones, not copied; one; those of an index; or columns of all of them."""
        if isinstance(key, slice):
            narrow = self.narrow[: max(0, key.stop - len(self.whole))]
            return Rows(self.whole[: key.stop], narrow, self.scale)
        if isinstance(key, tuple):
            return self.scaled(key[1]).div_(self.scale)
        if isinstance(key, Tensor):
            return torch.stack([self[int(i)] for i in key])
        w = len(self.whole)
        row = self.whole[key] if key < w else self.narrow[key - w].to(self.dtype)
        return row / self.scale

    def scaled(self, part: slice) -> Tensor:
        """Columns of all of them, times ``scale``: a new tensor."""
        w, narrow = len(self.whole), self.narrow[:, part]
        if not w:
            return narrow.to(self.dtype)
        found = self.whole.new_empty(self.shape[0], narrow.shape[1])
        found[:w], found[w:] = self.whole[:, part], narrow
        return found

    def rounded(self, values: Tensor) -> Tensor:
        """What columns of the first ones will be read as, once they are set to ``values``."""
        w, narrow = len(self.whole), self.narrow.dtype
        found = values.clone()
        found[w:] = (values[w:] * self.scale).to(narrow).to(self.dtype) / self.scale
        return found

    def __setitem__(self, key: int | slice | tuple[slice, slice], values: Tensor) -> None:
        """Set one, the first ones, or columns of the first ones."""
        if isinstance(key, int):
            self[key : key + 1, :] = values[None]
            return
        rows, part = key if isinstance(key, tuple) else (key, slice(None))
        start, stop, w = rows.start or 0, rows.stop, len(self.whole)
        held = max(start, min(stop, w))  # rows from here on are narrow
        values = values * self.scale
        self.whole[start:held, part] = values[: held - start]
        if held < stop:
            self.narrow[held - w : stop - w, part] = values[held - start :]

    def cpu(self) -> Rows:
        """The same in the host's memory."""
        return Rows(self.whole.cpu(), self.narrow.cpu(), self.scale)
