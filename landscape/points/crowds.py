"""Eigenvalues that are nearer to each other than their errors tell apart.

In any data such values repel each other: of m that are one in the population the outermost lie some
(2m)^{1/2} errors away from it, by Wigner's semicircle. The error of a value knows nothing of that,
so that its bar is made to reach over the mean of all that may be one with it.

values: (k,) ascending, float64. errors: (k,) of Gaussian first order, v' dH v. The values from a to
b are a crowd where values[b] - values[a] is at most q (2 sum errors^2)^{1/2}, the radius of the
semicircle q times, and so is each gap within it for the two beside it; q is Student's 95 % with the
freedom that the errors of all of them have together, 1.96 for many batches: twice the radius up to
2 %. Two values are one where their bars meet.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from landscape.linalg.lanczos import Eigenpairs
from landscape.linalg.quadrature import SpectralDensity
from landscape.linalg.words import lower_end
from landscape.results.statistics import CONFIDENCE, Spread, effective

Array = NDArray[np.float64]
Places = NDArray[np.int64]

# Unseen neighbours are looked at in so many lots.
LOTS = 200
# Of an eigenvalue, for a node to count as one: few probes weigh it as chi^2 of as many degrees.
LEAST = 0.1


class Unseen(NamedTuple):
    """Eigenvalues whose errors are not known: (u,) ascending, and how many each stands for."""

    values: Array
    copies: Array


NONE = Unseen(np.zeros(0), np.zeros(0))


def alone(values: Tensor) -> Unseen:
    """Ascending values (u,), each standing for itself."""
    return Unseen(values.cpu().double().numpy(), np.ones(len(values)))


def between(
    pairs: Eigenpairs, spectrum: Tensor | None, density: SpectralDensity | None = None
) -> Unseen:
    """What lies between both ends of the pairs: of the ``spectrum`` (n,) where it is known, else by
    the density, else nothing.
    """
    low, k = lower_end(pairs), len(pairs.values)
    if spectrum is not None:
        return alone(spectrum[low : len(spectrum) - (k - low)])
    if density is None or k >= density.dimension:
        return NONE
    nodes, copies = density.nodes.numpy(), density.weights.numpy() * density.dimension
    values, bounds = pairs.values.numpy(), pairs.bounds.numpy()
    kept = copies >= LEAST
    kept[density.known.numpy()] = False
    if low:
        kept &= nodes > values[low - 1] + bounds[low - 1]
    if low < k:
        kept &= nodes < values[low] - bounds[low]
    return Unseen(nodes[kept], np.maximum(copies[kept], 1.0))


def beside(pairs: Eigenpairs) -> Unseen:
    """What the last start of the search, orthogonal to the pairs, has seen of all other values."""
    if not len(pairs.last_diagonal):
        return NONE
    a, b = pairs.last_diagonal.numpy(), pairs.last_offdiagonal.numpy()
    nodes, S = eigh_tridiagonal(a, b[: len(a) - 1])
    copies = S[0] ** 2 * (pairs.dimension - len(pairs.values))
    kept = copies >= LEAST
    return Unseen(nodes[kept], np.maximum(copies[kept], 1.0))


def conservative(values: Tensor, bounds: Tensor, spread: Spread, unseen: Unseen = NONE) -> Spread:
    """The spread of the values (k,), its errors raised to reach over the crowd that each is in.

    ± reach of a raised error holds a bar of the usual length about the mean of its crowd, which is
    what all of them are if they are one. A value that is known no better than
    the solver's ``bounds``, as zero ones are, is in none, and the errors of all that are in none
    stay as they are. One whose error is not known, or ``unseen``, is taken to have that of the
    nearest one that is known, times its own size over that one's if that is less.
    """
    errors = spread.errors.numpy()
    sure = np.flatnonzero(np.isfinite(errors) & (errors > bounds.cpu().numpy()))
    if not spread.freedom or not len(sure):
        return spread
    seen = values.cpu().double().numpy()
    unknown = seen[~np.isfinite(errors)]
    crowd = _Crowd(seen[sure], errors[sure], _lots(unseen, unknown), spread)
    reach, raised = spread.reach, errors.copy()
    for i, ends in zip(sure, crowd.ends(), strict=True):
        raised[i] = max([errors[i], *(abs(end - seen[i]) / reach for end in ends)])
    return spread._replace(errors=torch.from_numpy(raised), raised=int((raised > errors).sum()))


def _lots(unseen: Unseen, more: Array) -> Unseen:
    """At most ``LOTS`` of them, each the mean of its lot, and ``more`` beside."""
    values, copies = unseen
    if len(values) > LOTS:
        lots = np.arange(len(values)) * LOTS // len(values)
        firsts = np.flatnonzero(np.diff(lots, prepend=-1))
        sums = np.add.reduceat(copies, firsts)
        values, copies = np.add.reduceat(copies * values, firsts) / sums, sums
    values, copies = np.r_[values, more], np.r_[copies, np.ones(len(more))]
    order = np.argsort(values, kind="stable")
    return Unseen(values[order], copies[order])


class _Crowd:
    """Values (m,) with errors, known and unseen ones together, and which runs of them are one."""

    def __init__(self, values: Array, errors: Array, unseen: Unseen, spread: Spread) -> None:
        nearest = np.abs(unseen.values[:, None] - values).argmin(1)
        sizes = np.abs(unseen.values) / np.maximum(np.abs(values[nearest]), 1e-300)
        guessed = errors[nearest] * np.minimum(sizes, 1.0)
        order = np.argsort(np.r_[values, unseen.values], kind="stable")
        self.values = np.r_[values, unseen.values][order]
        self.errors = np.r_[errors, guessed][order]
        self.copies = np.r_[np.ones(len(values)), unseen.copies][order]
        self.known = (np.arange(len(order)) < len(values))[order]
        self.spread = spread
        freedom = effective(spread.freedom, spread.excess)
        # With so many known values' errors together.
        self.q = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom * np.r_[1, 1 : len(values) + 1])

    def ends(self) -> list[tuple[float, ...]]:
        """Of each known value the ends of the bar about its crowd's mean; none where alone."""
        m = len(self.values)
        every = np.arange(m)
        part = np.r_[0, np.cumsum(~self._near(every[:-1], every[1:]))]
        # The last value of the longest run from each, and the first of the longest to each.
        last, first = every.copy(), every.copy()
        for a in range(m):
            run = every[a : np.searchsorted(part, part[a], "right")]
            run = run[self._near(np.full(len(run), a), run)]
            last[a] = run.max(initial=a)
            first[run] = np.minimum(first[run], a)
        found: list[tuple[float, ...]] = []
        for i in np.flatnonzero(self.known):
            left = np.flatnonzero(last[: i + 1] >= i)[0]
            right = i + np.flatnonzero(first[i:] <= i)[-1]
            found.append(self._bar_of_mean(slice(left, right + 1)) if left < right else ())
        return found

    def _bar_of_mean(self, run: slice) -> tuple[float, float]:
        """Both ends of a bar of the usual length of a run's about the run's mean."""
        copies = self.copies[run] / self.copies[run].sum()
        mean, square = float(copies @ self.values[run]), float(copies @ self.errors[run] ** 2)
        bar = self.spread.reach * square**0.5
        return mean - bar, mean + bar

    def _near(self, a: Places, b: Places) -> NDArray[np.bool_]:
        """Whether the values from a to b (r,) are no farther apart than if all were one."""
        squares = np.r_[0.0, np.cumsum(self.copies * self.errors**2)]
        count = np.r_[0, np.cumsum(self.known)]
        size = np.sqrt(2 * np.maximum(squares[b + 1] - squares[a], 0.0))
        near: NDArray[np.bool_] = (
            self.values[b] - self.values[a] <= self.q[count[b + 1] - count[a]] * size
        )
        return near
