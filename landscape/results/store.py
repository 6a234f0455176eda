"""How a frozen result is stored: ``result.json`` plus ``arrays/*.npz`` in a folder, no pickle.

A result is a frozen dataclass marked ``@result``; its fields are numbers, strings, enums, tensors,
lists, tuples, dicts with string keys, and other results. Tensors go to the npz under their path in
the JSON and come back on the CPU. The class of a result lives beside the function that makes it;
this module knows none of them but the ones below.
"""

import dataclasses
import enum
import hashlib
import importlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LoadingError
from landscape.results.kinds import FORMER, KINDS

SCHEMA = 2  # 1: kinds were the paths of their classes, see ``kinds``
_CLASSES: dict[str, type] = {}
_NAMES: dict[type, str] = {}
T = TypeVar("T", bound=type)
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Arrays = Mapping[str, np.ndarray]  # the tensors of a stored result by their keys


def result(kind: str) -> Callable[[T], T]:
    """Register a frozen dataclass or an Enum, which ``save`` and ``load`` then know by the word
    ``kind``, wherever it lives.
    """

    def register(cls: T) -> T:
        _CLASSES[kind], _NAMES[cls] = cls, kind
        return cls

    return register


def kind_of(value: object) -> str:
    """The word by which results of this class are stored."""
    return _NAMES[type(value)]


def save(value: object, folder: str | os.PathLike[str]) -> Path:
    """Store a result in ``folder`` (made if missing). The JSON is replaced last and atomically, so
    that a crash leaves either the earlier result or the new one.

    Raises:
        TypeError: a field is of a kind that cannot be stored.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    arrays: dict[str, np.ndarray] = {}
    body = {"schema": SCHEMA, "result": _encode(value, "result", arrays)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    name = f"{hashlib.sha256(data).hexdigest()[:16]}.npz"
    body["arrays"] = f"arrays/{name}"
    (folder / "arrays").mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "arrays" / name) as file:
        file.write(data)
    with atomic_write(folder / "result.json") as file:
        file.write((json.dumps(body, indent=1, allow_nan=False) + "\n").encode())
    for old in (folder / "arrays").glob("*.npz"):
        if old.name != name:
            old.unlink()
    return folder


def load(folder: str | os.PathLike[str]) -> Any:
    """The result stored in ``folder``, tensors on the CPU.

    Raises:
        LoadingError: nothing is stored there, or it is damaged, or written by a newer version.
    """
    folder = Path(folder)
    path = folder / "result.json"
    try:
        body = json.loads(path.read_text())
    except FileNotFoundError:
        raise LoadingError(
            f"{folder} holds no result: {path.name} is missing. Pass a folder that a run has "
            f"written."
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LoadingError(
            f"{path} cannot be read as JSON ({error}). Run the analysis again with --force."
        ) from None
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("schema"), int)
        or "result" not in body
    ):
        raise LoadingError(f"{path} is not a stored result: it has no schema number.")
    if body["schema"] > SCHEMA:
        raise LoadingError(
            f"{path} has schema {body['schema']}, this version reads up to {SCHEMA}: update "
            f"torch-landscape."
        )
    try:
        with np.load(folder / str(body["arrays"]), allow_pickle=False) as arrays:
            return _decode(body["result"], arrays)
    except (OSError, ImportError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise LoadingError(
            f"{folder} is damaged ({type(error).__name__}: {error}). Run the analysis again with "
            f"--force."
        ) from None


def plain(value: object) -> Any:
    """``value`` in JSON's own types for machines: enums by name, small tensors as lists, large ones
    by shape, NaN as None.
    """
    if _is_record(value):
        return {f.name: plain(getattr(value, f.name)) for f in told(value)}
    if isinstance(value, Tensor):
        small = value.numel() <= 10_000 and value.ndim < 2
        return plain(value.tolist()) if small else {"shape": list(value.shape)}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends, and vanishes when the
    block raises.
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _encode(value: object, path: str, arrays: dict[str, np.ndarray]) -> Json:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"type": "float", "value": repr(value)}
    if isinstance(value, Tensor):
        arrays[path] = value.detach().cpu().numpy()
        return {"type": "tensor", "key": path}
    if isinstance(value, enum.Enum):
        return {"type": _registered(value), "name": value.name}
    if _is_record(value):
        fields = {f.name: getattr(value, f.name) for f in told(value)}
        return {"type": _registered(value), "fields": _encode_entries(fields, path, arrays)}
    if isinstance(value, dict):
        return {"type": "dict", "items": _encode_entries(value, path, arrays)}
    if isinstance(value, list | tuple):
        return {
            "type": type(value).__name__,
            "items": [_encode(v, f"{path}.{i}", arrays) for i, v in enumerate(value)],
        }
    raise TypeError(f"{path} is a {type(value).__name__}, which cannot be stored")


def _encode_entries(
    entries: Mapping[Any, object], path: str, arrays: dict[str, np.ndarray]
) -> dict[str, Json]:
    return {str(k): _encode(v, f"{path}.{k}", arrays) for k, v in entries.items()}


def _is_record(value: object) -> bool:
    """Whether it is a dataclass's instance, and not the class."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def told(value: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass, without empty ones that only a whole result has."""
    return [
        f
        for f in dataclasses.fields(value)
        if not (f.kw_only and getattr(value, f.name) == f.default)
    ]


def _registered(value: object) -> str:
    if type(value) not in _NAMES:
        raise TypeError(f"{type(value).__name__} is not marked @result")
    return _NAMES[type(value)]


def _class(name: str) -> type:
    """The class of a stored result; only modules of this package are imported to find it."""
    kind = FORMER.get(name, name)
    if kind not in _CLASSES and kind in KINDS:
        importlib.import_module(KINDS[kind][0])
    return _CLASSES[kind]


_BUILT_IN: dict[str, Callable[[dict[str, Any], Arrays], object]] = {
    "float": lambda value, _: float(value["value"]),
    "tensor": lambda value, arrays: torch.from_numpy(arrays[value["key"]]),
    "dict": lambda value, arrays: _decode_entries(value["items"], arrays),
    "list": lambda value, arrays: [_decode(v, arrays) for v in value["items"]],
    "tuple": lambda value, arrays: tuple(_decode(v, arrays) for v in value["items"]),
}


def _decode_entries(entries: Mapping[str, object], arrays: Arrays) -> dict[str, object]:
    return {k: _decode(v, arrays) for k, v in entries.items()}


def _decode(value: object, arrays: Arrays) -> object:
    if not isinstance(value, dict):
        return value
    kind = value["type"]
    if kind in _BUILT_IN:
        return _BUILT_IN[kind](value, arrays)
    cls = _class(kind)
    if issubclass(cls, enum.Enum):
        return cls[value["name"]]
    fields = _decode_entries(value["fields"], arrays)
    # What schema 1 stored under a former name may have had other fields.
    upgraded = getattr(cls, "upgraded", None) if kind in FORMER else None
    return cls(**(fields if upgraded is None else upgraded(fields)))
