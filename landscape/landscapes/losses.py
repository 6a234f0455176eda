"""Losses by name, as on the command line: ``cross-entropy``, ``huber:delta=0.5``,
``asymmetric:over=1,under=10``.

Each is a small frozen class called as ``loss(output, target)``; its fields are the options. The
value is the mean over what ``weight(target)`` counts, so that the weighted mean over batches of any
size is the mean over all the data. Targets are checked once a tensor; nothing branches on the
output, so that every loss composes with ``torch.func`` and has the derivatives of any order that
mathematics gives it.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from landscape import specs
from landscape.errors import LoadingError

IGNORED = -100  # the label that counts for nothing, as in torch


class Loss(Protocol):
    """A mean loss of a batch, and how much the batch counts in the mean over all of them."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor: ...
    def weight(self, target: Tensor) -> float: ...


@dataclass(frozen=True)
class _Named:
    """What the losses share: a name, options within their limits, and targets that are checked
    once.
    """

    name: ClassVar[str]
    # of each option, the numbers allowed: low <= value < high, or low < value < high where open
    limits: ClassVar[dict[str, tuple[float, float, bool]]] = {}
    _seen: Any = field(
        default_factory=WeakTensorKeyDictionary, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for option, (low, high, is_open) in self.limits.items():
            value = getattr(self, option)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not low <= value < high
                or (is_open and value == low)
            ):
                raise ValueError(
                    f"{option} of {self.name} must be a number {'>' if is_open else '>='} {low:g}"
                    f"{'' if math.isinf(high) else f' and < {high:g}'}, got {value!r}."
                )

    def _once(self, target: Tensor, check: Callable[[], None], against: int = 0) -> None:
        """Check the values of a target unless they have passed ``against`` the same, or cannot be
        looked at here.
        """
        if target.device.type == "meta" or torch._C._functorch.is_functorch_wrapped_tensor(target):
            return
        if self._seen.get(target) != against:
            check()
            self._seen[target] = against


