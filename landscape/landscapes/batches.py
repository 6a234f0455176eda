"""What a batch is: how it is moved, what goes into the model, how much it counts in a mean.

A batch is (input, target), a dict, or anything a loss(model, batch) takes. Input is one tensor, a
tuple passed as positional arguments, or a dict passed by keyword. In a dict for loss(output,
target), the target sits under one of TARGETS.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from landscape import rng, specs
from landscape.landscapes.arithmetic import ordinary

TARGETS = ("labels", "label", "targets", "target", "y")
Batch = Any


def move(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The batch with every tensor on ``device`` and every floating-point tensor in ``dtype``; other
    things as they are.
    """

    def moved(tensor: Tensor) -> Tensor:
        kept = dtype if tensor.is_floating_point() else tensor.dtype
        return ordinary(tensor.to(device=device, dtype=kept))

    return mapped(batch, moved)


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with ``function`` of every tensor in its place, in containers and objects of the
    same kinds.
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, PackedSequence):
        return batch._replace(data=function(batch.data))
    if isinstance(batch, Mapping):
        return _filled(batch, {key: mapped(value, function) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(value, function) for value in batch)
    return _rebuilt(batch, function) if _is_object(batch) else batch


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    elif _is_object(batch):
        batch = list(vars(batch).values())
    return [t for part in batch for t in tensors(part)] if isinstance(batch, list | tuple) else []


def raw(tensor: Tensor) -> bytes:
    """The bytes of a tensor's numbers."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _is_object(batch: Batch) -> bool:
    """Whether a batch is an object with attributes: a dataclass, a graph of torch_geometric."""
    return (
        hasattr(batch, "__dict__")
        and not isinstance(batch, nn.Module | type)
        and not callable(batch)
    )


def _rebuilt(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    made = copy.copy(batch)
    if callable(getattr(batch, "apply", None)) and callable(
        getattr(batch, "keys", None)
    ):  # of torch_geometric
        return made.apply(function)
    for name, value in vars(batch).items():
        object.__setattr__(made, name, mapped(value, function))
    return made


def _filled(batch: Mapping[Any, Any], values: dict[Any, Any]) -> Mapping[Any, Any]:
    """A mapping of the same kind, where a copy of it can be filled, else a dict."""
    if type(batch) is dict or not hasattr(batch, "update"):
        return values
    made = copy.copy(batch)
    made.update(values)
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
    """Number of samples: the first dimension of the target where there is one, else of the first
    tensor that has one.
    """
    try:
        parts = [split(batch)[1], batch]
    except ValueError:
        parts = [batch]
    for part in parts:
        if isinstance(part, PackedSequence):
            return int(part.batch_sizes[0])
        sizes = [len(t) for t in tensors(part) if t.ndim]
        if sizes:
            return sizes[0]
    return 1


def cut_out(batch: Batch, part: Tensor, length: int, dim: int = 0) -> Batch:
    """The part of a batch at some indices along a dimension of this length; tensors without it stay
    whole.
    """

    def chosen(tensor: Tensor) -> Tensor:
        has = tensor.ndim > dim and tensor.shape[dim] == length
        return tensor.index_select(dim, part.to(tensor.device)) if has else tensor

    return mapped(batch, chosen)


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
    """Batches of the same structure end to end, tensor by tensor."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {key: joined([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return tuple(joined(column) for column in zip(*parts, strict=True))
    raise TypeError(f"they hold a {type(first).__name__}")


def _rows(whole: Any, index: Tensor) -> Any:
    if isinstance(whole, Tensor):
        return whole[index.to(whole.device)]
    if isinstance(whole, Mapping):
        return {key: _rows(value, index) for key, value in whole.items()}
    return tuple(_rows(value, index) for value in whole)
