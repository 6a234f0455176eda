"""How a frozen result is stored: ``result.json`` plus ``arrays/*.npz`` and a manifest of both in a
folder, no pickle.

A result is a frozen dataclass marked ``@result``; its fields are numbers, strings, enums, tensors,
lists, tuples, dicts with string keys, and other results. Tensors go to the npz under their path in
the JSON and come back on the CPU. The class of a result lives beside the function that makes it;
this module knows none of them but the ones below.
"""

import dataclasses
import enum
import hashlib
import importlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from landscape import specs
from landscape.errors import LoadingError, NotChecked
from landscape.results import archives, manifest, types
from landscape.results.exchange import Claim, replacing, require_free, to_disk
from landscape.results.kinds import FORMER, KINDS

# 1: kinds were the paths of their classes, see ``kinds``; 2: there was no manifest
SCHEMA = 3
LISTLESS = 2  # up to this schema a result may have no manifest
NO_CHECKSUMS = "{folder} was stored without checksums: damage to its numbers may not be seen"
PATIENCE = 10.0  # seconds that ``save`` waits for another process
TRIES = 3
OTHERS = r"(?!result\.json|arrays/).*"  # of a run's files, what ``save`` leaves as it is
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
    """Store a result in ``folder`` (made if missing), in the place of the one that is stored there.
    It appears by one rename: a crash leaves the earlier result or the new one. Files that no
    manifest lists are left alone.

    Raises:
        TypeError: a field is of a kind that cannot be stored.
        FileExistsError: a file that no result has written is in the way.
        OSError: the folder cannot be written, or another process writes there.
    """
    folder = Path(folder)
    claim = Claim(folder, PATIENCE)
    try:
        require_free(folder, ("result.json", manifest.NAME))
        with replacing(folder, keeping=OTHERS) as staged:
            write(value, staged)
    finally:
        claim.release()
    return folder


