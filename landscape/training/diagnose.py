"""Why a run is stuck, from its trace alone.

What is compared has no unit, so that f -> a f with lr -> lr / a changes nothing: with N the steps of the run and r the length of a step
over the length of its gradient,
- the efficiency: the fall of the loss over N r |g|^2, what its gradients promised. Descent that works has 1/2 to 1; a step too
  long, or one that is mostly noise, has none. The gradient that the optimiser was given against f's own tells these two apart.
- N r |lambda|: how often a direction of that curvature is traversed in the run. Far below 1 nothing happens along it: it is flat
  to the run.
- what a Newton step is predicted to gain, against the loss and its fall so far: small is near a stationary point.
- how much the curvature changes over a Newton step: a saddle's stays what it is until the saddle is reached, a plateau's does not.
- the loss that the noise of the gradients keeps up, r tr(Sigma) / 4 in a quadratic bowl, against what a Newton step would gain: where
  much more is left, noise does not hold the run.
- r |g|^2 / 2, the most that directions with r lambda > 1 keep up, against the loss: at the edge of stability it may be next to nothing.
- the optimiser's edge of stability over the sharpness it feels: the factor by which the rate could grow.
- the shares of saturated and of dead units, and the factor by which gradients shrink from layer to layer.
Confidences are judgements of how clear the evidence is, not probabilities.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.results import Result, result
from landscape.training.evidence import Facts, gather
from landscape.training.follow import Followed
from landscape.training.probes import Probe, Probes, probe
from landscape.training.trace import Phase, Trace

NAMES = ("saddle", "flat", "saturated", "dead", "vanishing", "learning rate", "noise", "minimum")
NEAR = 1e-3  # of loss and fall: a predicted gain below is near a stationary point
REPORTED = 0.05  # less sure causes are left out


@result("diagnosis-cause")
@dataclass(frozen=True)
class Cause:
    """One reason why a run is stuck."""

    name: str  # one of NAMES
    confidence: float  # 0 to 1, how clear the evidence is
    evidence: list[str]
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} ({self.confidence:.2f}): {'; '.join(self.evidence)}. {self.remedy}"


@result("diagnosis")
@dataclass(frozen=True)
class Diagnosis(Result):
    """The causes in order, the surest first."""

    causes: list[Cause]
    phases: list[Phase]
    stuck: bool  # whether the last part of the run made little progress
    trials: Probes | None = None  # of remedies, side by side with the unchanged run; None where none were run

    @property
    def probes(self) -> list[Probe]:
        """The trials of remedies, the best first; empty where none were run."""
        return [] if self.trials is None else self.trials.probes


def diagnose(
    trace: Trace,
    probes: Probes | None = None,
    *,
    f: Landscape | None = None,
    optimizer: Optimizer | None = None,
    steps: int = 50,
    seeds: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> Diagnosis:
    """Name the causes of a stuck run and, with f and its optimiser, try remedies on copies.

    Args:
        trace: of ``Tracer``; a loaded one will do. Without its last look (a diverged run) only the records are judged.
        probes: trials by ``probe`` from the trace's end, to be kept with the causes.
        f, optimizer: of the traced run, where the trace ended: ``probe`` is run from there, with the fall of the loss over the run as its
            scale. A diverged run is not probed: nothing finite is left to start from.
        steps, seeds, seed: of the probes.

    Raises:
        TypeError: trace is no Trace.
        ValueError: the trace has a single record: no step was taken; of f and optimizer only one is given, or probes too; f is
            no longer where the trace ended.

    Cost: none without f; with it that of ``probe``.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"diagnose reads a Trace, tracer.result or ls.load(folder), got {type(trace).__name__}.")
    trace = trace.of_f()
    if len(trace.steps) < 2:
        raise ValueError("the trace has one record only: no step was traced, so that nothing can be said of a run.")
    if (f is None) != (optimizer is None) or (f is not None and probes is not None):
        raise ValueError("pass f and optimizer together to run probes, or the probes of an earlier run, not both.")

    if trace.diverged:
        return Diagnosis([_diverged(trace)], trace.phases, True, probes)
    facts = gather(trace)
    if f is not None and optimizer is not None:
        here = Followed(optimizer, f).point()
        if here.shape != trace.x.shape or not torch.equal(here, trace.x.to(here)):
            raise ValueError(
                f"{f.name} is not where the trace ended: probes start there. Pass probes=ls.training.probe(...)."
            )
        probes = probe(f, optimizer, steps=steps, seeds=seeds, seed=seed, scale=facts.unit, progress=progress)
    stuck = not (facts.falling or (facts.efficiency > 0.3 and facts.promised > 0.1 * facts.unit))
    judged = [judge(trace, facts) for judge in _JUDGES]
    causes = sorted((c for c in judged if c.confidence >= REPORTED), key=lambda c: -c.confidence)
    if not causes:
        evidence = [f"no cause stands out: gradient {facts.gradient:.3g}, curvature along it {facts.along:.3g}"]
        causes = [Cause("flat", REPORTED, evidence, "Trace for longer, or over more of the data.")]
    if not stuck:
        causes = [Cause(c.name, c.confidence / 2, c.evidence, c.remedy) for c in causes]
    return Diagnosis(causes, trace.phases, stuck, probes)


