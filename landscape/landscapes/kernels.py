"""Operations whose fused kernel has no second derivative, or a wrong one, made of elementary ones
with the same values.

torch._weight_norm      its second derivative holds the norms constant
F.embedding_bag         its backward pass has no derivative
F.embedding, sparse     its gradient is a sparse tensor, which cannot be differentiated again
F.hardsigmoid           its backward pass has no derivative
F.grouped_mm            the experts of transformers: it is there for single precision only
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as checkpointing
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GROUPED = [
    getattr(module, name)
    for module, name in ((F, "grouped_mm"), (torch, "_grouped_mm"))
    if hasattr(module, name)
]


Table = Mapping[Any, Callable[..., Tensor]]


class Instead(TorchFunctionMode):
    """Inside, what a table has by one of torch's functions is called in its place."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.table.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def instead(table: Table) -> Iterator[None]:
    """Inside, ``Instead`` holds, and in whatever a backward pass computes anew too.

    torch hands ``torch.autograd.grad`` itself to the mode, which is off while it is handled: the
    engine is entered with the mode on again.
    """
    engine = torch.autograd._engine_run_backward  # type: ignore[attr-defined]

    def run(*args: Any, **options: Any) -> Any:
        with Instead(table):
            return engine(*args, **options)

    torch.autograd._engine_run_backward = run  # type: ignore[attr-defined]
    try:
        with Instead(table):
            yield
    finally:
        torch.autograd._engine_run_backward = engine  # type: ignore[attr-defined]


_LAYERS = {
    "layers with weight normalisation": _WeightNorm,
    "bags of embeddings": nn.EmbeddingBag,
    "hard sigmoids": nn.Hardsigmoid,
}


def replaced(model: nn.Module) -> list[str]:
    """What of a model's layers ``ELEMENTARY`` is needed for, in words."""
    modules = list(model.modules())
    hooks = [h for m in modules for h in m._forward_pre_hooks.values()]
    found = {
        name: any(isinstance(part, kind) for part in modules) for name, kind in _LAYERS.items()
    }
    if any(isinstance(hook, WeightNorm) for hook in hooks):
        found["layers with weight normalisation"] = True
    found["sparse embeddings"] = any(isinstance(m, nn.Embedding) and m.sparse for m in modules)
    found["experts"] = any(_grouped_experts(m) for m in modules)
    return [name for name, there in found.items() if there]


def _grouped_experts(module: nn.Module) -> bool:
    config = getattr(module, "config", None)
    return getattr(config, "_experts_implementation", None) == "grouped_mm"


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return F.relu6(input + 3) / 6


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    return F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, False)


def _embedding_bag(  # noqa: PLR0913
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """input (N,) with the bags' offsets (B,), or (B, L); weight (rows, d) -> (B, d). An empty bag
    is 0.
    """
    if input.ndim == 2:
        offsets = input.shape[1] * torch.arange(len(input), device=input.device)
    if offsets is None:
        raise ValueError("embedding_bag needs offsets for an input of one dimension.")
    offsets = offsets[:-1] if include_last_offset and input.ndim == 1 else offsets
    tokens = input.reshape(-1)
    kept = torch.ones_like(tokens, dtype=torch.bool)
    if padding_idx is not None:
        kept = tokens != padding_idx % len(weight)
    places = torch.arange(len(tokens), device=input.device)[kept]
    bag = torch.searchsorted(offsets.to(places.dtype), places, right=True) - 1
    rows = F.embedding(tokens[kept], weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1)[kept][:, None]
    if mode == "max":
        parts = [rows[bag == b] for b in range(len(offsets))]
        return torch.stack(
            [part.amax(0) if len(part) else weight.new_zeros(weight.shape[1]) for part in parts]
        )
    total = rows.new_zeros(len(offsets), weight.shape[1]).index_add(0, bag, rows)
    if mode == "sum":
        return total
    return total / torch.bincount(bag, minlength=len(offsets)).clamp(min=1)[:, None]


def _grouped(mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, **_: Any) -> Tensor:
    """Rows (N, k) that end at the offsets (E,), each group by a matrix of its own (E, k, m) ->
    (N, m); of rows beyond the last group 0.
    """
    if offs is None or mat_a.ndim != 2 or mat_b.ndim != 3:
        raise NotImplementedError("grouped_mm of other shapes than rows by matrices.")
    ends = offs.tolist()
    groups = zip([0, *ends[:-1]], ends, mat_b, strict=True)
    parts = [mat_a[start:end] @ matrix for start, end, matrix in groups]
    rest = mat_a.new_zeros(len(mat_a) - ends[-1], mat_b.shape[-1])
    return torch.cat([*parts, rest])


ELEMENTARY: Table = {
    torch._weight_norm: _weight_norm,
    F.hardsigmoid: _hardsigmoid,
    F.embedding_bag: _embedding_bag,
    F.embedding: _embedding,
    **dict.fromkeys(GROUPED, _grouped),
}


class Precision(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the coarsest floating-point dtype in which anything is computed inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # constants and masks are made in a dtype of their own; what counts is what numbers pass
        # through
        if _is_float(out) and any(map(_is_float, args)):
            self.eps = max(self.eps, torch.finfo(out.dtype).eps)
        return out


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 0


class _Plain:
    """What stands for reentrant checkpointing: the function itself, whose activations are kept."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


@contextmanager
def unsaved() -> Iterator[None]:
    """Inside, reentrant activation checkpointing saves nothing: its backward pass refuses
    ``torch.autograd.grad``.

    ``torch.utils.checkpoint`` without reentrance is left as it is: what it recomputes is exact
    while a point is in place.
    """
    earlier = checkpointing.CheckpointFunction
    checkpointing.CheckpointFunction = _Plain  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        checkpointing.CheckpointFunction = earlier  # type: ignore[misc]
