"""Rules for data that nothing can be learnt from, or not as they are: not finite, unscaled, the
same for all samples, without information.

Each is read from what ``reading`` says at the end of a run; see ``loop_mistakes``.
"""

import math

from landscape.training.causes import CALIBRATED, Rule, Sign, against_constant, little_gained, ramp
from landscape.training.evidence import Tail


def labels_say_nothing(tail: Tail) -> float:
    """Fits of left-out samples tell no more of the targets than of shuffled ones, with probability
    0.018 to 0.05 (one in twenty true ones is missed), or 2 to 1 % of their variance.
    """
    reading = tail.trace.reading
    if reading is None or math.isnan(reading.labels.p):
        return 0.0
    return max(ramp(reading.labels.p, 0.018, 0.05), ramp(reading.labels.told, 0.02, 0.01))


def _dropout(tail: Tail) -> float:
    reading = tail.trace.reading
    return 0.0 if reading is None else reading.dropout


def _dropped(tail: Tail) -> list[str]:
    return [
        f"a dropout of the model drops {_dropout(tail):.0%} of its units in every pass: the "
        f"gradients given have {tail.noise:.3g} times the squared norm of f's own",
        against_constant(tail),
    ]


def _no_information(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    labels = reading.labels
    return [
        f"nothing tells the targets from the inputs: of {labels.rows} samples, each left out of "
        f"kernel fits of the others, these tell {max(labels.told, 0.0):.1%} of the targets' "
        f"variance, and as much or more of shuffled targets with probability {labels.p:.2f}",
        against_constant(tail),
    ]


def _broken(tail: Tail) -> float:
    return 0.0 if tail.trace.reading is None else float(tail.trace.reading.broken)


def _lost(tail: Tail) -> float:
    return float(not math.isfinite(tail.loss))


def _not_finite(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"the {reading.broken_in} of {reading.broken:,} of {reading.samples:,} samples are not all "
        f"finite (NaN or inf): neither is the loss then, nor, after a step, any weight"
    ]


def _still(tail: Tail) -> float:
    reading = tail.trace.reading
    return math.nan if reading is None or not reading.columns else reading.still


def _dead_columns(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"{reading.still:.0%} of the {reading.columns:,} inputs are the same for all samples, and "
        f"so say nothing",
        against_constant(tail),
    ]


def _size(tail: Tail) -> float:
    """The larger of the inputs' root mean square and its inverse."""
    reading = tail.trace.reading
    if reading is None or not reading.size > 0:
        return math.nan
    return max(reading.size, 1 / reading.size)


def _unscaled(tail: Tail) -> float:
    """The clearest of three ways in which inputs are unscaled."""
    reading = tail.trace.reading
    if reading is None or not reading.columns:
        return 0.0
    return max(sign(tail) for sign in (LARGE, UNEVEN, OFFSET))


LARGE = Sign(
    "inputs far from size 1",
    _size,
    20.0,
    60.0,
    "root mean square; images of bytes have 80 and more, standardised inputs 1",
    decades=True,
)
UNEVEN = Sign(
    "one input far larger than the others",
    lambda tail: tail.trace.reading.uneven if tail.trace.reading else math.nan,
    30.0,
    200.0,
    "largest root mean square of a column over the median one: scikit-learn's digits have 3",
    decades=True,
)
OFFSET = Sign(
    "inputs far from mean 0",
    lambda tail: tail.trace.reading.offset if tail.trace.reading else math.nan,
    10.0,
    50.0,
    "median |mean| over standard deviation: digits have 1, years of birth 100",
    decades=True,
)


def unscaled_inputs(tail: Tail) -> float:
    """Inputs are far from size 1, from mean 0 or from one another: see LARGE, UNEVEN, OFFSET."""
    return _unscaled(tail)


def _scales(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"the inputs have root mean square {reading.size:.3g}, the largest column "
        f"{reading.uneven:.3g} times that of the median one, and means of {reading.offset:.2g} "
        f"standard deviations",
        against_constant(tail),
    ]


def _far(tail: Tail) -> float:
    reading = tail.trace.reading
    return math.nan if reading is None else reading.target_size


def _reached(tail: Tail) -> float:
    """The largest output over the root mean square of the targets."""
    reading = tail.trace.reading
    if reading is None or not reading.target_size > 0:
        return math.nan
    return reading.largest / reading.target_size


def _unscaled_targets(tail: Tail) -> list[str]:
    return [
        f"the targets have root mean square {_far(tail):.3g}, and no output is larger than "
        f"{_reached(tail):.2g} of that: outputs of size 1 have far to go",
        against_constant(tail),
    ]


def _differing(tail: Tail) -> float:
    """The spread of the outputs over samples, over the largest output."""
    reading = tail.trace.reading
    if reading is None or math.isnan(reading.spread):
        return math.nan
    return reading.spread / reading.largest if reading.largest > 0 else 0.0


def _none_zero(tail: Tail) -> float:
    """Whether no layer is zero, which makes outputs alike too."""
    return float(not tail.zeros)


def _alike(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    same = f"to {_differing(tail):.2g} of their size" if _differing(tail) > 0 else "to the last bit"
    return [
        f"the outputs are the same for all {reading.samples:,} samples, {same}, and the inputs are "
        f"not: what tells samples apart is lost in the model",
        against_constant(tail),
    ]


def _gained(tail: Tail) -> list[str]:
    return [f"{against_constant(tail)}: the outputs say no more than that one prediction does"]


RULES = (
    Rule(
        "data",
        0.99,
        "it is seen in the data themselves",
        (
            Sign("data are not finite", _broken, 0.0, 1.0, "a single one is enough"),
            Sign("nor is the loss", _lost, 0.0, 1.0, "a loss may leave such samples out"),
        ),
        _not_finite,
        "Fill or drop these samples: torch.isfinite(x) shows which they are.",
    ),
    Rule(
        "data",
        0.985,
        "units that die or saturate of such inputs are their consequence",
        (unscaled_inputs, little_gained(0.9, 0.99)),
        _scales,
        "Standardise the inputs: subtract the mean of each column, divide by its standard "
        "deviation.",
        ("standardised inputs",),
    ),
    Rule(
        "data",
        0.97,
        "a rate that is raised a thousandfold would reach them too",
        (
            Sign(
                "targets far from size 1",
                _far,
                20.0,
                60.0,
                "root mean square; standardised targets have 1",
                decades=True,
            ),
            Sign("outputs fall short of them", _reached, 0.9, 0.5, "1 is a target's size"),
            little_gained(0.9, 0.99),
        ),
        _unscaled_targets,
        "Standardise the targets: subtract their mean, divide by their standard deviation, and "
        "undo it to predict.",
    ),
    Rule(
        "data",
        0.94,
        "a model may be slow to use its inputs",
        (
            Sign(
                "outputs are alike",
                _differing,
                1e-5,
                1e-6,
                "rounding of float32 is 1e-7 of an output",
                decades=True,
            ),
            Sign("inputs differ", _still, 0.95, 0.6, f"the share that does not, {CALIBRATED}"),
            Sign("no layer is zero", _none_zero, 0.0, 1.0, "0 or 1"),
            little_gained(0.7, 0.95),
        ),
        _alike,
        "Follow two samples through the model until they become the same: an input that is "
        "overwritten, masked out or clamped, a wrong dimension, a multiplication by 0.",
    ),
    Rule(
        "data",
        0.96,
        "what few columns say may be enough",
        (
            Sign("inputs are constant", _still, 0.6, 0.95, f"their share, {CALIBRATED}"),
            little_gained(0.7, 0.95),
        ),
        _dead_columns,
        "Look at the inputs as the model gets them: most of them are the same for all samples.",
    ),
    Rule(
        "data",
        0.94,
        "other fits might tell the targets",
        (
            labels_say_nothing,
            little_gained(0.9, 0.99),
        ),
        _no_information,
        "Look at pairs of inputs and targets: are they shuffled against each other, or wrong?",
    ),
    Rule(
        "noise",
        0.978,
        "it is set, and what it kills or holds near zero is its consequence",
        (
            Sign("dropout leaves little", _dropout, 0.75, 0.9, "0.5 is the largest that is usual"),
            little_gained(0.7, 0.95),
        ),
        _dropped,
        "Lower the dropout: nn.Dropout(0.5) at most, 0.1 to start with.",
    ),
    Rule(
        "data",
        0.45,
        "what holds the run there is mostly something else",
        (little_gained(0.02, 0.06, unknown=0.0),),
        _gained,
        "Look at what holds it there: the other causes, the balance of the targets, the inputs.",
    ),
)
