"""Signs of what holds a run, a number between 0 and 1 each; ``rules`` says which speak for a cause.

A factor is 1 where a sign is there, 0 where it is not, and rises between two numbers, evenly in the
quantity or in its decades. ``evidence.Tail`` has the quantities, without units:

- the efficiency: descent that works has 1/2 to 1 of the fall that its gradients promised; a step
  that is too long, or mostly noise, has none. The noise of the gradients tells these two apart.
- N r |lambda|: how often the run traverses a direction of that curvature. Far below 1 nothing
  happens along it: it is flat to the run.
- what a Newton step would gain, as a share of the loss: little is left near a stationary point.
- how much the curvature changes over a Newton step: a saddle's stays what it is until the saddle
  is reached, a plateau's does not.

"The calibration" in a docstring are the runs of ``tests/training/test_diagnose.py``, each built to
be stuck for one reason, where these quantities were read, and those of
``tests/benchmarks/causes.py``; the numbers lie between the runs with a cause and those without it.
"""

import math
from itertools import pairwise

from landscape.training.causes import decades, ramp
from landscape.training.data_mistakes import labels_say_nothing, unscaled_inputs
from landscape.training.evidence import Tail
from landscape.training.loop_mistakes import SHRUNK, decay_acts

# A predicted gain below this share of the loss is near a stationary point.
NEAR = 1e-3


# ---- signs that several rules share


def something_left(tail: Tail) -> float:
    """A Newton step gains a part of the loss.

    1e-4 to 1e-2: converged runs of the calibration have 1e-5 at most, unfinished ones 0.1 and more.
    """
    return decades(tail.gain, -4.0, -2.0)


def near_stationary(tail: Tail) -> float:
    """A Newton step gains next to nothing: the numbers of ``something_left``; 0.3 if unknown."""
    return 0.3 if math.isnan(tail.gain) else 1 - decades(tail.gain, -4.0, -2.0)


def arrived(tail: Tail) -> float:
    """Nearly all of the loss is gone.

    0.9 to 0.99: a run that has lost a tenth of what it could is still on its way.
    """
    return ramp(tail.fallen, 0.9, 0.99)


def not_arrived(tail: Tail) -> float:
    """A good part of the loss is still there, see ``arrived``."""
    return 1 - arrived(tail)


def curvature_felt(tail: Tail) -> float:
    """The run's steps traverse the steepest curvature.

    N r |H| of 0.01 to 0.3: at 1 a direction of that curvature has been traversed once.
    """
    return decades(tail.steps * tail.best_rate * tail.scale, -2.0, -0.5)


def deep(tail: Tail) -> float:
    """Negative curvature is a good part of all curvature, stays as it is, and acts during the run.

    N r |lambda| of 1 to 3, so that the way out grows e-fold; a tenth to 0.4 of |H|: the
    calibration's saddles have 1.0; a drift of 0.4 to 0.1: they have 0.002 at most.
    """
    if tail.lowest >= -tail.doubt or tail.scale <= 0:
        return 0.0
    felt = decades(-tail.steps * tail.best_rate * tail.lowest, 0.0, 0.5)
    return felt * decades(-tail.lowest / tail.scale, -1.0, -0.4) * (1 - ramp(tail.drift, 0.1, 0.4))


def shallow(tail: Tail) -> float:
    """The run has arrived, and its negative curvature is little of the curvature.

    A fifth to a twentieth of |H|: of the calibration's saddles it is all.
    """
    depth = max(-tail.lowest, 0.0) / tail.scale if tail.scale > 0 else 0.0
    return arrived(tail) * decades(depth, -0.7, -1.3)


def not_shallow(tail: Tail) -> float:
    """Negative curvature is more than what is left at the end of training, see ``shallow``."""
    return 1 - 0.7 * shallow(tail)


def valley(tail: Tail) -> float:
    """Something is left along a gradient whose direction the run's steps do not traverse.

    N r |g'Hg| / g'g of 1 to 0.03: the calibration's valley has 0.002, runs that have come down have
    1 and more. A gain of 1e-9 to 1e-7, still above float64's rounding: the valley has 1e-5.
    """
    along = tail.steps * tail.best_rate * tail.along
    return (1 - decades(along, -1.5, 0.0)) * decades(tail.gain, -9.0, -7.0)


def no_valley(tail: Tail) -> float:
    """The run's steps traverse the direction of the gradient, see ``valley``."""
    return 1 - valley(tail)


def gradients_quiet(tail: Tail) -> float:
    """The gradients given are the landscape's own more than noise.

    4 to 2 times |g|^2: the calibration's full batches have at most 1.6, small ones 7 and more.
    """
    return ramp(4.0 - tail.noise, 0.0, 2.0)


