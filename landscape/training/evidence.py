"""What is read of the end of a traced run before a cause is named; ``diagnose`` says how it is compared.

N: the steps of the run. r: the length of a step over the length of the gradient that it was given.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.training.trace import Trace

LATE = 0.25  # the share of a run that is judged
FALLING = 0.1  # of the loss, from one half of the late part to the other


@dataclass(frozen=True)
class Facts:
    """Quantities of the end of a run."""

    steps: int  # N
    rate: float  # r now
    best_rate: float  # the largest r of the run
    gradient: float
    loss: float
    unit: float  # of the loss: the larger of its size and of its fall over the run
    fallen: float  # share of the first loss that is gone
    falling: bool  # in the late part the loss fell by a good part of itself, and by more than nothing of the run's fall
    promised: float  # N r |g|^2 over the late part
    efficiency: float
    noise: float  # |gradient given|^2 / |g|^2, late mean
    floor: (
        float  # r tr(Sigma) / 4 over unit, the loss that the noise of the gradients given keeps up in a quadratic bowl
    )
    swing: float  # r |g|^2 / 2 over unit, the most that directions in which steps overshoot, r lambda > 1, keep up of the loss
    room: float  # the optimiser's edge over the sharpness that it feels; NaN where not measured
    gain: float  # of a Newton step, over unit; NaN without a last look
    lowest: float  # the smallest eigenvalue and its uncertainty
    doubt: float
    scale: float  # |H|
    along: float  # |g'Hg| / g'g
    drift: float  # |change of ln |lowest Ritz value|| over the late part
    reach: (
        float  # the same over a Newton step along it: a saddle whose curvature is another before it is reached is none
    )
    risen: float  # how far the loss is above its start, over unit
    peak: float  # how far it has been


def gather(trace: Trace) -> Facts:
    """The facts of a trace of at least two records."""
    m = len(trace.steps)
    late = slice(max(0, min(m - 4, int(m * (1 - LATE)))), m)
    steps = int(trace.steps[-1] - trace.steps[0])
    rates = trace.update_norm / trace.batch_gradient_norm
    known = rates.isfinite() & (trace.update_norm > 0)
    rates = torch.where(known, rates, float(rates[known][-1]) if bool(known[-3:].any()) else trace.learning_rate)
    g2 = trace.gradient_norm.square()
    loss, first = float(trace.loss[-1]), float(trace.loss[0])
    span = int(trace.steps[-1] - trace.steps[late.start])
    promised = span * float((rates * g2)[late].mean())
    fall = _level(trace.loss[late], 0) - _level(trace.loss[late], 1)
    unit = max(first - float(trace.loss.min()), abs(loss), 1e-300)
    given = trace.batch_gradient_norm.square()[late]
    noise = float(given[given.isfinite()].mean() / g2[late].mean()) if bool(g2[late].mean() > 0) else math.nan
    ratio = float(trace.smallest[-1] / trace.smallest[late.start])
    last = trace.last
    values = None if last is None else last.eigenvalues
    lowest = float(trace.smallest[-1]) if last is None else float(last.eigenvalues[0])
    doubt = float(trace.smallest_bound[-1]) if last is None else float(last.uncertainty[0])
    top = float(trace.largest[-1]) if values is None else float(values[-1])
    scale = max(abs(lowest), abs(top))
    drift = abs(math.log(ratio)) if ratio > 0 else 0.0
    path = float(trace.travelled[-1] - trace.travelled[late.start])
    newton = float(trace.gradient_norm[-1]) / abs(lowest) if lowest != 0 else 0.0
    least = float(g2[-1]) / (2 * scale) if scale > 0 else (math.inf if float(g2[-1]) > 0 else 0.0)
    rounding = 10 * torch.finfo(trace.x.dtype).eps * abs(loss)
    return Facts(
        steps=steps,
        rate=float(rates[-1]),
        best_rate=float(rates.max()),
        gradient=float(trace.gradient_norm[-1]),
        loss=loss,
        unit=unit,
        fallen=(first - loss) / abs(first) if first > loss and first != 0 else 0.0,
        falling=fall > FALLING * abs(loss) and fall > 1e-3 * unit,
        promised=promised,
        efficiency=fall / promised if promised > max(rounding, 0.0) else math.nan,
        noise=noise,
        floor=max(noise - 1, 0.0) * promised / max(span, 1) / 4 / unit,
        swing=promised / max(span, 1) / 2 / unit,
        room=float(trace.edge[-1] / trace.sharpness[-1]) if float(trace.sharpness[-1]) > 0 else math.nan,
        gain=math.nan if last is None else max(last.predicted_decrease, least) / unit,
        lowest=lowest,
        doubt=doubt,
        scale=scale,
        along=abs(float(trace.rayleigh[-1])),
        drift=drift,
        reach=drift * newton / path if path > 0 else 0.0,
        risen=(loss - first) / unit,
        peak=(float(trace.loss.max()) - first) / unit,
    )


def _level(losses: Tensor, half: int) -> float:
    """The mean of the first or second half of some losses; the ends, where there are few."""
    if len(losses) < 6:
        return float(losses[-1 if half else 0])
    middle = (len(losses) + 1) // 2
    return float((losses[middle:] if half else losses[:middle]).mean())