# ---- judges: one a cause -----------------------------------------------------------------------------------------------


def _diverged(trace: Trace) -> Cause:
    bad = int(trace.steps[~trace.loss.isfinite()][0])
    evidence = [f"the loss is not finite at step {bad}, the learning rate {float(trace.learning_rate[-1]):.3g}"]
    sharp, edge = float(trace.sharpness[0]), float(trace.edge[0])
    if sharp > edge:
        evidence.append(f"at the start sharpness {sharp:.3g} was above the edge {edge:.3g}")
    return Cause("learning rate", 0.95, evidence, "Lower it below 2 / sharpness, or warm up, or clip gradients.")


def _units(trace: Trace, shares: Tensor) -> tuple[float, str]:
    """The largest share of stuck units in an activation, and its name."""
    last = shares[-1].nan_to_num(-1.0)
    if not len(last) or float(last.max()) <= 0:
        return 0.0, ""
    return float(last.max()), trace.activations[int(last.argmax())]


def _saturated(trace: Trace, facts: Facts) -> Cause:
    share, name = _units(trace, trace.saturated)
    sure = 0.97 * _ramp(share, 0.5, 0.95) * (1 - _progress(facts))
    evidence = [f"{share:.0%} of the outputs of activation {name} are saturated"]
    remedy = "Scale down the weights into these units (or normalise their inputs), or use an unsaturated activation."
    return Cause("saturated", sure, evidence, remedy)


def _dead(trace: Trace, facts: Facts) -> Cause:
    share, name = _units(trace, trace.dead)
    sure = 0.98 * _ramp(share, 0.6, 0.98) * (1 - _progress(facts))
    evidence = [
        f"{share:.0%} of the units of activation {name} are zero on every sample: no gradient reaches what is before"
    ]
    before = float(trace.dead[0].nan_to_num(0.0).max()) if trace.dead.shape[1] else 0.0
    if share - before > 0.3:
        evidence.append(f"at the start it was {before:.0%}: they died in the run, of steps that were too long")
    return Cause("dead", sure, evidence, "Re-initialise these units, or use a leaky activation and a lower rate.")


def _vanishing(trace: Trace, facts: Facts) -> Cause:
    names, sizes, moved = _by_module(trace)
    if len(sizes) < 3 or not all(s > 0 for s in sizes):
        return Cause("vanishing", 0.0, [], "")
    factors = [a / b for a, b in pairwise(sizes)]
    ratio, falling = sizes[0] / sizes[-1], sum(f < 0.7 for f in factors) / len(factors)
    depth = _ramp(-math.log10(ratio), 1.5, 3.0) if ratio < 1 else 0.0
    sure = 0.95 * depth * _ramp(falling, 0.4, 0.8) * (1 - _ramp(math.log10(max(moved, 1e-300)), -2.5, -1.0))
    evidence = [
        f"the largest gradient of {names[0]} was {ratio:.2g} of that of {names[-1]}",
        f"it shrinks by {ratio ** (1 / len(factors)):.2g} a layer, {len(factors)} times",
        f"the run moved {names[0]} by at most {moved:.2g} of its norm",
    ]
    remedy = f"Start {names[0]} and its neighbours with larger weights, use other activations, normalisation or shortcuts, or Adam."
    return Cause("vanishing", sure, evidence, remedy)


