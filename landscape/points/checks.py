"""What could make a Hessian wrong here: reported, never silently mended.

Each check looks at the landscape at one point x (n,) and returns what it found, with its evidence
in numbers.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.core import Landscape
from landscape.errors import NumericalError
from landscape.landscapes import batches as batching
from landscape.landscapes import kernels, means
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ANEW, ModelLandscape, require_model
from landscape.landscapes.selection import some
from landscape.operators.hessian import Hessian
from landscape.points.chain import Chain, chain
from landscape.points.look import Look
from landscape.results import result

KINKED = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardshrink,
    nn.Softshrink,
    nn.Threshold,
    nn.L1Loss,
    nn.HuberLoss,
    nn.SmoothL1Loss,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
)
DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
BATCH_NORM = nn.modules.batchnorm._BatchNorm
# Batches on which kernels and kinks are looked at.
FEW = 2
# Rounding units of a value, beyond which no kernel that sums in any order makes it differ.
ATOMIC = 1e3
# What stands before and after the names of parameters that are not read as they should be.
MISREAD = {
    "held": (
        "the loss reads",
        "past the model: by a list, a closure or a tensor that was made of it earlier, which stay "
        "where they are while the point moves. Read parameters where forward runs, as attributes "
        "of their modules",
    ),
    "anew": ("the loss reads", f"as forward has made it: {ANEW}"),
    "shared": (
        "the parameters",
        "are two, but lie at one place in memory (b.data = a.data): a step of training moves both, "
        "a point of the landscape each for itself. Tie them by b = a, so that they are one",
    ),
}
# The relative change of a product up to which the landscape counts as smooth at the probed
# distance.
SMOOTH = 0.02


@result("check-status")
class Status(Enum):
    """How a check ended; the text is what it means for the numbers."""

    OK = "nothing found"
    NOTE = "something was switched or assumed; the numbers hold"
    WARNING = "the numbers hold only with the reservation stated"
    BROKEN = (
        "value, gradient and products are not those of one function: no verdict, index or bound "
        "holds"
    )


@result("check")
@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, the evidence in numbers, and what to do."""

    name: (
        str  # finite, data, mean, chain, determinism, kernels, symmetry, dropout, batch-norm, kinks
    )
    status: Status
    message: str
    evidence: dict[str, float]


@owned()
def check(
    f: Landscape,
    at: Tensor | Sequence[float] | None = None,
    *,
    seed: int = 0,
    look: Look | None = None,
) -> tuple[Check, ...]:
    """All checks that apply to a landscape at a point: what could make its Hessian another
    function's, with evidence.

    Args:
        f: the landscape.
        at: the point (n,); None: a model's current parameters.
        seed: of the random directions.
        look: f at the point, where the caller has looked already; ``at`` is not read then.

    Raises:
        TypeError: f is no landscape.
        ValueError: ``at`` is no point of it, or missing for a formula.
        NumericalError: a parameter or the loss on some batch is not finite; the message names it.

    Cost: for a model five passes over the data and two over a batch; in float64 a gradient, a
    Hessian-vector product, and two more values and gradients; of the two batches that count most,
    on which kernels and kinks are looked at, seven products, five gradients and four values.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> [check.name for check in ls.check(f) if check.status is not check.status.OK]
        []
    """
    look = Look(f, at, "check") if look is None else look
    if not f.layout:
        return (chained(look, seed), _kinks(look, seed))
    f = require_model(f, "these checks are about a model.")
    few = _few(f, look)
    return (
        _finite(f, look.x),
        _data(f),
        _mean(f),
        chained(look, seed),
        _determinism(f, look),
        _kernels(f, look.x),
        _of(few, look, _symmetry(few, seed)),
        _dropout(f),
        _batch_norm(f),
        _of(few, look, _kinks(few, seed)),
    )


def _few(f: ModelLandscape, look: Look) -> Look:
    """The look on the ``FEW`` batches that count most: kernels and kinks are the model's, and all
    batches would say no more of them.
    """
    alone = f.ranks.count == 1 and not f.spread.sharded
    return Look(f.heaviest(FEW), look.x, "check") if alone and len(f.batches) > FEW else look


