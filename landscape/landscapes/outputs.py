"""What a loss sees of a model's output for a part of a batch, in a loss(output, target).

What has the samples along a dimension is cut out of the output for the whole batch, so that random
masks and the statistics of a batch stay those of the whole. A term that the model itself has summed
or averaged over the batch (a divergence, a balance of experts) has no samples to cut: the model is
run on the part for it, and where the loss reads what a pass has left in the model. Where the loss
looks at neither, the one further pass is that of half of a batch, which shows it.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LoadingError, memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch

# What a model gives: a tensor, or containers and objects that hold tensors and numbers.
Output = Any
SAME = 1e-6  # relative: a loss of the same pass, by kernels that may sum in another order
_OWN = object()  # in the place of what the model has to give for the part


class OutputLosses:
    """The losses of parts of batches, from the outputs for whole ones.

    Args:
        whole: the loss of a batch, of a pass of its own.
        run: the output for a batch, of a pass of its own.
        loss: what the loss makes of an output and a target.
        forget: lets modules have nothing of any pass.
    """

    def __init__(
        self,
        whole: Callable[[Batch], float],
        run: Callable[[Batch], Output],
        loss: Callable[[Output, Batch], float],
        forget: Callable[[], None],
    ) -> None:
        self.whole, self.run, self.loss, self.forget = whole, run, loss, forget
        self._seen: dict[int, Output] = {}
        # whether a loss is the one of its output, and reads what a pass leaves; None: not known yet
        self._apart: bool | None = None
        self._reads_what_is_left = False

    def judge(self, number: int, batch: Batch, part: Tensor | None, dim: int) -> float:
        """The loss of what a batch has at some indices along a dimension, or of all of it;
        ``number`` tells it from other batches.
        """
        if number not in self._seen:
            self._seen[number] = self.run(batch)
        output, target = self._seen[number], batching.split(batch)[1]
        if self._apart is None:
            alone = self.loss(output, target)
            self._reads_what_is_left = self._changes_with_what_is_left(batch, output, alone)
            # else it reads what is there in its own pass only, in a buffer, say
            self._apart = math.isclose(alone, self.whole(batch), rel_tol=SAME)
        if not self._apart:
            return self.whole(batch if part is None else _cut(batch, part, dim))
        if part is not None:
            output, target = self._of_part(batch, output, part, dim)
        if self._reads_what_is_left:
            self.run(batch if part is None else _cut(batch, part, dim))
        return self.loss(output, target)

    def _changes_with_what_is_left(self, batch: Batch, output: Output, before: float) -> bool:
        """Whether the loss of an output, ``before`` after the pass that has given it, is another
        one after a pass of half of the batch, or where modules have nothing of any: it reads an
        auxiliary loss that a module keeps, say.
        """
        target, length = batching.split(batch)[1], _length(batch)
        with suppress(TypeError, ValueError, LoadingError):  # a model may take whole batches only
            if length > 1:
                self.run(_cut(batch, torch.arange(length // 2, device="cpu")))
                if self.loss(output, target) != before:
                    return True
        self.forget()
        try:
            return self.loss(output, target) != before
        except LoadingError:
            return True

    def _of_part(
        self, batch: Batch, output: Output, part: Tensor, dim: int
    ) -> tuple[Output, Batch]:
        """Output and target of a part of a batch, of which ``output`` is that of the whole.

        Raises:
            ValueError: the loss looks at what only the model can give for the part, and the input
                has no samples to cut.
        """
        inputs, target = batching.split(batch)
        length = _length(batch, dim)
        goal = batching.cut_out(target, part, length, dim)
        others = _parted(output, length, dim)[1]
        if not others or not _looked_at(
            lambda given: self.loss(given, target), output, length, dim
        ):
            return batching.cut_out(output, part, length, dim), goal
        if not any(rows is not target for rows in _parted(inputs, length, dim)[0]):
            raise ValueError("the input has no samples that the model could be run on.")
        return _filled_in(output, self.run(_cut(batch, part, dim)), part, length, dim), goal


def _length(batch: Batch, dim: int = 0) -> int:
    """How many samples a batch has, or its target along another dimension than the first."""
    return int(batching.split(batch)[1].shape[dim]) if dim else batching.samples(batch)


def _cut(batch: Batch, part: Tensor, dim: int = 0) -> Batch:
    return batching.cut_out(batch, part, _length(batch, dim), dim)


def _parted(held: Output, length: int, dim: int) -> tuple[list[Output], list[Output]]:
    """What has samples, and the tensors and numbers that have none."""
    rows, others = list[Output](), list[Output]()
    batching.told_apart(held, length, dim, partial(_noted, rows), partial(_noted, others))
    return rows, others


def _noted(found: list[Output], piece: Output) -> Output:
    found.append(piece)
    return piece


def _looked_at(loss: Callable[[Output], float], output: Output, length: int, dim: int) -> bool:
    """Whether a loss looks at what has no samples in an output: it is another one, or raises,
    where other numbers are there.
    """
    try:
        altered = batching.told_apart(output, length, dim, _same, _other)
        return loss(altered) != loss(output)
    except Exception as error:  # a user's loss may refuse NaN
        if memory_is_full(error):
            raise
        return True


def _filled_in(output: Output, own: Output, part: Tensor, length: int, dim: int) -> Output:
    """The output for a part of a batch: cut out of the output for the whole, and where that has no
    samples what the model gives for the part, ``own``.

    Raises:
        ValueError: the two hold different numbers of things.
    """
    cut = batching.told_apart(
        output, length, dim, lambda rows: batching.taken(rows, part, dim), lambda _: _OWN
    )

    def chosen(ours: Output, theirs: Output) -> Output:
        if ours is _OWN or _lengths(ours, dim) != _lengths(theirs, dim):  # as long by chance
            return theirs
        return ours

    return batching.filled_in(cut, own, chosen)


def _lengths(piece: Output, dim: int) -> tuple[int, ...]:
    return tuple(piece.shape[dim : dim + 1]) if isinstance(piece, Tensor | np.ndarray) else ()


def _same(piece: Output) -> Output:
    return piece


def _other(piece: Output) -> Output:
    """NaN in the place of every number of a tensor, an array or a number; where they are whole, 1
    for 0 and 0 for any other: they may be places, and a GPU does not survive a wrong one.
    """
    if isinstance(piece, int | float):
        return math.nan if isinstance(piece, float) else int(piece == 0)
    if isinstance(piece, np.ndarray):
        fine = np.issubdtype(piece.dtype, np.inexact)
        return np.full_like(piece, math.nan) if fine else (piece == 0).astype(piece.dtype)
    if piece.is_floating_point() or piece.is_complex():
        return torch.full_like(piece, math.nan)
    return (piece == 0).to(piece.dtype)