# ---- units and layers


def outputs_saturated(tail: Tail) -> float:
    """Half to 0.95 of an activation's outputs: with half, the other half still pass gradients.

    The calibration's saturated runs have 0.97 to 1.
    """
    return ramp(tail.saturated[0], 0.5, 0.95)


def inputs_scaled(tail: Tail) -> float:
    """What unscaled inputs saturate is their consequence, see ``unscaled_inputs``."""
    return 1 - 0.6 * unscaled_inputs(tail)


def units_broke(tail: Tail) -> float:
    """0.3 to 0.6 of an activation's units died in the run, or of its outputs became saturated."""
    return ramp(tail.broken, 0.3, 0.6)


def steps_too_long(tail: Tail) -> float:
    """The sharpness is 1 to 2 times the edge of stability; or a step moves the weights by 0.8 to 4
    % of their length, or these are 10 to 100 times as long as at the start, and curvatures of both
    signs say that f is no bowl. Steps of the calibration's runs that work move them by 0.75 %.
    """
    edge = decades(1 / tail.room, 0.0, 0.3) if tail.room > 0 else 0.0
    bent = decades(-tail.lowest / tail.scale if tail.scale > 0 else 0.0, -4.0, -2.5)
    moved = max(decades(tail.stride, -2.1, -1.4), decades(tail.grown, 1.0, 2.0))
    # of layers at zero any step is long
    return max(edge, bent * moved * (1 - max(deep(tail), layers_zero_by_symmetry(tail))))


def steps_not_too_long(tail: Tail) -> float:
    """See ``steps_too_long``: what such steps keep up is not noise alone."""
    return 1 - 0.6 * max(steps_too_long(tail), units_broke(tail))


def not_of_long_steps(tail: Tail) -> float:
    """Units were dead or saturated at the start: steps that were too long are no cause behind, see
    ``units_broke``.
    """
    return 1 - 0.5 * units_broke(tail)


def units_dead(tail: Tail) -> float:
    """0.6 to 0.98 of an activation's units are zero on every sample.

    Fewer thin a network out and leave it trainable. The calibration's dead runs have 1.
    """
    return ramp(tail.dead[0], 0.6, 0.98)


def gradients_vanish(tail: Tail) -> float:
    """The first of at least three modules gets 1/30 to 1/1000 of the last one's gradient.

    The calibration's deep sigmoids have 1e-7 and less, its nets that train 1/2.
    """
    sizes = tail.modules.sizes
    if len(sizes) < 3 or not all(size > 0 for size in sizes):
        return 0.0
    ratio = sizes[0] / sizes[-1]
    return decades(ratio, -1.5, -3.0) if ratio < 1 else 0.0


def gradients_shrink_steadily(tail: Tail) -> float:
    """From 0.4 to 0.8 of the layers pass on less than 0.7 of their gradient.

    A single narrow layer is no vanishing: depth makes it, a factor a layer (Hochreiter 1991).
    """
    shrinks = [b > 0 and a / b < 0.7 for a, b in pairwise(tail.modules.sizes)]
    return ramp(sum(shrinks) / len(shrinks), 0.4, 0.8) if shrinks else 0.0


def early_steps_out_of_reach(tail: Tail) -> float:
    """The first step of a sequence gets 1e-3 to 1e-6 of the gradient that the last ones get.

    An ``nn.RNN`` as it is initialised has 2e-5 over 20 steps, 1e-14 over 60.
    """
    reading = tail.trace.reading
    return 0.0 if reading is None or not reading.reach >= 0 else decades(reading.reach, -3.0, -6.0)


def hardly_learnt(tail: Tail) -> float:
    """From 0.1 to 0.4 of what a constant prediction costs is gone."""
    return 1 - ramp(tail.fallen, 0.1, 0.4)


def inputs_tell(tail: Tail) -> float:
    """Fits of left-out samples tell something of the targets; 0.7 where that is not known."""
    unknown = tail.trace.reading is None or math.isnan(tail.trace.reading.labels.p)
    return 0.7 if unknown else 1 - labels_say_nothing(tail)


def layers_not_zero(tail: Tail) -> float:
    """No layers are next to zero: gradients through such are those of a saddle."""
    weights = [name for name in tail.zeros if not name.endswith("bias")]
    return float(len(weights) <= 1)


def first_layer_still(tail: Tail) -> float:
    """The run moved the first module by at most a tenth to 1/300 of its norm.

    The calibration's vanishing runs moved it by 1e-6 and less, runs that learn by a tenth and more.
    """
    return 1 - decades(tail.modules.moved, -2.5, -1.0)