def _of(few: Look, look: Look, found: Check) -> Check:
    """The check, which says where it is of some batches only."""
    if few is look:
        return found
    return replace(found, message=f"{found.message} (of the {FEW} batches that count most)")


def require_finite_parameters(tensors: Mapping[str, Tensor], source: str = "") -> None:
    """Raise a NumericalError that names the first parameter with a NaN or infinity, and the file
    that it comes from.
    """
    counts = torch.stack([(~torch.isfinite(tensor)).sum() for tensor in tensors.values()])
    for name, bad in zip(tensors, counts.tolist(), strict=True):
        if bad:
            values = "1 value that is" if bad == 1 else f"{bad} values that are"
            where = f" of {source}" if source else ""
            raise NumericalError(
                f"parameter {name}{where} has {values} NaN or infinite: take an earlier checkpoint."
            )


def _finite(f: ModelLandscape, x: Tensor) -> Check:
    require_finite_parameters({name: x[where] for name, where in f.layout.items()})
    _require_finite_buffers(f.model)
    losses = _batch_losses(f, x)
    for batch, loss in losses.items():
        if not math.isfinite(loss):
            raise NumericalError(
                f"the loss is {loss} on batch {batch} of {len(losses)}: check that batch's data "
                f"and labels."
            )
    message = f"the loss is finite on all {len(losses)} batches"
    return Check("finite", Status.OK, message, {"batches": float(len(losses))})


def _require_finite_buffers(model: nn.Module) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    statistics = {id(b) for m in norms for b in m.buffers(recurse=False)}
    for name, tensor in model.named_buffers():
        # masks hold infinities
        wrong = ~torch.isfinite(tensor) if id(tensor) in statistics else torch.isnan(tensor)
        if tensor.is_floating_point() and bool(wrong.any()):
            raise NumericalError(
                f"buffer {name} has values that are NaN or infinite: take an earlier checkpoint."
            )


def _batch_losses(f: ModelLandscape, x: Tensor) -> dict[int | None, float]:
    """What each batch contributes to f."""

    def compute() -> dict[int | None, float]:
        losses: dict[int | None, float] = {}
        with f.evaluation(), torch.no_grad():
            for term in f.terms():
                losses[term.batch] = losses.get(term.batch, 0.0) + float(term.function(x))
        return losses

    return eased(f, x, compute)


def _determinism(f: ModelLandscape, look: Look) -> Check:
    first, second = look.value, float(f.value(look.x))
    if first != second and f.pieces > 1:  # the first may have been of whole batches
        first = float(f.value(look.x))
    gap = abs(first - second)
    if gap > ATOMIC * f.rounding(look.x) * abs(first):
        message = (
            f"the loss differs by {gap:.2g} between two evaluations at the same point, so that "
            "value, gradient and products are of different functions: something counts its calls, "
            "or draws from a generator that no seed reaches. Draw in the data, or from torch's "
            "global generator"
        )
        return Check("determinism", Status.BROKEN, message, {"difference": gap})
    if gap:
        message = (
            f"the loss differs by {gap:.2g} between two evaluations at the same point: a kernel "
            "sums in an order of its own; use torch.use_deterministic_algorithms(True)"
        )
        return Check("determinism", Status.WARNING, message, {"difference": gap})
    other = copy.copy(f)
    other.seed = f.seed + 1
    change = abs(float(other.value(look.x)) - first)
    if change <= 100 * torch.finfo(f.dtype).eps * abs(first):
        message = "two evaluations agree to the last bit, and no seed matters"
        return Check("determinism", Status.OK, message, {"change": change})
    message = (
        f"the loss depends on random numbers, frozen here by seed {f.seed}: another seed changes "
        f"it by {change:.2g}"
    )
    status = Status.NOTE if f.mode == "train" else Status.WARNING
    return Check("determinism", status, message, {"change": change})


