"""Work that is kept while it is done: what an interrupted command has computed is found again by
what it was computed from.

A solver that is started again with the same options takes the same steps, so that nothing of its
own need be stored: each product, gradient and value that took long is written down under the hash
of its inputs (``recalled``), and a solver that comes to the same inputs gets the same bits back. A
loop whose state is small says so itself (``State``). Without a journal, as in Python, all of this
does nothing. Of several processes each has a journal, of what it holds itself.

The file is a row of records that only grows: a kill cuts the last one at most. A record whose
checksum is another one counts as missing. Nothing in it is executed.
"""

import hashlib
import json
import math
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.errors import LoadingError, RanksError
from landscape.ranks import ALONE, Ranks
from landscape.results import manifest

LONG = 2e-3  # seconds from which a result is worth its place
EVERY = 5.0  # seconds of work that may be lost
SHORT = 2.0  # seconds up to which a run is not worth going on with
SHARE = 0.5  # of the free disk that a journal may take
HELD = 2**26  # bytes that wait to be written
VALUE, NEAR = "landscape, by its value", 1e-5  # relative; another order of sums is the same
WORK, ABOUT = "work.bin", "about.json"
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.bool, torch.uint8, torch.int32)
}
_HEAD = struct.Struct("<32s16sIQ")  # key, checksum, bytes of the form, bytes of the numbers


class AnotherRun(ValueError):  # noqa: N818  # what it is about
    """What was kept is of another model, data set or configuration; ``what`` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(f"what was kept is of a different {what}.")
        self.what = what


class Journal:
    """What one run has computed so far, in a folder of its own.

    Args:
        folder: made when there is something to keep.
        about: what the work depends on, by name.
        resume: whether to go on from what is there; else it is removed.

    Raises:
        AnotherRun: what is there depends on something else.
        LoadingError: it is damaged.
    """

    def __init__(self, folder: Path, about: Mapping[str, str], *, resume: bool) -> None:
        self.folder, self.about = folder, dict(about)
        self._file: BinaryIO | None = None
        self._index: dict[bytes, tuple[int, int, int, bytes]] = {}
        self._waiting: list[bytes] = []
        self._held, self._size, self._end = 0, 0, 0
        self._begun = self._flushed = time.monotonic()
        self._room = 0
        self._known: dict[str, str] = {}  # of the interrupted run
        self._written: dict[str, str] | None = None
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        elif (folder / ABOUT).exists():
            self._known = _about(folder / ABOUT)
            self._written = dict(self._known)
            self.require(about)
            self.about = self._known | self.about
            self._open()

    def require(self, about: Mapping[str, str]) -> None:
        """Say what else the work depends on.

        Raises:
            AnotherRun: what was kept depends on something else.
        """
        other = sorted(k for k, v in about.items() if _differ(k, self._known.get(k, v), v))
        if other:
            raise AnotherRun(", ".join(other))
        self.about |= about
        if self._file is not None:
            self._tell()

    def find(self, key: bytes) -> list[Tensor] | None:
        """What was computed from the inputs of a key, on the CPU."""
        if key not in self._index or self._file is None:
            return None
        start, form, size, checksum = self._index[key]
        self._file.seek(start)
        data = self._file.read(form + size)
        if hashlib.sha256(data).digest()[:16] != checksum:
            return None
        return _unpacked(data, form)

    def add(self, key: bytes, values: Sequence[Tensor]) -> None:
        """Keep what was computed; it is written at the next flush."""
        record = _packed(key, values)
        self._waiting.append(record)
        self._held += len(record)
        if self._held > HELD or time.monotonic() - self._flushed > EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what waits; where the disk has no room for it, it is let go."""
        self._flushed = time.monotonic()
        if self._waiting:
            try:
                self._write()
            except OSError:  # a run goes on without being kept
                self._room = -1
        self._waiting, self._held = [], 0

    def _write(self) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        if self._end + self._held > self._room:
            return
        self._file.seek(self._end)
        for record in self._waiting:
            self._file.write(record)
            self._end += len(record)
        self._file.flush()

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest.refuse_links(self.folder, self.folder.parent.parent)
        path = self.folder / WORK
        if path.exists():
            manifest.open_plain(path, self.folder).close()
        else:
            path.touch()
        self._tell()
        self._file = path.open("r+b")
        self._room = int(SHARE * shutil.disk_usage(self.folder).free)
        self._scan()

    def _tell(self) -> None:
        """Write what the work depends on, where that is not there yet."""
        if self.about != self._written:
            new = self.folder / f"{ABOUT}.new"
            new.write_text(_told(self.about), encoding="utf-8")
            new.replace(self.folder / ABOUT)
            self._written = dict(self.about)

    def _scan(self) -> None:
        """Find the records that are whole; what follows the last one is written over."""
        assert self._file is not None
        total = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            key, checksum, form, size = _HEAD.unpack(head)
            start = self._end + _HEAD.size
            if start + form + size > total:
                break
            self._index[key] = (start, form, size, checksum)
            self._end = start + form + size
            self._file.seek(self._end)

    def begin(self) -> None:
        """Make the folder, if there is none yet."""
        if self._file is None:
            self._open()

    @property
    def worth(self) -> bool:
        """Whether more than a little would be lost."""
        return time.monotonic() - self._begun > SHORT or self._file is not None

    def close(self, error: BaseException | None) -> None:
        """End: where the work was interrupted, what waits is written unless little is lost."""
        if isinstance(error, KeyboardInterrupt | RanksError) and self.worth:
            self.flush()
        if self._file is not None:
            self._file.close()


