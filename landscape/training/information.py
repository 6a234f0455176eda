"""Can the targets be told from the inputs at all? A kernel fit, left out one by one, against the
same fits of shuffled targets.

X: (N, D) inputs, standardised column by column. K: (N, N) a kernel of its rows. Of ridge regression
Y = K a the residual of a row that was left out of the fit is (Y - P Y)_i / (1 - P_ii) with
P = K (K + c I)^-1 (Cook & Weisberg 1982, Residuals and Influence, section 2.2), so that a fit of
shuffled targets costs no more than one product. What is compared is the best of the kernels and of
the c, for shuffled targets too: a permutation test (Phipson & Smyth 2010, SAGMB 9:39).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from landscape.results import result
from landscape.rng import generator

ROWS = 256
FEWEST = 24
SHUFFLED = 59
RIDGES = (1e-3, 1e-1, 1e1)
WIDEST = 20_000


@result("target-information")
@dataclass(frozen=True)
class Information:
    """What of the targets a fit of other samples tells."""

    told: float  # share of their variance that the best fit tells of samples left out; NaN unknown
    chance: float  # the share that one in twenty fits of shuffled targets passes
    p: float  # the probability of ``told`` or more if inputs say nothing of the targets
    rows: int  # samples


UNKNOWN = Information(math.nan, math.nan, math.nan, 0)


def information(inputs: Sequence[Tensor | None], targets: Sequence[Tensor | None]) -> Information:
    """What the targets (N,) or (N, k) of batches have to do with their inputs; ``UNKNOWN`` where
    there are fewer than FEWEST samples, or inputs and targets are of another kind.

    Cost: three eigendecompositions of at most ROWS rows and columns, on the CPU.
    """
    X, Y = _features(inputs), _columns(targets)
    if X is None or Y is None or len(X) != len(Y) or len(X) < FEWEST:
        return UNKNOWN
    chosen = torch.randperm(len(X), generator=generator(0), device="cpu")[:ROWS]
    X, Y = X[chosen], Y[chosen] - Y[chosen].mean(0)
    X = X - X.mean(0)
    deviation = X.std(0, correction=0)
    X = X[:, deviation > 1e-6 * deviation.max()]
    total = Y.square().sum()
    if not bool(total > 0) or not X.shape[1]:
        return UNKNOWN if not bool(total > 0) else Information(0.0, 0.0, 1.0, len(Y))
    X = X / X.std(0, correction=0)
    draws = generator(1)
    orders = [torch.randperm(len(Y), generator=draws, device="cpu") for _ in range(SHUFFLED)]
    all_of_them = torch.cat([Y, *(Y[order] for order in orders)], dim=1)
    told = torch.stack([_told(P, all_of_them, Y.shape[1]) for P in _fits(X)]).amax(0)
    real, shuffled = float(told[0]), told[1:].sort().values
    p = (1 + int((shuffled >= real).sum())) / (1 + SHUFFLED)
    return Information(real, float(shuffled[-(SHUFFLED // 20) - 1]), p, len(Y))


def _told(P: Tensor, targets: Tensor, width: int) -> Tensor:
    """Of every block of ``width`` columns the share that left-out fits tell."""
    # a fit that knows its own row by heart says nothing of it left out
    left = (1 - P.diagonal()).clamp(min=1e-9)
    residuals = (targets - P @ targets) / left[:, None]
    errors = residuals.square().sum(0).reshape(-1, width).sum(1)
    return 1 - errors / targets.square().sum(0).reshape(-1, width).sum(1)


def _fits(X: Tensor) -> Iterator[Tensor]:
    """The matrix P of every kernel and ridge."""
    gram = X @ X.T
    squares = gram.diagonal()
    distances = (squares[:, None] + squares - 2 * gram).clamp(min=0.0)
    middle = distances[distances > 0].median() if bool((distances > 0).any()) else 1.0
    for K in (gram / X.shape[1], (-distances / middle).exp(), (-4 * distances / middle).exp()):
        centred = K - K.mean(0) - K.mean(1, keepdim=True) + K.mean()
        values, vectors = torch.linalg.eigh(centred)
        for ridge in RIDGES:
            shrink = values.clamp(min=0.0) / (values.clamp(min=0.0) + ridge)
            yield (vectors * shrink) @ vectors.T + 1 / len(X)


def _features(inputs: Sequence[Tensor | None]) -> Tensor | None:
    """Inputs as rows (N, D), float64: numbers as they are, of tokens how often each occurs."""
    rows = _rows(inputs)
    if rows is None or rows.is_floating_point():
        return rows
    if rows.dtype == torch.bool or int(rows.max()) >= WIDEST or int(rows.min()) < 0:
        return None
    return F.one_hot(rows.long(), int(rows.max()) + 1).sum(1).double()


def _columns(targets: Sequence[Tensor | None]) -> Tensor | None:
    """Targets as columns (N, k), float64, one a class; None where they are no vectors."""
    rows = _rows(targets)
    if rows is None or rows.shape[1] > 64:
        return None
    if rows.is_floating_point() or rows.shape[1] > 1:
        return rows.double()
    values, labels = np.unique(rows[:, 0].numpy(), return_inverse=True)
    return F.one_hot(torch.from_numpy(labels)).double() if len(values) < 200 else None


def _rows(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors of batches as one of rows (N, D) on the CPU, numbers as float64; None where they are
    of different kinds, too wide or not finite.
    """
    whole = [p.reshape(len(p), -1).cpu() for p in parts if p is not None and p.ndim]
    if not whole or len(whole) < len(parts) or len({p.shape[1] for p in whole}) != 1:
        return None
    rows = torch.cat(whole)[: 4 * ROWS]
    if not rows.is_floating_point():
        return rows
    fits = rows.shape[1] <= WIDEST and bool(rows.isfinite().all())
    return rows.double() if fits else None
