"""What files that nobody vouches for hold: .safetensors, .npz, and PyTorch's own by its
weights-only reader.

The format is told by the first bytes, not by the suffix: a pickle that is called .safetensors is a
pickle. Nothing in a file is ever run. Beside tensors and plain values a PyTorch file may hold
objects of any class, which stay names (``closed``). One that asks for functions of Python's own
library, or has no tensors beside its objects, is refused, and the refusal lists what it asked for.
A tree is what a file holds: dicts, lists, tensors and plain values.
"""

import io
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from landscape import specs
from landscape.errors import LoadingError
from landscape.files import closed, pickles
from landscape.results import Result, result

# of files before PyTorch 1.6
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", b"L119547037146038801333356L\n"
# bytes of JSON at the head of a .safetensors file, the format's own limit
_HEADER_LIMIT = 100_000_000
# the weights in an archive that stable-baselines3 has saved
POLICY = "policy.pth"
DEEPEST = 64  # levels of dicts and lists in a file


@result("tensor-entry")
@dataclass(frozen=True)
class TensorEntry:
    """A tensor in a file, its values unread."""

    name: str  # dotted from the root of the file
    shape: tuple[int, ...]
    dtype: str


@result("file-report")
@dataclass(frozen=True)
class FileReport(Result):
    """What a checkpoint file holds, told without running any of it."""

    path: str
    format: str
    safe: bool  # it loads here, as tensors and plain values
    reason: str  # why it is refused, empty when safe
    tensors: tuple[
        TensorEntry, ...
    ]  # of a refused PyTorch file none: only its unpickling would tell
    others: dict[str, str]  # entries that are no tensors: a short description of each
    asks_for: tuple[str, ...]  # module.name of every global that its pickles import


@dataclass(frozen=True)
class Content:
    """What a file holds, and the classes in it that stayed names."""

    tree: object
    names: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What was left out, in words."""
        if not self.names:
            return []
        return [
            f"tensors and plain values read; of other objects in it the names alone, and nothing "
            f"was run: {few(list(self.names))}"
        ]


def read_tree(path: Path) -> object:
    """What a file holds; tensors of PyTorch's zip format are memory maps of it.

    Raises:
        LoadingError: it cannot be read, or is refused.
    """
    return read(path).tree


def read(path: Path) -> Content:
    """As ``read_tree``, with the classes that stayed names."""
    kind = file_format(path)
    if kind == "safetensors":
        return Content(_read_safetensors(path))
    if kind == "npz":
        return Content(_read_npz(path))
    if kind == "stable-baselines3":
        return Content(_read_policy(path))
    if kind in ("torch zip", "torch legacy"):
        return _read_torch(path, kind)
    raise _refusal(path, kind, "")


def file_format(path: Path) -> str:
    """The format of a file by its bytes,
    ``safetensors``, ``npz``, ``npy``, ``torch zip``, ``torch legacy``, ``torch tar``,
    ``torchscript``, ``stable-baselines3``, ``pickle``, ``zip`` or ``unknown``.

    Raises:
        LoadingError: no such file, or it cannot be read, or is empty.
    """
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            head = file.read(512)
        size = path.stat().st_size
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(path) as archive:
                return _zip_format(archive.namelist())
    except FileNotFoundError:
        raise LoadingError(f"there is no file {path}. Check the path.") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise LoadingError(f"{path} cannot be read: {error.strerror or error}.") from None
    if size == 0:
        raise LoadingError(f"{path} is empty. Copy or save it again.")
    kind = _magic_format(head)
    if kind == "unknown" and size > 1 and pickles.asked_globals(path):
        return "pickle"
    return kind


def refuse_pipe(path: Path) -> None:
    """Raise for a pipe or a device, which may have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise LoadingError(f"{path} is no plain file: copy what it gives into one.")


def _magic_format(head: bytes) -> str:
    """The format of a file that is no zip, by its first bytes."""
    if head[257:262] == b"ustar":
        return "torch tar"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    length = int.from_bytes(head[:8], "little")
    # one whose header is longer than the file has been cut off
    if head[8:9] == b"{" and 2 <= length <= _HEADER_LIMIT:
        return "safetensors"
    if any(magic in head[:40] for magic in _TORCH_MAGIC):
        return "torch legacy"
    return "pickle" if head[:1] == b"\x80" else "unknown"