_JOURNAL: ContextVar[Journal | None] = ContextVar("journal", default=None)
_PART: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def keeping(journal: Journal) -> Iterator[None]:
    """Keep what is computed inside."""
    token = _JOURNAL.set(journal)
    error: BaseException | None = None
    try:
        yield
    except BaseException as e:
        error = e
        raise
    finally:
        _JOURNAL.reset(token)
        journal.close(error)


@contextmanager
def paused() -> Iterator[None]:
    """Keep nothing inside: what is around it keeps its own state."""
    token = _JOURNAL.set(None)
    try:
        yield
    finally:
        _JOURNAL.reset(token)


@contextmanager
def part(name: str) -> Iterator[None]:
    """Tell what is computed inside from all that has another name: a study of a sweep, whose
    landscapes may be called alike.
    """
    token = _PART.set(f"{_PART.get()} {name}")
    try:
        yield
    finally:
        _PART.reset(token)


def require(f: Landscape, mark: str = "") -> None:
    """Tell the journal in force which landscape the work is about; see ``Journal.require``.

    Args:
        mark: a hash of its source, for one that has no fingerprint of its own.

    Cost: one value, for what neither a hash of numbers nor one of a file sees: a loss, a layer.
    """
    journal = _JOURNAL.get()
    if journal is not None:
        model, data = f.fingerprint()
        parts = {"content of the model": mark or model, "content of the data set": data}
        parts |= {"kind of device": str(f.device), VALUE: _value(f)}
        where = f" ({_PART.get().strip()})" if _PART.get() else ""
        journal.require({f"{key}{where}": told for key, told in parts.items()})


def _value(f: Landscape) -> str:
    """f near the point of a model, or near the origin; "" where there is none."""
    try:
        at = f.locate(None) if f.layout else torch.zeros(f.dim, dtype=f.dtype, device=f.device)
        random = torch.Generator(device="cpu").manual_seed(0)
        shift = 0.1 * torch.randn(f.dim, generator=random, dtype=f.dtype, device="cpu")
        with paused():
            return repr(float(f.value(at + shift.to(f.device))))
    except Exception:  # of the user's code, which says so when it is asked in earnest
        return ""


