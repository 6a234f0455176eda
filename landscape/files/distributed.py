"""The tensors of a folder that ``torch.distributed.checkpoint`` has written: ``.metadata``, which
tells where the chunks of each tensor are, and ``.distcp`` files with the chunks of each rank.

``.metadata`` is a pickle, and torch's own reader would run it; here it is read by ``closed``.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from landscape import specs
from landscape.errors import LoadingError
from landscape.files import closed, formats

METADATA = ".metadata"


class _Chunk(NamedTuple):
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    start: int
    length: int  # bytes


class _Entry(NamedTuple):
    name: str
    path: tuple[object, ...]  # where the tensor was in the state that was saved
    size: tuple[int, ...]
    dtype: torch.dtype
    chunks: list[_Chunk]


def read_tree(folder: Path) -> dict[str, object]:
    """The tensors of a folder, as nested as the state that was saved; other entries are left out.

    Raises:
        LoadingError: the folder is damaged, lists files outside of it, or is of another form.
    """
    return _tree(folder, lambda entry: _rows(folder, entry, 0, _count(entry)))


def outline(
    folder: Path, add: Callable[[torch.Size, torch.dtype, Callable[[int, int], Tensor]], Tensor]
) -> dict[str, object]:
    """As ``read_tree``, its tensors unread: in the place of each stands what ``add`` makes of its
    shape, its dtype and what reads some of its rows.
    """

    def stands(entry: _Entry) -> Tensor:
        return add(torch.Size(entry.size), entry.dtype, partial(_read, folder, entry))

    return _tree(folder, stands)


def _tree(folder: Path, made: Callable[[_Entry], Tensor]) -> dict[str, object]:
    with _told(folder):
        formats.refuse_pipe(folder / METADATA)
        entries = list(_entries(closed.read_pickle((folder / METADATA).read_bytes())[0]))
        _require_bounded(folder, entries)
        tree: dict[str, object] = {}
        for entry in entries:
            place = tree
            for part in entry.path[:-1]:
                inner = place.setdefault(str(part), {})
                place = inner if isinstance(inner, dict) else place
            place[str(entry.path[-1])] = made(entry)
        return tree


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say of what is raised inside that the folder is damaged."""
    try:
        yield
    except LoadingError:
        raise
    except Exception as error:  # of many kinds, as damaged pickles and files raise them
        raise LoadingError(
            f"{folder} is damaged, or of a form of torch.distributed.checkpoint that is not read "
            f"here ({type(error).__name__}: {specs.one_line(error)}). Save it anew, or turn it "
            f"into a file by torch.distributed.checkpoint.format_utils.dcp_to_torch_save."
        ) from None


def _entries(metadata: object) -> Iterator[_Entry]:
    whole = _state(metadata)
    where = {
        (key["fqn"], tuple(key.get("offset") or ())): _state(info)
        for key, info in ((_state(k), v) for k, v in _mapping(whole["storage_data"]).items())
    }
    paths = whole.get("planner_data")
    for name, value in _mapping(whole["state_dict_metadata"]).items():
        if not (isinstance(value, closed.Named) and value.state):  # bytes: a number, a list
            continue
        entry = _state(value)
        chunks = []
        for part in map(_state, entry["chunks"]):
            info = where[name, tuple(part["offsets"])]
            if info.get("transform_descriptors"):
                raise ValueError("its chunks are compressed")
            place = (info["relative_path"], info["offset"], info["length"])
            chunks.append(_Chunk(tuple(part["offsets"]), tuple(part["sizes"]), *place))
        path = paths.get(name, (name,)) if isinstance(paths, dict) else (name,)
        dtype = entry["properties"].state[0]
        yield _Entry(name, tuple(path), tuple(entry["size"]), dtype, chunks)


def _state(value: object) -> dict[str, closed.Anything]:
    state = value.state if isinstance(value, closed.Named) else None
    if not isinstance(state, dict):
        raise ValueError("an entry that is none")
    return state


def _mapping(value: object) -> Mapping[closed.Anything, closed.Anything]:
    if not isinstance(value, dict):
        raise ValueError("a list that is none")
    return value


def _require_bounded(folder: Path, entries: list[_Entry]) -> None:
    """Raise where files outside of the folder are named, or more bytes than there are."""
    chunks = [chunk for entry in entries for chunk in entry.chunks]
    files = sorted({str(chunk.file) for chunk in chunks})
    outside = formats.outside(files)
    if outside:
        raise LoadingError(f"{folder / METADATA} names files outside its folder: {outside[0]!r}.")
    if sum(chunk.length for chunk in chunks) > sum((folder / f).stat().st_size for f in files):
        raise ValueError("it lists more bytes than its files have")
    for entry in entries:
        room = sum(chunk.length for chunk in entry.chunks)
        if torch.Size(entry.size).numel() * entry.dtype.itemsize > room:
            raise ValueError(f"{entry.name} is larger than its chunks")


def _read(folder: Path, entry: _Entry, low: int, high: int) -> Tensor:
    with _told(folder):
        return _rows(folder, entry, low, high)


def _count(entry: _Entry) -> int:
    """How many rows a tensor has; a number alone is one."""
    return entry.size[0] if entry.size else 1


def _rows(folder: Path, entry: _Entry, low: int, high: int) -> Tensor:
    """The rows low to high of a tensor, of the chunks that have any of them."""
    shape = (high - low, *entry.size[1:]) if entry.size else ()
    found, filled = torch.empty(shape, dtype=entry.dtype, device="cpu"), 0
    for chunk in entry.chunks:
        start, end = (chunk.offsets[0], chunk.offsets[0] + chunk.sizes[0]) if shape else (0, 1)
        first, last = max(low, start), min(high, end)
        if first >= last:
            continue
        part = _chunk(folder, chunk)
        if shape:
            beside = zip(chunk.offsets[1:], chunk.sizes[1:], strict=True)
            where = (slice(first - low, last - low), *(slice(o, o + s) for o, s in beside))
            part = part[first - start : last - start]
            found[where] = part
        else:
            found.copy_(part)
        filled += part.numel()
    if filled != found.numel():
        raise ValueError(f"the chunks of {entry.name} do not make it whole")
    return found


def _chunk(folder: Path, chunk: _Chunk) -> Tensor:
    formats.refuse_pipe(folder / chunk.file)
    with (folder / chunk.file).open("rb") as file:
        file.seek(chunk.start)
        data = io.BytesIO(file.read(chunk.length))
    part: Tensor = torch.load(data, map_location="cpu", weights_only=True)
    if tuple(part.shape) != chunk.sizes:  # a chunk may be stored as part of a larger one
        places = zip(chunk.offsets, chunk.sizes, strict=True)
        part = part[tuple(slice(o, o + s) for o, s in places)]
    return part
