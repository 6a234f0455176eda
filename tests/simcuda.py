"""A CUDA device that is not there: ``pytest --simulated-cuda`` runs the tests marked gpu on it.

Its tensors say that they are on cuda:0 or cuda:1, hold a CPU tensor each, and obey CUDA's rules: operands on two
devices raise what CUDA raises, a CPU generator does not draw for them, their random state is their own, and numpy cannot
look into them. Every kernel is counted, every wait of the host for the device and every copy between them, with the line
of landscape that asked for it. So it finds tensors made in the wrong place, hidden waits and hidden copies.

It has streams and CUDA graphs. While a graph is captured nothing is run; what waits, or copies from memory of the host that
is not pinned, raises; and so does a backward pass through nodes that were made on another stream. A replay runs what was
captured on the very tensors: those that have been freed meanwhile hold NaN.

It cannot show how CUDA's kernels round, whether they have a second derivative, or how fast anything is: values are those
of the CPU's kernels. It does not see work on two streams that does not wait for each other, and what a graph holds counts as
if no part of its memory were used twice.

How it works. A ``Simulated`` tensor is a wrapper on PrivateUse1, the device type that torch leaves to others, whose
Python attributes say cuda; torch's device guard of CUDA is replaced by one that does nothing, and a dispatch mode sees
every operation, those that make tensors on "cuda" among them, and runs it on the tensors inside.
"""

# What torch's own types say of themselves does not hold here.
# mypy: disable-error-code="assignment, override, misc, attr-defined, operator, method-assign, unused-ignore"

import collections
import contextlib
import ctypes
import functools
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

DEVICES = 2
NAME = "simulated"
# Operations whose result, or its shape, the host must wait for.
WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount",
    "equal", "_linalg_check_errors", "linalg_lstsq", "is_nonzero",
}  # fmt: skip
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
# Operations that take CPU scalars (tensors without a dimension) beside tensors on the device, besides the pointwise ones.
WITH_SCALARS = {
    "where",
    "fill_",
    "masked_fill",
    "masked_fill_",
    "index_put",
    "index_put_",
    "_index_put_impl_",
}
# Views and bookkeeping, for which CUDA starts no kernel.
FREE = {
    "view", "_unsafe_view", "t", "transpose", "expand", "detach", "alias", "slice", "select", "unsqueeze", "squeeze",
    "permute", "as_strided", "split", "split_with_sizes", "unbind", "empty", "empty_strided", "empty_like", "new_empty",
    "_reshape_alias", "unfold", "diagonal", "lift_fresh", "new_empty_strided", "_local_scalar_dense",
}  # fmt: skip

Real = torch._C.Generator


class Counts:
    """What happened on the device since the last ``clear``; waits and copies by (what, line of landscape)."""

    def __init__(self) -> None:
        self.kernels: collections.Counter[str] = collections.Counter()
        self.waits: collections.Counter[tuple[str, str]] = collections.Counter()
        self.copies: collections.Counter[tuple[str, str]] = collections.Counter()

        self.forbidden = False  # as torch.cuda.set_sync_debug_mode("error") says

    def wait(self, what: str, where: str) -> None:
        self.waits[what, where] += 1
        require_no_capture()
        if self.forbidden:
            raise RuntimeError(f"called a synchronizing CUDA operation: {what} (simulated)")

    def clear(self) -> None:
        for counter in (self.kernels, self.waits, self.copies):
            counter.clear()


class Memory:
    """Bytes of the device's storages that are alive, counted only while ``limit`` is set; beyond it: out of memory."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.total = 80 * 2**30
        self.live: dict[int, int] = {}
        self.used = self.peak = 0  # bytes

    def note(self, inner: torch.Tensor) -> None:
        storage = inner.untyped_storage()
        key = storage._cdata
        if key in self.live:
            return
        self.live[key] = storage.nbytes()
        self.used += storage.nbytes()
        weakref.finalize(storage, self.forget, key)
        self.peak = max(self.peak, self.used)
        if self.limit is not None and self.used > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. (simulated)")

    def forget(self, key: int) -> None:
        self.used -= self.live.pop(key, 0)


counts, memory = Counts(), Memory()
_generators = [Real().manual_seed(0) for _ in range(DEVICES)]
_current = 0
_kept: list[Any] = []  # what must live as long as the process


def installed() -> bool:
    return bool(_kept)


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Counts of what happens inside."""
    counts.clear()
    yield counts


