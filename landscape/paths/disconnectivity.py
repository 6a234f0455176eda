"""Disconnectivity trees: which minima are joined at which level (Becker & Karplus 1997, J. Chem.
Phys. 106:1495; Wales, Miller, Walsh 1998, Nature 394:758).

Below a saddle of index 1 lie two valleys, one on either side along its lowest eigenvector. The
gradient flow down each ends in a minimum: an edge. Taken by rising value, the edges join minima to
groups, and the first edge that joins two groups is the lowest pass between them that the list
knows: another saddle, not in the list, may lie lower.
"""

import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.inventory.census import Census
from landscape.inventory.tree import Edge, Merge, Tree
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.domains import Space
from landscape.points.classify import StationaryPoint
from landscape.points.descent import flow, move, norms

NUDGE = (
    1e-3  # first step off a saddle, in units of the distance to the nearest other point of the list
)
# an end this near to a minimum of the list, in units of the distance between points of the list, is
# that one
SAME = 1e-4


@owned()
def disconnectivity(f: Landscape, census: Census) -> Tree:
    """The disconnectivity tree of the minima and index-1 saddles of a census of f.

    Points with zero eigenvalues besides the trivial ones are left out: the minimum of a continuous
    family has no position of its own.

    Raises:
        ValueError: the census is of another dimension.

    Cost: the gradient flow from two points a saddle, all in one batch, and a few dense Hessians
    each.
    """
    if census.dim != f.dim:
        raise ValueError(
            f"the census is of dimension {census.dim}, the landscape of dimension {f.dim}."
        )
    points = census.points
    minima = [i for i, p in enumerate(points) if p.kind == "minimum"]
    saddles = [i for i, p in enumerate(points) if _passes(p)]
    saddles.sort(key=lambda i: points[i].value)
    values = torch.tensor([points[i].value for i in minima], dtype=torch.float64, device="cpu")
    if not saddles or not minima:
        return Tree(minima, values, [], [], [[i] for i in minima], 0, 0)
    places = torch.stack([p.x for p in points])
    apart = _distances(f, places, places)
    apart.fill_diagonal_(float("inf"))
    nearest = apart.min(1).values.cpu()
    X = torch.cat([_beside(f, points[i], NUDGE * float(nearest[i])) for i in saddles])
    ends = flow(f, X, nearest[saddles].double().repeat_interleave(2))
    valleys = _which(f, ends.X, ends.settled, places[minima], nearest[minima], minima)
    edges = [Edge(i, a, b) for i, a, b in zip(saddles, valleys[::2], valleys[1::2], strict=True)]
    merges, groups = _join(minima, [(e, points[e.saddle].value) for e in edges])
    return Tree(minima, values, edges, merges, groups, valleys.count(None), ends.gradients)


def _passes(point: StationaryPoint) -> bool:
    """Whether it is a nondegenerate saddle of index 1, or a maximum of one dimension, which is what
    passes are there.
    """
    return point.kind in ("saddle", "maximum") and point.index == 1 and point.nullity == 0


def _beside(f: Landscape, saddle: StationaryPoint, distance: float) -> Tensor:
    """The points (2, n) on both sides of a saddle along its lowest eigenvector."""
    down = saddle.pairs.vectors[:, 0].to(saddle.x)
    sides = [move(f.domain, saddle.x, side * distance * down) for side in (1.0, -1.0)]
    return torch.stack(sides)


def _which(
    f: Landscape, X: Tensor, settled: Tensor, M: Tensor, nearest: Tensor, minima: list[int]
) -> list[int | None]:
    """The minimum of the list at each row of X (m, n), None where there is none."""
    distance = _distances(f, X, M).cpu()
    least, which = distance.min(1)
    eps = torch.finfo(X.dtype).eps ** 0.5
    near = (least <= max(SAME, eps) * nearest[which]) & settled.cpu()
    return [minima[k] if ok else None for k, ok in zip(which.tolist(), near.tolist(), strict=True)]


def _distances(f: Landscape, X: Tensor, Y: Tensor) -> Tensor:
    """Distances (m, k) of the rows of X and Y, in coordinates that do not see a declared symmetry;
    float64.
    """
    if f.symmetry is not None:
        X, Y, domain = f.symmetry.invariants(X), f.symmetry.invariants(Y), Space()
        return norms(domain.difference(X[:, None], Y[None]))
    return norms(f.domain.difference(X[:, None], Y[None]))


def _join(
    minima: list[int], edges: list[tuple[Edge, float]]
) -> tuple[list[Merge], list[list[int]]]:
    """The merges by rising level, and the groups at the end (Kruskal 1956)."""
    group = {i: [i] for i in minima}
    merges = []
    for edge, level in edges:
        a, b = edge.minimum, edge.other
        if a is None or b is None or group[a] is group[b]:
            continue
        merges.append(Merge(level, edge.saddle, (list(group[a]), list(group[b]))))
        joined = group[a] + group[b]
        for i in joined:
            group[i] = joined
    kept: list[list[int]] = []
    for members in group.values():
        if not any(members is other for other in kept):
            kept.append(members)
    return merges, kept