def _by_module(trace: Trace) -> tuple[list[str], list[float], float]:
    """Modules in order, the largest norms of their gradients, and how far the first was moved at most, over its norm."""
    modules: dict[str, list[int]] = {}
    for i, name in enumerate(trace.layers):
        modules.setdefault(name.rpartition(".")[0] or name, []).append(i)
    sizes = [float(trace.layer_gradient[:, where].norm(dim=1).max()) for where in modules.values()]
    first = next(iter(modules.values()), [])
    updates = trace.layer_update[:, first].norm(dim=1)
    steps = int(trace.steps[-1] - trace.steps[0])
    weight = float(trace.layer_weight[-1, first].norm())
    moved = steps * float(updates[updates.isfinite()].mean()) / weight if weight > 0 else math.inf
    return list(modules), sizes, moved


def _learning_rate(trace: Trace, facts: Facts) -> Cause:
    choices = [_decayed(trace, facts), _overshoots(trace, facts), *_climbed(trace, facts), _too_small(trace, facts)]
    return max(choices, key=lambda c: c.confidence)


def _decayed(trace: Trace, facts: Facts) -> Cause:
    rate, best = float(trace.learning_rate[-1]), float(trace.learning_rate.max())
    decayed = rate / best if best > 0 else 1.0
    awake = _ramp(math.log10(max(facts.steps * best * facts.along, 1e-300)), -2.0, -0.5)
    sure = 0.95 * _ramp(-math.log10(max(decayed, 1e-300)), 0.7, 1.5) * _left(facts) * awake
    evidence = [
        f"the rate is {rate:.3g}, {decayed:.2g} of what it was",
        f"a Newton step would still gain {facts.gain:.2g} of the loss",
    ]
    return Cause("learning rate", sure, evidence, "Raise it again: the schedule ended before the descent did.")


def _overshoots(trace: Trace, facts: Facts) -> Cause:
    sharp, edge = float(trace.sharpness[-1]), float(trace.edge[-1])
    sure = 0.0
    if math.isfinite(facts.efficiency) and facts.promised > 1e-6 * facts.unit:
        sure = 0.95 * _ramp(0.4 - facts.efficiency, 0.1, 0.35) * _ramp(2.0 - facts.noise, 0.0, 0.6)
        # at the edge of stability gradients promise much and little comes, yet a lower rate gains no more than what they swing by
        sure *= _ramp(math.log10(max(facts.swing, 1e-300)), -4.0, -2.0)
    evidence = [
        f"gradients promised a fall of {facts.promised:.3g}, {facts.efficiency:.2g} of it came: steps overshoot",
        f"the gradient given is f's own up to {facts.noise:.2g} in square",
        f"overshooting keeps up at most {facts.swing:.2g} of the loss",
    ]
    if sharp > edge:
        evidence.append(f"sharpness {sharp:.3g} is above the edge {edge:.3g}")
    return Cause("learning rate", sure, evidence, "Lower it: the step is longer than the curvature allows.")


def _climbed(trace: Trace, facts: Facts) -> list[Cause]:
    """The loss is above where it started, or has been far above."""
    first, highest = float(trace.loss[0]), float(trace.loss.max())
    quiet = _ramp(4.0 - facts.noise, 0.0, 2.0)
    risen = 0.985 * _ramp(facts.risen, 0.05, 0.2) * quiet
    peak = 0.7 * _ramp(facts.peak, 0.5, 1.0) * quiet
    peak = max(peak, 0.985 * _ramp(math.log10(max(facts.peak, 1e-300)), 1.0, 3.0))
    peak *= 1 - 0.7 * _progress(facts) * _near(facts)  # it has come back since, and arrived
    now = f"the loss is {facts.loss:.3g}, above its start of {first:.3g}: steps overshoot"
    then = f"the loss has been {highest:.3g}, far above its start of {first:.3g}"
    remedy = "Lower it and start again, or warm up."
    return [Cause("learning rate", risen, [now], remedy), Cause("learning rate", peak, [then], remedy)]


