"""The distinct points that a census has met, and the starts that aim from them.

x: (m, n) one point a row, in units of its landscape; lengths are in units of the domain's size. Two
points are one when their keys, which are equal for points that the domain or a symmetry identifies,
are nearer than the tolerance.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from landscape.core import Domain
from landscape.landscapes.formula import FunctionLandscape
from landscape.operators.pointwise import derivatives
from landscape.points.classify import StationaryPoint
from landscape.points.many import STATIONARY, polish, search

ZERO = 1e-7  # eigenvalues below this share of the largest make a point a candidate for a family
FLAT = 1e-4  # and those below this share of what is usual in the landscape
EXTENDED = 1e-3  # candidates that are linked over a smaller distance are one point, known no better
NEIGHBOURS = 8  # of a candidate that are tried for being of one family
SAME_VALUE = (
    1e-9  # difference of values within a family, beside the spread of values over the domain
)
SAMPLES = 1000  # random points for that spread
ROUNDING = 16 * torch.finfo(torch.float64).eps
NEW = 1e-3  # a recombination nearer to a known point than this is not tried


STATE = ("x", "hits", "values", "steepness", "curvature", "vectors", "trivial", "changes")
Rows = np.ndarray


class Collection:
    """Distinct points with hits and the curvature at each."""

    def __init__(self, f: FunctionLandscape, tolerance: float) -> None:
        self.f, self.tolerance = f, tolerance
        self.domain: Domain = f.domain
        self.size = self.domain.size(f.dim)
        self.x = torch.zeros(0, f.dim, dtype=torch.float64, device="cpu")
        self.hits = torch.zeros(0, dtype=torch.long, device="cpu")
        self.values = torch.zeros(0, dtype=torch.float64, device="cpu")
        self.steepness = torch.zeros(0, dtype=torch.float64, device="cpu")  # gradient norms
        # eigenvalues, ascending
        self.curvature = torch.zeros(0, f.dim, dtype=torch.float64, device="cpu")
        # eigenvectors, the columns of each
        self.vectors = torch.zeros(0, f.dim, f.dim, dtype=torch.float64, device="cpu")
        # number of trivial directions
        self.trivial = torch.zeros(0, dtype=torch.long, device="cpu")
        # what H changes over ``radius``, its norm
        self.changes = torch.zeros(0, dtype=torch.float64, device="cpu")
        # how far rounding leaves a point from where it should be
        self.radius = ROUNDING * float(self.size.norm())
        values = f.value(
            self.domain.sample(SAMPLES, f.dim, torch.Generator(device="cpu").manual_seed(0))
        ).detach()
        values = values[torch.isfinite(values)]
        self.level = (
            SAME_VALUE * float((values - values.median()).abs().median()) if len(values) else 0.0
        )

    def state(self) -> dict[str, Tensor]:
        """All that changes from search to search."""
        return {key: value for key, value in vars(self).items() if key in STATE}

    def go_on(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        vars(self).update(state)

    def restore(self, points: Iterable[StationaryPoint]) -> None:
        """Take in the points of a stored census with their hits."""
        for point in points:
            self.add(point.x[None].double(), torch.tensor([point.hits], device="cpu"))

    def add(self, X: Tensor, hits: Tensor | None = None) -> None:
        """Take in stationary points (B, n): new ones join, the others count as hits."""
        if not len(X):
            return
        X = X.cpu()
        hits = torch.ones(len(X), dtype=torch.long, device="cpu") if hits is None else hits
        label = torch.from_numpy(self._labels(torch.cat([self.x, X])))
        m = len(self.x)
        self.hits = self.hits + torch.zeros_like(self.hits).index_add_(
            0, *self._of_known(label, m, hits)
        )
        fresh = ~torch.isin(label[m:], label[:m])
        groups, where = torch.unique(label[m:][fresh], return_inverse=True)
        first = torch.full((len(groups),), len(where), device="cpu").scatter_reduce_(
            0, where, torch.arange(len(where), device="cpu"), "amin"
        )
        self._append(
            X[fresh][first],
            torch.zeros(len(groups), dtype=torch.long, device="cpu").index_add_(
                0, where, hits[fresh]
            ),
        )

    def rare_indices(self, count: int, generator: torch.Generator) -> Tensor:
        """Indices to aim at, (count,): the more often, the fewer points of the index are known, up
        to one above the highest known.
        """
        known = torch.bincount(self._indices())
        weight = torch.cat(
            [1.0 / (1.0 + known.double()), torch.ones(1, dtype=torch.float64, device="cpu")]
        )[: self.f.dim + 1]
        if len(self.x) == 0:
            weight = torch.ones(self.f.dim + 1, dtype=torch.float64, device="cpu")
        return torch.multinomial(weight, count, replacement=True, generator=generator)

    def around(self, count: int, generator: torch.Generator) -> Tensor:
        """Starts (count, n) on shells around known points and on lines through two of them."""

        def normal(k: int) -> Tensor:
            return torch.randn(
                k, self.f.dim, generator=generator, dtype=torch.float64, device="cpu"
            )

        shells, lines = count // 2, count - count // 2
        direction = normal(shells)
        unit = direction / direction.norm(dim=1, keepdim=True)
        near = (
            self.x[self._rare(shells, generator)] + _distances(shells, generator) * unit * self.size
        )
        a, b = (self.x[self._rare(lines, generator)] for _ in range(2))
        part = (
            2 * torch.rand(lines, 1, generator=generator, dtype=torch.float64, device="cpu") - 0.5
        )
        between = a + part * self.domain.difference(a, b) + 0.02 * normal(lines) * self.size
        X = self.domain.wrap(torch.cat([near, between]))
        return self._inside(X[torch.randperm(count, generator=generator, device="cpu")], generator)

    def escapes(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Starts (count, n) off known points along one of their eigenvectors, and the index
        (count,) next to theirs that lies that way: one less along a negative eigenvalue, one more
        along a positive one. Every index takes its turn, soft directions come first.
        """
        if count == 0:
            return self.x[:0], self.hits[:0]
        known = self._indices()
        weight = 1.0 / (self.hits * torch.bincount(known)[known])
        row = torch.multinomial(weight, count, replacement=True, generator=generator)
        values = self.curvature[row]
        alive = values.abs() > ZERO * values.abs().amax(1, keepdim=True)
        up = alive & (values > 0)
        weights = torch.where(up, 1.0 / up.cumsum(1).clamp(min=1), (alive & (values < 0)).double())
        column = torch.multinomial(weights + 1e-9, 1, generator=generator)[:, 0]
        sign = torch.randint(2, (count, 1), generator=generator, device="cpu") * 2 - 1
        X = (
            self.x[row]
            + sign * _distances(count, generator) * self.vectors[row, :, column] * self.size
        )
        falls = self.curvature[row, column] < 0
        index = known[row] + torch.where(falls, -1, 1)
        return self._inside(self.domain.wrap(X), generator), index.clamp(0, self.f.dim)

    def _indices(self) -> Tensor:
        return (self.curvature < -ZERO * self.curvature.abs().amax(1, keepdim=True)).sum(1)

    def _rare(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows of known points (count,), rare ones more often."""
        if count == 0:
            return torch.zeros(0, dtype=torch.long, device="cpu")
        return torch.multinomial(
            1.0 / self.hits.double(), count, replacement=True, generator=generator
        )

    def _inside(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """X with random points in the place of those outside the domain."""
        instead = self.domain.sample(len(X), self.f.dim, generator)
        return torch.where(self.domain.contains(X)[:, None], X, instead)

    def recombined(self, count: int, generator: torch.Generator) -> Tensor:
        """Starts (count, n) with each coordinate from one of two known points, those away from all
        known points first: near another point where a landscape has weakly coupled parts.
        """
        tries = 8 * count
        coin = (
            torch.rand(tries, self.f.dim, generator=generator, dtype=torch.float64, device="cpu")
            < 0.5
        )
        a, b = (self.x[self._rare(tries, generator)] for _ in range(2))
        X = self.domain.wrap(torch.where(coin, a, b))
        keys = self._keys(X).numpy()
        _, first = np.unique(np.round(keys / NEW), axis=0, return_index=True)
        once = np.ones(tries, dtype=bool)
        once[first] = False
        gap, _ = cKDTree(self._keys(self.x).numpy()).query(keys, distance_upper_bound=NEW)
        order = np.argsort(once | (gap < NEW), kind="stable")
        return self._inside(X[torch.from_numpy(order[:count].copy())], generator)

    def families(self) -> list[tuple[int, int, bool]]:
        """(row of x, hits, whether it stands for a continuous family) of every distinct point; a
        family is represented once.
        """
        largest = self.curvature.abs().amax(1)
        small = self.curvature.abs() <= (ZERO * largest + 10 * self.changes)[:, None]
        flat = self.curvature.abs() <= FLAT * largest.median() if len(largest) else small
        candidate = ((small | flat).sum(1) > self.trivial).nonzero()[:, 0]
        labels = self._linked(candidate)
        members = [
            (int(row), int(self.hits[row]), False)
            for row in range(len(self.x))
            if row not in set(candidate.tolist())
        ]
        for label in np.unique(labels):
            rows = candidate[torch.from_numpy(labels == label)]
            extended = self._extent(rows) > EXTENDED
            nullity = small[rows].sum(1)
            usual = rows[nullity == nullity.mode().values] if extended else rows
            row = int(usual[self.steepness[usual].argmin()])
            members.append((row, int(self.hits[rows].sum()), extended))
        return members

    def _extent(self, rows: Tensor) -> float:
        """The largest distance of one of these points from the first."""
        keys = self._keys(self.x[rows])
        return float((keys - keys[0]).norm(dim=1).max())

    def _keys(self, X: Tensor) -> Tensor:
        if self.f.symmetry is not None:
            return self.f.symmetry.invariants(X) / self.size.mean()
        key = self.domain.embed(X)
        return key / self.size.repeat(key.shape[1] // self.f.dim)

    def _labels(self, X: Tensor) -> Rows:
        """A number for every row of X, equal for rows that are one point."""
        keys = self._keys(X).numpy()
        cells, first, cell = np.unique(
            np.round(keys / self.tolerance), axis=0, return_index=True, return_inverse=True
        )
        pairs = cKDTree(keys[first]).query_pairs(2 * self.tolerance, output_type="ndarray")
        return _components(len(cells), pairs)[cell.reshape(-1)]

    @staticmethod
    def _of_known(label: Tensor, m: int, hits: Tensor) -> tuple[Tensor, Tensor]:
        """Which known row each new hit belongs to, and how many hits."""
        order = label[:m].argsort()
        place = torch.searchsorted(label[:m][order], label[m:]).clamp(max=max(m - 1, 0))
        match = (
            (label[:m][order][place] == label[m:])
            if m
            else torch.zeros(len(label), dtype=torch.bool, device="cpu")
        )
        return (
            (order[place[match]], hits[match])
            if m
            else (torch.zeros(0, dtype=torch.long, device="cpu"),) * 2
        )

    def _append(self, X: Tensor, hits: Tensor) -> None:
        if not len(X):
            return
        X = polish(self.f, X)
        g, H = derivatives(self.f, X)
        nudge = torch.randn(
            X.shape,
            generator=torch.Generator(device="cpu").manual_seed(0),
            dtype=X.dtype,
            device="cpu",
        )
        _, near = derivatives(self.f, X + self.radius * nudge / nudge.norm(dim=1, keepdim=True))
        self.changes = torch.cat([self.changes, (near - H).norm(dim=(1, 2))])
        values, vectors = torch.linalg.eigh(H)
        trivial = torch.tensor([self.f.trivial_directions(x).shape[1] for x in X], device="cpu")
        self.x, self.hits = torch.cat([self.x, X]), torch.cat([self.hits, hits])
        self.steepness = torch.cat([self.steepness, g.norm(dim=1)])
        self.values = torch.cat([self.values, self.f.value(X).detach()])
        self.curvature = torch.cat([self.curvature, values])
        self.vectors = torch.cat([self.vectors, vectors])
        self.trivial = torch.cat([self.trivial, trivial])

    def _linked(self, rows: Tensor) -> Rows:
        """A number for each of these rows, equal for rows between which the landscape is stationary
        all along.
        """
        if len(rows) < 2:
            return np.arange(len(rows))
        keys = self._keys(self.x[rows]).numpy()
        labels = np.arange(len(rows))
        for _ in range(10):
            pairs = self._candidates(keys, labels)
            joined = (
                pairs[self._stationary_between(rows[pairs[:, 0]], rows[pairs[:, 1]])]
                if len(pairs)
                else pairs
            )
            if not len(joined):
                break
            links = np.concatenate(
                [joined, np.stack([np.arange(len(rows)), _representatives(labels)], 1)]
            )
            labels = _components(len(rows), links)
        return labels

    @staticmethod
    def _candidates(keys: Rows, labels: Rows) -> Rows:
        """Pairs of near points that are not linked yet: the nearest few of each, and the nearest of
        another group.
        """
        k = min(NEIGHBOURS + 1, len(keys))
        _, near = cKDTree(keys).query(keys, k=k)
        pairs = [np.stack([np.repeat(np.arange(len(keys)), k), near.reshape(-1)], 1)]
        groups = np.unique(labels)
        for label in groups if 1 < len(groups) <= 64 else []:
            inside, outside = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
            gap, other = cKDTree(keys[outside]).query(keys[inside])
            nearest = int(np.argmin(gap))
            pairs.append(np.array([[inside[nearest], outside[other[nearest]]]]))
        found = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
        apart: Rows = found[labels[found[:, 0]] != labels[found[:, 1]]]
        return apart

    def _stationary_between(self, a: Tensor, b: Tensor) -> Rows:
        """Whether the midpoint of each pair, polished, is a stationary point of the same value
        between the two.
        """
        step = self.domain.difference(self.x[a], self.x[b])
        length = (step / self.size).norm(dim=1)
        level = self.level + SAME_VALUE * self.values[a].abs()
        same = (self.values[a] - self.values[b]).abs() <= level
        found = search(self.f, self.domain.wrap(self.x[a] + 0.5 * step), "minimise")
        moved = (self.domain.difference(self.x[a] + 0.5 * step, found.points) / self.size).norm(
            dim=1
        )
        value = self.f.value(found.points).detach()
        between = (
            (found.ends == STATIONARY)
            & (moved <= 0.4 * length)
            & ((value - self.values[a]).abs() <= level)
        )
        answer: Rows = (same & between).numpy()
        return answer


def _distances(count: int, generator: torch.Generator) -> Tensor:
    """Lengths (count, 1) from 0.003 to 0.6 of the domain's size, uniform in their logarithm."""
    return 10 ** (
        -2.5 + 2.3 * torch.rand(count, 1, generator=generator, dtype=torch.float64, device="cpu")
    )


def _components(count: int, pairs: Rows) -> Rows:
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels: Rows = connected_components(graph, directed=False)[1]
    return labels


def _representatives(labels: Rows) -> Rows:
    """For each row the first row with the same label."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    answer: Rows = first[inverse.reshape(-1)]
    return answer
