"""Weights from files that nobody vouches for: .safetensors, .npz, and PyTorch's own by its weights-only reader.

The format is told by the first bytes, not by the suffix: a pickle that is called .safetensors is a pickle. Nothing in a
file is ever run. A file that asks for more than plain tensors is refused, and the refusal lists what it asked for.
A tree is what a file holds: dicts, lists, tensors and plain values; a state is a flat dict from names to tensors.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape import pickles, specs
from landscape.errors import LoadingError
from landscape.results import result

# where training loops put the weights, the usual first
STATE_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params", "parameters",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
_TORCH_MAGIC = (b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", b"L119547037146038801333356L\n")  # of files before PyTorch 1.6
_HEADER_LIMIT = 100_000_000  # bytes of JSON at the head of a .safetensors file, the format's own limit


@result
@dataclass(frozen=True)
class TensorEntry:
    """A tensor in a file, its values unread."""

    name: str  # dotted from the root of the file
    shape: tuple[int, ...]
    dtype: str


@result
@dataclass(frozen=True)
class FileReport:
    """What a checkpoint file holds, told without running any of it."""

    path: str
    format: str
    safe: bool  # it loads here, as tensors and plain values
    reason: str  # why it is refused, empty when safe
    tensors: tuple[TensorEntry, ...]  # of a refused PyTorch file none: only its unpickling would tell
    others: dict[str, str]  # entries that are no tensors: a short description of each
    asks_for: tuple[str, ...]  # module.name of every global that its pickles import


@dataclass(frozen=True)
class State:
    """Weights by name, on the CPU, and in words how they were found."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_state(path: str | os.PathLike[str], key: str | None = None) -> State:
    """The weights in a checkpoint.

    Args:
        path: .safetensors, .pt, .pth, .bin, .ckpt or .npz; the first bytes decide, not the suffix.
        key: the entry that holds the weights, dotted where nested; None looks for the usual ones.

    Raises:
        LoadingError: no such file, a pickle that asks for more than tensors, or no weights where they should be.
    """
    path = Path(path)
    tree = read_tree(path)
    notes: list[str] = []
    if key is not None:
        tree = _descend(tree, key, path)
    else:
        for _ in range(3):  # {"model": {"state_dict": ...}} is as deep as it gets
            inner = next((k for k in STATE_KEYS if isinstance(tree, dict) and _has_tensors(tree.get(k), 3)), None)
            if inner is None:
                break
            tree = tree[inner]
            notes.append(f"weights read from the entry {inner!r} of {path.name}")
    tensors = {str(k): v for k, v in tree.items() if isinstance(v, Tensor)} if isinstance(tree, dict) else {}
    if not tensors:
        where = f"the entry {key!r} of {path}" if key else str(path)
        raise LoadingError(f"{where} holds no weights, but {_describe(tree)}. Name their entry by --checkpoint-key.")
    others = [str(k) for k in tree if str(k) not in tensors]
    if others:
        notes.append(f"{len(others)} entries that are no tensors left out: {_few(others)}")
    return State(tensors, tuple(notes))


def load_checkpoint(model: nn.Module, path: str | os.PathLike[str], key: str | None = None) -> list[str]:
    """Put the weights of a file into a model, strictly: every name there once, every shape the same.

    Returns:
        What had to be done, in words: the entry they were in, prefixes stripped, dtypes converted.

    Raises:
        LoadingError: the file does not load or does not fit; the model is then as it was.
    """
    state = read_state(path, key)
    notes = list(state.notes)
    live = model.state_dict()
    variants = _variants(state.tensors)
    saved = {k: v.detach().clone() for k, v in live.items() if isinstance(v, Tensor) and not is_lazy(v)}
    for prefix, tensors in variants:
        try:
            model.load_state_dict(tensors, strict=True)
        except Exception as error:  # its own hooks may raise anything
            failure = error
            _restore(live, saved)
            continue
        except BaseException:
            _restore(live, saved)
            raise
        if prefix:
            notes.append(f"prefix {prefix!r} stripped from {len(tensors)} names")
        return notes + _conversions(tensors, saved)
    best = min((_misfit(tensors, saved) for _, tensors in variants), key=lambda misfit: misfit[0])
    raise LoadingError(f"{path} does not fit the model: {best[1] or specs.one_line(failure)}.")


