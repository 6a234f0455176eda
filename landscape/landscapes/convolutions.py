"""Convolutions and group norms whose second derivatives take fewer passes than torch's own.

A convolution y = C(x, w) is linear in x and in w, so the derivatives of <g, y> are of its kind:
X(g, w) along x and W(g, x) along w, which ``aten.convolution_backward`` gives at once. With a and b
what comes back to these two, the derivatives of <a, X(g, w)> + <b, W(g, x)> are

    along g  C(a, w) + C(x, b)        along x  X(g, b)        along w  W(g, a)

where torch takes kernels as large as images instead. They close under further derivatives.

Of a group norm y = w z + b with z = r (x - m), the mean m and r = 1 / (standard deviation) of a
group, the derivative along x is J(w g), J(u) = r (u - <u> - z <u z>) with means <.> over the group.
With a what comes back to it and u = w g, <a, J(u)> has the derivatives

    along u  J(a)
    along x  -r² (<u z> (a - <a>) + <a z> (u - <u>) + z (<a u> - <a> <u> - 3 <a z> <u z>))

so that all that is large is read in five sums and written in two combinations; torch takes apart
every product in it. Values and first derivatives are those of torch's own kernels, to the bit save
for the sum of a bias.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.autograd.graph import Node
from torch.nn.modules.conv import _ConvNd

from landscape.landscapes.kernels import Table, instead

# stride, padding, dilation, whether it is transposed, output padding, groups
Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
WINDOWS = 16  # samples a piece, see ``slow_in_float64``
# what takes parts out of a point, as autograd calls it
TAKES = ("ViewBackward0", "SplitWithSizesBackward0")
_graph_alone: set[int] = set()  # backward passes of which the graph alone is used


@contextmanager
def few_passes(model: nn.Module | None) -> Iterator[None]:
    """Inside, and in what backward passes compute anew, the convolutions and group norms of the
    model are these; nothing is changed for a model that has none.
    """
    if not _has(model, _ConvNd, nn.GroupNorm):
        yield
        return
    with instead(KERNELS):
        yield


@contextmanager
def graph_alone(value: Tensor) -> Iterator[None]:
    """Of a backward pass that starts at ``value`` inside, only the graph is used: what convolutions
    give along weights that are parts of the point, to which the pass only adds, is zeros.

    It is one convolution of nine in a product whose graph is rebuilt. Passes within the pass, of
    recomputed gradient penalties, say, have their values.
    """
    mine: list[int] = []

    def begin(_: Tensor) -> None:
        mine.append(torch._C._current_graph_task_id())
        _graph_alone.update(mine)

    handle = value.register_hook(begin)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        handle.remove()
        _graph_alone.difference_update(mine)


def _part_of_point(node: Node | None) -> bool:
    """Whether the tensor that a node has made is a part of a leaf, as it is."""
    while node is not None and node.name() in TAKES:
        node = node.next_functions[0][0]
    return node is not None and node.name() == "torch::autograd::AccumulateGrad"


def slow_in_float64(model: nn.Module | None, device: torch.device) -> bool:
    """Whether torch convolves in float64 by copying all windows of a batch: on a CPU, where batches
    of ``WINDOWS`` samples take a third less time than larger ones.
    """
    return device.type == "cpu" and _has(model, _ConvNd)


def _has(model: nn.Module | None, *kinds: type[nn.Module]) -> bool:
    return model is not None and any(isinstance(module, kinds) for module in model.modules())


def _applied(kernel: type["Kernel"], *args: Any) -> Any:
    """What a kernel makes of its arguments; torch's own alone where nothing is recorded."""
    if not torch.is_grad_enabled():
        return kernel.torchs(*args)
    return kernel.apply(*args)  # type: ignore[no-untyped-call]


