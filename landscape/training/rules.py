"""The rules that name a cause: what speaks for it, what against it, and how much.

The confidence of a rule is its ceiling times its factors, ``signs``. What is compared has no unit,
so that f -> a f with lr -> lr / a changes nothing. Confidences are judgements of how clear the
evidence is, not probabilities. Ceilings rank causes that hold together: what lies behind another
goes before it.
"""

import math

import torch

from landscape.training import data_mistakes, loop_mistakes, loss_mistakes, signs
from landscape.training.causes import NAMES as NAMES
from landscape.training.causes import REPORTED as REPORTED
from landscape.training.causes import Cause as Cause
from landscape.training.causes import Rule, surest
from landscape.training.evidence import Tail

# What is no landscape's fault.
MISTAKES = (*loop_mistakes.RULES, *loss_mistakes.RULES, *data_mistakes.RULES)
# The relative rounding of float32.
FLOAT32 = torch.finfo(torch.float32).eps / 2


def causes(tail: Tail) -> list[Cause]:
    """A cause for each name that a rule speaks for, the surest first."""
    return surest(RULES, tail)


# ---- evidence in words


def _saturated(tail: Tail) -> list[str]:
    share, name = tail.saturated
    return [f"{share:.0%} of the outputs of activation {name} are saturated"]


def _dead(tail: Tail) -> list[str]:
    share, name = tail.dead
    words = [
        f"{share:.0%} of the units of activation {name} are zero on every sample, "
        "so that no gradient reaches what is before"
    ]
    if share - tail.dead_at_first > 0.3:
        words.append(
            f"at the start it was {tail.dead_at_first:.0%}: they died in the run, of steps that "
            f"were too long"
        )
    return words


def _vanishing(tail: Tail) -> list[str]:
    names, sizes, moved = tail.modules
    ratio, layers = sizes[0] / sizes[-1], len(sizes) - 1
    return [
        f"gradients shrink {ratio ** (-1 / layers):.2g}-fold per layer over {layers} layers: "
        f"{names[0]} gets {ratio:.2g} of what {names[-1]} gets",
        f"the run moved {names[0]} by at most {moved:.2g} of its norm",
    ]


def _forgets(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"of the gradient that a recurrent layer gets in its last steps, the first of "
        f"{reading.sequence} steps gets {reading.reach:.2g}: what it reads there is not learnt from"
    ]


def _left(tail: Tail) -> str:
    return f"a Newton step would still gain {tail.gain:.2g} of the loss"


def _kept(tail: Tail) -> str:
    """What came of the fall that gradients promised."""
    came = (
        "it rose instead" if tail.efficiency < 0 else f"{100 * tail.efficiency:.2g} % of that came"
    )
    return f"the steps should have lowered the loss by {tail.promised:.3g}; {came}"


def _lowered(tail: Tail) -> str:
    rate = float(tail.trace.learning_rate[-1])
    return f"the rate is {rate:.3g}, {tail.decayed:.2g} of what it was"


def _decayed(tail: Tail) -> list[str]:
    return [_lowered(tail), _left(tail)]


def _stands(tail: Tail) -> list[str]:
    return [f"the rate was 0 in all {tail.steps:,} steps, so that none of them moved a weight"]


def _overshoots(tail: Tail) -> list[str]:
    words = [
        f"{_kept(tail)}: steps overshoot",
        f"mini-batch gradients are {math.sqrt(tail.noise):.2g} times as long as the full-batch "
        f"gradient",
        f"overshooting keeps up at most {tail.swing:.2g} of the loss",
    ]
    sharp, edge = float(tail.trace.sharpness[-1]), float(tail.trace.edge[-1])
    return (
        [*words, f"sharpness {sharp:.3g} is above the edge {edge:.3g}"] if sharp > edge else words
    )


def _risen(tail: Tail) -> list[str]:
    return [f"the loss is {tail.loss:.3g}, above its start of {tail.first:.3g}: steps overshoot"]


def _peaked(tail: Tail) -> list[str]:
    highest = float(tail.trace.loss.max())
    return [f"the loss has been {highest:.3g}, far above its start of {tail.first:.3g}"]


def _broke(tail: Tail) -> list[str]:
    dead, saturated = tail.dead, tail.saturated
    kind, (share, name), first = (
        ("units are dead", dead, tail.dead_at_first)
        if dead[0] - tail.dead_at_first >= saturated[0] - tail.saturated_at_first
        else ("outputs are saturated", saturated, tail.saturated_at_first)
    )
    return [
        f"{share:.0%} of activation {name}'s {kind}, and at the start it was {first:.0%}: steps "
        f"that were too long have thrown them there",
        f"a late step moves the weights by {tail.stride:.2g} of their length",
    ]


