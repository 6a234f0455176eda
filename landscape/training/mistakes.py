"""Rules for what is no landscape's fault: the loop, the loss, the data. They are looked at first.

Each is read from what ``loop`` saw between steps and from what ``reading`` says at the end. Their
signs compare with numbers that follow from arithmetic where there are such, and else lie between
the runs of ``tests/benchmarks/causes.py`` that have the mistake and those that have not.
"""

import math
import statistics

from torch import Tensor

from landscape.training.causes import Rule, Sign, decades, ramp
from landscape.training.evidence import Tail
from landscape.training.moving import Habits

_CALIBRATED = "between the runs of the calibration with and without the mistake"


def little_gained(low: float, high: float, unknown: float = 1.0) -> Sign:
    """f is still near what a constant prediction costs."""
    return Sign(
        "little of what a constant prediction costs is gone",
        lambda tail: tail.progress,
        high,
        low,
        f"the share that is gone, {_CALIBRATED}",
        unknown=unknown,
    )


def shown(names: list[str]) -> str:
    """Some of the names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


# ---- the loop


def _left_over(tail: Tail) -> float:
    loop = tail.trace.loop
    known = [min(r, 1.0) for r in loop.carried if math.isfinite(r)] if loop else []
    return statistics.fmean(known) if known else math.nan


LEFT = Sign("gradients are left over", _left_over, 0.02, 0.1, "a cleared gradient leaves 0")


def _adds_up(tail: Tail) -> list[str]:
    words = [
        f"before backward() the gradient of the last step is still there: it is "
        f"{_left_over(tail):.0%} of the one that the optimiser is then given, so gradients add up"
    ]
    if not math.isfinite(tail.noise):
        return words
    times = math.sqrt(tail.noise)
    return [*words, f"the gradients given have {times:.3g} times the norm of f's own"]


def _without(tail: Tail) -> float:
    given = _in_steps(tail)
    return float((~(given > 0)).double().mean()) if len(given) else math.nan


def _in_steps(tail: Tail) -> Tensor:
    """Norms of the gradients given at records that were made in a step; when the run has ended the
    loop may have cleared them.
    """
    return tail.trace.batch_gradient_norm[tail.trace.update_norm.isfinite()]


def _own_gradient(tail: Tail) -> float:
    """What a move by the size of the weights would change by the gradient, over the loss's unit."""
    return tail.gradient * float(tail.trace.weight_norm[-1]) / tail.unit


def _none_given(tail: Tail) -> list[str]:
    given = _in_steps(tail)
    count = int((~(given > 0)).sum())
    moved = float(tail.trace.from_start[-1])
    return [
        f"in {count} of {len(given)} recorded steps the optimiser was given no "
        f"gradient, None or zero, where f's own has norm {tail.gradient:.3g}",
        f"the parameters have moved by {moved:.3g} in {tail.steps} steps",
    ]


def _share(tail: Tail, names: list[str]) -> float:
    """The share of |g|^2 that is in these parameters, over the run."""
    trace = tail.trace
    squares = trace.layer_gradient.square()
    squares = squares[squares.isfinite().all(1)]
    total = float(squares.sum())
    where = [i for i, k in enumerate(trace.layers) if k in set(names)]
    return float(squares[:, where].sum()) / total if total > 0 else math.nan


