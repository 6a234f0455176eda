"""From a point that training has left to the stationary point nearby, by what gets there.

The method asked for goes first, for a tenth of what it may take. Where it does not get there, f
itself is lowered from the same start by L-BFGS (Nocedal 1980, Math. Comp. 35:773), which no saddle
of |g|^2 holds up, and the saddle-free Newton method does the rest, of more than DENSE_STEP
parameters Newton-MR; where that fails too, the first search goes on. Of all ends the one with the
smallest gradient is taken, but for a way to infinity: there the start is kept.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from landscape.core import Landscape, Progress
from landscape.landscapes.domains import Space
from landscape.operators.limits import DENSE_STEP
from landscape.points.find import search
from landscape.points.look import Look
from landscape.points.walk import Outcome, Walk

# Gradients that the descent may spend, fewer where steps with the whole Hessian follow, and pairs
# that it remembers.
EVALUATIONS = 10_000
FEWER = 1_000
MEMORY = 20
# What stands for a value that is not finite.
HIGH = 1e300

Array = NDArray[np.float64]


def polish(
    f: Landscape, at: Tensor | Sequence[float] | None, method: str, *, seed: int, progress: Progress
) -> tuple[Walk, str]:
    """The search for a stationary point from ``at``, and by what it was made.

    Args:
        f: the landscape.
        at: the start (n,); None: a model's current parameters.
        method: of ``find_stationary``, one that needs no index.

    Cost: that of ``find_stationary``; where it fails up to EVALUATIONS values and gradients, and
    that of Newton-MR from where they lead.
    """
    few = min(10 * f.dim + 200, 5_000)
    walk = search(f, at, method, max_products=few, seed=seed, progress=progress)
    if walk.stop is Outcome.STATIONARY:
        return walk, method
    ends = [(walk, method)]
    if f.domain == Space():
        dense = f.dim <= DENSE_STEP
        last = "saddle-free" if dense else "newton-mr"
        x, steps, gradients = _descent(f, walk.start.x, FEWER if dense else EVALUATIONS, progress)
        if not torch.equal(x, walk.start.x):
            other = search(f, x, last, seed=seed, progress=progress)
            other.iterations, other.gradients = (
                other.iterations + steps,
                other.gradients + gradients,
            )
            ends.append((_after(walk, other), f"{method}, L-BFGS and {last}"))
    if walk.stop is Outcome.BUDGET and ends[-1][0].stop is not Outcome.STATIONARY:
        more = search(f, walk.place.x, method, seed=seed, progress=progress)
        ends.append((_after(walk, more), method))
    best, way = min(ends, key=lambda end: end[0].place.norm)
    if best.stop is Outcome.UNENDING or best.unending:
        best.stop, best.place = Outcome.UNENDING, best.start
    return best, way


def _after(first: Walk, later: Walk) -> Walk:
    """The later of two searches as the end of both."""
    later.start = first.start
    later.iterations += first.iterations
    later.products += first.products
    later.gradients += first.gradients
    return later


def _descent(
    f: Landscape, start: Tensor, evaluations: int, progress: Progress
) -> tuple[Tensor, int, int]:
    """The place of the smallest gradient to which L-BFGS leads from the start (n,) until rounding
    ends it, or so many gradients are spent; its steps and gradients.
    """
    spent, best = 0, Look(f, start, "analyze")

    def looked(v: Array) -> tuple[float, Array]:
        nonlocal spent, best
        spent += 1
        progress("descent", spent, None)
        look = Look(f, torch.from_numpy(v).to(start), "analyze")
        if not (np.isfinite(look.value) and np.isfinite(look.norm)):
            return HIGH, np.zeros_like(v)
        best = look if look.norm < best.norm else best
        return look.value, look.gradient.double().cpu().numpy()

    counts = {"maxiter": evaluations, "maxfun": evaluations, "maxcor": MEMORY}
    options = counts | {"ftol": 0.0, "gtol": 0.0}
    at = start.double().cpu().numpy()
    found = minimize(looked, at, jac=True, method="L-BFGS-B", options=options)
    return best.x, int(found.nit), spent
