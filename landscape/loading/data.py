"""Data by a spec: ``digits``, a file of arrays, or a user's own Python, as a list of micro-batches
(x, y).

Arrays are put in a seeded order before they are cut: sorted classes would make every micro-batch
another population, and the spread between micro-batches is what data-sampling errors are estimated
from. Nothing is dropped; the last batch may be shorter. A non-finite number is a NumericalError
that names its array and index.
"""

import csv
import math
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from landscape import files, rng, specs
from landscape.errors import LoadingError, NumericalError
from landscape.landscapes import batches as batching
from landscape.landscapes import losses
from landscape.landscapes.batches import Batch
from landscape.landscapes.model import ModelLandscape
from landscape.loading import userfiles
from landscape.rng import seeded
from landscape.zoo import packaged

PAIRS = (
    ("x", "y"),
    ("X", "y"),
    ("inputs", "targets"),
    ("inputs", "labels"),
    ("images", "labels"),
    ("data", "target"),
)
Pair = Sequence[Tensor | np.ndarray]  # (x, y)
UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
LABELLED = (losses.CrossEntropy, losses.NegativeLogLikelihood, nn.CrossEntropyLoss, nn.NLLLoss)
MOST = 2.0**53  # from here on float64 does not tell whole numbers apart
SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".csv")


