"""Which basis a search gets: of how many vectors, held in which dtype, and where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from landscape.core import Operator
from landscape.errors import memory_is_full
from landscape.landscapes.memory import BASIS, release
from landscape.linalg.krylov import Basis
from landscape.linalg.narrow import DTYPES, REACH, Narrow, narrower, reaches
from landscape.linalg.operand import OnHost, held, may_leave, ranks, spread

SPARE = 8  # vectors for which a basis leaves room: what a product and a step take beside it


def check_storage(A: Operator, storage: str | None, tol: float) -> None:
    """Refuse a dtype that is not known, or one that does not allow tol.

    Raises:
        ValueError: it is one of these.
    """
    if storage is None:
        return
    if storage not in DTYPES:
        raise ValueError(
            f"storage must be one of {', '.join(DTYPES)} or None, got {storage!r}: bases are held "
            "in one of these."
        )
    dtype = DTYPES[storage]
    if dtype.itemsize < A.dtype.itemsize and not reaches(dtype, tol):
        least = torch.finfo(dtype).eps / REACH
        raise ValueError(
            f"storage={storage!r} rounds too coarsely for tol = {tol:g}: use tol={least:.1g} or "
            f"more, or a wider storage."
        )


def dtypes_to_try(
    A: Operator, asked: str | None, tol: float, least: int, most: int | None
) -> list[torch.dtype]:
    """What a basis of ``least`` vectors, or ``most``, may be held in, in the order in which it is
    tried.
    """
    if asked is not None:
        return [min(A.dtype, DTYPES[asked], key=lambda dtype: dtype.itemsize)]
    less = narrower(A.dtype, tol)
    if less is None:
        return [A.dtype]
    return [A.dtype, less] if held(A, BASIS) >= min(least, most or least) else [less]


@dataclass(frozen=True)
class Room:
    """How a basis may lie in memory."""

    rows: int  # that are wanted
    least: int  # that do
    dtypes: Sequence[torch.dtype]  # in the order in which they are tried
    whole: int  # rows that are not narrow
    asked: bool  # whether the dtype was asked for

    def attempts(self, *, may_leave: bool) -> list[tuple[torch.dtype, int, bool]]:
        """Dtype, rows, and whether in the host's memory, best first."""
        found = []
        for dtype in self.dtypes:
            found.append((dtype, self.rows, False))
            while found[-1][1] > self.least:
                found.append((dtype, max(self.least, found[-1][1] // 2), False))
        return [*found, (self.dtypes[0], self.rows, True)] if may_leave else found


def made(A: Operator, room: Room, seeds: np.random.SeedSequence) -> Basis:
    """A basis, beside which there is room for ``SPARE`` more vectors; where memory runs out, as the
    room allows.
    """
    attempts = room.attempts(may_leave=may_leave(A))
    while True:
        dtype, rows, on_host = attempts.pop(0)
        try:
            with ranks(A).together():
                basis = _allocated(OnHost(A) if on_host else A, rows, dtype, room.whole, seeds)
            if isinstance(basis, Narrow) and not room.asked:
                _say_narrow(A, dtype)
            return basis
        except (RuntimeError, MemoryError) as error:
            if not memory_is_full(error) or not attempts:
                raise
        release(A.device)


def _allocated(
    A: Operator, rows: int, dtype: torch.dtype, whole: int, seeds: np.random.SeedSequence
) -> Basis:
    host = isinstance(A, OnHost)
    beside = torch.empty(0 if host else SPARE, spread(A).local, dtype=A.dtype, device=A.device)
    basis = Basis(A, rows, seeds) if dtype == A.dtype else Narrow(A, rows, seeds, dtype, whole)
    del beside
    return basis


def _say_narrow(A: Operator, dtype: torch.dtype) -> None:
    remember: Callable[[str], None] | None = getattr(A, "remember", None)
    if remember is not None:
        remember(
            f"the vectors of a Krylov basis were held in {str(dtype)[6:]}, since the memory for "
            f"them does not hold them in {str(A.dtype)[6:]}; values and residuals are of fresh "
            "products"
        )
