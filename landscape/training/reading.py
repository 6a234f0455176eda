"""What the outputs, the loss and the data of a traced model say, whatever the landscape is.

N: samples that are read, all of f's or the first SAMPLES. Read once, at the end of a run: where the
outputs enter the loss, the last operation that made them (from autograd's own graph, below what
only changes shapes), what a constant output would cost, and whether the targets can be told from
the inputs.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from landscape.core import Landscape
from landscape.landscapes import batches as batching
from landscape.landscapes.data import pinned
from landscape.landscapes.model import ModelLandscape
from landscape.results import result
from landscape.training.healing import equal_layers
from landscape.training.information import Information, information
from landscape.training.recurrence import reach

SAMPLES = 2048
# Columns of an input that are looked at.
COLUMNS = 50_000
# Of larger models no copies are made, which some of the questions take.
LARGEST = 10_000_000
# With more classes nothing is said of their shares.
MOST_CLASSES = 1000
# With fewer samples nothing is said of columns.
FEWEST = 8
# Functions that compare outputs with targets.
COMPARING: dict[object, str] = {
    f: f.__name__
    for f in (
        F.cross_entropy,
        F.nll_loss,
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
    )
}
# Those of them whose targets are classes or their probabilities.
_ONE_OF_MANY = ("cross_entropy", "nll_loss")
_OF_CLASSES = (*_ONE_OF_MANY, "binary_cross_entropy", "binary_cross_entropy_with_logits")
# Nodes of a graph that change shapes only.
_SHAPES = (
    *("View", "UnsafeView", "Reshape", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "T"),
    *("Permute", "Clone", "ToCopy", "Slice", "Select", "Alias", "Expand", "Mean", "Contiguous"),
)
# Operations that are named with what they are taken of.
_AFTER = {"Log": "log", "LogSoftmax": "log_softmax"}
# What an output can be, by the operation that made it.
RANGES = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
}


@result("trace-reading")
@dataclass(frozen=True)
class Reading:
    """Outputs, loss and data at the end of a run. NaN and "" are "not known"."""

    samples: int  # N
    loss: float  # the mean loss of these samples at the end, regularisers left out
    constant: float  # the least that outputs cost which are the same for all samples
    criterion: str  # the function that compares outputs with targets: "cross_entropy"
    last: str  # the last operation before it: "softmax", "sigmoid", "addmm"
    classes: int  # outputs a sample
    low: float  # the least output
    high: float  # the largest output
    off_one: float  # how far the outputs of a sample are from a sum of 1 at most
    off_one_batch: float  # and those of an output over a batch
    off_log: float  # how far the exponentials of a sample's outputs are from a sum of 1 at most
    spread: float  # of the outputs over samples: root of the mean variance
    shapes: str  # of an output and a target that broadcast against each other, in words
    beyond: float  # share of the targets that the last operation cannot reach
    columns: int  # numbers in the input of a sample; 0 where inputs are no numbers, or unlike ones
    still: float  # share of the columns that are the same for all samples
    size: float  # root mean square of the inputs
    uneven: float  # largest root mean square of a column over the median one
    offset: float  # median over columns of |mean| / standard deviation
    labels: Information  # whether the targets can be told from the inputs
    dropout: float = 0.0  # the largest share that a dropout of the model drops
    twins: str = ""  # a weight matrix all of whose units are equal
    frozen: float = math.nan  # share of |g|^2 in parameters that require no gradient
    numbered: int = 0  # so many classes are counted by targets that are compared as numbers
    single: str = ""  # an operation that a single number is normalised by: "layer_norm"
    balance: list[float] = field(default_factory=list)  # shares of the classes, the rarest first
    broken: int = 0  # samples with numbers that are not finite
    broken_in: str = ""  # where these are: "inputs", "targets"
    # How far outputs change when other samples leave the batch, over their spread.
    mixed: float = math.nan
    # The gradient in the first step of a sequence over the largest in any; of so many steps.
    reach: float = math.nan
    sequence: int = 0
    # Root mean square of the targets, where outputs are compared with them as numbers.
    target_size: float = math.nan

    @property
    def largest(self) -> float:
        """The largest output in size."""
        return max(abs(self.low), abs(self.high))


class _Seen(NamedTuple):
    """One comparison of outputs with targets."""

    name: str
    value: Callable[[Tensor], Tensor]  # outputs -> what the comparison gives
    output: Tensor  # detached
    target: Tensor | None
    last: str


class _Comparisons(TorchFunctionMode):
    """Watches where outputs are compared with targets."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[_Seen] = []
        self.shapes = ""
        self.single = ""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        out = func(*args, **kwargs)
        if func in COMPARING:
            given = [*args, *(kwargs.pop(k) for k in ("input", "target") if k in kwargs)]
            self._compared(func, given, kwargs)
        elif getattr(func, "__name__", "") in ("sub", "__sub__", "rsub", "__rsub__", "subtract"):
            self._subtracted(args, out)
        elif getattr(func, "__name__", "") == "layer_norm":
            size = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
            self.single = "layer_norm" if size in ((1,), [1]) else self.single
        return out

    def _compared(
        self, func: Callable[..., object], given: list[object], kwargs: dict[str, object]
    ) -> None:
        output, target, *rest = given
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return

        def value(outputs: Tensor) -> Tensor:
            found = func(outputs, target, *rest, **kwargs)
            assert isinstance(found, Tensor)
            return found

        name = COMPARING[func]
        if name not in _ONE_OF_MANY and output.shape != target.shape:
            self.shapes = _shapes(output, target)
        self.seen.append(
            _Seen(name, value, output.detach(), target.detach(), last_operation(output))
        )

    def _subtracted(self, args: Sequence[object], out: object) -> None:
        """(N, 1) less (N,) is (N, N): every output with every target."""
        pair = [a for a in args if isinstance(a, Tensor) and a.numel() > 1]
        if len(pair) != 2 or not isinstance(out, Tensor):
            return
        one, other = sorted(pair, key=lambda a: -a.ndim)
        column = one.ndim == 2 and other.ndim == 1 and one.shape == (len(other), 1)
        if column and one.requires_grad != other.requires_grad:
            output, target = sorted(pair, key=lambda a: not a.requires_grad)
            self.shapes = _shapes(output, target)