def load_data(spec: str, batch_size: int | None = None, seed: int = 0) -> list[Batch]:
    """The micro-batches that ``spec`` names.

    Args:
        spec: ``digits``; ``file.npz``, ``file.safetensors`` or ``file.pt`` with x and y
            (``file.npz:x=images,y=labels`` for other names); ``file.csv``, target in the last
            column (or ``file.csv:target=price``); ``pkg.mod:attr`` or ``file.py:attr``: a
            DataLoader, a Dataset, a pair (x, y) of tensors, a list of batches, or a function
            without arguments that returns one of these. A DataLoader is read once, its order
            frozen.
        batch_size: samples a micro-batch; None: 16 micro-batches of at most 256, or as a DataLoader
            or list has them.
        seed: of the order of arrays, and of the random state a user's function sees.

    Raises:
        ValueError: an unknown spec or option, or a batch size below 1 or for batches that cannot be
            cut again.
        LoadingError: data that cannot be read, are empty, or whose x and y differ in length.
        NumericalError: a NaN or infinity in the data.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}.")
    if spec == "digits":
        x, y = packaged.digits()
        return batching.cut(x, y, batch_size, seed)
    if userfiles.is_python(spec):
        return _from_python(spec, batch_size, seed)
    name, options = _file_spec(spec)
    x, y = (
        _from_csv(Path(name), options)
        if name.endswith(".csv")
        else _from_arrays(Path(name), options)
    )
    y = _labels(y, name)
    require_pair(x, y, name)
    return batching.cut(x, y, batch_size, seed)


def _labels(y: Tensor, source: str) -> Tensor:
    """Targets as losses take them: labels without a sign become int64."""
    if y.dtype not in UNSIGNED:
        return y
    if y.numel() and y.dtype == torch.uint64 and bool((y.view(torch.int64) < 0).any()):
        row = int((y.view(torch.int64) < 0).reshape(len(y), -1).any(dim=1).nonzero()[0])
        raise LoadingError(f"{source}: the label of sample {row + 1} is 2**63 or more.")
    return y.to(torch.int64)


def require_pair(x: Tensor, y: Tensor, source: str) -> None:
    """Raise unless x and y have the same positive number of samples and are finite."""
    for name, tensor in (("x", x), ("y", y)):
        if tensor.ndim == 0:
            raise LoadingError(
                f"{name} of {source} is a single number, and should have a row a sample."
            )
    if len(x) != len(y):
        raise LoadingError(
            f"{source} has {len(x)} inputs and {len(y)} targets: there must be one target an input."
        )
    if len(x) == 0:
        raise LoadingError(f"{source} is empty: it has no samples.")
    require_finite(x, f"x of {source}")
    require_finite(y, f"y of {source}")


def require_fit(f: ModelLandscape, spec: str | None, seed: int) -> None:
    """Raise a LoadingError that names the data, and the sample where there is one, unless the model
    takes their inputs and has an output for each of their labels; ``spec`` None: its own.

    Cost: a forward pass of the first batch.
    """
    if spec and (isinstance(f.loss, LABELLED) or f.loss in (F.cross_entropy, F.nll_loss)):
        ignored = getattr(f.loss, "ignore_index", losses.IGNORED)
        try:
            output, _ = f.first_output(f.point())
        except LoadingError as error:
            raise LoadingError(f"{spec} does not fit the model: {error}") from error
        except (ValueError, StopIteration):  # an output that is no tensor: the loss will say
            return
        if output.ndim > 1:
            _require_integers(f, output, spec)
            _require_labels(f, output.shape[1], ignored, spec, seed)


def _require_integers(f: ModelLandscape, output: Tensor, spec: str) -> None:
    """Raise for labels that are neither integers nor, shaped as the output, probabilities."""
    y = batching.split(f.batches[0])[1]
    if isinstance(y, Tensor) and y.is_floating_point() and y.shape[1:] != output.shape[1:]:
        raise LoadingError(
            f"{spec} has labels of {files.dtype_name(y)}, and this loss needs integers, one a "
            f"sample: store them as int64, or pass another --loss."
        )


def _require_labels(f: ModelLandscape, classes: int, ignored: int, spec: str, seed: int) -> None:
    """Raise for the first label, in the order of the batches, that names no output."""
    seen = 0
    for number, batch in enumerate(f.batches):
        y = batching.split(batch)[1]
        if not isinstance(y, Tensor) or y.is_floating_point() or y.ndim == 0:
            return
        flat = y.reshape(len(y), -1).long()
        wrong = (((flat < 0) | (flat >= classes)) & (flat != ignored)).nonzero()
        if len(wrong):
            row, place = wrong[0].tolist()
            where = _sample(f, spec, seed, seen + row) or f"sample {row} of batch {number}"
            raise LoadingError(
                f"{spec}: the label of {where} is {int(flat[row, place])}, and the model has "
                f"{classes} outputs: labels go from 0 to {classes - 1}."
            )
        seen += len(y)


def _sample(f: ModelLandscape, spec: str, seed: int, position: int) -> str:
    """The sample that a seeded order has put at a position, where the order was made here."""
    if userfiles.is_python(spec):
        return ""
    order = batching.order(f.samples, seed)
    return f"sample {int(order[position]) + 1}" if position < len(order) else ""


def require_finite(tensor: Tensor, name: str) -> None:
    """Raise a NumericalError that names the first NaN or infinity of a floating-point tensor."""
    if not tensor.is_floating_point() or tensor.device.type == "meta":
        return
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        index = tuple(int(i) for i in (~finite).nonzero()[0])
        count = int((~finite).sum())
        raise NumericalError(
            f"{name} is {tensor[index].item()} at index {index}, {count} such in all: mend the "
            f"data."
        )


# ---- files


def _file_spec(spec: str) -> tuple[str, specs.Options]:
    """The file and the options of ``file.npz:x=images``; the path may have colons of its own."""
    name, colon, text = spec.rpartition(":")
    if colon and name.endswith(SUFFIXES):
        return name, specs.options(text, spec)
    if spec.endswith(SUFFIXES):
        return spec, {}
    raise ValueError(
        f"--data {spec!r} is not known.{specs.closest(spec, ['digits'])} Pass digits, a file "
        f"({', '.join(SUFFIXES)}), pkg.mod:attr or file.py:attr."
    )


def _from_arrays(path: Path, options: specs.Options) -> tuple[Tensor, Tensor]:
    for option in options:
        if option not in ("x", "y"):
            raise ValueError(f"data file {path} has no option {option!r}: x and y name its arrays.")
    tree = files.read_tree(path)
    if not isinstance(tree, dict):
        raise LoadingError(
            f"{path} holds {files.describe(tree)}, and data files have arrays by name: "
            f"torch.save({{'x': x, 'y': y}}, {path.name!r})."
        )
    found = files.named_tensors(tree)
    pair = next((p for p in PAIRS if found.keys() >= set(p)), ("x", "y"))
    names = (str(options.get("x", pair[0])), str(options.get("y", pair[1])))
    for option, name in zip(("x", "y"), names, strict=True):
        if name not in found:
            raise LoadingError(
                f"{path} has no array {name!r} for {option}; it has "
                f"{files.few(list(found), 8) or 'none'}. "
                f"Name them: --data {path}:x=NAME,y=NAME."
            )
        if not _is_plain(found[name]):
            raise LoadingError(
                f"{name} of {path} is no plain array: it is sparse, or repeats few numbers by "
                f"strides."
            )
    return found[names[0]], found[names[1]]


def _is_plain(tensor: Tensor) -> bool:
    """Whether each number of a tensor is stored."""
    if tensor.layout != torch.strided:
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize


def _from_csv(path: Path, options: specs.Options) -> tuple[Tensor, Tensor]:
    """Columns of numbers, an optional header; a target of whole numbers is int64."""
    for option in options:
        if option != "target":
            raise ValueError(
                f"data file {path} has no option {option!r}: target names the column to predict."
            )
    rows = _csv_rows(path)
    header = None
    if rows and not all(map(_is_number, rows[0][1])):
        header = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise LoadingError(f"{path} is empty: it has no samples.")
    table = np.array([_numbers(path, line, row, len(rows[0][1]), header) for line, row in rows])
    _require_room(path, rows, table)
    if table.shape[1] < 2:
        raise LoadingError(f"{path} has one column: inputs and a target need two or more.")
    column = _column(path, options.get("target"), header, table.shape[1])
    target, inputs = table[:, column], np.delete(table, column, axis=1)
    whole = bool(np.isfinite(target).all()) and bool((target == np.round(target)).all())
    y = torch.from_numpy(target.astype(np.int64) if whole else target.astype(np.float32))
    return torch.from_numpy(inputs.astype(np.float32)), y


def _require_room(path: Path, rows: list[tuple[int, list[str]]], table: np.ndarray) -> None:
    """Raise for the first number that float32, or a whole one that float64, cannot hold."""
    beyond = np.isfinite(table) & (np.abs(table) > MOST)
    if beyond.any():
        row, column = (int(i) for i in np.argwhere(beyond)[0])
        raise LoadingError(
            f"{path}:{rows[row][0]}: {table[row, column]:g} in column {column + 1} is neither a "
            "class nor within the precision of the model's numbers: scale the column."
        )


def _csv_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file that are not blank, each with its number."""
    try:
        files.refuse_pipe(path)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(enumerate(csv.reader(file), 1))
    except FileNotFoundError:
        raise LoadingError(f"there is no file {path}. Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoadingError(f"{path} cannot be read as CSV: {specs.one_line(error)}.") from None
    return [(i, row) for i, row in rows if any(cell.strip() for cell in row)]


def _column(path: Path, target: object, header: list[str] | None, width: int) -> int:
    if target is None:
        return width - 1
    if header and str(target) in header:
        return header.index(str(target))
    known = f"columns {files.few(header, 8)}" if header else "no header"
    raise ValueError(f"{path} has no column {str(target)!r}: it has {known}.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(
    path: Path, line: int, row: list[str], width: int, header: list[str] | None
) -> list[float]:
    if len(row) != width:
        raise LoadingError(f"{path}:{line} has {len(row)} cells, the first row has {width}.")
    for i, cell in enumerate(row):
        if not _is_number(cell):
            name = header[i] if header and i < len(header) else str(i + 1)
            raise LoadingError(
                f"{path}:{line}: {specs.one_line(cell, 40)!r} in column {name} is not a number."
            )
    return [float(cell) for cell in row]


# ---- a user's own


def _from_python(spec: str, batch_size: int | None, seed: int) -> list[Batch]:
    if spec.endswith(".py"):
        raise ValueError(f"--data {spec} names no attribute: write {spec}:attr.")
    found, source = userfiles.resolve(spec)
    if callable(found) and not isinstance(found, Dataset):
        found = userfiles.call(found, {}, source, seed)
    with userfiles.guarded(source), seeded(seed):
        if isinstance(found, Dataset):
            return _from_dataset(found, batch_size, seed, spec)
        if _is_pair(found):
            return _from_pair(found, batch_size, seed, spec)
        batches = list(_require_batches(found, spec))
    if not batches:
        raise LoadingError(f"{spec} is empty: it has no batches.")
    _require_finite_batches(batches, spec)
    return batches if batch_size is None else batching.cut_again(batches, batch_size, seed, spec)


def _require_batches(found: object, spec: str) -> Iterable[Batch]:
    """What a user's own code gives, where batches may come of it."""
    if isinstance(found, tuple) and len(found) > 2 and _are_arrays(found):
        raise LoadingError(
            f"{spec} is {files.describe(found)}: data are a pair (x, y). Where the model takes "
            f"several inputs, give ((a, b), y); where these are batches, a list of them."
        )
    if not isinstance(found, Iterable) or isinstance(found, str | bytes | dict | Tensor):
        raise LoadingError(
            f"{spec} is a {type(found).__name__}: data are a DataLoader, a Dataset, a pair (x, y) "
            f"of tensors or a list of batches."
        )
    return found


def _require_finite_batches(batches: list[Batch], spec: str) -> None:
    for i, batch in enumerate(batches):
        for j, tensor in enumerate(batching.tensors(batch)):
            require_finite(tensor, f"tensor {j} of batch {i} of {spec}")


def _is_pair(found: object) -> TypeGuard[Pair]:
    """Whether this is (x, y), rather than a sequence of two batches."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        return False
    return _are_arrays(found)


def _are_arrays(found: Sequence[object]) -> bool:
    return all(isinstance(v, Tensor | np.ndarray) for v in found)


def _from_pair(found: Pair, batch_size: int | None, seed: int, spec: str) -> list[Batch]:
    x, y = (files.tensor_of(v) if isinstance(v, np.ndarray) else v.detach() for v in found)
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise LoadingError(f"{spec} has an array that is not numeric.")
    y = _labels(y, spec)
    require_pair(x, y, spec)
    return batching.cut(x, y, batch_size, seed)


def _from_dataset(
    found: Dataset[object], batch_size: int | None, seed: int, spec: str
) -> list[Batch]:
    """Micro-batches of a Dataset by torch's own collation."""
    if isinstance(found, Sized) and len(found) == 0:
        raise LoadingError(f"{spec} is empty: it has no samples.")
    size = batch_size or (
        min(batching.LARGEST, math.ceil(len(found) / batching.BATCHES))
        if isinstance(found, Sized)
        else batching.LARGEST
    )
    generator = rng.generator(seed)
    batches = list(DataLoader(found, size, shuffle=isinstance(found, Sized), generator=generator))
    _require_finite_batches(batches, spec)
    return batches