@contextlib.contextmanager
def limited(size: int) -> Iterator[Memory]:
    """Inside, what is allocated beyond ``size`` bytes raises torch.OutOfMemoryError."""
    memory.limit, memory.peak = size, 0
    try:
        yield memory
    finally:
        memory.limit, memory.used = None, 0
        memory.live.clear()


def index_of(device: Any) -> int:
    found = torch.device(device)
    return _current if found.index is None else found.index


def is_ours(device: Any) -> bool:
    if device is None or isinstance(device, int):
        return isinstance(device, int)
    return torch.device(device).type in ("cuda", NAME)


def asker() -> str:
    """The innermost line of landscape on the stack."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/landscape/" in path and "site-packages" not in path and "/tests/" not in path:
            return f"landscape/{path.rpartition('/landscape/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


# ---- tensors ----------------------------------------------------------------------------------------

plain_to = torch.Tensor.to


class Simulated(torch.Tensor):
    """A tensor that says it is on cuda:``index`` and holds ``inner``, on the CPU."""

    inner: torch.Tensor
    index: int

    @staticmethod
    def __new__(cls, inner: torch.Tensor, index: int) -> "Simulated":
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=torch.device(NAME, index),
        )  # fmt: skip
        made.inner, made.index = inner, index
        if memory.limit is not None:
            memory.note(inner)
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return seen(func, args, kwargs or {})

    device = property(lambda self: torch.device("cuda", self.index))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    data = property(lambda self: self.detach(), lambda self, value: _become(self, value))

    def get_device(self) -> int:
        return self.index

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def element_size(self) -> int:
        return self.inner.element_size()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(
                f"can't convert cuda:{self.index} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                "host memory first."
            )
        return self.cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:
        return f"Simulated({self.inner!r}, device='cuda:{self.index}')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return self.item().__format__(spec) if self.dim() == 0 else object.__format__(self, spec)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def cuda(self, device: Any = None, **options: Any) -> torch.Tensor:
        return self.to(
            torch.device("cuda", index_of("cuda" if device is None else device)), **options
        )

    def to(self, *args: Any, **options: Any) -> torch.Tensor:
        if args and isinstance(args[0], Simulated):
            args = (args[0].device, args[0].dtype, *args[1:])
        return plain_to(self, *map(_inside, args), **{k: _inside(v) for k, v in options.items()})

    def __deepcopy__(self, memo: dict[int, Any]) -> "Simulated":
        if id(self) not in memo:
            made = Simulated(self.inner.detach().clone(), self.index).requires_grad_(
                self.requires_grad
            )
            if isinstance(self, torch.nn.Parameter):
                made._is_param = True
            if self.grad is not None:
                made.grad = self.grad.__deepcopy__(memo)
            memo[id(self)] = made
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reborn, (self.detach().inner, self.index)


def _reborn(inner: torch.Tensor, index: int) -> Simulated:
    return Simulated(inner, index)


def _become(tensor: Simulated, value: Simulated) -> None:
    tensor.inner = value.inner


def _inside(argument: Any) -> Any:
    """A device as torch must see it where a wrapper is moved."""
    named = isinstance(argument, str | torch.device) and is_ours(argument)
    return torch.device(NAME, index_of(argument)) if named else argument


def unwrapped(value: Any) -> Any:
    if isinstance(value, Simulated):
        return value.inner
    if isinstance(value, list | tuple):
        return type(value)(map(unwrapped, value))
    return value


def wrapped(value: Any, index: int) -> Any:
    if isinstance(value, torch.Tensor):
        return value if isinstance(value, Simulated) else Simulated(value, index)
    if isinstance(value, list | tuple):
        return type(value)(wrapped(v, index) for v in value)
    return value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


_raised: list[BaseException] = []  # the last error that an operation ended with


def seen(func: Any, args: Any, options: dict[str, Any]) -> Any:
    try:
        return run(func, args, options)
    except BaseException as error:
        _raised[:] = [error]
        raise


# ---- operations -------------------------------------------------------------------------------------


def run(func: Any, args: Any, options: dict[str, Any]) -> Any:
    """An operation, on the tensors inside, with the rules of CUDA."""
    found = [*_tensors(args), *_tensors(tuple(options.values()))]
    indices = {t.index for t in found if isinstance(t, Simulated)}
    wanted = options.get("device")
    if not indices and not is_ours(wanted):
        return func(*args, **options)
    name = func._schema.name.partition("::")[2]
    if name in ("_to_copy", "copy_"):
        return _copied(name, func, args, options)
    if name not in FREE and not _capturing:
        counts.kernels[name] += 1
    _note_streams(found)
    index = next(iter(indices)) if indices else index_of(wanted)
    # of the result; None: on the CPU
    place = index if wanted is None else index_of(wanted) if is_ours(wanted) else None
    _check_devices(func, name, args, found, indices)
    _check_generator(options.get("generator"), place)
    if name in WAITS or (name == "repeat_interleave" and options.get("output_size") is None):
        counts.wait(name, asker())
    if name == "_efficientzerotensor":  # it has no storage that could be pointed to
        func = torch.ops.aten.zeros.default
    inner = {k: "cpu" if k == "device" else v for k, v in options.items() if k != "pin_memory"}
    out = _computed(CELLS.get(name, func), func, args, {} if name in CELLS else inner, index)
    out = _written(func, args, options, out)
    return out if place is None else wrapped(out, place)


def _computed(kernel: Any, func: Any, args: Any, options: dict[str, Any], index: int) -> Any:
    """What a kernel gives of the tensors inside, or will give when the graph is replayed."""
    if _capturing:
        return _capturing[-1].record(kernel, func, args, options, index)
    with _random_state(func, options.get("generator"), index):
        return kernel(*unwrapped(args), **{k: unwrapped(v) for k, v in options.items()})


def _copied(name: str, func: Any, args: Any, options: dict[str, Any]) -> Any:
    if name == "copy_":
        target, source = args[0], args[1]
        to = target.index if isinstance(target, Simulated) else None
    else:
        source, wanted = args[0], options.get("device")
        here = source.index if isinstance(source, Simulated) else None
        to = here if wanted is None else index_of(wanted) if is_ours(wanted) else None
    of = source.index if isinstance(source, Simulated) else None
    if not _capturing:
        counts.kernels[name] += 1
    _note_streams([t for t in args if isinstance(t, torch.Tensor)])
    if of != to:
        ends = tuple("host" if end is None else f"cuda:{end}" for end in (of, to))
        if to is None:
            counts.wait("{} to {}".format(*ends), asker())
        else:
            ahead = options.get("non_blocking") and getattr(source, "pinned", False)
            if not ahead:
                require_no_capture()
            counts.copies["{} to {}{}".format(*ends, ", ahead" if ahead else ""), asker()] += 1
    inner = {k: "cpu" if k == "device" else v for k, v in options.items() if k != "non_blocking"}
    out = _computed(func, func, args[:2] if name == "copy_" else args[:1], inner, to or 0)
    if name == "copy_":
        return target
    return out if to is None else Simulated(out, to)


def _check_devices(
    func: Any, name: str, args: Any, found: list[torch.Tensor], indices: set[int]
) -> None:
    free: list[torch.Tensor] = []
    if name in INDEXING:
        if not isinstance(args[0], Simulated):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
            )
        for t in args[1]:
            if t is not None and t.dtype in (torch.bool, torch.uint8):
                counts.wait("a mask as index", asker())
            if t is not None and not isinstance(t, Simulated):
                free.append(t)
                require_no_capture()
                counts.copies["host to cuda, an index", asker()] += 1
    scalars = torch.Tag.pointwise in func.tags or name in WITH_SCALARS
    stray = [
        t for t in found
        if not isinstance(t, Simulated) and not any(t is f for f in free) and not (scalars and t.dim() == 0)
    ]  # fmt: skip
    names = sorted({f"cuda:{i}" for i in indices} | {"cpu" for _ in stray})
    if len(names) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(names)}! (simulated, {func})"
        )


def _check_generator(generator: Any, place: int | None) -> None:
    if generator is not None and place is not None and generator._cdata not in Generator.ours:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


@contextlib.contextmanager
def _random_state(func: Any, generator: Any, index: int) -> Iterator[None]:
    """The device's own state in the place of the CPU's, for operations that draw."""
    if generator is not None or torch.Tag.nondeterministic_seeded not in func.tags:
        yield
        return
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(_generators[index].get_state())
    try:
        yield
    finally:
        _generators[index].set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


_aliases: dict[Any, list[tuple[int, str] | None]] = {}


def _written(func: Any, args: Any, options: dict[str, Any], out: Any) -> Any:
    """What an operation returns, with its own arguments where it has written into them."""
    if func not in _aliases:
        _aliases[func] = [_alias(func._schema, r.alias_info) for r in func._schema.returns]
    places = _aliases[func]
    if not any(places):
        return out
    outs = [out] if len(places) == 1 else list(out)
    for i, place in enumerate(places):
        if place is not None:
            position, name = place
            argument = args[position] if position < len(args) else options[name]
            if isinstance(argument, Simulated) and argument.shape != argument.inner.shape:
                inner = argument.inner  # squeeze_ and its like change the wrapper's shape too
                with torch._C._DisableTorchDispatch():
                    torch.Tensor.as_strided_(
                        argument, inner.shape, inner.stride(), inner.storage_offset()
                    )
            outs[i] = argument
    return outs[0] if len(places) == 1 else tuple(outs)


def _alias(schema: Any, alias: Any) -> tuple[int, str] | None:
    if alias is None or not alias.is_write:
        return None
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.before_set == alias.before_set:
            return i, argument.name
    return None


def _gru_cell(x: Any, h: Any, hx: Any, bx: Any = None, bh: Any = None) -> Any:
    x, h = (t if b is None else t + b for t, b in ((x, bx), (h, bh)))
    (xr, xi, xn), (hr, hi, hn) = x.chunk(3, 1), h.chunk(3, 1)
    r, i = torch.sigmoid(xr + hr), torch.sigmoid(xi + hi)
    n = torch.tanh(xn + r * hn)
    return n + i * (hx - n), torch.cat([r, i, n, hx, hn], 1)


def _gru_cell_backward(g: Any, workspace: Any, has_bias: bool) -> Any:
    r, i, n, hx, hn = workspace.chunk(5, 1)
    gi, gn = g * (hx - n) * i * (1 - i), g * (1 - i) * (1 - n * n)
    gr = gn * hn * r * (1 - r)
    gx, gh = torch.cat([gr, gi, gn], 1), torch.cat([gr, gi, gn * r], 1)
    return gx, gh, g * i, gx.sum(0) if has_bias else None, gh.sum(0) if has_bias else None


def _lstm_cell(x: Any, h: Any, cx: Any, bx: Any = None, bh: Any = None) -> Any:
    gates = x + h if bx is None else x + h + bx + bh
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * cx + i * g
    return o * torch.tanh(c), c, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(gh: Any, gc: Any, cx: Any, cy: Any, workspace: Any, has_bias: bool) -> Any:
    i, f, g, o = workspace.chunk(4, 1)
    t = torch.tanh(cy)
    gh = torch.zeros_like(t) if gh is None else gh
    c = gh * o * (1 - t * t) + (0 if gc is None else gc)
    parts = [c * g * i * (1 - i), c * cx * f * (1 - f), c * i * (1 - g * g), gh * t * o * (1 - o)]
    gates = torch.cat(parts, 1)
    return gates, c * f, gates.sum(0) if has_bias else None


# What has a kernel for CUDA and none for the CPU.
CELLS = {
    "_thnn_fused_gru_cell": _gru_cell,
    "_thnn_fused_gru_cell_backward": _gru_cell_backward,
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_cell_backward,
}


class Mode(TorchDispatchMode):
    """Sees what makes tensors on the device; what has such a tensor among its operands comes by the tensor itself."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return seen(func, args, kwargs or {})


