"""Batches in pieces, where memory does not hold the graph of a whole one.

A mean over something has L(b) = sum m_i L_i / sum m_i over the pieces i of a batch b, where a piece
counts m_i (``means``), and so have its derivatives. That holds where samples do not see each other:
not with a batch's own statistics, nor for a loss that compares samples. It is tried once, with a
few samples at a random point: there values and gradients tell, where the landscape's own point may
be a special one.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from landscape import rng, specs
from landscape.errors import memory_is_full
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.landscapes.kernels import Precision
from landscape.landscapes.means import ROUNDING

FEW = (6, 3, 2)  # samples that are tried, as many as memory holds, a third apart from the others
APART = "the loss of a few samples is not what their own losses make: they see each other"
NEAR = 0.1  # how far from the point, in units of its length


def few(batch: Batch, most: int) -> Iterator[Sequence[Batch]]:
    """Some samples of a batch, and the same in two pieces, from the first ones to the last."""
    number = batching.samples(batch)
    for start in range(0, number - 1, most):
        end = min(start + most, number)
        if end - start > 1:
            middle = start + max(1, (end - start) // 3)
            cuts = (range(start, end), range(start, middle), range(middle, end))
            yield [batching.cut_out(batch, cut, number) for cut in cuts]


def nearby(x: Tensor, far: float = NEAR) -> Tensor:
    """A random point near x (n,), ``far`` from it in units of its length."""
    draws = rng.generator(0)
    step = torch.randn(len(x), generator=draws, dtype=torch.float64, device="cpu").to(x)
    length = float(x.double().norm()) or 1.0
    near: Tensor = x.detach() + far * length / len(x) ** 0.5 * step
    return near


def coupled(
    loss: Callable[[Batch, Tensor], Tensor],
    cuts: Sequence[Batch],
    shares: Sequence[float],
    x: Tensor,
) -> str:
    """Why a loss is not what its pieces make, in words; "" where it is.

    Args:
        loss: of a batch at a point.
        cuts: a batch, and the pieces of it.
        shares: what each piece is multiplied by in the sum.
        x: (n,) where it is tried.
    """
    try:
        with Precision() as seen:
            whole, *parts = (_told(loss, cut, x) for cut in cuts)
    except Exception as error:  # a user's loss may refuse a piece
        if memory_is_full(error):
            raise
        return f"a few samples alone are refused ({specs.one_line(error, 120)})"
    scaled = [share * part for share, part in zip(shares, parts, strict=True)]
    eps = max(seen.eps, torch.finfo(x.dtype).eps)
    gap = whole - torch.stack(scaled).sum(0)
    sizes = torch.stack([whole, *scaled])
    for part in (slice(0, 1), slice(1, None)):  # the value and the gradient, each by its own size
        allowed = ROUNDING * eps * sizes[:, part].norm(dim=1).sum()
        if not bool(gap[part].norm() <= allowed):
            return APART
    return ""


def _told(loss: Callable[[Batch, Tensor], Tensor], batch: Batch, x: Tensor) -> Tensor:
    """The loss and its gradient, (1 + n,) float64."""
    at = x.clone().requires_grad_(True)
    value = loss(batch, at)
    (slope,) = torch.autograd.grad(value, at, allow_unused=True)
    slope = torch.zeros_like(at) if slope is None else slope
    return torch.cat([value.detach().reshape(1), slope]).double()
