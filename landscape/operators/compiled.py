"""A linear map as one compiled program: for small networks, where starting kernels takes longer
than they do.

The map is traced into a graph of elementary operations (``make_fx``), of which what does not depend
on the vector is a constant, and the graph is compiled. On a GPU the program is a CUDA graph. It is
held against the map itself at its first uses, and dropped where it differs or cannot be made.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from landscape import specs
from landscape.errors import memory_is_full

CHECKED = 4  # uses: torch records a CUDA graph at the second and replays it from the third on
ULPS = 100.0  # of the map's norm, that a program may differ by


class Program:
    """A linear map (n,) -> (n,), compiled at its first use.

    Args:
        product: the map; what else it depends on must stay as it is.
        eps: the rounding unit of what it computes.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], eps: float) -> None:
        self.product, self.eps = product, eps
        self.dropped = ""  # why it is not used
        self.scale, self.checks = (
            0.0,
            0,
        )  # the largest |A v| / |v| met, and how often it was checked
        self._run: Callable[[Tensor], Tensor] | None = None

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
                mode = "reduce-overhead" if v.is_cuda else "default"
                self._run = torch.compile(make_fx(self.product)(v), mode=mode)
            with torch.no_grad():
                # a copy: the next run of a CUDA graph writes into the same memory
                return self._run(v).clone() if v.is_cuda else self._run(v)
        except Exception as error:  # a compiler may fail in any way
            if memory_is_full(error):
                raise
            self._drop(f"{type(error).__name__}: {specs.one_line(error, 120)}")
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
