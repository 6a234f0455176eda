"""The stationary points of many realisations of a random landscape at once, each with its own
account of completeness.

R realisations share a dimension and a domain. X: (B, n) points, labels: (B,) ascending, the
realisation of each. All searches of a round go side by side; what they find is told apart by label.
A realisation is settled when its Euler sum is right and no point was met fewer than ``SEEN`` times;
the others get twice as many starts in the next round, and those whose sum stays wrong a census of
their own, unless most of their points were met rarely.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from landscape.core import Domain
from landscape.errors import NumericalError
from landscape.inventory import topology
from landscape.inventory.census import ROUND, census
from landscape.inventory.families import Family, Together
from landscape.landscapes.formula import FunctionLandscape, require_formula
from landscape.operators.pointwise import derivatives
from landscape.points.many import STATIONARY, search

TOLERANCE = 1e-6  # points nearer than this, in units of the domain's size, are one
# times that every point is to be met: one as rare as the rarest is missed with probability exp(-3)
# or less
SEEN = 3
# an eigenvalue below this share of the point's largest is looked at more closely, by a census,
ZERO = 1e-7
FLAT = 1e-5  # as is one below this share of what is usual in the landscapes
CENSUS = 3 * ROUND  # least starts of that census
APART = 10.0  # keys of different realisations are at least so far apart
NUMBERS = 2**21  # most numbers in the Hessians of one evaluation


@dataclass
class Tally:
    """What is known of one realisation."""

    counts: list[int]  # nondegenerate points of index 0..n
    values: Tensor  # (P,) of those points
    indices: Tensor  # (P,)
    degenerate: int  # points with a zero eigenvalue
    euler: int
    expected: int | None  # what the Euler sum must be; None where it is not known
    rare: int  # points met fewer than ``SEEN`` times
    starts: int  # searches made

    @property
    def settled(self) -> bool:
        """Whether nothing speaks for missing points."""
        return not self.degenerate and self.rare == 0 and self.expected in (None, self.euler)

    @property
    def promising(self) -> bool:
        """Whether a census may settle it: not where most points are new ones still, so that far
        more are missing.
        """
        wrong = self.expected not in (None, self.euler)
        return self.degenerate > 0 or (wrong and 2 * self.rare <= sum(self.counts))


class Realisations:
    """R landscapes of one dimension and domain, told apart by labels."""

    def __init__(
        self, landscapes: Sequence[FunctionLandscape], together: Together | None = None
    ) -> None:
        self.landscapes, self.dim = landscapes, landscapes[0].dim
        self.domain = landscapes[0].domain
        self.together = together

    def value(self, X: Tensor, labels: Tensor) -> Tensor:
        """Values (B,) at X."""
        if self.together is not None:
            return self.together.value(X, labels)
        return torch.cat([f.value(rows) for f, rows in self._parts(X, labels)]).detach()

    def derivatives(self, X: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (B, n) and Hessians (B, n, n) at X."""
        if self.together is not None:
            return self.together.derivatives(X, labels)
        found = [derivatives(f, rows) for f, rows in self._parts(X, labels)]
        return torch.cat([g for g, _ in found]), torch.cat([H for _, H in found])

    def _parts(self, X: Tensor, labels: Tensor) -> list[tuple[FunctionLandscape, Tensor]]:
        numbers, sizes = torch.unique_consecutive(labels, return_counts=True)
        return [
            (self.landscapes[i], rows)
            for i, rows in zip(numbers.tolist(), torch.split(X, sizes.tolist()), strict=True)
        ]


def tallies(
    family: Family,
    dim: int,
    seeds: Sequence[tuple[int, int]],
    starts: int,
    most: int,
    device: torch.device | str = "cpu",
) -> list[Tally]:
    """One tally a realisation.

    Args:
        family, dim: which landscapes.
        seeds: one pair a realisation, of the landscape and of its starts.
        starts: searches of the first round of each; every further round has twice as many as the
            one before.
        most: searches after which a realisation is left as it is; a census that follows makes as
            many again, and ``CENSUS`` at least.
        device: where the searches run.

    Raises:
        TypeError: the family gives what is no formula.
        ValueError: it gives a landscape of another dimension.
        NumericalError: a landscape is finite nowhere.
    """
    drawn = [seed for seed, _ in seeds]
    landscapes = [_checked(family, dim, seed) for seed in drawn]
    searched = [seed for _, seed in seeds]
    if not _alike(landscapes):
        return [_by_census(f, s, None, most) for f, s in zip(landscapes, searched, strict=True)]
    batch = Realisations(landscapes, family.together(dim, drawn))
    return [
        _by_census(f, seed, tally, most) if tally.promising else tally
        for f, seed, tally in zip(
            landscapes, searched, _by_rounds(batch, searched, starts, most, device), strict=True
        )
    ]


