"""A linear map as one program: for small networks, where starting kernels takes longer than they
do.

``compiled`` traces the map into a graph of elementary operations (``make_fx``), of which what does
not depend on the vector is a constant, and has torch compile it. ``recorded`` has a CUDA device
record the kernels that the map starts, and starts them all at once ever after. A program is held
against the map itself at its first uses, and dropped where it differs or cannot be made.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from landscape import specs
from landscape.errors import memory_is_full

Map = Callable[[Tensor], Tensor]
CHECKED = 4  # uses: torch records a CUDA graph at the second and replays it from the third on
ULPS = 100.0  # of the map's norm, that a program may differ by
WARM = 2  # uses before a recording: what libraries set up at their first calls cannot be recorded


class Program:
    """A linear map (n,) -> (n,) by a program that is made at its first use.

    Args:
        product: the map; what else it depends on must stay as it is.
        make: the program, of the first vector.
        eps: the rounding unit of what the map computes.
    """

    def __init__(self, product: Map, make: Callable[[Tensor], Map], eps: float) -> None:
        self.product, self.make, self.eps = product, make, eps
        self.dropped = ""  # why it is not used
        self.scale, self.checks = (
            0.0,
            0,
        )  # the largest |A v| / |v| met, and how often it was checked
        self._run: Map | None = None

    def __call__(self, v: Tensor) -> Tensor:
        """A v; where the program is dropped by the map itself."""
        found = None if self.dropped else self._tried(v)
        if found is not None and self.checks >= CHECKED:
            return found
        exact = self.product(v)
        if found is not None:
            self._check(v, found, exact)
        return exact

    def _tried(self, v: Tensor) -> Tensor | None:
        try:
            if self._run is None:
                self._run = self.make(v)
            with torch.no_grad():
                return self._run(v)
        except Exception as error:  # compilers and captures may fail in any way
            if memory_is_full(error):
                raise
            kind = "" if isinstance(error, NotRecordedError) else f"{type(error).__name__}: "
            self._drop(kind + specs.one_line(error, 120))
        return None

    def _check(self, v: Tensor, found: Tensor, exact: Tensor) -> None:
        size = float(v.double().norm())
        self.scale = max(self.scale, float(exact.double().norm()) / (size or 1.0))
        gap = float((found.double() - exact.double()).norm())
        self.checks += 1
        if not gap <= ULPS * self.eps * self.scale * size:
            self._drop(f"it was off by {gap:.2g} of {float(exact.norm()):.2g}")

    def _drop(self, why: str) -> None:
        self.dropped, self._run = why, None


def compiled(product: Map, v: Tensor) -> Map:
    """The map as torch compiles it, on a CUDA device as CUDA graphs of fused kernels."""
    run: Map = torch.compile(
        make_fx(product)(v), mode="reduce-overhead" if v.is_cuda else "default"
    )
    # a copy: the next run of a CUDA graph writes into the same memory
    return (lambda u: run(u).clone()) if v.is_cuda else run


class NotRecordedError(Exception):
    """Why kernels could not be recorded."""


def recorded(product: Map, v: Tensor) -> Map:
    """The kernels that the map starts, as a CUDA graph; call it ``aside``, where the graphs of
    autograd that the map goes through were made too.

    The map must neither wait for the device nor copy from the host, and draw no random numbers.
    """
    given = v.clone()
    for _ in range(WARM):
        product(given)
    graph = torch.cuda.CUDAGraph()
    torch._C._cuda_clearCublasWorkspaces()  # so that the graph's is its own, whoever clears later
    try:
        with _Inputs() as inputs:
            result = _captured(graph, lambda: product(given))
    finally:
        torch._C._cuda_clearCublasWorkspaces()

    def run(u: Tensor) -> Tensor:
        given.copy_(u)
        graph.replay()
        return result.clone()

    run.holds = inputs.held  # type: ignore[attr-defined]  # the graph knows but their addresses
    return run


def _captured(graph: torch.cuda.CUDAGraph, work: Callable[[], Tensor]) -> Tensor:
    why = ""  # CUDA's own word is only that a capture has failed
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            try:
                return work()
            except Exception as error:
                why = specs.one_line(error, 120)
                raise
    except Exception as error:
        raise NotRecordedError(why or specs.one_line(error, 120)) from None


class _Inputs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Holds what operations read that was there before."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[int, torch.UntypedStorage] = {}  # by address
        self.made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            if storage.data_ptr() not in self.made:
                self.held[storage.data_ptr()] = storage
        out = func(*args, **(kwargs or {}))
        addresses = {storage.data_ptr() for storage in _storages(out)}
        self.made |= addresses - self.held.keys()
        return out


def _storages(values: object) -> Iterator[torch.UntypedStorage]:
    return (t.untyped_storage() for t in tree_leaves(values) if isinstance(t, Tensor))


@contextmanager
def aside(stream: "torch.cuda.Stream | None") -> Iterator[None]:
    """Work on a stream of its own, in order with what comes before and after; None: no change.

    Kernels are recorded on such a stream only, and a backward pass runs on the streams of its
    forward pass.
    """
    if stream is None:
        yield
        return
    outer = torch.cuda.current_stream(stream.device)
    stream.wait_stream(outer)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        outer.wait_stream(stream)
