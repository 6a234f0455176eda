"""One landscape, one data set: batches are read once and kept, or, beyond a budget, read anew and
compared with the first reading.

A reading draws whatever it draws (a shuffle, samples with replacement, augmentation) from random
states that are seeded
for it and put back afterwards: torch's, NumPy's and Python's, and the generators of a DataLoader's
own.
"""

import copy
import hashlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import torch

from landscape.errors import LoadingError
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.memory import BATCHES, budget
from landscape.rng import seeded

T = TypeVar("T")
# Bytes of batches that are kept in host memory.
BUDGET = 2**30
# Batches after which a source that tells no length is said to have none in sight.
LONG = 10_000
READ_ONCE = (
    "batches can be read only once (it is an iterator), but every Hessian-vector product reads all "
    "the data. Pass a DataLoader, or batches=list(batches)."
)


class Data:
    """The batches of a landscape, the same ones on every pass.

    Args:
        source: a re-iterable of batches: a list, which is taken as it is, or a DataLoader, which is
            read once.
        seed: of the random states during a reading.
        budget: bytes that may be kept.

    Raises:
        ValueError: the source can be read only once.
    """

    def __init__(self, source: Iterable[Batch], seed: int = 0, budget: int = BUDGET) -> None:
        # of an iterator of the user's own, a prefetcher say, what is kept will do
        if isinstance(source, Iterator) and type(source).__module__ in ("builtins", "itertools"):
            raise ValueError(READ_ONCE)
        self.source, self.seed = source, seed
        self.kept: list[Batch] | None = list(source) if isinstance(source, list | tuple) else []
        self.marks: list[str] = []
        if not isinstance(source, list | tuple):
            self._read_first(budget)
            if self._overwritten():  # one buffer, filled anew for each batch
                self._read_first(budget, copied=True)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.kept) if self.kept is not None else self._read_again()

    def __len__(self) -> int:
        return len(self.marks if self.kept is None else self.kept)

    def __getitem__(self, number: int) -> Batch:
        return next(islice(self, number, None)) if self.kept is None else self.kept[number]

    def __deepcopy__(self, memo: Any) -> "Data":
        return self

    @property
    def frozen(self) -> bool:
        """Whether a source that could have drawn other batches was read once for all."""
        return not isinstance(self.source, list | tuple)

    def _read_first(self, budget: int, copied: bool = False) -> None:
        kept, size = list[Batch](), 0
        self.marks = []
        with _reading(self.source, self.seed):
            for number, read in enumerate(self.source):
                if number == LONG and not copied:
                    _warn_of_no_end(self.source)
                batch = copy.deepcopy(read) if copied else read
                size += sum(leaf.nbytes for leaf in batching.leaves(batch))
                if size > budget and isinstance(self.source, Iterator):
                    raise ValueError(READ_ONCE)
                self.marks.append(_mark(batch))
                kept = [*kept, batch] if size <= budget else []
        self.kept = kept if size <= budget else None

    def _overwritten(self) -> bool:
        """Whether batches that are kept share memory, and are not what they were when read."""
        batches = self.kept or []
        parts = [set(map(_memory, batching.leaves(batch))) for batch in batches]
        if sum(map(len, parts)) == len(set().union(*parts)):
            return False
        return [_mark(batch) for batch in batches] != self.marks

    def _read_again(self) -> Iterator[Batch]:
        count = 0
        with _reading(self.source, self.seed):
            for count, batch in enumerate(self.source, 1):
                if count > len(self.marks) or _mark(batch) != self.marks[count - 1]:
                    raise LoadingError(
                        f"batch {count - 1} is another one than when the data were read first: "
                        f"something draws it that no "
                        "seed reaches. Make the data set repeatable, or pass batches=list(loader) "
                        "if memory allows."
                    )
                yield batch
        if count != len(self.marks):
            raise LoadingError(
                f"batches gave {len(self.marks)} batches when the data were read first and {count} "
                f"on a later pass: "
                "every Hessian-vector product reads all the data. Pass batches=list(batches)."
            )


def _warn_of_no_end(source: Iterable[Batch]) -> None:
    try:
        len(source)  # type: ignore[arg-type]
    except TypeError:
        warnings.warn(
            f"{LONG:,} batches were read, and the data do not say how many there are: where they "
            "have no end, stop here and pass batches=list(itertools.islice(loader, 100)), say.",
            stacklevel=2,
        )