def _too_small(trace: Trace, facts: Facts) -> Cause:
    """Gradients keep what they promise, much is left to gain, and the landscape bears a rate at which as many steps would gain it.

    It bears as much as the edge of stability does, and as the loss that noise keeps up at that rate stays below what is left.
    """
    decayed = float(trace.learning_rate[-1]) < 0.5 * float(trace.learning_rate.max())
    if facts.steps * facts.rate * max(facts.along, facts.scale) < 1e-2 and not decayed:
        sure = 0.9 if facts.rate < 1e-5 and facts.gain > NEAR else 0.3 * _left(facts)
        evidence = [
            f"in {facts.steps} steps of rate {facts.rate:.3g} no curvature up to {facts.scale:.3g} is traversed"
        ]
        return Cause("learning rate", sure, evidence, "Raise it: the landscape would bear much more.")
    room = min(facts.room, facts.gain / facts.floor if facts.floor > 0 else math.inf)
    if decayed or not 1 < room < math.inf:
        return Cause("learning rate", 0.0, [], "")
    more = room * facts.promised / facts.unit
    felt = _ramp(math.log10(max(facts.steps * facts.best_rate * facts.scale, 1e-300)), -2.0, -0.5)
    sure = (
        0.85
        * felt
        * _left(facts)
        * _ramp(math.log10(room), 0.5, 1.5)
        * _ramp(math.log10(max(more, 1e-300)), -2.0, -0.5)
    )
    sure *= 1 - max(_overshoots(trace, facts).confidence, _noise(trace, facts).confidence)
    evidence = [
        f"a rate {room:.2g} times as large would still be stable and above its noise; at it as many steps promise {more:.2g} of the loss",
        f"a Newton step would still gain {facts.gain:.2g} of the loss",
    ]
    return Cause("learning rate", sure, evidence, "Raise it, ten times say: the landscape would bear more.")


def _noise(trace: Trace, facts: Facts) -> Cause:
    sure = 0.0
    if math.isfinite(facts.efficiency) and math.isfinite(facts.noise):
        lost = _ramp(0.5 - facts.efficiency, 0.1, 0.35)
        sure = 0.92 * lost * _ramp(math.log10(max(facts.noise, 1e-300)), 0.2, 0.7) * (1 - 0.7 * _deep(facts))
        if facts.gain > 0 and facts.floor > 0:  # what is left must be what noise keeps up
            sure *= 1 - _ramp(math.log10(facts.gain / facts.floor), 1.0, 2.0)
    evidence = [
        f"the gradients given are {facts.noise:.3g} times f's own in square: mostly noise",
        f"gradients promised a fall of {facts.promised:.3g}, {facts.efficiency:.2g} of it came",
        f"noise alone keeps up {facts.floor:.2g} of the loss, a Newton step would gain {facts.gain:.2g}",
    ]
    return Cause("noise", sure, evidence, "Lower the rate, take larger batches, or average the weights.")


def _saddle(trace: Trace, facts: Facts) -> Cause:
    depth = -facts.lowest / facts.scale if facts.scale > 0 else 0.0
    growth = math.log1p(facts.best_rate * max(-facts.lowest, 0.0))
    sure = 0.0
    if facts.lowest < -facts.doubt:
        felt = _ramp(math.log10(max(facts.steps * growth, 1e-300)), -2.0, -0.5)
        fixed = (1 - _ramp(facts.drift, 0.03, 0.12)) * (
            1 - _ramp(facts.reach, 0.1, 0.5)
        )  # a saddle's curvature stays what it is
        sure = 0.92 * _near(facts) * felt * fixed * _ramp(math.log10(depth), -5.0, -3.0) * (1 - 0.7 * _shallow(facts))
        # noise keeps other directions excited: their part of the gain says nothing of the saddle
        sure = max(sure, 0.91 * _deep(facts) * _ramp(facts.noise, 2.0, 5.0) * (1 - _ramp(facts.gain, 0.05, 0.3)))
    leave = math.log(1 / torch.finfo(trace.x.dtype).eps) / growth if growth > 0 else math.inf
    evidence = [
        f"gradient {facts.gradient:.3g}, lowest curvature {facts.lowest:.3g} ± {facts.doubt:.1g}",
        f"a displacement along it grows e-fold in {1 / growth if growth > 0 else math.inf:.3g} steps: "
        f"from rounding it leaves in about {leave:.3g}, the run had {facts.steps}",
    ]
    zero = [
        k for k, w, g in zip(trace.layers, trace.layer_weight[-1], trace.layer_gradient[-1], strict=True) if w == g == 0
    ]
    if len(zero) > 1 and -facts.lowest <= max(facts.doubt, NEAR * facts.scale):
        evidence.append(
            f"{', '.join(zero[:3])} are zero and so are their gradients: a saddle of higher order, by symmetry"
        )
        return Cause("saddle", 0.91, evidence, "Start these layers at random: equal units stay equal.")
    return Cause("saddle", sure, evidence, "Step along the most negative eigenvector, either way, or add noise.")


