"""A landscape from a formula: any torch function of points."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor

from landscape.core import Domain, Symmetry, Term, vector
from landscape.landscapes.arithmetic import ordinary, owned, require_supported
from landscape.landscapes.domains import Space
from landscape.ranks import ALONE, Ranks, Spread
from landscape.results import journal
from landscape.specs import whole

Formula = TypeVar("Formula", bound="FunctionLandscape")


class FunctionLandscape:
    """A landscape from a formula.

    Args:
        function: any torch function of (..., n) -> (...), twice differentiable by autograd; rows
            are independent.
        dim: n.
        domain: where it lives and starts are drawn from; None is all of R^n. On a ``Sphere``
            gradients and Hessians are the tangent ones; a formula on a ``Torus`` must have its
            period.
        symmetry: what leaves it unchanged, if that is to count as one point.
        dtype: what starts are drawn in. Points passed in keep their own dtype and device.
        name: for reports.

    Raises:
        ValueError: dim is not positive, or a point has another last dimension, or the formula is
            not batched.
        NumericalError: the gradient at a point does not exist because the formula is detached from
            its input.

    Examples:
        >>> import landscape as ls, torch
        >>> f = ls.FunctionLandscape(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, dim=2)
        >>> f.gradient(torch.tensor([1.0, 2.0], dtype=torch.float64)).tolist()
        [2.0, -4.0]
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
        whole(1, dim=dim)
        if not callable(function):
            raise TypeError(f"function must map points (..., n) to (...), got {function!r:.80}.")
        self.function, self.dim, self.dtype = function, dim, dtype
        self.domain: Domain = Space() if domain is None else domain
        self.symmetry = symmetry
        self.device = torch.device("cpu")
        self.ranks = ALONE
        self.samples, self.layout, self.shapes = 0, dict[str, slice](), dict[str, torch.Size]()
        self.name: str = name or str(getattr(function, "__name__", "formula"))

    precision = "full"

    @owned()
    def value(self, x: Tensor) -> Tensor:
        """f at points (..., n) -> (...), in the dtype and on the device of x. Cost: one evaluation
        for all points.
        """
        self._check(x)
        if x.requires_grad or not journal.active():
            return self._value(x)
        what = f"values {journal.identity(self)}"
        (value,) = journal.recalled(what, [x], lambda: [self._value(x)])
        return value

    def _value(self, x: Tensor) -> Tensor:
        value = self.function(self.domain.chart(x))
        if value.shape != x.shape[:-1]:
            raise ValueError(
                f"{self.name} gave shape {tuple(value.shape)} for points {tuple(x.shape)}, not "
                f"{tuple(x.shape[:-1])}: "
                "a formula maps (..., n) to (...); index coordinates as x[..., i]."
            )
        if not value.is_floating_point():
            raise ValueError(f"{self.name} gave {value.dtype}, a landscape is floating-point.")
        return value

    @owned()
    def gradient(self, x: Tensor) -> Tensor:
        """The gradient at points (..., n) -> (..., n). Cost: one forward and one backward pass for
        all points.
        """
        what = f"gradients {journal.identity(self)}"
        (gradients,) = journal.recalled(what, [x], lambda: [self._gradients(x)])
        return gradients

    def _gradients(self, x: Tensor) -> Tensor:
        x = ordinary(x.detach()).requires_grad_(True)
        with torch.enable_grad():
            value = self.value(x).sum()
            if not value.requires_grad:
                return torch.zeros_like(x)  # a constant
            (gradient,) = torch.autograd.grad(value, x, allow_unused=True)
        return torch.zeros_like(x) if gradient is None else gradient

    def terms(self) -> Iterator[Term]:
        """The formula itself, one term."""
        yield Term(self.value, None, 0.0)

    def dealt_terms(self) -> Iterator[Term]:
        """The formula itself: every rank evaluates it, and only searches and runs are dealt."""
        return self.terms()

    def finer(self, x: Tensor) -> bool:
        """Never: a formula is one term."""
        return False

    @property
    def notes(self) -> list[str]:
        """None: a formula is evaluated as it is."""
        return []

    @property
    def spread(self) -> Spread:
        """How points lie on the ranks: whole on each."""
        return Spread([self.dim])

    def over(self, ranks: Ranks) -> "FunctionLandscape":
        """The same formula, whose searches and runs are dealt over ranks."""
        ours = copy.copy(self)
        ours.ranks = ranks
        return ours

    def trivial_directions(self, x: Tensor) -> Tensor:
        """Orthonormal directions (n, m) at x (n,): out of the domain, and along the continuous
        symmetries declared.
        """
        parts = [self.domain.normals(x)]
        parts += (
            []
            if self.symmetry is None or self.symmetry.directions is None
            else [self.symmetry.directions(x)]
        )
        return _orthonormal(torch.cat(parts, dim=1))

    def evaluation(
        self, at: Tensor | None = None, precision: str = "full"
    ) -> AbstractContextManager[Any]:
        """The arithmetic alone: a formula has no state."""
        return owned(precision)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Empty: a formula has no tensors of its own."""
        return {}

    def copy(self, at: Tensor | None = None) -> "FunctionLandscape":
        """The formula itself: it stands nowhere."""
        return self

    def astype(self, dtype: torch.dtype) -> "FunctionLandscape":
        """The formula itself: it computes in the dtype of its points."""
        return self

    def rounding(self, x: Tensor) -> float:
        """The rounding unit of x's dtype."""
        return torch.finfo(x.dtype).eps

    @property
    def floor(self) -> float:
        """Nothing is known of a formula: -infinity."""
        return -math.inf

    def many(self) -> "FunctionLandscape":
        """The formula itself, whose rows are independent."""
        return self

    def values(self, X: Tensor) -> Tensor:
        """f at the rows of X (R, n): (R,), detached."""
        return self.value(X).detach()

    def gradients(self, X: Tensor) -> Tensor:
        """The gradients at the rows of X (R, n): (R, n)."""
        return self.gradient(X)

    def locate(self, at: Tensor | Sequence[float] | None) -> Tensor:
        """``at`` as a point (n,); a list of numbers becomes float64.

        Raises:
            ValueError: it is no point of this formula, or None: a formula stands nowhere.
        """
        if at is None:
            raise ValueError(
                f"{self.name} is a formula, which has no current point: pass a point ({self.dim},)."
            )
        x = vector(at, self.dim)
        require_supported(x.device, f"the point of {self.name}")
        return x

    def fingerprint(self) -> tuple[str, str]:
        """Empty: a formula has nothing to hash but its source, which only the caller knows."""
        return "", ""

    def _check(self, x: Tensor) -> None:
        if x.shape[-1:] != (self.dim,):
            raise ValueError(
                f"points of {self.name} have shape (..., {self.dim}), got {tuple(x.shape)}."
            )


def require_formula(
    f: object, why: str, kind: type[Formula], error: type[Exception] = ValueError
) -> Formula:
    """f, where it is a formula's landscape of this kind; else raise ``error`` with the sentence
    ``why``.
    """
    if not isinstance(f, kind):
        raise error(why)
    return f


def _orthonormal(V: Tensor) -> Tensor:
    """An orthonormal basis (n, r) of what the columns of V (n, m) span."""
    if V.shape[1] == 0:
        return V
    U, sizes, _ = torch.linalg.svd(V, full_matrices=False)
    basis: Tensor = U[:, sizes > 1e-8 * sizes.max()]
    return basis
