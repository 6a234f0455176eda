"""What a traced run leaves behind.

m: records, one every k optimiser steps and one at either end. L: parameter tensors of f in the
order of its layout. A: activations met in one evaluation of f, in call order. n: dimension of f.
All tensors are float64 on the CPU; NaN is "not measured".
"""

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LoadingError
from landscape.points.classify import StationaryPoint
from landscape.results import Result, load, result
from landscape.training.loop import Loop
from landscape.training.reading import Reading

# What separates the phases of a run. "Slow" is measured against the run's own fall of the loss a
# step, "sharp" against the optimiser's edge.
SLOW = 0.1  # of the run's mean fall a step
EDGE = 0.95  # of the optimiser's edge
SETTLED = 1e-3  # of the run's fall
STILL = 1e-4  # of the loss: a run that fell by less in all did not descend
READABLE = 12  # phases: where noise makes more, means over several records are read


@result("trace-phase")
@dataclass(frozen=True)
class Phase:
    """A stretch of a run: ``name`` holds from step ``start`` to step ``stop``, because of
    ``evidence``.
    """

    # Descent, plateau, saddle approach, saddle escape, edge of stability, divergence, converged.
    name: str
    start: int
    stop: int
    evidence: str


@result("trace")
@dataclass(frozen=True, eq=False)
class Trace(Result):
    """A run as a landscape f saw it.

    ``steps[i]`` optimiser steps had been taken when record i was made.
    """

    steps: Tensor  # (m,) int64
    # (m,) bool: whether f was evaluated; where not, what is said of f, its gradient, Hessian and
    # units is NaN.
    evaluated: Tensor
    loss: Tensor  # (m,) f at the point
    gradient_norm: Tensor  # (m,) of the gradient of f
    update_norm: Tensor  # (m,) of the one step before the record; NaN in the first
    batch_gradient_norm: Tensor  # (m,) of the gradient that the optimiser was given in that step
    weight_norm: Tensor  # (m,)
    travelled: Tensor  # (m,) length of the path through the recorded points
    from_start: Tensor  # (m,) distance from the first recorded point
    learning_rate: Tensor  # (m,) the largest of the parameter groups'
    momentum_norm: Tensor  # (m,) of the first moment
    second_moment_norm: Tensor  # (m,) of the second moment, in Adam and its like
    noise_trace: Tensor  # (m,) trace of the covariance of the gradient over f's own batches
    largest: Tensor  # (m,) Ritz value at the top of the Hessian's spectrum
    smallest: Tensor  # (m,) at the bottom
    largest_bound: Tensor  # (m,) an eigenvalue lies within this of ``largest``
    smallest_bound: Tensor  # (m,) and within this of ``smallest``
    rayleigh: Tensor  # (m,) g'Hg / g'g
    # (m,) at least this share of |g|^2 is in negative-curvature directions found.
    negative_share: Tensor
    # (m,) ``largest``; for Adam and its like the top of the preconditioned Hessian.
    sharpness: Tensor
    edge: Tensor  # (m,) the sharpness above which the optimiser is unstable on a quadratic
    layer_gradient: Tensor  # (m, L) norms
    layer_update: Tensor  # (m, L) norms of the one step before the record
    layer_weight: Tensor  # (m, L) norms
    # (m, A) share of outputs, over units and samples, that are saturated; NaN for ReLUs.
    saturated: Tensor
    dead: Tensor  # (m, A) share of ReLU units that are zero on every sample; NaN for others
    layers: list[str]  # (L,)
    activations: list[str]  # (A,) "1 relu", "2 sigmoid", ...
    every: int  # steps from one record to the next; 0: as a share of the run's time allowed
    products: int  # Hessian-vector products spent
    diverged: bool  # the loss became non-finite
    optimizer: str  # class name
    momentum: float  # the optimiser's momentum, or Adam's beta1
    x: Tensor  # (n,) the end point, on the CPU in the landscape's dtype
    # The last thorough look at x; None where it failed or was not asked for.
    last: StationaryPoint | None
    # What was seen of the loop, and what outputs, loss and data say at its end; None in traces of
    # an earlier version, and the reading where f is no model's.
    loop: Loop | None = None
    reading: Reading | None = None
    # (m,) bool: whether both ends were searched from random starts too, so that ``largest`` and
    # ``smallest`` are the ends with eigsh's certainty; None in traces of an earlier version
    searched: Tensor | None = None

    @property
    def noise_scale(self) -> Tensor:
        """(m,) tr Sigma / |g|^2 over f's own batches: batches much fewer than this many times f's
        own size see mostly noise.
        """
        return self.noise_trace / self.gradient_norm.square()

    @property
    def update_to_weight(self) -> Tensor:
        """(m, L) norm of the one step before the record over the norm of the weights."""
        return self.layer_update / self.layer_weight

    @property
    def effective_rate(self) -> Tensor:
        """(m,) length of the one step before the record over that of the gradient it was given."""
        return self.update_norm / self.batch_gradient_norm

    @property
    def phases(self) -> list[Phase]:
        """The run's phases in order: descent, plateau, saddle approach, saddle escape, edge of
        stability, divergence, converged.
        """
        return _phases(self)

    def of_f(self) -> "Trace":
        """The trace of those records only at which f was evaluated."""
        return self if bool(self.evaluated.all()) else self.at(self.evaluated)

    def at(self, records: Tensor) -> "Trace":
        """The trace of those records only: their numbers (k,), or a mask (m,)."""
        rows: dict[str, Any] = {
            k: v[records] for k, v in vars(self).items() if isinstance(v, Tensor) and k != "x"
        }
        return replace(self, **rows)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Trace":
        """The trace stored in ``folder``.

        Raises:
            LoadingError: no trace is stored there.
        """
        trace = load(folder)
        if not isinstance(trace, cls):
            raise LoadingError(f"{folder} holds a {type(trace).__name__}, not a Trace.")
        return trace