class _Attention(TorchFunctionMode):
    """Counts calls of scaled_dot_product_attention."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def _kernels(f: ModelLandscape, x: Tensor) -> Check:
    with _Attention() as attention:
        _batch_losses(f, x)
    switched = []
    if attention.calls or any(isinstance(m, nn.MultiheadAttention) for m in f.model.modules()):
        switched.append("attention runs under the math SDPA backend")
    if f.recurrent:
        switched.append("recurrent layers run without cuDNN")
    switched += [f"{layers} run in elementary operations" for layers in kernels.replaced(f.model)]
    if not switched:
        return Check("kernels", Status.OK, "no kernel had to be switched", {})
    message = (
        f"{' and '.join(switched)}: the fused kernels have no second derivative, or a wrong one"
    )
    return Check("kernels", Status.NOTE, message, {})


def _data(f: ModelLandscape) -> Check:
    """What was frozen of data that are drawn."""
    data = f.batches
    evidence = {"batches": float(len(data)), "samples": float(f.samples)}
    if not data.frozen:
        return Check("data", Status.OK, f"{f.samples:,} samples in {len(data)} batches", evidence)
    if data.kept is None:
        message = (
            f"{f.samples:,} samples in {len(data)} batches are read anew on every pass, with the "
            "same seed, and compared with the first reading"
        )
    else:
        message = (
            f"{f.samples:,} samples in {len(data)} batches were read once and are kept: their "
            "order, and whatever draws or augments them, is that of this reading"
        )
    return Check("data", Status.NOTE, message, evidence)


def _mean(f: ModelLandscape) -> Check:
    """What the loss divides by, and so how batches are weighed."""
    mean = f.mean
    counts = torch.tensor(mean.counts, dtype=torch.float64, device="cpu")
    evidence = {"least": float(counts.min()), "most": float(counts.max())}
    if mean.how == "coupled":
        message = (
            "the loss of a batch is no mean over its samples, its targets or their classes: it "
            "couples the samples of a batch, or counts something else, so that its value depends "
            "on the batch size and sampling errors say little. Batches are weighed by samples; "
            "pass weight= with what a batch counts, or all the data in one batch"
        )
        return Check("mean", Status.WARNING, message, evidence)
    if mean.how == "assumed":
        message = (
            "what the loss divides by could not be measured, and batches are weighed by their "
            "samples; if it is a mean over something else, pass weight= with what a batch counts"
        )
        status = Status.NOTE if means.alike(f.batches) else Status.WARNING
        return Check("mean", status, message, evidence)
    if mean.total and mean.how == "measured":
        message = "the loss was found to be a sum over samples: f is its sum over all the data"
        return Check("mean", Status.NOTE, message, evidence)
    doubt = _misaligned(f) if mean.what == means.BY_ENTRY else _listed(f)
    if doubt:
        return Check("mean", Status.WARNING, doubt, evidence)
    kind = "sum" if mean.total else "mean"
    return Check("mean", Status.OK, f"a {kind} over {mean.what} ({mean.how})", evidence)


def _misaligned(f: ModelLandscape) -> str:
    """That outputs and targets are compared each with each, in words; "" where they are not."""
    if f.spread.sharded:  # a pass is a matter of all ranks there
        return ""
    output, wanted = f.first_output(f.point())
    if not isinstance(wanted, Tensor):
        return ""
    seen, target = tuple(output.shape), tuple(wanted.shape)
    if seen == target:
        return ""
    return (
        f"an output of shape {seen} is compared with a target of shape {target}, entry by entry of "
        "both: samples are compared with each other's targets, and the loss depends on the batch "
        "size. Give them one shape, with output.squeeze(-1) or target[:, None] say"
    )


def _listed(f: ModelLandscape) -> str:
    """That batches are lists of several lengths, whose entries may be samples; "" elsewhere."""
    lengths = {len(b) for b in f.batches if type(b) in (list, tuple)}
    known = f.mean.how == "stated" or f.mean.what == means.BY_LIST
    if len(lengths) < 2 or known or all(map(batching.one_each, f.batches)):
        return ""
    return (
        f"batches are lists of {min(lengths)} to {max(lengths)} entries, of which each was taken "
        "for a part of every sample; if an entry is a sample, pass weight=len"
    )


def chained(look: Look, seed: int) -> Check:
    """Whether the gradient is the value's, and products are the gradient's."""
    found = chain(look, seed)
    evidence = {"value_gap": found.value_gap, "gradient_gap": found.gradient_gap}
    if "second derivative" in found.untested:
        message = (
            "a kernel has no second derivative: products are central differences of the gradient, "
            "and what these disagree by is inside every bound"
        )
        return Check("chain", Status.NOTE, message, evidence)
    if found.untested and not found.broken:
        message = f"it could not be tested: {found.untested}"
        return Check("chain", Status.NOTE, message, {})
    if found.broken in ("held", "anew", "shared", "recorded"):
        return _misread(found)
    if found.broken:
        return _broken_link(found, evidence)
    message = "value, gradient and products are those of one function"
    padded = _padded(look.f)
    if not padded:
        return Check("chain", Status.OK, message, evidence)
    message += (
        f"; the rows that {some(padded)} pads with (padding_idx) are no variables of it: torch "
        "gives them no gradient, and they stay where the model has them"
    )
    return Check("chain", Status.NOTE, message, evidence)


def _padded(f: Landscape) -> list[str]:
    """The embeddings of which a row is held, since torch gives it no gradient."""
    if not isinstance(f, ModelLandscape):
        return []
    return [
        name
        for name, module in f.model.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        and module.padding_idx is not None
        and f"{name}.weight".removeprefix(".") in f.layout
    ]


def _misread(found: Chain) -> Check:
    """Of a loss that reads what it should not."""
    if found.held:
        message = f"{MISREAD[found.broken][0]} {some(found.held)} {MISREAD[found.broken][1]}"
        return Check("chain", Status.BROKEN, message, {"parameters": float(len(found.held))})
    recorded, plain = found.recorded
    message = (
        f"the loss is {recorded:.6g} where gradients are recorded and {plain:.6g} where they are "
        "not, on the same batch: something asks torch.is_grad_enabled() or requires_grad. Let it "
        "ask for the module's own .training"
    )
    return Check("chain", Status.BROKEN, message, {"difference": abs(recorded - plain)})


def _broken_link(found: Chain, evidence: dict[str, float]) -> Check:
    """Of a gradient that is not the value's, or products that are not the gradient's."""
    own = ", ".join(found.functions)
    last = ""
    if found.where:
        last = (
            f" The last module whose own parameters feel it is {found.where}: look there and at "
            "what comes after it."
        )
        evidence = {**evidence, f"last module: {found.where}": 1.0}
    if found.broken == "gradient":
        suspects = f"the autograd function {own}, " if own else ""
        message = (
            f"the gradient is not the loss's: along a direction the loss changes by "
            f"{found.value_gap:.1%} more or less than the gradient says, however short the step. "
            f"Suspect {suspects}a .detach() or no_grad on the way to the loss, or a "
            f"straight-through estimator; what is differentiated is another function.{last}"
        )
        return Check("chain", Status.BROKEN, message, evidence)
    suspects = (
        f"The autograd function {own} has a wrong second derivative"
        if own
        else "A kernel or a custom backward pass has a wrong second derivative"
    )
    message = (
        f"Hessian-vector products are not the gradient's slope: they differ by "
        f"{found.gradient_gap:.1%}, however short the step. {suspects}; make it of elementary "
        f'operations, or pass method="finite-difference" to Hessian.{last}'
    )
    return Check("chain", Status.BROKEN, message, evidence)


def _symmetry(look: Look, seed: int) -> Check:
    """u'Hv against v'Hu: a kernel with a wrong second derivative shows here."""
    x = look.x
    U = _directions(x, 2, seed)
    HU = (look.rebuilt @ U).double()
    size = float(HU.norm() * U.double().norm()) / 2
    gap = abs(float((U[:, 0].double() * HU[:, 1]).sum() - (U[:, 1].double() * HU[:, 0]).sum())) / (
        size or 1.0
    )
    # differences are off by as much as their steps disagree by, or by a few times that
    doubt = 4 * look.rebuilt.error * float(U.double().square().sum()) / (size or 1.0)
    if look.rebuilt.method == "finite-difference":  # two steps may agree by luck
        doubt += 10 * look.rebuilt.eps ** (2 / 3)
    if gap <= 1e3 * look.rebuilt.eps + doubt:
        return Check("symmetry", Status.OK, f"u'Hv and v'Hu agree to {gap:.1e}", {"gap": gap})
    message = (
        f"u'Hv and v'Hu differ by {gap:.1e} of |Hv||u|: a kernel's second derivative is wrong; "
        "compare with "
        'Hessian(method="finite-difference") and replace that layer by elementary operations'
    )
    return Check("symmetry", Status.WARNING, message, {"gap": gap})


def _directions(x: Tensor, count: int, seed: int) -> Tensor:
    """Normal random numbers (n, count), in the dtype and on the device of x (n,)."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    U = torch.randn(len(x), count, generator=generator, dtype=torch.float64, device="cpu")
    return U.to(x.device, x.dtype)