# ---- streams and graphs -----------------------------------------------------------------------------


class Stream:
    """As torch.cuda.Stream. Kernels are run as soon as they are started, so there is nothing to wait for."""

    used = False  # whether any but a default one was ever made

    def __init__(self, device: Any = "cuda", *_: Any, **__: Any) -> None:
        self.device = torch.device("cuda", index_of("cuda" if device is None else device))
        Stream.used = True

    def wait_stream(self, other: "Stream") -> None:
        pass


_defaults = [Stream(torch.device("cuda", i)) for i in range(DEVICES)]
Stream.used = False
_streams = list(_defaults)  # the current one of each device


def _stream_of(device: Any = None) -> Stream:
    return _streams[_current if device is None else index_of(device)]


def _set_stream(stream: Stream) -> None:
    global _current
    _current = stream.device.index
    _streams[_current] = stream


def _note_streams(tensors: list[torch.Tensor]) -> None:
    """On which stream the nodes were made whose results an operation is given, and those that give to leaves."""
    if not Stream.used:
        return
    for t in tensors:
        if isinstance(t, Simulated) and t.grad_fn is not None:
            leaves: list[Any] = [n for n, _ in t.grad_fn.next_functions if hasattr(n, "variable")]
            for node in (t.grad_fn, *leaves):
                node.metadata.setdefault("stream", _streams[t.index])


