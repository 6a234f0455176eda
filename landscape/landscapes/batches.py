"""What a batch is: how it is moved, what goes into the model, how much it counts in a mean.

A batch is (input, target), a dict, or anything a loss(model, batch) takes. Input is one tensor, a
tuple passed as positional arguments, or a dict passed by keyword. In a dict for loss(output,
target), the target sits under one of TARGETS. Samples lie along the first dimension of tensors and
of NumPy's arrays, in a PackedSequence, or in a list with one entry a sample.
"""

import copy
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from landscape import rng, specs
from landscape.landscapes.arithmetic import ordinary

TARGETS = ("labels", "label", "targets", "target", "y")
Batch = Any


def move(batch: Batch, device: torch.device, dtype: torch.dtype, *, waiting: bool = True) -> Batch:
    """The batch with every tensor on ``device`` and every floating-point tensor in ``dtype``; other
    things as they are.

    ``waiting=False``: a GPU may copy from the host later, when its turn comes.
    """

    def moved(tensor: Tensor) -> Tensor:
        kept = dtype if tensor.is_floating_point() else tensor.dtype
        crosses = device.type == "cuda" and tensor.device.type == "cpu"
        if waiting or not crosses or tensor.layout != torch.strided:
            return ordinary(tensor.to(device=device, dtype=kept))
        # in its dtype and pinned, or the copy would wait all the same
        return ordinary(tensor.to(kept).pin_memory().to(device, non_blocking=True))

    return mapped(batch, moved)


def version(tensor: Tensor) -> int:
    """How often a tensor was written into; of one made in inference mode that is not counted."""
    return -1 if tensor.is_inference() else tensor._version


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with ``function`` of every tensor in its place, in containers and objects of the
    same kinds.
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, PackedSequence):
        return batch._replace(data=function(batch.data))
    if _of_geometric(batch):
        return copy.copy(batch).apply(function)
    return _rebuilt(batch, lambda part: mapped(part, function))


