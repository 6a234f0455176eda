"""What is known of a spectrum's signs: of all of it, or of both ends that are followed until the
signs are settled.

H: (n, n) symmetric, lambda ± epsilon an eigenvalue and the half-width of its interval. lambda is
negative below -epsilon, positive above epsilon, zero else; its sign is open where epsilon is more
than rounding.

The states of ``Ends``, in the order in which they are tried; the first one that does something
begins the next round:

solve    the pairs asked for at both ends, residuals within tol |H|
grow     twice as many smallest pairs      until one is not negative, or 64 are known, or memory
         ends
refine   the open signs, with a finer tol  until no sign is open that rounding does not hide
certify  a fresh deflated probe            until it meets no other negative or zero eigenvalue
resolve  what refine and certify do: the outermost smallest pairs are solved anew and put in the
         place of the old ones

All of them end when the products are spent, or when all n pairs are known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import Progress, require_finite
from landscape.linalg.lanczos import Certificate, Eigenpairs, Stop, certify_below, eigsh
from landscape.linalg.operand import finest, granted, noise
from landscape.operators.base import SymmetricOperator

# How far the negative end is followed before bounds are reported.
MOST_NEGATIVE = 64
# The most memory, in bytes, for the eigenvectors of the negative end.
VECTOR_BYTES = 2**31


@dataclass(frozen=True, eq=False)
class Signs:
    """The signs of a spectrum as far as they are known."""

    # (m,) ascending, float64, CPU: the eigenvalues computed
    values: Tensor
    # (m,) float64, CPU: the half-widths of their intervals
    errors: Tensor
    # (n, m) column i belongs to values[i]
    vectors: Tensor
    pairs: Eigenpairs
    # bounds on the number of negative eigenvalues
    negative: tuple[int, int]
    # the number of zero eigenvalues; None: not known
    zero: int | None
    # at least so many are positive
    positive: int
    confidence: float
    # whether no eigenvalue below the computed smallest ones is missed, with probability
    # ``confidence``
    complete: bool

    @property
    def scale(self) -> float:
        """|H|, or a lower bound of it."""
        return self.pairs.scale


@dataclass(frozen=True)
class Wish:
    """What is asked of a spectrum: how many pairs of each end, how finely, and at what cost."""

    largest: int
    smallest: int
    tol: float
    seed: int
    # None: 10 n + 1,000 and at most 20,000
    max_products: int | None
    progress: Progress

    def of(self, n: int) -> tuple[int, int]:
        """How many of the n eigenvalues are wanted: the largest, the smallest; these come first."""
        smallest = min(self.smallest, n)
        return min(self.largest, n - smallest), smallest


def all_signs(H: SymmetricOperator, wish: Wish, more: float) -> Signs:
    """The signs of every eigenvalue of a matrix that is formed: n products.

    An eigenvalue's half-width is the sum of the products' rounding, that of eigh, the norm of the
    antisymmetric part, which measures what else is wrong with the matrix, and ``more``, what the
    caller knows besides.
    """
    n = H.shape[0]
    largest, smallest = wish.of(n)
    wish.progress("dense Hessian", 0, n)
    A = H.dense(symmetric=False, progress=wish.progress).double()
    require_finite(A, "the Hessian at the point")
    values, vectors = torch.linalg.eigh(0.5 * (A + A.T))
    values = values.cpu()
    scale = float(values.abs().max())
    eigh = 4 * n**0.5 * torch.finfo(torch.float64).eps * scale
    error = finest(H, scale) + eigh + _norm(A - A.T) + more
    errors = torch.full_like(values, error)
    negative, positive = int((values < -error).sum()), int((values > error).sum())
    wanted = [*range(smallest), *range(n - largest, n)]
    pairs = Eigenpairs(
        values=values[wanted],
        vectors=vectors[:, wanted].to(H.dtype),
        bounds=errors[wanted],
        residuals=errors[wanted],
        products=n,
        stop=Stop.CONVERGED,
        largest=largest,
        smallest=smallest,
        scale=scale,
        confidence=1.0,
        negative_at_least=negative,
        positive_at_least=positive,
    )
    return Signs(
        values=values,
        errors=errors,
        vectors=vectors,
        pairs=pairs,
        negative=(negative, negative),
        zero=n - negative - positive,
        positive=positive,
        confidence=1.0,
        complete=True,
    )


def _norm(E: Tensor) -> float:
    """The 2-norm of a matrix by a few power iterations, from a start that is no eigenvector."""
    unit = float(E.abs().max())
    if unit == 0.0:
        return 0.0
    E = E / unit  # whose squares neither overflow nor vanish
    v = torch.linspace(1.0, 2.0, len(E), dtype=E.dtype, device=E.device)
    size, tiny = v.new_zeros(()), torch.finfo(E.dtype).tiny
    for _ in range(20):  # the host waits once, at the end
        w = E.T @ (E @ v)
        size = w.norm() / v.norm().clamp_min(tiny)
        v = w / w.norm().clamp_min(tiny)
    root: float = float(size) ** 0.5
    return root * unit


class Ends:
    """Both ends of a spectrum by Lanczos; the module's head tells how the lower one is followed."""

    def __init__(self, H: SymmetricOperator, wish: Wish) -> None:
        n = H.shape[0]
        largest, smallest = wish.of(n)
        self.H, self.wish, self.tol = H, wish, wish.tol
        room = VECTOR_BYTES * 8 // (n * torch.finfo(H.dtype).bits)
        self.most = max(smallest, min(MOST_NEGATIVE, n - largest, room))
        most = min(10 * n + 1000, 20_000) if wish.max_products is None else wish.max_products
        self.budget = H.products + most
        self.finest = 1e3 * torch.finfo(H.dtype).eps
        self.pairs = self._solve(largest, smallest)
        self.certificate: Certificate | None = None

    def signs(self, *, settle: bool = False) -> Signs:
        """What the pairs computed so far say; ``settle``: after the lower end is followed and open
        signs are resolved.
        """
        while settle and (self._grow() or self._refine() or self._certify()):
            pass
        n, pairs = self.H.shape[0], self.pairs
        values, errors = pairs.values, pairs.residuals
        low = max(int((values < -errors).sum()), pairs.negative_at_least)
        positive = max(int((values > errors).sum()), pairs.positive_at_least)
        zero = values.abs() <= errors
        # of an open sign, not zero
        coarse = int((zero & (errors > 2 * self.finest * pairs.scale)).sum())
        settled = pairs.stop is not Stop.BUDGET
        bounds: tuple[int, int] = (low, n - positive)
        nullity, complete = None, False
        if settled and (len(values) == n or self._sure()):
            bounds, nullity, complete = (
                (low, low + coarse),
                None if coarse else self._zeros(zero),
                not coarse,
            )
        elif settled and bool(values[-1] < -errors[-1]):
            bounds, nullity, complete = (n, n), 0, True
        confidence = self.certificate.confidence if self.certificate else pairs.confidence
        return Signs(
            values=values,
            errors=errors,
            vectors=pairs.vectors,
            pairs=pairs,
            negative=bounds,
            zero=nullity,
            positive=positive,
            confidence=confidence if complete else 1.0,
            complete=complete,
        )

    def _zeros(self, zero: Tensor) -> int | None:
        """How many eigenvalues are zero, given which of the pairs are; None where others may lie
        between the ends.
        """
        n, pairs = self.H.shape[0], self.pairs
        seen, unseen = int(zero.sum()), n - len(zero)
        if not unseen or not self._innermost_zero():
            return seen
        innermost = slice(pairs.smallest - 1, pairs.smallest + 1)  # of both ends
        close = bool((pairs.bounds[innermost] <= self.finest * pairs.scale).all())
        squeezed = pairs.largest > 0 and close and bool(zero[innermost].all())
        return seen + unseen if squeezed else None

    def _innermost_zero(self) -> bool:
        low = self.pairs.lower
        return bool(low.values[-1].abs() <= low.residuals[-1])

    def _sure(self) -> bool:
        """Whether every negative or zero eigenvalue is among the smallest pairs: by a certificate,
        or a clear distance.
        """
        if self.certificate is not None:
            return self.certificate.clear and self.certificate.confidence > 0
        low = self.pairs.lower
        return bool(low.values[-1] > low.bounds[-1])

    def _solve(self, largest: int, smallest: int, known: Eigenpairs | None = None) -> Eigenpairs:
        H, wish = self.H, self.wish
        left = max(self.budget - H.products, 2 * (largest + smallest) + 1)
        return eigsh(
            H,
            largest,
            smallest,
            tol=self.tol,
            seed=wish.seed,
            known=known,
            max_products=left,
            progress=wish.progress,
        )

    def _all_negative(self) -> bool:
        low = self.pairs.lower
        return bool((low.values < -low.residuals).all())

    def _not_positive(self) -> int:
        """How many of the smallest pairs are negative or zero."""
        low = self.pairs.lower
        return int((low.values <= low.residuals).sum())

    def _spent(self) -> bool:
        pairs = self.pairs
        out = pairs.stop is Stop.BUDGET or self.H.products >= self.budget or granted(self.H) < 1
        return out or len(pairs.values) == self.H.shape[0]

    def _grow(self) -> bool:
        """Ask for twice as many smallest pairs, if all are negative and there may be an end of
        it.
        """
        pairs = self.pairs
        if self._spent() or not self._all_negative() or pairs.smallest >= self.most:
            return False
        beyond_reach = pairs.negative_at_least > self.most
        if beyond_reach and self.most < self.H.shape[0] - pairs.largest:
            return False
        self.pairs = self._solve(pairs.largest, min(2 * pairs.smallest, self.most), pairs)
        return self.pairs.smallest > pairs.smallest

    def _refine(self) -> bool:
        """Solve more finely for the smallest pairs, if the sign of one is open that rounding does
        not hide.
        """
        low = self.pairs.lower
        rounding = 3 * noise(self.H, self.pairs.scale)
        is_open = (low.values.abs() <= low.residuals) & (low.residuals > rounding)
        if self._spent() or not bool(is_open.any()) or self.tol <= self.finest:
            return False
        self.tol = max(1e-3 * self.tol, self.finest)
        return self._resolve(self._not_positive())

    def _certify(self) -> bool:
        """Look for a negative or zero eigenvalue beside the known ones; True if there was one and
        it was taken in.
        """
        if self._spent() or self._all_negative() or self.certificate is not None:
            return False
        flat = self._innermost_zero()
        if (
            flat
            and self.pairs.smallest < self.most
            and self._resolve(min(2 * self.pairs.smallest, self.most))
        ):
            return True
        # A rounded zero can be told from a negative number only from -noise on, and from a positive
        # innermost value
        # up to +noise.
        level = 0.0 if flat else 2 * noise(self.H, self.pairs.scale)
        left = max(1, self.budget - self.H.products)
        self.certificate = certify_below(
            self.H,
            self.pairs,
            level,
            seed=self.wish.seed,
            max_products=left,
            progress=self.wish.progress,
        )
        if self.certificate.clear:
            return False
        again = self._resolve(self._not_positive() + 1)
        self.certificate = None if again else self.certificate
        return again

    def _resolve(self, count: int) -> bool:
        """Put finer pairs in the place of the outermost ``count`` smallest; False when the budget
        does not allow it.
        """
        pairs = self.pairs
        top_positive = bool(pairs.values[-1] > pairs.residuals[-1])
        fine = self._solve(min(1, pairs.largest) if top_positive else pairs.largest, count)
        if fine.stop is Stop.BUDGET or fine.smallest < count:
            return False
        self.pairs = pairs.replaced(fine)
        return True