# ---- learning rate


def rate_decayed(tail: Tail) -> float:
    """The rate is a fifth to a thirtieth of the largest.

    A step of a usual schedule divides it by 2 to 10; the calibration's went to 1e-18.
    """
    return decades(tail.decayed, -0.7, -1.5)


def rate_zero(tail: Tail) -> float:
    """The rate was 0 at every record."""
    return float(bool((tail.trace.learning_rate == 0).all()))


def rate_did_matter(tail: Tail) -> float:
    """At its largest the rate moved the run, or it fell so far that no schedule means it.

    N times that rate times |g'Hg| / g'g of 0.01 to 0.3, as in ``curvature_felt``; or the loss fell
    by 0.01 to 0.05 of its unit; or the rate fell to 1e-3 to 1e-6 of what it was.
    """
    best = float(tail.trace.learning_rate.max())
    felt = decades(tail.steps * best * tail.along, -2.0, -0.5)
    fell = ramp((tail.first - tail.loss) / tail.unit, 0.01, 0.05)
    return max(felt, fell, decades(tail.decayed, -3.0, -6.0))


def promise_broken(tail: Tail) -> float:
    """Less than 0.3 to 0.05 of the fall came that gradients promised, and they promised one.

    Descent that works has 1/2 to 1; the calibration's rates that are too large have 0.
    """
    if not math.isfinite(tail.efficiency) or not tail.promised > 1e-6 * tail.unit:
        return 0.0
    return ramp(0.4 - tail.efficiency, 0.1, 0.35)


def gradients_exact(tail: Tail) -> float:
    """The gradients given are f's own up to 2 to 1.4 in square, see ``gradients_quiet``."""
    return ramp(2.0 - tail.noise, 0.0, 0.6)


def no_decay(tail: Tail) -> float:
    """No weight decay has shrunk the weights against the gradient, which promised for f alone."""
    return 1 - decay_acts(tail) * SHRUNK(tail)


def swing_matters(tail: Tail) -> float:
    """Directions that overshoot keep up 1e-4 to 1e-2 of the loss.

    At the edge of stability gradients promise much and little comes, yet a lower rate gains no more
    than the swing: 2e-5 in the calibration's converged run at the edge, 2 in the stuck one.
    """
    return decades(tail.swing, -4.0, -2.0)


def above_start(tail: Tail) -> float:
    """The loss is 0.05 to 0.2 of its unit above the start, where no run that works ends."""
    return ramp(tail.risen, 0.05, 0.2)


def peaked(tail: Tail) -> float:
    """The loss has been half its unit to a whole one above its start; others 0.001."""
    return ramp(tail.peak, 0.5, 1.0)


def peaked_high(tail: Tail) -> float:
    """The loss has been 10 to 1000 units above its start, more than any noise explains."""
    return decades(tail.peak, 1.0, 3.0)


def not_come_back(tail: Tail) -> float:
    """The run has not come back and arrived since; one that has is at most 0.3 at fault."""
    return 1 - 0.7 * arrived(tail) * near_stationary(tail)


def _decaying(tail: Tail) -> bool:
    rates = tail.trace.learning_rate
    return float(rates[-1]) < 0.5 * float(rates.max())


def _idle(tail: Tail) -> bool:
    most = max(tail.along, tail.scale)
    return tail.steps * tail.rate * most < 1e-2 and not _decaying(tail)


def nothing_traversed(tail: Tail) -> float:
    """N r |H| is below 0.01, without a schedule that took the rate there."""
    return float(_idle(tail))


def much_left(tail: Tail) -> float:
    """A Newton step gains a good part of the loss: 0.001 to 0.01, which flat land does not."""
    return decades(tail.gain, -3.0, -2.0)


def gradient_matters(tail: Tail) -> float:
    """A move by the size of the weights along the gradient changes the loss by 1e-4 to 1e-2 of it.

    Far from a well it is 1e-8; nets that are started as usual have 0.1 and more.
    """
    moved = tail.gradient * float(tail.trace.weight_norm[-1]) / tail.unit
    return decades(moved, -4.0, -2.0)


def rate_within_reach(tail: Tail) -> float:
    """The rate that traverses the steepest curvature is at most 1e7 to 1e9 times the run's.

    Rates that are too small are so by a mistake of a few decades; beyond, the land is flat.
    """
    most = tail.rate * max(tail.along, tail.scale)
    return 1 - decades(2 / most, 7.0, 9.0) if most > 0 else 0.0