def _require_captured_nodes(outputs: Any) -> None:
    """A backward pass runs each node on the stream that it was made on."""
    todo, seen = [t.grad_fn for t in outputs], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.metadata.get("stream", _capturing[-1].stream) is not _capturing[-1].stream:
            _capturing[-1].broken = True
            raise RuntimeError(
                "CUDA error: operation would make the legacy stream depend on a capturing blocking "
                f"stream ({node.name()}, simulated)"
            )
        todo += [parent for parent, _ in node.next_functions]


_capturing: list["Graph"] = []


def require_no_capture() -> None:
    if _capturing:
        _capturing[-1].broken = True
        raise RuntimeError(
            "CUDA error: operation not permitted when stream is capturing (simulated)"
        )


class Place:
    """A tensor that was made outside a graph, as the graph knows it: where it lies, and no more."""

    def __init__(self, inner: torch.Tensor) -> None:
        self.storage = weakref.ref(inner.untyped_storage())
        self.like = torch.empty_strided(
            inner.shape, inner.stride(), dtype=inner.dtype, device="meta"
        )
        self.offset = inner.storage_offset()

    def now(self) -> torch.Tensor:
        storage, like = self.storage(), self.like
        if storage is None:
            return nothing(torch.empty_like(like, device="cpu"))
        made = torch.empty(0, dtype=like.dtype, device="cpu")
        return made.set_(storage, self.offset, like.shape, like.stride())


