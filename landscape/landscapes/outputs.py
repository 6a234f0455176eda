"""What a loss sees of a model's output for a part of a batch, in a loss(output, target).

What has the samples along a dimension is cut out of the output for the whole batch, so that random
masks and the statistics of a batch stay those of the whole. A term that the model itself has summed
or averaged over the batch (a divergence, a balance of experts) has no samples to cut: the model is
run on the part for it. Nothing is run where the loss does not look at it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch

# What a model gives: a tensor, or containers and objects that hold tensors and numbers.
Output = Any
_OWN = object()  # in the place of what the model has to give for the part


def has_others(output: Output, length: int, dim: int) -> bool:
    """Whether an output for so many samples, ``length``, holds a tensor or a number without
    them.
    """
    return bool(_parted(output, length, dim)[1])


def has_samples(inputs: Batch, length: int, dim: int, target: Batch) -> bool:
    """Whether inputs hold something besides the target that has so many samples, ``length``."""
    return any(rows is not target for rows in _parted(inputs, length, dim)[0])


def _parted(held: Output, length: int, dim: int) -> tuple[list[Output], list[Output]]:
    """What has samples, and the tensors and numbers that have none."""
    rows, others = list[Output](), list[Output]()
    batching.told_apart(held, length, dim, partial(_noted, rows), partial(_noted, others))
    return rows, others


def _noted(found: list[Output], piece: Output) -> Output:
    found.append(piece)
    return piece


def looked_at(loss: Callable[[Output], float], output: Output, length: int, dim: int) -> bool:
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


def of_part(output: Output, own: Output, part: Tensor, length: int, dim: int) -> Output:
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
