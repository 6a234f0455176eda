"""Values of a landscape on a grid, for a picture of a census."""

import torch

from landscape.inventory.census import Census
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.domains import Sphere, Torus
from landscape.landscapes.formula import FunctionLandscape
from landscape.landscapes.grid import Grid, values
from landscape.specs import whole


@owned()
def picture(f: FunctionLandscape, census: Census, resolution: int = 161) -> Grid:
    """f on a grid over the frame of a census, for a figure: ``dataclasses.replace(census,
    picture=picture(f, census))``.

    The frame is ``low`` to ``high`` of the census, a torus's period, or else what holds all points
    and a quarter more on each side.

    Args:
        f: the landscape of the census, n = 1 or 2.
        census: whose points and frame are shown.
        resolution: grid points a side, at least 2.

    Raises:
        ValueError: n is not 1 or 2, f lives on a sphere, or the resolution is less than 2.

    Cost: resolution ** n values, in one batch.
    """
    if f.dim not in (1, 2) or isinstance(f.domain, Sphere):
        raise ValueError(
            f"a picture needs a landscape of a line or a plane; {f.name} has dimension {f.dim} or "
            f"lives on a sphere."
        )
    whole(2, resolution=resolution)
    low, high = _frame(f, census)
    axes = [
        torch.linspace(a, b, resolution, dtype=torch.float64, device="cpu")
        for a, b in zip(low, high, strict=True)
    ]
    unit = torch.eye(f.dim, dtype=torch.float64, device="cpu")
    none = torch.empty(0, dtype=torch.float64, device="cpu")
    return Grid(axes[0], axes[1] if f.dim == 2 else none, values(f, 0 * unit[0], unit, axes))


def _frame(f: FunctionLandscape, census: Census) -> tuple[list[float], list[float]]:
    """The lowest and the highest coordinates to be shown."""
    if census.low and census.high:
        return list(census.low), list(census.high)
    if isinstance(f.domain, Torus):
        return [0.0] * f.dim, f.domain.size(f.dim).tolist()
    X = (
        torch.stack([p.x for p in census.points]).double().cpu()
        if census.points
        else torch.zeros(1, f.dim, device="cpu", dtype=torch.float32)
    )
    low, high = X.min(0).values, X.max(0).values
    margin = 0.25 * torch.where(high > low, high - low, (high - low).max().clamp_min(4.0))
    return (low - margin).tolist(), (high + margin).tolist()
