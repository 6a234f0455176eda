"""The two things every solver sees: a landscape f: R^n -> R and a symmetric operator.

Points are flat tensors (..., n), values (...), blocks of vectors (n, k) with one vector a column.
A landscape is a sum of terms, each a differentiable function of one flat point (n,): one term a
micro-batch for a model, one in all for a formula. The Hessian is the sum of the terms' Hessians;
that is all it knows of a landscape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from landscape.errors import NumericalError
from landscape.ranks import Ranks, Spread


class Term(NamedTuple):
    """One summand of a landscape."""

    function: Callable[[Tensor], Tensor]  # a flat point (n,) -> (), differentiable
    batch: (
        int | None
    )  # number of the micro-batch, None for what does not come from data (formula, regulariser)
    share: (
        float  # of the batch in all the data, its dropout mask counted in; 0 where there is no data
    )


class OutputTerm(NamedTuple):
    """One summand taken apart: criterion(output(x))."""

    output: Callable[[Tensor], Tensor]  # a flat point (n,) -> the model's output
    criterion: Callable[[Tensor], Tensor]  # the output -> (), weighted as in the sum
    batch: int
    share: float
    target: object = None  # what the criterion compares the output with


class Progress(Protocol):
    """Told how far a long computation is: ``stage`` in words, ``done`` of ``total`` (None:
    unknown).
    """

    def __call__(self, stage: str, done: int, total: int | None) -> None: ...


def silent(stage: str, done: int, total: int | None) -> None:
    """The progress callback that does nothing."""


class Operator(Protocol):
    """A symmetric matrix known by its products: ``A @ v`` for (n,) and ``A @ V`` for (n, k), in
    ``dtype`` on ``device``.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def __matmul__(self, V: Tensor, /) -> Tensor: ...


class Domain(Protocol):
    """What every domain offers."""

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """``count`` starting points (count, dim) on the CPU."""
        ...

    def contains(self, x: Tensor) -> Tensor:
        """Which points (..., n) are inside: (...), bool."""
        ...

    def wrap(self, x: Tensor) -> Tensor:
        """The representatives of points (..., n)."""
        ...

    def chart(self, x: Tensor) -> Tensor:
        """x itself as seen by a formula: its first and second derivatives by autograd are those of
        the domain.
        """
        ...

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        """y - x, (..., n), by the shortest way."""
        ...

    def embed(self, x: Tensor) -> Tensor:
        """Coordinates (..., m) in which equal points are equal and near points near."""
        ...

    def normals(self, x: Tensor) -> Tensor:
        """Directions (n, m) at x (n,) that lead out of the domain; they count in no index and no
        nullity.
        """
        ...

    def size(self, dim: int) -> Tensor:
        """The length (n,) of the domain along each coordinate, float64 on the CPU; the unit of step
        sizes and tolerances.
        """
        ...

    def characteristic(self, dim: int) -> int | None:
        """The Euler characteristic; None where what happens on the boundary or at
        infinity decides.
        """
        ...


@dataclass(frozen=True)
class Symmetry:
    """What leaves a landscape unchanged: two points that it relates are one stationary point.

    The invariants see batches of points.
    """

    invariants: Callable[
        [Tensor], Tensor
    ]  # (..., n) -> (..., m): equal for related points, different for others
    directions: Callable[[Tensor], Tensor] | None = (
        None  # (n,) -> (n, m): tangents of the continuous symmetries at x
    )
    # x, y (n,) -> (n,): of the points related to y a near one to x
    nearest: Callable[[Tensor, Tensor], Tensor] | None = None


class Many(Protocol):
    """A landscape at many points at once, one a row."""

    def values(self, X: Tensor, /) -> Tensor:
        """f at the rows of X (R, n): (R,), detached."""
        ...

    def gradients(self, X: Tensor, /) -> Tensor:
        """Its gradients there: (R, n), detached."""
        ...


