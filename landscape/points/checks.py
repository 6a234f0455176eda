"""What could make a Hessian wrong here: reported, never silently mended.

Each check looks at the landscape at one point x (n,) and returns what it found, with its evidence in numbers.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from traceback import walk_tb
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from landscape.core import Landscape, require_landscape
from landscape.errors import LoadingError, NumericalError
from landscape.landscapes import kernels
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.operators.hessian import Hessian
from landscape.results import result

KINKED = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink,
          nn.Softshrink, nn.Threshold, nn.L1Loss, nn.HuberLoss, nn.SmoothL1Loss, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
          nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)  # fmt: skip
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
BATCH_NORM = nn.modules.batchnorm._BatchNorm
SMOOTH = 0.02  # relative change of a product up to which the landscape counts as smooth at the probed distance


_RECOMPUTES = "saved tensors are hooked"  # what torch is to say where a model asks for hooks


@result("check-status")
class Status(Enum):
    """How a check ended; the text is what it means for the numbers."""

    OK = "nothing found"
    NOTE = "something was switched or assumed; the numbers hold"
    WARNING = "the numbers hold only with the reservation stated"


@result("check")
@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, the evidence in numbers, and what to do."""

    name: str  # finite, determinism, kernels, symmetry, dropout, batch-norm, kinks
    status: Status
    message: str
    evidence: dict[str, float]


def check(f: Landscape, at: Tensor | Sequence[float] | None = None, *, seed: int = 0) -> tuple[Check, ...]:
    """All checks that apply to a landscape at a point: what could make its Hessian another function's, each with its evidence.

    Args:
        f: the landscape.
        at: the point (n,); None: a model's current parameters.
        seed: of the random directions.

    Raises:
        TypeError: f is no landscape.
        ValueError: ``at`` is no point of it, or missing for a formula.
        NumericalError: a parameter or the loss on some batch is not finite; the message names it.

    Cost: for a model nine passes over the data and one over a batch, five gradients and seven Hessian-vector products.
    """
    require_landscape(f, "check")
    x = f.locate(at)
    if not f.layout:
        return (kinks(f, x, seed),)
    f = require_model(f, "these checks are about a model.")
    finite = _finite(f, x)
    return (
        finite,
        _determinism(f, x),
        _kernels(f, x),
        _symmetry(f, x, seed),
        _dropout(f),
        _batch_norm(f),
        kinks(f, x, seed),
    )


