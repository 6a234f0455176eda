"""Both ends of a symmetric spectrum by thick-restart Lanczos, with multiplicities (Wu & Simon 2000, SIMAX 22:602).

H: symmetric, (n, n), seen only through products. k = largest + smallest pairs are wanted. One Krylov space sees one
copy of a repeated eigenvalue: once the wanted pairs have converged they are locked, and a probe, a fresh random start
orthogonal to them, looks for anything beyond the cut, the innermost wanted value of an end. What it finds joins the
locked pairs, and the next probe starts; one that finds nothing bounds the probability that something is there. Cost is
counted in products H v.
"""

import operator
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from landscape.core import Operator, Progress, silent
from landscape.linalg.krylov import Array, Basis, Ritz
from landscape.linalg.operators import as_operator, bad_product, noise, signs
from landscape.linalg.reductions import combine, dots, norm
from landscape.results import result

DENSE = 64  # at most this many dimensions: form the matrix
ROWS = 200  # basis vectors that ordinary Hessians never fill
MEMORY = 2**30  # bytes the basis may take beyond what the wanted pairs need
DOUBT = 1e-3  # a probe stops when anything beyond the cut would have hidden from it with at most this probability
FOLD = 4.0  # a residual may be off by this many times the root mean square that was measured
BLOCK = 16  # vectors multiplied at a time when residuals are computed


@result
class Stop(Enum):
    """Why ``eigsh`` stopped."""

    CONVERGED = "every wanted residual is within tol"
    BUDGET = "the product budget ran out: raise max_products or loosen tol; bounds are still valid"
    INEXACT = (
        "the residuals computed at the end exceed tol: the products' rounding allows no less (loosen tol, or use "
        "float64), or H is not symmetric or changes between products; bounds are still valid for a symmetric H"
    )


