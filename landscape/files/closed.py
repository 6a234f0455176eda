"""Pickles read by a closed unpickler: containers and tensors are built, all else stays a name.

A pickle is a program that calls what its globals name. Here no global names anything of Python's
own: a few names stand for functions of this module, which build containers and tensors, and every
other one for an empty class of that name, which keeps what it is given and does nothing. So the
hyperparameters of a checkpoint may be of any class, and nothing is imported or run.
"""

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
from torch import Tensor

Anything: TypeAlias = Any  # of a pickle that nobody vouches for
DTYPES = {str(d): d for d in vars(torch).values() if isinstance(d, torch.dtype)}
_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
STORAGES = {f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()} | {
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.UntypedStorage": torch.uint8,
}
# What a file in the older format begins with: a number that only its kind has, and a version.
LEGACY = (0x1950A86A20F9469CFC6C, 1001)
# Of Python's own library what plain values and settings are made of (getattr: a class within a
# class); whatever else a pickle asks for there is meant to run.
PLAIN_MODULES = ("collections", "datetime", "decimal", "enum", "fractions", "pathlib", "uuid")
PLAIN = {
    "_codecs.encode",
    "argparse.Namespace",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "functools.partial",
    "types.SimpleNamespace",
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in (
            *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr"),
            *("int", "list", "object", "range", "set", "slice", "str", "tuple", "type"),
        )
    ),
}
_OWN = sys.stdlib_module_names | {"__builtin__", "copy_reg"}
# modules whose names in PLAIN tell nobody anything
_LANGUAGE = ("__builtin__", "_codecs", "builtins", "copy_reg", "copyreg")


class Named:
    """What a pickle has made of a class or a function: its name and what it was given."""

    name = ""

    def __new__(cls, *given: object, **words: object) -> "Named":
        made = object.__new__(cls)
        made.given, made.words = given, words
        made.state = None
        return made

    given: tuple[object, ...]
    words: dict[str, object]
    state: object  # what __setstate__ or __dict__ would have taken

    def __call__(self, *given: object, **words: object) -> "Named":
        """What an attribute of a class would have made."""
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Entries of what was a mapping: left out."""

    def append(self, value: object) -> None:
        """Entries of what was a list: left out."""

    def extend(self, values: object) -> None:
        """Entries of what was a list: left out."""

    def add(self, value: object) -> None:
        """Entries of what was a set: left out."""

    def __repr__(self) -> str:
        return f"a {self.name}, of which only the name was read"


def read_pickle(
    data: bytes, storage: Callable[[str], bytes] | None = None
) -> tuple[object, list[str]]:
    """The tree of a pickle, and the names in it that stayed names.

    Args:
        data: one pickle; what follows it is not looked at.
        storage: key -> the bytes of a storage, of a PyTorch file; None: there are none.

    Raises:
        pickle.UnpicklingError: it asks for a function of Python's own library, which is meant to
            run.
        Exception: of many kinds, as unpicklers raise them; it is damaged.
    """
    unpickler = _Closed(io.BytesIO(data))
    tree = unpickler.load()
    return _Builder(storage).built(tree), unpickler.names


def read_zip(path: Path) -> tuple[object, list[str]]:
    """As ``read_pickle``, of a file in PyTorch's zip format."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next(n for n in names if n == "data.pkl" or n.endswith("/data.pkl"))
        root = root.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are in another byte order")
        return read_pickle(
            archive.read(f"{root}data.pkl"), lambda key: archive.read(f"{root}data/{key}")
        )


def read_legacy(path: Path) -> tuple[object, list[str]]:
    """As ``read_pickle``, of a file in PyTorch's format before 1.6: pickles one after the other,
    and behind them the numbers.
    """
    with path.open("rb") as file:
        if [_Closed(file).load() for _ in LEGACY] != list(LEGACY):
            raise ValueError("it does not begin as PyTorch's files do")
        system = _Closed(file).load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("its numbers are in another byte order")
        unpickler = _Closed(file)
        tree = unpickler.load()
        places = _places(file, _Closed(file).load(), unpickler.widths)

    def storage(key: str) -> bytes:
        start, size = places[key]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return _Builder(storage).built(tree), unpickler.names


