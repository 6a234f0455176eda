"""Where a search for a stationary point stands, what it has spent, and when it is over.

x: (n,) a place, g: (n,) its gradient, A: (N, N) the Hessian on the complement of the m = n - N
trivial directions, p: (N,) a step there. Steps never leave the complement, and every place is
wrapped into the domain.
"""

import math
from enum import Enum

import torch
from torch import Tensor

from landscape.core import Landscape, Progress
from landscape.errors import NumericalError
from landscape.landscapes.domains import Space
from landscape.linalg.reductions import dots, norm
from landscape.operators.base import Complement
from landscape.operators.hessian import Hessian
from landscape.operators.limits import gradient_noise, loss_noise
from landscape.points.look import Look
from landscape.results import result

# A search is lost beyond so many |start|, or a hundredth of that many sizes of the domain.
FAR = 1e4
# The longest first step, in units of |x|, or of a quarter of the domain.
STRIDE = 0.5
# Steps within which the gradient must fall by the factor 1 - LEAST.
PATIENCE = 20
LEAST = 1e-3
# The squared gradient norm is stationary where |H g| is at most so many |H| |g|, with the largest
# |H| met.
FLAT = 1e-2
# How far on a way to infinity is looked along, in units of the way and of |x|.
BEYOND = 0.1
# A loss and a gradient of so many units of rounding of those at the start are none.
NOUGHT = 100.0
# How far down the slope a kink is looked for, in units of |x|.
KINKS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
# A share of the gradient that jumps there.
JUMP = 0.1


@result("search-outcome")
class Outcome(Enum):
    """How a search for a stationary point ended."""

    STATIONARY = "the point is stationary"
    OTHER_INDEX = (
        "the point is stationary, but not of the index asked for: start elsewhere, or try another "
        "seed"
    )
    TOLERANCE = (
        "the gradient norm fell to tol times the start's, as asked; the point is not stationary to "
        "rounding"
    )
    GRADIENT_FLAT = (
        "the squared gradient norm is stationary, the gradient is not zero (Frye et al. 2021): "
        "start elsewhere, or try "
        "saddle-free or eigenvector-following, which do not minimise it"
    )
    STALLED = (
        "the gradient norm falls no further: the loss has a kink here, rounding hides the way (try "
        "float64), or the search "
        "goes round in circles (start elsewhere, or try another method)"
    )
    BUDGET = "the product budget ran out: raise max_products, or search on from this point"
    DIVERGED = "the search left for infinity: no stationary point lies that way; start elsewhere"
    UNENDING = (
        "the loss falls on for as long as the parameters grow, as where a model tells all samples "
        "apart: its infimum lies at infinity, no stationary point is that way, and the start was "
        "kept. A regulariser gives it a minimum (l2=, or --l2 1e-4)"
    )
    KINK = (
        "the loss has a kink here: a short step down the slope the gradient jumps, as where a "
        "ReLU unit changes sides. A minimum may lie on such kinks, where no gradient is zero; a "
        "smooth activation (softplus, gelu) has none"
    )


