"""SGD's own noise over a barrier: how much longer a flat minimum holds it than a sharp one, beside
Xie, Sato & Sugiyama (2021, ICLR).

f: two parabolas with one tangent, of curvature ``well`` at the minimum and ``top`` at the barrier's
top. The noise of a step has variance |f''| / B where the run is: no noise but this one depends on
the place.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from landscape import theory
from landscape.core import Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.formula import FunctionLandscape
from landscape.optimizers.escape import LeavesBall, escape
from landscape.optimizers.studies import Comparison, Series, mean_steps, origin_of
from landscape.results import Estimate
from landscape.results.statistics import slope
from landscape.rng import words

# The centre of the ball that runs leave lies so far to the left that they can leave it on the right
# alone.
FAR = 64.0


@owned()
def minimum_study(
    batches: Sequence[float] = (4, 6, 8, 10, 12),
    wells: Sequence[float] = (1.0, 2.0),
    barrier: float = 0.02,
    lr: float = 0.1,
    *,
    top: float = -1.0,
    runs: int = 500,
    steps: int = 10_000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """SGD leaves minima of one depth and different sharpness, driven by noise with the covariance
    of its Hessian.

    Beside each measured mean stand the exact mean of the chain, and half of the formula of Xie et
    al., whose time is that to the other side. Its exponent holds where it is large and lr well
    small: ln steps are then off by about lr well / 2 of it. Its prefactor is well / |top| times too
    large for steps whose noise is that of the place where they begin, as SGD's is.

    Args:
        batches: B.
        wells: curvatures at the minimum.
        barrier: between minimum and top.
        lr: of SGD.
        top: f'' at the top, negative.
        runs, steps: at each setting, and when they are given up: censored runs count in the mean as
            an exponential law says.
        seed: of the noise.

    Raises:
        ValueError: an option out of range.

    Cost: up to ``steps`` gradients and second derivatives of ``runs`` rows for each setting.
    """
    at = torch.full((1,), -FAR, dtype=torch.float64, device="cpu")
    start = at.new_full((runs, 1), FAR)
    line = f"sgd:lr={lr!r}"
    children = iter(np.random.SeedSequence(seed).spawn(len(batches) * len(wells)))
    series, fits, origin = list[Series](), dict[str, Estimate](), None
    for well in wells:
        f, end = _parabolas(barrier, well, top)
        path = -top / (well - top)
        measured, exact, formula = list[Estimate](), list[float | None](), list[float | None]()
        for B in batches:
            study = escape(
                f,
                at,
                [line],
                runs,
                steps,
                start,
                LeavesBall(FAR + end),
                f"hessian:{float(B)!r}",
                seed=words(next(children))[0],
                theory=False,
            )
            measured.append(mean_steps(study[line].rate))
            exact.append(theory.parabolas_passage(barrier, lr, B, well, top))
            formula.append(theory.sgd_escape_time(barrier, lr, B, well, top, path) / 2 / lr)
            origin = origin or study.provenance
            progress("batch", len(measured), len(batches))
        x = [float(B) for B in batches]
        empty = [""] * len(x)
        series += [
            Series(f"curvature {well:g}, exact mean time", x, measured, exact, empty),
            Series(f"curvature {well:g}, Xie et al.", x, [], formula, empty),
        ]
        known = [
            (B, math.log(m.value))
            for B, m in zip(x, measured, strict=True)
            if math.isfinite(m.value)
        ]
        if len(known) >= 3:
            exponent = 2 * barrier / lr * (path / well + (1 - path) / -top)
            name = f"curvature {well:g}: slope of ln steps over B ({exponent:.4g} by the formula)"
            fits[name] = slope(*(np.array(column) for column in zip(*known, strict=True)))
    origin = origin_of(
        origin,
        seed,
        batches=list(batches),
        wells=list(wells),
        barrier=barrier,
        lr=lr,
        top=top,
        runs=runs,
        steps=steps,
    )
    return Comparison(
        f"Out of minima of depth {barrier:g}, lr = {lr:g}",
        "batch size B",
        "mean steps to the top",
        series,
        fits,
        (False, True),
        provenance=origin,
    )


def _parabolas(barrier: float, well: float, top: float) -> tuple[FunctionLandscape, float]:
    """f of one variable, and where its top is."""
    joint, end = theory.parabolas(barrier, well, top)

    def f(x: Tensor) -> Tensor:
        y = x[..., 0]
        return torch.where(
            y < joint, 0.5 * well * y.square(), barrier + 0.5 * top * (y - end).square()
        )

    return FunctionLandscape(f, 1, name="two parabolas"), end