def _strides(tail: Tail) -> list[str]:
    words = [
        _kept(tail),
        f"a late step moves the weights by {tail.stride:.2g} of their length",
    ]
    sharp, edge = float(tail.trace.sharpness[-1]), float(tail.trace.edge[-1])
    return (
        [*words, f"sharpness {sharp:.3g} is above the edge {edge:.3g}"] if sharp > edge else words
    )


def _crawls(tail: Tail) -> list[str]:
    return [
        f"in {tail.steps} steps of rate {tail.rate:.3g} no curvature up to {tail.scale:.3g} is "
        f"traversed"
    ]


def _hardly(tail: Tail) -> list[str]:
    rate = float(tail.trace.learning_rate[-1])
    return [
        f"in {tail.steps} steps of lr={rate:.3g} the weights have moved by {tail.moved:.2g} of "
        f"their norm, and {tail.trace.optimizer} makes its steps as long as its rate, however "
        f"small gradients are"
    ]


def _rounded(tail: Tail) -> list[str]:
    words = (
        f"the weights are rounded by {tail.rounding:.2g} of their size, and a late step moves them "
        f"by {tail.stride:.2g} of their length: most of it is lost in rounding"
    )
    return [words, _lowered(tail)] if signs.slowed_by_schedule(tail) else [words]


def _thrown(tail: Tail) -> list[str]:
    return [
        f"the weights are {tail.grown:.3g} times as long as at the start: steps that were too long "
        f"have thrown them there",
        f"a late step moves them by {tail.stride:.2g} of their length",
    ]


def _too_small(tail: Tail) -> list[str]:
    room = signs.room_of(tail)
    share = room * tail.promised / tail.unit
    gone = "all" if share >= 1 else f"{100 * share:.2g} %"
    return [
        f"a rate {room:.2g} times as large would still be stable and above its noise; at it "
        f"the same number of steps could remove {gone} of the loss",
        _left(tail),
    ]


def _noise(tail: Tail) -> list[str]:
    return [
        f"mini-batch gradients are {math.sqrt(tail.noise):.3g} times as long as the full-batch "
        "gradient: they are mostly noise",
        _kept(tail),
        f"noise alone keeps up {tail.floor:.2g} of the loss, a Newton step would gain "
        f"{tail.gain:.2g}",
    ]


def _curvature(tail: Tail) -> str:
    return f"gradient {tail.gradient:.3g}, lowest curvature {tail.lowest:.3g} ± {tail.doubt:.1g}"


def _saddle(tail: Tail) -> list[str]:
    growth, fold, leave = signs.growth(tail), math.inf, math.inf
    if growth > 0:
        fold, leave = 1 / growth, math.log(1 / torch.finfo(tail.trace.x.dtype).eps) / growth
    return [
        _curvature(tail),
        f"a displacement along it grows e-fold in {fold:.3g} steps: from rounding it leaves "
        f"in about {leave:.3g}, and the run had {tail.steps}",
    ]


def _symmetric(tail: Tail) -> list[str]:
    order = "the saddle is of higher order, by symmetry"
    why = order if signs.by_symmetry(tail) else "equal units stay equal"
    return [
        *_saddle(tail),
        f"{', '.join(tail.zeros[:3])} are zero or nearly, and so are their gradients: {why}",
    ]


def _equal(tail: Tail) -> list[str]:
    assert tail.trace.reading is not None
    return [
        f"all units of {tail.trace.reading.twins} have the same weights, and so the same "
        f"gradients: together they do what one unit can"
    ]


def _minimum(tail: Tail) -> list[str]:
    return [_curvature(tail), f"a Newton step would gain {tail.gain:.2g} of the loss"]


def _flat(tail: Tail) -> list[str]:
    traversed = tail.steps * tail.best_rate * tail.along
    return [
        f"gradient {tail.gradient:.3g}, curvature along it {tail.along:.3g}, at most "
        f"{tail.scale:.3g} anywhere",
        f"{tail.steps} steps of rate {tail.best_rate:.3g} traverse {traversed:.2g} of such a "
        f"direction",
    ]


# ---- remedies in words, rates in the optimiser's own unit


def _lr(tail: Tail, factor: float) -> str:
    rate = float(tail.trace.learning_rate[-1])
    return f"lr={rate * factor:.3g} in the place of {rate:.3g}, {factor:g} times as much"


def _again(tail: Tail) -> str:
    return f"Lower the rate, {_lr(tail, 0.1)}, and start again, or warm up."


def _raise(tail: Tail) -> str:
    return f"Raise the rate, {_lr(tail, 10.0)} or {_lr(tail, 100.0)}: the landscape bears more."


_RAISE_AGAIN = "Raise it again: the schedule ended before the descent did."