@result
@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Extreme eigenpairs; the interval values[i] ± residuals[i] holds a true eigenvalue, certainly.

    With probability ``confidence``, values[i] ± bounds[i] holds the i-th one, multiplicities counted: H has no further
    eigenvalue more than tol ‖H‖ beyond the innermost ones given here. One that is less far beyond would shift the order
    of those near it, so that the bounds of values that close to the innermost one are tol ‖H‖ at least.
    """

    values: Tensor  # (k,) ascending, float64, on the CPU: first the smallest, then the largest
    vectors: Tensor  # (n, k) orthonormal columns, column i belongs to values[i]; dtype and device of the operator
    bounds: Tensor  # (k,) float64, on the CPU
    residuals: Tensor  # (k,) float64, on the CPU: at least ‖H v - theta v‖, verified by a fresh product, with rounding
    products: int  # products spent, those of the bounds among them
    stop: Stop
    largest: int  # how many of the values are the largest ones, as asked (at most n)
    smallest: int
    scale: float  # the largest |Ritz value| met: a lower bound of ‖H‖, which tol is relative to
    confidence: float  # 1 where the matrix was formed; 0 without probes
    negative_at_least: int  # eigenvalues below -rounding that H must have, by Cauchy interlacing
    positive_at_least: int

    @property
    def converged(self) -> bool:
        """Whether every bound is within tol ‖H‖, rounding apart."""
        return self.stop is Stop.CONVERGED


def eigsh(
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
    progress: Progress = silent,
) -> Eigenpairs:
    """The algebraically largest and smallest eigenvalues of a symmetric operator, with multiplicities and bounds.

    Args:
        H: shape (n, n), float32 or float64, any device: an operator, used as ``H @ v`` and, at the end, ``H @ V``; or a
            dense symmetric tensor.
        largest, smallest: how many of each end; either may be 0. Asking for more than n gives all n, once each.
        tol: residuals ‖H v - theta v‖ are at most tol ‖H‖.
        seed: of generators made here; the global random state is neither read nor moved.
        probes: fresh starts in a row that must find nothing more. Each multiplies the doubt, about 1e-3, by itself;
            each costs a few products when the spectrum has a gap beyond the wanted pairs, never more than the search
            did. 0 trusts one Krylov space, which sees a repeated eigenvalue once.
        max_products: stop there, the final check included. By default 10 n + 1000.
        max_basis: vectors of n held at once. By default 200 or what fits 1 GiB, and at least 2 k + 20.
        known: pairs of the same operator to extend; their search is not repeated, only their bounds are recomputed.
        progress: called with the products spent.

    Returns:
        The pairs, fewer than asked for only if ``max_products`` ran out first.

    Raises:
        ValueError: an argument is out of range, or H is not square, of another dtype, or a tensor that is not
        symmetric. NumericalError: a product has a NaN or inf; the message says which.

    Cost: one product a step and k for the bounds; orthogonalisation moves 4 m n numbers a step with m basis vectors.
    For n <= 64, or when k is n / 3 or more, the matrix is formed: n products, and the answer is exact up to rounding.
    """
    A = as_operator(H)
    n = A.shape[0]
    _check(largest, smallest, tol, probes, max_products, max_basis, known, n)
    largest = min(largest, n)
    smallest = min(smallest, n - largest)
    k = largest + smallest
    if n <= DENSE or 3 * k >= n:
        return _dense(A, largest, smallest, tol, progress)
    held = 0 if known is None else known.vectors.shape[1]
    rows = max(2 * max(k, held) + 20, min(ROWS + 4 * k, MEMORY // (n * A.dtype.itemsize)))
    basis = Basis(A, min(n, rows if max_basis is None else max_basis), np.random.SeedSequence(seed))
    if known is not None:
        basis.adopt(known.vectors.to(A.device, A.dtype), known.values.numpy(), known.bounds.numpy())
    budget = 10 * n + 1000 if max_products is None else max_products
    search = _Search(basis, largest, smallest, tol, budget - k - 1, progress)
    stop = search.run(probes)
    return _finish(search, stop, tol)


class _Search:
    """Sweeps, one Krylov space each, until a probe finds nothing more."""

    def __init__(self, basis: Basis, largest: int, smallest: int, tol: float, budget: int, progress: Progress) -> None:
        self.basis, self.largest, self.smallest, self.k = basis, largest, smallest, largest + smallest
        self.tol, self.budget, self.progress = tol, budget, progress
        self.longest = 20  # products of the longest sweep that found something
        self.confidence = 0.0

    @property
    def margin(self) -> float:
        """tol ‖H‖, less the rounding of the scale."""
        return self.tol * (self.basis.scale - noise(self.basis.H, self.basis.scale))

    def run(self, probes: int) -> Stop:
        """Lock the wanted pairs; CONVERGED or BUDGET."""
        basis, clean = self.basis, 0
        doubt = np.ones(2)
        while True:
            if basis.locked == basis.n:
                self.confidence = 1.0
                return Stop.CONVERGED
            if basis.locked >= self.k and clean == probes:
                asked = np.array([self.largest > 0, self.smallest > 0])
                self.confidence = max(0.0, 1.0 - float(doubt[asked].sum())) if probes else 0.0
                return Stop.CONVERGED
            before = basis.products
            missed = self.sweep()
            if missed is None:
                return Stop.BUDGET
            if missed.size:
                clean, doubt = clean + 1, doubt * missed
            else:
                clean, doubt = 0, np.ones(2)
                self.longest = max(self.longest, basis.products - before)

    def sweep(self) -> Array | None:
        """One Krylov space.

        Returns:
            None: out of budget; empty: it locked new pairs; else the probabilities (2,) that its start hid something
            above the upper cut, below the lower one.
        """
        basis = self.basis
        before = basis.products
        if basis.products >= self.budget:
            return None
        basis.start()
        missed, pace = np.ones(2), _Pace()
        steps = 4 if basis.locked >= self.k else self.k - basis.locked + 4
        while True:
            basis.grow(max(1, min(steps, basis.room, self.budget - basis.products)))
            self.progress("eigenvalues", basis.products, None)
            ritz = basis.ritz()
            old, new = self.select(ritz)
            worst = float(ritz.residuals[new].max(initial=0.0))
            goal = self.tol * basis.scale
            goal = max(goal / 2, goal - 2.5 * noise(basis.H, basis.scale))  # the bounds will include the rounding
            if basis.locked > self.k and (len(new) or self.crowded(ritz)):  # a find may couple to the spare vectors
                basis.lock(ritz, old, new[:0])
                basis.start()
                continue
            if len(new) and (ritz.exhausted or (worst <= goal and len(old) + len(new) == self.k)):
                basis.lock(ritz, old, np.concatenate([new, self.spare(ritz, old, new)]))
                return np.zeros(0)
            if not len(new):
                missed, settled = self.missed(ritz, missed)
                if settled or ritz.exhausted or basis.products - before >= self.longest:
                    basis.count_signs()
                    return missed
            if basis.products >= self.budget:
                basis.lock(ritz, old, new)
                return None
            if not basis.room:
                basis.restart(ritz, self.keep(ritz, new))
            steps = pace.next(basis.products, *((worst, goal) if len(new) else (float(missed.max()), DOUBT)))

    def cuts(self) -> tuple[float, float, float, float]:
        """The innermost locked values from above and from below, and how far a Ritz value must pass each to count."""
        basis = self.basis
        if basis.locked < self.k:
            return -np.inf, np.inf, 0.0, 0.0
        order = np.argsort(basis.values)
        least = noise(basis.H, basis.scale)
        upper, lower = order[-self.largest] if self.largest else order[-1], order[max(0, self.smallest - 1)]
        return (
            float(basis.values[upper]),
            float(basis.values[lower]),
            max(least, float(basis.residuals[upper])),
            max(least, float(basis.residuals[lower])),
        )

    def wanted(self) -> Array:
        """Which of the locked pairs are wanted, as a mask."""
        rank = np.argsort(np.argsort(self.basis.values))
        return (rank < self.smallest) | (rank >= len(rank) - self.largest)

    def select(self, ritz: Ritz) -> tuple[Array, Array]:
        """The wanted pairs: indices among the locked ones, and among the Ritz pairs. A tie goes to the locked."""
        basis = self.basis
        _, _, above, below = self.cuts()
        held, total = basis.locked, basis.locked + len(ritz.theta)
        if total <= self.k:
            return np.arange(held), np.arange(len(ritz.theta))
        top = np.concatenate([basis.values, ritz.theta - above])
        bottom = np.concatenate([basis.values, ritz.theta + below])
        chosen = np.zeros(total, bool)
        chosen[np.argsort(-top, kind="stable")[: self.largest]] = True
        bottom[chosen] = np.inf
        chosen[np.argsort(bottom, kind="stable")[: self.smallest]] = True
        return np.flatnonzero(chosen[:held]), np.flatnonzero(chosen[held:])

    def spare(self, ritz: Ritz, old: Array, new: Array) -> Array:
        """Indices of further Ritz pairs to lock, converged or not, so that the probe has a wider gap to see across.

        With pairs of residual r_i and theta_i < x locked, H has nothing above x if PHP has nothing above
        x - sum r_i² / (x - theta_i): the Schur complement. Lock down to where this gains most.
        """
        if ritz.exhausted or len(old) + len(new) < self.k:
            return new[:0]
        found, room = [], self.basis.rows - self.k - 30
        rest = np.setdiff1d(np.arange(len(ritz.theta)), new)
        wanted = np.sort(np.concatenate([self.basis.values[old], ritz.theta[new]]))
        ends = ((self.largest, 1, wanted[-self.largest]), (self.smallest, -1, wanted[self.smallest - 1]))
        for count, sign, cut in ends:
            if count and len(rest) > 1:
                order = rest[::-1] if sign > 0 else rest
                gaps = sign * (cut - ritz.theta[order])
                if gaps[0] > 0:
                    cost = np.cumsum(ritz.residuals[order] ** 2 / gaps)
                    gain = gaps - np.concatenate([[0.0], cost[:-1]])
                    found.append(order[: min(int(gain.argmax()), max(0, room // 2))])
        return np.unique(np.concatenate(found)) if found else new[:0]

    def keep(self, ritz: Ritz, new: Array) -> Array:
        """Indices of the Ritz pairs that survive a restart: the wanted, and a third of the others at the same ends."""
        m = len(ritz.theta)
        spare = (m - len(new)) // 3
        low = int((new < m / 2).sum()) if self.largest else len(new)
        high = len(new) - low
        share = self.smallest / self.k
        low, high = low + round(share * spare), high + spare - round(share * spare)
        if low + high >= m:  # leave room for a step
            low, high = (low, m - 1 - low) if low < m / 2 else (m - 1 - high, high)
        return np.concatenate([np.arange(low), np.arange(m - high, m)])

    def beyond(self) -> list[tuple[int, int, float, float]]:
        """For each end asked for: its number, its sign, and the points near and far (tol ‖H‖) beyond its cut.

        A probe must show that nothing is beyond them. They are moved inwards by what the spare vectors may hide.
        """
        upper, lower, above, below = self.cuts()
        basis, margin = self.basis, self.margin
        points = []
        for end, count, sign, cut, slack in ((0, self.largest, 1, upper, above), (1, self.smallest, -1, lower, below)):
            if count:
                gaps = sign * (cut - basis.values)
                spare = (gaps > 0) & ~self.wanted()
                hidden = float((basis.residuals[spare] ** 2 / gaps[spare]).sum())  # see spare
                near, far = max(slack, 0.1 * margin) - hidden, max(slack, margin) - hidden
                points.append((end, sign, cut + sign * near, cut + sign * far))
        return points

    def crowded(self, ritz: Ritz) -> bool:
        """Whether a Ritz value has come so close to a cut that spare vectors are in the way."""
        return any(sign * ritz.theta[-1 + end] >= sign * near for end, sign, near, _ in self.beyond())

    def missed(self, ritz: Ritz, before: Array) -> tuple[Array, bool]:
        """Probabilities (2,) that an eigenvalue tol ‖H‖ beyond a cut has hidden; whether the probe has seen enough."""
        missed, settled = before, True
        for end, _, near, far in self.beyond():
            if not self.basis.restarted:
                missed[end] = self.basis.missed(ritz, far)
            sharp = ritz.residuals[-1 + end] <= 0.1 * self.tol * self.basis.scale
            settled &= self.basis.missed(ritz, near) <= DOUBT or bool(missed[end] <= DOUBT and sharp)
        return missed, settled


class _Pace:
    """How many steps to take before the host looks again: half of what the last two looks predict."""

    def __init__(self) -> None:
        self.last: tuple[int, float] | None = None

    def next(self, done: int, now: float, goal: float) -> int:
        last, self.last = self.last, (done, now)
        if last is None or not 0 < now < last[1] or goal <= 0:
            return 1 + done // 50
        rate = np.log(last[1] / now) / (done - last[0])
        return int(np.clip(np.log(max(now / goal, 1.0)) / rate / 2, 1, 4 + done // 20))


def _finish(search: _Search, stop: Stop, tol: float) -> Eigenpairs:
    """The wanted pairs, with residuals that a fresh product has verified.

    H V is known from the products already spent (Basis.predicted), up to an error E that should be rounding. One more
    product measures all columns of E at once (Freivalds 1979): for random signs r the mean of ‖E r‖² is ‖E‖_F², so
    ‖H V r - (H V) r‖ / k^½ is about the error of a column, and FOLD times that joins every bound. One is enough as
    rounding errors are independent and a cause common to all columns is in this product too. Where it shows more than
    rounding (H not symmetric, or changing between products), every pair is multiplied anew.
    """
    basis = search.basis
    A, scale = basis.H, basis.scale
    wanted = np.flatnonzero(search.wanted())
    theta, residuals = basis.values[wanted], basis.residuals[wanted]
    fresh = basis.adopted[wanted]  # products are not known
    checked = wanted[~fresh]
    Q = basis.Q
    V = Q[torch.as_tensor(wanted, device=A.device)]
    r = np.zeros(basis.locked)
    r[checked] = signs(len(checked), basis.seeds) / max(1, len(checked)) ** 0.5
    z, p = combine(torch.as_tensor(r, device=A.device)[:, None], Q[: basis.locked])[0], basis.predicted(r)
    del basis.Q, Q  # n numbers each: the products below may need the room
    basis.Z = V[:0]
    if len(checked):
        error = float(norm(A @ z - p))
        basis.products += 1
        if not np.isfinite(error):
            raise bad_product(basis.products)
        search.progress("residuals", basis.products, basis.products + int(fresh.sum()))
        residuals = residuals + FOLD * error
        if error > noise(A, scale) / 2:
            fresh[:] = True
    if fresh.any():
        theta[fresh], residuals[fresh] = _multiply(A, V[torch.as_tensor(fresh, device=A.device)], basis, search.progress)
    P = basis.P[np.ix_(wanted, wanted)]  # pairs of different sweeps are coupled, which moves a cluster's values
    drift = np.abs(np.linalg.eigvalsh(P, UPLO="U") - np.sort(basis.values[wanted]))
    scale = max(scale, float(np.abs(theta).max()))
    if stop is Stop.CONVERGED and bool((residuals > tol * scale).any()):
        stop = Stop.INEXACT
    order = np.argsort(theta)
    theta, residuals = theta[order], residuals[order] + noise(A, scale)
    margin = search.margin
    bounds = np.minimum(residuals + drift, np.maximum(residuals, margin))
    bounds = np.where(_near_the_cut(theta, residuals, search), np.maximum(bounds, margin), bounds)
    return Eigenpairs(
        values=torch.as_tensor(theta, device="cpu"),
        vectors=V[torch.as_tensor(order, device=A.device)].T,
        bounds=torch.as_tensor(bounds, device="cpu"),
        residuals=torch.as_tensor(residuals, device="cpu"),
        products=basis.products,
        stop=stop,
        largest=search.largest,
        smallest=search.smallest,
        scale=scale,
        confidence=search.confidence,
        negative_at_least=basis.negative,
        positive_at_least=basis.positive,
    )


def _near_the_cut(theta: Array, residuals: Array, search: _Search) -> Array:
    """Which values could change places with an eigenvalue that the probes leave open, or with one that does: a mask (k,).

    Those within tol ‖H‖ of the innermost, and those whose interval touches that of one of them.
    """
    near = np.zeros(len(theta), bool)
    for sign, wanted in ((1, range(len(theta) - search.largest, len(theta))), (-1, range(search.smallest)[::-1])):
        reach = -np.inf
        for i in wanted:  # from the innermost outwards
            reach = sign * theta[i] + search.margin if reach == -np.inf else reach
            if sign * theta[i] - residuals[i] <= reach:
                near[i], reach = True, max(reach, sign * theta[i] + residuals[i])
    return near


def _multiply(A: Operator, rows: Tensor, basis: Basis, progress: Progress) -> tuple[Array, Array]:
    """Rayleigh quotients and residuals of the rows, from fresh products."""
    values, residuals, spent = [], [], basis.products
    for i in range(0, len(rows), BLOCK):
        V = rows[i : i + BLOCK]
        for v, w in zip(V, (A @ V.T).T, strict=True):
            square = dots(v[None], v)[0]
            theta = dots(v[None], w)[0] / square
            values.append(theta)
            residuals.append(norm(w - theta.to(w.dtype) * v) / square.sqrt())
        basis.products += len(V)
        progress("residuals", basis.products, spent + len(rows))
    theta, found = (torch.stack(t).cpu().numpy() for t in (values, residuals))
    if not np.isfinite(found).all():
        raise bad_product(spent + 1 + int(np.argmin(np.isfinite(found))))
    return theta, found


def _dense(A: Operator, largest: int, smallest: int, tol: float, progress: Progress) -> Eigenpairs:
    """All of a small matrix, formed from n products and decomposed in float64."""
    n = A.shape[0]
    columns = []
    for i in range(0, n, DENSE):
        unit = torch.zeros(n, min(DENSE, n - i), dtype=A.dtype, device=A.device)
        unit[i : i + DENSE].fill_diagonal_(1)
        columns.append((A @ unit).to(torch.float64))
        progress("matrix", i + unit.shape[1], n)
    M = torch.cat(columns, 1).cpu()
    finite = torch.isfinite(M).all(0)
    if not bool(finite.all()):
        raise bad_product(1 + int(finite.int().argmin()))
    theta, S = torch.linalg.eigh((M + M.T) / 2)
    scale = float(theta.abs().max())
    wanted = torch.cat([torch.arange(smallest, device="cpu"), torch.arange(n - largest, n, device="cpu")])
    V = S[:, wanted].to(A.dtype)
    exact = V.to(torch.float64)
    residuals = torch.linalg.vector_norm(M @ exact - exact * theta[wanted], dim=0)
    rounding = noise(A, scale)
    return Eigenpairs(
        values=theta[wanted],
        vectors=V.to(A.device),
        bounds=residuals + rounding,
        residuals=residuals + rounding,
        products=n,
        stop=Stop.INEXACT if bool((residuals > max(tol * scale, rounding)).any()) else Stop.CONVERGED,
        largest=largest,
        smallest=smallest,
        scale=scale,
        confidence=1.0,
        negative_at_least=int((theta < -rounding).sum()),
        positive_at_least=int((theta > rounding).sum()),
    )


def _check(
    largest: int,
    smallest: int,
    tol: float,
    probes: int,
    max_products: int | None,
    max_basis: int | None,
    known: Eigenpairs | None,
    n: int,
) -> None:
    for name, value in (("largest", largest), ("smallest", smallest), ("probes", probes)):
        if operator.index(value) < 0:
            raise ValueError(f"{name} must be 0 or more, got {value}.")
    k = min(n, largest + smallest)
    if not k:
        raise ValueError("largest and smallest are both 0: ask for at least one eigenvalue.")
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}: it is relative to the norm of H.")
    if max_products is not None and max_products < 2 * k + 1:
        raise ValueError(f"max_products must be at least 2 k + 1 = {2 * k + 1} for k = {k}, got {max_products}.")
    if max_basis is not None and max_basis < k + 3:
        raise ValueError(f"max_basis must be at least k + 3 = {k + 3} for k = {k}, got {max_basis}.")
    if known is not None and known.vectors.shape[0] != n:
        size = known.vectors.shape[0]
        raise ValueError(f"known has vectors of {size} entries, H has {n}: pass pairs of the same operator.")
