"""Saddles counted against dimension: many realisations of a random landscape in each, beside what
theory expects.

n: directions, the number of curvatures of a point (on a sphere one less than the coordinates). R:
realisations, P: points of all of them. A realisation is a function of (seed, dimension, its number)
alone: a run that is taken up again, or extended, gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape import theory
from landscape.core import Progress, silent
from landscape.inventory import families
from landscape.inventory.energies import Complexity, IndexByEnergy, complexity, index_by_energy
from landscape.inventory.families import ExpectedCounts, Family
from landscape.inventory.realisations import Tally, tallies
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.formula import FunctionLandscape
from landscape.progress import watched
from landscape.ranks import ALONE, Ranks
from landscape.results import Estimate, Result, provenance, result
from landscape.results.statistics import count_mean, never_met, share
from landscape.rng import seeded
from landscape.specs import whole

TOGETHER = (
    10_000  # searches that go side by side; a run that stops loses at most their realisations
)
STARTS = 50  # of the first round, a coordinate and one more
ROUNDS = 64  # most searches, in units of those of the first round
FIELD_TO = 8  # directions up to which the isotropic field is computed
GOE_TO = 50  # the chance beyond is below every float


@result("dimension-counts")
@dataclass(frozen=True, eq=False)
class DimensionCounts:
    """The stationary points of R realisations of one dimension."""

    dim: int
    directions: int  # n
    counts: Tensor  # (R, n + 1) int64, nondegenerate points of index 0..n
    euler: Tensor  # (R,) int64, the sum of (-1)^index
    expected_euler: Tensor  # (R,) int64, what it must be
    euler_known: Tensor  # (R,) bool, whether that is known
    degenerate: Tensor  # (R,) int64, points with a zero eigenvalue, in no count
    # (R,) int64, points met fewer than three times: the more of them, the more may be missing
    rare: Tensor
    starts: Tensor  # (R,) int64, searches made
    values: Tensor  # (P,) f at the points, realisation by realisation
    indices: Tensor  # (P,) int64
    random: bool  # False: nothing is random, and one realisation is all there is
    expected: ExpectedCounts | None = None  # None where theory is silent

    @property
    def realisations(self) -> int:
        """R."""
        return len(self.counts)

    @property
    def labels(self) -> Tensor:
        """The realisation of every point, (P,)."""
        return torch.arange(self.realisations, device="cpu").repeat_interleave(self.counts.sum(1))

    @property
    def complete(self) -> Tensor:
        """Where the Euler sum is known and right, (R,) bool."""
        return self.euler_known & (self.euler == self.expected_euler) & (self.degenerate == 0)

    @property
    def incomplete(self) -> Tensor:
        """Where the Euler sum is known and wrong: points are missing, (R,) bool."""
        return self.euler_known & (self.euler != self.expected_euler)

    @property
    def right(self) -> float:
        """The share of realisations whose Euler sum is right, of those where it is known; NaN where
        it is known in none.
        """
        known = int(self.euler_known.sum())
        return int((self.euler_known & ~self.incomplete).sum()) / known if known else math.nan

    @property
    def together(self) -> int:
        """Of how many points all counts are multiples: 2 where a symmetry pairs them."""
        return int(np.gcd.reduce(self.counts.numpy(), axis=None)) or 1

    @property
    def unmet(self) -> float:
        """What no realisation showed happens in less than this share of all of them (95 %).

        ``total``, ``means`` and the shares are intervals for realisations like those that were
        counted: one with a hundred points at once, if less than this share of all has them, is in
        none of them.
        """
        return never_met(self.realisations) if self.random else 0.0

    @property
    def total(self) -> Estimate:
        """The mean number of points of a realisation."""
        return count_mean(self.counts.sum(1), random=self.random, together=self.together)

    @property
    def means(self) -> list[Estimate]:
        """The mean number of points of each index."""
        kind = partial(count_mean, random=self.random, together=self.together)
        return [kind(column) for column in self.counts.T]

    @property
    def minima(self) -> Estimate:
        """The chance that a point is a minimum: the share of minima among all points."""
        return self.share([0])

    @property
    def saddles(self) -> Estimate:
        """The share of saddles: points that are neither minima nor maxima."""
        if self.directions < 2:
            return Estimate(0.0, 0.0, 0.0, 0.0)
        return self.share(range(1, self.directions))

    @property
    def expected_minima(self) -> float:
        """The ratio of mean counts that ``minima`` estimates; NaN where theory is silent."""
        return self._expected([0])

    @property
    def expected_saddles(self) -> float:
        """The ratio of mean counts that ``saddles`` estimates; NaN where theory is silent."""
        return self._expected(range(1, self.directions))

    @property
    def deviations(self) -> list[float]:
        """(measured - expected) / error of the mean number of each index, the errors of both
        together; NaN where theory is silent.
        """
        if self.expected is None:
            return [math.nan] * (self.directions + 1)
        rows = zip(self.means, self.expected.counts, self.expected.errors, strict=True)
        return [_deviation(m.value - e, math.hypot(m.error, s), e) for m, e, s in rows]

    def share(self, indices: Iterable[int]) -> Estimate:
        """The share of points of these indices among all."""
        return share(self.counts[:, list(indices)].sum(1), self.counts.sum(1), random=self.random)

    def _expected(self, indices: Iterable[int]) -> float:
        if self.expected is None or not sum(self.expected.counts):
            return math.nan
        return sum(self.expected.counts[k] for k in indices) / sum(self.expected.counts)


@result("counts-theory")
@dataclass(frozen=True)
class TheoryLine:
    """What an idea of random curvatures says for n = 1, 2, ..."""

    name: str
    directions: list[int]
    minima: list[float]  # the chance that a point is a minimum
    saddles: list[float]  # the chance that it is neither minimum nor maximum


@result("saddle-counts")
@dataclass(frozen=True, eq=False)
class SaddleCounts(Result):
    """Stationary points by index against dimension, measured and expected."""

    seed: int
    dimensions: list[DimensionCounts]  # ascending
    realisations: int  # asked for in each dimension
    starts: int | None  # of a realisation's first round; None: 50 a coordinate and 50 more
    finished: bool  # False: a run that was interrupted
    lines: list[TheoryLine] = field(default_factory=list)
    energy: IndexByEnergy | None = None  # in the highest dimension where there are points enough
    complexity: Complexity | None = None

    @property
    def dims(self) -> list[int]:
        """The dimensions that have realisations."""
        return [d.dim for d in self.dimensions]

    def __getitem__(self, dim: int) -> DimensionCounts:
        """The counts of a dimension."""
        for found in self.dimensions:
            if found.dim == dim:
                return found
        raise KeyError(
            f"dimension {dim} was not counted; {', '.join(map(str, self.dims)) or 'none'} were."
        )


@owned()
@watched
def count_saddles(
    family: str | Family | Callable[[int, int], FunctionLandscape],
    dims: int | Iterable[int],
    realisations: int = 200,
    seed: int = 0,
    *,
    starts: int | None = None,
    known: SaddleCounts | None = None,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
    progress: Progress = silent,
    keep: Callable[[SaddleCounts], None] | None = None,
) -> SaddleCounts:
    """Count the stationary points of many random landscapes by index, against dimension.

    Args:
        family: a built-in name (``families.names``), or any ``family(dim, seed) ->
            FunctionLandscape``.
        dims: the dimensions, as the family understands them: variables, spins, sites.
        realisations: landscapes of each dimension; of a family where nothing is random one.
        seed: of the landscapes and of all starts.
        starts: searches of a realisation's first round. Each further round has twice as many, until
            the Euler sum is right and every point was met three times, up to 64 times the first.
        known: counts of the same family and seed, finished or not, which are taken further.
        device: where the searches run, in float64.
        ranks: the processes that realisations are dealt over, ``landscape.ranks.joined()`` under
            torchrun; the counts do not hang on how many there are.
        progress: told the realisations done.
        keep: called with the counts so far, every some tens of realisations.

    Raises:
        TypeError: the family gives no formula.
        ValueError: an unknown name, a dimension that the family refuses, ``known`` of another run.
        NumericalError: a landscape is finite nowhere, or has no second derivative.

    Cost: on one core about 1, 4, 10 and 40 ms a realisation of ``isotropic-waves`` in 1 to 4
    variables, 30 ms of a p-spin with 4 spins and 2 s with 8; a family of your own, whose
    realisations are evaluated one after the other, several times as much.
    """
    chosen = _family(family)
    wanted = _dims(dims)
    _require(realisations, seed, starts)
    count = realisations if chosen.random else 1
    with seeded(seed):
        for dim in wanted:
            chosen(dim, 0)  # a dimension that the family refuses is refused at once
    done = {} if known is None else _known(known, chosen.name, seed, starts)
    total, over = count * len(wanted), 0
    origin = provenance(None, seed=seed, name=chosen.name, model_hash=chosen.fingerprint)
    for dim in wanted:
        expected = chosen.expected(dim)
        kept, rounds = done.get(dim), starts or STARTS * (dim + 1)
        block = max(1, TOGETHER // rounds)
        blocks = [] if kept is None else _whole(kept, count, block)
        while (have := sum(part.realisations for part in blocks)) < count:
            progress("realisations", over + have, total)
            made = partial(_block, chosen, seed, dim, rounds, device, expected)
            firsts = range(have, min(have + block * ranks.count, count), block)
            blocks += ranks.deal([partial(made, i, min(i + block, count)) for i in firsts])
            done[dim] = _joined(blocks)
            if keep is not None:
                made_so_far = _ordered(done)
                keep(
                    SaddleCounts(seed, made_so_far, realisations, starts, False, provenance=origin)
                )
        over += count
    progress("theory", 0, None)
    counted = SaddleCounts(
        seed, _ordered(done), realisations, starts, finished=True, provenance=origin
    )
    return _beside_theory(counted, chosen)


def _block(
    family: Family,
    seed: int,
    dim: int,
    starts: int,
    device: torch.device | str,
    expected: ExpectedCounts | None,
    first: int,
    end: int,
) -> DimensionCounts:
    """The counts of realisations ``first`` to ``end``: a function of the arguments alone."""
    pairs = [_children(seed, dim, number) for number in range(first, end)]
    with seeded(seed):
        made = tallies(family, dim, pairs, starts, ROUNDS * starts, device)
    return _pack(dim, made, expected, family.random)


def _family(family: str | Family | Callable[[int, int], FunctionLandscape]) -> Family:
    if isinstance(family, str):
        family = families.built_in(family)
    if not isinstance(family, Family):
        if not callable(family):
            raise TypeError(
                f"a family is a name or a function family(dim, seed), got {type(family).__name__}."
            )
        family = Family(str(getattr(family, "__name__", "family")), family)
    return family


def _dims(dims: int | Iterable[int]) -> list[int]:
    wanted = [dims] if isinstance(dims, int) else list(dims)
    if not wanted:
        raise ValueError("dims must name one dimension at least, got none.")
    for dim in wanted:
        whole(1, dims=dim)
    return sorted(set(wanted))


def _require(realisations: int, seed: int, starts: int | None) -> None:
    whole(1, realisations=realisations, starts=1 if starts is None else starts)
    whole(0, seed=seed)


def _known(
    known: SaddleCounts, name: str, seed: int, starts: int | None
) -> dict[int, DimensionCounts]:
    for what, old, new in (
        ("family", known.name, name),
        ("seed", known.seed, seed),
        ("starts", known.starts, starts),
    ):
        if old != new:
            raise ValueError(
                f"the counts to extend have {what} {old}, not {new}: their realisations are others."
            )
    return {d.dim: d for d in known.dimensions}


def _children(seed: int, dim: int, number: int) -> tuple[int, int]:
    """The seeds of a realisation's landscape and of its starts."""
    drawn = np.random.SeedSequence([seed, dim, number]).generate_state(2, np.uint64) >> np.uint64(1)
    return int(drawn[0]), int(drawn[1])