class Walk:
    """A search under way: the place, counts, and the signs that it is over.

    Args:
        f: the landscape.
        start: the point (n,).
        tol: the search may end once |g| has fallen to so many times the start's.
        max_products: where it stops.
        progress: called with the stage and the products done.
        radius: the longest step; None: a share of the domain, or of |x| where there is none, which
            may grow.

    Raises:
        NumericalError: f or its gradient is not finite at the start.
    """

    def __init__(
        self,
        f: Landscape,
        start: Tensor,
        tol: float,
        max_products: int,
        progress: Progress,
        radius: float | None = None,
    ) -> None:
        self.f, self.domain, self.tol, self.budget, self.progress = (
            f,
            f.domain,
            tol,
            max_products,
            progress,
        )
        self.radius = radius
        self.products = self.gradients = self.iterations = 0
        self.largest = 0.0  # |H| met so far
        self.place = self.start = self.at(self.domain.wrap(start.detach()))
        for what, number in (("loss", self.start.value), ("gradient norm", self.start.norm)):
            if not math.isfinite(number):
                raise NumericalError(f"the {what} at the start is not finite ({number}).")
        size = float(norm(self.domain.size(f.dim)))
        self.reach = (
            FAR * max(float(norm(self.start.x)), 1.0)
            if self.domain == Space()
            else FAR / 100 * size
        )
        self.stop: Outcome | None = None
        self.falls = True  # whether the method lowers the gradient norm at every step
        self._norms = [self.start.norm]
        self._operator: Complement | None = None

    def at(self, x: Tensor) -> Look:
        """A place, which may have a gradient that is not finite."""
        self.gradients += 1
        return Look(self.f, x, "find_stationary")

    @property
    def stride(self) -> float:
        """The longest first step."""
        if self.radius is not None:
            return self.radius
        if self.domain != Space():
            return STRIDE * float(self.domain.size(self.f.dim).max()) / 4
        return STRIDE * max(float(norm(self.place.x)), 1.0)

    @property
    def longest(self) -> float:
        """The longest step."""
        return 100 * self.stride if self.radius is None else self.radius

    def operator(self) -> Complement:
        """The Hessian at the place, without trivial directions; the same one until the place
        changes.
        """
        if self._operator is None:
            x = self.place.x
            self._operator = Hessian(self.f, x).without(self.f.trivial_directions(x))
            if not self._operator.shape[0]:
                raise ValueError(
                    "every direction at this point is trivial: there is nothing to search."
                )
        return self._operator

    def gradient(self) -> Tensor:
        """The gradient (N,) in the operator's coordinates."""
        return self.operator().restrict(self.place.gradient[:, None])[:, 0]

    def lift(self, p: Tensor) -> Tensor:
        """A vector (N,) of the operator's coordinates as one (n,) of the landscape's."""
        return self.operator().lift(p[:, None])[:, 0]

    def trial(self, step: Tensor) -> Look:
        """Where the step (n,) leads."""
        return self.at(self.domain.wrap(self.place.x + step))

    def settle_products(self) -> None:
        """Count what the operator has spent since."""
        if self._operator is not None:
            self.products += self._operator.products
            self._operator.products = 0

    def go(self, place: Look) -> None:
        """Accept a place."""
        self.settle_products()
        self.place, self._operator = place, None

    def note(self, scale: float, step: float) -> None:
        """Before a step: end if the place is stationary to rounding, as asked, lost, stalled, or
        the budget is spent.

        Args:
            scale: |H| here. step: the length of the whole Newton-type step, whatever is taken of
                it.
        """
        self.settle_products()
        here, earlier = self.place, self._norms[-1]
        self._norms.append(here.norm)
        self.largest = max(self.largest, scale)
        self.progress("search", self.products, None)
        noise = gradient_noise(here.x, scale, self.f.rounding(here.x))
        # of f, what the step could change
        hidden = 0 < step * here.norm / 2 <= loss_noise(here.value, self.f.rounding(here.x))
        if here.norm <= noise or (hidden and self.iterations and here.norm > 0.5 * earlier):
            self.stop = Outcome.STATIONARY
        elif here.norm <= self.tol * self.start.norm:
            self.stop = Outcome.TOLERANCE
        elif float(norm(self.domain.difference(self.start.x, here.x))) > self.reach:
            self.stop = Outcome.DIVERGED
        elif self.falls and self._slow():
            self.end_stalled()
        elif self.products >= self.budget:
            self.stop = Outcome.BUDGET
        self.iterations += self.stop is None

    def _slow(self) -> bool:
        old, new = self._norms[:-PATIENCE], self._norms[-PATIENCE:]
        return bool(old) and min(new) > (1 - LEAST) * min(old)

    @property
    def unending(self) -> bool:
        """Whether the search has left the start by more than its size and f falls on beyond, its
        gradient to less than half, or f has vanished: then it has not found a point, but a way to
        infinity.
        """
        here, way = self.place, self.place.x - self.start.x
        if self.domain != Space():
            return False
        if self._vanished():
            return True
        noise = loss_noise(here.value, self.f.rounding(here.x))
        if not float(norm(way)) > float(norm(self.start.x)) > 0:
            return False
        beyond = [self.at(here.x + step) for step in (way, BEYOND * way, BEYOND * here.x)]
        return any(
            look.value <= here.value + noise
            and (2 * look.norm < here.norm or here.value == here.norm == look.norm == 0)
            for look in beyond
        )

    def _vanished(self) -> bool:
        """Whether f is nought but for rounding of what it was at the start, and its curvature with
        it: a tail, which a sum of squares at its minimum is not, nor a hinge loss, whose gradient
        is exactly 0.
        """
        here, eps = self.place, self.f.rounding(self.place.x)
        most = NOUGHT * eps
        tiny = 0 < here.norm <= most * self.start.norm
        if not (tiny and abs(here.value) <= most * abs(self.start.value)):
            return False
        r = torch.linspace(1.0, 2.0, len(here.x), dtype=here.x.dtype, device=here.x.device)
        size = float(norm(self.start.x)) or float(norm(here.x))
        bent = float(norm(here.rebuilt @ r)) / float(norm(r)) * size**2
        return bool(bent <= eps**0.5 * abs(self.start.value))

    @property
    def kinked(self) -> bool:
        """Whether the gradient jumps down the slope, by more than curvature makes of so short a
        step.
        """
        g, x = self.place.gradient.double(), self.place.x
        for step in KINKS:
            h = step * max(float(norm(x)), 1.0)
            there = self.at(x - (h / self.place.norm * g).to(x)).gradient.double()
            if float(norm(there - g)) > max(2 * h * self.largest, JUMP * self.place.norm):
                return True
        return False

    def end_stalled(self) -> None:
        """End where no step lowers the gradient norm: at a point where its square is stationary, or
        for an unknown reason.
        """
        steepness = float(norm(self.operator() @ self.gradient()))
        self.settle_products()
        flat = steepness <= FLAT * self.largest * self.place.norm
        self.stop = Outcome.GRADIENT_FLAT if flat else Outcome.STALLED
        if self.place.norm and self.kinked:
            self.stop = Outcome.KINK


def backtrack(walk: Walk, step: Tensor, slope: float) -> Look | None:
    """The first place along a step (n,) at which |g|^2 falls by Armijo's rule, by quadratic
    interpolation; None: nowhere.

    slope: of |g|^2 along the step, negative.
    """
    height, t = walk.place.norm**2, 1.0
    least = torch.finfo(walk.place.x.dtype).eps * height
    while -slope * t > least:
        place = walk.trial(t * step)
        change = place.norm**2 - height
        if change <= 1e-4 * t * slope:
            return place
        best = -slope * t / (2 * (change - slope * t)) if change < float("inf") else 0.1
        t *= min(max(best, 0.1), 0.5)
    return None


def dot(a: Tensor, b: Tensor) -> float:
    """a'b of two vectors (n,), in float64."""
    return float(dots(a[None], b)[0])
