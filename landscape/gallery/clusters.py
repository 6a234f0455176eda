"""A cluster of atoms: minima, passes, and the tree that they make."""

from dataclasses import replace

from landscape import zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact
from landscape.inventory.census import census
from landscape.paths.disconnectivity import disconnectivity

STARTS = 20_000  # the rarest pass is met by a few of them


def lennard_jones(progress: Progress) -> Computed:
    """Seven atoms."""
    f = zoo.formula("lennard-jones", particles=7)
    found = census(f, STARTS, seed=0, progress=progress)
    found = replace(found, tree=disconnectivity(f, found))
    minima = [p.value for p in found.points if p.index == 0]
    return {"census": found}, [
        Match(
            "lowest energy",
            -16.505384,
            "Hoare & Pal 1971, Adv. Phys. 20:161; Doye & Wales 2002",
            exact(min(minima)),
            5e-7,
            printed=True,
        ),
        Match("minima", 4.0, "Doye & Wales 2002", exact(float(len(minima))), printed=True),
        Match(
            "passes between them",
            12.0,
            "Doye & Wales 2002",
            exact(float(found.counts[1])),
            printed=True,
        ),
    ]