def nothing(tensor: torch.Tensor) -> torch.Tensor:
    """Filled with what no kernel has made."""
    return tensor.fill_(torch.nan if tensor.is_floating_point() or tensor.is_complex() else 0)


def _now(value: Any) -> Any:
    if isinstance(value, Place):
        return value.now()
    return type(value)(map(_now, value)) if isinstance(value, list | tuple) else value


class Graph:
    """As torch.cuda.CUDAGraph."""

    def __init__(self, keep_graph: bool = False) -> None:
        self.steps: list[tuple[Any, Any, Any, dict[str, Any], int, dict[int, torch.Tensor]]] = []
        self.own: set[int] = set()  # the storages that were made while it was captured
        self.broken = False

    def capture_begin(self, *_: Any, **__: Any) -> None:
        self.stream = _stream_of()
        if self.stream in _defaults:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream. (simulated)")
        _capturing.append(self)

    def capture_end(self) -> None:
        _capturing.remove(self)
        if self.broken:
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture (simulated)"
            )

    def record(self, kernel: Any, func: Any, args: Any, options: dict[str, Any], index: int) -> Any:
        plain = unwrapped(args), {k: unwrapped(v) for k, v in options.items()}
        kept = self.kept(args), {k: self.kept(v) for k, v in options.items()}
        changed = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
        if changed and torch.Tag.inplace_view not in func.tags:
            self.steps.append((kernel, func, *kept, index, {}))
            names = [a.name for a in func._schema.arguments]
            given = dict(zip(names, plain[0], strict=False)) | plain[1]
            return given[changed[0]] if len(changed) == 1 else tuple(given[k] for k in changed)
        out = kernel(*plain[0], **plain[1])
        before = {t.untyped_storage()._cdata for t in _tensors((*plain[0], *plain[1].values()))}
        made = {
            i: nothing(t).view_as(t)  # which stays as it is whatever is done to t's shape
            for i, t in enumerate(_tensors(out))
            if t.untyped_storage()._cdata not in before
        }
        if made:  # else it is a view
            self.own |= {t.untyped_storage()._cdata for t in made.values()}
            self.steps.append((kernel, func, *kept, index, made))
        return out

    def kept(self, value: Any) -> Any:
        if isinstance(value, Simulated):
            own = value.inner.untyped_storage()._cdata in self.own
            return value.inner if own else Place(value.inner)
        if isinstance(value, torch.Tensor):
            return value.clone()  # a scalar of the host is an argument of the kernel
        return type(value)(map(self.kept, value)) if isinstance(value, list | tuple) else value

    @torch.no_grad()
    def replay(self) -> None:
        counts.kernels["replay of a graph"] += 1
        for kernel, func, args, options, index, made in self.steps:
            with _random_state(func, options.get("generator"), index):
                out = kernel(*_now(args), **{k: _now(v) for k, v in options.items()})
            for i, new in enumerate(_tensors(out)):
                if i in made:
                    made[i].copy_(new)

    def reset(self) -> None:
        self.steps.clear()
        self.own.clear()


