"""A Krylov basis held in a narrower dtype, and what of its pairs fresh products say.

q: a vector of the basis as it is held; products and projections are of that. It differs by e from
the one that was made, so that H Qᵀ = Lᵀ B + Qᵀ T + beta q eₘᵀ holds up to F, whose columns are the
beta e of each step: an exact recurrence of a matrix that is ‖F‖ from H (the rows of F are all but
orthogonal to the basis, and to each other). The basis is orthonormal up to what its roundings have
along one another: the second projection of a step sees what that does to T. Both are measured at
each step and count as errors of the products (``Rounded``): of Ritz values that pass a cut, of what
a probe may have missed, of counts of signs.
Values and residuals of the pairs are of fresh products alone, by Rayleigh-Ritz on their space: an
error e of a vector moves its value by about e².
Source: Simoncini & Szyld 2003, SIAM J. Sci. Comput. 25:454 (inexact Krylov spaces).
"""

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from landscape.core import Operator, Progress
from landscape.linalg.krylov import Array, Basis, Ritz
from landscape.linalg.operand import Rounded, bad_product, is_coarse, learn, reference, signs
from landscape.linalg.reductions import columns, combine, norm, projected
from landscape.linalg.rows import Rows

# What storage may be called, narrowest first.
DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
# A residual of tol ‖H‖ can be had from a basis whose dtype has an eps of at most this many tol.
REACH = 2.0
FOLD = 4.0  # a residual may be off by this many times the root mean square that was measured


def reaches(dtype: torch.dtype, tol: float) -> bool:
    """Whether a basis of this dtype can give residuals of tol ‖H‖."""
    return torch.finfo(dtype).eps <= REACH * tol


def narrower(dtype: torch.dtype, tol: float) -> torch.dtype | None:
    """The widest dtype that is narrower and allows tol; None where there is none."""
    own = torch.finfo(dtype).eps
    found = [d for d in DTYPES.values() if torch.finfo(d).eps > own and reaches(d, tol)]
    return found[-1] if found else None


class Narrow(Basis):
    """A basis whose rows, but for the first ``whole``, are held in a narrower dtype.

    Locked vectors come first: as many as are wanted stay whole. Only ``ritz`` and ``lock`` wait for
    the device.
    """

    Q: Rows
    aim = 0.7  # two residuals of near values may add up when Rayleigh-Ritz turns their vectors

    def __init__(
        self,
        H: Operator,
        rows: int,
        seeds: np.random.SeedSequence,
        dtype: torch.dtype,
        whole: int,
    ) -> None:
        self.narrow, self.whole, self.rounded = dtype, whole, Rounded(H)
        super().__init__(self.rounded, rows, seeds)
        self.worst = 0.0  # of what a whole Krylov space has lost, per unit vector
        # by how much each row's product is off
        self.losses = torch.zeros(rows, dtype=torch.float64, device=H.device)

    def _empty(self) -> Rows:
        like = torch.empty(0, self.spread.local, dtype=self.H.dtype, device=self.H.device)
        return Rows.empty(self.rows + 1, self.whole, like, self.narrow, self.n)

    def _told(self) -> None:
        """What batches make of rows that are rounded would be rounded too."""

    @property
    def ahead(self) -> int:
        """How many products the residuals of the locked vectors will take: one each, and one."""
        return self.whole + 1

    def leave_the_device(self) -> bool:
        """Whether the basis has moved into the host's memory."""
        moved = super().leave_the_device()
        self.losses = self.losses.to(self.H.device)
        return moved

    def _step(self, i: int) -> None:
        tiny = torch.finfo(self.H.dtype).tiny
        c, d, w = projected(self.H @ self.Q[i], self.Q[: i + 1], self.ranks)
        beta = norm(w, self.ranks)
        self.C[: i + 1, i] = c + d
        self.betas[i] = beta
        w /= beta.clamp_min(tiny).to(w.dtype)
        self.Q[i + 1] = w
        w -= self.Q[i + 1]
        self.losses[i] = torch.hypot(beta * norm(w, self.ranks), torch.linalg.vector_norm(d))

    def ritz(self) -> Ritz:
        """The Ritz pairs now; what rounding has lost is known from now on."""
        found = super().ritz()
        own = self.losses[self.locked : self.locked + self.size]
        self.rounded.loss = float(own.max())
        self.worst = max(self.worst, self.rounded.loss)
        return found

    def count_signs(self) -> None:
        """As ever, with what this basis has lost taken off."""
        super().count_signs()
        values = self.spectra[-1]
        self.spectra[-1] = np.sign(values) * np.maximum(np.abs(values) - self.rounded.loss, 0)

    def restart(self, ritz: Ritz, keep: Array, wanted: Array) -> None:
        """As ever, the wanted ones first, where rows are whole."""
        first = np.intersect1d(wanted, keep)
        super().restart(ritz, np.concatenate([first, np.setdiff1d(keep, first)]), wanted)

    def _rounding(self, scale: float) -> float:
        """Two projections on rows that are orthonormal up to eps leave eps² of a vector."""
        return super()._rounding(scale) + torch.finfo(self.narrow).eps ** 2 * scale

    def lock(self, ritz: Ritz, old: Array, new: Array) -> None:
        """As ever; the residuals of these vectors as they are held."""
        super().lock(ritz, old, new)
        lost = self.losses[: self.locked].cpu().numpy()
        self.residuals = np.hypot(self.residuals, lost)

    def _turn(self, W: Array) -> None:
        k = W.shape[1]
        self.moved = torch.zeros(k, dtype=torch.float64, device=self.losses.device)
        super()._turn(W)
        turn = torch.as_tensor(W, device=self.losses.device).square()
        moved = self.ranks.total(self.moved.to(turn))
        # the product of what was moved is about ‖H‖ times that
        self.losses[:k] = (turn.T @ self.losses[: len(W)].square() + moved * self.scale**2).sqrt()

    def _turn_columns(self, W: Array, part: slice) -> None:
        end, k = W.shape
        turn = torch.as_tensor(W, device=self.C.device)
        turned = turn.T.to(self.Q.dtype) @ self.Q[:end][:, part]
        lost = (self.Q.rounded(turned) - turned).square().sum(1, dtype=torch.float64)
        moved = self.moved.to(lost) + lost
        self.Q[:k, part] = turned  # last: where memory runs out all of this is done again
        self.moved = moved

    def _remember(self) -> None:
        """What a start has seen is not exact enough for a quadrature."""

    def remember_last(self) -> None:
        """As ``_remember``."""

    def _keep_products(self, ritz: Ritz, old: Array, new: Array) -> None:
        """No products are kept: at the end there are fresh ones."""