def leaves(batch: Batch) -> list[Any]:
    """All tensors and all arrays of NumPy in a batch, in order."""
    if isinstance(batch, Tensor | np.ndarray):
        return [batch]
    return [leaf for part in _parts(batch) for leaf in leaves(part)]


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in order."""
    return [leaf for leaf in leaves(batch) if isinstance(leaf, Tensor)]


def raw(leaf: Any) -> bytes:
    """The bytes of the numbers of a tensor or an array."""
    if isinstance(leaf, np.ndarray):
        return repr(leaf.tolist()).encode() if leaf.dtype == object else leaf.tobytes()
    dense = leaf.detach().to_dense() if leaf.layout != torch.strided else leaf.detach()
    return cast(bytes, dense.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def _parts(batch: Batch) -> list[Any]:
    """What a container or an object holds, in order; nothing of anything else."""
    if isinstance(batch, Mapping):
        return list(batch.values())
    if isinstance(batch, list | tuple):
        return list(batch)
    return list(_attributes(batch).values()) if _is_object(batch) else []


def _attributes(batch: object) -> dict[str, Any]:
    """The attributes of an object, in its dict or, of a dataclass with slots, by its fields."""
    if hasattr(batch, "__dict__"):
        return vars(batch)
    return {
        field.name: getattr(batch, field.name) for field in dataclasses.fields(cast(Any, batch))
    }


def _is_object(batch: Batch) -> bool:
    """Whether a batch is an object with attributes: a dataclass, a graph of torch_geometric."""
    if isinstance(batch, Tensor | np.ndarray | nn.Module | type) or callable(batch):
        return False
    return hasattr(batch, "__dict__") or dataclasses.is_dataclass(batch)


def _of_geometric(batch: Batch) -> bool:
    own = (getattr(batch, name, None) for name in ("apply", "keys"))
    return _is_object(batch) and not isinstance(batch, Mapping) and all(map(callable, own))


def _rebuilt(batch: Batch, function: Callable[[Any], Any]) -> Batch:
    """A container or an object of the same kind with ``function`` of each of its parts; anything
    else as it is.
    """
    if isinstance(batch, Mapping):
        return _filled(batch, {key: function(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(function, batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map(function, batch))
    if not _is_object(batch):
        return batch
    made = copy.copy(batch)
    for name, value in _attributes(batch).items():
        object.__setattr__(made, name, function(value))
    return made


def _filled(batch: Mapping[Any, Any], values: dict[Any, Any]) -> Mapping[Any, Any]:
    """A mapping of the same kind, where a copy of it can be filled, else a dict."""
    if type(batch) is dict or not hasattr(batch, "__setitem__"):
        return values
    made = copy.copy(batch)
    for key, value in values.items():  # an output of transformers refuses update()
        made[key] = value
    return made


def split(batch: Batch) -> tuple[Any, Any]:
    """(input, target) of a batch for loss(output, target).

    Raises:
        ValueError: the batch is neither a pair nor a mapping or an object with a target.
    """
    if isinstance(batch, Mapping):
        for key in TARGETS:
            if key in batch:
                return {k: v for k, v in batch.items() if k != key}, batch[key]
        keys = sorted(map(str, batch))
        raise ValueError(
            f"a dict batch needs its target under one of {TARGETS}, got the keys {keys}; or pass "
            f"loss(model, batch)."
        )
    if (
        isinstance(batch, list | tuple)
        and len(batch) == 2
        and not isinstance(batch, PackedSequence)
    ):
        return batch[0], batch[1]
    target = next(
        (getattr(batch, key) for key in TARGETS if isinstance(getattr(batch, key, None), Tensor)),
        None,
    )
    if target is not None:
        return batch, target
    length = f" of {len(batch)}" if isinstance(batch, list | tuple) else ""
    raise ValueError(
        "a batch for loss(output, target) is a pair (input, target), or a dict or an object with "
        "its target under one "
        f"of {TARGETS}, got a {type(batch).__name__}{length}; or pass loss(model, batch)."
    )


def samples(batch: Batch) -> int:
    """Number of samples: of the target where there is one, else what most parts of the batch
    have, the first of them where none prevails.
    """
    try:
        x, y = split(batch)
        parts = [y, batch]
        if _is_single(x, y):
            return 1
    except ValueError:
        parts = [batch]
    if one_each(batch):
        parts = [batch]
    return next((count for count in map(_count, parts) if count), 1)


def _is_single(x: Any, y: Any) -> bool:
    """Whether input and target are of one sample, without a dimension of samples: one number is
    the target, and the input is a vector, or the number a label and the input at most an image:
    beside a batch of images it may be a time step.
    """
    if not all(isinstance(part, Tensor | np.ndarray) for part in (x, y)) or y.ndim:
        return False
    whole = not (y.is_floating_point() if isinstance(y, Tensor) else y.dtype.kind == "f")
    return bool(x.ndim == 1 or (whole and x.ndim <= 3))


def _count(part: Any) -> int:
    """Samples of a part of a batch; 0: it tells none."""
    if isinstance(part, PackedSequence):
        return int(part.batch_sizes[0])
    if isinstance(part, Tensor | np.ndarray):
        return len(part) if part.ndim else 0
    if one_each(part):
        return len(part)
    counts = Counter(filter(None, map(_count, _parts(part))))
    return max(counts, key=lambda count: counts[count]) if counts else 0


def one_each(part: Any) -> bool:
    """Whether a list has one entry a sample: numbers or words, or containers of one structure
    that are too many to be inputs side by side, are mappings or objects, or do not agree in the
    lengths of what they hold; or more than two tensors of one kind that do not agree in length.
    """
    if type(part) not in (list, tuple) or not len(part):
        return False
    if all(isinstance(entry, str | int | float) for entry in part):
        return isinstance(part, list)
    if len({_structure(entry) for entry in part}) > 1:
        return False
    if isinstance(part[0], Tensor | np.ndarray):
        return isinstance(part, list) and len(part) > 2 and _ragged(part)
    return bool(_parts(part[0])) and _of_samples(part)


def _of_samples(part: Any) -> bool:
    """Whether containers of one structure are samples, not inputs side by side."""
    if len(part) > SIDE_BY_SIDE or not isinstance(part[0], list | tuple):
        return True
    return _ragged(part)


def _ragged(part: Any) -> bool:
    return len({leaf.shape[:1] for leaf in leaves(part)}) > 1


def _structure(entry: Any) -> Any:
    """What entries of one kind have in common: keys, and the dtypes and dimensions of tensors."""
    own = tuple(entry) if isinstance(entry, Mapping) else len(_parts(entry))
    return type(entry), own, tuple((leaf.dtype, leaf.ndim) for leaf in leaves(entry))


def pieces(batch: Batch, number: int) -> list[Batch]:
    """A batch in ``number`` pieces of consecutive samples, or in one a sample where it has fewer;
    their tensors are views.
    """
    length = samples(batch)
    ends = np.linspace(0, length, min(number, length) + 1).astype(int).tolist()
    if len(ends) == 2:
        return [batch]
    return [cut_out(batch, range(a, b), length) for a, b in itertools.pairwise(ends)]


def cut_out(batch: Batch, part: Tensor | range, length: int, dim: int = 0) -> Batch:
    """The part of a batch of so many samples, ``length``, at some indices along a dimension;
    tensors without it stay whole.
    """
    return told_apart(batch, length, dim, lambda piece: taken(piece, part, dim), lambda rest: rest)


def told_apart(
    batch: Batch,
    length: int,
    dim: int,
    within: Callable[[Batch], Batch],
    without: Callable[[Batch], Batch],
) -> Batch:
    """The batch with ``within`` of all that has so many samples, ``length``, along a dimension (a
    tensor, a PackedSequence, a list), and ``without`` of every other tensor and number.
    """

    def chosen(piece: Batch) -> Batch:
        if isinstance(piece, Tensor | np.ndarray):
            has = piece.ndim > dim and piece.shape[dim] == length
            return within(piece) if has else without(piece)
        if isinstance(piece, PackedSequence):
            return within(piece)
        if _of_geometric(piece):
            raise TypeError(f"a {type(piece).__name__} cannot be cut")
        if dim == 0 and _lists(piece, length):
            return within(piece)
        if isinstance(piece, int | float) and not isinstance(piece, bool):
            return without(piece)
        return _rebuilt(piece, chosen)

    return chosen(batch)


def filled_in(batch: Batch, other: Batch, chosen: Callable[[Batch, Batch], Batch]) -> Batch:
    """The batch with ``chosen`` of each thing in it and of what ``other`` has in its place.

    Raises:
        ValueError: the two hold different numbers of things.
    """
    if isinstance(batch, PackedSequence) or not _parts(batch):
        return chosen(batch, other)
    pairs = zip(_parts(batch), _parts(other), strict=True)
    values = iter([filled_in(own, others, chosen) for own, others in pairs])
    return _rebuilt(batch, lambda _: next(values))


def taken(piece: Batch, part: Tensor | range, dim: int = 0) -> Batch:
    """What a tensor, an array, a PackedSequence or a list holds at some indices along a
    dimension.
    """
    if isinstance(piece, PackedSequence):
        rows = unpack_sequence(piece)
        return pack_sequence([rows[int(i)] for i in part], enforce_sorted=False)
    if isinstance(piece, list | tuple):
        return type(piece)(piece[int(i)] for i in part)
    if isinstance(piece, np.ndarray):
        return piece.take(np.asarray(part), axis=dim)
    if isinstance(part, range):
        return piece.narrow(dim, part.start, len(part))
    return piece.index_select(dim, part.to(piece.device))


def _lists(piece: Any, length: int) -> bool:
    """Whether a list has one entry for each of so many samples: as ``one_each`` tells, or tensors
    of which none has that many rows.
    """
    if type(piece) not in (list, tuple) or len(piece) != length:
        return False
    if one_each(piece):
        return True
    single = all(isinstance(entry, Tensor | np.ndarray) for entry in piece)
    return single and not any(entry.ndim and len(entry) == length for entry in piece)


SIDE_BY_SIDE = 3  # inputs, targets and weights: a list of more containers is one of samples
BATCHES = 16  # without a batch size: enough for a standard error between micro-batches


LARGEST = 256


def cut(x: Tensor, y: Tensor, batch_size: int | None, seed: int) -> list[Batch]:
    """Micro-batches of (x, y) in a seeded order."""
    return cut_rows((x, y), len(y), batch_size, seed)


def cut_again(batches: list[Batch], batch_size: int, seed: int, source: str) -> list[Batch]:
    """Batches of another size from the same samples, in a seeded order.

    Raises:
        ValueError: the batches differ in shape or structure, or hold something that is not a
            tensor.
    """
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}.")
    try:
        return cut_rows(joined(batches), sum(samples(batch) for batch in batches), batch_size, seed)
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"--batch-size cannot cut the batches of {source} again: {specs.one_line(error, 120)}."
        ) from None


def cut_rows(whole: Any, count: int, batch_size: int | None, seed: int) -> list[Batch]:
    """Micro-batches of one batch of ``count`` samples, in a seeded order."""
    size = batch_size or min(LARGEST, math.ceil(count / BATCHES))
    return [_rows(whole, i) for i in torch.split(order(count, seed), size)]


def order(count: int, seed: int) -> Tensor:
    """The seeded order of ``count`` samples, (count,) int64."""
    return torch.randperm(count, generator=rng.generator(seed), device="cpu")


def joined(parts: Sequence[Any]) -> Any:
    """Batches of the same structure end to end, sample by sample.

    Raises:
        TypeError: they hold something that has no samples.
    """
    return _end_to_end(list(parts), [samples(part) for part in parts])


def _end_to_end(parts: list[Any], counts: list[int]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor | np.ndarray | PackedSequence):
        return _concatenated(parts)
    if isinstance(first, list | tuple) and all(map(_lists, parts, counts)):
        return type(first)(itertools.chain(*parts))
    if _of_geometric(first) or not _parts(first):
        raise TypeError(f"they hold a {type(first).__name__}")
    columns = zip(*map(_parts, parts), strict=True)
    values = iter([_end_to_end(list(column), counts) for column in columns])
    return _rebuilt(first, lambda _: next(values))


def _concatenated(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    rows = itertools.chain(*map(unpack_sequence, parts))
    return pack_sequence(list(rows), enforce_sorted=False)


def _rows(whole: Any, index: Tensor) -> Any:
    if isinstance(whole, Tensor):
        return whole[index.to(whole.device)]
    if isinstance(whole, Mapping):
        return {key: _rows(value, index) for key, value in whole.items()}
    return tuple(_rows(value, index) for value in whole)
