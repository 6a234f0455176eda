"""What a loss divides by, and so what each batch counts in the mean over all the data.

A mean over something has L(b) = S(b) / m(b), with S and m sums over the samples of a batch b. So
for a batch cut into parts, L(b) = sum m_i L_i / sum m_i, for the right way m of counting and for no
other whose shares differ between the parts. Of torch's own losses the way is known. Of any other it
is measured: every way that is thought of is held against cuts of two batches on which the ways
differ most. Where none is left, the weights of classes are solved from pairs of samples, L({i, j})
= (w_i L_i + w_j L_j) / (w_i + w_j); and where that fails, samples are coupled, or something else is
counted.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.losses import unwrapped

IGNORED = -100
BY_LIST = "entries of a list, a sample each"
BY_ENTRY = "entries of the target"  # what torch's losses count that compare entry by entry
# Values of a target that may mark what is left out of a mean; beyond so many, only IGNORED, 0 and
# -1 are tried.
VALUES = 40
CLASSES = 64
FEW = 4  # samples of a batch that is not made smaller where memory runs out
# What a right way of counting may miss by, in rounding units of the coarsest arithmetic inside, and
# at most; relative to the loss.
ROUNDING = 2**12
MOST = 0.02
# Of what losses differ by: more than a small number that keeps a divisor from 0 changes, and less
# than a function of a mean does.
GUARD = 1e-6
CLOSE = 4.0  # in the same units: what rounding alone makes a right way miss by
UNTOLD = -1.0  # the miss of a way of which nothing has told yet
FAR = 16.0  # times the best way's miss: what a right way does not reach
ENTRIES = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.PoissonNLLLoss,
    nn.SoftMarginLoss,
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.poisson_nll_loss,
    F.soft_margin_loss,
)
BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, F.cross_entropy, F.nll_loss)


class Judge(Protocol):
    """The loss of a batch, or of its part at some indices along a dimension; it raises where a
    batch cannot be cut.
    """

    def __call__(self, batch: Batch, part: Tensor | None, dim: int = 0, /) -> float: ...


@dataclass(frozen=True)
class Mean:
    """What batches count."""

    counts: list[float]  # one a batch, as found or stated; their shares are the weights
    what: str  # samples, entries, targets other than -100, class weights, ...
    how: str  # stated, known, measured, solved, one batch, assumed, coupled
    total: bool = False  # whether the loss was found to be a sum over samples
    # what any other batch of the same kind counts, a piece of one say
    count: Callable[[Batch], float] = field(default=batching.samples, repr=False, compare=False)


def stated(weight: Callable[[Batch], float], batches: Sequence[Batch]) -> Mean:
    """What a user's ``weight=`` says."""
    return _counted(lambda batch: float(weight(batch)), batches, "what weight= counts", "stated")


def _counted(
    count: Callable[[Batch], float],
    batches: Iterable[Batch],
    what: str,
    how: str,
    *,
    total: bool = False,
) -> Mean:
    return Mean([float(count(batch)) for batch in batches], what, how, total, count)


def known(loss: Any, batches: Sequence[Batch]) -> Mean | None:
    """The way of counting of torch's own losses, of a partial of one, and of losses that tell it by
    ``weight(target)``.
    """
    function, options = unwrapped(loss)
    own = getattr(function, "weight", None)
    kind = function if not isinstance(function, nn.Module) else type(function)
    if kind in BY_CLASS:
        by_class = partial(_by_class, function, options)
        return _counted(by_class, batches, "kept targets, by class weights", "known")
    if callable(own):
        by_loss = partial(_of_target, own)
        return _counted(by_loss, batches, "what the loss's own weight() counts", "known")
    if kind in ENTRIES:
        return _counted(_entries, batches, BY_ENTRY, "known")
    return None


def _tensor_target(batch: Batch) -> Tensor:
    """The target of a batch for a loss of torch's own.

    Raises:
        TypeError: it is no tensor.
    """
    target = batching.split(batch)[1]
    if not isinstance(target, Tensor):
        raise TypeError(
            f"a loss of torch's own takes tensors, and the target of a batch is a "
            f"{type(target).__module__}.{type(target).__qualname__}: make tensors of the data, "
            "with torch.as_tensor say."
        )
    return target


