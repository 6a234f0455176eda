"""How vectors lie on the ranks: whole on each, or a part of the coordinates on each.

A vector (n,) is made of pieces, one after the other. Of a piece of size s every rank holds
ceil(s / count) coordinates, the last ranks perhaps fewer, filled up with zeros: an inner product is
the sum over the ranks of those of the parts, and no operation of a solver makes a zero anything
else.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.ranks.group import ALONE, Ranks

DRAWN = 2**20  # coordinates drawn at a time; a multiple of 16, which torch draws together


class Spread:
    """Vectors (n,) of which each rank holds a part.

    Args:
        sizes: of the pieces; their sum is n.
        ranks: the processes.
        sharded: whether callers of a solver hold parts too; else they pass and get whole vectors.
    """

    def __init__(
        self, sizes: Sequence[int], ranks: Ranks = ALONE, *, sharded: bool = False
    ) -> None:
        self.sizes, self.ranks, self.sharded = list(sizes), ranks, sharded
        self.widths = [-(-size // ranks.count) for size in sizes]

    @property
    def dim(self) -> int:
        """n."""
        return sum(self.sizes)

    @property
    def local(self) -> int:
        """How many coordinates this rank holds, the zeros at the end of pieces included."""
        return sum(self.widths)

    def own(self, V: Tensor) -> Tensor:
        """This rank's part (local, ...) of V (n, ...), which all ranks hold."""
        if self.ranks.count == 1:
            return V
        parts = []
        for piece, width in zip(torch.split(V, self.sizes), self.widths, strict=True):
            part = piece[self.ranks.rank * width : (self.ranks.rank + 1) * width]
            parts.append(part)
            if len(part) < width:
                parts.append(V.new_zeros(width - len(part), *V.shape[1:]))
        return torch.cat(parts)

    def whole(self, V: Tensor) -> Tensor:
        """The vectors (n, ...) of which V (local, ...) is this rank's part."""
        if self.ranks.count == 1:
            return V
        beside = V.shape[1:]
        rows = self.ranks.gather(V.reshape(-1)).view(self.ranks.count, self.local, *beside)
        pieces = zip(torch.split(rows, self.widths, dim=1), self.sizes, strict=True)
        return torch.cat([piece.reshape(-1, *beside)[:size] for piece, size in pieces])

    def taken(self, V: Tensor) -> Tensor:
        """This rank's part of vectors as a caller passes them."""
        return V if self.sharded else self.own(V)

    def given(self, V: Tensor) -> Tensor:
        """Vectors as a caller gets them, from this rank's part."""
        return V if self.sharded else self.whole(V)

    def summed(self, V: Tensor) -> Tensor:
        """This rank's part (local, ...) of the sum over the ranks of V (n, ...)."""
        if self.ranks.count == 1:
            return V
        count, beside = self.ranks.count, V.shape[1:]
        rows = V.new_zeros(count, self.local, *beside)
        spread = torch.split(rows, self.widths, dim=1)
        for piece, into, width in zip(torch.split(V, self.sizes), spread, self.widths, strict=True):
            full = V.new_zeros(count * width, *beside)
            full[: len(piece)] = piece
            into.copy_(full.view(count, width, *beside))
        return self.ranks.scatter(rows.view(-1)).view(self.local, *beside)

    def drawn(self, count: int, draw: Callable[[int], Tensor]) -> Tensor:
        """This rank's part (count, local) of ``count`` vectors that ``draw(m)`` gives coordinate by
        coordinate, m at a time; a rank never holds more than its part and ``DRAWN`` of them.
        """
        if self.ranks.count == 1:
            return draw(count * self.dim).view(count, self.dim)
        stream, total, parts = _Stream(draw, count * self.dim), 0, []
        for _ in range(count):
            for size, width in zip(self.sizes, self.widths, strict=True):
                start = self.ranks.rank * width
                parts.append(stream.cut(total + min(start, size), total + min(start + width, size)))
                parts.append(parts[-1].new_zeros(width - len(parts[-1])))
                total += size
        return torch.cat(parts).view(count, self.local)


class _Stream:
    """The same ``total`` numbers that one draw would give, read from front to back.

    Torch draws normal numbers sixteen at a time, the last sixteen anew where the total is no
    multiple of that; a chunk that is one, and a last chunk of sixteen or more, give the same.
    """

    def __init__(self, draw: Callable[[int], Tensor], total: int) -> None:
        self.draw, self.total = draw, total
        self.start, self.chunk = 0, draw(self._next(0))

    def _next(self, start: int) -> int:
        left = self.total - start
        return left if left < DRAWN + 16 else DRAWN

    def cut(self, low: int, high: int) -> Tensor:
        """The numbers low to high; not before any that were cut earlier."""
        parts = [self.chunk[:0]]
        while low < high:
            if low >= self._end:
                self.start = self._end
                self.chunk = self.draw(self._next(self.start))
                continue
            end = min(high, self._end)
            parts.append(self.chunk[low - self.start : end - self.start])
            low = end
        return torch.cat(parts)

    @property
    def _end(self) -> int:
        return self.start + len(self.chunk)