def no_larger_rate_would_do(tail: Tail) -> float:
    """Flat land stays flat at a larger rate: against it speak ``much_left``, ``gradient_matters``
    and ``much_room``.
    """
    room = max(much_room(tail), nothing_traversed(tail))
    moved = gradient_matters(tail) * rate_within_reach(tail)
    return (1 - rate_zero(tail)) * (1 - 0.5 * much_left(tail) * moved * room)


def rate_tiny(tail: Tail) -> float:
    """A rate below 1e-5, a hundredth of the least that is usual, with a gain of NEAR to be had."""
    return float(tail.rate < 1e-5 and tail.gain > NEAR)


def hardly_moved(tail: Tail) -> float:
    """An optimiser whose steps are as long as its rate has moved the weights by at most 5 to 1 % of
    their norm: the calibration's rates that are too small by 0.7 %, its runs that work by 40 %.
    Adagrad's shrink as a run goes on.
    """
    if not tail.adaptive or tail.trace.optimizer == "Adagrad" or _decaying(tail):
        return 0.0
    return 1 - decades(tail.moved, -2.0, math.log10(0.05))


def steps_rounded_away(tail: Tail) -> float:
    """A late step is shorter than 1 to 0.3 of the rounding of the weights, so most entries of it
    are lost; weights of 8 bits (bfloat16) round by 0.4 %, the calibration's steps of float32 are
    100 times as long as that one rounds.
    """
    return decades(tail.rounding / tail.stride, 0.0, 0.5) if tail.stride > 0 else 0.0


def slowed_by_schedule(tail: Tail) -> bool:
    """Whether a schedule has lowered the rate, and the one before it did move the run."""
    return _decaying(tail) and rate_did_matter(tail) > 0.5


def thrown_off(tail: Tail) -> float:
    """The weights are 9 to 20 times as long as at the start, where they were not next to zero: the
    calibration's rates that are too large have 9 to 1e15, its other runs 8 at most.
    """
    if tail.small_at_first or math.isnan(tail.grown):
        return 0.0
    return decades(tail.grown, math.log10(9.0), math.log10(20.0))


def room_of(tail: Tail) -> float:
    """The factor by which the rate could grow: the edge bears it, and so does what is left."""
    return min(tail.room, tail.gain / tail.floor if tail.floor > 0 else math.inf)


def room_for_more(tail: Tail) -> float:
    """A rate 10 to 100 times as large would be stable, and its noise below what is left to gain.

    The calibration's rates that are too small have 750 and more, its rates that work 1 to 32.
    """
    room = room_of(tail)
    if _idle(tail) or _decaying(tail) or not 1 < room < math.inf:
        return 0.0
    return decades(room, 1.0, 2.0)


def much_to_go(tail: Tail) -> float:
    """At most 0.4 to 0.85 of the loss is gone: a run that has come further is slow, not stuck."""
    return 1 - ramp(tail.fallen, 0.4, 0.85)


def much_room(tail: Tail) -> float:
    """A rate 100 to 1000 times as large would be stable, and its noise below what is left."""
    room = room_of(tail)
    return 0.0 if _decaying(tail) or not 1 < room < math.inf else decades(room, 2.0, 3.0)


def more_would_come(tail: Tail) -> float:
    """At that rate as many steps would gain 0.01 to 0.3 of the loss, by what gradients promise."""
    return decades(room_of(tail) * tail.promised / tail.unit, -2.0, -0.5)


# ---- noise


def promise_lost(tail: Tail) -> float:
    """Less than 0.4 to 0.15 of the fall came that gradients promised.

    Descent that works has 1/2 to 1; the calibration's noisy runs have 0.02 at most.
    """
    if not math.isfinite(tail.efficiency) or not math.isfinite(tail.noise):
        return 0.0
    return ramp(0.5 - tail.efficiency, 0.1, 0.35)


def gradients_noisy(tail: Tail) -> float:
    """The gradients given have 1.6 to 5 times |g|^2, see ``gradients_quiet``."""
    return decades(tail.noise, 0.2, 0.7)


def no_saddle(tail: Tail) -> float:
    """Noise near a saddle, ``deep`` or of layers at zero, is the smaller matter: in the end it
    leaves the saddle.
    """
    return 1 - 0.7 * max(deep(tail), layers_zero_by_symmetry(tail))


def noise_matters(tail: Tail) -> float:
    """What is left, or what noise keeps up, is 0.1 to 1 % of the loss: the calibration's noisy runs
    have 2 % and more. 1 if unknown.
    """
    return 1.0 if math.isnan(tail.gain) else decades(max(tail.gain, tail.floor), -3.0, -2.0)