def measured(
    judge: Judge, batches: Sequence[Batch], eps: float, coarse: float | None = None
) -> Mean:
    """The way of counting of any other loss.

    Args:
        judge: see ``Judge``.
        batches: all of them.
        eps: of the dtype in which the loss is computed.
        coarse: of the coarsest one that it passes through; None: the same.

    Cost: the loss of some ten parts of two batches and of both together.
    """
    within = _Rounding(eps, min(ROUNDING * (coarse or eps), MOST))
    listed = _by_list(judge, batches, within)
    if listed:
        return _counted(len, batches, BY_LIST, "measured", total=listed == "sum")
    return _of_rows(judge, batches, within)


def _of_rows(judge: Judge, batches: Sequence[Batch], within: "_Rounding") -> Mean:
    """The way of counting where samples lie along a dimension."""
    values = _values(batches)
    ways = [_ways(batch, values) for batch in batches]
    samples = [float(batching.samples(batch)) for batch in batches]
    tried = [batches[i] for i in _telling(ways, samples)]
    with suppress(RuntimeError, TypeError, ValueError, KeyError):  # of other shapes: each alone
        tried.append(batching.joined(tried))
    held = _within_memory(judge, batches, tried, values, within)
    if held is None:
        return Mean(samples, "samples", "assumed")
    alive, total, weights = held
    if weights:
        return _counted(partial(_weighed_batch, weights), batches, _told(weights), "measured")
    along = partial(_along_any, judge, tried, within)
    if total and "samples" not in alive:
        if along() == "entries":  # (time, batch), a sum over time
            what = "sequences, along the second dimension"
            return _counted(_sequences, batches, what, "measured")
        return Mean(samples, "samples", "measured", total=True)
    found = _chosen(alive, ways, samples, values)
    if found.how == "assumed" and {"samples", "entries"} <= alive:
        way, others = along(), alive - {"samples", "entries"}
        return _chosen({way, *others}, ways, samples, values) if way else found
    return found


@dataclass(frozen=True)
class _Rounding:
    """Of losses, relative to them."""

    eps: float  # the unit of their dtype
    most: float  # what a right way of counting may miss by

    def missed(self, losses: Sequence[float], whole: float) -> float:
        """What a right way of counting may miss the loss of a whole by, relative to the largest."""
        size = max(abs(whole), *map(abs, losses)) or 1.0
        return max(self.most, GUARD * (max(losses) - min(losses)) / size)


def _by_list(judge: Judge, batches: Sequence[Batch], within: _Rounding) -> str:
    """Whether batches are lists with a tensor a sample, of whose losses theirs is the "mean" or the
    "sum", as a cut of two of the lists tells; "" elsewhere.
    """
    if not all(type(batch) in (list, tuple) and _are_tensors(batch) for batch in batches):
        return ""
    tried = sorted((b for b in batches if len(b) > 1), key=len)[-2:]
    try:
        found = {_of_list(judge, batch, within) for batch in tried}
    except Exception:  # a loss that takes (input, target) refuses one of them
        return ""
    return found.pop() if len(found) == 1 else ""


def _are_tensors(batch: Batch) -> bool:
    return all(isinstance(entry, Tensor) for entry in batch)