def _differ(key: str, a: str, b: str) -> bool:
    """Whether two runs were about something else."""
    if not key.startswith(VALUE) or not a or not b:
        return a != b
    return a != b and not math.isclose(float(a), float(b), rel_tol=NEAR)


def begin() -> None:
    """Have the journal in force say what it is about, before anything of this run is stored."""
    journal = _JOURNAL.get()
    if journal is not None:
        journal.begin()


def flush() -> None:
    """Have the journal in force write what waits: the run ends, and will be gone on with."""
    journal = _JOURNAL.get()
    if journal is not None:
        journal.flush()


def active() -> bool:
    """Whether anything is kept."""
    return _JOURNAL.get() is not None


def recalled(
    what: str,
    inputs: Sequence[Tensor],
    compute: Callable[[], Sequence[Tensor]],
    ranks: Ranks = ALONE,
) -> Sequence[Tensor]:
    """``compute()``, or what it has given an interrupted run for the same inputs.

    Args:
        what: everything besides the inputs that the outcome depends on.
        inputs: tensors, hashed whole.
        compute: a pure function of both; what it gives is kept where it took long.
        ranks: those that compute it together, each with a journal of its own: it is recalled where
            all of them can.
    """
    journal = _JOURNAL.get()
    if journal is None or any(map(_wrapped, inputs)):
        return compute()
    key = _key(what, inputs)
    found = journal.find(key)
    if ranks.all(found is not None) and found is not None:
        return [t.to(inputs[0].device) for t in found] if inputs else found
    begun = time.perf_counter()
    values = compute()
    if time.perf_counter() - begun > LONG and not any(map(_wrapped, values)):
        journal.add(key, values)
    return values


def identity(f: object) -> str:
    """What tells a landscape from another one of the same run; "" where nothing is kept."""
    if _JOURNAL.get() is None:
        return ""
    own = getattr(f, "identity", None)
    return str(own()) if own is not None else str(getattr(f, "name", ""))


class State:
    """Where a long loop stands, kept every few seconds in the place of the earlier state, and what
    it came to.

    Args:
        what: everything besides the inputs that the loop depends on.
        inputs: tensors, hashed whole.
    """

    def __init__(self, what: str, inputs: Sequence[Tensor] = ()) -> None:
        self.journal = _JOURNAL.get()
        self._kept = time.monotonic()
        self._path: Path | None = None
        if self.journal is not None:
            self._path = self.journal.folder / f"{_key(what, inputs).hex()[:32]}.bin"

    def find(self) -> object | None:
        """The state that an interrupted run has kept, tensors on the CPU; None at its end."""
        found = self._found()
        return None if found is None or "end" in found else found["state"]

    def find_end(self) -> object | None:
        """What the loop came to in an interrupted run."""
        found = self._found()
        return None if found is None or "end" not in found else found["end"]

    def _found(self) -> dict[str, Any] | None:
        if self._path is None or not self._path.exists():
            return None
        with manifest.open_plain(self._path, self._path.parent) as file:
            data = file.read()
        if len(data) < _HEAD.size:
            return None
        _, checksum, form, size = _HEAD.unpack_from(data)
        body = data[_HEAD.size :]
        if len(body) != form + size or hashlib.sha256(body).digest()[:16] != checksum:
            return None
        *tensors, skeleton = _unpacked(body, form)
        return dict(_planted(json.loads(bytes(skeleton.numpy())), tensors))

    @property
    def due(self) -> bool:
        """Whether it is time to keep the state again."""
        return self._path is not None and time.monotonic() - self._kept > EVERY

    def keep(self, tree: object) -> None:
        """Keep a state: dicts, lists, tuples, numbers, strings, None and tensors."""
        self._keep({"state": tree})

    def keep_end(self, tree: object) -> None:
        """Keep what the loop came to, unless little would be lost."""
        if self.journal is not None and self.journal.worth:
            self._keep({"end": tree})

    def _keep(self, tree: Mapping[str, object]) -> None:
        self._kept = time.monotonic()
        if self._path is None or self.journal is None:
            return
        tensors: list[Tensor] = []
        skeleton = json.dumps(_cut(tree, tensors)).encode()
        record = _packed(
            bytes(32), [*tensors, torch.frombuffer(bytearray(skeleton), dtype=torch.uint8)]
        )
        with suppress(OSError):  # a run goes on without being kept
            self.journal.begin()
            new = self._path.with_suffix(".new")
            new.write_bytes(record)
            new.replace(self._path)


