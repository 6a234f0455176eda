"""Weights in a folder, as Hugging Face's libraries save a model: one file, or shards and an index
of which tensor is in which.

Only the files that are named here or by the index are read, and an index can name files of its own
folder only.
"""

import json
from pathlib import Path

from torch import Tensor

from landscape.errors import LoadingError
from landscape.files import formats

# the first that is there is read: safetensors before pickles
NAMES = ("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
# what the Trainer of transformers saves beside the weights
OPTIMIZER = "optimizer.pt"


def read_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a folder by name, and in words where they were.

    Raises:
        LoadingError: there is no file of weights, an index does not fit its files, or a file cannot
            be read or is refused.
    """
    for name in NAMES:
        if (folder / name).is_file():
            return _tensors(folder / name), f"weights read from {name} in {folder}"
        if (folder / (name + INDEX)).is_file():
            return _sharded(folder, name + INDEX)
    raise LoadingError(
        f"{folder} is a folder without {', '.join(NAMES)} or an index of them: name a file of "
        f"weights in it, or a folder that save_pretrained() has written."
    )


def _sharded(folder: Path, index: str) -> tuple[dict[str, Tensor], str]:
    places = _places(folder / index)
    shards = {shard: _tensors(folder / shard) for shard in sorted(set(places.values()))}
    absent = [name for name, shard in places.items() if name not in shards[shard]]
    if absent:
        raise LoadingError(
            f"{folder / index} lists {len(absent)} tensors that its files do not hold: "
            f"{formats.few(absent)}. Copy the folder again."
        )
    found = {name: shards[shard][name] for name, shard in places.items()}
    return found, f"weights read from {len(shards)} files that {index} in {folder} lists"


def _places(path: Path) -> dict[str, str]:
    """Tensor -> file, as an index tells it."""
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        named = {str(name): str(shard) for name, shard in places.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadingError(
            f"{path} is no index of weights: it must hold a weight_map of tensors to files "
            f"({type(error).__name__}: {error})."
        ) from None
    outside = sorted({s for s in named.values() if Path(s).name != s or s in ("", ".", "..")})
    if outside:
        raise LoadingError(f"{path} names files outside its folder: {formats.few(outside)}.")
    return named


def _tensors(path: Path) -> dict[str, Tensor]:
    tree = formats.read_tree(path)
    if not isinstance(tree, dict):
        raise LoadingError(f"{path} holds no weights, but {formats.describe(tree)}.")
    return {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