def _dropout(f: ModelLandscape) -> Check:
    modules = list(f.model.modules())
    layers = sum(isinstance(m, DROPOUT) and m.p > 0 for m in modules)
    layers += sum(
        isinstance(m, nn.MultiheadAttention | nn.RNNBase) and m.dropout > 0 for m in modules
    )
    evidence = {"layers": float(layers)}
    if not layers:
        return Check("dropout", Status.OK, "the model has no dropout", {})
    if f.mode == "eval":
        return Check(
            "dropout", Status.OK, f"{layers} dropout layers are inactive in eval mode", evidence
        )
    message = (
        f"{layers} dropout layers are active; the loss is the mean over {f.masks} "
        f"mask{'s' * (f.masks > 1)} frozen by "
        f"seed {f.seed}, another seed gives another landscape"
    )
    return Check("dropout", Status.NOTE, message, {**evidence, "masks": float(f.masks)})


def _batch_norm(f: ModelLandscape) -> Check:
    leaves = [(name, m) for name, m in f.model.named_modules() if not list(m.children())]
    norms = [(name, m) for name, m in leaves if isinstance(m, BATCH_NORM)]
    if not norms:
        return Check("batch-norm", Status.OK, "the model has no batch normalisation", {})
    train = f.mode == "train"
    from_batch = [name for name, m in norms if train or m.running_mean is None]
    after = [b for (_, a), (b, _) in pairwise(leaves) if isinstance(a, DROPOUT) and a.p > 0]
    jitter = [name for name, _ in norms if name in after]
    evidence = {
        "layers": float(len(norms)),
        "from_batch": float(len(from_batch)),
        "after_dropout": float(len(jitter)),
    }
    if from_batch:
        cause = (
            f"; {jitter[0]} follows a dropout, whose masks make its statistics jitter"
            if jitter and train
            else ""
        )
        message = (
            f"{from_batch[0]} and {len(from_batch) - 1} more normalise by the statistics of each "
            "batch: the loss is no "
            f"sum over samples, and depends on the batch size{cause}"
        )
        return Check("batch-norm", Status.WARNING, message, evidence)
    if jitter:
        message = (
            f"{jitter[0]} follows a dropout: its running variance was gathered under masks and "
            "does not fit eval mode "
            "(variance shift, Li et al. 2019, CVPR)"
        )
        return Check("batch-norm", Status.NOTE, message, evidence)
    return Check(
        "batch-norm", Status.OK, f"{len(norms)} layers use their running statistics", evidence
    )