def _of_list(judge: Judge, batch: Batch, within: _Rounding) -> str:
    whole, cut = judge(batch, None), max(1, len(batch) // 3)
    losses = [judge(batch[:cut], None), judge(batch[cut:], None)]
    size = max(abs(whole), *map(abs, losses))
    if all(abs(loss - whole) <= CLOSE * within.eps * size for loss in losses):
        return ""
    mean = (cut * losses[0] + (len(batch) - cut) * losses[1]) / len(batch)
    if abs(mean - whole) <= within.most * size:
        return "mean"
    return "sum" if abs(sum(losses) - whole) <= within.most * size else ""


def _along_any(judge: Judge, tried: Sequence[Batch], within: _Rounding) -> str:
    return next(filter(None, (_along(judge, batch, within) for batch in tried)), "")


def _within_memory(
    judge: Judge,
    batches: Sequence[Batch],
    tried: Sequence[Batch],
    values: Sequence[int],
    within: _Rounding,
) -> tuple[set[str], bool, dict[int, float] | None] | None:
    """What ``_left`` says, and the weights of classes where it leaves nothing, of fewer samples
    where memory runs out; None where the loss refuses them.
    """
    kept = [tried]  # a judge may know batches by their identity
    while True:
        try:
            alive, total = _left(judge, kept[-1], values, within)
            solved = not (alive or total)
            weights = _class_weights(judge, batches, kept[-1], within.eps) if solved else None
            return alive, total, weights
        except Exception as error:  # a user's loss may refuse any part of a batch, or a small one
            if not memory_is_full(error) or max(map(batching.samples, kept[-1])) < FEW:
                return None
        kept.append([batching.pieces(batch, 2)[0] for batch in kept[-1]])


def alike(batches: Iterable[Batch]) -> bool:
    """Whether batches count the same whatever is counted: their tensors have the same shapes, and
    their targets leave out as many.
    """

    def counted(batch: Batch) -> tuple[Any, ...]:
        target = _target(batch)
        ignored = 0 if target is None else int((target == IGNORED).sum())
        shapes = tuple(tuple(leaf.shape) for leaf in batching.leaves(batch))
        return shapes, batching.samples(batch), ignored

    return len({counted(batch) for batch in batches}) <= 1


def _left(
    judge: Judge, tried: Sequence[Batch], values: Sequence[int], within: _Rounding
) -> tuple[set[str], bool]:
    """The ways that no cut of any of the batches rules out, and whether a sum explains all cuts.

    Where losses are nearly equal all ways are within rounding; those that miss by far more than the
    best of them are ruled out then.

    Raises:
        ValueError: no batch can be cut.
    """
    held = [_held(judge, batch, _ways(batch, values), within) for batch in tried]
    if not any(cuts for _, _, cuts in held):
        raise ValueError("no batch has two samples between which a cut tells something.")
    alive = set.intersection(*(set(left) for left, _, _ in held))
    missed = {k: max(left[k] for left, _, _ in held) for k in alive}
    missed = {k: miss for k, miss in missed.items() if miss > UNTOLD}
    best = max(min(missed.values(), default=0.0), CLOSE * within.eps)
    return {k for k, miss in missed.items() if miss <= FAR * best}, all(sums for _, sums, _ in held)


def _held(
    judge: Judge, batch: Batch, ways: Mapping[str, Tensor], within: _Rounding
) -> tuple[dict[str, float], bool, int]:
    """The ways that cuts of a batch leave, with the most by which they miss its loss, relative to
    the losses; whether a sum over its parts explains it too; and the number of cuts that tell
    something: after the others the loss is the same. A way of which no cut tells misses by UNTOLD.
    """
    alive, total = dict.fromkeys(ways, UNTOLD), True
    cuts = _cuts(ways)
    whole, telling = judge(batch, None) if cuts else 0.0, 0
    for parts in cuts:
        losses = [judge(batch, part) for part in parts]
        size = max(abs(whole), *map(abs, losses)) or 1.0
        telling += any(abs(loss - whole) > CLOSE * within.eps * size for loss in losses)
        missed = {
            k: alive[k]
            if _clamped(ways[k], parts, losses)
            else abs(_mean(ways[k], parts, losses) - whole) / size
            for k in alive
        }
        most = within.missed(losses, whole)
        alive = {k: max(alive[k], miss) for k, miss in missed.items() if miss <= most}
        total = total and abs(sum(losses) - whole) <= within.most * size
    return alive, total, telling


def _clamped(counts: Tensor, parts: Sequence[Tensor], losses: Sequence[float]) -> bool:
    """Whether a part counts nothing and loses something all the same, as where a loss divides by
    what it counts or by 1: that part tells nothing.
    """
    pairs = zip(parts, losses, strict=True)
    return any(not float(counts[p].sum()) and math.isfinite(v) and v != 0 for p, v in pairs)


def _along(judge: Judge, batch: Batch, within: _Rounding) -> str:
    """Samples or entries, by what a cut along the target's second dimension does to the loss; ""
    where that tells nothing.
    """
    target = _target(batch)
    if target is None or target.ndim < 2 or target.shape[1] < 2:
        return ""
    length, whole = target.shape[1], judge(batch, None)
    cut = max(1, length // 3)
    try:
        losses = [
            judge(batch, torch.arange(a, b, device="cpu"), 1) for a, b in ((0, cut), (cut, length))
        ]
    except Exception:  # a user's loss may refuse any part of a batch
        return ""
    size = max(abs(whole), *map(abs, losses))
    least = within.most * size
    if all(abs(loss - whole) <= CLOSE * within.eps * size for loss in losses):
        return ""
    if abs((cut * losses[0] + (length - cut) * losses[1]) / length - whole) <= least:
        return "entries"
    return "samples" if abs(sum(losses) - whole) <= least else ""


def _chosen(
    alive: set[str],
    ways: Sequence[Mapping[str, Tensor]],
    samples: list[float],
    values: Sequence[int],
) -> Mean:
    """The simplest way that is left; where those left weigh batches differently, that
    is not known.
    """
    left = [
        k
        for k in ("samples", "entries", *sorted(alive))
        if k in alive and all(k in way for way in ways)
    ]
    if not left:
        return Mean(samples, "samples", "coupled")
    counts = {k: [float(way[k].sum()) for way in ways] for k in left}
    shares = {
        k: torch.tensor(v, dtype=torch.float64, device="cpu") / (sum(v) or 1.0)
        for k, v in counts.items()
    }
    first = left[0]
    agree = all(torch.allclose(shares[k], shares[first], atol=1e-9) for k in left)
    how, count = "measured" if agree else "assumed", partial(_by_way, first, values)
    return Mean(counts[first], first, how, count=count)


def _by_way(way: str, values: Sequence[int], batch: Batch) -> float:
    return float(_ways(batch, values)[way].sum())


def _of_target(count: Callable[[Tensor], float], batch: Batch) -> float:
    return float(count(batching.split(batch)[1]))


def _entries(batch: Batch) -> float:
    return float(_tensor_target(batch).numel())


def _sequences(batch: Batch) -> float:
    target = _target(batch)
    return 0.0 if target is None else float(target.shape[1])


def _mean(counts: Tensor, parts: Sequence[Tensor], losses: Sequence[float]) -> float:
    m = [float(counts[part].sum()) for part in parts]
    kept = [(c, loss) for c, loss in zip(m, losses, strict=True) if c]
    return sum(c * loss for c, loss in kept) / (sum(m) or 1.0) if kept else float("nan")


def _target(batch: Batch) -> Tensor | None:
    """The target of a batch; where none is named, the only numbers of classes or words in it."""
    try:
        target = batching.split(batch)[1]
    except ValueError:
        words = [leaf for leaf in batching.leaves(batch) if _is_words(leaf)]
        target = words[0] if len(words) == 1 else None
    return target if isinstance(target, Tensor) and target.ndim else None


def _is_words(leaf: Any) -> bool:
    """Whether a tensor names classes or words: whole numbers that are no mask."""
    if not isinstance(leaf, Tensor) or leaf.is_floating_point() or leaf.is_complex():
        return False
    return bool(leaf.ndim and leaf.numel() and leaf.max() > 1)


def _whole(target: Tensor) -> bool:
    """Whether all numbers of a target are whole ones; NaN is none."""
    numbers = target[~torch.isnan(target)]
    return not target.is_floating_point() or bool((numbers == numbers.round()).all())


def _values(batches: Sequence[Batch]) -> list[int]:
    """Values of whole-number targets that may mark what is left out of a mean."""
    found = {IGNORED}
    for batch in batches:
        target = _target(batch)
        if target is not None and _whole(target) and len(found) <= VALUES:
            found |= {int(value) for value in torch.unique(target[~torch.isnan(target)])}
    return sorted(found) if len(found) <= VALUES else [IGNORED, -1, 0]


def _ways(batch: Batch, values: Sequence[int]) -> dict[str, Tensor]:
    """The ways of counting that are thought of -> what each sample counts, (n,) float64."""
    masks = _masks(batch)
    target = _target(batch)
    if target is None:
        ones = torch.ones(batching.samples(batch), dtype=torch.float64, device="cpu")
        return {"samples": ones} | masks
    rows = target.detach().cpu().reshape(len(target), -1)
    found = {
        "samples": torch.ones(len(rows), dtype=torch.float64, device="cpu"),
        "entries": torch.full(
            (len(rows),), float(rows.shape[1]), dtype=torch.float64, device="cpu"
        ),
    }
    if rows.is_floating_point():
        found["targets that are numbers"] = (~torch.isnan(rows)).sum(1)
    if _whole(rows):
        found |= {f"targets other than {value}": (rows != value).sum(1) for value in values}
    if _whole(rows) and rows.shape[1] > 1:  # shifted: what follows each token
        found |= {
            f"targets but a row's first, other than {value}": (rows[:, 1:] != value).sum(1)
            for value in values
        }
    return {key: count.double() for key, count in found.items()} | masks


def _masks(batch: Batch) -> dict[str, Tensor]:
    """What the masks and weights in a batch count of each sample, with and without a row's first:
    tensors of zeros and ones, and vectors that are not negative.
    """
    n, found = batching.samples(batch), dict[str, Tensor]()
    for i, leaf in enumerate(batching.leaves(batch)):
        rows = _counting(leaf, n)
        if rows is None:
            continue
        found[f"what entry {i} of a batch counts"] = rows.sum(1)
        if rows.shape[1] > 1:
            found[f"what entry {i} of a batch counts but for a row's first"] = rows[:, 1:].sum(1)
    return found


def _counting(leaf: Any, n: int) -> Tensor | None:
    """A mask or weights of n samples, (n, entries) float64; None where it is neither."""
    t = torch.as_tensor(leaf, device="cpu").detach()
    if t.layout != torch.strided or t.is_complex() or t.shape[:1] != (n,) or not t.numel():
        return None
    rows = t.double().reshape(n, -1)
    binary = bool(((rows == 0) | (rows == 1)).all())
    return rows if binary or (t.ndim == 1 and bool((rows >= 0).all())) else None


def _telling(ways: Sequence[Mapping[str, Tensor]], samples: Sequence[float]) -> list[int]:
    """The two batches on which, and between which, the ways differ most; the larger where alike."""

    def apart(i: int) -> float:
        """How much the ways differ in what share they give to this batch and to the first."""
        both = ways[i].keys() & ways[first].keys()  # what is a mask in one batch is none in another
        pairs = [(float(ways[i][k].sum()), float(ways[first][k].sum())) for k in both]
        shares = [a / ((a + b) or 1.0) for a, b in pairs]
        return round(max(shares) - min(shares), 9)

    places = range(len(samples))
    first = max(places, key=lambda i: (_spread(ways[i]), samples[i]))
    rest = [i for i in places if i != first]
    return [first, max(rest, key=lambda i: (apart(i), samples[i]))] if rest else [first]


def _spread(ways: Mapping[str, Tensor]) -> float:
    """How much the ways differ in what share of a batch they give to each of its samples."""
    shares = torch.stack([count / count.sum().clamp(min=1e-9) for count in ways.values()])
    return round(float((shares - shares[0]).abs().sum()), 9)


def _cuts(ways: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Two cuts of a batch into two parts: uneven by what the ways count, and by halves; none of a
    single sample.
    """
    n = len(ways["samples"])
    if n < 2:
        return []
    order = torch.argsort(
        torch.stack([c / c.sum().clamp(min=1e-9) for c in ways.values()]).sum(0), stable=True
    )
    mixed = torch.randperm(n, generator=torch.Generator(device="cpu").manual_seed(0), device="cpu")
    third, half = max(1, n // 3), n // 2
    return [(order[:third], order[third:]), (mixed[:half], mixed[half:])]


def _by_class(loss: Any, options: Mapping[str, Any], batch: Batch) -> float:
    """Kept targets, weighed by their classes, of cross-entropy and negative log-likelihood."""
    target = _tensor_target(batch)
    if target.is_floating_point():  # class probabilities, in dimension 1
        return float(target.numel() / (target.shape[1] if target.ndim > 1 else 1))
    kept = target[target != options.get("ignore_index", getattr(loss, "ignore_index", IGNORED))]
    weight = options.get("weight", getattr(loss, "weight", None))
    if not isinstance(weight, Tensor):
        return float(kept.numel())
    return float(weight.to("cpu", torch.float64)[kept.cpu()].sum())


def _class_weights(
    judge: Judge, batches: Sequence[Batch], tried: Sequence[Batch], eps: float
) -> dict[int, float] | None:
    """Class -> weight, the largest being 1, solved from pairs of samples and held against whole
    batches; None: there are none.
    """
    batch = max([*batches, *tried], key=_classes)
    target = _target(batch)
    if target is None or target.is_floating_point():
        return None
    weights = _from_pairs(judge, batch, target, eps)
    if not weights:
        return None
    each = [_weighed(weights, row) for row in target.detach().cpu()]
    counts = torch.tensor(each, dtype=torch.float64, device="cpu")
    if int((counts > 0).sum()) < FEW:  # a single sample that counts may do so for another reason
        return None
    whole = judge(batch, None)
    agrees = all(
        _weighs(counts, parts, [judge(batch, p) for p in parts], whole, eps)
        for parts in _cuts(_ways(batch, []))
    )
    seen = set().union(
        *(set(torch.unique(t).tolist()) for b in batches if (t := _target(b)) is not None)
    )
    return weights if agrees and seen <= set(weights) else None


def _weighs(
    counts: Tensor, parts: Sequence[Tensor], losses: Sequence[float], whole: float, eps: float
) -> bool:
    """Whether the losses of parts make that of the whole, as far as rounding, that the solution of
    the weights has enlarged, can tell.
    """
    least = 1e-3 * eps**0.25 * abs(whole) + 1e-4 * (max(losses) - min(losses))
    return bool(abs(_mean(counts, parts, losses) - whole) <= least)


def _classes(batch: Batch) -> tuple[int, int]:
    """How many classes the target of a batch shows, and in how many samples."""
    target = _target(batch)
    return (0, 0) if target is None else (len(torch.unique(target)), len(target))


def _from_pairs(judge: Judge, batch: Batch, target: Tensor, eps: float) -> dict[int, float]:
    """Class -> weight from the loss of single samples and of pairs; empty where these tell none.

    With n_ic targets of class c in sample i, weights w_c and m_i = sum_c w_c n_ic, a mean has
    L({i, j}) (m_i + m_j) = L_i m_i + L_j m_j: a linear equation in w for every pair. They are
    solved together, up to a factor.
    """
    classes = [int(c) for c in torch.unique(target)]
    if not 2 <= len(classes) <= CLASSES:
        return {}
    rows = target.detach().cpu().reshape(len(target), -1)
    counts = torch.stack([(rows == c).sum(1) for c in classes], 1).double()
    # samples of which each shows a class that is rare in the others, and as many more
    mixed = torch.randperm(len(rows), generator=torch.Generator("cpu").manual_seed(1), device="cpu")
    shares = counts / counts.sum(0)
    order = list(dict.fromkeys([*shares.argmax(0).tolist(), *mixed.tolist()]))
    chosen = order[: 2 * len(classes) + 2]
    single = {i: judge(batch, torch.tensor([i], device="cpu")) for i in chosen}
    chosen = [i for i in chosen if math.isfinite(single[i])]  # else all of it is left out
    equations = []
    for i, j in pairwise(chosen):
        both = judge(batch, torch.tensor([i, j], device="cpu"))
        equations.append(counts[i] * (both - single[i]) + counts[j] * (both - single[j]))
    if len(equations) < len(classes) - 1:
        return {}
    _, sizes, right = torch.linalg.svd(torch.stack(equations))
    rank = int((sizes > ROUNDING * eps * sizes[0]).sum())
    found = right[-1] / right[-1].abs().max().copysign(right[-1].sum())
    if rank < len(classes) - 1 or bool((found < -ROUNDING * eps).any()):
        return {}
    return dict(zip(classes, found.clamp(min=0).tolist(), strict=True))


def _weighed_batch(weights: Mapping[int, float], batch: Batch) -> float:
    target = _target(batch)
    return 0.0 if target is None else _weighed(weights, target)


def _weighed(weights: Mapping[int, float], target: Tensor) -> float:
    classes, counts = torch.unique(target, return_counts=True)
    return float(
        sum(weights[c] * n for c, n in zip(classes.tolist(), counts.tolist(), strict=True))
    )


def _told(weights: Mapping[int, float]) -> str:
    listed = ", ".join(f"{c}: {w:.4g}" for c, w in sorted(weights.items())[:6])
    return f"class weights {{{listed}{', ...' if len(weights) > 6 else ''}}}"
