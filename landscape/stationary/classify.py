"""The verdict on a point: minimum, saddle of which index, plateau, or not stationary at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from landscape.results import result

if TYPE_CHECKING:
    from landscape.linalg.lanczos import Eigenpairs


@result
@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """What is known of a point x and how surely. The table of kinds is in the module's docstring."""

    x: Tensor  # (n,)
    value: float  # f(x)
    gradient_norm: float
    gradient_noise: float  # the gradient norm that rounding alone can produce at x
    predicted_decrease: float  # Newton-type prediction of how much f still falls, -inf..inf; NaN when not computed
    kind: str  # minimum, maximum, saddle, degenerate, plateau, not-stationary, inconclusive
    index: int | None  # number of negative eigenvalues; None unless index_bounds agree
    index_bounds: tuple[int, int]  # hold with probability confidence
    nullity: int | None  # number of eigenvalues that are zero within their uncertainty; None where not known
    confidence: float  # 1.0: the whole spectrum was computed
    eigenvalues: Tensor  # ascending, float64: all n on the dense route, else the computed ends
    uncertainty: Tensor  # the half-width of each eigenvalue: solver bound plus rounding
    pairs: Eigenpairs  # the extreme eigenpairs, with vectors
    reasons: list[str]
    method: str  # "dense" or "lanczos"
    products: int  # Hessian-vector products spent
