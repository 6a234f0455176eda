"""A symmetric matrix known by its products, and what is made of others: sums, blocks, complements.

H: (n, n), v: (n,), V: (n, k) one vector a column. A product is one H v; a block of k costs k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from landscape.core import Progress, silent
from landscape.errors import LoadingError, NumericalError, RanksError
from landscape.landscapes.arithmetic import ordinary, owned

T = TypeVar("T")
P = ParamSpec("P")
NUMBERS = 2**20  # most numbers in a block of vectors multiplied at once


BLOCK = 64  # most vectors in one vectorised backward pass
# Products are exact to so many eps ‖H‖, as far as any product in float64 has shown: a few vectors
# can show that rounding is more, and not that it is less.
ULPS = 20.0
# By how much the loss along the few vectors it was measured on is taken to fall short.
FOLD = 4.0


class SymmetricOperator:
    """A symmetric matrix known by its products, with what every such operator offers.

    ``H @ v`` for (n,) and ``H @ V`` for (n, k); ``H + G``, ``H - G``; ``shape``, ``dtype``,
    ``device``; ``products``, the number of matrix-vector products spent so far.
    """

    def __init__(self, dim: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device, self.products = (dim, dim), dtype, device, 0
        self.rows = dim  # of a vector as it is taken and given: over ranks a part of it
        self._matrix: Tensor | None = None
        # how many more products a limit of time leaves; None: there is none
        self.granted: Callable[[], int] | None = None
        # the same operator in float64, where there may be one; what products were seen to lose
        self._finer: SymmetricOperator | None = None
        self._failed = 0  # how many of the ways to a finer operator
        self._lost: float | None = None
        self._presumed: float | None = None
        self._remarks: list[str] = []

    def remember(self, remark: str) -> None:
        """Keep a sentence on how a solver has used this operator, once."""
        self._remarks += [] if remark in self._remarks else [remark]

    @property
    def eps(self) -> float:
        """The rounding unit of a product: of the coarsest dtype that it is computed in."""
        return torch.finfo(self.dtype).eps

    @property
    def error(self) -> float:
        """What a product with a unit vector may be off by besides ``ULPS`` eps ‖H‖: measured once,
        with a product in float64, where the arithmetic was found to be coarser than that.
        """
        if self._lost is None:
            self._lost = self._measured_loss()
        return self._lost

    @property
    def unmeasured(self) -> bool:
        """Whether ``error`` would spend a product in float64 to know what products lose."""
        return self._lost is None and self._look_for_finer()

    def learn(self, lost: float, scale: float) -> None:
        """Take it as measured that products with unit vectors lose what was seen of one, ‖H‖ being
        ``scale``; nothing where it was measured before, or there are none in float64.
        """
        if self.unmeasured:
            self._lost = self._beyond_rounding(lost, scale)

    def _beyond_rounding(self, lost: float, size: float) -> float:
        """What is lost besides rounding, FOLD times as much as was seen along few vectors."""
        return 0.0 if FOLD * lost <= ULPS * self.eps * size else FOLD * lost

    def presume(self, lost: float) -> None:
        """Take it as known of a larger operator, of which this one is a block, that products with
        unit vectors are off by ``lost`` at most, rounding included.
        """
        self._presumed = lost

    def overlook(self, level: float) -> bool:
        """Go without products in float64 where what is presumed of products is at most ``level``;
        whether that is so.
        """
        slight = self.unmeasured and self._presumed is not None and self._presumed <= level
        if slight:
            self._lost = self._presumed
            self._go_without()
        return slight

    def assume_rounding(self) -> None:
        """Take products to be exact up to ``ULPS`` eps ‖H‖ without measuring it, and go without
        products in float64.
        """
        self._lost = 0.0
        self._go_without()

    def _go_without(self) -> None:
        self._finer, self._failed = None, len(self._ways())

    @property
    def coarse(self) -> bool:
        """Whether products lose more than rounding, and there are others that do not."""
        return self.error > 0 and self._look_for_finer()

    @owned()
    def reference(self, V: Tensor) -> Tensor:
        """H V in float64, for V (n,) or (n, k), from products in float64 where they are to be had,
        else from this operator's own.

        Cost: a product a column, in float64, with graphs rebuilt.
        """
        columns = ordinary(V.detach()).reshape(self.rows, -1)
        self.products += columns.shape[1]
        found = self._finer_product(columns)
        if found is None:
            found = self._multiplied_in_double(columns)
        shaped: Tensor = found.reshape(V.shape)
        return shaped

    def _finer_product(self, V: Tensor) -> Tensor | None:
        """H V (n, k), in float64, by the finest operator that does not fail; None where there is
        none.
        """
        while self._look_for_finer() and self._finer is not None:
            product = _unless_it_fails(self._finer._multiplied_in_double, V)
            if product is not None:
                return product
            self._finer, self._failed = None, self._failed + 1
        return None

    def _multiplied_in_double(self, V: Tensor) -> Tensor:
        return self._multiply(V.to(self.dtype)).to(torch.float64)

    def _look_for_finer(self) -> bool:
        while self._finer is None and self._failed < len(self._ways()):
            self._finer = _unless_it_fails(self._ways()[self._failed])
            self._failed += self._finer is None
        return self._finer is not None

    def _ways(self) -> tuple[Callable[[], SymmetricOperator | None], ...]:
        """To a finer operator, the best one first."""
        return self._in_float64, self._in_full

    def _in_float64(self) -> SymmetricOperator | None:
        """The same operator in float64 and in full precision; None where this is that already."""
        return None

    def _in_full(self) -> SymmetricOperator | None:
        """The same operator in full precision and its own dtype, for one that float64 does not
        suit; None where this is that already.
        """
        return None

    def _probe(self) -> Tensor:
        """Vectors (n, k) of length 1 along which rounding is measured."""
        draws = torch.Generator(device="cpu").manual_seed(0)
        shape = (self.shape[0], 1)
        v = torch.randn(shape, generator=draws, dtype=torch.float64, device="cpu")
        unit: Tensor = (v / v.norm()).to(self.device, self.dtype)
        return unit

    def _measured_loss(self) -> float:
        if not self._look_for_finer():
            return 0.0
        V = self._probe()
        exact = self._finer_product(V)
        if exact is None:
            return 0.0
        lost = float((self._multiply(V).double() - exact).norm(dim=0).max())
        return self._beyond_rounding(lost, float(exact.norm(dim=0).max()))

    @owned()
    def __matmul__(self, V: Tensor) -> Tensor:
        """H v (n,) or H V (n, k). Cost: one product a column."""
        if V.ndim not in (1, 2) or V.shape[0] != self.rows:
            raise ValueError(
                f"this operator is {self.shape}, it takes ({self.rows},) or ({self.rows}, k), got "
                f"{tuple(V.shape)}."
            )
        if V.dtype != self.dtype or V.device.type != self.device.type:
            raise ValueError(
                f"this operator is {self.dtype} on {self.device}, got {V.dtype} on {V.device}: "
                f"move the vector."
            )
        self.products += 1 if V.ndim == 1 else V.shape[1]
        columns = ordinary(V.detach()).reshape(self.rows, -1)
        width = max(8, NUMBERS // self.shape[0])
        blocks = [self._multiply(block) for block in torch.split(columns, width, dim=1)]
        return (blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)).reshape(V.shape)

    def _multiply(self, V: Tensor) -> Tensor:
        raise NotImplementedError

    @owned()
    def dense(self, *, symmetric: bool = True, progress: Progress = silent) -> Tensor:
        """The matrix (n, n), made symmetric unless told otherwise: its antisymmetric part is
        rounding.

        Cost: n products the first time, told to ``progress`` as they come; the matrix is kept.
        """
        if self._matrix is None:
            n = self.shape[0]
            matrix = torch.empty(n, n, dtype=self.dtype, device=self.device)
            # where products are coarse, the matrix is made of those that are not
            product = self.reference if self.coarse else self.__matmul__
            for start in range(0, n, BLOCK):
                end = min(start + BLOCK, n)
                unit = torch.zeros(n, end - start, dtype=self.dtype, device=self.device)
                unit[start:end].fill_diagonal_(1.0)
                matrix[:, start:end] = product(unit)
                progress("dense Hessian", end, n)
            self._matrix = matrix
        return 0.5 * (self._matrix + self._matrix.T) if symmetric else self._matrix.clone()

    @property
    def formed(self) -> Tensor | None:
        """The matrix (n, n), made symmetric, where ``dense`` has formed it; None elsewhere."""
        return None if self._matrix is None else self.dense()

    def block(self, where: Tensor | slice) -> SymmetricOperator:
        """The diagonal block of the coordinates ``where`` (indices or a slice), as an operator.

        Cost of its products: one of this operator's each.
        """
        return _Block(self, where)

    def without(self, directions: Tensor) -> Complement:
        """This operator on the orthogonal complement of the orthonormal columns of ``directions``
        (n, m): (n - m, n - m).
        """
        return Complement(self, directions)

    def to_scipy(self) -> LinearOperator:
        """The same as a ``scipy.sparse.linalg.LinearOperator``; vectors travel through the host."""

        def product(v: np.ndarray) -> np.ndarray:
            moved = torch.from_numpy(np.ascontiguousarray(v)).to(self.device, self.dtype)
            return (
                (self @ (moved if moved.ndim == 1 or moved.shape[1] > 1 else moved[:, 0]))
                .reshape(v.shape)
                .cpu()
                .numpy()
            )

        dtype = torch.empty(0, dtype=self.dtype, device="cpu").numpy().dtype
        return LinearOperator(
            self.shape,
            matvec=product,
            rmatvec=product,
            matmat=product,
            rmatmat=product,
            dtype=dtype,
        )

    def __add__(self, other: SymmetricOperator) -> SymmetricOperator:
        return _Sum(self, other, 1.0)

    def __sub__(self, other: SymmetricOperator) -> SymmetricOperator:
        return _Sum(self, other, -1.0)


def _unless_it_fails(make: Callable[P, T | None], *args: P.args, **options: P.kwargs) -> T | None:
    """What is made; None where there is no memory for it, no such kernel, ..."""
    try:
        return make(*args, **options)
    except RanksError:
        raise
    except (RuntimeError, LoadingError, NumericalError):
        return None


class _Sum(SymmetricOperator):
    def __init__(self, a: SymmetricOperator, b: SymmetricOperator, sign: float) -> None:
        if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
            raise ValueError(
                f"operators must agree: {a.shape} {a.dtype} {a.device} against {b.shape} {b.dtype} "
                f"{b.device}."
            )
        super().__init__(a.shape[0], a.dtype, a.device)
        self.a, self.b, self.sign = a, b, sign

    @property
    def eps(self) -> float:
        return max(self.a.eps, self.b.eps)

    @property
    def error(self) -> float:
        return self.a.error + self.b.error

    @property
    def coarse(self) -> bool:
        return self.a.coarse or self.b.coarse

    def _finer_product(self, V: Tensor) -> Tensor:
        return self.a.reference(V) + self.sign * self.b.reference(V)

    def _multiply(self, V: Tensor) -> Tensor:
        return self.a @ V + self.sign * (self.b @ V)


class _Block(SymmetricOperator):
    def __init__(self, whole: SymmetricOperator, where: Tensor | slice) -> None:
        size = (
            len(range(*where.indices(whole.shape[0]))) if isinstance(where, slice) else len(where)
        )
        super().__init__(size, whole.dtype, whole.device)
        self.whole, self.where = whole, where

    @property
    def eps(self) -> float:
        return self.whole.eps

    @property
    def error(self) -> float:
        return self.whole.error

    @property
    def coarse(self) -> bool:
        return self.whole.coarse

    def _padded(self, V: Tensor) -> Tensor:
        padded = V.new_zeros(self.whole.shape[0], V.shape[1])
        padded[self.where] = V
        return padded

    def _finer_product(self, V: Tensor) -> Tensor:
        return self.whole.reference(self._padded(V))[self.where]

    def _multiply(self, V: Tensor) -> Tensor:
        return (self.whole @ self._padded(V))[self.where]


class Complement(SymmetricOperator):
    """Q'AQ with Q (n, n - m) an orthonormal basis of the complement of m directions, kept as m
    Householder reflections.
    """

    def __init__(self, whole: SymmetricOperator, directions: Tensor) -> None:
        n, self.left_out = directions.shape
        super().__init__(n - self.left_out, whole.dtype, whole.device)
        self.whole, self.granted = whole, whole.granted
        self.reflectors, self.scales = torch.geqrf(directions)

    def remember(self, remark: str) -> None:
        self.whole.remember(remark)

    @property
    def unmeasured(self) -> bool:
        return self.whole.unmeasured

    def learn(self, lost: float, scale: float) -> None:
        self.whole.learn(lost, scale)

    @property
    def eps(self) -> float:
        return self.whole.eps

    @property
    def error(self) -> float:
        return self.whole.error

    @property
    def coarse(self) -> bool:
        return self.whole.coarse

    def lift(self, V: Tensor) -> Tensor:
        """Q V: vectors (n - m, k) of the complement as vectors (n, k), in the dtype of V."""
        padded = torch.cat([V.new_zeros(self.left_out, V.shape[1]), V])
        return (
            torch.ormqr(self.reflectors.to(V.dtype), self.scales.to(V.dtype), padded)
            if self.left_out
            else V
        )

    def restrict(self, V: Tensor) -> Tensor:
        """Q'V: vectors (n, k) as vectors (n - m, k) of the complement; what lies along the m
        directions is dropped.
        """
        return (
            torch.ormqr(self.reflectors.to(V.dtype), self.scales.to(V.dtype), V, transpose=True)[
                self.left_out :
            ]
            if self.left_out
            else V
        )

    def _finer_product(self, V: Tensor) -> Tensor:
        return self.restrict(self.whole.reference(self.lift(V.double())))

    def _multiply(self, V: Tensor) -> Tensor:
        return self.restrict(self.whole @ self.lift(V))
