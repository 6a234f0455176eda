"""What a model keeps beside its parameters and buffers, as it was before passes that are not its
loop's: lists that its steps append to, counts, metrics, and what they log.

A pass of a landscape may call a ``training_step``. While it does, nothing is logged: in a module
that has ``log`` and ``log_dict`` these do nothing, and its trainer's loggers take everything and
keep nothing. Afterwards containers, counters and tensors that the model's modules hold, directly or
in objects of the user's own, hold what they held.
"""

import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

# Of a longer container only what was appended is undone.
LONG = 10_000
# How many objects deep what a module holds is looked at.
DEPTH = 4
# What every module has by itself.
_OWN = frozenset(vars(nn.Module())) | {"_trainer", "_fabric"}
_SAID = ("log", "log_dict", "print", "manual_backward", "toggle_optimizer", "untoggle_optimizer")
# What is not looked into: it is the machine's, or guarded elsewhere.
_FOREIGN = (
    *("torch.", "lightning", "pytorch_lightning", "transformers", "accelerate", "numpy"),
    "landscape.",
)


@contextmanager
def kept(*holders: object) -> Iterator[None]:
    """What modules, and objects of the user's own, hold is afterwards what it was.

    Args:
        holders: modules, losses, or anything; what cannot be looked into is left out.
    """
    undo: list[Callable[[], None]] = []
    seen: set[int] = set()
    try:
        for holder in holders:
            with suppress(Exception):  # nor must what cannot be looked into
                _remember(holder, undo, seen, DEPTH)
            for module in holder.modules() if isinstance(holder, nn.Module) else ():
                _silence(module, undo)
        yield
    finally:
        for back in reversed(undo):
            with suppress(Exception):  # what cannot be put back must not cost the loop
                back()


class _Nothing:
    """Takes everything and keeps nothing."""

    def __getattr__(self, name: str) -> "_Nothing":
        return self

    def __call__(self, *args: object, **kwargs: object) -> "_Nothing":
        return self

    def __getitem__(self, key: object) -> "_Nothing":
        return self

    def __iter__(self) -> Iterator["_Nothing"]:
        return iter(())

    def __bool__(self) -> bool:
        return False


class _Quiet:
    """A trainer whose loggers keep nothing."""

    def __init__(self, trainer: object) -> None:
        self._quiet_trainer = trainer

    def __getattr__(self, name: str) -> object:
        found = getattr(self._quiet_trainer, name)
        if name in ("logger", "progress_bar_callback"):
            return _Nothing()
        return [_Nothing() for _ in found] if name == "loggers" else found


def _silence(module: nn.Module, undo: list[Callable[[], None]]) -> None:
    """Exchange what a module says aloud; the trainer's loggers too."""
    own = vars(module)
    if not callable(getattr(type(module), "log_dict", None)):
        return
    for name in _SAID:
        if callable(getattr(type(module), name, None)):
            undo.append(_put_back(own, name))
            own[name] = _Nothing()
    for name in ("_trainer", "_fabric"):
        if own.get(name) is not None:
            undo.append(_put_back(own, name))
            own[name] = _Quiet(own[name])


def _put_back(own: dict[str, object], name: str) -> Callable[[], None]:
    before = own.get(name, own)

    def back() -> None:
        if before is own:
            own.pop(name, None)
        else:
            own[name] = before

    return back


def _remember(value: object, undo: list[Callable[[], None]], seen: set[int], depth: int) -> None:
    """Keep what value holds, and how to put it back."""
    if id(value) in seen or depth < 0 or isinstance(value, _PLAIN):
        return
    seen.add(id(value))
    for one in _inside(value, undo, seen):
        _remember(one, undo, seen, depth - 1)


def _inside(value: object, undo: list[Callable[[], None]], seen: set[int]) -> list[object]:
    """Keep what value itself holds; what of it is to be looked into."""
    if isinstance(value, nn.Module):
        return _modules(value, undo, seen)
    if isinstance(value, Tensor):
        undo.append(_numbers(value))
    elif isinstance(value, np.ndarray):
        undo.append(_entries(value))
    elif isinstance(value, dict | list | set | deque):
        return _container(value, undo)
    elif _own(value):
        undo.append(_attributes(value, frozenset()))
        return list(vars(value).values())
    return []


def _modules(root: nn.Module, undo: list[Callable[[], None]], seen: set[int]) -> list[object]:
    inside: list[object] = []
    for module in root.modules():
        inside += [v for k, v in vars(module).items() if k not in _OWN]
        undo.append(_attributes(module, _OWN))
        seen.add(id(module))
    return inside


_PLAIN = (int, float, str, bytes, type, types.FunctionType, types.ModuleType, Optimizer)


def _own(value: object) -> bool:
    """Whether an object is the user's own kind of thing: a meter, a loss, a history."""
    home = type(value).__module__ or ""
    return hasattr(value, "__dict__") and not home.startswith(_FOREIGN)


def _attributes(holder: object, left_out: frozenset[str]) -> Callable[[], None]:
    own = vars(holder)
    before = {k: v for k, v in own.items() if k not in left_out}

    def back() -> None:
        for name in [k for k in own if k not in before and k not in left_out]:
            del own[name]
        own.update({k: v for k, v in before.items() if own.get(k) is not v})

    return back


def _numbers(tensor: Tensor) -> Callable[[], None]:
    """A tensor's numbers, where something writes into it."""
    version, before = tensor._version, tensor.detach().clone() if tensor.numel() < LONG else None

    def back() -> None:
        if before is not None and tensor._version != version:
            tensor.detach().copy_(before)

    return back


def _entries(array: np.ndarray) -> Callable[[], None]:
    before = array.copy() if array.size < LONG else None
    return lambda: None if before is None else np.copyto(array, before)


def _container(
    value: "dict[object, object] | list[object] | set[object] | deque[object]",
    undo: list[Callable[[], None]],
) -> list[object]:
    """Keep a container's entries; those that are to be looked into."""
    length = len(value)
    if isinstance(value, list) and length > LONG:
        undo.append(lambda: value.__delitem__(slice(length, None)))
        return []
    if length > LONG:
        return []
    before = value.copy()

    def back() -> None:
        value.clear()
        if isinstance(value, dict | set):
            value.update(before)  # type: ignore[arg-type]
        elif isinstance(value, list | deque):
            value.extend(before)

    undo.append(back)
    return list(value.values()) if isinstance(value, dict) else list(value)
