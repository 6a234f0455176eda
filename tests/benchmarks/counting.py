"""Mean numbers of stationary points by index, measured beside the exact means: every family of tests/truth/random-matrices.

    python tests/benchmarks/counting.py [--realisations 1000] [--seed 0] [--only NAME]

One line a family and dimension: mean of all points ± standard error, the exact mean, z = (measured - exact) / error of each index,
the share of realisations whose Euler sum is right, how many are incomplete, and milliseconds a realisation on this machine. At the end
the z of all families together, which should be as normal numbers are (those of one family are not independent of each other).
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

import landscape as ls
from landscape.inventory import families
from landscape.inventory.families import Family

TRUTH = Path(__file__).parents[1] / "truth" / "random-matrices"


def table(name: str) -> dict[str, Any]:
    return json.loads((TRUTH / f"{name}.json").read_text())["values"]


def every() -> list[tuple[str, Family, int, list[float]]]:
    """Name, family, dimension and the exact means by index, all from the tables."""
    found = []
    for name, row in table("torus_d1_d2").items():
        k, v = (torch.tensor(row[key], dtype=torch.float64) for key in ("K", "sigma2"))

        def these(
            dim: int, k: torch.Tensor = k, v: torch.Tensor = v
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return k, v

        found.append(
            (
                name,
                families.waves(these, name=name),
                row["d"],
                row["E_by_index"],
            )
        )
    for dim, row in table("isotropic_fields").items():
        # the waves of this family have mu / m = 1 / 3 on a torus of volume (2 pi)^d
        scale = (2 * math.pi) ** int(dim) * (1 / 3) ** (int(dim) / 2)
        exact = [scale * c for c in row["density_by_index_over_(mu/m)^(d/2)"]]
        found.append((f"isotropic d = {dim}", families.isotropic_waves(), int(dim), exact))
    for spins in (2, 3, 4, 5):
        exact = table("pspin_p3")[f"p3_N{spins}"]["E_by_index"]
        found.append((f"p-spin N = {spins}", families.p_spin(3), spins, exact))
    return found


def deviations(counts: ls.inventory.SaddleCounts, dim: int, exact: list[float]) -> list[float]:
    """z of each index; 0 where every realisation has the exact number."""
    rows = zip(counts[dim].means, exact, strict=True)
    return [
        (m.value - e) / m.error if m.error else 0.0 if abs(m.value - e) < 1e-9 else math.inf
        for m, e in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realisations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print(
        f"{'family':22} {'measured':>16} {'exact':>8}  {'z by index':32} {'Euler right':>11} incomplete   ms",
        flush=True,
    )
    every_z = []
    for name, family, dim, exact in every():
        if options.only not in name:
            continue
        begun = time.perf_counter()
        counts = ls.inventory.count_saddles(family, dim, options.realisations, options.seed)
        ms = 1e3 * (time.perf_counter() - begun) / options.realisations
        found, z = counts[dim], deviations(counts, dim, exact)
        every_z += z
        print(
            f"{name:22} {found.total.value:8.3f} ± {found.total.error:5.3f} {sum(exact):8.3f}  {' '.join(f'{v:+5.2f}' for v in z):32} "
            f"{100 * found.right:9.2f} % {int(found.incomplete.sum()):10d} {ms:5.1f}",
            flush=True,
        )
    largest = max(map(abs, every_z))
    mean_square = sum(v * v for v in every_z) / max(sum(v != 0 for v in every_z), 1)
    print(f"{len(every_z)} means, largest |z| {largest:.2f}, mean z^2 {mean_square:.2f}")


if __name__ == "__main__":
    main()
