"""Weights in a folder: as Hugging Face's libraries save a model, one file, or shards and an index
of which tensor is in which; an adapter of PEFT; or what ``torch.distributed.checkpoint`` saves.

Only the files that are named here or by the index are read, and an index can name files of its own
folder only.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from landscape.errors import LoadingError
from landscape.files import distributed, formats, pickles
from landscape.files.formats import FileReport, TensorEntry

Tensors = Callable[[Path], dict[str, Tensor]]  # of a file, by name
# the first that is there is read: safetensors before pickles
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
NAMES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    *ADAPTERS,
)
INDEX = ".index.json"
# files of a folder that are listed
MOST_FILES = 1_000
# what the Trainer of transformers saves beside the weights
OPTIMIZER = "optimizer.pt"


def adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter of PEFT, and no weights beside it."""
    return _first(folder) in ADAPTERS


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights that ``read_weights`` reads."""
    return _first(folder) is not None or (folder / distributed.METADATA).is_file()


def _first(folder: Path) -> str | None:
    """The file of weights, or the index, that is read."""
    names = [n for name in NAMES for n in (name, name + INDEX)]
    return next((name for name in names if (folder / name).is_file()), None)


def read_weights(
    folder: Path,
    tensors: Tensors | None = None,
    chunks: Callable[[Path], dict[str, object]] = distributed.read_tree,
) -> tuple[dict[str, object], str]:
    """The tensors of a folder by name, and in words where they were. They are nested where
    ``torch.distributed.checkpoint`` has saved them so.

    Args:
        folder: it and no other is read.
        tensors: what reads the tensors of a file; None: whole.
        chunks: what reads a folder of ``torch.distributed.checkpoint``.

    Raises:
        LoadingError: there is no file of weights, an index does not fit its files, or a file cannot
            be read or is refused.
    """
    name, read = _first(folder), tensors or _tensors
    if name is not None and name.endswith(INDEX):
        return _sharded(folder, name, read)
    if name is not None:
        return dict(read(folder / name)), f"weights read from {name} in {folder}"
    if (folder / distributed.METADATA).is_file():
        told = f"weights read from the chunks that {distributed.METADATA} in {folder} lists"
        return chunks(folder), told
    below = sorted(d.name for d in folder.iterdir() if d.is_dir() and has_weights(d))[:MOST_FILES]
    told = f" There are weights in its folders {formats.few(below)}." if below else ""
    raise LoadingError(
        f"{folder} is a folder without {', '.join(NAMES)} or an index of them: name a file of "
        f"weights in it, or a folder that save_pretrained() or torch.distributed.checkpoint has "
        f"written.{told}"
    )


def _sharded(folder: Path, index: str, read: Tensors) -> tuple[dict[str, object], str]:
    places = _places(folder / index)
    shards = {shard: read(folder / shard) for shard in sorted(set(places.values()))}
    absent = [name for name, shard in places.items() if name not in shards[shard]]
    if absent:
        raise LoadingError(
            f"{folder / index} lists {len(absent)} tensors that its files do not hold: "
            f"{formats.few(absent)}. Copy the folder again."
        )
    found: dict[str, object] = {name: shards[shard][name] for name, shard in places.items()}
    return found, f"weights read from {len(shards)} files that {index} in {folder} lists"


def _places(path: Path) -> dict[str, str]:
    """Tensor -> file, as an index tells it."""
    formats.refuse_pipe(path)
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        named = {str(name): str(shard) for name, shard in places.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LoadingError(
            f"{path} is no index of weights: it must hold a weight_map of tensors to files "
            f"({type(error).__name__}: {error})."
        ) from None
    outside = formats.outside(sorted(set(named.values())))
    if outside:
        raise LoadingError(f"{path} names files outside its folder: {formats.few(outside)}.")
    return named


def _tensors(path: Path) -> dict[str, Tensor]:
    tree = formats.read_tree(path)
    if not isinstance(tree, dict):
        raise LoadingError(f"{path} holds no weights, but {formats.describe(tree)}.")
    return formats.named_tensors(tree)


def inspect(path: str | os.PathLike[str]) -> FileReport:
    """What is in a checkpoint, a file or a folder, safe to load or not; executes nothing.

    Raises:
        LoadingError: the file cannot be read at all. A folder whose weights are refused, or that
            has none, gives a report of its files with the reason.
    """
    folder = Path(path)
    if not folder.is_dir():
        return formats.inspect_file(folder)
    tensors: list[TensorEntry] = []
    reason, asks_for = "", list[str]()
    try:
        formats.flatten(read_weights(folder)[0], "", tensors, {})
    except LoadingError as error:
        reason = str(error)
    others = {}
    for file in sorted(folder.iterdir())[:MOST_FILES]:
        others[file.name], asked = _told(file)
        asks_for += asked
    asks = tuple(dict.fromkeys(asks_for))
    return FileReport(str(path), "folder", not reason, reason, tuple(tensors), others, asks)


def _told(file: Path) -> tuple[str, list[str]]:
    """What a file of a folder is, in words, and the globals that its pickles ask for."""
    if file.is_dir():
        return "a folder", []
    try:
        kind = formats.file_format(file)
    except LoadingError as error:
        return str(error), []
    asked = [] if kind in ("safetensors", "unknown") else pickles.asked_globals(file)
    size = f"{file.stat().st_size:,} bytes"
    return (size if kind == "unknown" else f"{kind}, {size}"), asked