def _shapes(output: Tensor, target: Tensor) -> str:
    return f"outputs {tuple(output.shape)} and targets {tuple(target.shape)}"


def last_operation(output: Tensor) -> str:
    """The operation that made the numbers of a tensor, by its node in autograd's graph: "softmax";
    "log of softmax" where it is a logarithm; "" without a graph.
    """
    node, name = output.grad_fn, ""
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _SHAPES:
            break
        node = node.next_functions[0][0] if node.next_functions else None
    if node is not None and name in _AFTER and node.next_functions:
        before = node.next_functions[0][0]
        inner = "" if before is None else before.name().partition("Backward")[0]
        if name == "Log" or inner == "Softmax":
            return f"{_AFTER[name]} of {inner.lower()}"
    return _AFTER.get(name, name.lower())


def read(f: Landscape, x: Tensor) -> Reading | None:
    """The reading of a model's landscape at x (n,); None for a formula or without a batch.

    Cost: a pass over at most about SAMPLES samples, and the fits of ``information``.
    """
    if not isinstance(f, ModelLandscape):
        return None
    seen, shares, value, shapes, single = _passes(f, x)
    if not shares:
        return None
    batches = [f.batches[i] for i in range(len(shares))]
    inputs = [_input(batch) for batch in batches]
    known = seen if len(seen) == len(shares) else []
    with f.evaluation():
        constant = _constant(known) / sum(shares) if known else math.nan
    targets = [s.target for s in known] or [_target(batch) for batch in batches]
    back, steps = reach(f, x)
    return Reading(
        samples=sum(batching.samples(batch) for batch in batches),
        loss=value / sum(shares),
        constant=constant,
        shapes=shapes,
        labels=information(inputs, targets),
        dropout=_dropout(f.model),
        twins=next(iter(equal_layers(f, x)), ""),
        frozen=_frozen(f),
        numbered=_numbered(known),
        single=single,
        balance=_balance(known),
        **_broken(inputs, targets),
        mixed=_mixed(f, x),
        reach=back,
        sequence=steps,
        **_of_outputs(known)._asdict(),
        **_columns([i for i in inputs if i is not None])._asdict(),
    )