def _restore(live: dict[str, Any], saved: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in saved.items():
            live[name].copy_(value)


def _variants(tensors: dict[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The state as it is, and with each run of prefixes that all its names share cut off."""
    variants, cut = [("", tensors)], ""
    while True:
        prefix = next((p for p in PREFIXES if all(k.startswith(p) and k != p for k in tensors)), None)
        if prefix is None:
            return variants
        cut += prefix
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
        variants.append((cut, tensors))


def _conversions(tensors: dict[str, Tensor], saved: dict[str, Tensor]) -> list[str]:
    changes: dict[tuple[str, str], int] = {}
    for name, value in tensors.items():
        if name in saved and value.dtype != saved[name].dtype:
            change = (_dtype(value), _dtype(saved[name]))
            changes[change] = changes.get(change, 0) + 1
    return [f"{count} tensors converted from {a} to {b}" for (a, b), count in changes.items()]


def _misfit(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[int, str]:
    """How many names do not fit, and which."""
    missing = [k for k in wanted if k not in tensors]
    extra = [k for k in tensors if k not in wanted]
    shapes = [
        f"{k} is {tuple(v.shape)} and should be {tuple(wanted[k].shape)}"
        for k, v in tensors.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    parts = [
        f"{len(names)} {what}: {_few(names)}"
        for what, names in (("missing", missing), ("unexpected", extra), ("of another shape", shapes))
        if names
    ]
    return len(missing) + len(extra) + len(shapes), "; ".join(parts)


def _few(names: list[str], most: int = 4) -> str:
    shown = ", ".join(specs.one_line(n, 120) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


# ---- trees


def read_tree(path: Path) -> Any:
    """What a file holds; tensors of PyTorch's zip format are memory maps of it.

    Raises:
        LoadingError: it cannot be read, or is refused.
    """
    kind = file_format(path)
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind == "npz":
        return _read_npz(path)
    if kind in ("torch zip", "torch legacy"):
        return _read_torch(path, kind)
    raise _refusal(path, kind, "")


def file_format(path: Path) -> str:
    """``safetensors``, ``npz``, ``npy``, ``torch zip``, ``torch legacy``, ``torch tar``, ``torchscript``, ``pickle``, ``zip``
    or ``unknown``, from the bytes of a file.

    Raises:
        LoadingError: no such file, or it cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        size = path.stat().st_size
        names = zipfile.ZipFile(path).namelist() if head.startswith(b"PK\x03\x04") else None
    except FileNotFoundError:
        raise LoadingError(f"there is no file {path}. Check the path.") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise LoadingError(f"{path} is a damaged zip archive ({specs.one_line(error)}). Copy or save it again.") from None
    except OSError as error:
        raise LoadingError(f"{path} cannot be read: {error.strerror or error}.") from None
    if size == 0:
        raise LoadingError(f"{path} is empty. Copy or save it again.")
    if names is not None:
        return _zip_format(names)
    if head[257:262] == b"ustar":
        return "torch tar"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= min(_HEADER_LIMIT, size - 8):
        return "safetensors"
    if any(magic in head[:40] for magic in _TORCH_MAGIC):
        return "torch legacy"
    return "pickle" if head[:1] == b"\x80" or (size > 1 and pickles.asked_globals(path)) else "unknown"


def _zip_format(names: list[str]) -> str:
    if any(n.endswith("/constants.pkl") or "/code/" in n for n in names):
        return "torchscript"
    if any(n == "data.pkl" or n.endswith("/data.pkl") for n in names):
        return "torch zip"
    return "npz" if names and all(n.endswith(".npy") for n in names) else "zip"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118: it is no dict
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise LoadingError(f"{path} is damaged ({specs.one_line(error)}). Copy or save it again.") from None


def _read_torch(path: Path, kind: str) -> Any:
    _refuse_bomb(path)
    try:
        plain = kind == "torch zip" and not any(i.compress_type for i in zipfile.ZipFile(path).infolist())
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True if plain else None)
    except Exception as error:  # of many kinds: UnpicklingError, RuntimeError, EOFError, KeyError, struct.error, ...
        raise _refusal(path, kind, specs.one_line(error)) from None


def _read_npz(path: Path) -> dict[str, Any]:
    _refuse_bomb(path)
    try:
        objects = [entry.name for entry in _npz_entries(path) if entry.dtype == "object"]
        if objects:
            raise _refusal(path, "npz with object arrays", f"object arrays: {_few(objects)}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: tensor_of(arrays[name]) for name in arrays.files}
    except LoadingError:
        raise
    except Exception as error:  # zlib.error, BadZipFile, ValueError, MemoryError, EOFError, ...
        raise LoadingError(f"{path} is damaged ({specs.one_line(error)}). Copy or save it again.") from None


def tensor_of(array: np.ndarray[Any, Any]) -> Any:
    """A tensor of the same numbers where torch has the dtype, else the array itself (text, dates)."""
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))).reshape(array.shape)
    except TypeError:
        return array


