"""Rules for losses that are given what they are not made for: probabilities, one output, targets
out of reach, shapes that broadcast.

Each is read from what ``reading`` says at the end of a run; see ``loop_mistakes``.
"""

import math

from landscape.training.causes import CALIBRATED, Rule, Sign, against_constant, little_gained
from landscape.training.evidence import Tail


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
        against_constant(tail),
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


RULES = (
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
            Sign("targets are out of reach", _beyond, 0.05, 0.3, f"their share, {CALIBRATED}"),
            little_gained(0.8, 0.98),
        ),
        _out_of_reach,
        "Leave out the last activation, or scale the targets into its range.",
    ),
)