def _alike(landscapes: Sequence[FunctionLandscape]) -> bool:
    """Whether they can be searched side by side."""
    first = landscapes[0].dim, landscapes[0].domain, None
    return all((f.dim, f.domain, f.symmetry) == first for f in landscapes)


def _by_rounds(
    batch: Realisations, seeds: list[int], starts: int, most: int, device: torch.device | str
) -> list[Tally]:
    """All realisations searched side by side, in rounds, until each is settled or has had ``most``
    starts.
    """
    expected = [topology.expected_sum(f)[0] for f in batch.landscapes]
    generators = [_generator(seed) for seed in seeds]
    collected = _Collected(batch, len(seeds))
    found: list[Tally] = []
    open_, count = list(range(len(seeds))), starts
    while open_:
        X, labels = _starts(batch, generators, open_, count)
        ends = search(batch, X.to(device), labels=labels.to(device))
        arrived = (ends.ends == STATIONARY).cpu()
        collected.add(ends.points.cpu()[arrived], labels[arrived], open_, count)
        found = collected.tallies(expected)
        count *= 2
        undecided = [i for i in open_ if not found[i].settled and not found[i].degenerate]
        open_ = [i for i in undecided if found[i].starts + count <= most]
    return found


class _Collected:
    """Distinct points of all realisations with hits and curvature."""

    def __init__(self, batch: Realisations, count: int) -> None:
        self.batch, self.domain = batch, batch.domain
        self.x = torch.zeros(0, batch.dim, dtype=torch.float64, device="cpu")
        self.labels, self.hits = (torch.zeros(0, dtype=torch.long, device="cpu") for _ in range(2))
        self.starts = [0] * count
        self.usual = self._usual(count)
        trivial = batch.landscapes[0].trivial_directions(
            self.domain.sample(1, batch.dim, _generator(0))[0]
        )
        self.curvatures = batch.dim - trivial.shape[1]

    def _usual(self, count: int) -> float:
        """The median of |H| over random points of all realisations; 0 where it is not finite."""
        X = self.domain.sample(2 * count, self.batch.dim, _generator(0))
        _, H = self.batch.derivatives(X, torch.arange(count, device="cpu").repeat_interleave(2))
        size = H.norm(dim=(1, 2))
        size = size[torch.isfinite(size)]
        return float(size.median()) if len(size) else 0.0

    def add(self, X: Tensor, labels: Tensor, which: list[int], starts: int) -> None:
        """Take in the points (B, n) that ``starts`` searches of each realisation in ``which`` have
        found.
        """
        for i in which:
            self.starts[i] += starts
        X, labels = torch.cat([self.x, X]), torch.cat([self.labels, labels])
        hits = torch.cat(
            [self.hits, torch.ones(len(X) - len(self.hits), dtype=torch.long, device="cpu")]
        )
        if not len(X):
            return
        group = torch.from_numpy(_groups(self._keys(X, labels), TOLERANCE)).long()
        first = torch.full((int(group.max()) + 1,), len(X), device="cpu")
        first = first.scatter_reduce(0, group, torch.arange(len(X), device="cpu"), "amin")
        total = torch.zeros(len(first), dtype=torch.long, device="cpu").index_add(0, group, hits)
        order = torch.argsort(labels[first], stable=True)
        self.x, self.labels, self.hits = X[first][order], labels[first][order], total[order]

    def tallies(self, expected: list[int | None]) -> list[Tally]:
        """What is known of every realisation now."""
        chunk = max(1, NUMBERS // self.batch.dim**2)
        parts = [slice(i, i + chunk) for i in range(0, len(self.x), chunk)]
        index = torch.cat(
            [self.labels[:0], *(self._index(self.x[p], self.labels[p]) for p in parts)]
        )
        values = torch.cat(
            [self.x[:0, 0], *(self.batch.value(self.x[p], self.labels[p]) for p in parts)]
        )
        regular, n = index >= 0, self.curvatures + 1
        cells = torch.bincount(
            self.labels[regular] * n + index[regular], minlength=len(expected) * n
        )
        counts = cells.reshape(len(expected), n)
        signs = torch.tensor([(-1) ** k for k in range(n)], device="cpu")
        degenerate, rare = (
            self._count(which, len(expected)) for which in (~regular, self.hits < SEEN)
        )
        sizes = counts.sum(1).tolist()
        rows = zip(
            counts.tolist(),
            torch.split(values[regular], sizes),
            torch.split(index[regular], sizes),
            degenerate,
            (counts @ signs).tolist(),
            expected,
            rare,
            self.starts,
            strict=True,
        )
        return [Tally(*row) for row in rows]

    def _count(self, which: Tensor, realisations: int) -> list[int]:
        """How many points of each realisation are so."""
        numbers: list[int] = torch.bincount(self.labels[which], minlength=realisations).tolist()
        return numbers

    def _index(self, X: Tensor, labels: Tensor) -> Tensor:
        """(B,) negative eigenvalues; -1 where one may be zero."""
        _, H = self.batch.derivatives(X, labels)
        levels = torch.linalg.eigvalsh(H)
        size = levels.abs()
        zero = size <= (ZERO * size.amax(1, keepdim=True)).clamp(min=FLAT * self.usual)
        trivial = X.shape[1] - self.curvatures
        return torch.where(zero.sum(1) > trivial, -1, ((levels < 0) & ~zero).sum(1))

    def _keys(self, X: Tensor, labels: Tensor) -> np.ndarray:
        key = self.domain.embed(X)
        size = self.domain.size(self.batch.dim)
        key = key / size.repeat(key.shape[1] // self.batch.dim)
        spread = APART + 2 * float(key.abs().max())
        return torch.cat([key, spread * labels[:, None].double()], dim=1).numpy()


def _groups(keys: np.ndarray, tolerance: float) -> np.ndarray:
    """A number for every row, equal for rows that are one point."""
    _, first, cell = np.unique(
        np.round(keys / tolerance), axis=0, return_index=True, return_inverse=True
    )
    pairs = cKDTree(keys[first]).query_pairs(2 * tolerance, output_type="ndarray")
    graph = coo_matrix(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first))
    )
    labels: np.ndarray = connected_components(graph, directed=False)[1]
    return labels[cell.reshape(-1)]