def _key(what: str, inputs: Sequence[Tensor]) -> bytes:
    digest = hashlib.sha256(f"{_PART.get()} {what}".encode())
    for t in inputs:
        digest.update(f"{tuple(t.shape)}{t.dtype}".encode())
        digest.update(_raw(t))
    return digest.digest()


def _raw(t: Tensor) -> bytes:
    flat = t.detach().cpu().contiguous().reshape(-1)
    if not flat.numel():
        return b""
    # one number alone counts as contiguous whatever its stride
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8).numpy().tobytes()


def _wrapped(t: Tensor) -> bool:
    """Whether a tensor stands for others, inside of vmap or another transform."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(t)) or t.device.type == "meta"


def _packed(key: bytes, values: Sequence[Tensor]) -> bytes:
    orders = [_order(t) for t in values]
    kinds = [[str(t.dtype).removeprefix("torch."), list(t.shape)] for t in values]
    told = json.dumps([[*k, o] for k, o in zip(kinds, orders, strict=True)]).encode()
    body = told + b"".join(_raw(t.permute(o)) for t, o in zip(values, orders, strict=True))
    checksum = hashlib.sha256(body).digest()[:16]
    return _HEAD.pack(key, checksum, len(told), len(body) - len(told)) + body


def _unpacked(data: bytes, form: int) -> list[Tensor]:
    found, at = [], form
    for name, shape, order in json.loads(data[:form]):
        dtype = DTYPES[name]
        count = math.prod(shape)
        size = count * dtype.itemsize
        flat = torch.empty(count, dtype=dtype, device="cpu")  # aligned as torch aligns
        if count:
            flat.copy_(torch.frombuffer(bytearray(data[at : at + size]), dtype=dtype))
        lain = flat.reshape([shape[i] for i in order])
        found.append(lain.permute([order.index(i) for i in range(len(order))]))
        at += size
    return found


def _order(t: Tensor) -> list[int]:
    """The dimensions in the order in which they lie in memory: sums that follow go by it, and so do
    their last bits.
    """
    return sorted(range(t.ndim), key=lambda i: -t.stride()[i])


def _cut(tree: object, tensors: list[Tensor]) -> object:
    """A tree as JSON, its tensors apart."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return {"tensor": len(tensors) - 1}
    if isinstance(tree, dict):
        return {"dict": [[k, _cut(v, tensors)] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_cut(v, tensors) for v in tree]}
    return tree


def _planted(skeleton: object, tensors: list[Tensor]) -> Any:
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, held),) = skeleton.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {k: _planted(v, tensors) for k, v in held}
    items = [_planted(v, tensors) for v in held]
    return tuple(items) if kind == "tuple" else items


def _told(about: Mapping[str, str]) -> str:
    body = dict(sorted(about.items()))
    digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    return json.dumps({"about": body, "sha256": digest}, indent=1)


def about(folder: Path) -> dict[str, str]:
    """What the work that is kept in a folder depends on; empty where none is."""
    return _about(folder / ABOUT) if (folder / ABOUT).exists() else {}


def _about(path: Path) -> dict[str, str]:
    with manifest.open_plain(path, path.parent) as file:
        data = file.read(manifest.MOST_TEXT)
    try:
        body = json.loads(data)
        about = body["about"]
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        digest, body, about = "", {}, {}
    if not digest or body.get("sha256") != digest or not isinstance(about, dict):
        raise LoadingError(f"{path} is damaged: pass --force to start afresh.") from None
    return about