def _finer(tail: Tail) -> str:
    """Finer weights where they are coarser than float32; else, and besides, longer steps."""
    by_schedule = signs.slowed_by_schedule(tail)
    if tail.rounding > FLOAT32:
        longer = "the rate again" if by_schedule else f"the rate, {_lr(tail, 10.0)}"
        return (
            "Keep the weights in float32, and only the passes coarse (torch.autocast); or raise "
            f"{longer}."
        )
    return _RAISE_AGAIN if by_schedule else _raise(tail)


def _lower(tail: Tail) -> str:
    return f"Lower the rate, {_lr(tail, 0.1)}: the step is longer than the curvature allows."


def _quieter(tail: Tail) -> str:
    return f"Lower the rate, {_lr(tail, 0.1)}, take larger batches, or average the weights."


def _rescale(tail: Tail) -> str:
    scaled = "" if tail.adaptive else "Use an optimiser that scales steps (Adam), momentum, or "
    return (
        f"{scaled}start elsewhere." if scaled else f"Start elsewhere, or raise {_lr(tail, 10.0)}."
    )


_DEPTH = (
    "Start the first layers with larger weights, use other activations, normalisation or shortcuts."
)


_MEMORY = (
    "Use shorter sequences, a GRU or an LSTM whose forget gates start open (their biases at 1 or "
    "more), orthogonal weights from step to step, or attention; read the loss off more steps."
)


def _deeper(tail: Tail) -> str:
    return _DEPTH if tail.adaptive else f"{_DEPTH[:-1]}, or Adam."


# ---- the rules

OVERSHOOTS = Rule(
    "learning rate",
    0.95,
    "the broken promise is measured, and explains a flat or noisy look",
    (signs.promise_broken, signs.gradients_exact, signs.no_decay, signs.swing_matters),
    _overshoots,
    _lower,
    ("rate x0.1",),
)
NOISE = Rule(
    "noise",
    0.92,
    "a rate that is too large looks the same where few batches are seen",
    (
        signs.promise_lost,
        signs.gradients_noisy,
        signs.no_saddle,
        signs.noise_keeps_up_the_loss,
        signs.noise_matters,
        signs.steps_not_too_long,
    ),
    _noise,
    _quieter,
    ("rate x0.1", "full batch"),
)


def nothing_else_holds(tail: Tail) -> float:
    """Neither overshooting nor noise explains the run: a larger rate would make both worse."""
    return 1 - max(OVERSHOOTS.weigh(tail)[0], NOISE.weigh(tail)[0])


MINIMUM = Rule(
    "minimum",
    0.9,
    "what holds a run elsewhere often looks like a minimum, and goes first",
    (signs.near_stationary, signs.curvature_felt, signs.curvature_convex, signs.no_valley),
    _minimum,
    "Nothing is left to gain here: stop, or change model, data or loss.",
)

_LEAVE = "Step along the most negative eigenvector, either way, or add noise."
# how the names of trials begin
# (what a start anew would do cannot be tried from where a run stands)
_ANEW = ("start anew", "rate x0.1")
_ASIDE, _FASTER = ("eigenvector", "noise"), ("rate x10", "initial rate")
_SCALED = ("adam", "sgd")

