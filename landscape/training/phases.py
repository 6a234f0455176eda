"""The phases of a run, read off its trace.

Every interval between two records gets one name from what the loss, the gradient and the ends of the spectrum did in it; neighbours of one
name are joined. "Slow" is measured against the run's own fall of the loss per step, "sharp" against the optimiser's edge.
"""

import math

from landscape.training.trace import Phase, Trace

SLOW = 0.1  # of the run's mean fall a step
EDGE = 0.95  # of the optimiser's edge
SETTLED = 1e-3  # of the run's fall
STILL = 1e-4  # of the loss: a run that fell by less in all did not descend


def phases(trace: Trace) -> list[Phase]:
    """The phases in order, each beginning where the one before ends; none for a trace of fewer than two records."""
    trace = trace.of_f()
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
    loss, first = float(trace.loss[i]), float(trace.loss[0])
    finite = trace.loss[trace.loss.isfinite()]
    lowest = float(finite.min()) if len(finite) else math.nan
    if not math.isfinite(loss) or loss > first + 10 * max(first - lowest, abs(first)):
        return "divergence", f"the loss is {loss:.3g}, at the start {first:.3g}"
    sharp, edge = float(trace.sharpness[i]), float(trace.edge[i])
    if sharp > EDGE * edge:
        return "edge of stability", f"sharpness {sharp:.3g} against the edge {edge:.3g}"
    span = int(trace.steps[i] - trace.steps[i - 1])
    fall = float(trace.loss[i - 1]) - loss
    mean = (first - lowest) / max(1, int(trace.steps[-1] - trace.steps[0]))
    smallest, bound = float(trace.smallest[i]), float(trace.smallest_bound[i])
    negative = smallest < -bound
    moved = first - lowest > STILL * max(abs(first), abs(lowest))
    if moved and fall > SLOW * mean * span and fall > 0:
        before = float(trace.smallest[i - 1]) < -float(trace.smallest_bound[i - 1])
        growing = float(trace.gradient_norm[i]) > 1.2 * float(trace.gradient_norm[i - 1])
        if negative and before and growing:
            return "saddle escape", f"lowest curvature {smallest:.3g} ± {bound:.1g}, the gradient grows"
        return "descent", f"the loss falls by {fall / span:.3g} a step, {mean:.3g} over the run"
    slow = f"the loss falls by {fall / span:.3g} a step, {mean:.3g} over the run"
    if negative:
        if float(trace.gradient_norm[i]) > 1.02 * float(trace.gradient_norm[i - 1]):
            return "saddle escape", f"lowest curvature {smallest:.3g} ± {bound:.1g}, the gradient grows"
        if float(trace.gradient_norm[i]) < 0.98 * float(trace.gradient_norm[i - 1]):
            return "saddle approach", f"lowest curvature {smallest:.3g} ± {bound:.1g}, the gradient shrinks"
        return "plateau", f"{slow}; lowest curvature {smallest:.3g} ± {bound:.1g}"
    # what descent along the gradient could still gain, by its own curvature
    gradient, rayleigh = float(trace.gradient_norm[i]), float(trace.rayleigh[i])
    gain = gradient**2 / (2 * rayleigh) if rayleigh > 0 else math.inf
    if loss - lowest <= SETTLED * (first - lowest) and gain <= SETTLED * max(first - lowest, abs(loss)):
        return "converged", f"{slow}; along the gradient {gain:.3g} is left to gain"
    return "plateau", slow
