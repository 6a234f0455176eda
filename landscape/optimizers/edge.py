"""Full-batch training at the edge of stability: sharpness rises to its limit and hovers there.

Sharpness: the largest eigenvalue of the Hessian. Limit: 2 / lr for gradient descent, (2 + 2 mu) /
lr with momentum mu (Cohen, Kaur, Li, Kolter & Talwalkar 2021, ICLR); of any SGD,
``theory.sgd_limit``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, optim

from landscape import theory
from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned
from landscape.linalg.lanczos import eigsh
from landscape.operators.hessian import Hessian
from landscape.optimizers.ensembles import Ensemble
from landscape.results import Result, provenance, result
from landscape.specs.optimizers import maker

DENSE = 400  # parameters up to which the Hessian is formed


@result("edge-run")
@dataclass(frozen=True, eq=False)
class EdgeRun:
    """One optimiser's run.

    Tensors (m,) are float64, on the CPU, and finite: a run that diverges is kept up to there.
    """

    steps: Tensor  # (m,) int64
    losses: Tensor  # (m,)
    sharpness: Tensor  # (m,)
    limit: float  # the largest stable curvature
    # Median of sharpness / limit over the second half of the records; NaN of a diverged run, which
    # hovers nowhere.
    late: float
    spread: float  # half the distance of its 10 % and 90 % quantiles; NaN likewise
    reached: int | None  # the first recorded step with a sharpness above the limit
    # The first step at which a record was due and the run was not finite any more.
    diverged: int | None = None


@result("edge-study")
@dataclass(frozen=True, eq=False)
class EdgeStudy(Result):
    """Full-batch runs from one point, by optimiser."""

    runs: dict[str, EdgeRun]

    def __getitem__(self, label: str) -> EdgeRun:
        return self.runs[label]


@owned()
def edge_of_stability(
    f: Landscape,
    start: Tensor,
    optimizers: Sequence[str],
    steps: int = 6_000,
    every: int = 50,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> EdgeStudy:
    """Train on all the data by SGD; measure the sharpness beside the curvature that SGD can bear.

    Args:
        f: a small network's landscape, best in float64.
        start: (n,) where to begin; f's own point is not moved.
        optimizers: SGD with its options, ``"sgd:lr=0.2,momentum=0.9"``.
        steps: of each run.
        every: steps between two measurements.
        seed: of the Lanczos vectors above 400 parameters.

    Raises:
        ValueError: an optimiser other than SGD, numbers out of range, or a start of another shape.
        NumericalError: the loss or its Hessian is not finite at the start itself.

    Cost: a gradient a step; a measurement is n gradients up to 400 parameters, else some tens. A
    run that diverges ends there.
    """
    if steps < 1 or not 1 <= every <= steps:
        raise ValueError(f"need steps >= 1 and every from 1 to steps, got {steps} and {every}.")
    if start.shape != (f.dim,):
        raise ValueError(f"start must be one point of shape ({f.dim},), got {tuple(start.shape)}.")
    runs = {}
    for line in optimizers:
        make = maker(line)
        if make.kind is not optim.SGD or make.groups:
            raise ValueError(
                f"{line!r} is not plain SGD, which alone has a limit on the Hessian itself."
            )
        options = {
            k: v
            for k, v in make.options.items()
            if k in ("momentum", "dampening", "nesterov", "weight_decay")
        }
        limit = theory.sgd_limit(float(make.options.get("lr", 1e-3)), **options)
        ensemble = Ensemble(start[None], make, f.many().gradients, f.value, f=f)
        told = partial(progress, line)
        runs[line] = _run(*_records(f, ensemble, steps, every, seed, told), limit)
    origin = provenance(f, start, seed, optimizers=list(optimizers), steps=steps, every=every)
    return EdgeStudy(runs, provenance=origin)


def _records(
    f: Landscape,
    ensemble: Ensemble,
    steps: int,
    every: int,
    seed: int,
    told: Callable[[int, int], None],
) -> tuple[list[tuple[int, float, float]], int | None]:
    """Step, loss and sharpness at every ``every``-th step, and the step at which it diverged."""
    records: list[tuple[int, float, float]] = []
    for t in range(steps + 1):
        if t % every == 0:
            measured = _measured(f, ensemble.points[0], seed)
            told(t, steps)
            if measured is None and not records:
                raise NumericalError(
                    "the loss or its Hessian is not finite at the start: begin elsewhere."
                )
            if measured is None:
                return records, t
            records.append((t, *measured))
        ensemble.step()
    return records, None


def _measured(f: Landscape, x: Tensor, seed: int) -> tuple[float, float] | None:
    """Loss and sharpness at x; None where they are not finite."""
    loss = float(f.value(x)) if bool(torch.isfinite(x).all()) else math.nan
    if not math.isfinite(loss):
        return None
    try:
        H = Hessian(f, at=x.clone())
        if f.dim > DENSE:
            return loss, float(eigsh(H, largest=1, tol=1e-3, seed=seed).values[-1])
        dense = H.dense()
    except NumericalError:
        return None
    return (
        (loss, float(torch.linalg.eigvalsh(dense)[-1]))
        if bool(torch.isfinite(dense).all())
        else None
    )


def _run(records: list[tuple[int, float, float]], diverged: int | None, limit: float) -> EdgeRun:
    steps = torch.tensor([t for t, _, _ in records], dtype=torch.int64, device="cpu")
    losses, sharpness = (
        torch.tensor([row[k] for row in records], dtype=torch.float64, device="cpu") for k in (1, 2)
    )
    shares = (
        sharpness[len(records) // 2 :] / limit
        if diverged is None
        else sharpness.new_full((1,), math.nan)
    )
    low, high = (float(shares.quantile(q)) for q in (0.1, 0.9))
    above = torch.nonzero(sharpness > limit)
    reached = int(steps[above[0, 0]]) if len(above) else None
    return EdgeRun(
        steps, losses, sharpness, limit, float(shares.median()), (high - low) / 2, reached, diverged
    )
