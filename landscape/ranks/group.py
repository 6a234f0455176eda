"""The processes that work on one landscape, by ``torch.distributed``, and what they exchange.

Every rank runs the same program on the same numbers. What they do apart (terms, starts, runs) is
summed or gathered in the order of the ranks, so that afterwards all of them hold the same bits and
decide alike. An error on one rank is raised on all of them (``together``); a rank that ends without
a word breaks its connections, and the next exchange raises a ``RanksError`` on the others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from landscape.errors import LoadingError, NumericalError, RanksError, memory_is_full

T = TypeVar("T")
LOST = (
    "another process of this run has ended; its own last line, or the system's, says why. "
    "What was stored is whole: start again with the same options, and --resume where results are "
    "kept"
)
# What an error of another rank is raised as here: by its class's name.
KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        LoadingError,
        NumericalError,
        ValueError,
        TypeError,
        NotImplementedError,
        MemoryError,
        torch.OutOfMemoryError,
    )
}
# The names that torch gave these first, and those that it gives them since 2.13.
_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_scatter = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
KEY = "landscape/told"  # of the store: how many ranks have wanted to say why the run ends


class Ranks:
    """This process among those that share the work.

    Args:
        rank: its number, from 0.
        count: how many there are.
        group: torch's process group; None: the default one.
    """

    def __init__(self, rank: int = 0, count: int = 1, group: dist.ProcessGroup | None = None):
        self.rank, self.count, self.group = rank, count, group

    def __deepcopy__(self, memo: object) -> "Ranks":
        return self  # a process is not copied

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def total(self, t: Tensor) -> Tensor:
        """The sum of t over the ranks, the same bits on each; t is overwritten."""
        if self.count == 1:
            return t
        t = t.contiguous()
        self._exchange(lambda: dist.all_reduce(t, group=self.group))
        return t

    def gather(self, t: Tensor) -> Tensor:
        """The vectors (m,) of all ranks one after the other, (count m,)."""
        if self.count == 1:
            return t
        whole, t = t.new_empty(self.count * t.shape[0]), t.contiguous()
        self._exchange(lambda: _gather(whole, t, group=self.group))
        return whole

    def scatter(self, t: Tensor) -> Tensor:
        """This rank's part (m,) of the sum over the ranks of t (count m,): the transpose of
        ``gather``.
        """
        if self.count == 1:
            return t
        part, t = t.new_empty(t.shape[0] // self.count), t.contiguous()
        self._exchange(lambda: _scatter(part, t, group=self.group))
        return part

    def objects(self, mine: T) -> list[T]:
        """What every rank has brought, in the order of the ranks."""
        if self.count == 1:
            return [mine]
        found: list[Any] = [None] * self.count
        self._exchange(lambda: dist.all_gather_object(found, mine, group=self.group))
        return found

    def agreed(self, mine: T) -> T:
        """What the first rank has brought: for what each measures by itself, time say."""
        return self.objects(mine)[0]

    def any(self, here: bool) -> bool:
        """Whether something is so on one rank at least."""
        return not self.all(not here)

    def all(self, mine: bool) -> bool:
        """Whether it is so on every rank."""
        if self.count == 1:
            return mine
        flag = torch.tensor(float(mine), dtype=torch.float64, device="cpu")
        return float(self.total(flag)) == self.count

    def lead(self, compute: Callable[[], T]) -> T:
        """What ``compute`` gives on the first rank, on all of them."""
        with self.together():
            mine = compute() if self.first else None
        found: T = self.objects(mine)[0]  # type: ignore[assignment]  # the first has computed
        return found

    def deal(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks in their order, number i computed by rank i modulo count.

        A task must not exchange anything with other ranks. Its result is the same whoever computes
        it, and so is the list, whatever the number of ranks.
        """
        with self.together():
            mine = [tasks[i]() for i in range(self.rank, len(tasks), self.count)]
        dealt = self.objects(mine)
        return [dealt[i % self.count][i // self.count] for i in range(len(tasks))]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is raised inside on one rank is raised on all of them, which then decide alike.

        Cost: one exchange of a number.
        """
        error: Exception | None = None
        try:
            yield
        except RanksError:
            raise
        except Exception as caught:
            if self.count == 1:
                raise
            error = caught
        if self.count == 1:
            return
        if self.all(error is None):
            return
        told = self.objects(None if error is None else (type(error).__name__, str(error)))
        if error is not None:
            raise error
        name, message = next(one for one in told if one is not None)
        raise KINDS.get(name, RuntimeError)(message)

    def _exchange(self, collective: Callable[[], object]) -> None:
        try:
            collective()
        except (RuntimeError, ValueError) as error:
            if memory_is_full(error):
                raise
            raise RanksError(f"{LOST}.") from error


ALONE = Ranks()


def joined() -> Ranks:
    """This process among those that ``torchrun`` has started, or whose group torch has already;
    ``ALONE`` where there are no others.
    """
    if not dist.is_available():
        return ALONE
    if not dist.is_initialized():
        if not started():
            return ALONE
        if torch.cuda.is_available():
            place = int(os.environ.get("LOCAL_RANK", "0"))
            torch.cuda.set_device(place % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return joined_already()


def joined_already() -> Ranks:
    """As ``joined``, where the processes have met before; else ``ALONE``."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return ALONE
    return Ranks(dist.get_rank(), dist.get_world_size(), _group())


def several() -> bool:
    """Whether this process is one of several, which may not have met yet."""
    joined_here = dist.is_available() and dist.is_initialized()
    return started() or (joined_here and dist.get_world_size() > 1)


def may_speak() -> bool:
    """Whether no other rank has said yet why the run ends: the first to ask may.

    Torchrun keeps a store for its processes from the start, before they have met.
    """
    if not started():
        return True
    try:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store: Any = dist.TCPStore(  # type: ignore[attr-defined]  # torch does not say so
                *place, is_master=False, timeout=timedelta(seconds=5)
            )
        elif dist.is_initialized():
            store = distributed_c10d._get_default_store()
        else:
            return os.environ["RANK"] == "0"
        return bool(store.add(KEY, 1) == 1)
    except (RuntimeError, ValueError):  # the process that held it has ended
        return True


def started() -> bool:
    """Whether a launcher has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


_GLOO: list[dist.ProcessGroup] = []  # made once, beside a default group that takes no CPU tensors


def _group() -> dist.ProcessGroup | None:
    """The default group where it takes tensors of the CPU, else one beside it that does."""
    if "cpu" in dist.get_backend_config():
        return None
    if not _GLOO:
        _GLOO.append(dist.new_group(backend="cpu:gloo,cuda:nccl"))
    return _GLOO[0]