def _whole(kept: DimensionCounts, count: int, block: int) -> list[DimensionCounts]:
    """The whole blocks of counts that exist; one that is not whole is kept only where no more are
    wanted.

    Rounding may depend on what is searched together: so extended counts are, to the bit, those made
    at once.
    """
    if kept.realisations >= count:
        return [kept]
    whole = kept.realisations // block * block
    return [_cut(kept, whole)] if whole else []


def _cut(counts: DimensionCounts, number: int) -> DimensionCounts:
    points = int(counts.counts[:number].sum())
    each = ("counts", "euler", "expected_euler", "euler_known", "degenerate", "rare", "starts")
    rows: dict[str, Any] = {key: getattr(counts, key)[:number] for key in each}
    return replace(counts, **rows, values=counts.values[:points], indices=counts.indices[:points])


def _pack(
    dim: int, made: Sequence[Tally], expected: ExpectedCounts | None, random: bool
) -> DimensionCounts:
    def row(values: Iterable[int | bool]) -> Tensor:
        return torch.tensor(list(values), device="cpu")

    return DimensionCounts(
        dim=dim,
        directions=len(made[0].counts) - 1,
        counts=torch.tensor([t.counts for t in made], device="cpu"),
        euler=row(t.euler for t in made),
        expected_euler=row(t.expected or 0 for t in made),
        euler_known=row(t.expected is not None for t in made),
        degenerate=row(t.degenerate for t in made),
        rare=row(t.rare for t in made),
        starts=row(t.starts for t in made),
        values=torch.cat([t.values for t in made]),
        indices=torch.cat([t.indices for t in made]),
        random=random,
        expected=expected,
    )


