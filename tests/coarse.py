"""Arithmetic coarser than float32, where no device has it: float32 operands of matrix products and convolutions are rounded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot"}
CONVOLUTIONS = {"convolution", "convolution_backward"}
ADDEND = {"addmm", "baddbmm", "addbmm", "addmv"}  # their first argument is no operand
KEPT = {"tf32": 10, "bf16": 7}  # bits of the mantissa


def rounded(t: Any, kind: str) -> Any:
    """A float32 tensor rounded, to nearest and ties to even, to the mantissa of ``kind``."""
    if not isinstance(t, Tensor) or t.dtype != torch.float32:
        return t
    lost = 23 - KEPT[kind]
    bits = t.contiguous().view(torch.int32)
    up = (1 << (lost - 1)) - 1 + ((bits >> lost) & 1)
    return ((bits + up) & ~((1 << lost) - 1)).view(torch.float32).reshape(t.shape)


def always(product: bool) -> bool:
    """A device that rounds whatever the flags say."""
    return True


def as_flagged(product: bool) -> bool:
    """A device that rounds as CUDA does: where torch's flags let it."""
    backends = torch.backends
    owner = backends.cuda.matmul if product else getattr(backends.cudnn, "conv")  # noqa: B009
    return bool(owner.fp32_precision == "tf32")


class Coarse(TorchDispatchMode):
    """Inside, operands are rounded where ``when`` says so; ``rounded`` counts the operations."""

    def __init__(self, kind: str = "tf32", when: Callable[[bool], bool] = always) -> None:
        super().__init__()
        self.kind, self.when, self.rounded = kind, when, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        if (name in PRODUCTS and self.when(True)) or (name in CONVOLUTIONS and self.when(False)):
            self.rounded += 1
            kept = int(name in ADDEND)
            args = (*args[:kept], *(rounded(a, self.kind) for a in args[kept:]))
        return func(*args, **(kwargs or {}))