def _zip_format(names: list[str]) -> str:
    if any(n.endswith("/constants.pkl") or "/code/" in n for n in names):
        return "torchscript"
    if any(f"/{n}".endswith("/data.pkl") for n in names):
        return "torch zip"
    if POLICY in names and "data" in names:
        return "stable-baselines3"
    return "npz" if names and all(n.endswith(".npy") for n in names) else "zip"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from None


def _read_torch(path: Path, kind: str) -> Content:
    _refuse_bomb(path)
    try:
        mapped = kind == "torch zip" and _is_stored(path)
        with warnings.catch_warnings(
            action="ignore"
        ):  # about pickle protocols; what matters raises
            return Content(
                torch.load(
                    path, map_location="cpu", weights_only=True, mmap=True if mapped else None
                )
            )
    # of many kinds: UnpicklingError, RuntimeError, EOFError, KeyError, struct.error, ...
    except Exception as error:
        found = _read_closed(path, kind)
        if found is None:
            raise _refusal(path, kind, specs.one_line(error)) from None
        return found


def _read_closed(path: Path, kind: str) -> Content | None:
    """What a PyTorch file holds beside objects of classes, which stay names; None: no tensors, or
    what it asks for is meant to run.
    """
    tensors: list[TensorEntry] = []
    try:
        reader = closed.read_zip if kind == "torch zip" else closed.read_legacy
        tree, names = reader(path)
        flatten(tree, "", tensors, {})
    except Exception:  # of many kinds, as unpicklers raise them
        return None
    return Content(tree, tuple(names)) if tensors else None


def _read_policy(path: Path) -> dict[str, object]:
    """The .pth files in an archive of stable-baselines3 by their names; its settings, which are
    pickled, are left alone.
    """
    _refuse_bomb(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".pth"): torch.load(
                    io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True
                )
                for name in archive.namelist()
                if name.endswith(".pth")
            }
    except Exception as error:
        raise _refusal(path, "stable-baselines3", specs.one_line(error)) from None