def _mixed(f: ModelLandscape, x: Tensor) -> float:
    """How far the outputs of the later half of the first batch are, in evaluation mode and without
    the other half, from those with it; over their spread. NaN where there is no row of inputs,
    outputs and targets for each sample, a target for each step of a sequence, or two passes differ
    by themselves.
    """
    try:
        rows, target = batching.split(f.batches[0])
    except ValueError:
        return math.nan
    if not isinstance(rows, Tensor) or not isinstance(target, Tensor):
        return math.nan
    steps = target.ndim == 2 and rows.shape[:2] == target.shape  # perhaps before samples
    if (
        f.dim > LARGEST
        or target.ndim > 2
        or steps
        or not len(rows) == len(target) >= 4
        or f._objective.takes_model is not False
    ):
        return math.nan
    half = len(rows) // 2
    with torch.no_grad(), suppress(Exception):  # some take one size of batch only
        model = copy.deepcopy(f.model).eval()
        whole, again, alone = model(rows), model(rows), model(rows[half:])
        if isinstance(whole, Tensor) and len(whole) == len(rows) and torch.equal(whole, again):
            gap = (whole[half:] - alone).double().square().mean().sqrt()
            return float(gap / whole.double().std(0, correction=0).square().mean().sqrt())
    return math.nan


class _Broken(TypedDict):
    """Samples with numbers that are not finite, by the names of ``Reading``."""

    broken: int
    broken_in: str


def _broken(inputs: Sequence[Tensor | None], targets: Sequence[Tensor | None]) -> _Broken:
    """Samples with inputs, or else targets, that are not finite."""
    for name, tensors in (("inputs", inputs), ("targets", targets)):
        rows = [
            t.isfinite().reshape(len(t), -1).all(1) for t in tensors if t is not None and t.ndim
        ]
        count = sum(int((~row).sum()) for row in rows)
        if count:
            return {"broken": count, "broken_in": name}
    return {"broken": 0, "broken_in": ""}