# ---- random numbers ---------------------------------------------------------------------------------


class _AnyGenerator(type(Real)):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Real)


class Generator(Real, metaclass=_AnyGenerator):
    """torch.Generator, for which "cuda" is a device like another."""

    ours: ClassVar[
        dict[int, "Generator"]
    ] = {}  # kept: an operation sees another wrapper of the same one

    def __new__(cls, device: Any = "cpu") -> Any:
        if not is_ours(device):
            return Real(device)
        made = super().__new__(cls)
        made.place = torch.device("cuda", index_of(device))
        cls.ours[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    device = property(lambda self: self.place)


# ---- torch.cuda -------------------------------------------------------------------------------------


class _Guard(torch._C._acc.DeviceGuard):
    """``type_`` has no Python frame: the garbage collector may run inside it, end tensors, and so ask for it again."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.type_ = functools.partial(getattr, torch._C._autograd.DeviceType, kind)


def _exchange(index: Any) -> int:
    global _current
    before = _current
    if index is not None and index >= 0:
        _current = index
    return before


def _state_of(device: Any) -> Any:
    return _generators[device if isinstance(device, int) else index_of(device)]


def _only_outside(change: Any) -> Any:
    """What CUDA allows only outside of a capture."""

    def run(*args: Any, **options: Any) -> Any:
        require_no_capture()
        return change(*args, **options)

    return run


def _seed_all(seed: int) -> None:
    for generator in _generators:
        generator.manual_seed(seed)


def _free() -> tuple[int, int]:
    limit = memory.total if memory.limit is None else memory.limit
    return max(0, limit - memory.used), memory.total


CUDA = {
    "is_available": lambda: True,
    "device_count": lambda: DEVICES,
    "_lazy_init": lambda: None,
    "is_initialized": lambda: True,
    "_initialized": True,
    "current_device": lambda: _current,
    "set_device": lambda device: _exchange(index_of(device)) and None,
    "_exchange_device": _exchange,
    "_maybe_exchange_device": _exchange,
    "manual_seed": _only_outside(lambda seed: _generators[_current].manual_seed(seed)),
    "manual_seed_all": _only_outside(_seed_all),
    "synchronize": _only_outside(lambda device=None: None),
    "empty_cache": lambda: None,
    "set_sync_debug_mode": lambda mode: setattr(counts, "forbidden", mode in ("error", 2)),
    "get_rng_state": _only_outside(lambda device="cuda": _state_of(device).get_state()),
    "set_rng_state": _only_outside(
        lambda state, device="cuda": _state_of(device).set_state(state) and None
    ),
    "Stream": Stream,
    "current_stream": _stream_of,
    "default_stream": lambda device=None: _defaults[
        _current if device is None else index_of(device)
    ],
    "set_stream": _set_stream,
    "CUDAGraph": Graph,
    "is_current_stream_capturing": lambda: bool(_capturing),
    "get_device_name": lambda device=None: "simulated",
    "get_device_capability": lambda device=None: (9, 0),
    "_is_in_bad_fork": lambda: False,
    "mem_get_info": lambda device=None: _free(),
    "memory_allocated": lambda device=None: memory.used,
    "memory_reserved": lambda device=None: memory.used,
    "max_memory_allocated": lambda device=None: memory.peak,
    "reset_peak_memory_stats": lambda device=None: setattr(memory, "peak", 0),
    "is_bf16_supported": lambda including_emulation=True: True,
}


def install() -> None:
    """Make the device be there, until the process ends."""
    if installed():
        return
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, backend_registration._DummyBackendModule())
    hook = backend_registration._DummyPrivateUse1Hook()
    torch._C._acc.register_python_privateuseone_hook(hook)
    guards = [_Guard("CUDA"), _Guard("PrivateUse1")]
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    registry = (ctypes.c_void_p * 21).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    torch._C._acc.register_python_privateuseone_device_guard(guards[0])
    registry[1] = registry[20]  # CUDA's guard, so that .to("cuda") finds the current device
    torch._C._acc.register_python_privateuseone_device_guard(guards[1])
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_swap_module_params_on_conversion(True)  # so that tied parameters stay tied
    torch.autograd.set_multithreading_enabled(False)
    for name, value in CUDA.items():
        setattr(torch.cuda, name, value)
    for name in ("_cuda_clearCublasWorkspaces", "_host_emptyCache"):
        setattr(torch._C, name, lambda: None)
    # whatever torch was built with: recurrent layers ask cuDNN to lay out their weights
    torch.backends.cudnn.is_acceptable = lambda tensor: False  # type: ignore[assignment]
    torch.accelerator.current_accelerator = lambda check_available=False: torch.device("cuda")
    torch.Generator = Generator  # type: ignore[misc]
    torch.Tensor.to = _to  # type: ignore[method-assign]
    torch.Tensor.cuda = lambda self, device=None, **_: self.to(
        torch.device("cuda", index_of("cuda" if device is None else device))
    )
    torch.Tensor.pin_memory = _pinned  # type: ignore[method-assign]
    torch.Tensor.is_pinned = lambda self, device=None: getattr(self, "pinned", False)
    torch.autograd._engine_run_backward = _backward  # type: ignore[attr-defined]
    mode = Mode()
    mode.__enter__()
    _kept.extend([hook, *guards, registry, mode])


plain_backward = torch.autograd._engine_run_backward  # type: ignore[attr-defined]


def _backward(*args: Any, **options: Any) -> Any:
    """An error inside a backward pass is lost on its way through the wrappers; here it is found again."""
    _raised.clear()
    if _capturing:
        _require_captured_nodes(args[0])
    try:
        return plain_backward(*args, **options)
    except SystemError as error:
        if _raised:
            raise _raised.pop() from error
        raise RuntimeError("an operation of a backward pass failed (simulated)") from error


def _pinned(self: torch.Tensor, device: Any = None) -> torch.Tensor:
    """In host memory that the device can read while the host goes on."""
    if isinstance(self, Simulated):
        raise RuntimeError("cannot pin 'cuda' only dense CPU tensors can be pinned")
    made = self.detach().clone()
    made.pinned = True
    return made


def _to(self: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    def placed(argument: Any) -> Any:
        named = isinstance(argument, str | torch.device) and is_ours(argument)
        return torch.device("cuda", index_of(argument)) if named else argument

    return plain_to(self, *map(placed, args), **{k: placed(v) for k, v in options.items()})


if os.environ.get(
    "LANDSCAPE_SIMULATED_CUDA"
):  # of processes that tests start: python -c "import simcuda"
    install()
