"""Both ends of a symmetric spectrum by thick-restart Lanczos, with multiplicities (Wu & Simon 2000,
SIMAX 22:602).

H: symmetric, (n, n), seen only through products. k = largest + smallest pairs are wanted. One
Krylov space sees one copy of a repeated eigenvalue: once the wanted pairs have converged they are
locked, and a probe, a fresh random start orthogonal to them, looks for anything beyond the cut, the
innermost wanted value of an end. What it finds joins the locked pairs, and the next probe starts;
one that finds nothing bounds the probability that something is there. Where one value of an end is
wanted its copies do not matter, and the first start is the probe too. Cost is counted in products
H v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import BASIS
from landscape.linalg.bases import Room, check_storage, dtypes_to_try, made
from landscape.linalg.krylov import Array, Basis, Ritz
from landscape.linalg.narrow import FOLD, Narrow, rayleigh_ritz
from landscape.linalg.operand import (
    Trusted,
    as_operator,
    bad_product,
    finest,
    granted,
    held,
    is_coarse,
    learn,
    lost,
    noise,
    overlook,
    reference,
    rounded,
    settle,
    signs,
    spread,
)
from landscape.linalg.reductions import combine, dots, norm
from landscape.linalg.sweeps import DOUBT, Pace, Search
from landscape.progress import watched
from landscape.results import Result, result
from landscape.specs import whole

DENSE = 64  # at most this many dimensions: form the matrix
ROWS = 200  # basis vectors that ordinary Hessians never fill
SLIGHT = 0.1  # of tol ‖H‖, what products may be presumed to lose without being measured
BLOCK = 16  # vectors multiplied at a time when residuals are computed,
NUMBERS = 2**26  # and numbers
NO_FORMS = torch.zeros(0, 0, dtype=torch.float64, device="cpu")


@result("eigsh-stop")
class Stop(Enum):
    """Why ``eigsh`` stopped."""

    CONVERGED = "every wanted residual is within tol"
    BUDGET = "the product budget ran out: raise max_products or loosen tol; bounds are still valid"
    INEXACT = (
        "the residuals computed at the end exceed tol: the rounding of products, or of a basis "
        "held in a narrower dtype, allows no less (loosen tol, widen storage, or use float64), or "
        "H is not symmetric or changes between products; bounds are still valid for a symmetric H"
    )


@result("eigenpairs")
@dataclass(frozen=True, eq=False)
class Eigenpairs(Result):
    """Extreme eigenpairs; the interval values[i] ± residuals[i] holds a true eigenvalue, certainly.

    With probability ``confidence``, values[i] ± bounds[i] holds the i-th one, multiplicities
    counted: H has no further eigenvalue more than tol ‖H‖ beyond the innermost ones given here. One
    that is less far beyond would shift the order of those near it, so that the bounds of values
    that close to the innermost one are tol ‖H‖ at least.
    """

    values: Tensor  # (k,) ascending, float64, on the CPU: first the smallest, then the largest
    # (n, k) orthonormal columns, column i belongs to values[i]; dtype and device of the operator
    vectors: Tensor
    bounds: Tensor  # (k,) float64, on the CPU
    products: int  # products spent, those of the bounds among them
    stop: Stop
    largest: int  # how many of the values are the largest ones, as asked (at most n)
    smallest: int
    scale: float  # the largest |Ritz value| met: a lower bound of ‖H‖, which tol is relative to
    confidence: float  # 1 where the matrix was formed; 0 without probes
    negative_at_least: int  # eigenvalues below -rounding that H must have, by Cauchy interlacing
    positive_at_least: int
    # (k,) float64, on the CPU: at least ‖H v - theta v‖, verified by a fresh product, its rounding
    # included
    residuals: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float32)
    )
    # what the first random start saw, for the spectral density: the diagonal (m,) and what stands
    # beside it (m,) of its tridiagonal matrix, float64, on the CPU; empty where it is not known
    diagonal: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float64)
    )
    offdiagonal: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float64)
    )
    # the same of the last random start, which sees what lies beside these vectors
    last_diagonal: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float64)
    )
    last_offdiagonal: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float64)
    )
    seed: int = 0  # of the random starts
    dimension: int = 0  # n of the operator that was searched, 0 where it is not known
    # (G, k) v'H_b v of each vector for every group b of batches of the data, and the groups' shares
    # (G,), float64, on the CPU; empty where products did not tell them
    forms: Tensor = field(
        default_factory=lambda: torch.empty(0, 0, device="cpu", dtype=torch.float64)
    )
    shares: Tensor = field(
        default_factory=lambda: torch.empty(0, device="cpu", dtype=torch.float64)
    )

    def __post_init__(self) -> None:
        if len(self.residuals) != len(self.bounds):  # not given: bounds are never less
            object.__setattr__(self, "residuals", self.bounds)

    @property
    def converged(self) -> bool:
        """Whether every bound is within tol ‖H‖, rounding apart."""
        return self.stop is Stop.CONVERGED

    @property
    def lower(self) -> Eigenpairs:
        """The smallest pairs."""
        return self._part(slice(self.smallest), 0, self.smallest)

    @property
    def upper(self) -> Eigenpairs:
        """The largest pairs."""
        return self._part(slice(self.smallest, None), self.largest, 0)

    def replaced(self, finer: Eigenpairs) -> Eigenpairs:
        """These pairs with the outermost ones of both ends replaced by all those of ``finer``, of
        the same operator.
        """
        inner = slice(min(finer.smallest, self.smallest), len(self.values) - finer.largest)
        parts = (finer.lower, self._part(inner, 0, 0), finer.upper)
        return replace(
            finer,
            values=torch.cat([part.values for part in parts]),
            vectors=torch.cat([part.vectors for part in parts], 1),
            diagonal=self.diagonal,
            offdiagonal=self.offdiagonal,
            last_diagonal=self.last_diagonal[:0],
            last_offdiagonal=self.last_diagonal[:0],
            seed=self.seed,
            dimension=self.dimension,
            forms=_joined(parts),
            bounds=torch.cat([part.bounds for part in parts]),
            residuals=torch.cat([part.residuals for part in parts]),
            products=self.products + finer.products,
            largest=self.largest,
            smallest=max(self.smallest, finer.smallest),
            scale=max(self.scale, finer.scale),
            negative_at_least=max(self.negative_at_least, finer.negative_at_least),
            positive_at_least=max(self.positive_at_least, finer.positive_at_least),
        )

    def _part(self, where: slice, largest: int, smallest: int) -> Eigenpairs:
        return replace(
            self,
            values=self.values[where],
            vectors=self.vectors[:, where],
            bounds=self.bounds[where],
            residuals=self.residuals[where],
            forms=self.forms[:, where],
            largest=largest,
            smallest=smallest,
            last_diagonal=self.last_diagonal[:0],
            last_offdiagonal=self.last_diagonal[:0],
        )


def _joined(parts: Sequence[Eigenpairs]) -> Tensor:
    """The forms of pairs side by side; nothing where some are not known."""
    forms = [part.forms for part in parts if len(part.values)]
    known = all(len(form) == len(forms[0]) for form in forms)
    return torch.cat(forms, 1) if known else NO_FORMS


@owned()
@watched
def eigsh(  # noqa: PLR0913
    H: Operator | Tensor,
    largest: int = 10,
    smallest: int = 0,
    *,
    tol: float = 1e-4,
    seed: int = 0,
    probes: int = 1,
    max_products: int | None = None,
    max_basis: int | None = None,
    known: Eigenpairs | None = None,
    exact: int = DENSE,
    storage: str | None = None,
    progress: Progress = silent,
) -> Eigenpairs:
    """The algebraically largest and smallest eigenvalues of a symmetric operator, with
    multiplicities and bounds.

    Args:
        H: shape (n, n), float32 or float64, any device: an operator, used as ``H @ v`` and, at the
            end, ``H @ V``; or a dense symmetric tensor.
        largest, smallest: how many of each end; either may be 0. Asking for more than n gives all
            n, once each.
        tol: residuals ‖H v - theta v‖ are at most tol ‖H‖.
        seed: of generators made here; the global random state is neither read nor moved.
        probes: fresh starts in a row that must find nothing more. Each multiplies the doubt, about
            1e-2, by itself; each costs a few products when the spectrum has a gap beyond the wanted
            pairs, never more than the search did. 0 trusts one Krylov space, which sees a repeated
            eigenvalue once. Of one value an end that does not matter: there the start that has
            found them goes on until it could have hidden nothing, and is the first probe.
        max_products: stop there, the final check included. By default 10 n + 1000.
        max_basis: vectors of n held at once. By default 200 or what fits 1 GiB, on a GPU 40 % of
            what is free, and at least 2 k + 20; where memory runs out fewer, and on a GPU then in
            the host's memory.
        known: pairs of the same operator to extend; their search is not repeated, only their
            residuals are recomputed.
        exact: up to this n the matrix is formed; less than the default where products are dear.
        storage: what the basis is held in: "float16" (for tol of 5e-4 or more), "float32" or
            "float64". By default H's own dtype, or a narrower one that tol allows where that does
            not hold 2 k + 20 vectors in 1 GiB, on a GPU in 40 % of what is free, or where memory
            runs out. In a narrower one the residuals take k + 1 products instead of one.
        progress: called with the products spent.

    Returns:
        The pairs, fewer than asked for only if ``max_products`` ran out first.

    Raises:
        ValueError: an argument is out of range, or H is not square, of another dtype, or a tensor
            that is not symmetric.
        NumericalError: a product has a NaN or inf; the message says which.

    Cost: one product a step and one for the residuals; orthogonalisation moves 4 m n numbers a step
    with m basis vectors. For n <= ``exact``, or when k is n / 3 or more, the matrix is formed: n
    products, and the answer is exact up to rounding.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> pairs = ls.eigsh(ls.Hessian(f, [1.0, 0.0]), largest=1, smallest=1)
        >>> pairs.values.tolist(), bool((pairs.bounds < 1e-12).all())
        ([2.0, 8.0], True)
    """
    A = as_operator(H)
    n = A.shape[0]
    _check(A, largest, smallest, tol, probes, max_products, max_basis, known)
    check_storage(A, storage, tol)
    largest = min(largest, n)
    smallest = min(smallest, n - largest)
    k = largest + smallest
    if n <= exact or 3 * k >= n:
        return _dense(A, largest, smallest, tol, progress)
    more = max(k, 0 if known is None else known.vectors.shape[1])
    few = 2 * more + 20
    dtypes = dtypes_to_try(A, storage, tol, few, max_basis)
    rows = max(few, min(ROWS + 4 * k, held(A, BASIS, dtype=dtypes[0])))
    rows = min(n, rows if max_basis is None else max_basis)
    trusted = Trusted.unless_known(A)
    room = Room(rows, min(n, more + 20), dtypes, more, asked=storage is not None)
    basis = made(trusted, room, _fresh_seeds(seed, known))
    if known is not None:
        vectors = basis.spread.taken(known.vectors.to(basis.H.device, basis.H.dtype))
        basis.adopt(vectors, known.values.numpy(), known.bounds.numpy(), known.forms)
    most = 10 * n + 1000 if max_products is None else max_products
    search = Search(basis, largest, smallest, tol, most - k - 1, progress)
    stop = Stop.CONVERGED if search.run(probes) else Stop.BUDGET
    found = _finish(search, stop, tol)
    missed = trusted is not A and found.stop is Stop.INEXACT
    if missed and 0 < lost(A) <= FOLD * tol * found.scale:
        # what products lose is known from now on, and a search that knows it aims further
        again = eigsh(
            A, largest, smallest, tol=tol, seed=seed, probes=probes, max_products=max_products,
            max_basis=max_basis, known=known, exact=exact, storage=storage, progress=progress,
        )  # fmt: skip
        return replace(again, products=again.products + found.products)
    return replace(found, vectors=found.vectors.to(A.device), seed=seed, dimension=n)


@result("eigsh-certificate")
@dataclass(frozen=True)
class Certificate(Result):
    """Whether an operator has eigenvalues below a level other than the known ones."""

    clear: bool  # False: it has one; True: none was met
    confidence: float  # that there is none, where clear; 1 where one was found
    products: int


@owned()
def certify_below(
    H: Operator | Tensor,
    known: Eigenpairs,
    level: float,
    *,
    seed: int = 0,
    max_products: int | None = None,
    progress: Progress = silent,
) -> Certificate:
    """Whether H has eigenvalues below ``level`` beyond those of ``known``.

    Args:
        H: as for ``eigsh``.
        known: pairs of the same operator, deflated: all of them. Those up to their residuals above
            the level are taken to lie below it; the others may hide something only as far as their
            residuals allow, which is allowed for.
        level: in the units of H; best well inside a gap.
        seed: of the random start.
        max_products: stop there. By default at what a basis of 1 GiB holds, at most 1000.
        progress: called with the products spent.

    Returns:
        ``clear=False`` as soon as a Ritz value in the complement of ``known`` is below the level by
        more than rounding. Else ``clear=True``, at a doubt of 1e-3, or with the confidence reached
        (0 at worst) when the products ran out.

    Raises:
        ValueError: as ``eigsh``.
        NumericalError: a product has a NaN or inf.

    Cost: about 1/4 (spread / gap)^½ log(n / doubt²) products, gap from the level to the next
    eigenvalue above it.
    Source: inertia of the Schur complement of the known pairs; Szegö 1939, 3.41, for the
    probability.
    """
    A = as_operator(H)
    n, count = A.shape[0], known.vectors.shape[1]
    _require_same(A, known)
    whole(1, max_products=1 if max_products is None else max_products)
    if not np.isfinite(level):
        raise ValueError(f"level must be finite, got {level}.")
    if count == n:
        return Certificate(True, 1.0, 0)
    most = max(20, min(1000, held(A, BASIS) - count))
    most = min(n - count, most if max_products is None else min(most, max_products))
    rows = count + most
    basis = made(A, Room(rows, rows, [A.dtype], rows, asked=True), _fresh_seeds(seed, known, 0))
    theta, r = known.values.numpy(), known.residuals.numpy()
    vectors = known.vectors.to(basis.H.device, basis.H.dtype)
    basis.adopt(basis.spread.taken(vectors), theta, r, NO_FORMS)
    above = theta > level + r
    hidden = float((r[above] ** 2 / (theta[above] - level)).sum())  # see Search.spare
    basis.start()
    steps, doubt, pace = min(20, most), 1.0, Pace()
    while True:
        basis.grow(min(steps, basis.room))
        progress("certificate", basis.products, None)
        ritz = basis.ritz()
        if ritz.theta[0] < level - noise(A, basis.scale):
            return Certificate(False, 1.0, basis.products)
        doubt = _doubt(basis, ritz, level + hidden + lost(A))
        if doubt <= DOUBT / 10 or ritz.exhausted or not basis.room or granted(A) < 1:
            return Certificate(True, 1.0 - doubt, basis.products)
        steps = pace.next(basis.products, doubt, DOUBT / 10)


def _doubt(basis: Basis, ritz: Ritz, level: float) -> float:
    """The probability that an eigenvalue below the level has hidden from the Krylov space."""
    if basis.locked + basis.size == basis.n:
        return 0.0
    doubt = basis.missed(ritz, level)
    # an invariant space to rounding: what it has not seen repeats what it has
    return min(doubt, DOUBT / 10) if ritz.exhausted else doubt


def _fresh_seeds(seed: int, known: Eigenpairs | None, *purpose: int) -> np.random.SeedSequence:
    """Seeds other than those ``known`` was found with: a start seen before is blind to what it has
    missed before.
    """
    key = () if known is None else (known.vectors.shape[1], known.products, *purpose)
    return np.random.SeedSequence(seed, spawn_key=key)


def _finish(search: Search, stop: Stop, tol: float) -> Eigenpairs:
    """The wanted pairs, with residuals that a fresh product has verified."""
    basis = search.basis
    A = basis.H
    wanted = np.flatnonzero(search.wanted())
    V = basis.Q[torch.as_tensor(wanted, device=A.device)]
    if isinstance(basis, Narrow):
        theta, residuals, V = _anew(search, basis, wanted, V)
        drift = np.zeros(len(wanted))
    else:
        theta, residuals = _verified(search, wanted, V, stop, tol)
        drift = _drift(basis, wanted)
    scale, rounding = basis.scale, finest(A, basis.scale)
    first, last = _seen(basis.first), _seen(basis.last)
    negative, positive = basis.signs()
    scale = max(scale, float(np.abs(theta).max()))
    if stop is Stop.CONVERGED and bool((residuals > tol * scale).any()):
        stop = Stop.INEXACT
    order = np.argsort(theta)
    theta, residuals = theta[order], residuals[order] + rounding
    forms, shares = NO_FORMS, NO_FORMS.flatten()
    if basis.forms is not None:
        forms, shares = basis.forms.locked[:, wanted[order]].cpu(), basis.forms.shares
    return Eigenpairs(
        values=torch.as_tensor(theta, device="cpu"),
        vectors=basis.spread.given(V[torch.as_tensor(order, device=A.device)].T),
        bounds=torch.as_tensor(_bounds(theta, residuals, drift, search), device="cpu"),
        residuals=torch.as_tensor(residuals, device="cpu"),
        products=basis.products,
        stop=stop,
        largest=search.largest,
        smallest=search.smallest,
        scale=scale,
        confidence=search.confidence,
        negative_at_least=max(negative, int((theta < -residuals).sum())),
        positive_at_least=max(positive, int((theta > residuals).sum())),
        diagonal=first[0],
        offdiagonal=first[1],
        last_diagonal=last[0],
        last_offdiagonal=last[1],
        forms=forms,
        shares=shares,
    )


def _verified(
    search: Search, wanted: Array, V: Tensor, stop: Stop, tol: float
) -> tuple[Array, Array]:
    """Values and residuals of the wanted pairs V, as the products spent give them, and of fresh
    products where those are not enough; ends the basis.
    """
    basis = search.basis
    A = basis.H
    theta, residuals = basis.values[wanted], basis.residuals[wanted]
    fresh = basis.adopted[wanted]  # products are not known
    error, sound = _verify(search, wanted[~fresh], int(fresh.sum()))
    settle(A)
    residuals = residuals + FOLD * error
    if not sound:  # products are not those of a matrix to rounding: of them nothing is counted
        basis.spectra = []
    finer = is_coarse(A) and stop is Stop.CONVERGED
    fresh |= not sound or (finer & (residuals > tol * basis.scale))
    if fresh.any():
        rows = V[torch.as_tensor(fresh, device=A.device)]
        theta[fresh], residuals[fresh] = _recompute(A, rows, basis, search.progress)
    return theta, residuals


def _anew(search: Search, basis: Narrow, wanted: Array, V: Tensor) -> tuple[Array, Array, Tensor]:
    """Values, residuals and vectors from a basis that is held in a narrower dtype: fresh products
    say all of it.
    """
    expected = basis.residuals[wanted]
    del basis.Q
    theta, residuals, V = rayleigh_ritz(basis.H, V, basis, search.progress)
    settle(basis.H)
    known = np.linalg.norm(expected) + FOLD * noise(basis.H, basis.scale)
    if np.linalg.norm(residuals) > known:  # as where the products spent are not sound
        basis.spectra = []
    basis.scale = max(basis.scale - 2 * basis.worst, float(np.abs(theta).max()))
    return theta, residuals, V


def _seen(start: tuple[Array, Array] | None) -> list[Tensor]:
    """What a start has seen, as a result holds it."""
    return [torch.as_tensor(part, device="cpu") for part in start or (np.zeros(0), np.zeros(0))]


def _verify(search: Search, checked: Array, more: int) -> tuple[float, bool]:
    """About the error of one column of H V as the products spent give it, V being the checked
    vectors, and whether it is what their arithmetic loses; ends the basis.

    H V is known from Basis.predicted up to an error E that should be rounding. One more product
    measures all columns of E at once (Freivalds 1979): for random signs r, the mean of ‖E r‖² is
    ‖E‖_F², so ‖H V r - (H V) r‖ / k^½ is about the error of a column, and a residual is at most the
    predicted one plus FOLD times that. One product is enough: rounding errors are independent, and
    a cause common to all columns is in this product too. Where it shows more than rounding, a
    second one, in the arithmetic of the others, says whether that loses as much; else H is not
    symmetric or changes between products. ``more`` products will follow.
    """
    basis = search.basis
    H = basis.H
    r = np.zeros(basis.locked)
    r[checked] = signs(len(checked), basis.seeds) / max(1, len(checked)) ** 0.5
    z = combine(torch.as_tensor(r, device=H.device)[:, None], basis.Q[: basis.locked])[0]
    predicted = basis.predicted(r)
    # n numbers a row: the products below may need the room
    del basis.Q
    basis.Z = z.new_empty(0, len(z))
    if not len(checked):
        return 0.0, True
    overlook(H, SLIGHT * search.margin)
    exact = reference(H, z)
    error = float(norm(exact - predicted.double(), basis.ranks))
    basis.products += 1
    if not np.isfinite(error):
        raise bad_product(basis.products)
    sound = error <= finest(H, basis.scale) / 2
    if not sound and basis.products <= search.most:
        sound = error <= FOLD * float(norm(exact - (H @ z).double(), basis.ranks))
        basis.products += 1
    learn(H, error, basis.scale)
    search.progress("residuals", basis.products, basis.products + more)
    return error, sound


def _drift(basis: Basis, wanted: Array) -> Array:
    """How far the coupling of pairs from different sweeps moves their values (k,): |eigenvalues of
    V'HV - theta|.
    """
    P = basis.P[np.ix_(wanted, wanted)]
    drift: Array = np.abs(np.linalg.eigvalsh(P, UPLO="U") - np.sort(basis.values[wanted]))
    return drift


def _bounds(theta: Array, residuals: Array, drift: Array, search: Search) -> Array:
    """How far the i-th eigenvalue may be from theta[i] (k,).

    |lambda_i - theta_i| <= residual_i + drift_i, where nothing is missed; and it is at most tol ‖H‖
    where the residuals are, for the probes leave no more open than that. Near the cut it is taken
    to be tol ‖H‖ at least, since an eigenvalue that the probes leave open shifts the order there.
    """
    # the probes' own products are off by what is lost
    margin = search.margin + lost(search.basis.H) - rounded(search.basis.H)
    bounds: Array = np.minimum(residuals + drift, np.maximum(residuals, margin))
    near = _near_the_cut(theta, residuals, search)
    bounds[near] = np.maximum(bounds[near], margin)
    return bounds


def _near_the_cut(theta: Array, residuals: Array, search: Search) -> Array:
    """Which values could change places with an eigenvalue that the probes leave open, or with one
    that does: a mask (k,).

    Those within tol ‖H‖ of the innermost, and those whose interval touches that of one of them.
    """
    k = len(theta)  # fewer than asked for where the budget ran out
    near = np.zeros(k, bool)
    for sign, wanted in (
        (1, range(max(0, k - search.largest), k)),
        (-1, range(min(k, search.smallest))[::-1]),
    ):
        reach = -np.inf
        for i in wanted:  # from the innermost outwards
            reach = sign * theta[i] + search.margin if reach == -np.inf else reach
            if sign * theta[i] - residuals[i] <= reach:
                near[i], reach = True, max(reach, sign * theta[i] + residuals[i])
    return near


def _recompute(A: Operator, rows: Tensor, basis: Basis, progress: Progress) -> tuple[Array, Array]:
    """Rayleigh quotients and residuals of the rows, from fresh products."""
    values, residuals, spent = [], [], basis.products
    width = max(1, min(BLOCK, NUMBERS // rows.shape[1]))
    for i in range(0, len(rows), width):
        V = rows[i : i + width]
        for v, w in zip(V.double(), reference(A, V.T).T, strict=True):
            square = dots(v[None], v, basis.ranks)[0]
            value = dots(v[None], w, basis.ranks)[0] / square
            values.append(value)
            residuals.append(norm(w - value * v, basis.ranks) / square.sqrt())
        basis.products += len(V)
        progress("residuals", basis.products, spent + len(rows))
    theta, found = (torch.stack(t).cpu().numpy() for t in (values, residuals))
    if not np.isfinite(found).all():
        raise bad_product(spent + 1 + int(np.argmin(np.isfinite(found))))
    return theta, found


def _dense(A: Operator, largest: int, smallest: int, tol: float, progress: Progress) -> Eigenpairs:
    """All of a small matrix, formed from n products and decomposed in float64."""
    n, lie = A.shape[0], spread(A)
    columns = []
    for i in range(0, n, DENSE):
        unit = torch.zeros(n, min(DENSE, n - i), dtype=A.dtype, device=A.device)
        unit[i : i + DENSE].fill_diagonal_(1)
        # where products are coarse, the matrix is made of those that are not
        mine = lie.own(unit)
        product = reference(A, mine) if is_coarse(A) else A @ mine
        columns.append(lie.whole(product).to(torch.float64))
        progress("matrix", i + unit.shape[1], n)
    M = torch.cat(columns, 1).cpu()
    finite = torch.isfinite(M).all(0)
    if not bool(finite.all()):
        raise bad_product(1 + int(finite.int().argmin()))
    theta, S = torch.linalg.eigh((M + M.T) / 2)
    scale = float(theta.abs().max())
    wanted = torch.cat(
        [torch.arange(smallest, device="cpu"), torch.arange(n - largest, n, device="cpu")]
    )
    V = S[:, wanted].to(A.dtype)
    exact = V.to(torch.float64)
    residuals = torch.linalg.vector_norm(M @ exact - exact * theta[wanted], dim=0)
    rounding = finest(A, scale)
    return Eigenpairs(
        values=theta[wanted],
        vectors=lie.given(lie.own(V.to(A.device))),
        bounds=residuals + rounding,
        residuals=residuals + rounding,
        products=n,
        stop=Stop.INEXACT
        if bool((residuals > max(tol * scale, rounding)).any())
        else Stop.CONVERGED,
        largest=largest,
        smallest=smallest,
        scale=scale,
        confidence=1.0,
        negative_at_least=int((theta < -rounding).sum()),
        positive_at_least=int((theta > rounding).sum()),
    )


def _check(
    A: Operator,
    largest: int,
    smallest: int,
    tol: float,
    probes: int,
    max_products: int | None,
    max_basis: int | None,
    known: Eigenpairs | None,
) -> None:
    n = A.shape[0]
    whole(0, largest=largest, smallest=smallest, probes=probes)
    k = min(n, largest + smallest)
    if not k:
        raise ValueError("largest and smallest are both 0: ask for at least one eigenvalue.")
    if not 0 < tol < 1:
        raise ValueError(
            f"tol must lie between 0 and 1, got {tol}: it is relative to the norm of H."
        )
    if max_products is not None and max_products < 2 * k + 1:
        raise ValueError(
            f"max_products must be at least 2 k + 1 = {2 * k + 1} for k = {k}, got {max_products}."
        )
    if max_basis is not None and max_basis < k + 3:
        raise ValueError(
            f"max_basis must be at least k + 3 = {k + 3} for k = {k}, got {max_basis}."
        )
    if known is not None:
        _require_same(A, known)


def _require_same(A: Operator, known: Eigenpairs) -> None:
    size, lie = known.vectors.shape[0], spread(A)
    wanted = lie.local if lie.sharded else lie.dim
    if size != wanted:
        raise ValueError(
            f"known has vectors of {size} entries, H has {wanted}: pass pairs of the same operator."
        )