RULES = (
    *MISTAKES,
    Rule(
        "saturated",
        0.965,
        "what is saturated also looks flat or like a minimum: the cause behind goes first",
        (signs.outputs_saturated, signs.not_arrived, signs.not_of_long_steps, signs.inputs_scaled),
        _saturated,
        "Scale down the weights into these units (or normalise their inputs), or use an "
        "unsaturated activation.",
        ("rescale saturated units", *_ASIDE),
        "Normalise the inputs of these units, or use an unsaturated activation.",
    ),
    Rule(
        "dead",
        0.97,
        "what is dead has no gradient at all, whatever else it looks like",
        (signs.units_dead, signs.not_arrived, signs.not_of_long_steps),
        _dead,
        "Re-initialise these units, or use a leaky activation and a lower rate.",
        ("revive dead units",),
    ),
    Rule(
        "vanishing",
        0.95,
        "saturated and dead units make gradients vanish too, and go first",
        (
            signs.gradients_vanish,
            signs.gradients_shrink_steadily,
            signs.first_layer_still,
            signs.layers_not_zero,
        ),
        _vanishing,
        _deeper,
        ("adam", "sgd"),
        _DEPTH,
    ),
    Rule(
        "vanishing",
        0.925,
        "what the last steps hold may be all there is to learn",
        (signs.early_steps_out_of_reach, signs.hardly_learnt, signs.inputs_tell),
        _forgets,
        _MEMORY,
        (),
        _MEMORY,
    ),
    Rule(
        "learning rate",
        0.95,
        "the schedule is a fact, and a run without steps looks flat",
        (signs.rate_decayed, signs.something_left, signs.rate_did_matter),
        _decayed,
        _RAISE_AGAIN,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.985,
        "it is seen directly, and nobody means it",
        (signs.rate_zero, signs.not_arrived),
        _stands,
        "Set a rate above 0: for group in optimizer.param_groups: group['lr'] = 1e-3. A schedule "
        "that was gone on with after its end has left it there, or one that begins at 0.",
    ),
    OVERSHOOTS,
    Rule(
        "learning rate",
        0.96,
        "a loss above its start has no other cause than its steps",
        (signs.above_start, signs.gradients_quiet),
        _risen,
        _again,
        _ANEW,
    ),
    Rule(
        "learning rate",
        0.972,
        "units that steps have thrown off are their consequence",
        (signs.units_broke, signs.not_arrived),
        _broke,
        _again,
        _ANEW,
    ),
    Rule(
        "learning rate",
        0.96,
        "weights that are let grow may do so in a long run",
        (signs.thrown_off, signs.not_arrived),
        _thrown,
        _again,
        _ANEW,
    ),
    Rule(
        "learning rate",
        0.93,
        "in a pretrained model small moves are meant",
        (signs.hardly_moved, signs.gradient_matters, signs.not_arrived),
        _hardly,
        _raise,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.935,
        "entries near zero move all the same",
        (signs.steps_rounded_away, signs.gradient_matters, signs.not_arrived),
        _rounded,
        _finer,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.955,
        "noise alone may break the promise too",
        (signs.promise_lost, signs.steps_too_long, signs.no_decay, signs.not_arrived),
        _strides,
        _lower,
        ("rate x0.1",),
    ),
    Rule(
        "learning rate",
        0.7,
        "noise may raise a loss as far",
        (signs.peaked, signs.gradients_quiet, signs.not_come_back),
        _peaked,
        _again,
        _ANEW,
    ),
    Rule(
        "learning rate",
        0.96,
        "nothing but steps raises a loss so far",
        (signs.peaked_high, signs.not_come_back),
        _peaked,
        _again,
        _ANEW,
    ),
    Rule(
        "learning rate",
        0.9,
        "flat land looks the same, but nobody chooses such a rate for it",
        (signs.nothing_traversed, signs.rate_tiny),
        _crawls,
        _raise,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.91,
        "flat land looks the same, but has less to gain",
        (signs.nothing_traversed, signs.much_left, signs.gradient_matters, signs.rate_within_reach),
        _crawls,
        _raise,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.9,
        "flat land looks the same, but has less to gain",
        (
            signs.much_left,
            signs.gradient_matters,
            signs.much_room,
            signs.rate_within_reach,
            signs.more_would_come,
            nothing_else_holds,
            signs.much_to_go,
        ),
        _too_small,
        _raise,
        _FASTER,
    ),
    Rule(
        "learning rate",
        0.85,
        "the gain at a larger rate is extrapolated",
        (
            signs.curvature_felt,
            signs.something_left,
            signs.room_for_more,
            signs.more_would_come,
            nothing_else_holds,
            signs.much_to_go,
        ),
        _too_small,
        _raise,
        _FASTER,
    ),
    NOISE,
    Rule(
        "saddle",
        0.945,
        "a curvature that bends further off is not seen",
        (
            signs.near_stationary,
            signs.way_out_felt,
            signs.curvature_stays,
            signs.curvature_negative,
            signs.not_shallow,
        ),
        _saddle,
        _LEAVE,
        _ASIDE,
    ),
    Rule(
        "saddle",
        0.91,
        "what noise adds to the gain is only estimated",
        (signs.deep_saddle, signs.noise_shakes, signs.little_left),
        _saddle,
        _LEAVE,
        _ASIDE,
    ),
    Rule(
        "saddle",
        0.945,
        "a minimum of the symmetric runs would look the same",
        (signs.layers_zero_by_symmetry, signs.not_shrunk),
        _symmetric,
        "Start these layers at random: equal units stay equal.",
        ("fresh layers", *_ASIDE),
    ),
    Rule(
        "saddle",
        0.98,
        "equal units are seen, and nobody means them; they die together",
        (signs.units_equal, signs.not_arrived),
        _equal,
        "Start these layers at random, as nn.Linear does by itself: equal units stay equal.",
        ("fresh layers",),
    ),
    MINIMUM,
    Rule(
        "flat",
        0.88,
        "nothing felt is no evidence",
        (signs.nothing_felt, signs.loss_stands, signs.no_larger_rate_would_do),
        _flat,
        _rescale,
        _SCALED,
    ),
    Rule(
        "flat",
        0.88,
        "a slower valley looks alike",
        (signs.valley, signs.loss_stands, signs.no_larger_rate_would_do),
        _flat,
        _rescale,
        _SCALED,
    ),
    Rule(
        "flat",
        0.88,
        "the far end is not seen",
        (signs.plateau_bends, signs.loss_stands),
        _flat,
        _rescale,
        _SCALED,
    ),
)