class Moved:
    """Batches on the device and in the dtype of a landscape, moved once and kept while they fit.

    A batch whose tensors were written into, or are others, is moved anew.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        # number of a batch -> its tensors and how often each was written into, its pieces, bytes
        self.kept: dict[int, tuple[list[tuple[torch.Tensor, int]], list[Batch], int]] = {}
        self.most = -1

    def __deepcopy__(self, memo: Any) -> "Moved":
        return Moved(self.device, self.dtype)

    def __call__(self, number: int | None, batch: Batch, pieces: int = 1) -> Iterable[Batch]:
        """The batch with this number in so many pieces, moved; None: it is never kept. What is not
        kept is copied while the GPU computes.
        """
        sources = [(t, batching.version(t)) for t in batching.tensors(batch)]
        cut = batching.pieces(batch, pieces)
        kept = self._kept(number, sources)
        if kept is not None and len(kept) == len(cut):
            return kept
        size = sum(self._size(t) for t, _ in sources)
        if number is None or not self._fits(size):
            return (batching.move(p, self.device, self.dtype, waiting=False) for p in cut)
        moved = [batching.move(p, self.device, self.dtype) for p in cut]
        if _others(moved, cut):
            self.kept[number] = sources, moved, size
        return moved

    def give_way(self) -> bool:
        """Whether something was kept; from now on nothing is."""
        had, self.kept, self.most = bool(self.kept), {}, 0
        return had

    def _kept(self, number: int | None, now: list[tuple[torch.Tensor, int]]) -> list[Batch] | None:
        """The pieces that are kept of the batch with this number, while its tensors are these."""
        if number is None or number not in self.kept:
            return None
        before, pieces, _ = self.kept[number]
        if _same(before, now):
            return pieces
        del self.kept[number]
        return None

    def _fits(self, size: int) -> bool:
        """Whether so many bytes may be kept besides those that are."""
        if self.most < 0:
            self.most = budget(self.device, BATCHES)
        return size + sum(taken for _, _, taken in self.kept.values()) <= self.most

    def _size(self, t: torch.Tensor) -> int:
        """Bytes of a tensor when it is moved."""
        return t.numel() * (self.dtype.itemsize if t.is_floating_point() else t.element_size())


def _others(moved: Batch, before: Batch) -> bool:
    """Whether moving has made other tensors than were there."""
    pairs = zip(batching.tensors(moved), batching.tensors(before), strict=True)
    return any(a is not b for a, b in pairs)


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Every item, when the next one has been asked for: its copy to a GPU goes on meanwhile."""
    waiting = list[T]()
    for item in items:
        yield from waiting
        waiting = [item]
    yield from waiting


def _same(before: list[tuple[torch.Tensor, int]], now: list[tuple[torch.Tensor, int]]) -> bool:
    """Whether these are the same tensors, not written into since."""
    pairs = zip(before, now, strict=False)
    return len(before) == len(now) and all(t is s and v == w for (t, v), (s, w) in pairs)


def pinned(source: Iterable[Batch], seed: int) -> Data:
    """The data of a source; those of another landscape as they are."""
    return source if isinstance(source, Data) else Data(source, seed)


@contextmanager
def _reading(source: Any, seed: int) -> Iterator[None]:
    """Every random state that a reading can feel seeded inside, and as it was afterwards."""
    parts = [
        source,
        getattr(source, "sampler", None),
        getattr(getattr(source, "batch_sampler", None), "sampler", None),
    ]
    parts.append(getattr(source, "dataset", None))
    own = {
        id(g): g
        for g in (getattr(part, "generator", None) for part in parts)
        if isinstance(g, torch.Generator)
    }
    states = [(g, g.get_state()) for g in own.values()]
    with seeded(seed):
        for g, _ in states:
            g.manual_seed(seed)
        try:
            yield
        finally:
            for g, state in states:
                g.set_state(state)


def _memory(leaf: Any) -> int:
    """Where the numbers of a tensor or an array lie."""
    if isinstance(leaf, torch.Tensor):
        strided = leaf.layout == torch.strided
        return leaf.untyped_storage().data_ptr() if strided else id(leaf)
    base = leaf if leaf.base is None else leaf.base
    return id(base)


def _mark(batch: Batch) -> str:
    """A hash of a batch's tensors and arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf in batching.leaves(batch):
        digest.update(f"{tuple(leaf.shape)}{leaf.dtype}".encode())
        digest.update(batching.raw(leaf))
    return digest.hexdigest()
