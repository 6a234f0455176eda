"""Where a landscape lives: all of R^n, a box, a torus, a sphere. What a search needs to know of
each of them.

x: (..., n) points; n is the number of coordinates, so a sphere in R^n is a manifold of dimension n
- 1. A domain draws starts, brings a point back to its representative (``wrap``), gives the
difference of two points by the shortest way, and knows its Euler characteristic, which is what the
signs (-1)^index of all stationary points sum to (Morse; Milnor 1963, Morse Theory).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Bounds = float | tuple[float, ...]


class _Flat:
    """What domains without curvature share."""

    def wrap(self, x: Tensor) -> Tensor:
        return x

    def chart(self, x: Tensor) -> Tensor:
        return x

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def embed(self, x: Tensor) -> Tensor:
        return x

    def normals(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[-1], 0)

    def characteristic(self, dim: int) -> int | None:
        return None


@dataclass(frozen=True)
class Space(_Flat):
    """All of R^n: what domain None means. Starts are drawn from a normal distribution around 0 of
    standard deviation ``spread``.
    """

    spread: float = 2.0

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Normal points, (count, dim)."""
        return self.spread * torch.randn(count, dim, generator=generator, dtype=dtype, device="cpu")

    def contains(self, x: Tensor) -> Tensor:
        """Every finite point is inside."""
        return torch.isfinite(x).all(-1)

    def size(self, dim: int) -> Tensor:
        """Four standard deviations."""
        return torch.full((dim,), 4 * self.spread, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Box(_Flat):
    """The box low <= x <= high; each a number, or a sequence of n numbers.

    Raises:
        ValueError: low is not below high in some coordinate.

    Examples:
        >>> import landscape as ls, torch
        >>> ls.Box(-1, [1, 2]).contains(torch.tensor([[0.5, 1.5], [1.5, 0.0]])).tolist()
        [True, False]
    """

    low: Bounds
    high: Bounds

    def __post_init__(self) -> None:
        low, high = _row(self.low), _row(self.high)
        if not bool((low < high).all()):
            raise ValueError(
                f"Box needs low < high in every coordinate, got low={self.low}, high={self.high}."
            )

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """``count`` points (count, dim) drawn uniformly."""
        low, high = _row(self.low).to(dtype), _row(self.high).to(dtype)
        return low + (high - low) * torch.rand(
            count, dim, generator=generator, dtype=dtype, device="cpu"
        )

    def contains(self, x: Tensor) -> Tensor:
        """Which points (..., n) are in the box, faces included."""
        return ((x >= _row(self.low).to(x)) & (x <= _row(self.high).to(x))).all(-1)

    def size(self, dim: int) -> Tensor:
        """The edges' lengths (n,)."""
        return (_row(self.high) - _row(self.low)).expand(dim)


@dataclass(frozen=True)
class Torus(_Flat):
    """The torus R^n modulo ``period``, a number or a sequence of n numbers; the formula must have
    that period.

    Raises:
        ValueError: a period is not positive and finite.

    Examples:
        >>> import landscape as ls, torch
        >>> f = ls.FunctionLandscape(lambda x: x.cos().sum(-1), 2, domain=ls.Torus(2 * torch.pi))
        >>> ls.census(f, starts=200, seed=0).counts
        {0: 1, 1: 2, 2: 1}
    """

    period: Bounds = 2 * math.pi

    def __post_init__(self) -> None:
        period = _row(self.period)
        if not bool(((period > 0) & torch.isfinite(period)).all()):
            raise ValueError(
                f"Torus needs a positive period in every coordinate, got {self.period}."
            )

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """``count`` points (count, dim) drawn uniformly."""
        return _row(self.period).to(dtype) * torch.rand(
            count, dim, generator=generator, dtype=dtype, device="cpu"
        )

    def contains(self, x: Tensor) -> Tensor:
        """Every finite point is inside."""
        return torch.isfinite(x).all(-1)

    def wrap(self, x: Tensor) -> Tensor:
        """The representatives in [0, period)."""
        return torch.remainder(x, _row(self.period).to(x))

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        """y - x (..., n), at most half a period in every coordinate."""
        period = _row(self.period).to(x)
        return y - x - period * torch.round((y - x) / period)

    def embed(self, x: Tensor) -> Tensor:
        """Each coordinate as a point of a circle of length ``period``, (..., 2 n)."""
        radius = _row(self.period).to(x) / (2 * math.pi)
        angle = x / radius
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)

    def size(self, dim: int) -> Tensor:
        """The periods (n,)."""
        return _row(self.period).expand(dim)

    def characteristic(self, dim: int) -> int | None:
        """0."""
        return 0


@dataclass(frozen=True)
class Sphere:
    """The sphere |x| = radius in R^n, a manifold of dimension n - 1.

    A landscape on it is evaluated at radius x / |x|; its gradient is the tangent part of the
    formula's gradient g, and its Hessian is P (H - (g.x / radius^2) I) P with P the projection onto
    the tangent space (Absil, Mahony, Sepulchre 2008, Optimization Algorithms on Matrix Manifolds,
    section 5.5), an (n, n) matrix that is zero along x.

    Raises:
        ValueError: the radius is not positive and finite.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: x[..., 0] ** 2, 3, domain=ls.Sphere(1))
        >>> ls.classify(f, [1.0, 0.0, 0.0]).kind
        'maximum'
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise ValueError(f"Sphere needs a positive radius, got {self.radius}.")

    def sample(
        self, count: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """``count`` points (count, dim) drawn uniformly."""
        return self.wrap(torch.randn(count, dim, generator=generator, dtype=dtype, device="cpu"))

    def contains(self, x: Tensor) -> Tensor:
        """Every finite point but 0 stands for a point of the sphere."""
        return torch.isfinite(x).all(-1) & (x != 0).any(-1)

    def wrap(self, x: Tensor) -> Tensor:
        """The nearest points of the sphere."""
        nearest: Tensor = x * (self.radius / x.norm(dim=-1, keepdim=True))
        return nearest

    def chart(self, x: Tensor) -> Tensor:
        """The point of the sphere at x, as a function whose second derivative is the sphere's: the
        projective retraction at x.
        """
        base = self.wrap(x.detach())
        unit = base / self.radius
        moved = x - x.detach()  # zero; its derivative is the identity
        return self.wrap(base + moved - (moved * unit).sum(-1, keepdim=True) * unit)

    def difference(self, x: Tensor, y: Tensor) -> Tensor:
        """y - x (..., n), the chord."""
        return y - x

    def embed(self, x: Tensor) -> Tensor:
        """The point itself."""
        return x

    def normals(self, x: Tensor) -> Tensor:
        """The radial direction at x, (n, 1)."""
        unit: Tensor = x / x.norm()
        return unit[:, None]

    def size(self, dim: int) -> Tensor:
        """The diameter."""
        return torch.full((dim,), 2 * self.radius, dtype=torch.float64, device="cpu")

    def characteristic(self, dim: int) -> int | None:
        """2 for the even-dimensional sphere, 0 for the odd one."""
        return 2 if dim % 2 else 0


def _row(bounds: Bounds) -> Tensor:
    return torch.as_tensor(bounds, dtype=torch.float64, device="cpu")