def plateau_length(trace: Trace, share: float = 0.5, floor: float = 0.0) -> int | None:
    """Steps until the first record whose loss is at most floor + share (loss at the start - floor);
    None if it never is.

    At most one recording interval later than the true step, never earlier.

    Raises:
        ValueError: share is not between 0 and 1, or the loss does not start above floor.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}.")
    start = float(trace.loss[0])
    if not start > floor:
        raise ValueError(
            f"the loss starts at {start:.6g}, not above floor={floor:.6g}: give the loss that it "
            f"falls to."
        )
    below = torch.nonzero(trace.loss <= floor + share * (start - floor))
    return int(trace.steps[below[0, 0]] - trace.steps[0]) if len(below) else None


def _phases(trace: Trace) -> list[Phase]:
    """The phases in order, each beginning where the one before ends; none for a trace of fewer than
    two records. Noise from record to record is no phase: where there are more than READABLE, means
    over two records are read, four, and so on.
    """
    trace, width = trace.of_f(), 1
    found = _stretches(trace)
    while len(found) > READABLE:
        width *= 2
        found = _stretches(_averaged(trace, width))
    return found


def _averaged(trace: Trace, width: int) -> Trace:
    """The first record, then one for every ``width`` of the others: at the last one's step, with
    the means of their losses and gradient norms.
    """
    final = len(trace.steps) - 1
    last = torch.arange(width, final + width, width, device="cpu").clamp(max=final)
    sizes = last.diff(prepend=last.new_zeros(1)).tolist()

    def mean(column: Tensor) -> Tensor:
        blocks = torch.split(column[1:], sizes)
        return torch.stack([column[0], *(block.mean() for block in blocks)])

    kept = trace.at(torch.cat([last.new_zeros(1), last]))
    return replace(kept, loss=mean(trace.loss), gradient_norm=mean(trace.gradient_norm))


def _stretches(trace: Trace) -> list[Phase]:
    """The intervals between records, those of one name in a row made one."""
    found: list[Phase] = []
    for i in range(1, len(trace.steps)):
        name, evidence = _interval(trace, i)
        start, stop = int(trace.steps[i - 1]), int(trace.steps[i])
        if found and found[-1].name == name:
            found[-1] = Phase(name, found[-1].start, stop, found[-1].evidence)
        else:
            found.append(Phase(name, start, stop, evidence))
    return found


def _interval(trace: Trace, i: int) -> tuple[str, str]:
    """The phase between records i - 1 and i, and its evidence."""
    loss, first = float(trace.loss[i]), float(trace.loss[0])
    lowest = _lowest(trace)
    if not math.isfinite(loss) or loss > first + 10 * max(first - lowest, abs(first)):
        return "divergence", f"the loss is {loss:.3g}, at the start {first:.3g}"
    sharp, edge = float(trace.sharpness[i]), float(trace.edge[i])
    if sharp > EDGE * edge:
        return "edge of stability", f"sharpness {sharp:.3g} against the edge {edge:.3g}"
    span = int(trace.steps[i] - trace.steps[i - 1])
    fall = float(trace.loss[i - 1]) - loss
    mean = (first - lowest) / max(1, int(trace.steps[-1] - trace.steps[0]))
    speed = f"the loss falls by {fall / span:.3g} a step, {mean:.3g} over the run"
    negative = _negative(trace, i)
    gradients = float(trace.gradient_norm[i - 1]), float(trace.gradient_norm[i])
    moved = first - lowest > STILL * max(abs(first), abs(lowest))
    if moved and fall > max(SLOW * mean * span, 0.0):
        if negative and _negative(trace, i - 1) and gradients[1] > 1.2 * gradients[0]:
            return "saddle escape", f"{negative}, the gradient grows"
        return "descent", speed
    if negative:
        return _near_saddle(*gradients, negative, speed)
    if _settled(trace, i, lowest):
        return "converged", f"{speed}; along the gradient {_gain(trace, i):.3g} is left to gain"
    return "plateau", speed


def _lowest(trace: Trace) -> float:
    """The lowest finite loss; NaN where there is none."""
    finite = trace.loss[trace.loss.isfinite()]
    return float(finite.min()) if len(finite) else math.nan


def _negative(trace: Trace, i: int) -> str:
    """The lowest curvature in words where it is certainly negative, else empty."""
    smallest, bound = float(trace.smallest[i]), float(trace.smallest_bound[i])
    return f"lowest curvature {smallest:.3g} ± {bound:.1g}" if smallest < -bound else ""


def _near_saddle(before: float, now: float, curvature: str, speed: str) -> tuple[str, str]:
    if now > 1.02 * before:
        return "saddle escape", f"{curvature}, the gradient grows"
    if now < 0.98 * before:
        return "saddle approach", f"{curvature}, the gradient shrinks"
    return "plateau", f"{speed}; {curvature}"


def _gain(trace: Trace, i: int) -> float:
    """What descent along the gradient could still gain, by its own curvature."""
    gradient, rayleigh = float(trace.gradient_norm[i]), float(trace.rayleigh[i])
    return gradient**2 / (2 * rayleigh) if rayleigh > 0 else math.inf


def _settled(trace: Trace, i: int, lowest: float) -> bool:
    """Whether the run is at its lowest loss, and little is left to gain."""
    loss, fall = float(trace.loss[i]), float(trace.loss[0]) - lowest
    left = _gain(trace, i) <= SETTLED * max(fall, abs(loss))
    return loss - lowest <= SETTLED * fall and left