def _dropout(model: nn.Module) -> float:
    """The largest share that a dropout drops."""
    drops = (m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
    return max((float(m.p) for m in drops), default=0.0)


def _frozen(f: ModelLandscape) -> float:
    """The share of the squared gradient that is in parameters that require none; NaN where there
    are none, or the model is large.
    """
    parameters = dict(f.model.named_parameters())
    frozen = {k for k, p in parameters.items() if not p.requires_grad}
    if not frozen or sum(p.numel() for p in parameters.values()) > LARGEST:
        return math.nan
    model = copy.deepcopy(f.model).requires_grad_(True)
    whole = ModelLandscape(model, f.loss, [f.batches[0]], mode=f.mode, reduction=f.reduction)
    squares = whole.gradient(whole.point()).double().square()
    held = sum(float(squares[where].sum()) for k, where in whole.layout.items() if k in frozen)
    total = float(squares.sum())
    return held / total if total > 0 else math.nan


def _numbered(seen: Sequence[_Seen]) -> int:
    """How many classes targets count that are compared as numbers: 0, 1, ... in like shares; 0
    where they are none.
    """
    targets = [s.target for s in seen if s.target is not None]
    if not targets or seen[0].name not in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        return 0
    flat = torch.cat([t.reshape(-1) for t in targets]).double().cpu().numpy()
    values, counts = np.unique(flat, return_counts=True)
    classes = len(values)
    counted = np.array_equal(values, np.arange(classes))
    alike = bool(counts.min() > 0.4 * counts.mean())
    return classes if 3 <= classes <= 100 and counted and alike else 0


def _balance(seen: Sequence[_Seen]) -> list[float]:
    """The shares of the classes that targets name, the rarest first; empty where they name none."""
    targets = [s.target for s in seen if s.target is not None]
    if not targets or seen[0].name not in _OF_CLASSES:
        return []
    flat = torch.cat([t.reshape(-1) for t in targets])
    rows = sum(t.shape[0] if t.ndim else 1 for t in targets)
    several = len(flat) > rows or seen[0].name in _ONE_OF_MANY
    if several and flat.is_floating_point():
        return []
    counts = np.unique(flat.cpu().double().numpy(), return_counts=True)[1]
    return sorted((counts / counts.sum()).tolist()) if len(counts) <= MOST_CLASSES else []


class _Outputs(NamedTuple):
    """What the outputs are like, by the names of ``Reading``."""

    criterion: str = ""
    last: str = ""
    classes: int = 0
    low: float = math.nan
    high: float = math.nan
    off_one: float = math.nan
    off_one_batch: float = math.nan
    off_log: float = math.nan
    spread: float = math.nan
    beyond: float = 0.0
    target_size: float = math.nan


def _of_outputs(seen: Sequence[_Seen]) -> _Outputs:
    outputs = _outputs(seen) if seen else None
    if outputs is None:
        return _Outputs()
    name, last, low = seen[0].name, seen[0].last, float(outputs.min())
    return _Outputs(
        criterion=name,
        last=last,
        classes=outputs.shape[1],
        low=low,
        high=float(outputs.max()),
        off_one=_off(outputs) if low >= 0 else math.nan,
        off_one_batch=_off_batch(seen) if low >= 0 else math.nan,
        off_log=_off(outputs.exp()),
        spread=float(outputs.var(0, correction=0).mean().sqrt()),
        beyond=_beyond(last, [s.target for s in seen if s.target is not None]),
        target_size=_target_size(seen),
    )


def _target_size(seen: Sequence[_Seen]) -> float:
    """The root mean square of targets that are numbers as outputs are; NaN of classes."""
    targets = [
        s.target
        for s in seen
        if s.target is not None
        and s.target.is_floating_point()
        and s.target.shape == s.output.shape
    ]
    if not targets or len(targets) < len(seen) or seen[0].name in _OF_CLASSES:
        return math.nan
    return float(torch.cat([t.reshape(-1) for t in targets]).double().square().mean().sqrt())


def _passes(f: ModelLandscape, x: Tensor) -> tuple[list[_Seen], list[float], float, str, str]:
    """Comparisons, shares of the batches, their part of f, shapes that broadcast, and what
    normalises a single number.
    """
    seen: list[_Seen] = []
    shares: list[float] = []
    total, read, shapes, single = 0.0, 0, "", ""
    whole = _taken_apart(f)
    with f.evaluation(), torch.enable_grad():
        for i, term in enumerate(f.terms()):
            if term.batch is None or term.batch != i or read >= SAMPLES:
                break
            point = x.detach().clone().requires_grad_(True)
            with _Comparisons() as watch:
                value = term.function(point)
            shapes, single = shapes or watch.shapes, single or watch.single
            total += float(value.detach())
            shares.append(term.share)
            read += batching.samples(f.batches[i])
            if len(watch.seen) == 1:
                seen.append(_scaled(watch.seen[0], float(value.detach()), term.share))
            elif whole is not None:
                seen.append(whole(i, point))
    return seen, shares, total, shapes, single


def _scaled(seen: _Seen, value: float, share: float) -> _Seen:
    """The comparison, weighed as the landscape weighs the batch."""
    with torch.no_grad():
        own = float(seen.value(seen.output))
    factor = value / own if own != 0 and math.isfinite(value / own) else share
    inner = seen.value
    return seen._replace(value=lambda outputs: factor * inner(outputs))


def _taken_apart(f: ModelLandscape) -> Callable[[int, Tensor], _Seen] | None:
    """For a loss(output, target) of one's own: the comparison that it makes, batch by batch."""
    if f._objective.takes_model is not False:
        return None
    terms = list(f.output_terms())

    def taken(i: int, point: Tensor) -> _Seen:
        output = terms[i].output(point)
        target = terms[i].target
        target = target.detach() if isinstance(target, Tensor) else None
        return _Seen("", terms[i].criterion, output.detach(), target, last_operation(output))

    return taken


def _constant(seen: Sequence[_Seen]) -> float:
    """The least sum of the comparisons where all samples have one output; NaN where unknown.

    Minimised by L-BFGS over the output; outputs that must be probabilities are made so.
    """
    first = seen[0].output
    shape = [1 if i != 1 else n for i, n in enumerate(first.shape)]
    made: Callable[[Tensor], Tensor] = _MADE.get(seen[0].name, lambda c: c)
    start = torch.zeros(shape, dtype=first.dtype, device=first.device)
    least = [math.inf]
    made_by: Callable[..., Optimizer] = torch.optim.LBFGS
    for begin in (start, start + _middle(seen) if seen[0].name not in _MADE else start):
        c = begin.clone().requires_grad_(True)
        search = made_by([c], max_iter=40, line_search_fn="strong_wolfe")

        slopes: list[float] = []

        def closure(c: Tensor = c, slopes: list[float] = slopes) -> float:
            total = torch.stack([s.value(made(c).expand_as(s.output)) for s in seen]).sum()
            c.grad = torch.autograd.grad(total, c)[0]
            least[0] = min(least[0], float(total.detach()))
            slopes.append(float(c.grad.norm()))
            return float(total.detach())

        with torch.enable_grad():
            search.step(closure)
        if not seen[0].name and slopes[-1] > 0.5 * slopes[0] > 0:
            return math.nan  # it falls for ever, and compares with nothing
    return least[0] if math.isfinite(least[0]) else math.nan


_MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "binary_cross_entropy": torch.sigmoid,
    "nll_loss": lambda c: c.log_softmax(1 if c.ndim > 1 else 0),
}


def _middle(seen: Sequence[_Seen]) -> float:
    """The mean target, where targets are numbers."""
    targets = [s.target for s in seen if s.target is not None and s.target.is_floating_point()]
    return float(torch.cat([t.reshape(-1) for t in targets]).mean()) if targets else 0.0