def _npz_entries(path: Path) -> list[TensorEntry]:
    """Names, shapes and dtypes from the headers alone."""
    entries = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                shape, dtype, _ = pickles.npy_header(member.read(1 << 16))
            name = "object" if dtype.hasobject else str(dtype)
            entries.append(TensorEntry(info.filename.removesuffix(".npy"), shape, name))
    return entries


def _refuse_bomb(path: Path) -> None:
    """Stored weights do not shrink a hundredfold; an archive that says so would fill the memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
    size = path.stat().st_size
    if total > max(1 << 28, 100 * size):
        raise LoadingError(f"{path} is refused: {size:,} bytes that would unpack to {total:,}. Save it uncompressed.")


def _refusal(path: Path, kind: str, error: str) -> LoadingError:
    """Why a file is not read, what it asked for, and what to do instead."""
    asked = pickles.asked_globals(path)
    strange = [name for name in asked if not pickles.builds_tensors(name)]
    if kind == "unknown":
        return LoadingError(f"{path} is no checkpoint: neither safetensors, PyTorch nor npz by its first bytes.")
    if kind in ("zip", "npy") and not asked:
        return LoadingError(f"{path} is no checkpoint: a file of format {kind} has no names for the weights.")
    if kind in ("torch zip", "torch legacy") and not strange:
        return LoadingError(f"{path} is damaged ({error}). Copy or save it again.")
    asks = f"It asks for {_few(strange or asked, 12)}" if asked else "It names no globals"
    return LoadingError(
        f"{path} is refused ({kind}): loading it could run any code, so none of it was run. {asks}. Where you trust its "
        "origin, save the weights alone: torch.save(model.state_dict(), 'weights.pt'), or "
        "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
    )


def _descend(tree: Any, key: str, path: Path) -> Any:
    """The entry of a tree under a dotted key, whose parts may have dots of their own."""
    parts = key.split(".")
    for cut in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
        if isinstance(tree, dict) and head in tree:
            return _descend(tree[head], rest, path) if rest else tree[head]
    known = [str(k) for k in tree] if isinstance(tree, dict) else []
    raise LoadingError(f"{path} has no entry {key!r}.{specs.closest(key, known)} It holds {_describe(tree)}.")


def _has_tensors(tree: Any, depth: int) -> bool:
    if not isinstance(tree, dict) or depth == 0:
        return False
    return any(isinstance(v, Tensor) or _has_tensors(v, depth - 1) for v in tree.values())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {_dtype(value)}"
    if isinstance(value, dict):
        return f"{len(value)} entries: {_few([str(k) for k in value], 8)}" if value else "nothing"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return specs.one_line(repr(value), 80)


# ---- inspect


def inspect_file(path: str | os.PathLike[str]) -> FileReport:
    """What is in a checkpoint file, safe to load or not; executes nothing.

    Raises:
        LoadingError: the file cannot be read at all. One that is refused or damaged gives a report with the reason.
    """
    path = Path(path)
    kind = file_format(path)
    tensors: list[TensorEntry] = []
    others: dict[str, str] = {}
    reason = ""
    try:
        if kind == "npz":
            tensors = _headers(path)
        _flatten(read_tree(path), "", tensors if kind != "npz" else [], others)
    except LoadingError as error:
        reason = str(error)
    return FileReport(
        str(path), kind, not reason, reason, tuple(tensors), others, tuple(pickles.asked_globals(path))
    )  # fmt: skip


def _headers(path: Path) -> list[TensorEntry]:
    try:
        return [entry for entry in _npz_entries(path) if entry.dtype != "object"]
    except Exception:  # damaged: the reading that follows says how
        return []


def _flatten(tree: Any, name: str, tensors: list[TensorEntry], others: dict[str, str]) -> None:
    if isinstance(tree, Tensor):
        tensors.append(TensorEntry(name or "(the file)", tuple(tree.shape), _dtype(tree)))
    elif isinstance(tree, dict) and tree:
        for key, value in tree.items():
            _flatten(value, f"{name}.{key}" if name else str(key), tensors, others)
    elif isinstance(tree, list | tuple) and any(isinstance(v, Tensor | dict) for v in tree):
        for i, value in enumerate(tree):
            _flatten(value, f"{name}.{i}" if name else str(i), tensors, others)
    else:
        others[name or "(the file)"] = _describe(tree)
