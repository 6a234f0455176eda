"""A cluster of atoms: minima, passes, and the tree that they make."""

from dataclasses import replace
from typing import Any

import torch

from landscape import zoo
from landscape.core import FunctionLandscape, Progress
from landscape.gallery import Match, exact
from landscape.stationary.batched import STATIONARY, search
from landscape.stationary.census import census
from landscape.stationary.classify import classify
from landscape.stationary.collection import Collection
from landscape.stationary.disconnectivity import disconnectivity

STARTS = ((0, 300), (1, 1_500))  # searches for each index
CHUNK = 250


def lennard_jones(progress: Progress) -> tuple[dict[str, Any], list[Match]]:
    """Seven atoms."""
    f = zoo.load("lennard-jones", particles=7)
    assert isinstance(f, FunctionLandscape)
    assert f.domain is not None
    collection, generator = Collection(f, 1e-6), torch.Generator("cpu").manual_seed(1)
    done, total = 0, sum(count for _, count in STARTS)
    for index, count in STARTS:
        for start in range(0, count, CHUNK):
            progress("searches", done, total)
            X = f.domain.sample(min(CHUNK, count - start), f.dim, generator, torch.float64)
            ends = search(f, X, "follow", index=torch.full((len(X),), index, device="cpu"))
            good = (ends.ends == STATIONARY) & f.domain.contains(ends.points)
            collection.add(ends.points[good])
            done += len(X)
    points = [classify(f, x) for x in collection.x]
    points = sorted((p for p in points if p.index in (0, 1)), key=lambda p: p.value)
    found = replace(census(f, 1, 0), points=points, starts=total)
    found = replace(found, tree=disconnectivity(f, found))
    minima = [p.value for p in points if p.kind == "minimum"]
    passes = sum(p.index == 1 for p in points)
    return {"census": found}, [
        Match("lowest energy", -16.505384, "Hoare & Pal 1971, Adv. Phys. 20:161; Doye & Wales 2002", exact(min(minima)), 5e-7),
        Match("minima", 4.0, "Doye & Wales 2002", exact(float(len(minima)))),
        Match("passes between them", 12.0, "Doye & Wales 2002", exact(float(passes)), 0.0,
              "one, at -14.568, is not met from these random starts"),
    ]  # fmt: skip
