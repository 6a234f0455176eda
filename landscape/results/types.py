"""Whether a value is what the annotation of a dataclass's field says: what a stored result holds is
compared with it before anything is made of it.
"""

import collections.abc
import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any


@functools.cache
def of(cls: type) -> Mapping[str, object]:
    """The types of a dataclass's fields; ``Any`` where a name is known to type checkers alone."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(cls):
        home = next(c for c in cls.__mro__ if field.name in vars(c).get("__annotations__", {}))
        names = vars(sys.modules[home.__module__])
        try:
            alone = type(field.name, (), {"__annotations__": {"it": field.type}})
            found[field.name] = typing.get_type_hints(alone, names)["it"]
        except NameError:
            found[field.name] = Any
    return found


def fits(value: object, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``; an int is a float too, and no bool is an int."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in _INSIDE:
        return _INSIDE[origin](value, parts)
    if isinstance(value, bool) and hint in (int, float):
        return False
    plain = _PLAIN.get(hint, hint)
    return isinstance(value, plain) if isinstance(plain, type | tuple) else True


def name(hint: Any) -> str:
    """A type in words."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _items(value: object, parts: tuple[Any, ...]) -> bool:
    return isinstance(value, list) and all(fits(v, parts[0]) for v in value)


def _entries(value: object, parts: tuple[Any, ...]) -> bool:
    if not isinstance(value, dict):
        return False
    return all(fits(k, parts[0]) and fits(v, parts[1]) for k, v in value.items())


def _places(value: object, parts: tuple[Any, ...]) -> bool:
    if not isinstance(value, tuple):
        return False
    if parts[1:] == (...,):
        return all(fits(v, parts[0]) for v in value)
    return len(value) == len(parts) and all(map(fits, value, parts))


def _either(value: object, parts: tuple[Any, ...]) -> bool:
    return isinstance(value, list | tuple) and all(fits(v, parts[0]) for v in value)


def _any_of(value: object, parts: tuple[Any, ...]) -> bool:
    return any(fits(value, part) for part in parts)


def _literally(value: object, parts: tuple[Any, ...]) -> bool:
    return value in parts


_INSIDE: dict[object, Callable[[object, tuple[Any, ...]], bool]] = {
    list: _items,
    dict: _entries,
    tuple: _places,
    collections.abc.Sequence: _either,
    collections.abc.Mapping: _entries,
    typing.Literal: _literally,
    typing.Union: _any_of,
    types.UnionType: _any_of,
}
_PLAIN: dict[object, Any] = {Any: object, None: types.NoneType, float: (int, float)}