def _direct(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass whose own operations are looked up in no table: there are many small ones."""

    @wraps(backward)
    def run(*args: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return backward(*args)

    return run


class Kernel(Function):
    """A function with the values of one of torch's, ``torchs``, and derivatives of its own."""

    torchs: Callable[..., Any]


class Convolution(Kernel):
    """C(x, w) + bias for x (N, C, ...) and w as torch has them."""

    @staticmethod
    def torchs(x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        y: Tensor = torch.ops.aten.convolution(x, w, bias, *geometry)
        return y

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry, ctx.weight = geometry, w
        return Convolution.torchs(x, w, bias, geometry)

    @staticmethod
    @_direct
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        along_x, along_w, along_bias, _ = ctx.needs_input_grad
        alone = along_w and torch._C._current_graph_task_id() in _graph_alone
        unused = (
            alone and not ctx.weight._backward_hooks and _part_of_point(ctx.next_functions[1][0])
        )
        slopes = _applied(ConvolutionSlopes, g, x, w, ctx.geometry, along_x, along_w, unused)
        bias = g.sum([d for d in range(g.ndim) if d != 1]) if along_bias else None
        return (*slopes, bias, None)


class ConvolutionSlopes(Kernel):
    """X(g, w) and W(g, x); None for one that is not asked for, zeros for W where it is unused."""

    @staticmethod
    def torchs(
        g: Tensor, x: Tensor, w: Tensor, geometry: Geometry,
        along_x: bool, along_w: bool, unused: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
        asked = [along_x, along_w and not unused, False]
        slopes = torch.ops.aten.convolution_backward(g, x, w, None, *geometry, asked)
        return slopes[0], w.new_zeros(()).expand_as(w) if unused else slopes[1]

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, geometry: Geometry, *asked: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(g, x, w)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return ConvolutionSlopes.torchs(g, x, w, geometry, *asked)

    @staticmethod
    @_direct
    def backward(ctx: Any, a: Tensor | None, b: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, w = ctx.saved_tensors
        along_g, along_x, along_w = ctx.needs_input_grad[:3]
        slope = None
        for p, q in ((a, w), (x, b)) if along_g else ():
            if p is not None and q is not None:
                part = _applied(Convolution, p, q, None, ctx.geometry)
                slope = part if slope is None else slope.add_(part)
        asked = along_x and b is not None, along_w and a is not None
        others: Sequence[Tensor | None] = (None, None)
        if any(asked):
            first, second = x if a is None else a, w if b is None else b
            others = _applied(ConvolutionSlopes, g, first, second, ctx.geometry, *asked)
        return (slope, *others, None, None, None, None)


class GroupNorm(Kernel):
    """w z + b, z being x (N, C, ...) less the mean of its group over its standard deviation."""

    @staticmethod
    def torchs(x: Tensor, w: Tensor, b: Tensor, groups: int, eps: float) -> Tensor:
        return F.group_norm(x, groups, w, b, eps)

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, groups: int, eps: float) -> Tensor:
        sizes = len(x), x.shape[1], x[0, 0].numel()
        found: tuple[Tensor, ...] = torch.ops.aten.native_group_norm(x, w, b, *sizes, groups, eps)
        ctx.save_for_backward(x, w, *found[1:])  # the mean and r of each group
        ctx.groups, ctx.eps = groups, eps
        return found[0]

    @staticmethod
    @_direct
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        slopes = _applied(GroupNormSlopes, g.contiguous(), *ctx.saved_tensors, ctx.groups, ctx.eps)
        return (*slopes, None, None)


class GroupNormSlopes(Kernel):
    """The derivatives of <g, GroupNorm> along x, w and b."""

    @staticmethod
    def torchs(
        g: Tensor, x: Tensor, w: Tensor, mean: Tensor, rstd: Tensor, groups: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        sizes = len(x), x.shape[1], x[0, 0].numel()
        slopes: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_group_norm_backward(
            g, x, mean, rstd, w, *sizes, groups, [True, True, True]
        )
        return slopes

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, mean: Tensor, rstd: Tensor, *given: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(g, x, w, mean, rstd)
        ctx.groups, ctx.eps = given
        return GroupNormSlopes.torchs(g, x, w, mean, rstd, *given)

    @staticmethod
    @_direct
    def backward(ctx: Any, a: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor | None, ...]:
        g, x, w, mean, rstd = ctx.saved_tensors
        shape = len(x), ctx.groups, x.shape[1] // ctx.groups, x[0, 0].numel()
        A, X, G = (t.reshape(shape) for t in (a, x, g))
        if torch.is_grad_enabled():  # for a third derivative they depend on x
            mean = X.mean((2, 3))
            rstd = (X.var((2, 3), correction=0) + ctx.eps).rsqrt()
        X = X - mean.view(*shape[:2], 1, 1)
        r = rstd.view(*shape[:2], 1)
        w, p, q = (t.reshape(1, *shape[1:3]) for t in (w, p, q))
        # of each channel, then means over groups: u = w g, v = p g
        sa, sg, sag, sax, sgx = (t.sum(-1) for t in (A, G, A * G, A * X, G * X))
        saz, sgz = sax * r, sgx * r
        every = torch.stack([sa, saz, w * sg, w * sgz, w * sag, p * sg, p * sgz])
        ma, maz, mu, muz, mau, mv, mvz = every.sum(-1, keepdim=True) / (shape[2] * shape[3])
        wr, rr = w * r, r * r
        along_g = _combined(q - wr * ma, (wr, A), ((p - wr * maz) * r, X))
        along_x = _combined(
            rr * (muz * ma + maz * mu) - r * mv,
            (-rr * muz, A),
            (r * p - rr * maz * w, G),
            ((rr * (3 * maz * muz - mau + ma * mu) - r * mvz) * r, X),
        )
        along_w = (r * (sag - ma * sg - maz * sgz)).sum(0).flatten()
        return along_g.view_as(g), along_x.view_as(x), along_w, None, None, None, None


def _combined(constant: Tensor, *parts: tuple[Tensor, Tensor]) -> Tensor:
    """The constant (N, G, D) and factors (N, G, D) times what is large (N, G, D, L), in sum."""
    first, *others = parts
    total = first[0][..., None] * first[1]
    for factor, large in others:
        total.addcmul_(large, factor[..., None])
    return total.add_(constant[..., None])


def _convolved(
    torchs: Callable[..., Tensor], dims: int, input: Tensor, weight: Tensor,
    bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    if isinstance(padding, str) or input.ndim != dims + 2 or not _plain(input, weight):
        return torchs(input, weight, bias, stride, padding, dilation, groups)
    sizes = [_each(value, dims) for value in (stride, padding, dilation)]
    y: Tensor = _applied(Convolution, input, weight, bias, (*sizes, False, [0] * dims, groups))
    return y


def _transposed(
    torchs: Callable[..., Tensor], dims: int, input: Tensor, weight: Tensor,
    bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    if input.ndim != dims + 2 or not _plain(input, weight):
        return torchs(input, weight, bias, stride, padding, output_padding, groups, dilation)
    sizes = [_each(value, dims) for value in (stride, padding, dilation)]
    geometry = (*sizes, True, _each(output_padding, dims), groups)
    y: Tensor = _applied(Convolution, input, weight, bias, geometry)
    return y


def _normalised(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    if weight is None or bias is None or input.ndim < 3 or not _plain(input, weight):
        return F.group_norm(input, num_groups, weight, bias, eps)
    y: Tensor = _applied(GroupNorm, input, weight, bias, num_groups, eps)
    return y


def _plain(x: Tensor, w: Tensor) -> bool:
    """Whether tensors lie and are computed with as these kernels take it."""
    alike = x.dtype == w.dtype and x.is_floating_point() and x.is_contiguous() and x.numel() > 0
    return alike and not (torch.is_autocast_enabled(x.device.type) or _transformed())


def _transformed() -> bool:
    """Whether a function transform of torch.func or a forward derivative looks at what is done."""
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    return inside or forward_ad._current_level >= 0


def _each(value: int | Sequence[int], dims: int) -> list[int]:
    """A number for each dimension, as torch reads one."""
    several = [value] if isinstance(value, int) else list(value)
    return several * dims if len(several) == 1 else several


KERNELS: Table = {
    torch.conv1d: partial(_convolved, torch.conv1d, 1),
    torch.conv2d: partial(_convolved, torch.conv2d, 2),
    torch.conv3d: partial(_convolved, torch.conv3d, 3),
    torch.conv_transpose1d: partial(_transposed, torch.conv_transpose1d, 1),
    torch.conv_transpose2d: partial(_transposed, torch.conv_transpose2d, 2),
    torch.conv_transpose3d: partial(_transposed, torch.conv_transpose3d, 3),
    F.group_norm: _normalised,
}