def _finite(f: ModelLandscape, x: Tensor) -> Check:
    for name, where in f.layout.items():
        bad = int((~torch.isfinite(x[where])).sum())
        if bad:
            raise NumericalError(
                f"parameter {name} has {bad} values that are NaN or infinite: take an earlier checkpoint."
            )
    norms = [m for m in f.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    statistics = {id(b) for m in norms for b in m.buffers(recurse=False)}
    for name, tensor in f.model.named_buffers():
        if not tensor.is_floating_point():
            continue
        wrong = ~torch.isfinite(tensor) if id(tensor) in statistics else torch.isnan(tensor)  # masks hold infinities
        if bool(wrong.any()):
            raise NumericalError(f"buffer {name} has values that are NaN or infinite: take an earlier checkpoint.")
    losses = _batch_losses(f, x)
    for batch, loss in losses.items():
        if not math.isfinite(loss):
            raise NumericalError(
                f"the loss is {loss} on batch {batch} of {len(losses)}: check that batch's data and labels."
            )
    return Check(
        "finite", Status.OK, f"the loss is finite on all {len(losses)} batches", {"batches": float(len(losses))}
    )


def _batch_losses(f: ModelLandscape, x: Tensor) -> dict[int | None, float]:
    """What each batch contributes to f."""
    losses: dict[int | None, float] = {}
    with f.evaluation(), torch.no_grad():
        for term in f.terms():
            losses[term.batch] = losses.get(term.batch, 0.0) + float(term.function(x))
    return losses


def _determinism(f: ModelLandscape, x: Tensor) -> Check:
    first, second = (float(f.value(x).double()) for _ in range(2))
    if first != second:
        return Check(
            "determinism", Status.WARNING,
            f"the loss differs by {abs(first - second):.2g} between two evaluations at the same point: the data or a kernel is random; "
            "fix augmentation, or use torch.use_deterministic_algorithms(True)",
            {"difference": abs(first - second)},
        )  # fmt: skip
    other = copy.copy(f)
    other.seed = f.seed + 1
    change = abs(float(other.value(x).double()) - first)
    rounding = 100 * torch.finfo(f.dtype).eps * abs(first)
    if change > rounding:
        return Check(
            "determinism", Status.NOTE if f.mode == "train" else Status.WARNING,
            f"the loss depends on random numbers, frozen here by seed {f.seed}: another seed changes it by {change:.2g}",
            {"change": change},
        )  # fmt: skip
    return Check(
        "determinism", Status.OK, "two evaluations agree to the last bit, and no seed matters", {"change": change}
    )


class _Attention(TorchFunctionMode):
    """Counts calls of scaled_dot_product_attention."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def _kernels(f: ModelLandscape, x: Tensor) -> Check:
    with _Attention() as attention:
        _batch_losses(f, x)
    if _checkpointed(f, x):
        return Check(
            "kernels", Status.WARNING,
            "activation checkpointing computes anew with the model's own parameters, not those of the point: away from where the "
            "model is, gradients and products are wrong; switch it off",
            {},
        )  # fmt: skip
    switched = []
    if attention.calls or any(isinstance(m, nn.MultiheadAttention) for m in f.model.modules()):
        switched.append("attention runs under the math SDPA backend")
    if f.recurrent:
        switched.append("recurrent layers run without cuDNN")
    switched += [f"{layers} run in elementary operations" for layers in kernels.replaced(f.model)]
    if not switched:
        return Check("kernels", Status.OK, "no kernel had to be switched", {})
    return Check(
        "kernels",
        Status.NOTE,
        f"{' and '.join(switched)}: the fused kernels have no second derivative, or a wrong one",
        {},
    )


def _checkpointed(f: ModelLandscape, x: Tensor) -> bool:
    """Whether the model saves less than its backward pass needs, by ``torch.utils.checkpoint(..., use_reentrant=False)``."""
    try:
        with f.evaluation(), torch.enable_grad(), torch.autograd.graph.disable_saved_tensors_hooks(_RECOMPUTES):
            next(iter(f.terms())).function(x.detach().requires_grad_(True))
    except LoadingError as error:
        if _RECOMPUTES not in str(error):
            raise
        cause = error.__cause__ or error
        return any(frame.f_code.co_filename == checkpoint.__file__ for frame, _ in walk_tb(cause.__traceback__))
    return False


def _symmetry(f: Landscape, x: Tensor, seed: int) -> Check:
    """u'Hv against v'Hu: a kernel with a wrong second derivative shows here."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    U = torch.randn(f.dim, 2, generator=generator, dtype=torch.float64, device="cpu").to(x.device, x.dtype)
    HU = (Hessian(f, x, method="rebuilt") @ U).double()
    size = float(HU.norm() * U.double().norm()) / 2
    gap = abs(float((U[:, 0].double() * HU[:, 1]).sum() - (U[:, 1].double() * HU[:, 0]).sum())) / (size or 1.0)
    if gap > 1e3 * torch.finfo(x.dtype).eps:
        return Check(
            "symmetry", Status.WARNING,
            f"u'Hv and v'Hu differ by {gap:.1e} of |Hv||u|: a kernel's second derivative is wrong; compare with "
            'Hessian(method="finite-difference") and replace that layer by elementary operations',
            {"gap": gap},
        )  # fmt: skip
    return Check("symmetry", Status.OK, f"u'Hv and v'Hu agree to {gap:.1e}", {"gap": gap})


def _dropout(f: ModelLandscape) -> Check:
    layers = [(name, m.p) for name, m in f.model.named_modules() if isinstance(m, DROPOUT) and m.p > 0]
    layers += [(name, float(m.dropout)) for name, m in f.model.named_modules()
               if isinstance(m, nn.MultiheadAttention | nn.RNNBase) and m.dropout]  # fmt: skip
    if not layers:
        return Check("dropout", Status.OK, "the model has no dropout", {})
    if f.mode == "eval":
        return Check(
            "dropout",
            Status.OK,
            f"{len(layers)} dropout layers are inactive in eval mode",
            {"layers": float(len(layers))},
        )
    return Check(
        "dropout", Status.NOTE,
        f"{len(layers)} dropout layers are active; the loss is the mean over {f.masks} mask{'s' * (f.masks > 1)} frozen by seed {f.seed}, "
        "another seed gives another landscape",
        {"layers": float(len(layers)), "masks": float(f.masks)},
    )  # fmt: skip


def _batch_norm(f: ModelLandscape) -> Check:
    leaves = [(name, m) for name, m in f.model.named_modules() if not list(m.children())]
    norms = [name for name, m in leaves if isinstance(m, BATCH_NORM)]
    if not norms:
        return Check("batch-norm", Status.OK, "the model has no batch normalisation", {})
    from_batch = [n for n, m in leaves if isinstance(m, BATCH_NORM) and (f.mode == "train" or m.running_mean is None)]
    jitter = [b for (_, a), (b, m) in pairwise(leaves)
              if isinstance(m, BATCH_NORM) and isinstance(a, DROPOUT) and a.p > 0]  # fmt: skip
    evidence = {"layers": float(len(norms)), "from_batch": float(len(from_batch)), "after_dropout": float(len(jitter))}
    if from_batch:
        after = (
            f"; {jitter[0]} follows a dropout, whose masks make its statistics jitter"
            if jitter and f.mode == "train"
            else ""
        )
        return Check(
            "batch-norm", Status.WARNING,
            f"{from_batch[0]} and {len(from_batch) - 1} more normalise by the statistics of each batch: the loss is no sum over samples, "
            f"and depends on the batch size{after}",
            evidence,
        )  # fmt: skip
    if jitter:
        return Check(
            "batch-norm", Status.NOTE,
            f"{jitter[0]} follows a dropout: its running variance was gathered under masks and does not fit eval mode "
            "(variance shift, Li et al. 2019, CVPR)",
            evidence,
        )  # fmt: skip
    return Check("batch-norm", Status.OK, f"{len(norms)} layers use their running statistics", evidence)


def kinks(f: Landscape, x: Tensor, seed: int = 0) -> Check:
    """Whether f is smooth around x (n,): products at x ± h u against each other, and Hu against the gradient's change over 2h.

    Autograd's Hessian is that of the smooth pieces. On a smooth f the change of the products falls with h and the gap between
    Hu and the gradient's slope with h^2; across kinks neither does. So both are taken at h and at h/4. What f changes by beside its
    gradient falls with h^3; across a step, or where a kernel's gradient is another function's, it does not.
    u is a random unit vector, h = eps^(1/3) max(|x|, 1). Cost: five products, five gradients and four values.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    u = torch.randn(f.dim, generator=generator, dtype=torch.float64, device="cpu").to(x.device, x.dtype)
    u[_held(f, x.device)] = 0
    u /= u.double().norm()
    h = torch.finfo(x.dtype).eps ** (1 / 3) * max(float(x.double().norm()), 1.0)
    here = (Hessian(f, x, method="rebuilt") @ u).double()
    jump, gap, size, step = _roughness(f, x, here, u, h)
    near_jump, near_gap, _, near_step = _roughness(f, x, here, u, h / 4)
    noise = 4 * torch.finfo(x.dtype).eps * float(f.gradient(x).double().norm()) / h + SMOOTH * size
    kinked = (gap > noise and near_gap > gap / 4) or (jump > noise and near_jump > jump / 2)
    stepped = step > 0 and near_step > step / 8
    evidence = {
        "distance": h,
        "value_gap": step,
        "product_change": jump / (size or 1.0),
        "gradient_gap": gap / (size or 1.0),
    }
    names: set[str] = set()
    if f.layout:
        f = require_model(f, "kinks of layers are a model's.")
        modules = [*f.model.modules(), *(f.loss.modules() if isinstance(f.loss, nn.Module) else ())]
        names = {type(m).__name__ for m in modules if isinstance(m, KINKED)}
    layers = f" ({', '.join(sorted(names))})" if names else ""
    if stepped and not kinked:
        return Check(
            "kinks", Status.WARNING,
            f"the loss changes over {2 * h:.2g} by {step:.2g} more or less than its gradient says{layers}: it has a step there, or a "
            "gradient that is not its own; the spectrum is that of what is differentiated",
            evidence,
        )  # fmt: skip
    if kinked:
        return Check(
            "kinks", Status.WARNING,
            f"the loss is not smooth within {h:.2g} of the point{layers}: over that distance products change "
            f"by {evidence['product_change']:.0%} and the gradient's slope differs from the Hessian's by {evidence['gradient_gap']:.0%}; "
            "the spectrum is that of the smooth pieces",
            evidence,
        )  # fmt: skip
    if names:
        return Check(
            "kinks", Status.NOTE, f"the model has kinks{layers}, none felt within {h:.2g} of the point", evidence
        )
    return Check("kinks", Status.OK, f"smooth within {h:.2g} of the point", evidence)


def _held(f: Landscape, device: torch.device) -> Tensor:
    """Which coordinates are the rows of ``padding_idx``: torch gives them no gradient, though the loss may depend on them."""
    held = [torch.zeros(0, dtype=torch.int64, device=device)]
    if not f.layout:
        return held[0]
    f = require_model(f, "padding rows are a model's.")
    for name, module in f.model.named_modules():
        weight = f.layout.get(f"{name}.weight".removeprefix("."))
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None and weight:
            start = weight.start + module.padding_idx * module.embedding_dim
            held.append(torch.arange(start, start + module.embedding_dim, device=device))
    return torch.cat(held)


def _roughness(f: Landscape, x: Tensor, here: Tensor, u: Tensor, h: float) -> tuple[float, float, float, float]:
    """|H(x + hu)u - H(x - hu)u|, |(g(x + hu) - g(x - hu)) / 2h - H(x)u|, the size of both, and what f changes by beside its slope."""
    left, right = ((Hessian(f, x + t * u, method="rebuilt") @ u).double() for t in (-h, h))
    below, above = (f.gradient(x + t * u).double() for t in (-h, h))
    secant = (above - below) / (2 * h)
    size = max(float(v.norm()) for v in (here, left, right, secant))
    low, high = (float(f.value(x + t * u).double()) for t in (-h, h))
    slope = h * float((above + below) @ u.double())
    rounding = 1e3 * torch.finfo(x.dtype).eps * (abs(low) + abs(high) + abs(slope))
    step = max(abs(high - low - slope) - rounding, 0.0)
    return float((right - left).norm()), float((secant - here).norm()), size, step