def _unmoved(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    return [] if loop is None else [*loop.outside, *loop.still]


def _held_back(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    assert loop is not None
    sizes = dict(zip(tail.trace.layers, loop.sizes, strict=True))
    words = []
    for names, why in (
        (loop.outside, "are in no group of the optimiser"),
        (loop.still, "are in a group whose rate is 0"),
    ):
        if names:
            count = sum(sizes[k] for k in names)
            words.append(
                f"{shown(names)}, {count:,} of its {sum(sizes.values()):,} parameters, {why}: they "
                f"have {_share(tail, names):.0%} of the squared gradient"
            )
    return words


def _frozen(tail: Tail) -> float:
    """The share of |g|^2 in parameters that require no gradient; 0 where there are none."""
    reading = tail.trace.reading
    return 0.0 if reading is None or math.isnan(reading.frozen) else reading.frozen


def _is_frozen(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    assert loop is not None
    free = sum(loop.sizes)
    return [
        f"{shown(loop.frozen)}, {loop.frozen_size:,} of {loop.frozen_size + free:,} parameters, "
        f"have requires_grad=False: {_frozen(tail):.0%} of the squared gradient would be theirs"
    ]


def _cut_off(tail: Tail) -> float:
    """The share of f's parameters that no gradient reaches."""
    loop = tail.trace.loop
    if loop is None:
        return math.nan
    sizes = dict(zip(tail.trace.layers, loop.sizes, strict=True))
    return sum(sizes[k] for k in tail.cut_off) / sum(sizes.values())


def _is_cut_off(tail: Tail) -> list[str]:
    return [
        f"the gradient of {shown(tail.cut_off)}, {_cut_off(tail):.0%} of all parameters, is "
        f"exactly zero at every record, and that of the others is not: nothing leads from the loss "
        f"to them"
    ]


def _pull(tail: Tail) -> float:
    """What weight decay adds to the gradient, over f's own gradient."""
    loop = tail.trace.loop
    if loop is None or not tail.gradient > 0:
        return math.nan
    return loop.decay * float(tail.trace.weight_norm[-1]) / tail.gradient


def decay_acts(tail: Tail) -> float:
    """Weight decay pulls with 0.1 to 0.5 of f's gradient, 1 where both balance; or by itself it
    would have shrunk the weights by exp(-1) to exp(-3).
    """
    loop = tail.trace.loop
    alone = 0.0 if loop is None else loop.decay * float(tail.trace.learning_rate.mean())
    return max(decades(_pull(tail), -1.0, math.log10(0.5)), ramp(alone * tail.steps, 1.0, 3.0))


SHRUNK = Sign(
    "weights have shrunk", lambda tail: tail.grown, 0.95, 0.75, f"over the run, {_CALIBRATED}"
)


def _decays(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    assert loop is not None
    return [
        f"weight_decay={loop.decay:g} pulls the weights to zero with {_pull(tail):.2g} times what "
        f"f's gradient does",
        f"they have shrunk to {tail.grown:.2g} of their norm at the start",
    ]


def _along(tail: Tail) -> float:
    """The cosine between the gradients given and the weights, its upper quartile over the looks,
    since where both balance it is none; NaN unknown.
    """
    loop = tail.trace.loop
    known = sorted(c for c in loop.along if math.isfinite(c)) if loop else []
    return known[3 * len(known) // 4] if known else math.nan


def _no_decay_given(tail: Tail) -> float:
    return float(tail.trace.loop is not None and tail.trace.loop.decay == 0)


def _pulled(tail: Tail) -> list[str]:
    return [
        f"the gradients given point along the weights (cosine {_along(tail):.2g}) and are "
        f"{_given(tail):.2g} times as long as f's own: something in the loop that is no part of f "
        f"pulls all weights to zero",
        f"they have shrunk to {tail.grown:.2g} of their norm at the start",
    ]


def _is_hidden(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    assert loop is not None
    return [
        f"{shown(loop.hidden)} are layers or tensors in plain Python containers or attributes, so "
        f"model.parameters() does not give them, and no optimiser moves them"
    ]


def _hidden(tail: Tail) -> float:
    return 0.0 if tail.trace.loop is None else float(bool(tail.trace.loop.hidden))


def climbing(tail: Tail) -> float:
    """The loss rose at 80 to 95 % of the records, in the end by 0.1 to 0.5 of what gradients
    promised that it would fall, and not by 3 to 10 times that: steps go up the gradient. Steps that
    overshoot go up and down; what rises more is moved by other things than steps.

    A loss that has a ceiling rises until it is near it: then these are the records until 0.95 of
    the rise is there, six at least, and it has not come down since by a tenth of it.
    """
    losses = tail.trace.loss
    told = ramp(-tail.efficiency, 0.1, 0.5) * ramp(-tail.efficiency, 10.0, 3.0)
    return max(ramp(_rose(losses), 0.8, 0.95) * told, _climbed(tail))


def _rose(losses: Tensor) -> float:
    """The share of records at which the loss rose."""
    return float((losses[1:] > losses[:-1]).double().mean())


def _climbed(tail: Tail) -> float:
    """``climbing`` to a ceiling that is reached within the run."""
    losses = tail.trace.loss
    rise = float(losses.max() - losses[0])
    if not rise > 0.1 * tail.unit:
        return 0.0
    end = int((losses >= losses[0] + 0.95 * rise).nonzero()[0]) + 1
    stays = float(losses[end - 1 :].min() - losses[0]) > 0.9 * rise
    promised = (tail.rates * tail.trace.gradient_norm.square())[1:end]
    span = float(tail.trace.steps[end - 1] - tail.trace.steps[0])
    came = rise / (span * float(promised.mean())) if bool(promised.mean() > 0) else math.inf
    told = ramp(came, 0.1, 0.5) * ramp(came, 10.0, 3.0)
    return ramp(_rose(losses[:end]), 0.8, 0.95) * told if end >= CLIMB and stays else 0.0


# Records of a climb to a ceiling.
CLIMB = 6


def _climbs(tail: Tail) -> list[str]:
    top, last = float(tail.trace.loss.max()), tail.trace.steps[-1]
    if _climbed(tail) > 0.05:
        return [
            f"the loss rose steadily from {tail.first:.3g} to {top:.3g}, by about as much as steps "
            f"of that length should have lowered it, and is {tail.loss:.3g} at step {last}: steps "
            f"go up f's gradient"
        ]
    return [
        f"the steps should have lowered the loss by {tail.promised:.3g}; it rose by "
        f"{-tail.fall:.3g}, from {tail.first:.3g} at the start to {tail.loss:.3g}: steps go up f's "
        f"gradient"
    ]


def _undone(tail: Tail) -> float:
    """The share of a step that is gone before the next, the least that was seen: what holds
    weights within bounds begins where they come to these.
    """
    loop = tail.trace.loop
    known = [u for u in loop.undone if math.isfinite(u)] if loop else []
    return min(known) if known else math.nan


def _written_back(tail: Tail) -> list[str]:
    return [
        f"between one step and the next at least {_undone(tail):.1%} of the step is undone: "
        f"something else writes the parameters"
    ]


def _mixed(tail: Tail) -> float:
    """The classes in a step's rows beyond one, over those that as many rows drawn at random from
    f's samples would have; NaN where the loss is none of classes.
    """
    loop, reading = tail.trace.loop, tail.trace.reading
    if loop is None or reading is None or len(reading.balance) < 2 or not loop.shown:
        return math.nan
    drawn = sum(1 - (1 - p) ** rows for rows in loop.shown for p in reading.balance)
    looks = len(loop.shown)
    return (sum(loop.kinds) - looks) / (drawn - looks) if drawn > 1.2 * looks else math.nan


def _sorted(tail: Tail) -> list[str]:
    loop, reading = tail.trace.loop, tail.trace.reading
    assert loop is not None
    assert reading is not None
    return [
        f"{len(loop.shown)} steps that were looked at were shown {statistics.fmean(loop.kinds):.2g}"
        f" classes each on average, in {statistics.fmean(loop.shown):.3g} rows; f's samples have "
        f"{len(reading.balance)}: a step unlearns what another has learned"
    ]


def _one_batch(tail: Tail) -> float:
    loop = tail.trace.loop
    if loop is None or loop.passes < 3:
        return math.nan
    return float(loop.batches == 1)


def _part(tail: Tail) -> float:
    """The rows of a batch, as a share of f's samples."""
    loop, reading = tail.trace.loop, tail.trace.reading
    return math.nan if loop is None or reading is None else loop.rows / max(reading.samples, 1)


def _inputs_differ(tail: Tail) -> float:
    """The share of the inputs that differ between samples; NaN where they are no numbers."""
    reading = tail.trace.reading
    return math.nan if reading is None or not reading.columns else 1 - reading.still


DIFFER = Sign(
    "inputs differ", _inputs_differ, 0.0, 1e-4, "where all are the same so is a batch", unknown=1.0
)


def _same_batch(tail: Tail) -> list[str]:
    loop = tail.trace.loop
    assert loop is not None
    return [
        f"all {loop.passes} passes that were looked at had the same {loop.rows} rows, which are "
        f"{_part(tail):.0%} of f's samples"
    ]


def _given(tail: Tail) -> float:
    """Norm of the gradients given over that of f's own: less than 1 only if something shrinks it,
    since the mean square of a mini-batch's gradient is at least that of the mean gradient.
    """
    return math.sqrt(tail.noise) if tail.noise >= 0 else math.nan


def _level(tail: Tail) -> float:
    """How much the norms of the gradients given differ, over their mean."""
    norms = tail.trace.batch_gradient_norm[tail.late]
    norms = norms[norms.isfinite()]
    return float(norms.std(correction=0) / norms.mean()) if len(norms) > 1 else math.nan


def _unscaled_steps(tail: Tail) -> float:
    """1 where a step is as long as its gradient says: not in Adam and its like."""
    return float(not bool((tail.trace.second_moment_norm > 0).any()))


def _clipped(tail: Tail) -> list[str]:
    norms = tail.trace.batch_gradient_norm[tail.late]
    norm = float(norms[norms.isfinite()].mean())
    return [
        f"the gradients that the optimiser is given all have norm {norm:.3g}, {_given(tail):.2g} "
        f"of f's own: they are clipped to it, and so is every step"
    ]


def _given_most(tail: Tail) -> float:
    """The largest such ratio of all late records; NaN where none is known."""
    ratios = (tail.trace.batch_gradient_norm / tail.trace.gradient_norm)[tail.late]
    ratios = ratios[ratios.isfinite()]
    return float(ratios.max()) if len(ratios) else math.nan


def _divided(tail: Tail) -> list[str]:
    return [
        f"the gradients that the optimiser is given have {_given(tail):.2g} of the norm of f's "
        f"own: the loop divides the loss, or them, by {1 / _given(tail):.2g} or more, and with "
        f"them every step"
    ]


def habits(tail: Tail) -> Habits:
    """What the loop does with gradients, as far as it was seen."""
    norms = tail.trace.batch_gradient_norm[tail.late]
    clips = _given(tail) < 0.7 and _level(tail) < 0.05
    return Habits(
        adds_up=LEFT(tail) == 1,
        gives_none=_without(tail) > 0.9,
        clip=float(norms[norms.isfinite()].mean()) if clips else math.inf,
        one_batch=_one_batch(tail) == 1 and _part(tail) < 0.95 and DIFFER(tail) == 1,
    )


# ---- the loss


def _criterion(tail: Tail, *names: str) -> bool:
    reading = tail.trace.reading
    return reading is not None and reading.criterion in names


def _last(tail: Tail, *names: str) -> bool:
    reading = tail.trace.reading
    return reading is not None and reading.last in names


def _off(tail: Tail, over: str, *criteria: str) -> float:
    """How far outputs, or their exponentials, are from a sum of 1."""
    reading = tail.trace.reading
    if reading is None or reading.criterion not in criteria:
        return math.nan
    return float(getattr(reading, over))


def softmax_floor(classes: int) -> float:
    """The least cross-entropy of outputs that are probabilities: log(1 + (classes - 1) / e)."""
    return math.log1p((classes - 1) / math.e)


def _probabilities(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    floor = softmax_floor(reading.classes)
    how = f" (the model ends in {reading.last})" if reading.last else ""
    return [
        f"the outputs are probabilities: never negative, with a sum of 1 in every sample{how}, and "
        f"cross-entropy takes their softmax again",
        f"of such outputs over {reading.classes} classes the loss cannot fall below {floor:.4f}, "
        f"its floor; it is {reading.loss:.4f}",
    ]


def _over_batch(tail: Tail) -> list[str]:
    return [
        "the outputs of a class have a sum of 1 over the samples of a batch: a softmax was taken "
        "along the wrong dimension"
    ]


def _bounded(tail: Tail) -> float:
    squashed = _criterion(tail, "cross_entropy") and _last(tail, "sigmoid", "tanh")
    return float(squashed)


def _squashed(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    low, high = (0, 1) if reading.last == "sigmoid" else (-1, 1)
    floor = math.log1p((reading.classes - 1) * math.exp(low - high))
    return [
        f"the model ends in {reading.last}, so its outputs lie between {low} and {high}, and "
        f"cross-entropy takes their softmax: the loss cannot fall below {floor:.4f}, its floor; it "
        f"is {reading.loss:.4f}"
    ]


def _of_softmax(tail: Tail) -> float:
    return float(
        _criterion(tail, "nll_loss", "cross_entropy") and _last(tail, "log_softmax of softmax")
    )


def _softmax_below(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    floor = softmax_floor(reading.classes)
    return [
        f"the outputs are the log_softmax of a softmax, so two are taken: the loss cannot fall "
        f"below {floor:.4f}, its floor; it is {reading.loss:.4f}"
    ]


def _of_one(tail: Tail) -> float:
    reading = tail.trace.reading
    ones = reading is not None and reading.classes == 1 and reading.low == reading.high == 1.0
    return float(ones and _last(tail, "softmax"))


def _one_output(tail: Tail) -> list[str]:
    return ["a softmax is taken over one output, so it is 1 for every sample, whatever the weights"]


def _mixing(tail: Tail) -> float:
    reading = tail.trace.reading
    return math.nan if reading is None else reading.mixed


def _mixes(tail: Tail) -> list[str]:
    return [
        f"outputs of samples change by {_mixing(tail):.2g} of their spread when other samples "
        f"leave the batch, in evaluation mode: the model mixes samples"
    ]


def _single(tail: Tail) -> float:
    reading = tail.trace.reading
    return 0.0 if reading is None else float(bool(reading.single))


def _levelled(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"a {reading.single} is taken over one number, which gives the same whatever the number is",
        _against_constant(tail),
    ]


def _numbered(tail: Tail) -> float:
    reading = tail.trace.reading
    return 0.0 if reading is None else float(reading.numbered)


def _class_numbers(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"{reading.criterion} compares the outputs with the numbers of {reading.numbered} classes, "
        f"0 to {reading.numbered - 1}, as if class 2 lay between 1 and 3"
    ]


def _no_logits(tail: Tail) -> float:
    reading = tail.trace.reading
    if reading is None or reading.criterion != "binary_cross_entropy_with_logits":
        return 0.0
    return float(reading.last in ("sigmoid", "softmax"))


def _sigmoid_twice(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"the outputs lie between {reading.low:.3g} and {reading.high:.3g} (the model ends in "
        f"{reading.last}): they are probabilities, and binary_cross_entropy_with_logits takes "
        f"their sigmoid again, which lies between 0.5 and 0.731",
        f"where the target is 0 the loss cannot fall below {math.log(2):.4f}, and where it is 1 "
        f"not below {math.log1p(math.exp(-1)):.4f}",
    ]


def _not_log(tail: Tail) -> float:
    """How far exponentials of what nll_loss takes are from probabilities."""
    return _off(tail, "off_log", "nll_loss")


def _no_log(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    what = "probabilities" if reading.low >= 0 and reading.off_one < 1e-2 else "no logarithms"
    return [
        f"nll_loss takes log-probabilities, and the outputs are {what}: they lie between "
        f"{reading.low:.3g} and {reading.high:.3g}, and their exponentials miss a sum of 1 by up "
        f"to {reading.off_log:.2g}"
    ]


def _log_twice(tail: Tail) -> list[str]:
    return [
        "the outputs are log-probabilities already, and cross-entropy takes their log-softmax once "
        "more: this changes no value and no gradient, but one of the two is meant to go"
    ]


def _shapes(tail: Tail) -> float:
    reading = tail.trace.reading
    return float(reading is not None and bool(reading.shapes))


def _broadcast(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"{reading.shapes} broadcast: every output is compared with every target, so that the best "
        f"output is their mean"
    ]


def _beyond(tail: Tail) -> float:
    reading = tail.trace.reading
    return math.nan if reading is None else reading.beyond


def _out_of_reach(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    return [
        f"the model ends in {reading.last}, and {reading.beyond:.0%} of the targets lie outside of "
        f"what that can give: the loss has a floor above 0"
    ]


# ---- the data


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
        _against_constant(tail),
    ]


def _against_constant(tail: Tail) -> str:
    reading = tail.trace.reading
    assert reading is not None
    return (
        f"the loss is {reading.loss:.4g}, and one prediction for all samples costs "
        f"{reading.constant:.4g}"
    )


def _no_information(tail: Tail) -> list[str]:
    reading = tail.trace.reading
    assert reading is not None
    labels = reading.labels
    return [
        f"nothing tells the targets from the inputs: of {labels.rows} samples, each left out of "
        f"kernel fits of the others, these tell {max(labels.told, 0.0):.1%} of the targets' "
        f"variance, and as much or more of shuffled targets with probability {labels.p:.2f}",
        _against_constant(tail),
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
        _against_constant(tail),
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
        _against_constant(tail),
    ]


def _gained(tail: Tail) -> list[str]:
    return [f"{_against_constant(tail)}: the outputs say no more than that one prediction does"]


MISTAKES = (
    Rule(
        "loop",
        0.99,
        "it is seen directly, and nobody means it",
        (LEFT,),
        _adds_up,
        "Call optimizer.zero_grad() in every step, before backward().",
        ("zero_grad and backward",),
    ),
    Rule(
        "loop",
        0.99,
        "it is seen directly; f's own gradient tells it from a stationary point",
        (
            Sign("no gradients are given", _without, 0.5, 0.9, "of the recorded steps; else 0"),
            Sign(
                "f has a gradient",
                _own_gradient,
                1e-8,
                1e-6,
                "above rounding, below any run that moves",
                decades=True,
            ),
        ),
        _none_given,
        "Call loss.backward() in every step, before optimizer.step(), with zero_grad() not between "
        "the two.",
        ("zero_grad and backward",),
    ),
    Rule(
        "loop",
        0.977,
        "layers may be left out on purpose",
        (
            Sign(
                "the gradient is in parameters that do not move",
                lambda tail: _share(tail, _unmoved(tail)),
                0.05,
                0.3,
                f"share of |g|^2, {_CALIBRATED}",
            ),
            little_gained(0.5, 0.9),
        ),
        _held_back,
        "Make the optimiser of all parameters that are to be trained, or add them with "
        "optimizer.add_param_group.",
        ("all parameters",),
    ),
    Rule(
        "loop",
        0.975,
        "the model's own attributes show it",
        (Sign("layers are hidden", _hidden, 0.0, 1.0, "attributes"), little_gained(0.7, 0.95)),
        _is_hidden,
        "Register them: nn.ModuleList([...]) for a list of layers, nn.ModuleDict for a dict, "
        "nn.Parameter(...) for a tensor; then make the optimiser.",
    ),
    Rule(
        "loop",
        0.975,
        "a rate that is too large makes a loss rise too, but not steadily",
        (climbing,),
        _climbs,
        "Look at the sign of the loss: loss.backward() and optimizer.step() make it smaller, so "
        "-loss or maximize=True makes it larger.",
    ),
    Rule(
        "loop",
        0.93,
        "layers are mostly frozen on purpose",
        (
            Sign(
                "the gradient is in frozen parameters", _frozen, 0.02, 0.1, "share of |g|^2", True
            ),
            little_gained(0.5, 0.9),
        ),
        _is_frozen,
        "Thaw them: for p in model.parameters(): p.requires_grad_(True), and make the optimiser "
        "of all of them.",
    ),
    Rule(
        "loop",
        0.97,
        "a part of the model may be left out on purpose",
        (
            Sign("no gradient reaches some parameters", _cut_off, 0.05, 0.2, "their share"),
            Sign("inputs speak", _inputs_differ, 0.05, 0.4, "zeros give no gradient", unknown=1.0),
            little_gained(0.5, 0.9),
        ),
        _is_cut_off,
        "Look for .detach(), .item(), .data, torch.no_grad() or argmax between these layers and "
        "the loss, and take it out.",
    ),
    Rule(
        "loop",
        0.975,
        "a flat or saddle-like look at zero is its consequence",
        (
            decay_acts,
            SHRUNK,
            little_gained(0.5, 0.9),
        ),
        _decays,
        "Lower it: weight_decay=1e-4 is usual, 0 is none.",
        ("no weight decay",),
    ),
    Rule(
        "loop",
        0.965,
        "a flat or saddle-like look at zero is its consequence",
        (
            Sign("gradients given point along the weights", _along, 0.3, 0.5, "0 where f decides"),
            Sign("they are longer than f's own", _given, 1.5, 3.0, "1 where f alone pulls"),
            Sign("the optimiser has no decay", _no_decay_given, 0.0, 1.0, "which would not show"),
            SHRUNK,
            little_gained(0.5, 0.9),
        ),
        _pulled,
        "Lower the penalty on the weights that the loop adds to the loss, or give it to f too.",
    ),
    Rule(
        "loop",
        0.985,
        "it is seen directly, and f's loss shows that it is not meant",
        (
            Sign("all passes see one batch", _one_batch, 0.0, 1.0, "the inputs are compared"),
            DIFFER,
            Sign("a batch is a part of the data", _part, 0.95, 0.7, "all of it is full batch"),
            little_gained(0.9, 0.99),
        ),
        _same_batch,
        "Draw a new batch in every step: next(iter(loader)) in the loop starts the loader anew.",
        ("new batches",),
    ),
    Rule(
        "loop",
        0.98,
        "weights that are held within bounds are moved between steps too",
        (
            Sign("steps are undone", _undone, 0.5, 0.9, "0 where only steps move the weights"),
            little_gained(0.7, 0.95),
        ),
        _written_back,
        "Look for what writes the parameters between steps: load_state_dict, p.data = ..., "
        "p.copy_(...), an average of the weights (EMA) that is copied back. Keep such weights in a "
        "model of their own.",
    ),
    Rule(
        "loop",
        0.976,
        "units that die of it, and rates that look too large, are its consequence",
        (
            Sign("a step is shown few classes", _mixed, 0.5, 0.2, "1 where rows are drawn"),
            little_gained(0.7, 0.95),
        ),
        _sorted,
        "Shuffle the samples: DataLoader(data, batch_size=..., shuffle=True).",
    ),
    Rule(
        "loop",
        0.96,
        "what shrinks the gradients is not seen, only that they are shrunk to one norm",
        (
            Sign("gradients given are short", _given, 0.7, 0.3, "of f's own; 1 at least", True),
            Sign("they have one norm", _level, 0.2, 0.05, "clipped ones differ by rounding"),
            Sign("the optimiser does not scale", _unscaled_steps, 0.0, 1.0, "Adam undoes it"),
            little_gained(0.7, 0.95),
        ),
        _clipped,
        "Clip at a larger norm, above that of most gradients, or not at all.",
        ("no clipping",),
    ),
    Rule(
        "loop",
        0.95,
        "f's own loss may be scaled on purpose",
        (
            Sign("gradients given are tiny", _given_most, 0.1, 0.01, "of f's at most", True),
            Sign("they differ", _level, 0.01, 0.05, "clipped ones have one norm"),
            Sign("the optimiser does not scale", _unscaled_steps, 0.0, 1.0, "Adam undoes it"),
            little_gained(0.7, 0.95),
        ),
        _divided,
        "Give backward() the mean loss of the batch, over as many batches as are accumulated; or "
        "raise the rate by as much.",
    ),
    Rule(
        "loss",
        0.98,
        "it is seen in the outputs themselves",
        (
            Sign(
                "outputs are probabilities",
                lambda tail: _off(tail, "off_one", "cross_entropy"),
                1e-2,
                1e-3,
                "distance of their sum from 1; float32 rounding is 1e-6",
                decades=True,
            ),
        ),
        _probabilities,
        "Leave the softmax out of the model, so that cross_entropy gets the outputs before the "
        "softmax: loss = F.cross_entropy(logits, target). Probabilities are logits.softmax(1), "
        "outside of the loss.",
    ),
    Rule(
        "loss",
        0.97,
        "it is seen in the outputs themselves",
        (
            Sign(
                "outputs sum to 1 over the batch",
                lambda tail: _off(tail, "off_one_batch", "cross_entropy", "nll_loss"),
                1e-2,
                1e-3,
                "as for probabilities",
                decades=True,
            ),
        ),
        _over_batch,
        "Take the softmax along the classes, dim=1; for cross_entropy take none.",
    ),
    Rule(
        "loss",
        0.97,
        "the last operation bounds the outputs",
        (Sign("outputs are bounded", _bounded, 0.0, 1.0, "the last operation"),),
        _squashed,
        "Give cross_entropy outputs without bounds: leave out the last activation.",
    ),
    Rule(
        "loss",
        0.98,
        "the last operations are known",
        (Sign("a softmax is taken twice", _of_softmax, 0.0, 1.0, "the last two operations"),),
        _softmax_below,
        "Leave the softmax out: return F.log_softmax(logits, dim=1), and nll_loss of it.",
    ),
    Rule(
        "loss",
        0.98,
        "it is seen in the outputs themselves",
        (Sign("outputs are all 1", _of_one, 0.0, 1.0, "a softmax over one output"),),
        _one_output,
        "Leave the softmax out: loss = F.binary_cross_entropy_with_logits(logits, target), or give "
        "the model two outputs and cross_entropy.",
    ),
    Rule(
        "loss",
        0.93,
        "a model may be meant to compare samples, and still learns",
        (
            Sign("samples are mixed", _mixing, 1e-3, 1e-1, "rounding is 1e-6", decades=True),
            little_gained(0.5, 0.9),
        ),
        _mixes,
        "Look at the order of dimensions: batch_first=True where the batch is first, permute and "
        "not view to change their order, dim=1 for what is done along a sample.",
    ),
    Rule(
        "loss",
        0.98,
        "the operation is known",
        (
            Sign("one number is normalised", _single, 0.0, 1.0, "the shape that is normalised"),
            little_gained(0.5, 0.9),
        ),
        _levelled,
        "Leave this normalisation out, or normalise more than one number by it.",
    ),
    Rule(
        "loss",
        0.955,
        "ratings and counts are numbers too",
        (
            Sign("targets are numbers of classes", _numbered, 2.0, 3.0, "0 to k - 1, evenly"),
            little_gained(0.85, 0.95),
        ),
        _class_numbers,
        "Give the model one output a class, and write F.cross_entropy(logits, target.long()).",
    ),
    Rule(
        "loss",
        0.98,
        "the last operation is known",
        (Sign("outputs are no logits", _no_logits, 0.0, 1.0, "the last operation"),),
        _sigmoid_twice,
        "Leave the sigmoid out of the model: loss = F.binary_cross_entropy_with_logits(logits, "
        "target); or keep it, and write loss = F.binary_cross_entropy(output, target).",
    ),
    Rule(
        "loss",
        0.97,
        "it is seen in the outputs themselves",
        (
            Sign(
                "outputs are no log-probabilities",
                _not_log,
                1e-3,
                1e-2,
                "distance of the sum of exponentials from 1; rounding is 1e-6",
                decades=True,
            ),
        ),
        _no_log,
        "Write loss = F.nll_loss(F.log_softmax(logits, dim=1), target), or what is the same, "
        "loss = F.cross_entropy(logits, target), with the logits before any softmax.",
    ),
    Rule(
        "loss",
        0.5,
        "it costs nothing by itself",
        (
            Sign(
                "outputs are log-probabilities",
                lambda tail: _off(tail, "off_log", "cross_entropy"),
                1e-2,
                1e-3,
                "distance of the sum of exponentials from 1",
                decades=True,
            ),
            little_gained(0.2, 0.5),
        ),
        _log_twice,
        "Give cross_entropy the outputs before log_softmax, or use nll_loss.",
    ),
    Rule(
        "loss",
        0.98,
        "it is seen in the shapes",
        (Sign("shapes broadcast", _shapes, 0.0, 1.0, "the shapes that are compared"),),
        _broadcast,
        "Give both one shape: loss = F.mse_loss(output.squeeze(1), target), or "
        "target.unsqueeze(1) in its place.",
    ),
    Rule(
        "loss",
        0.978,
        "a few targets may be out of reach on purpose; units before it die of it",
        (
            Sign("targets are out of reach", _beyond, 0.05, 0.3, f"their share, {_CALIBRATED}"),
            little_gained(0.8, 0.98),
        ),
        _out_of_reach,
        "Leave out the last activation, or scale the targets into its range.",
    ),
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
        0.96,
        "what few columns say may be enough",
        (
            Sign("inputs are constant", _still, 0.6, 0.95, f"their share, {_CALIBRATED}"),
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
