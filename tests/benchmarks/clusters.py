"""Lennard-Jones clusters beside the published counts: a census, and a path from the lowest minimum to each of the others.

    python tests/benchmarks/clusters.py [--particles 6 7] [--starts 10000 20000]

Minima and saddles of index 1 are compared by energy, within 1e-6, with tests/truth/landscapes (Hoare & Pal 1971; Doye & Wales 2002).
"""

import argparse
import json
import time
from pathlib import Path

import landscape as ls

TRUTH = Path(__file__).parents[1] / "truth" / "landscapes"


def compare(particles: int, starts: int, seed: int) -> None:
    f = ls.zoo.load("lennard-jones", particles=particles)
    known = json.loads((TRUTH / f"lennard_jones_{particles}.json").read_text())["points"]
    begun = time.perf_counter()
    census = ls.census(f, starts, seed)
    print(
        f"LJ{particles}: {len(census.points)} points from {starts} starts in {time.perf_counter() - begun:.0f} s"
    )
    for index in (0, 1):
        truth = [p["value"] for p in known if p["index"] == index]
        found = [p.value for p in census.points if p.index == index]
        met = sum(any(abs(value - other) < 1e-6 for other in found) for value in truth)
        print(f"  index {index}: {met} of {len(truth)} known ones, {len(found) - met} others")
    minima = [p.x for p in census.points if p.index == 0]
    for end in minima[1:]:
        path = ls.minimum_energy_path(f, minima[0], end, seed=seed)
        print(
            f"  {path.stations[0].value:.6f} to {path.stations[-1].value:.6f}: {path.stop.name.lower()} over {path.saddle.value:.6f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, nargs="+", default=[6, 7])
    parser.add_argument("--starts", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for particles, starts in zip(options.particles, options.starts, strict=True):
        compare(particles, starts, options.seed)


if __name__ == "__main__":
    main()
