"""The studies of escape at full scale: results stored, figures drawn, numbers printed.

    python tests/benchmarks/escapes.py FOLDER [octopus barrier minimum plateau saddles edge]

Each goes to FOLDER/NAME (`landscape figures render all --from FOLDER/NAME` draws it again). About ten minutes on two cores.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from landscape_figures import RECIPES, save
from torch import nn

import landscape as ls


def octopus() -> list[ls.optimizers.Comparison]:
    return [
        ls.optimizers.octopus_study(L=1.5, runs=40, steps=6_000),
        ls.optimizers.octopus_study((2, 3, 4, 5, 6, 8, 10), L=math.e, runs=40),
        ls.optimizers.octopus_study(L=math.e, runs=40, dtype=torch.float32),
    ]


def barrier() -> list[ls.optimizers.Comparison]:
    return [
        ls.optimizers.barrier_study((0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3), lr=0.01, runs=1_000)
    ]


def minimum() -> list[ls.optimizers.Comparison]:
    return [ls.optimizers.minimum_study(runs=1_000, steps=10_000)]


def plateau() -> list[ls.optimizers.Comparison]:
    return [ls.optimizers.plateau_study((2, 3, 4), (1e-4, 1e-3, 1e-2, 1e-1))]


def saddles() -> list[ls.optimizers.Comparison]:
    f = ls.zoo.load("digits-tiny")
    census = ls.inventory.critical_points(
        f, ls.inventory.training_paths(f, runs=2, points=4, steps=150, seed=0)
    )
    keep = census.stationary & (census.indices >= 1) & (census.smallest < -1e-3)
    order = census.smallest[keep].argsort()
    points, falls = census.points[keep][order], census.smallest[keep][order]
    distinct = [
        x for i, x in enumerate(points) if i == 0 or float(falls[i] / falls[i - 1]) < 0.99
    ]  # no copies by symmetry
    print(
        f"{f.dim} parameters, {int(keep.sum())} of {len(census.points)} searches ended at saddles"
    )
    lines = ["sgd:lr=0.1", "sgd:lr=0.02,momentum=0.9", "adam:lr=1e-4"]
    return [ls.optimizers.saddle_study(f, distinct[:3], lines, runs=8)]


def edge() -> list[ls.optimizers.EdgeStudy]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1)
    ).double()
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    y = torch.sin(2 * math.pi * x) + 0.3 * torch.cos(5 * x)
    f = ls.ModelLandscape(
        net, lambda o, t: 0.5 * (o - t).square().mean(), [(x, y)], name="tanh net"
    )
    lines = ["sgd:lr=0.4", "sgd:lr=0.25", "sgd:lr=0.25,momentum=0.5", "sgd:lr=0.4,momentum=0.5"]
    return [ls.optimizers.edge_of_stability(f, f.point(), lines, steps=4_000, every=80), heavy()]


def heavy() -> ls.optimizers.EdgeStudy:
    """Momentum 0.9 overshoots the edge of an easy fit, comes down on a flat minimum and stays; labels of noise keep it going."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1)
    ).double()
    x, y = torch.randn(160, 3, dtype=torch.float64), torch.randn(160, 1, dtype=torch.float64)
    f = ls.ModelLandscape(
        net, lambda o, t: 0.5 * (o - t).square().mean(), [(x, y)], name="tanh net, labels of noise"
    )
    return ls.optimizers.edge_of_stability(
        f, f.point(), ["sgd:lr=0.15,momentum=0.9", "sgd:lr=0.3"], steps=6_000, every=100
    )


STUDIES: dict[str, Callable[[], list[Any]]] = {
    "octopus": octopus, "barrier": barrier, "minimum": minimum, "plateau": plateau, "saddles": saddles, "edge": edge
}  # fmt: skip


def told(study: Any) -> None:
    if isinstance(study, ls.optimizers.EdgeStudy):
        for label, run in study.runs.items():
            late = f"late sharpness {run.late:.4f} ± {run.spread:.4f} of it"
            end = late if run.diverged is None else f"diverged by step {run.diverged}"
            print(f"  {label}: limit {run.limit:.4g}, {end}, above from {run.reached}")
        return
    print(f"  {study.title}")
    for series in study.series:
        for i, x in enumerate(series.x):
            m = series.measured[i] if series.measured else None
            law = series.predicted[i]
            shown = "-" if m is None else f"{m.value:.6g} [{m.low:.6g}, {m.high:.6g}]"
            print(
                f"  {series.label}, {study.over} {x:.4g}: {shown}, theory {'-' if law is None else f'{law:.6g}'} {series.notes[i]}"
            )
    for name, fit in study.fits.items():
        print(f"  {name}: {fit.value:.4f} [{fit.low:.4f}, {fit.high:.4f}]")


if __name__ == "__main__":
    root, *names = sys.argv[1:] or ["studies"]
    for name in names or STUDIES:
        print(name)
        for number, study in enumerate(STUDIES[name]()):
            folder = study.save(Path(root) / (f"{name}-{number}" if number else name))
            told(study)
            recipe = RECIPES["edge" if isinstance(study, ls.optimizers.EdgeStudy) else "comparison"]
            alt = recipe.caption(study)
            save(
                recipe.draw(study),
                folder / "figures" / f"{recipe.name}.png",
                alt=alt,
                provenance=study.provenance,
            )