def _outputs(seen: Sequence[_Seen]) -> Tensor | None:
    """All outputs (N, C), float64; None where batches differ in it."""
    flat = []
    for s in seen:
        o = s.output.double()
        flat.append(o.movedim(1, -1).reshape(-1, o.shape[1]) if o.ndim > 1 else o.reshape(-1, 1))
    return torch.cat(flat) if len({o.shape[1] for o in flat}) == 1 else None


def _off(outputs: Tensor) -> float:
    """How far the sums over outputs are from 1."""
    return float((outputs.sum(1) - 1).abs().max()) if outputs.shape[1] > 1 else math.nan


def _off_batch(seen: Sequence[_Seen]) -> float:
    one = [float((s.output.double().sum(0) - 1).abs().max()) for s in seen if s.output.ndim > 1]
    return max(one) if one else math.nan


def _beyond(last: str, targets: Sequence[Tensor]) -> float:
    """The share of targets outside of what the last operation can give."""
    if last not in RANGES or not targets or not all(t.is_floating_point() for t in targets):
        return 0.0
    low, high = RANGES[last]
    flat = torch.cat([t.reshape(-1) for t in targets])
    return float(((flat < low) | (flat > high)).double().mean())


# ---- inputs


def _input(batch: batching.Batch) -> Tensor | None:
    """The first tensor that goes into the model."""
    try:
        inside = batching.split(batch)[0]
    except ValueError:
        inside = batch
    found = [t for t in batching.tensors(inside) if t.ndim]
    return found[0].detach() if found else None


def _target(batch: batching.Batch) -> Tensor | None:
    try:
        target = batching.split(batch)[1]
    except ValueError:
        return None
    return target.detach() if isinstance(target, Tensor) else None


class _Columns(NamedTuple):
    """What the columns of the inputs are like, by the names of ``Reading``."""

    columns: int
    still: float
    size: float
    uneven: float
    offset: float


def _alike(inputs: Sequence[Tensor]) -> Tensor | None:
    """Inputs as rows (N, D), float64 on the CPU; None where they are few, large or unlike."""
    kinds = {(i.shape[1:], i.is_floating_point(), i.ndim > 1) for i in inputs}
    if len(kinds) != 1 or not next(iter(kinds))[2] or sum(map(len, inputs)) < FEWEST:
        return None
    if inputs[0][0].numel() > COLUMNS:
        return None
    return torch.cat([i.reshape(len(i), -1) for i in inputs])[:SAMPLES].double().cpu()


def _columns(inputs: Sequence[Tensor]) -> _Columns:
    """What the columns of the inputs are like."""
    none = _Columns(0, 0.0, math.nan, math.nan, math.nan)
    rows = _alike(inputs)
    if rows is None:
        return none
    if not inputs[0].is_floating_point():  # tokens, say
        same = float((rows == rows[0]).all(0).double().mean())
        return none._replace(columns=rows.shape[1], still=same)
    means, deviations = rows.mean(0), rows.std(0, correction=0)
    sizes = rows.square().mean(0).sqrt()
    still = ~(deviations > 1e-6 * sizes.clamp(min=1e-300))
    alive = ~still & (sizes > 0)
    some = bool(alive.any())
    return _Columns(
        columns=rows.shape[1],
        still=float(still.double().mean()),
        size=float(rows.square().mean().sqrt()),
        uneven=float(sizes[alive].max() / sizes[alive].median()) if some else 1.0,
        offset=float((means / deviations)[alive].abs().median()) if some else math.nan,
    )


def standardised(f: ModelLandscape) -> ModelLandscape | None:
    """The landscape of a copy of the model whose inputs have mean 0 and standard deviation 1 in
    every column; None where they are no tensors of numbers, or nearly so already.
    """
    try:
        pairs = [batching.split(batch) for batch in f.batches]
    except ValueError:
        return None
    inputs = [i for i, _ in pairs if isinstance(i, Tensor)]
    seen = _columns(inputs)
    if len(inputs) < len(pairs) or math.isnan(seen.size) or _near_standard(seen):
        return None
    rows = torch.cat(inputs).double()
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    batches = [(((i - mean) / deviation).to(i.dtype), t) for i, t in pairs]
    ours = f.copy()
    ours.batches = pinned(batches, f.seed)
    return ours


def _near_standard(seen: _Columns) -> bool:
    return 0.1 < seen.size < 10 and seen.uneven < 10 and seen.offset < 5