def _joined(blocks: list[DimensionCounts]) -> DimensionCounts:
    if len(blocks) == 1:
        return blocks[0]
    tensors = [k for k, v in vars(blocks[0]).items() if isinstance(v, Tensor)]
    joined: dict[str, Any] = {k: torch.cat([getattr(b, k) for b in blocks]) for k in tensors}
    return replace(blocks[0], **joined)


def _ordered(done: dict[int, DimensionCounts]) -> list[DimensionCounts]:
    return [done[dim] for dim in sorted(done)]


def _deviation(difference: float, error: float, size: float) -> float:
    if error > 0:
        return difference / error
    return 0.0 if abs(difference) <= 1e-9 * abs(size) else math.copysign(math.inf, difference)


def _beside_theory(counted: SaddleCounts, family: Family) -> SaddleCounts:
    """With the lines that do not depend on the family, and the laws of energy that do."""
    energy = None
    for d in reversed(counted.dimensions):
        energy = index_by_energy(
            family, d.dim, d.values, d.indices, d.labels, d.realisations, d.directions
        )
        if energy is not None:
            break
    last = counted.dimensions[-1]
    curve = complexity(family, last.dim, last.values, last.indices, last.realisations)
    lines = theory_lines(max(d.directions for d in counted.dimensions))
    return replace(counted, lines=lines, energy=energy, complexity=curve)


def theory_lines(most: int) -> list[TheoryLine]:
    """The coin toss, the GOE and isotropic Gaussian fields for n = 1..most, each as far as it can
    be computed.
    """

    def line(name: str, to: int, minimum: Callable[[int], float]) -> TheoryLine:
        n = list(range(1, min(most, to) + 1))
        minima = [minimum(k) for k in n]
        # maxima are as likely
        return TheoryLine(name, n, minima, [max(1 - 2 * p, 0.0) for p in minima])

    def positive(n: int) -> float:
        return math.exp(theory.goe_positive(n, method="exact", log=True))

    def field_(n: int) -> float:
        counts = theory.isotropic_counts(n)
        return counts[0] / sum(counts)

    return [
        line("coin toss", most, lambda n: 0.5**n),
        line("random matrix (GOE)", GOE_TO, positive),
        line("isotropic Gaussian field", FIELD_TO, field_),
    ]
