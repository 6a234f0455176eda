"""Where runs went: points of the first runs at a few hundred steps, and f on a plane around the
point they left, for pictures.

X: (R, n), one run a row. The plane is spanned by the coordinates of a formula of two; else by the
directions in which the recorded paths spread most. Pictures read these numbers and compute none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.landscapes import grid, rows
from landscape.landscapes.grid import Grid
from landscape.results import result

MOST = 400  # moments kept of a run; steps between them double when there are more
RESOLUTION = 61  # grid points a side
MARGIN = 0.15  # of the paths' extent, on each side


@result("recorded-paths")
@dataclass(frozen=True, eq=False)
class Paths:
    """Recorded runs of one optimiser, on the CPU. A run that is over stays where it ended."""

    steps: Tensor  # (T,) int64, from 0 to the last step made
    points: Tensor  # (k, T, n)
    values: Tensor  # (k, T) float64, f at them


@result("recorded-plane")
@dataclass(frozen=True, eq=False)
class Plane(Grid):
    """f on a plane through the point, at ``origin`` + xs[i] directions[:, 0] + ys[j] directions[:,
    1].
    """

    origin: Tensor  # (n,) float64, on the CPU
    directions: Tensor  # (n, 2) orthonormal, float64, on the CPU
    axes: bool  # whether these are the two coordinates of f themselves
    # The largest distance of a recorded point from the plane, as a share of its distance from the
    # point.
    outside: float


@dataclass
class Recorder:
    """Keeps the first ``count`` rows of what it is shown, at no more than ``MOST`` moments."""

    count: int
    every: int = 1
    moments: list[tuple[int, Tensor]] = field(default_factory=list)

    def add(self, t: int, X: Tensor) -> None:
        if t % self.every == 0:
            self.moments.append((t, X[: self.count].detach().clone()))
        if len(self.moments) > MOST:
            self.every *= 2
            self.moments = [(s, x) for s, x in self.moments if s % self.every == 0]

    def state(self) -> list[object]:
        """What was kept so far."""
        return [self.every, self.moments]

    def restore(self, state: Sequence[object], device: torch.device) -> None:
        """Go on from a state."""
        every, moments = state
        assert isinstance(every, int)
        assert isinstance(moments, list)
        self.every, self.moments = every, [(s, x.to(device)) for s, x in moments]

    def paths(self, f: Landscape, t: int, X: Tensor) -> Paths:
        """What was kept, and the last step t. Cost: a value of f a point kept."""
        if self.moments[-1][0] != t:
            self.moments.append((t, X[: self.count].detach().clone()))
        points = torch.stack([x for _, x in self.moments], dim=1)
        with torch.no_grad():
            values = rows.values_in_parts(f, points.reshape(-1, points.shape[2])).reshape(
                points.shape[:2]
            )
        steps = torch.tensor([s for s, _ in self.moments], dtype=torch.int64, device="cpu")
        return Paths(steps, points.cpu(), values.double().cpu())


def plane(f: Landscape, at: Tensor, recorded: Sequence[Paths]) -> Plane | None:
    """f on the plane in which paths are seen; None for a landscape of one coordinate.

    Cost: ``RESOLUTION`` squared values.
    """
    if f.dim < 2:
        return None
    origin = at.detach().cpu().double()
    ends = torch.cat([p.points.double().reshape(-1, f.dim) for p in recorded]) - origin
    ends = ends[torch.isfinite(ends).all(dim=1)]
    flat = f.dim == 2
    V = torch.eye(2, dtype=torch.float64, device="cpu") if flat else _spread(ends)
    where = ends @ V
    xs, ys = (_axis(where[:, k]) for k in (0, 1))
    values = grid.values(f, at.detach(), V, [xs, ys])
    far = ends.norm(dim=1)
    off = (ends - where @ V.T).norm(dim=1)
    share = float((off / far.clamp_min(1e-300)).max()) if len(far) and not flat else 0.0
    return Plane(xs, ys, values, origin, V, flat, share)


def _spread(ends: Tensor) -> Tensor:
    """The two principal directions of displacements (m, n) from the point, (n, 2); the larger
    entries of each are positive.
    """
    padded = torch.cat([ends, ends.new_zeros(2, ends.shape[1])])
    V: Tensor = torch.linalg.svd(padded, full_matrices=False).Vh[:2].T
    signs = V.gather(0, V.abs().argmax(dim=0, keepdim=True)).sign()
    turned: Tensor = V * torch.where(signs == 0, 1.0, signs)
    return turned


def _axis(where: Tensor) -> Tensor:
    low, high = min(0.0, float(where.min())), max(0.0, float(where.max()))
    margin = MARGIN * (high - low) or 1.0
    return torch.linspace(
        low - margin, high + margin, RESOLUTION, dtype=torch.float64, device="cpu"
    )
