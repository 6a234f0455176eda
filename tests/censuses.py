"""Censuses put together by hand from points that are known: what figures and trees are tried on."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import landscape as ls
from landscape.inventory.census import Census

TRUTH = Path(__file__).parent / "truth" / "landscapes"


def table(name: str) -> dict[str, Any]:
    """A landscape's known stationary points with their source."""
    found: dict[str, Any] = json.loads((TRUTH / f"{name}.json").read_text())
    return found


HIMMELBLAU = table("himmelblau")


def himmelblau(x: Tensor) -> Tensor:
    u, v = x[..., 0], x[..., 1]
    return (u * u + v - 11) ** 2 + (u + v * v - 7) ** 2


def styblinski_tang(x: Tensor) -> Tensor:
    return 0.5 * (x**4 - 16 * x * x + 5 * x).sum(-1)


def mueller_brown(x: Tensor) -> Tensor:
    """Mueller & Brown 1979, Theor. Chim. Acta 53:75."""
    A, a, b, c = (-200, -100, -170, 15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7)
    u, v = x[..., 0], x[..., 1]
    total = torch.zeros_like(u)
    for k, (p, q) in enumerate(zip((1, 0, -0.5, -1), (0, 0.5, 1.5, 1), strict=True)):
        total = total + A[k] * torch.exp(
            a[k] * (u - p) ** 2 + b[k] * (u - p) * (v - q) + c[k] * (v - q) ** 2
        )
    return total


def cubic_roots() -> list[float]:
    """The zeros of 4x^3 - 32x + 5, ascending, by Viete's formula: minimum, maximum, minimum of one Styblinski-Tang coordinate."""
    r = 2 * math.sqrt(8 / 3)
    angle = math.acos(3 * (-5 / 4) / (2 * -8) * math.sqrt(3 / 8) * -1)
    return sorted(r * math.cos((angle - 2 * math.pi * k) / 3) for k in range(3))


def by_hand(
    f: ls.FunctionLandscape,
    points: Sequence[Tensor],
    low: Sequence[float] = (),
    high: Sequence[float] = (),
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Census:
    """A census of points that are told; the hits are made up."""
    verdicts = [ls.classify(f, x.to(device, dtype)) for x in points]
    verdicts.sort(key=lambda p: p.value)
    verdicts = [replace(p, hits=3 + (37 * i * i + 11) % 190) for i, p in enumerate(verdicts)]
    return Census(
        dim=f.dim, points=verdicts, families=[], starts=1_000, failures={"the search left the box": 14},
        euler=sum((-1) ** p.index for p in verdicts if p.index is not None), euler_expected=1, euler_reason="f grows at infinity",
        unseen=ls.Estimate(0.4, 0.9, 0.0, 3.1), tolerance=1e-6, reasons=[], seed=0, rounds=1, low=list(low), high=list(high),
        provenance=ls.results.Provenance(f.name, 0, "float64", "cpu", "0123456789abcdef", "", {}, "test", "2000-01-01T00:00:00Z", {}),
    )  # fmt: skip


def landscape(function: Callable[[Tensor], Tensor], dim: int = 2) -> ls.FunctionLandscape:
    return ls.FunctionLandscape(function, dim, name=function.__name__.replace("_", "-"))


def himmelblau_census(**where: object) -> tuple[ls.FunctionLandscape, Census]:
    f = landscape(himmelblau)
    points = [torch.tensor(p["x"], dtype=torch.float64) for p in HIMMELBLAU["points"]]
    return f, by_hand(f, points, (-6, -6), (6, 6), **where)  # type: ignore[arg-type]


def styblinski_census(n: int, **where: object) -> tuple[ls.FunctionLandscape, Census]:
    f = landscape(styblinski_tang, n)
    points = [
        torch.tensor(c, dtype=torch.float64) for c in itertools.product(cubic_roots(), repeat=n)
    ]
    return f, by_hand(f, points, (-5,) * n, (5,) * n, **where)  # type: ignore[arg-type]


# value of the saddle, rounded, and the quadrants of the two minima on either side: read off a contour plot
SADDLE_EDGES = [
    (13.31, {(1, 1), (1, -1)}),
    (67.72, {(1, 1), (-1, 1)}),
    (104.02, {(-1, 1), (-1, -1)}),
    (178.34, {(-1, -1), (1, -1)}),
]