def write(value: object, folder: Path) -> None:
    """Write ``result.json`` and the arrays of a result into a folder that nobody else reads yet."""
    arrays: dict[str, np.ndarray] = {}
    body = {"schema": SCHEMA, "result": _encode(value, "result", arrays)}
    (folder / "arrays").mkdir(parents=True, exist_ok=True)
    packed = folder / "arrays" / "new"
    with packed.open("wb") as file:
        archives.write(file, arrays)
    with packed.open("rb") as file:
        name = f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.npz"
    packed.rename(folder / "arrays" / name)
    body["arrays"] = f"arrays/{name}"
    (folder / "result.json").write_text(
        json.dumps(body, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def load(folder: str | os.PathLike[str]) -> Any:
    """The result stored in ``folder``, tensors on the CPU.

    Every file that is read is compared with the size and the SHA-256 in the folder's manifest, and
    every field with the type that its class gives it. Links and pipes are not followed. A run
    that was stored before there was a manifest is loaded with a ``NotChecked`` warning.

    Raises:
        LoadingError: nothing is stored there, or it is damaged, or written by a newer version; the
            message names the file and the place.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = ls.classify(f, [0.0, 0.0]).save(folder)
        ...     ls.load(folder).kind
        'saddle'
    """
    folder = Path(folder)
    for _ in range(TRIES):
        before = _standing(folder)
        try:
            return _load(folder)
        except LoadingError:
            if _standing(folder) == before:
                raise  # else another process has replaced the result meanwhile
    return _load(folder)


def _standing(folder: Path) -> tuple[object, ...]:
    """What changes when another result comes to stand in a folder."""
    marks: list[object] = []
    for path in (folder / manifest.READY, folder / manifest.NAME):
        try:
            found = path.lstat()
            marks.append((found.st_ino, found.st_mtime_ns))
        except OSError:
            marks.append(None)
    return tuple(marks)


def _load(folder: Path) -> Any:
    path = manifest.place(folder, "result.json")
    files = manifest.listed(folder)
    if not os.path.lexists(path):
        raise LoadingError(
            f"{folder} holds no result: {path.name} is missing. Pass a folder that a run has "
            f"written."
        )
    body = _body(manifest.contents(folder, path.name, files, manifest.MOST_TEXT), path)
    if body["schema"] > SCHEMA:
        raise LoadingError(
            f"{path} has schema {body['schema']}, this version reads up to {SCHEMA}: update "
            f"torch-landscape."
        )
    if files is None and body["schema"] > LISTLESS:
        raise LoadingError(f"{folder} is damaged: {manifest.NAME} is missing. {manifest.ANEW}")
    name = body.get("arrays")
    if not isinstance(name, str) or not manifest.MAY_BE.fullmatch(name):
        raise LoadingError(f"{path} is damaged at arrays: {name!a:.80} is no name of its arrays.")
    packed = manifest.contents(folder, name, files)
    digest = hashlib.sha256(packed).hexdigest() if files is None else files[name].sha256
    if not digest.startswith(Path(name).stem):
        raise LoadingError(f"{folder / name} is damaged: its SHA-256 is not in its name.")
    arrays = archives.read(packed, manifest.place(folder, name))
    _warn(folder, files)
    try:
        return _decode(body["result"], arrays, "result")
    except _Damage as damage:
        raise LoadingError(f"{path} is damaged at {damage}. {manifest.ANEW}") from None
    except RecursionError:
        raise LoadingError(f"{path} is damaged: it is nested too deeply. {manifest.ANEW}") from None


def _warn(folder: Path, files: manifest.Files | None) -> None:
    if files is None:
        warnings.warn(NO_CHECKSUMS.format(folder=folder), NotChecked, stacklevel=4)


def _body(data: memoryview, path: Path) -> dict[str, Any]:
    """The JSON of ``result.json``, with a schema and a result."""
    try:
        body = json.loads(bytes(data), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LoadingError(
            f"{path} cannot be read as JSON ({specs.one_line(error, 120)}). {manifest.ANEW}"
        ) from None
    if not isinstance(body, dict) or type(body.get("schema")) is not int or "result" not in body:
        raise LoadingError(f"{path} is not a stored result: it has no schema number.")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def plain(value: object) -> Any:
    """``value`` in JSON's own types for machines: enums by name, small tensors as lists, large ones
    by shape, NaN as None.
    """
    if _is_record(value):
        return {f.name: plain(getattr(value, f.name)) for f in told(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Tensor):
        small = value.numel() <= 10_000 and value.ndim < 2
        return plain(value.tolist()) if small else {"shape": list(value.shape)}
    return _plain_word(value)


def _plain_word(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.name.lower()
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
            to_disk(file)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _encode(value: object, path: str, arrays: dict[str, np.ndarray]) -> Json:
    if isinstance(value, bool | int | str | float | enum.Enum | None):
        return _encode_word(value)
    if isinstance(value, Tensor):
        arrays[path] = value.detach().cpu().numpy()
        return {"type": "tensor", "key": path}
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


def _encode_word(value: bool | int | str | float | enum.Enum | None) -> Json:
    if isinstance(value, enum.Enum):
        return {"type": _registered(value), "name": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "float", "value": repr(value)}
    return value


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


class _Damage(Exception):  # noqa: N818  # of a stored result: where, and what is wrong
    """``result.point.kind: it must be str``."""


def _class(name: object, path: str) -> type:
    """The class of a stored result; only modules of this package are imported to find it."""
    kind = FORMER.get(name, name) if isinstance(name, str) else ""
    if kind not in _CLASSES and kind in KINDS:
        importlib.import_module(KINDS[kind][0])
    if kind not in _CLASSES:
        raise _Damage(f"{path}: {name!a:.80} is no kind of result")
    return _CLASSES[kind]


def _decode(value: object, arrays: Arrays, path: str) -> object:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise _Damage(f"{path}: a list stands where no list can be")
        return value
    kind = value.get("type")
    if not isinstance(kind, str):
        raise _Damage(f"{path}: an object has no type")
    if kind in _BUILT_IN:
        key, form = _BUILT_IN[kind]
        if type(value.get(key)) is not form:
            raise _Damage(f"{path}: {key} of a {kind} must be a {form.__name__}")
        return _built_in(kind, value[key], arrays, path)
    cls = _class(kind, path)
    if issubclass(cls, enum.Enum):
        return _member(cls, value.get("name"), path)
    return _record(cls, kind, value.get("fields"), arrays, path)


def _record(cls: type, kind: str, held: object, arrays: Arrays, path: str) -> object:
    """An instance of a class from its stored fields."""
    if not isinstance(held, dict):
        raise _Damage(f"{path}: a {kind} has no fields")
    fields = _decode_entries(held, arrays, path)
    # What schema 1 stored under a former name may have had other fields.
    upgraded = getattr(cls, "upgraded", None) if kind in FORMER else None
    if upgraded is not None:
        try:
            fields = upgraded(fields)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise _Damage(f"{path}: {specs.one_line(error, 200)}") from None
    return _made(cls, fields, path)


def _member(cls: type[enum.Enum], name: object, path: str) -> enum.Enum:
    if not isinstance(name, str) or name not in cls.__members__:
        raise _Damage(f"{path}: {name!a:.80} is no {cls.__name__}")
    return cls[name]


# The kinds that are no classes of ours: the key of what they hold, and its type in JSON.
_BUILT_IN: dict[object, tuple[str, type]] = {
    "float": ("value", str),
    "tensor": ("key", str),
    "dict": ("items", dict),
    "list": ("items", list),
    "tuple": ("items", list),
}


def _built_in(kind: object, held: Any, arrays: Arrays, path: str) -> object:
    if kind == "float":
        if held not in ("nan", "inf", "-inf"):
            raise _Damage(f"{path}: {held!a:.80} is no number that is not finite")
        return float(held)
    if kind == "tensor":
        if held not in arrays:
            raise _Damage(f"{path}: there is no array {held!a:.80}")
        return torch.from_numpy(arrays[held])
    if kind == "dict":
        return _decode_entries(held, arrays, path)
    items = [_decode(v, arrays, f"{path}.{i}") for i, v in enumerate(held)]
    return items if kind == "list" else tuple(items)


def _decode_entries(entries: Mapping[str, object], arrays: Arrays, path: str) -> dict[str, object]:
    return {k: _decode(v, arrays, f"{path}.{k}") for k, v in entries.items()}


def _made(cls: type, fields: Mapping[str, object], path: str) -> object:
    """An instance of a dataclass, whose fields are all known and of their types."""
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name, value in fields.items():
        if name not in known:
            raise _Damage(f"{path}: {name!a:.80} is no field of {cls.__name__}")
        if not types.fits(value, types.of(cls)[name]):
            raise _Damage(f"{path}.{name}: it must be {types.name(types.of(cls)[name])}")
    try:
        return cls(**fields)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise _Damage(f"{path}: {specs.one_line(error, 200)}") from None
