"""Dots, norms and projections that stay accurate for millions of float32 entries.

Q: (m, n), orthonormal vectors in its rows. Coefficients and norms are float64 on the device of
their input. A float32 matrix-vector product on a CPU adds its n terms one after another: at n = 1e7
a dot is off by 6e-4 and a norm by 3e-4. Here each slice of a vector is multiplied in its own dtype
and summed pairwise (what ``Tensor.sum`` does), and the slices' sums are added in float64: an error
of about eps |q| |w| / sqrt(n), without a float64 copy. Float64 needs none of this.

Rows that are held in a narrower dtype (``Rows``) are read by slices too, into the dtype of w.

Of vectors whose coordinates lie on several ranks each rank passes its part, and ``ranks``: sums go
over all of them, in float64, and every rank holds the same bits.
"""

import math

import torch
from torch import Tensor

from landscape.linalg.rows import Rows
from landscape.ranks import ALONE, Ranks

CACHED = 2**18  # entries of a slice's products that stay in a CPU core's cache
RESIDENT = 2**24  # on an accelerator: fewer, larger kernels
SHORT = 2**12  # terms of a sum in float32


def dots(Q: Tensor | Rows, w: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """The dot of each row of Q (m, n) with w (n,): (m,) float64."""
    if isinstance(Q, Rows):
        sums = [(Q.scaled(part) * w[part]).sum(1) for part in columns(Q)]
        return ranks.total(torch.stack(sums).sum(0, dtype=torch.float64)) / Q.scale
    if w.dtype == torch.float64:
        return ranks.total(Q @ w)
    width = _width(Q)
    parts = [(Q[:, i : i + width] * w[i : i + width]).sum(1) for i in range(0, w.shape[0], width)]
    return ranks.total(torch.stack(parts).sum(0, dtype=torch.float64))


def gram(P: Tensor, Q: Tensor) -> Tensor:
    """The dots of the rows of P (k, n) with those of Q (m, n): (k, m) float64. Short sums in their
    own dtype are accurate, and a product of matrices reads both once.
    """
    slices = zip(torch.split(P, SHORT, 1), torch.split(Q, SHORT, 1), strict=True)
    total = P.new_zeros(P.shape[0], Q.shape[0], dtype=torch.float64)
    for p, q in slices:
        total += p @ q.T
    return total


def norm(v: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """The Euclidean norm of v (n,): () float64."""
    if ranks.count > 1:
        return ranks.total(norm(v).square()).sqrt()
    if v.dtype == torch.float64:
        plain = v.square().sum().sqrt()
        if v.device.type != "cpu" or 1e-150 < float(plain) < math.inf:
            return plain  # else squares may have left even float64's range
    low, high = torch.aminmax(v)
    # or the squares leave float32's range
    largest = torch.maximum(-low, high).clamp_min(torch.finfo(v.dtype).tiny)
    width = _width(v[None])
    parts = [(v[i : i + width] / largest).square().sum() for i in range(0, v.shape[0], width)]
    return torch.stack(parts).sum(dtype=torch.float64).sqrt() * largest


def orthogonalise(w: Tensor, Q: Tensor | Rows, ranks: Ranks = ALONE) -> tuple[Tensor, Tensor]:
    """Coefficients (m,) of w (n,) in the rows of Q, and the part of w orthogonal to them (a new
    tensor).
    """
    c, d, rest = projected(w, Q, ranks)
    return c + d, rest


def projected(w: Tensor, Q: Tensor | Rows, ranks: Ranks = ALONE) -> tuple[Tensor, Tensor, Tensor]:
    """As ``orthogonalise``, with the coefficients found at first (m,) and then (m,)."""
    if not Q.shape[0]:
        none = w.new_zeros(0, dtype=torch.float64)
        return none, none, w.clone()
    c = dots(Q, w, ranks)
    if isinstance(Q, Rows):
        return c, *_less(w, Q, c, ranks)
    w = torch.addmv(w, Q.T, c.to(w.dtype), alpha=-1)
    d = dots(Q, w, ranks)  # twice is enough, once is not: Giraud et al. 2005, Numer. Math. 101:87
    return c, d, torch.addmv(w, Q.T, d.to(w.dtype), alpha=-1)


def _less(w: Tensor, Q: Rows, c: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Of w - Qᵀ c the coefficients (m,) and the part orthogonal to Q, which is read twice."""
    rest, sums, c = torch.empty_like(w), [], (c / Q.scale).to(w.dtype)
    for part in columns(Q):
        q = Q.scaled(part)
        rest[part] = torch.addmv(w[part], q.T, c, alpha=-1)
        sums.append((q * rest[part]).sum(1))
    d = ranks.total(torch.stack(sums).sum(0, dtype=torch.float64)) / Q.scale
    c = (d / Q.scale).to(w.dtype)
    for part in columns(Q):
        rest[part] -= Q.scaled(part).T @ c
    return d, rest


def combine(S: Tensor, Q: Tensor | Rows, out: Tensor | None = None) -> Tensor:
    """Sᵀ Q (p, n) for S (m, p) float64: combinations of the rows of Q, by slices; ``out`` may be
    its first rows.
    """
    S = S.to(Q.device, Q.dtype)
    out = S.new_empty(S.shape[1], Q.shape[1]) if out is None else out
    for part in columns(Q):
        out[:, part] = S.T @ Q[:, part]
    return out


def columns(Q: Tensor | Rows) -> list[slice]:
    """The slices of the columns of Q (m, n) that are worked on at a time."""
    width = _width(Q)
    return [slice(i, i + width) for i in range(0, Q.shape[1], width)]


def _width(Q: Tensor | Rows) -> int:
    entries = CACHED if Q.device.type == "cpu" else RESIDENT
    return max(1024, entries // max(1, Q.shape[0]))
