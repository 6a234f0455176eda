"""One look at a landscape from one point, handed from room to room so that nothing is computed
twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from landscape.core import Landscape, require_landscape
from landscape.errors import LoadingError
from landscape.landscapes.arithmetic import owned
from landscape.linalg.reductions import norm
from landscape.operators.hessian import Hessian

# How far the neighbours of a point are by which rounding is measured, in units of rounding.
NEIGHBOUR = 4.0


class Look:
    """A landscape seen from a point x (n,): value, gradient and Hessian, each computed when first
    asked for.

    Args:
        f: the landscape.
        at: the point (n,); None: a model's current parameters.
        caller: the public function that asks, as an error names it.

    Raises:
        TypeError: f is no landscape.
        ValueError: ``at`` is no point of it, or missing for a formula.
    """

    def __init__(self, f: Landscape, at: Tensor | Sequence[float] | None, caller: str) -> None:
        require_landscape(f, caller)
        # a tensor of its own: the caller may move theirs
        with owned():
            self.f, self.x = f, f.locate(at).clone()
        self._last: tuple[Tensor, Tensor] | None = None

    @cached_property
    def value(self) -> float:
        """f(x); it may be NaN or infinite."""
        return float(self.f.value(self.x))

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient (n,) at x, detached; it may have entries that are not finite."""
        return self.f.gradient(self.x).detach()

    @cached_property
    def rounding(self) -> float:
        """What a gradient in float64 shows this one to be off by; 0 where it is in float64, or f
        cannot be computed so.
        """
        if self.x.dtype == torch.float64:
            return 0.0
        try:
            finer = self.f.astype(torch.float64).gradient(self.x.double()).detach()
        except (RuntimeError, LoadingError):
            return 0.0
        off = float((self.gradient.double() - finer).norm())
        return off if math.isfinite(off) else 0.0

    def along(self, u: Tensor) -> Tensor:
        """``rebuilt @ u`` for a direction (n,), computed once where it is asked for again."""
        if self._last is None or not torch.equal(self._last[0], u):
            self._last = u, self.rebuilt @ u
        return self._last[1]

    @cached_property
    def jitter(self) -> float:
        """What rounding makes of the gradient as its own dtype shows it: by what gradients at
        points that differ from x by a few units of rounding differ beside their curvature.

        Cost: two products and two gradients.
        """
        x, draws = self.x, torch.Generator("cpu").manual_seed(0)
        found = 0.0
        for _ in range(2):
            r = torch.randn(len(x), generator=draws, dtype=torch.float64, device="cpu").to(x.device)
            there = x + (NEIGHBOUR * torch.finfo(x.dtype).eps * x.double().abs() * r).to(x.dtype)
            bent = (self.rebuilt @ (there - x)).double()
            off = self.f.gradient(there).detach().double() - self.gradient.double() - bent
            found = max(found, float(off.norm()))
        return found

    @cached_property
    def norm(self) -> float:
        """The norm of the gradient, summed in float64."""
        return float(norm(self.gradient))

    @cached_property
    def hessian(self) -> Hessian:
        """The Hessian at x, which counts the products of all who ask for it."""
        return Hessian(self.f, self.x)

    @cached_property
    def rebuilt(self) -> Hessian:
        """The Hessian at x computed anew at every product, and so independent of the graphs that
        the other one keeps, and in full precision: what a coarser one loses is no fault of f.
        """
        return Hessian(self.f, self.x, memory=0, precision="full")
