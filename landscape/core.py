"""The two things every solver sees: a landscape f: R^n -> R and a symmetric operator.

Points are flat tensors (..., n), values (...), blocks of vectors (n, k) with one vector a column.
A landscape is a sum of terms, each a differentiable function of one flat point (n,): one term a micro-batch for a
model, one in all for a formula. The Hessian is the sum of the terms' Hessians; that is all it knows of a landscape.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from landscape.domains import Domain
from landscape.errors import NumericalError


class Term(NamedTuple):
    """One summand of a landscape."""

    function: Callable[[Tensor], Tensor]  # a flat point (n,) -> (), differentiable
    batch: int | None  # number of the micro-batch, None for what does not come from data (formula, regulariser)
    share: float  # of the batch in all the data, its dropout mask counted in; 0 where there is no data


class OutputTerm(NamedTuple):
    """One summand taken apart: criterion(output(x))."""

    output: Callable[[Tensor], Tensor]  # a flat point (n,) -> the model's output
    criterion: Callable[[Tensor], Tensor]  # the output -> (), weighted as in the sum
    batch: int
    share: float
    target: Any = None  # what the criterion compares the output with


class Progress(Protocol):
    """Told how far a long computation is: ``stage`` in words, ``done`` of ``total`` (None: unknown)."""

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """The progress callback that does nothing."""


class Operator(Protocol):
    """A symmetric matrix known by its products: ``A @ v`` for (n,) and ``A @ V`` for (n, k), in ``dtype`` on ``device``."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def __matmul__(self, V: Tensor, /) -> Tensor: ...


class Landscape(Protocol):
    """A scalar function of a flat vector. ``FunctionLandscape`` and ``ModelLandscape`` are the two kinds."""

    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def value(self, x: Tensor) -> Tensor: ...
    def gradient(self, x: Tensor) -> Tensor: ...
    def terms(self) -> Iterator[Term]:
        """The terms whose sum is f, in a fixed order."""
        ...

    def trivial_directions(self, x: Tensor) -> Tensor:
        """Orthonormal directions (n, m) at x that count in no index: out of the domain, or along a declared symmetry."""
        ...

    def evaluation(self) -> AbstractContextManager[Any]:
        """Entered around every evaluation of a term; leaves the user's world as it was."""
        ...


@dataclass(frozen=True)
class Symmetry:
    """What leaves a landscape unchanged: two points that it relates are one stationary point.

    The invariants see batches of points.
    """

    invariants: Callable[[Tensor], Tensor]  # (..., n) -> (..., m): equal for related points, different for others
    directions: Callable[[Tensor], Tensor] | None = None  # (n,) -> (n, m): tangents of the continuous symmetries at x
    nearest: Callable[[Tensor, Tensor], Tensor] | None = (
        None  # x, y (n,) -> (n,): of the points related to y a near one to x
    )


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


def require_finite(value: Tensor, what: str) -> None:
    """Raise a NumericalError that names ``what`` unless every entry of ``value`` is finite."""
    if not bool(torch.isfinite(value).all()):
        raise NumericalError(f"{what} is not finite.")