def _minimum(trace: Trace, facts: Facts) -> Cause:
    felt = _ramp(math.log10(max(facts.steps * facts.best_rate * facts.scale, 1e-300)), -2.0, -0.5)
    convex = 1.0 if facts.lowest >= -facts.doubt else _ramp(-math.log10(-facts.lowest / facts.scale), 3.0, 5.0)
    convex = max(convex, 0.8 * _shallow(facts))
    sure = 0.9 * _near(facts) * felt * convex * (1 - _valley(facts))
    evidence = [
        f"gradient {facts.gradient:.3g}, lowest curvature {facts.lowest:.3g} ± {facts.doubt:.1g}",
        f"a Newton step would gain {facts.gain:.2g} of the loss",
    ]
    return Cause("minimum", sure, evidence, "Nothing is left to gain here: stop, or change model, data or loss.")


def _flat(trace: Trace, facts: Facts) -> Cause:
    """Along the gradient, or everywhere, the run's steps see no curvature, though the rate has not decayed away."""
    everywhere = facts.steps * facts.best_rate * facts.scale
    along = facts.steps * facts.best_rate * facts.along
    still = 1 - _ramp(math.log10(max(everywhere, 1e-300)), -2.0, -0.5)
    # what moves does so by less than a part of the loss
    moves = _ramp(math.log10(max(facts.promised / facts.unit, 1e-300)), -2.0, -0.5) if everywhere > 1 else 0.0
    changing = _near(facts) * _ramp(facts.reach, 0.1, 0.5) * (facts.lowest < -facts.doubt) * (1 - _shallow(facts))
    sure = 0.88 * max(still, _valley(facts), changing) * (1 - moves)
    evidence = [
        f"gradient {facts.gradient:.3g}, curvature along it {facts.along:.3g}, at most {facts.scale:.3g} anywhere",
        f"{facts.steps} steps of rate {facts.best_rate:.3g} traverse {along:.2g} of such a direction",
    ]
    return Cause("flat", sure, evidence, "Use an optimiser that scales steps (Adam), momentum, or start elsewhere.")


_JUDGES: tuple[Callable[[Trace, Facts], Cause], ...] = (
    _saturated,
    _dead,
    _vanishing,
    _learning_rate,
    _noise,
    _saddle,
    _minimum,
    _flat,
)


def _left(facts: Facts) -> float:
    """1 where a Newton step gains a part of the loss, 0 near a stationary point and where nothing is known."""
    return _ramp(math.log10(facts.gain), -4.0, -2.0) if facts.gain > 0 else 0.0


def _near(facts: Facts) -> float:
    """1 near a stationary point, 0 where a Newton step gains a part of the loss."""
    if math.isnan(facts.gain):
        return 0.3
    return 1 - _ramp(math.log10(max(facts.gain, 1e-300)), -4.0, -2.0)


def _deep(facts: Facts) -> float:
    """Whether the negative curvature is a good part of all curvature, constant, and felt during the run."""
    if facts.lowest >= -facts.doubt or facts.scale <= 0:
        return 0.0
    felt = _ramp(math.log10(max(-facts.steps * facts.best_rate * facts.lowest, 1e-300)), 0.0, 0.5)
    return felt * _ramp(math.log10(-facts.lowest / facts.scale), -1.0, -0.4) * (1 - _ramp(facts.drift, 0.1, 0.4))


def _shallow(facts: Facts) -> float:
    """Whether nearly all of the loss is gone and what negative curvature there is is little of the curvature."""
    depth = max(-facts.lowest, 0.0) / facts.scale if facts.scale > 0 else 0.0
    return _progress(facts) * _ramp(-math.log10(max(depth, 1e-300)), 0.7, 1.3)


def _valley(facts: Facts) -> float:
    """Whether something is left to gain along a gradient whose direction the run's steps do not traverse."""
    along = facts.steps * facts.best_rate * facts.along
    gain = _ramp(math.log10(facts.gain), -9.0, -7.0) if facts.gain > 0 else 0.0
    return (1 - _ramp(math.log10(max(along, 1e-300)), -1.5, 0.0)) * gain


def _progress(facts: Facts) -> float:
    """Whether the run did what it should: nearly all of the loss is gone."""
    return _ramp(facts.fallen, 0.9, 0.99)


def _ramp(x: float, low: float, high: float) -> float:
    """0 below low, 1 above high, straight between; 0 for NaN."""
    return min(1.0, max(0.0, (x - low) / (high - low))) if not math.isnan(x) else 0.0
