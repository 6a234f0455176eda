"""One growing orthonormal basis: locked vectors first, then a Krylov space of H orthogonal to them,
restarted thickly.

Q: (rows, n), orthonormal rows: L, the locked vectors (l, n), then the Krylov basis (m, n), then the
next unit vector q; over ranks each holds some of the coordinates. P projects out L. C = Q H Qᵀ:
measured coefficients, float64, its upper triangle filled as products come. T (m, m) is the part of
C on the Krylov basis, B (l, m) its coupling to L. Then H Qₘᵀ = Lᵀ B + Qₘᵀ T + beta q eₘᵀ up to
rounding, also after restarts, and a Ritz pair (theta, Qₘᵀ s) has the residual
(‖B s‖² + (beta s_m)²)^½. Once Ritz vectors V are locked, the same identity keeps their products,
H V = Lᵀ P + Zᵀ R: P (l, l) on the locked vectors, R (t, l) on Z (t, n), the tails: next vectors,
and vectors that were locked once.
Sources: Wu & Simon 2000, SIMAX 22:602 (thick restart); Kuczynski & Wozniakowski 1992, SIMAX 13:1094
(random starts); Szegö 1939, Orthogonal Polynomials, 3.41 (the Christoffel function bounds a mass at
a point from 2m moments).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from landscape.core import Operator
from landscape.landscapes.memory import fitting
from landscape.linalg.operand import (
    OnHost,
    Trusted,
    bad_product,
    finest,
    gaussian,
    may_leave,
    noise,
    spread,
)
from landscape.linalg.reductions import columns, combine, gram, norm, orthogonalise
from landscape.linalg.rows import Rows

Array = np.ndarray
NUMBERS = 2**24  # of forms that are held


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs of PHP on the Krylov basis as it is."""

    theta: Array  # (m,) ascending
    S: Array  # (m, m) their coordinates in the Krylov basis
    residuals: Array  # (m,)
    coupling: Array  # (l, m) what H makes of them along the locked vectors
    beta: float  # norm of the next vector before it was normalised
    exhausted: bool  # the space is invariant: its residuals are rounding