def kinks(f: Landscape, x: Tensor, seed: int = 0) -> Check:
    """Whether f is smooth around x (n,): products at x ± h u against each other, and Hu against the
    gradient's change.

    Autograd's Hessian is that of the smooth pieces. On a smooth f the change of the products falls
    with h and the gap between Hu and the gradient's slope over 2h with h^2; across kinks neither
    does. So both are taken at h and at h/4. What f changes by beside its gradient falls with h^3;
    across a step, or where a kernel's gradient is another function's, it does not. u is a random
    unit vector, h = eps^(1/3) max(|x|, 1).

    Cost: five products, five gradients and four values.
    """
    return _kinks(Look(f, x, "kinks"), seed)


def _kinks(look: Look, seed: int) -> Check:
    f, x = look.f, look.x
    u = _directions(x, 1, seed)[:, 0]
    u /= u.double().norm()
    h = torch.finfo(x.dtype).eps ** (1 / 3) * max(float(x.double().norm()), 1.0)
    here = (look.rebuilt @ u).double()
    far, near = (_roughness(f, x, here, u, reach) for reach in (h, h / 4))
    noise = (
        4 * torch.finfo(x.dtype).eps * float(look.gradient.double().norm()) / h + SMOOTH * far.size
    )
    kinked = (far.gap > noise and near.gap > far.gap / 4) or (
        far.jump > noise and near.jump > far.jump / 2
    )
    stepped = far.step > 0 and near.step > far.step / 8
    evidence = {
        "distance": h,
        "value_gap": far.step,
        "product_change": far.jump / (far.size or 1.0),
        "gradient_gap": far.gap / (far.size or 1.0),
    }
    names = _kinked_layers(f)
    layers = f" ({', '.join(names)})" if names else ""
    if kinked:
        message = (
            f"the loss is not smooth within {h:.2g} of the point{layers}: over that distance "
            "products change by "
            f"{evidence['product_change']:.0%} and the gradient's slope differs from the Hessian's "
            "by "
            f"{evidence['gradient_gap']:.0%}; the spectrum is that of the smooth pieces"
        )
        return Check("kinks", Status.WARNING, message, evidence)
    if stepped:
        message = (
            f"the loss changes over {2 * h:.2g} by {far.step:.2g} more or less than its gradient "
            f"says{layers}: it has a "
            "step there, or a gradient that is not its own; the spectrum is that of what is "
            "differentiated"
        )
        return Check("kinks", Status.WARNING, message, evidence)
    if names:
        message = f"the model has kinks{layers}, none felt within {h:.2g} of the point"
        return Check("kinks", Status.NOTE, message, evidence)
    return Check("kinks", Status.OK, f"smooth within {h:.2g} of the point", evidence)


