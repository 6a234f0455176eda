"""Values of a landscape along a curve through its points: straight pieces, or a Bezier curve of
control points.

C: (m, n), control points; t in [0, 1]; c(t) the curve. A chain passes through every control point,
at t = k / (m - 1) where it is made for training, evenly by length where it is given; a Bezier curve
passes through the first and the last only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.landscapes import metrics as cells
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.metrics import Metric
from landscape.results import Result, provenance, result
from landscape.specs import whole

KINDS = ("polygon", "bezier")


@result("curve-profile")
@dataclass(frozen=True)
class Profile(Result):
    """A landscape along a curve. Values that are not finite are kept as they came."""

    control: Tensor  # (m, n), the points that the curve is made of
    kind: str  # polygon or bezier
    t: Tensor  # (r,), from 0 to 1
    arclength: Tensor  # (r,), along the curve, by straight pieces between the points evaluated
    values: Tensor  # (r,), f there
    metrics: dict[str, Tensor]  # others by name, (r,) each

    @property
    def barrier(self) -> float:
        """How far the highest value lies above the higher one of the two ends, over the points
        evaluated.
        """
        return float(self.values.max() - torch.maximum(self.values[0], self.values[-1]))


def weights(kind: str, t: Tensor, count: int) -> Tensor:
    """What each of ``count`` control points weighs in c(t), (r, count), rows that sum to one: c =
    weights @ C.
    """
    if kind == "bezier":
        k = torch.arange(count, dtype=t.dtype, device=t.device)
        choose = torch.tensor(
            [math.comb(count - 1, i) for i in range(count)], dtype=t.dtype, device=t.device
        )
        return choose * t[:, None] ** k * (1 - t[:, None]) ** (count - 1 - k)
    place = t * (count - 1)
    k = torch.arange(count, dtype=t.dtype, device=t.device)
    return (1 - (place[:, None] - k).abs()).clamp_min(0.0)


@owned()
def profile(
    f: Landscape,
    points: Tensor,
    resolution: int = 51,
    *,
    kind: str = "polygon",
    by_length: bool = True,
    metrics: Iterable[str | Metric] | Mapping[str, str | Metric] = (),
    batch_statistics: bool = False,
    progress: Progress = silent,
) -> Profile:
    """The values of f along the curve of ``points`` (m, n), a trajectory say, or two checkpoints.

    Args:
        resolution: r, points evaluated, both ends among them.
        kind: "polygon", straight from each point to the next; "bezier", the Bezier curve that they
            control.
        by_length: t is the share of a polygon's length; else each of its pieces takes an equal
            share of t.
        metrics, batch_statistics: as for ``surface``.

    Raises:
        ValueError: an argument is out of range, or all points are one.

    Cost: r evaluations.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    whole(2, resolution=resolution)
    if not isinstance(points, Tensor):
        raise TypeError(
            f"a curve is a tensor (m, {f.dim}), got {type(points).__name__}: pass "
            f"torch.stack(points)."
        )
    if points.ndim != 2 or points.shape[1] != f.dim or len(points) < 2:
        raise ValueError(
            f"a curve has points (m, {f.dim}), two or more, got {tuple(points.shape)}."
        )
    C = points.detach().clone()
    named = cells.metrics(metrics)
    measure, size = cells.evaluator(f, named, batch_statistics=batch_statistics)
    t = torch.linspace(0, 1, resolution, dtype=C.dtype, device=C.device)
    X = weights(kind, _places(C, t) if kind == "polygon" and by_length else t, len(C)) @ C
    parts = []
    for start in range(0, resolution, size):
        progress("curve", start, resolution)
        parts.append(measure(X[start : start + size]))
    progress("curve", resolution, resolution)
    found = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    lengths = torch.linalg.vector_norm(X[1:] - X[:-1], dim=1).cumsum(0)
    arclength = torch.cat([lengths.new_zeros(1), lengths])
    source = provenance(f, C[0], kind=kind, resolution=resolution)
    return Profile(C, kind, t, arclength, found.pop("loss"), found, provenance=source)


def _places(C: Tensor, t: Tensor) -> Tensor:
    """The parameter in which pieces are equal, for shares t of the polygon's length."""
    lengths = torch.linalg.vector_norm(C[1:] - C[:-1], dim=1)
    if not bool(lengths.sum() > 0):
        raise ValueError("all points of the curve are one point.")
    ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    # not the sum, which rounds otherwise: the last point must be the curve's end
    ends = ends / ends[-1]
    piece = (torch.searchsorted(ends, t, right=True) - 1).clamp(0, len(lengths) - 1)
    width = (ends[piece + 1] - ends[piece]).clamp_min(torch.finfo(C.dtype).tiny)
    places: Tensor = (piece + ((t - ends[piece]) / width).clamp(0, 1)) / len(lengths)
    return places
