"""From a point to a stationary point, for networks and formulas alike.

What the methods find: newton-mr and gradient-norm lower |g|^2 and so go to the stationary point
nearby, of any index, or to one where |g|^2 is stationary and g is not zero, gradient-flat (Frye et
al. 2021, Neural Computation 33:1469); saddle-free finds minima; eigenvector-following a point of
the index asked for. Whether the point reached is stationary is for ``classify`` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.linalg.reductions import norm
from landscape.points import steps
from landscape.points.checks import chained
from landscape.points.classify import StationaryPoint, believed, classify
from landscape.points.walk import Outcome, Walk
from landscape.progress import watched
from landscape.results import result
from landscape.specs import whole

METHODS = ("newton-mr", "gradient-norm", "saddle-free", "eigenvector-following")


@result("found-point")
@dataclass(frozen=True, eq=False)
class FoundPoint(StationaryPoint):
    """The point a search ended at, with its verdict and how it was reached. ``outcome`` says
    whether it is what was looked for.
    """

    search: str = ""  # the method
    outcome: Outcome = Outcome.STATIONARY
    distance: float = 0.0  # |x - start| by the shortest way in the domain
    start_value: float = 0.0
    start_gradient_norm: float = 0.0
    iterations: int = 0
    search_products: int = (
        0  # Hessian-vector products of the search; ``products`` are the verdict's
    )
    gradients: int = 0  # gradients of the search


@owned()
@watched
def find_stationary(
    f: Landscape,
    start: Tensor | Sequence[float] | None = None,
    method: str = "newton-mr",
    *,
    index: int | None = None,
    tol: float = 0.0,
    max_products: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> FoundPoint:
    """Search for a stationary point from a start.

    Args:
        f: a landscape of dimension n; a model is left exactly as it is.
        start: the point (n,), float32 or float64; None: a model's current one.
        method: "newton-mr" minimises |g|^2 by Newton steps of least length, "gradient-norm" by
            L-BFGS; "saddle-free" lowers f by steps -|H|^-1 g; "eigenvector-following" goes up along
            the lowest ``index`` modes and down along the others.
        index: wanted, for "eigenvector-following": 0 a minimum, n a maximum.
        tol: stop once |g| has fallen to ``tol`` times the start's; 0: go on to rounding.
        max_products: where the search stops; None: 100 n + 2,000 and at most 50,000. The verdict's
            come on top.
        seed: of the steps off stationary points of another index, and of the verdict.
        progress: called with the stage and the products done.

    Returns:
        The point with its verdict; ``outcome`` says how the search ended, in words too where it
        failed (``reasons``).

    Raises:
        ValueError: an argument is out of range or does not fit.
        NumericalError: f or its gradient is not finite at the start, or a product is not on the
            way.

    Cost: up to n = 300 the Hessian is formed, n products a step; above, what MINRES or a subspace
    of 40 takes, some tens to hundreds a step, and then some steps. Steps leave out trivial
    directions, and points are wrapped into f's domain.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> found = ls.find_stationary(f, [0.9, 0.3])
        >>> found.kind, [round(v, 6) for v in found.x.tolist()]
        ('minimum', [1.0, 0.0])
    """
    walk = search(
        f,
        start,
        method,
        index=index,
        tol=tol,
        max_products=max_products,
        seed=seed,
        progress=progress,
    )
    point = classify(f, seed=seed, look=walk.place, progress=progress)
    if not f.spread.sharded:
        point = believed(point, (chained(walk.place, seed),))
    outcome = settled(walk, point, index)
    known = {field.name: getattr(point, field.name) for field in fields(StationaryPoint)}
    known["reasons"] = point.reasons + _reasons(walk, outcome)
    return FoundPoint(
        **known,
        search=method,
        outcome=outcome,
        distance=distance(walk),
        start_value=walk.start.value,
        start_gradient_norm=walk.start.norm,
        iterations=walk.iterations,
        search_products=walk.products,
        gradients=walk.gradients,
    )


def search(
    f: Landscape,
    start: Tensor | Sequence[float] | None = None,
    method: str = "newton-mr",
    *,
    index: int | None = None,
    tol: float = 0.0,
    max_products: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Walk:
    """The search of ``find_stationary`` without its verdict: where it ended, and what it took."""
    x = _start(f, start)
    _check(f, method, index, tol, max_products, seed)
    budget = min(100 * f.dim + 2_000, 50_000) if max_products is None else max_products
    walk = Walk(f, x, tol, budget, progress)
    if walk.start.norm == 0 and method != "eigenvector-following":
        walk.stop = Outcome.STATIONARY
    elif method == "newton-mr":
        steps.newton(walk)
    elif method == "gradient-norm":
        steps.gradient_norm(walk)
    elif method == "saddle-free":
        steps.saddle_free(walk)
    else:
        steps.follow(walk, index or 0, seed)
    walk.settle_products()
    if walk.unending:
        walk.stop, walk.place = Outcome.UNENDING, walk.start
    return walk


def settled(walk: Walk, point: StationaryPoint, index: int | None = None) -> Outcome:
    """How the search ended, in the light of the verdict on where it ended."""
    assert walk.stop is not None
    if point.kind == "not-stationary":
        return Outcome.STALLED if walk.stop is Outcome.STATIONARY else walk.stop
    if walk.stop is Outcome.UNENDING:
        return walk.stop
    if index is not None and point.index is not None and point.index != index:
        return Outcome.OTHER_INDEX
    return Outcome.STATIONARY


def distance(walk: Walk) -> float:
    """From the start to where the search stands, by the shortest way."""
    return float(norm(walk.domain.difference(walk.start.x, walk.place.x)))


def _reasons(walk: Walk, outcome: Outcome) -> list[str]:
    reasons = (
        []
        if outcome is Outcome.STATIONARY
        else [f"the search ended otherwise than asked: {outcome.value}"]
    )
    if not bool(walk.domain.contains(walk.place.x)):
        reasons.append("the point lies outside the landscape's domain")
    return reasons


def _start(f: Landscape, start: Tensor | Sequence[float] | None) -> Tensor:
    x = f.locate(start)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("start has a NaN or inf.")
    return x


def _check(
    f: Landscape, method: str, index: int | None, tol: float, max_products: int | None, seed: int
) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if (index is not None) != (method == "eigenvector-following"):
        raise ValueError(
            "eigenvector-following needs index=, the number of negative eigenvalues wanted."
            if index is None
            else f"index is for eigenvector-following; {method} cannot aim at one."
        )
    whole(0, f.dim, index=0 if index is None else index)
    if not 0 <= tol < 1:
        raise ValueError(f"tol must be at least 0 and below 1, got {tol}.")
    whole(1, max_products=1 if max_products is None else max_products)
    whole(0, seed=seed)