def _is_stored(path: Path) -> bool:
    """Whether no member of an archive is compressed, so that it can be mapped into memory."""
    with zipfile.ZipFile(path) as archive:
        return all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def _read_npz(path: Path) -> dict[str, Tensor | np.ndarray]:
    _refuse_bomb(path)
    try:
        objects = [entry.name for entry in _npz_entries(path) if entry.dtype == "object"]
        if objects:
            raise LoadingError(
                f"{path} is refused: it has arrays of Python objects, {few(objects)}, and loading "
                f"them could run any code, so none of it was run. They ask for "
                f"{few(pickles.asked_globals(path), 12) or 'nothing'}. Save arrays of numbers: "
                f"labels as integers, by np.unique(y, return_inverse=True)[1] say, and weights by "
                f"safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: tensor_of(arrays[name]) for name in arrays.files}
    except LoadingError:
        raise
    except Exception as error:  # zlib.error, BadZipFile, ValueError, MemoryError, EOFError, ...
        raise damaged(path, error) from None


def tensor_of(array: np.ndarray) -> Tensor | np.ndarray:
    """A tensor of the same numbers where torch has the dtype, else the array itself
    (text, dates).
    """
    try:
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(np.ascontiguousarray(native)).reshape(array.shape)
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
        raise LoadingError(
            f"{path} is refused: {size:,} bytes that would unpack to {total:,}. Save it "
            f"uncompressed."
        )


def damaged(path: Path, error: object) -> LoadingError:
    """What is raised of a file that cannot be read, with what its reader says."""
    return LoadingError(f"{path} is damaged ({specs.one_line(error)}). Copy or save it again.")


_LFS = b"version https://git-lfs"


def _refusal(path: Path, kind: str, error: str) -> LoadingError:
    """Why a file is not read, what it asked for, and what to do instead."""
    asked = pickles.asked_globals(path)
    strange = [name for name in asked if not pickles.builds_tensors(name)]
    if kind == "unknown":
        with path.open("rb") as file:
            pointer = file.read(len(_LFS)) == _LFS
        told = " It is a pointer of Git LFS: fetch the file by git lfs pull." if pointer else ""
        return LoadingError(
            f"{path} is no checkpoint: neither safetensors, PyTorch nor npz by its first bytes."
            f"{told}"
        )
    if kind in ("zip", "npy") and not asked:
        return LoadingError(
            f"{path} is no checkpoint: a file of format {kind} has no names for the weights."
        )
    if kind in ("torch zip", "torch legacy", "stable-baselines3") and not strange:
        return damaged(path, error)
    asks = f"It asks for {few(strange or asked, 12)}" if asked else "It names no globals"
    return LoadingError(
        f"{path} is refused ({kind}): loading it could run any code, so none of it was run. "
        f"{asks}. "
        "Where you trust its origin, save the weights alone: torch.save(model.state_dict(), "
        "'weights.pt'), or "
        "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')."
    )


def describe(value: object) -> str:
    """What a value read from a file is, in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {dtype_name(value)}"
    if isinstance(value, dict):
        return f"{len(value)} entries: {few([str(k) for k in value], 8)}" if value else "nothing"
    if isinstance(value, list | tuple):
        tensors = bool(value) and all(isinstance(v, Tensor | np.ndarray) for v in value)
        what = f" tensor{'s' * (len(value) > 1)}" if tensors else ""
        return f"a {type(value).__name__} of {len(value)}{what}"
    return specs.one_line(repr(value), 80)


# ---- inspect


def inspect_file(path: str | os.PathLike[str]) -> FileReport:
    """What is in a checkpoint file, safe to load or not; executes nothing.

    Raises:
        LoadingError: the file cannot be read at all. One that is refused or damaged gives a report
            with the reason.
    """
    path = Path(path)
    kind = file_format(path)
    tensors: list[TensorEntry] = []
    others: dict[str, str] = {}
    reason = ""
    try:
        if kind == "npz":
            tensors = _headers(path)
        flatten(read_tree(path), "", tensors if kind != "npz" else [], others)
    except LoadingError as error:
        reason = str(error)
    asks_for = () if kind == "safetensors" else tuple(pickles.asked_globals(path))
    return FileReport(str(path), kind, not reason, reason, tuple(tensors), others, asks_for)


def _headers(path: Path) -> list[TensorEntry]:
    try:
        return [entry for entry in _npz_entries(path) if entry.dtype != "object"]
    except Exception:  # damaged: the reading that follows says how
        return []


def flatten(
    tree: object, name: str, tensors: list[TensorEntry], others: dict[str, str], depth: int = 0
) -> None:
    """Add the tensors of a tree, and what else it holds, by names dotted from its root.

    Raises:
        LoadingError: it is nested too deeply, or holds itself.
    """
    if depth > DEEPEST:
        raise LoadingError(
            f"the file is nested more than {DEEPEST} levels deep, or holds itself: save the "
            "weights alone, torch.save(model.state_dict(), 'weights.pt')."
        )
    parts = _parts(tree)
    for key, value in parts.items():
        flatten(value, f"{name}.{key}" if name else str(key), tensors, others, depth + 1)
    if isinstance(tree, Tensor):
        tensors.append(TensorEntry(name or "(the file)", tuple(tree.shape), dtype_name(tree)))
    elif not parts:
        others[name or "(the file)"] = describe(tree)


def _parts(tree: object) -> dict[object, object]:
    """What is looked at one by one: the entries of a dict, and those of a list that has tensors."""
    if isinstance(tree, dict):
        return tree
    if isinstance(tree, list | tuple) and any(isinstance(v, Tensor | dict) for v in tree):
        return dict(enumerate(tree))
    return {}


def few(names: list[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(specs.one_line(n, 120) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def named_tensors(tree: object) -> dict[str, Tensor]:
    """The tensors among the entries of a tree that is a dict, by name; of another, none."""
    entries = tree.items() if isinstance(tree, dict) else ()
    return {str(name): value for name, value in entries if isinstance(value, Tensor)}


def outside(files: list[str]) -> list[str]:
    """Those of a list of file names that are no plain names, and so may lead out of a folder."""
    return [file for file in files if Path(file).name != file or file in ("", ".", "..")]


def dtype_name(value: Tensor) -> str:
    """``float32`` for a tensor of torch.float32."""
    return str(value.dtype).removeprefix("torch.")


def conversions(tensors: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    """In words, how many tensors change their dtype where they take the place of those saved."""
    changes: dict[tuple[str, str], int] = {}
    for name, value in tensors.items():
        if name in saved and value.dtype != saved[name].dtype:
            change = (dtype_name(value), dtype_name(saved[name]))
            changes[change] = changes.get(change, 0) + 1
    return [f"{count} tensors converted from {a} to {b}" for (a, b), count in changes.items()]