def _places(file: BinaryIO, keys: object, widths: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Where the numbers of each storage lie, from where the file stands: a count of 8 bytes before
    each. Key -> (first byte, bytes).
    """
    places: dict[str, tuple[int, int]] = {}
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("a list of storages that is none")
    length = os.fstat(file.fileno()).st_size
    for key in keys:
        size = int.from_bytes(file.read(8), "little") * widths[key]
        if size > length - file.tell():
            raise pickle.UnpicklingError("a storage that is longer than the file")
        places[key] = file.tell(), size
        file.seek(size, os.SEEK_CUR)
    return places


class _Closed(pickle.Unpickler):
    """An unpickler that can import nothing."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.classes: dict[str, type[Named]] = {}
        self.widths: dict[str, int] = {}  # key of a storage -> bytes of each of its numbers

    @property
    def names(self) -> list[str]:
        """What stayed a name, beside those of the language."""
        return sorted(n for n in self.classes if n.partition(".")[0] not in _LANGUAGE)

    def find_class(self, module: str, name: str, /) -> object:
        full = f"{module}.{name}"
        if full in DTYPES:
            return DTYPES[full]
        if full in STORAGES:
            return _Kind(STORAGES[full])
        if full in _MAKERS:
            return _Maker(_MAKERS[full])
        if means_to_run(full):
            raise pickle.UnpicklingError(f"it asks for {full}")
        if full not in self.classes:
            self.classes[full] = type("Named", (Named,), {"name": full})
        return self.classes[full]

    def persistent_load(self, pid: object, /) -> object:
        if isinstance(pid, tuple) and pid[:1] == ("module",) and len(pid) == 4:
            return pid[1]  # a class beside its source, in older files
        # an older file adds what a view of a storage is, for which nothing else is written today
        if isinstance(pid, tuple) and pid[:1] == ("storage",) and pid[5:] in ((), (None,)):
            _, kind, key, _, _ = pid[:5]
            if isinstance(kind, _Kind) and isinstance(key, str):
                self.widths[key] = kind.dtype.itemsize
                return _Storage(kind.dtype, key)
        raise pickle.UnpicklingError("a persistent id that is no storage")


def means_to_run(name: str) -> bool:
    """Whether a global ``module.name`` is of Python's own library, and no plain value's."""
    root = name.partition(".")[0]
    return root in _OWN and name not in PLAIN and root not in PLAIN_MODULES


class _Kind:
    """The class of a storage."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __setstate__(self, state: object) -> None:
        """A pickle may change nothing here."""


class _Maker:
    """A function that a pickle may call; a pickle may not change it."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __call__(self, *args: object) -> object:
        return self.function(*args)

    def __setstate__(self, state: object) -> None:
        """A pickle may change nothing here."""


class _Dict(dict[object, object]):
    """What stands for an OrderedDict; what was set on it besides its entries is left out."""

    def __setstate__(self, state: object) -> None:
        """Its attributes."""


class _Storage:
    def __init__(self, dtype: torch.dtype, key: str) -> None:
        self.dtype, self.key = dtype, key

    def __setstate__(self, state: object) -> None:
        """A pickle may change nothing here."""


class _Tensor(_Storage):
    """A tensor to be built once the pickle has been read: where its numbers are, and its shape."""

    def __init__(
        self, storage: object, offset: object, size: object, stride: object, dtype: object = None
    ) -> None:
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor without a storage")
        super().__init__(dtype if isinstance(dtype, torch.dtype) else storage.dtype, storage.key)
        self.size, self.stride = _whole(size), _whole(stride)
        (self.offset,) = _whole((offset,))


def _whole(numbers: object) -> tuple[int, ...]:
    if isinstance(numbers, tuple | list) and all(type(n) is int for n in numbers):
        return tuple(numbers)
    raise pickle.UnpicklingError("a shape that is none")


class _Builder:
    """Puts tensors in the place of what stands for them in a tree."""

    def __init__(self, storage: Callable[[str], bytes] | None) -> None:
        self.storage = storage
        self.read: dict[str, Tensor] = {}  # the bytes of storages by key
        self.known: dict[int, object] = {}  # by the id of what it stands for

    def built(self, value: object) -> object:
        if id(value) in self.known:
            return self.known[id(value)]
        if isinstance(value, dict):
            self.known[id(value)] = entries = dict[object, object]()
            entries.update({k: self.built(v) for k, v in value.items()})
            return entries
        if isinstance(value, list):
            self.known[id(value)] = parts = list[object]()
            parts.extend(self.built(v) for v in value)
            return parts
        if isinstance(value, tuple):
            return tuple(self.built(v) for v in value)
        if isinstance(value, _Tensor):
            self.known[id(value)] = self.tensor(value)
            return self.known[id(value)]
        return value

    def tensor(self, wanted: _Tensor) -> Tensor:
        if self.storage is None:
            raise pickle.UnpicklingError("tensors outside of a PyTorch file")
        if wanted.key not in self.read:
            data = bytearray(self.storage(wanted.key))
            empty = torch.empty(0, dtype=torch.uint8, device="cpu")
            self.read[wanted.key] = torch.frombuffer(data, dtype=torch.uint8) if data else empty
        # as_strided raises where this reaches beyond the storage
        numbers = self.read[wanted.key].view(wanted.dtype)
        return numbers.as_strided(wanted.size, wanted.stride, wanted.offset)


def _tensor(
    storage: object, offset: object, size: object, stride: object, *more: object
) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _tensor_of_dtype(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    *more: object,
) -> _Tensor:
    return _Tensor(storage, offset, size, stride, dtype)


_MAKERS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": lambda *_: _Dict(),
    "collections.defaultdict": lambda *_: _Dict(),
    "torch.Size": lambda sizes=(), *_: tuple(sizes),
    "torch.device": lambda *_: "cpu",
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
}