@runtime_checkable
class Watched(Operator, Protocol):
    """An operator that tells what each group of batches of its data adds to a product."""

    @property
    def shares(self) -> Tensor:
        """(G,) of the groups in all the data; empty where they are not to be told."""
        ...

    def observed(
        self, v: Tensor, Q: Tensor, dots: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """H v (n,), and q'H_b v (G, m) for the rows q of Q (m, n)."""
        ...


class Forms:
    """What the batches of an operator's data make of a basis: q'H_b p of its Krylov vectors, and
    v'H_b v of its locked ones.

    G: how many groups the batches form.
    """

    def __init__(self, H: "Watched", rows: int) -> None:
        self.observe, self.shares = H.observed, H.shares
        G = len(self.shares)
        self.F = torch.zeros(G, rows, rows, dtype=torch.float64, device=H.device)
        self.locked = self.F.new_zeros(G, 0)

    @classmethod
    def of(cls, H: Operator, rows: int) -> "Forms | None":
        """Of an operator that tells them; None of others, and where they would fill the memory."""
        H = H.H if isinstance(H, Trusted) else H
        if not isinstance(H, Watched) or not 2 <= len(H.shares) <= NUMBERS // rows**2:
            return None
        return cls(H, rows)

    def product(self, Q: Tensor) -> Tensor:
        """H q for the last row of Q (m, n), the Krylov basis as it is."""
        m = len(Q)
        w, self.F[:, :m, m - 1] = self.observe(Q[-1], Q, gram)
        return w

    def turn(self, S: Array) -> None:
        """Replace the Krylov basis by the combinations in the columns of S (m, p)."""
        p = S.shape[1]
        self.F[:, :p, :p] = self._turned(S)

    def lock(self, S: Array, old: Array) -> None:
        """Keep these of the locked vectors, and lock the combinations in the columns of S."""
        new = self._turned(S).diagonal(dim1=1, dim2=2)
        self.locked = torch.cat(
            [self.locked[:, torch.as_tensor(old, device=self.F.device)], new], dim=1
        )

    def _turned(self, S: Array) -> Tensor:
        m, turn = len(S), torch.as_tensor(S, device=self.F.device)
        F = self.F[:, :m, :m].triu()
        return turn.T @ (F + F.triu(1).mT) @ turn


class Basis:
    """The basis Q, its projected matrix C and the count of products. Only ``ritz`` waits for the
    device.
    """

    aim = 1.0  # what share of tol a residual may have reached when its vector is locked

    def __init__(self, H: Operator, rows: int, seeds: np.random.SeedSequence) -> None:
        self.H, self.n, self.rows, self.seeds = H, H.shape[0], rows, seeds
        self.spread = spread(H)
        self.ranks = self.spread.ranks
        self.Q = self._empty()
        self.C = torch.zeros(rows, rows, dtype=torch.float64, device=H.device)
        self.betas = torch.zeros(rows, dtype=torch.float64, device=H.device)
        self.forms = self._told()
        self.locked = self.size = self.seen = (
            0  # l, m, and how many of the m the host has looked at
        )
        self.values, self.residuals = np.zeros(0), np.zeros(0)  # of the locked vectors
        self.P, self.R = np.zeros((0, 0)), np.zeros((0, 0))  # their products
        self.Z = torch.empty(0, self.spread.local, dtype=H.dtype, device=H.device)
        # which of them came from elsewhere: their products are not known
        self.adopted = np.zeros(0, bool)
        self.products = 0
        self.scale = 0.0  # the largest |theta| met: at most ‖H‖
        self.spectra: list[Array] = []  # of C, whenever its basis was about to go
        self.restarted = False
        # diagonal and off-diagonal of T for the first start, one of nothing locked: what a probe of
        # the spectral density sees
        self.first: tuple[Array, Array] | None = None
        # the same for the last start beside all that is locked
        self.last: tuple[Array, Array] | None = None

    def _empty(self) -> Tensor | Rows:
        """Room for all rows and the next unit vector."""
        shape = self.rows + 1, self.spread.local
        return torch.empty(shape, dtype=self.H.dtype, device=self.H.device)

    def _told(self) -> Forms | None:
        """What batches make of the basis, where the operator tells it."""
        return Forms.of(self.H, self.rows)

    @property
    def ahead(self) -> int:
        """How many products the residuals of the locked vectors will take."""
        return int(self.adopted.sum()) + 1

    @property
    def room(self) -> int:
        """How many vectors the Krylov basis can still take."""
        return min(self.rows, self.n) - self.locked - self.size

    def start(self) -> None:
        """Begin a Krylov space at a random vector, uniform on the sphere in the complement of the
        locked ones.
        """
        self.size = self.seen = 0
        self.restarted = False
        self._within_memory(self._start)

    def _start(self) -> None:
        held = self.Q[: self.locked]
        _, z = orthogonalise(gaussian(1, self.seeds, self.H)[0], held, self.ranks)
        _, z = orthogonalise(z / norm(z, self.ranks).to(z.dtype), held, self.ranks)
        self.Q[self.locked] = z / norm(z, self.ranks).to(z.dtype)

    def grow(self, steps: int) -> None:
        """``steps`` products, each a new vector; nothing is copied to the host."""
        for i in range(self.locked + self.size, self.locked + self.size + steps):
            self._within_memory(partial(self._step, i))
        self.size += steps
        self.products += steps

    def _step(self, i: int) -> None:
        tiny = torch.finfo(self.H.dtype).tiny
        c, w = orthogonalise(self._product(i), self.Q[: i + 1], self.ranks)
        beta = norm(w, self.ranks)
        self.C[: i + 1, i] = c
        self.betas[i] = beta
        # after a breakdown this is normalised rounding, which ritz cuts off
        torch.div(w, beta.clamp_min(tiny).to(w.dtype), out=self.Q[i + 1])

    def _within_memory(self, step: Callable[[], None]) -> None:
        """A step, with the basis in the host's memory where the device has no room for both."""
        fitting(step, self.leave_the_device, self.H.device)

    def leave_the_device(self) -> bool:
        """Whether the basis has moved into the host's memory."""
        if not may_leave(self.H):
            return False
        self.H, self.forms = OnHost(self.H), None
        self.Q = self.Q.cpu()
        self.C, self.betas, self.Z = (t.cpu() for t in (self.C, self.betas, self.Z))
        return True

    def _product(self, i: int) -> Tensor:
        if self.forms is None or isinstance(self.Q, Rows):
            return self.H @ self.Q[i]
        return self.forms.product(self.Q[self.locked : i + 1])

    def ritz(self) -> Ritz:
        """The Ritz pairs now.

        Raises:
            NumericalError: a product was not finite.
        """
        held, end = self.locked, self.locked + self.size
        seen = torch.cat([self.C[:end, :end], self.betas[None, :end]]).cpu().numpy()
        C, betas = seen[:-1], seen[-1, held:]
        # the product behind the first column not looked at yet
        first = self.products - self.size + self.seen + 1
        fine = np.isfinite(C[:, held + self.seen :]).all(0) & np.isfinite(betas[self.seen :])
        if not fine.all():
            raise bad_product(first + int(np.argmin(fine)))
        scale = max(
            self.scale,
            float(np.abs(np.diag(C)).max()),
            float(betas[self.seen :].max(initial=0.0)) / 2,
        )
        flat = np.flatnonzero(betas[self.seen :] <= self._rounding(scale))
        exhausted = bool(flat.size) or end == self.n
        if flat.size:
            self.size = self.seen + int(flat[0]) + 1
            end = held + self.size
            C, betas = C[:end, :end], betas[: self.size]
        self.seen = self.size
        theta, S = np.linalg.eigh(C[held:, held:], UPLO="U")
        self.scale = max(self.scale, float(np.abs(theta).max()))
        beta = float(betas[-1])
        coupling = C[:held, held:] @ S
        residuals = np.sqrt((beta * S[-1]) ** 2 + (coupling**2).sum(0))
        return Ritz(theta, S, residuals, coupling, beta, exhausted)

    def _rounding(self, scale: float) -> float:
        """Up to which norm a next vector is taken to be rounding, ‖H‖ being ``scale``."""
        return finest(self.H, scale)

    def count_signs(self) -> None:
        """By Cauchy interlacing H has at least as many eigenvalues of a sign as C."""
        end = self.locked + self.size
        self.spectra.append(np.linalg.eigvalsh(self.C[:end, :end].cpu().numpy(), UPLO="U"))

    def signs(self) -> tuple[int, int]:
        """At least how many eigenvalues are negative and positive: the most Ritz values beyond
        rounding on either side of 0, on one basis.
        """
        beyond, of_products = [(0, 0)], noise(self.H, self.scale)
        for values in self.spectra:
            of_basis = 4 * len(values) ** 0.5 * np.finfo(np.float64).eps * self.scale
            rounding = of_products + of_basis
            beyond.append((int((values < -rounding).sum()), int((values > rounding).sum())))
        return max(low for low, _ in beyond), max(high for _, high in beyond)

    def restart(self, ritz: Ritz, keep: Array, wanted: Array) -> None:
        """Thick restart: keep the Ritz pairs with these indices and the next vector. The
        ``wanted`` ones are among them.
        """
        self.count_signs()
        self._remember()
        held, m, p = self.locked, self.size, len(keep)
        W = np.zeros((held + m, held + p))
        W[:held, :held], W[held:, held:] = np.eye(held), ritz.S[:, keep]
        self._turn(W)
        if self.forms is not None:
            self.forms.turn(ritz.S[:, keep])
        self.Q[held + p] = self.Q[held + m]
        self.size = self.seen = p
        self.restarted = True

    def lock(self, ritz: Ritz, old: Array, new: Array) -> None:
        """End this Krylov space: keep these of the locked vectors, and lock these Ritz vectors."""
        self.count_signs()
        self._remember()
        self.last = None
        held, m = self.locked, self.size
        W = np.zeros((held + m, len(old) + len(new)))
        W[old, np.arange(len(old))] = 1
        W[held:, len(old) :] = ritz.S[:, new]
        self._keep_products(ritz, old, new)
        self._turn(W)
        if self.forms is not None:
            self.forms.lock(ritz.S[:, new], old)
        self.values = np.concatenate([self.values[old], ritz.theta[new]])
        self.residuals = np.concatenate([self.residuals[old], ritz.residuals[new]])
        self.adopted = np.concatenate([self.adopted[old], np.zeros(len(new), bool)])
        self.locked, self.size, self.seen = W.shape[1], 0, 0

    def _remember(self) -> None:
        """Keep what the first start has seen, before its basis is turned."""
        if self.first is None and not self.locked and not self.restarted:
            self.first = self._seen()

    def remember_last(self) -> None:
        """Keep what this start sees of all that is not locked."""
        self.last = None if self.restarted else self._seen()

    def _seen(self) -> tuple[Array, Array]:
        own = slice(self.locked, self.locked + self.size)
        a, b = self.C.diagonal()[own], self.betas[own]
        return a.cpu().numpy().copy(), b.cpu().numpy().copy()

    def adopt(self, vectors: Tensor, values: Array, residuals: Array, forms: Tensor) -> None:
        """Lock columns known to be orthonormal Ritz vectors, with their ``forms`` (G, k), if they
        are known.
        """
        self.locked = vectors.shape[1]
        self.Q[: self.locked] = vectors.T
        self.C[: self.locked, : self.locked] = torch.diag(
            torch.as_tensor(values, device=self.C.device)
        )
        self.values, self.residuals = values, residuals
        self.P, self.R, self.adopted = (
            np.diag(values),
            np.zeros((0, len(values))),
            np.ones(len(values), bool),
        )
        self.scale = float(np.abs(values).max())
        if self.forms is not None and len(forms) == len(self.forms.F):
            self.forms.locked = forms.to(self.C.device)
        else:
            self.forms = None

    def predicted(self, r: Array) -> Tensor:
        """H (Lᵀ r) from the products already spent, exact up to their rounding."""
        along, beside = (
            torch.as_tensor(c, device=self.C.device)[:, None] for c in (self.P @ r, self.R @ r)
        )
        return combine(along, self.Q[: self.locked])[0] + combine(beside, self.Z)[0]

    def missed(self, ritz: Ritz, x: float) -> float:
        """A bound on the probability that PHP has an eigenvalue beyond x, past every theta, and
        this start hid it.

        The square of the start's component on such an eigenvector is at most the Christoffel
        function at x, whatever the rest of the spectrum; for a uniform start it is Beta(1/2, (N -
        1) / 2) in N dimensions.
        """
        if ritz.exhausted and ritz.beta == 0:
            return 0.0
        if self.restarted or ritz.theta[0] <= x <= ritz.theta[-1]:
            return 1.0
        y = ritz.beta * (ritz.S @ (ritz.S[-1] / (x - ritz.theta)))  # (x - T) y = beta e_m
        others = self.n - self.locked - 1
        return float(betainc(0.5, others / 2, y[0] ** 2 / (1 + y @ y))) if others else 0.0

    def _keep_products(self, ritz: Ritz, old: Array, new: Array) -> None:
        """P, R and Z for the vectors that are locked from now on."""
        gone = np.setdiff1d(np.arange(self.locked), old)
        t, o, g = len(self.Z), len(old), len(gone)
        R = np.zeros((t + g + 1, o + len(new)))
        R[:t, :o], R[t : t + g, :o], R[t : t + g, o:] = (
            self.R[:, old],
            self.P[np.ix_(gone, old)],
            ritz.coupling[gone][:, new],
        )
        R[-1, o:] = ritz.beta * ritz.S[-1, new]
        P = np.diag(np.concatenate([np.zeros(o), ritz.theta[new]]))
        P[:o, :o], P[:o, o:] = self.P[np.ix_(old, old)], ritz.coupling[old][:, new]
        needed = (R != 0).any(1)
        tails = [*self.Z, *(self.Q[i] for i in gone), self.Q[self.locked + self.size]]
        kept = [tail.clone() if i >= t else tail for i, tail in enumerate(tails) if needed[i]]
        self.P, self.R = P, R[needed]
        self.Z = torch.stack(kept) if kept else self.Z[:0]

    def _turn(self, W: Array) -> None:
        """Replace the basis by the combinations in the columns of W."""
        end, k = W.shape
        turn = torch.as_tensor(W, device=self.C.device)
        C = self.C[:end, :end].triu()
        C = C + C.triu(1).T
        for part in columns(self.Q[:end]):  # one at a time: what is turned stays so
            self._within_memory(partial(self._turn_columns, W, part))
        turn = turn.to(self.C.device)
        self.C[:k, :k] = turn.T @ C.to(turn) @ turn

    def _turn_columns(self, W: Array, part: slice) -> None:
        end, k = W.shape
        turned = combine(torch.as_tensor(W, device=self.C.device), self.Q[:end, part])
        self.Q[:k, part] = turned
