"""What topology demands of a list of stationary points: sum of (-1)^index = an integer that the
boundary decides.

The index of an isolated zero of the gradient is (-1)^index where the Hessian is regular; their sum
over a domain without boundary is its Euler characteristic, over a box the degree of the gradient on
the boundary (Milnor 1965, Topology from the Differentiable Viewpoint, section 6).
"""

import math
from collections.abc import Callable

import torch
from scipy.stats import qmc
from torch import Tensor

from landscape.landscapes.domains import Box, Space, Torus
from landscape.landscapes.formula import FunctionLandscape

EDGE = 512  # first sampling of each edge of a square, and of the circle around a point
TURN = 0.5  # largest angle between neighbours, in radians, that counts as followed
HALVINGS = 30
FACES = 4096  # boundary points tried in three and more dimensions


def expected_sum(f: FunctionLandscape) -> tuple[int | None, str]:
    """What the signs of the stationary points in the domain of f sum to, and why; None where it is
    not known.

    Cost: some thousand gradients for a box, none otherwise.
    """
    domain, n = f.domain, f.dim
    if isinstance(domain, Space):
        return None, "the behaviour at infinity is not known"
    known = domain.characteristic(n)
    if known is not None:
        return known, f"Euler characteristic of the {type(domain).__name__.lower()}"
    if not isinstance(domain, Box):
        return None, "the boundary of the domain is not known"
    low = torch.as_tensor(domain.low, dtype=torch.float64, device="cpu").expand(n)
    high = torch.as_tensor(domain.high, dtype=torch.float64, device="cpu").expand(n)
    if n == 1:
        left, right = (float(f.gradient(end)) for end in (low, high))
        if not left * right:
            return None, "the slope at an end of the interval is zero"
        return int(
            math.copysign(1, right) - math.copysign(1, left)
        ) // 2, "signs of the slope at the interval's ends"
    if n == 2:
        corners = torch.stack(
            [low, torch.stack([high[0], low[1]]), high, torch.stack([low[0], high[1]])]
        )
        turns = winding(f, lambda t: _along(corners, t), EDGE * 4)
        return turns, "winding of the gradient along the box's boundary" if turns is not None else (
            "the gradient vanishes or is not finite on the box's boundary"
        )
    return _outward(f, low, high)


def periodic(f: FunctionLandscape) -> bool:
    """Whether f has the period of its torus, as far as a few random points show; True elsewhere."""
    if not isinstance(f.domain, Torus):
        return True
    X = f.domain.sample(20, f.dim, torch.Generator(device="cpu").manual_seed(0), f.dtype)
    whole = torch.arange(20, device="cpu")[:, None] % f.dim == torch.arange(f.dim, device="cpu")
    there, here = (
        f.value(x).detach().double() for x in (X + whole * f.domain.size(f.dim).to(X), X)
    )
    apart, spread = (there - here).abs(), (here - here.median()).abs().max()
    return not bool((apart > 1e-3 * spread + 1e-5 * here.abs()).any())


def local_index(f: FunctionLandscape, x: Tensor, radius: float) -> int | None:
    """The index of an isolated zero x of the gradient in one or two dimensions; None where it
    cannot be followed.
    """
    x = x.cpu()
    if f.dim == 1:
        slopes = f.gradient(torch.stack([x - radius, x + radius]))[:, 0]
        return int(slopes[1].sign() - slopes[0].sign()) // 2 if bool((slopes != 0).all()) else None
    if f.dim == 2:
        return winding(
            f,
            lambda t: (
                x + radius * torch.stack([(2 * math.pi * t).cos(), (2 * math.pi * t).sin()], -1)
            ),
        )
    return None


def winding(
    f: FunctionLandscape, curve: Callable[[Tensor], Tensor], samples: int = EDGE
) -> int | None:
    """How often the gradient turns along a closed curve, t in [0, 1] -> (..., 2); intervals are
    halved until every turn is small.
    """
    t = torch.linspace(0, 1, samples + 1, dtype=torch.float64, device="cpu")
    angles = _angles(f, curve(t))
    for _ in range(HALVINGS):
        if not bool(torch.isfinite(angles).all()):
            return None
        wide = (_turns(angles).abs() > TURN).nonzero()[:, 0]
        if len(wide) == 0:
            return round(float(_turns(angles).sum()) / (2 * math.pi))
        middle = 0.5 * (t[wide] + t[wide + 1])
        t, order = torch.cat([t, middle]).sort()
        angles = torch.cat([angles, _angles(f, curve(middle))])[order]
    return None


def _angles(f: FunctionLandscape, points: Tensor) -> Tensor:
    g = f.gradient(points)
    angle = torch.atan2(g[:, 1], g[:, 0])
    return torch.where((g == 0).all(1), float("nan"), angle)


def _turns(angles: Tensor) -> Tensor:
    return torch.remainder(angles.diff() + math.pi, 2 * math.pi) - math.pi


def _along(corners: Tensor, t: Tensor) -> Tensor:
    """The point at t in [0, 1] of the closed polygon."""
    side = (t * len(corners)).floor().clamp(max=len(corners) - 1)
    part = (t * len(corners) - side)[:, None]
    start = side.long()
    return corners[start] * (1 - part) + corners[(start + 1) % len(corners)] * part


def _outward(f: FunctionLandscape, low: Tensor, high: Tensor) -> tuple[int | None, str]:
    """1 where the gradient points out of the box at every boundary point tried, (-1)^n where it
    points in.
    """
    n = f.dim
    points = torch.from_numpy(qmc.Sobol(n, seed=0).random(FACES))
    face = torch.arange(FACES, device="cpu") % (2 * n)
    axis, upper = face // 2, face % 2 == 1
    rows = torch.arange(FACES, device="cpu")
    points[rows, axis] = upper.double()
    slope = f.gradient(low + points * (high - low))[rows, axis] * torch.where(upper, 1.0, -1.0)
    if bool((slope > 0).all()):
        return 1, f"the gradient points out of the box at all of {FACES} boundary points tried"
    if bool((slope < 0).all()):
        return (
            -1
        ) ** n, f"the gradient points into the box at all of {FACES} boundary points tried"
    return None, "the gradient points both in and out on the box's boundary"
