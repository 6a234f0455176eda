"""A landscape from a formula: any torch function of points."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from landscape.core import Domain, Symmetry, Term


class FunctionLandscape:
    """A landscape from a formula.

    Args:
        function: any torch function of (..., n) -> (...), twice differentiable by autograd; rows are independent.
        dim: n.
        domain: where it lives and starts are drawn from; None is all of R^n. On a ``Sphere`` gradients and Hessians are the tangent
            ones; a formula on a ``Torus`` must have its period.
        symmetry: what leaves it unchanged, if that is to count as one point.
        dtype: what starts are drawn in. Points passed in keep their own dtype and device.
        name: for reports.

    Raises:
        ValueError: dim is not positive, or a point has another last dimension, or the formula is not batched.
        NumericalError: the gradient at a point does not exist because the formula is detached from its input.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        dim: int,
        domain: Domain | None = None,
        dtype: torch.dtype = torch.float64,
        name: str | None = None,
        symmetry: Symmetry | None = None,
    ) -> None:
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}.")
        self.function, self.dim, self.domain, self.dtype = function, dim, domain, dtype
        self.symmetry = symmetry
        self.device = torch.device("cpu")
        self.name = name or getattr(function, "__name__", "formula")

    def value(self, x: Tensor) -> Tensor:
        """f at points (..., n) -> (...), in the dtype and on the device of x. Cost: one evaluation for all points."""
        self._check(x)
        value = self.function(x if self.domain is None else self.domain.chart(x))
        if value.shape != x.shape[:-1]:
            raise ValueError(
                f"{self.name} gave shape {tuple(value.shape)} for points {tuple(x.shape)}, not {tuple(x.shape[:-1])}: "
                "a formula maps (..., n) to (...); index coordinates as x[..., i]."
            )
        if not value.is_floating_point():
            raise ValueError(f"{self.name} gave {value.dtype}, a landscape is floating-point.")
        return value

    def gradient(self, x: Tensor) -> Tensor:
        """The gradient at points (..., n) -> (..., n). Cost: one forward and one backward pass for all points."""
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            value = self.value(x).sum()
            if not value.requires_grad:
                return torch.zeros_like(x)  # a constant
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
        return torch.zeros_like(x) if gradient is None else gradient

    def terms(self) -> Iterator[Term]:
        """The formula itself, one term."""
        yield Term(self.value, None, 0.0)

    def trivial_directions(self, x: Tensor) -> Tensor:
        """Orthonormal directions (n, m) at x (n,): out of the domain, and along the continuous symmetries declared."""
        parts = [x.new_zeros(self.dim, 0)]
        parts += [] if self.domain is None else [self.domain.normals(x)]
        parts += [] if self.symmetry is None or self.symmetry.directions is None else [self.symmetry.directions(x)]
        return _orthonormal(torch.cat(parts, dim=1))

    def evaluation(self) -> AbstractContextManager[Any]:
        """Nothing to guard: a formula has no state."""
        return nullcontext()

    def _check(self, x: Tensor) -> None:
        if x.shape[-1:] != (self.dim,):
            raise ValueError(f"points of {self.name} have shape (..., {self.dim}), got {tuple(x.shape)}.")


def _orthonormal(V: Tensor) -> Tensor:
    """An orthonormal basis (n, r) of what the columns of V (n, m) span."""
    if V.shape[1] == 0:
        return V
    U, sizes, _ = torch.linalg.svd(V, full_matrices=False)
    basis: Tensor = U[:, sizes > 1e-8 * sizes.max()]
    return basis
