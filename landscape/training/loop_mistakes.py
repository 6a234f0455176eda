"""Rules for mistakes in a loop: gradients that add up or are not there, parameters left out, steps
cut short. They are looked at first.

Each is read from what ``loop`` saw between steps. Their signs compare with numbers that follow from
arithmetic where there are such, and else lie between the runs of ``tests/benchmarks/causes.py``
that have the mistake and those that have not.
"""

import math
import statistics

from torch import Tensor

from landscape.training.causes import CALIBRATED, Rule, Sign, decades, little_gained, ramp, shown
from landscape.training.evidence import Tail
from landscape.training.moving import Habits


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
    "weights have shrunk", lambda tail: tail.grown, 0.95, 0.75, f"over the run, {CALIBRATED}"
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
    return float(not tail.adaptive)


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


RULES = (
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
                f"share of |g|^2, {CALIBRATED}",
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
        "Look for .detach(), .item(), .data, torch.no_grad(), argmax or a mask of zeros between "
        "these layers and the loss, and take it out.",
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
)
