"""What a surface holds, and what a check of it found."""

from dataclasses import dataclass, field

from torch import Tensor

from landscape.results import Estimate, Result, result
from landscape.surfaces.walks import Walk


@result("picture-check")
@dataclass(frozen=True)
class PictureCheck(Result):
    """How far a surface can be trusted about its centre, and what it cannot show."""

    # (k,), second derivatives of f along the directions at the centre, from values
    measured: Tensor
    predicted: Tensor  # (k,), u'Hu and v'Hv
    # (k,), how far two polynomials through the values disagree, two standard errors of the values'
    # scatter, and what smaller spans would move; infinite where no span resolves f
    error: Tensor
    mass: float  # share of the |eigenvalues| looked at that lies in the plane
    negative: float  # sum of the |negative eigenvalues| looked at
    negative_inside: float  # how much of it lies in the plane
    eigenvalues: Tensor  # (e,), those looked at, of both ends
    # the plane's share of the Hessian's trace: above 1 or below 0 where curvatures cancel
    trace_share: Estimate
    # its share of the squared Frobenius norm, the sum of the squared eigenvalues
    frobenius_share: Estimate

    @property
    def agrees(self) -> bool:
        """Whether the curvatures of the picture and of the Hessian are equal within twice their
        error, or to 1e-4 of the largest; where the error is infinite nothing speaks against it.
        """
        near = (2 * self.error).clamp_min(1e-4 * float(self.predicted.abs().max()))
        apart = (self.measured - self.predicted).abs()
        return bool(((apart <= near) | self.error.isinf()).all())


@result("surface")
@dataclass(frozen=True)
class Surface(Result):
    """A landscape on the line x + a u or the plane x + a u + b v. Cells that are not finite are
    kept as they came.
    """

    x: Tensor  # (n,), the centre
    directions: tuple[Tensor, ...]  # u, and of a plane v, each (n,), as used
    steps: Tensor  # (r,): of a plane both ways alike
    values: Tensor  # (r,) or (r, r): f at the cells
    chosen: str  # how the directions were chosen: random, eigen, pca, moments or given
    normalize: str | None  # how they were normalised: filter, layer, unit or not at all
    reused: int  # cells taken from an earlier surface
    trajectory: Tensor | None  # (t, k), the first trajectory's coordinates on the plane
    # (t,), the share of each of its points' distance from x that is outside the plane
    outside: Tensor | None
    # other metrics by name, each shaped like values
    metrics: dict[str, Tensor] = field(default_factory=dict)
    walks: dict[str, Walk] = field(default_factory=dict)  # trajectories on the plane
    batch_statistics: bool = (
        False  # whether BatchNorm's statistics were measured anew in every cell
    )
    done: Tensor | None = (
        None  # shaped like values, bool: the cells computed so far; None: all of them
    )
    check: PictureCheck | None = None  # whether the picture is right, where that was asked

    @property
    def complete(self) -> bool:
        """Whether every cell has been computed."""
        return self.done is None or bool(self.done.all())