def rayleigh_ritz(
    A: Operator, V: Tensor, basis: Basis, progress: Progress
) -> tuple[Array, Array, Tensor]:
    """Values (k,) ascending, residuals (k,) and vectors (k, local) of the space of the rows of V,
    which are orthonormal about, from fresh products; V is overwritten.

    One more product, the finest there is, of a random combination measures what the others lose
    (Freivalds 1979); residuals include it.
    """
    spent = basis.products
    W = _products(A, V, basis, progress)
    forms = V.new_zeros(2, len(V), len(V), dtype=torch.float64)
    for part in columns(V):
        v, w = V[:, part].double(), W[:, part].double()
        forms += torch.stack([v @ w.T, v @ v.T])
    K, G = basis.ranks.total(forms).cpu().numpy()
    finite = np.isfinite(K).all(0)
    if not finite.all():
        raise bad_product(spent + 1 + int(np.argmin(finite)))
    r = torch.as_tensor(signs(len(V), basis.seeds), device=V.device)[:, None] / len(V) ** 0.5
    exact = reference(A, combine(r, V)[0])
    error = float(norm(exact - combine(r, W)[0].double(), basis.ranks))
    basis.products += 1
    if not np.isfinite(error):
        raise bad_product(basis.products)
    learn(A, error, basis.scale)
    progress("residuals", basis.products, basis.products)
    theta, S = eigh((K + K.T) / 2, G)
    turn = torch.as_tensor(S, device=V.device)
    squares = V.new_zeros(len(V), dtype=torch.float64)
    for part in columns(V):
        v, w = turn.T @ V[:, part].double(), turn.T @ W[:, part].double()
        V[:, part] = v.to(V.dtype)
        squares += (w - torch.as_tensor(theta, device=V.device)[:, None] * v).square().sum(1)
    return theta, basis.ranks.total(squares).sqrt().cpu().numpy() + FOLD * error, V


def _products(A: Operator, V: Tensor, basis: Basis, progress: Progress) -> Tensor:
    """H v for each row v (k, local), one at a time: a vector's product costs least so."""
    W, total = torch.empty_like(V), basis.products + len(V) + 1
    for v, w in zip(V, W, strict=True):
        w.copy_(reference(A, v[:, None])[:, 0] if is_coarse(A) else A @ v)
        basis.products += 1
        progress("residuals", basis.products, total)
    return W