def noise_keeps_up_the_loss(tail: Tail) -> float:
    """What is left is at most 10 to 100 times the loss that noise keeps up in a bowl.

    The calibration's noisy runs have 1 to 3; above, noise does not hold the run.
    """
    return (
        1 - decades(tail.gain / tail.floor, 1.0, 2.0) if tail.gain > 0 and tail.floor > 0 else 1.0
    )


# ---- saddle, minimum, flat


def growth(tail: Tail) -> float:
    """e-folds a step of a displacement along the lowest curvature, by gradient descent."""
    return math.log1p(tail.best_rate * max(-tail.lowest, 0.0))


def by_symmetry(tail: Tail) -> bool:
    """Several layers are zero with their gradients, and second order sees no way out."""
    least = max(tail.doubt, 0.05 * tail.scale)
    return len(tail.zeros) > 1 and -tail.lowest <= least


def layers_zero_by_symmetry(tail: Tail) -> float:
    """Several layers are zero, so are their gradients, and no curvature holds the run there."""
    return float(len(tail.zeros) > 1 and tail.lowest <= max(tail.doubt, 0.05 * tail.scale))


def units_equal(tail: Tail) -> float:
    """All units of a layer have the same weights up to 1e-3, so their gradients are the same."""
    return float(tail.trace.reading is not None and bool(tail.trace.reading.twins))


def not_shrunk(tail: Tail) -> float:
    """The weights have not come to zero in the run: to 0.1 to 0.3 of their norm at the start."""
    return 1.0 if math.isnan(tail.grown) else ramp(tail.grown, 0.1, 0.3)


def way_out_felt(tail: Tail) -> float:
    """A displacement along the lowest curvature grows by 0.01 to 0.3 e-folds in the run."""
    if not tail.lowest < -tail.doubt or by_symmetry(tail):
        return 0.0
    return decades(tail.steps * growth(tail), -2.0, -0.5)


def curvature_stays(tail: Tail) -> float:
    """The lowest curvature is constant, as near a saddle.

    Late in the run ln |lambda| changes by 0.12 to 0.03, over a Newton step by 0.5 to 0.1; the
    calibration's saddles have 0.002 at most, its plateaus 1 over a Newton step.
    """
    return (1 - ramp(tail.drift, 0.03, 0.12)) * (1 - ramp(tail.reach, 0.1, 0.5))


def curvature_negative(tail: Tail) -> float:
    """The lowest curvature is -1e-5 to -1e-3 of |H|: the calibration's saddles have -1."""
    return decades(-tail.lowest / tail.scale if tail.scale > 0 else 0.0, -5.0, -3.0)


def deep_saddle(tail: Tail) -> float:
    """Negative curvature is ``deep``, and no symmetry hides a way out."""
    return 0.0 if not tail.lowest < -tail.doubt or by_symmetry(tail) else deep(tail)


def noise_shakes(tail: Tail) -> float:
    """The gradients given have 2 to 5 times |g|^2: noise keeps other directions excited."""
    return ramp(tail.noise, 2.0, 5.0)


def little_left(tail: Tail) -> float:
    """A Newton step gains 0.3 to 0.05 of the loss, of which noise accounts for a part."""
    return 1 - ramp(tail.gain, 0.05, 0.3)


def curvature_convex(tail: Tail) -> float:
    """No curvature is certainly negative, or only -1e-3 to -1e-5 of |H|, or it is ``shallow``."""
    convex = 1.0
    if not tail.lowest >= -tail.doubt:
        convex = decades(-tail.lowest / tail.scale, -3.0, -5.0)
    return max(convex, 0.8 * shallow(tail))


def nothing_felt(tail: Tail) -> float:
    """Even at its largest the rate traverses no curvature, see ``curvature_felt``."""
    return 1 - curvature_felt(tail)


def plateau_bends(tail: Tail) -> float:
    """Near a stationary point by its gain, yet the negative curvature changes before it is reached.

    Over a Newton step ln |lambda| changes by 0.1 to 0.5: the calibration's wells have 1.
    """
    bends = near_stationary(tail) * ramp(tail.reach, 0.1, 0.5) * (tail.lowest < -tail.doubt)
    return bends * (1 - shallow(tail))


def loss_stands(tail: Tail) -> float:
    """Where curvature is felt at all, gradients promise no more than 0.3 to 0.01 of the loss."""
    if not tail.steps * tail.best_rate * tail.scale > 1:
        return 1.0
    return 1 - decades(tail.promised / tail.unit, -2.0, -0.5)