def _kinked_layers(f: Landscape) -> list[str]:
    """The classes of the layers and losses that have kinks."""
    if not f.layout:
        return []
    f = require_model(f, "kinks of layers are a model's.")
    modules = [*f.model.modules(), *(f.loss.modules() if isinstance(f.loss, nn.Module) else ())]
    return sorted({type(m).__name__ for m in modules if isinstance(m, KINKED)})


class _Roughness(NamedTuple):
    """How far f is from a quadratic between x - h u and x + h u."""

    # |H(x + hu)u - H(x - hu)u|
    jump: float
    # |(g(x + hu) - g(x - hu)) / 2h - H(x)u|
    gap: float
    # the size of both
    size: float
    # what f changes by beside its slope
    step: float


def _roughness(f: Landscape, x: Tensor, here: Tensor, u: Tensor, h: float) -> _Roughness:
    left, right = ((Hessian(f, x + t * u, memory=0) @ u).double() for t in (-h, h))
    below, above = (f.gradient(x + t * u).double() for t in (-h, h))
    secant = (above - below) / (2 * h)
    rise = h * (above + below) @ u.double()
    norms = [v.norm() for v in (right - left, secant - here, here, left, right, secant)]
    values = [f.value(x + t * u).double() for t in (-h, h)]
    low, high, slope, jump, gap, *sizes = torch.stack([*values, rise, *norms]).tolist()
    rounding = 1e3 * torch.finfo(x.dtype).eps * (abs(low) + abs(high) + abs(slope))
    step = max(abs(high - low - slope) - rounding, 0.0)
    return _Roughness(jump, gap, max(sizes), step)
