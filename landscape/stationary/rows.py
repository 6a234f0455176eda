"""Many searches for a stationary point side by side, each with its whole Hessian.

X: (r, n), one search a row. Each row minimises |g|^2 by Levenberg-Marquardt steps in a ball, in the eigenvectors of its Hessian; values and
gradients of all rows are computed at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from landscape.core import Landscape, require_finite
from landscape.linalg.operators import ROUNDING
from landscape.stationary.classify import GRADIENT_ULPS
from landscape.stationary.walk import FAR, FLAT, LEAST, PATIENCE, Outcome

CHUNK = 160  # columns of a Hessian computed at once


class Rows:
    """The landscape's values, gradients and Hessians at the rows of X. Use inside ``f.evaluation()``."""

    def __init__(self, f: Landscape) -> None:
        self.terms = list(f.terms())
        self.hessians = 0
        self._gradient = vmap(grad(self._whole), randomness="same")
        self._hessian = jacrev(grad(self._whole), chunk_size=CHUNK)

    def _whole(self, x: Tensor) -> Tensor:
        return torch.stack([term.function(x) for term in self.terms]).sum()

    def value(self, X: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.stack([self._whole(x) for x in X])

    def gradient(self, X: Tensor) -> Tensor:
        g: Tensor = self._gradient(X)
        return g.detach()

    def hessian(self, X: Tensor) -> Tensor:
        self.hessians += len(X)
        return torch.stack([self._hessian(x).detach() for x in X])

    def partial(self, number: int) -> Callable[[Tensor], Tensor]:
        """The gradient of the rows from one micro-batch and the regularisers alone, in the units of the whole."""
        data = [term for term in self.terms if term.share]
        rest = [term for term in self.terms if not term.share]
        if not data:
            return self.gradient
        chosen = data[number % len(data)]

        def value(x: Tensor) -> Tensor:
            return torch.stack([chosen.function(x) / chosen.share, *(term.function(x) for term in rest)]).sum()

        return vmap(grad(value), randomness="same")


ORDER = list(Outcome)


@dataclass
class _Spectra:
    """Hessians of rows in their eigenvectors, float64."""

    w: Tensor  # (r, n) ascending
    V: Tensor  # (r, n, n)
    c: Tensor  # (r, n) the gradient along them
    error: Tensor  # (r,) up to here an eigenvalue may be rounding


def _spectra(rows: Rows, X: Tensor, G: Tensor) -> _Spectra:
    H = rows.hessian(X)
    require_finite(H, "the Hessian at a point of a search")
    skew = (H - H.mT).double().norm(dim=(1, 2))
    w, V = torch.linalg.eigh(0.5 * (H + H.mT).double())
    scale = w.abs().amax(1)
    error = (ROUNDING * torch.finfo(X.dtype).eps + 4 * X.shape[1] ** 0.5 * 2.3e-16) * scale + skew
    return _Spectra(w, V, (V.mT @ G.double()[:, :, None])[:, :, 0], error)


def search_rows(rows: Rows, X: Tensor, iterations: int) -> dict[str, Tensor]:
    """All rows at once; a row that is over costs no further Hessian."""
    start = X
    G = rows.gradient(X)
    norms = G.double().norm(dim=1)
    spectra = _spectra(rows, X, G)
    radius = 0.5 * X.double().norm(dim=1).clamp_min(1.0)
    largest = torch.zeros_like(norms)
    history = [norms]
    outcome = torch.full((len(X),), -1, device=X.device)
    taken = torch.zeros_like(outcome)
    for _ in range(iterations):
        largest = torch.maximum(largest, spectra.w.abs().amax(1))
        ends = _over(spectra, X, start, norms, radius, largest, history)
        outcome = torch.where(outcome < 0, ends, outcome)
        (active,) = torch.where(outcome < 0)
        if not len(active):
            break
        taken[active] += 1
        a = _damped(spectra.w[active], spectra.c[active], spectra.error[active], radius[active])
        trial = X[active] + (spectra.V[active] @ a[:, :, None])[:, :, 0].to(X.dtype)
        g = rows.gradient(trial)
        new, old, length = g.double().norm(dim=1), norms[active], a.norm(dim=1)
        foretold = old**2 - (spectra.c[active] + spectra.w[active] * a).square().sum(1)
        agreed = torch.where(torch.isfinite(new) & (foretold > 0), (old**2 - new**2) / foretold, -1.0)
        wider = torch.maximum(radius[active], torch.minimum(3 * length, 2 * radius[active]))
        radius[active] = torch.where(agreed > 0.75, wider, torch.where(agreed > 0.25, radius[active], 0.3 * length))
        good = agreed > 1e-3
        moved = active[good]
        X, G, norms = (t.index_put((moved,), v[good]) for t, v in ((X, trial), (G, g), (norms, new)))
        if len(moved):
            fresh = _spectra(rows, X[moved], G[moved])
            for field in ("w", "V", "c", "error"):
                getattr(spectra, field)[moved] = getattr(fresh, field)
        history.append(norms)
    outcome = torch.where(outcome < 0, ORDER.index(Outcome.BUDGET), outcome)
    error = spectra.error[:, None]
    return {
        "points": X, "losses": rows.value(X).double(), "gradient_norms": norms, "outcome": outcome, "iterations": taken,
        "indices": (spectra.w < -error).sum(1), "nullities": (spectra.w.abs() <= error).sum(1),
        "smallest": spectra.w[:, 0], "largest": spectra.w[:, -1], "distances": (X - start).double().norm(dim=1),
    }  # fmt: skip


def _over(
    spectra: _Spectra, X: Tensor, start: Tensor, norms: Tensor, radius: Tensor, largest: Tensor, history: list[Tensor]
) -> Tensor:
    """How each row ends here, (r,) positions in ORDER; -1 where it goes on."""
    eps, sizes = torch.finfo(X.dtype).eps, X.double().norm(dim=1)
    slow = radius <= eps * sizes
    if len(history) > PATIENCE:
        slow = slow | (norms > (1 - LEAST) * history[-PATIENCE - 1])
    flat = (spectra.w * spectra.c).norm(dim=1) <= FLAT * largest * norms
    lost = (X - start).double().norm(dim=1) > FAR * start.double().norm(dim=1).clamp_min(1.0)
    still = norms <= GRADIENT_ULPS * eps * spectra.w.abs().amax(1) * sizes
    outcome = torch.full((len(X),), -1, device=X.device)
    for over, what in (
        (still, Outcome.STATIONARY), (lost, Outcome.DIVERGED), (slow & flat, Outcome.GRADIENT_FLAT), (slow, Outcome.STALLED),
    ):  # fmt: skip
        outcome = torch.where((outcome < 0) & over, ORDER.index(what), outcome)
    return outcome


def _damped(w: Tensor, c: Tensor, error: Tensor, radius: Tensor) -> Tensor:
    """The steps -w c / (w^2 + mu), (r, n), with the least mu that keeps each within its radius."""
    w = torch.where(w.abs() > error[:, None], w, 0.0)
    product = -w * c

    def step(mu: Tensor) -> Tensor:
        below = w.square() + mu[:, None]
        return torch.where(below > 0, product / below.clamp_min(torch.finfo(w.dtype).tiny), 0.0)

    high = product.norm(dim=1) / radius
    low = 1e-20 * high
    inside = step(torch.zeros_like(high)).norm(dim=1) <= radius
    for _ in range(50):
        mu = (low * high).sqrt()
        long = step(mu).norm(dim=1) > radius
        low, high = torch.where(long, mu, low), torch.where(long, high, mu)
    return step(torch.where(inside, 0.0, high))