class _Labels(_Named):
    """Targets are class numbers; ``IGNORED`` ones count for nothing."""

    def weight(self, target: Tensor) -> float:
        """How many labels are not ignored; of class probabilities, how many samples."""
        if target.is_floating_point():
            return float(target.numel() // target.shape[1]) if target.ndim > 1 else 1.0
        return float((target != IGNORED).sum())

    def _labels(self, output: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise LoadingError(
                f"{self.name} needs integer labels, the targets are {target.dtype} of shape "
                f"{tuple(target.shape)}. "
                "Store labels as integers, or pass another --loss."
            )
        classes = output.shape[1 if output.ndim > 1 else 0] if output.ndim else 0
        if (
            output.ndim == 0
            or target.shape != output.shape[:1] * (output.ndim > 1) + output.shape[2:]
        ):
            raise LoadingError(
                f"{self.name} needs output (N, classes, ...) and labels (N, ...), "
                f"got {tuple(output.shape)} and {tuple(target.shape)}."
            )
        self._once(target, lambda: self._in_range(target, classes), classes)
        return target.long()

    def _in_range(self, target: Tensor, classes: int) -> None:
        bad = (target != IGNORED) & ((target < 0) | (target >= classes))
        if bool(bad.any()):
            raise LoadingError(
                f"label {int(target[bad][0])} is out of range: the model gives {classes} classes, "
                f"0 to {classes - 1}, "
                f"and {self.name} ignores {IGNORED}."
            )


@dataclass(frozen=True)
class CrossEntropy(_Labels):
    """-log softmax(output)[label], labels (N, ...) with output (N, C, ...); or class probabilities
    shaped as output.
    """

    name = "cross-entropy"
    limits: ClassVar = {"label_smoothing": (0.0, 1.0, False)}
    label_smoothing: float = 0.0

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point() and target.shape == output.shape and output.ndim > 1:
            self._once(target, lambda: _within_unit(self.name, target))
            return F.cross_entropy(
                output, target.to(output.dtype), label_smoothing=self.label_smoothing
            )
        labels = self._labels(output, target)
        total = F.cross_entropy(
            output, labels, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / (labels != IGNORED).sum().clamp(
            min=1
        )  # a batch of ignored labels alone is 0, not 0 / 0


@dataclass(frozen=True)
class NegativeLogLikelihood(_Labels):
    """-output[label] of log-probabilities (N, C, ...)."""

    name = "nll"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        labels = self._labels(output, target)
        return F.nll_loss(output, labels, reduction="sum") / (labels != IGNORED).sum().clamp(min=1)


class _Elementwise(_Named):
    """The mean over all entries of a function of (output, target), which have the same shape."""

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if output.shape != target.shape:
            raise LoadingError(
                f"{self.name} needs targets shaped as the output, got output {tuple(output.shape)} "
                f"and targets "
                f"{tuple(target.shape)}: torch would broadcast them without a word. Reshape one of "
                f"them."
            )
        if target.is_complex():
            raise LoadingError(f"{self.name} needs real targets, got {target.dtype}.")
        self.check(target)
        return self.entries(output, target.to(output.dtype)).mean()

    def weight(self, target: Tensor) -> float:
        """The number of entries."""
        return float(target.numel())

    def check(self, target: Tensor) -> None:
        """Raise a LoadingError where the targets are not of this loss; most take any number."""

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of each entry."""
        raise NotImplementedError


@dataclass(frozen=True)
class MeanSquared(_Elementwise):
    """(output - target)², no factor 1/2."""

    name = "mse"

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()


@dataclass(frozen=True)
class MeanAbsolute(_Elementwise):
    """|output - target|: a kink at 0, no curvature elsewhere."""

    name = "l1"

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs()


@dataclass(frozen=True)
class SmoothL1(_Elementwise):
    """d² / (2 beta) where |d| < beta, |d| - beta / 2 beyond."""

    name = "smooth-l1"
    limits: ClassVar = {"beta": (0.0, math.inf, True)}
    beta: float = 1.0

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(output, target, reduction="none", beta=self.beta)


@dataclass(frozen=True)
class Huber(_Elementwise):
    """d² / 2 where |d| < delta, delta (|d| - delta / 2) beyond (Huber 1964)."""

    name = "huber"
    limits: ClassVar = {"delta": (0.0, math.inf, True)}
    delta: float = 1.0

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(output, target, reduction="none", delta=self.delta)


class _Probabilities(_Elementwise):
    """Targets lie in [0, 1]."""

    def check(self, target: Tensor) -> None:
        self._once(target, lambda: _within_unit(self.name, target))


@dataclass(frozen=True)
class BinaryCrossEntropy(_Probabilities):
    """-t log p - (1 - t) log(1 - p) of probabilities p = output."""

    name = "bce"

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(output, target, reduction="none")


@dataclass(frozen=True)
class BinaryCrossEntropyWithLogits(_Probabilities):
    """The same with p = sigmoid(output), without overflow."""

    name = "bce-with-logits"

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, target, reduction="none")


@dataclass(frozen=True)
class Asymmetric(_Elementwise):
    """over (output - target) above the target, under (target - output) below: its minimiser is the
    quantile under / (over + under) of the targets (Koenker & Bassett 1978)."""

    name = "asymmetric"
    limits: ClassVar = {"over": (0.0, math.inf, False), "under": (0.0, math.inf, False)}
    over: float = 1.0
    under: float = 1.0

    def entries(self, output: Tensor, target: Tensor) -> Tensor:
        excess = output - target
        return self.over * excess.relu() + self.under * (-excess).relu()


_LOSSES: dict[str, Callable[..., Loss]] = {
    cls.name: cast(Callable[..., Loss], cls)
    for cls in (
        CrossEntropy,
        MeanSquared,
        MeanAbsolute,
        SmoothL1,
        Huber,
        BinaryCrossEntropy,
        BinaryCrossEntropyWithLogits,
        NegativeLogLikelihood,
        Asymmetric,
    )
}


def names() -> list[str]:
    """The names that ``get`` knows."""
    return list(_LOSSES)


def get(spec: str) -> Loss:
    """The loss that ``spec`` names: ``"mse"``, ``"huber:delta=0.5"``.

    Raises:
        ValueError: an unknown name or option, or an option outside its limits; the message lists
            what is known.
    """
    line = specs.line(spec, "a loss")
    name, given = line.name, line.options
    if name not in _LOSSES:
        raise ValueError(
            f"unknown loss {name!r}.{specs.closest(name, _LOSSES)} Known: {', '.join(_LOSSES)}; "
            "or pkg.mod:function, file.py:function."
        )
    cls = _LOSSES[name]
    known = [f.name for f in fields(cast(Any, cls)) if f.init]
    for option in given:
        if option not in known:
            raise ValueError(
                f"loss {name} has no option {option!r}.{specs.closest(option, known)} "
                f"Its options: {', '.join(known) or 'none'}."
            )
    return cls(**given)


def _within_unit(name: str, target: Tensor) -> None:
    outside = ~((target >= 0) & (target <= 1))
    if bool(outside.any()):
        raise LoadingError(f"{name} needs targets in [0, 1], got {target[outside][0].item():g}.")


def unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """A loss below its partials, and the keywords that these fix."""
    options: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        options = {**loss.keywords, **options}
        loss = loss.func
    return loss, options


# torch's own that are never negative, whatever the output and the targets that they allow
_NEVER_NEGATIVE = (
    nn.CrossEntropyLoss,
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCELoss,
    F.cross_entropy,
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
    F.binary_cross_entropy,
)


def floor(loss: object) -> float:
    """What a loss is known never to fall below: 0, or -infinity where nothing is known."""
    function, options = unwrapped(loss)
    weight = options.get("weight", getattr(function, "weight", None))
    if isinstance(weight, Tensor) and bool((weight < 0).any()):
        return -math.inf
    kind = type(function) if isinstance(function, nn.Module) else function
    ours = isinstance(function, _Named) and not isinstance(function, NegativeLogLikelihood)
    return 0.0 if ours or kind in _NEVER_NEGATIVE else -math.inf