class Landscape(Protocol):
    """A scalar function of a flat vector: all that solvers ask of one.

    ``FunctionLandscape`` and ``ModelLandscape`` are the two kinds in this library; a solver never
    asks which.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def domain(self) -> Domain:
        """Where points live; ``Space()`` where nothing bounds or closes it."""
        ...

    @property
    def symmetry(self) -> Symmetry | None:
        """What leaves f unchanged, if that was declared."""
        ...

    @property
    def samples(self) -> int:
        """How many samples f is a mean or sum over; 0 where there are no data."""
        ...

    @property
    def layout(self) -> Mapping[str, slice]:
        """Where each named parameter tensor lies in a point; empty where a point is one tensor
        without a name.
        """
        ...

    @property
    def shapes(self) -> Mapping[str, torch.Size]:
        """The shapes of the tensors of ``layout``."""
        ...

    def parameters(self) -> Mapping[str, torch.nn.Parameter]:
        """The tensors of the user's own that an optimiser may move, by name; empty where there are
        none.
        """
        ...

    def copy(self, at: Tensor | None = None) -> Landscape:
        """f standing at the point ``at``, moved without moving the user's own tensors; the data are
        shared.
        """
        ...

    def astype(self, dtype: torch.dtype) -> Landscape:
        """The same landscape in another dtype; the user's own tensors stay as they are."""
        ...

    def rounding(self, x: Tensor) -> float:
        """The rounding unit of f's own arithmetic at x: of the coarsest dtype that it
        computes in.
        """
        ...

    @property
    def ranks(self) -> Ranks:
        """The processes that f's terms, or searches and runs on it, are dealt over."""
        ...

    @property
    def precision(self) -> str:
        """What Hessian-vector products are computed in: "full", "tf32" or "bf16"."""
        ...

    @property
    def floor(self) -> float:
        """What f never falls below; -infinity where nothing is known of that."""
        ...

    def value(self, x: Tensor) -> Tensor: ...
    def gradient(self, x: Tensor) -> Tensor: ...
    def many(self) -> Many:
        """f at many points at once; what is returned remembers what it learned of how
        to be fast.
        """
        ...

    def locate(self, at: Tensor | Sequence[float] | None) -> Tensor:
        """``at`` as a point (n,) of f, detached; None is where f stands: a model's parameters.

        Raises:
            ValueError: it is no point of f, or None and f stands nowhere.
        """
        ...

    def fingerprint(self) -> tuple[str, str]:
        """Hashes of what f is made of and of its data, 16 hexadecimal digits each; "" where there
        is nothing to hash.
        """
        ...

    def terms(self) -> Iterator[Term]:
        """The terms whose sum is f, in a fixed order."""
        ...

    @property
    def spread(self) -> Spread:
        """How points and gradients lie on the ranks."""
        ...

    def over(self, ranks: Ranks) -> Landscape:
        """The same landscape, dealt over ranks; over ``ALONE`` this process does all of it."""
        ...

    def dealt_terms(self) -> Iterator[Term]:
        """The terms that this rank evaluates: those of all ranks are ``terms``."""
        ...

    def finer(self, x: Tensor) -> bool:
        """Have terms need less memory, since it has run out near x (n,), with the same sum; False
        where that cannot be.
        """
        ...

    @property
    def notes(self) -> list[str]:
        """What is done otherwise than asked for, in sentences."""
        ...

    def trivial_directions(self, x: Tensor) -> Tensor:
        """Orthonormal directions (n, m) at x that count in no index: out of the domain, or along a
        declared symmetry.
        """
        ...

    def evaluation(
        self, at: Tensor | None = None, precision: str = "full"
    ) -> AbstractContextManager[object]:
        """Entered around every evaluation of a term, with the point ``at`` in place for graphs kept
        earlier; passes are in ``precision``.

        Torch's arithmetic is owned inside (``landscapes.arithmetic``), and the user's world is left
        as it was.
        """
        ...


def vector(at: object, dim: int, what: str = "at") -> Tensor:
    """``at`` as a floating-point vector (dim,), detached: a tensor, or a sequence of numbers, which
    becomes float64.

    Raises:
        ValueError: it is no such vector; the message begins with ``what``.
    """
    if not isinstance(at, Tensor):
        try:
            at = torch.tensor(at, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"{what} must be a tensor ({dim},) or a list of {dim} numbers, got "
                f"{type(at).__name__}."
            ) from None
    if at.shape != (dim,):
        raise ValueError(f"{what} must have shape ({dim},), got {tuple(at.shape)}.")
    if at.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{what} must be floating-point, float32 or float64, got {at.dtype}.")
    return at.detach()


def require_landscape(f: object, caller: str) -> None:
    """Raise a TypeError that says what to do, unless f is a landscape."""
    if hasattr(f, "evaluation") and hasattr(f, "terms"):
        return
    remedy = "ls.FunctionLandscape(function, dim=n) makes one of a formula."
    if isinstance(f, torch.nn.Module):
        remedy = "wrap it, f = ls.ModelLandscape(model, loss, batches), and pass f."
    elif hasattr(f, "products"):
        remedy = "pass the landscape that the operator was made of."
    raise TypeError(f"{caller} needs a landscape, got {type(f).__name__}: {remedy}")


def require_finite(value: Tensor, what: str) -> None:
    """Raise a NumericalError that names ``what`` unless every entry of ``value`` is finite."""
    if not bool(torch.isfinite(value).all()):
        raise NumericalError(f"{what} is not finite.")