def _starts(
    batch: Realisations, generators: list[torch.Generator], which: list[int], count: int
) -> tuple[Tensor, Tensor]:
    """``count`` starts of each realisation in ``which``, and their labels."""
    domain: Domain = batch.domain
    X = torch.cat([domain.sample(count, batch.dim, generators[i]) for i in which])
    return X, torch.tensor(which, device="cpu").repeat_interleave(count)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator(device="cpu").manual_seed(seed)


def _by_census(f: FunctionLandscape, seed: int, before: Tally | None, most: int) -> Tally:
    """A realisation searched by a census of its own, which aims; the better of it and the tally
    before.
    """
    tally = _census_tally(f, seed, most)
    if before is None:
        return tally
    tally.starts += before.starts
    unsettled = tally.expected != tally.euler
    if unsettled and not before.degenerate and sum(before.counts) > sum(tally.counts):
        before.starts = tally.starts
        return before
    return tally


def _census_tally(f: FunctionLandscape, seed: int, most: int) -> Tally:
    made = census(f, max(CENSUS, most), seed)
    points = [p for p in made.points if p.nullity == 0 and p.index is not None]
    trivial = f.trivial_directions(f.domain.sample(1, f.dim, _generator(0))[0]).shape[1]
    counts = [made.counts.get(k, 0) for k in range(f.dim - trivial + 1)]
    return Tally(
        counts=counts,
        values=torch.tensor([p.value for p in points], dtype=torch.float64, device="cpu"),
        indices=torch.tensor([p.index for p in points], dtype=torch.long, device="cpu"),
        degenerate=made.degenerate,
        euler=made.euler or 0,
        expected=made.euler_expected,
        rare=sum(p.hits < SEEN for p in made.points),
        starts=made.starts,
    )


def _checked(family: Family, dim: int, seed: int) -> FunctionLandscape:
    f = family(dim, seed)
    why = (
        f"the family {family.name} must give a formula (FunctionLandscape), got "
        f"{type(f).__name__}; "
        "for networks see index_by_width."
    )
    require_formula(f, why, FunctionLandscape, TypeError)
    if not isinstance(f.dim, int) or f.dim < 1:
        raise ValueError(f"the family {family.name} gave a landscape without a dimension.")
    X = f.domain.sample(2, f.dim, _generator(seed))
    if not bool(torch.isfinite(f.value(X)).any()):
        raise NumericalError(
            f"{family.name} with dim={dim}, seed={seed} is not finite at random points of its "
            f"domain."
        )
    return f
