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
from typing import Any

import torch

from landscape.errors import LoadingError
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.memory import BATCHES, budget
from landscape.rng import seeded

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
        # number of a batch -> its tensors and how often each was written into, the batch, its bytes
        self.kept: dict[int, tuple[list[tuple[torch.Tensor, int]], Batch, int]] = {}
        self.most = -1

    def __deepcopy__(self, memo: Any) -> "Moved":
        return Moved(self.device, self.dtype)

    def __call__(self, number: int, batch: Batch) -> Batch:
        """The batch with this number, moved."""
        sources = [(t, _version(t)) for t in batching.tensors(batch)]
        if number in self.kept:
            before, kept, _ = self.kept[number]
            if _same(before, sources):
                return kept
            del self.kept[number]
        moved = batching.move(batch, self.device, self.dtype)
        own = {id(t) for t, _ in sources}
        new = [t for t in batching.tensors(moved) if id(t) not in own]
        size = sum(t.numel() * t.element_size() for t in new)
        if self.most < 0:
            self.most = budget(self.device, BATCHES)
        if new and size + sum(taken for _, _, taken in self.kept.values()) <= self.most:
            self.kept[number] = sources, moved, size
        return moved


def _same(before: list[tuple[torch.Tensor, int]], now: list[tuple[torch.Tensor, int]]) -> bool:
    """Whether these are the same tensors, not written into since."""
    pairs = zip(before, now, strict=False)
    return len(before) == len(now) and all(t is s and v == w for (t, v), (s, w) in pairs)


def _version(tensor: torch.Tensor) -> int:
    """How often a tensor was written into; of one made in inference mode that is not counted."""
    return -1 if tensor.is_inference() else tensor._version


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
