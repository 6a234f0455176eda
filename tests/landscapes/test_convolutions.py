"""Convolutions and group norms for products: against torch's own to every order, and the Hessians of networks of them."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import landscape as ls
from landscape.landscapes import convolutions, kernels
from landscape.operators import hessian

# convolution, shapes of x and w, whether there is a bias, options
CONVOLUTIONS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], bool, dict[str, Any]]] = {
    "line": (F.conv1d, (2, 3, 9), (4, 3, 3), True, {"padding": 1}),
    "strided": (F.conv2d, (2, 3, 8, 7), (4, 3, 3, 2), False, {"stride": (2, 1), "padding": (1, 0)}),
    "dilated": (F.conv2d, (2, 4, 9, 9), (6, 2, 3, 3), True, {"dilation": 2, "groups": 2}),
    "depthwise": (F.conv2d, (2, 4, 6, 6), (4, 1, 3, 3), False, {"groups": 4, "padding": [1]}),
    "volume": (F.conv3d, (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), True, {}),
    "transposed": (F.conv_transpose2d, (2, 4, 4, 5), (4, 3, 3, 3), True, {"stride": 2, "padding": 1}),
    "transposed-padded": (F.conv_transpose2d, (2, 4, 4, 5), (4, 3, 3, 3), True, {"stride": 2, "output_padding": 1}),
    "transposed-line": (F.conv_transpose1d, (2, 4, 6), (4, 1, 3), False, {"groups": 2}),
    "transposed-volume": (F.conv_transpose3d, (1, 2, 2, 3, 2), (2, 2, 2, 2, 2), True, {"dilation": 2}),
}  # fmt: skip


def draws(*shapes: tuple[int, ...], device: torch.device) -> list[Tensor]:
    """Random tensors in float64 that want a gradient."""
    made = torch.Generator().manual_seed(5)
    return [
        torch.randn(s, generator=made, dtype=torch.float64).to(device).requires_grad_()
        for s in shapes
    ]


def derivatives(function: Callable[..., Tensor], inputs: list[Tensor], orders: int) -> list[Tensor]:
    """The value and, along fixed vectors, the first derivatives of a smooth function of it."""
    y = function(*inputs)
    found, value = [y], (torch.sin(y) + y**2).sum()
    for order in range(orders):
        slopes = torch.autograd.grad(value, inputs, create_graph=True)
        found += slopes
        torch.manual_seed(order)
        along = [torch.randn(t.shape, dtype=t.dtype).to(t.device) for t in inputs]
        value = sum((s * a).sum() for s, a in zip(slopes, along, strict=True))  # type: ignore[assignment]
    return found


def agree(function: Callable[..., Tensor], inputs: list[Tensor], orders: int = 3) -> None:
    torchs = derivatives(function, inputs, orders)
    with kernels.instead(convolutions.KERNELS):
        ours = derivatives(function, inputs, orders)
    assert type(ours[0].grad_fn) is not type(torchs[0].grad_fn)  # that they are ours
    for own, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(
            own, other, rtol=1e-11, atol=1e-11 * float(other.detach().abs().max())
        )


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_have_torchs_derivatives_to_every_order(
    kind: str, device: torch.device
) -> None:
    convolve, x, w, bias, options = CONVOLUTIONS[kind]
    outputs = w[0] if "transposed" not in kind else w[1] * options.get("groups", 1)
    inputs = draws(x, w, *([(outputs,)] if bias else []), device=device)
    # torch refuses to differentiate what is padded so a third time
    orders = 2 if "output_padding" in options else 3
    agree(lambda *given: convolve(*given, **options), inputs, orders)


@pytest.mark.parametrize("shape", [(3, 6, 5), (2, 6, 4, 3), (2, 6, 2, 3, 2)], ids=len)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norms_have_torchs_derivatives_to_every_order(
    shape: tuple[int, ...], groups: int, device: torch.device
) -> None:
    inputs = draws(shape, (6,), (6,), device=device)
    agree(lambda x, w, b: F.group_norm(3 + x, groups, w, b, 1e-3), inputs)


def test_a_mean_far_from_zero_costs_no_digits(device: torch.device) -> None:
    """Against float64, in units of what torch's own derivative in float32 is off by."""

    def second(dtype: torch.dtype) -> Tensor:
        x, w, b, along = (
            t.detach() for t in draws((4, 8, 40, 40), (8,), (8,), (4, 8, 40, 40), device=device)
        )
        x = (100 + x).float().to(dtype).requires_grad_()  # the same numbers in both
        y = F.group_norm(x, 2, w.to(dtype), b.to(dtype))
        (slope,) = torch.autograd.grad(torch.sin(y).sum(), x, create_graph=True)
        return torch.autograd.grad(slope, x, along.to(dtype))[0].double()

    exact, torchs = second(torch.float64), second(torch.float32)
    with kernels.instead(convolutions.KERNELS):
        ours = second(torch.float32)
    assert (ours - exact).norm() <= 2 * (torchs - exact).norm()


def test_what_is_not_laid_out_as_these_kernels_take_it_is_torchs() -> None:
    x, w = (t.detach() for t in draws((2, 4, 6, 6), (4, 4, 3, 3), device=torch.device("cpu")))
    last = x.to(memory_format=torch.channels_last)
    with kernels.instead(convolutions.KERNELS):
        torch.testing.assert_close(F.conv2d(x, w, padding="same"), F.conv2d(x, w, padding=1))
        torch.testing.assert_close(F.conv2d(x[0], w), F.conv2d(x, w)[0])
        assert F.conv2d(last, w).is_contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert F.conv2d(x.float(), w.float()).dtype == torch.bfloat16
        torch.testing.assert_close(F.group_norm(x, 2), F.group_norm(x, 2, torch.ones(4).double(), torch.zeros(4).double()))  # fmt: skip


class Net(nn.Module):
    """Two blocks of convolution and group norm, the second one checkpointed or not."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.GroupNorm(2, 4)
        self.b, self.nb = nn.Conv2d(4, 4, 3, stride=2), nn.GroupNorm(4, 4)
        self.head, self.checkpointed = nn.Linear(4, 3), checkpointed

    def second(self, x: Tensor) -> Tensor:
        return torch.tanh(self.nb(self.b(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.na(self.a(x)))
        x = checkpoint(self.second, x, use_reentrant=False) if self.checkpointed else self.second(x)
        return self.head(x.mean((2, 3)))


def net(checkpointed: bool = False) -> ls.ModelLandscape:
    """A graph of some MiB, so that columns do not go through one pass together."""
    torch.manual_seed(2)
    model, x = Net(checkpointed).double(), torch.randn(24, 2, 32, 32, dtype=torch.float64)
    return ls.ModelLandscape(model, F.cross_entropy, list(zip(x.split(16), (torch.arange(24) % 3).split(16), strict=True)))  # fmt: skip


def torchs_product(f: ls.ModelLandscape, v: Tensor) -> Tensor:
    """H v of the loss of all samples at once, by torch alone."""

    def whole(point: Tensor) -> Tensor:
        split = {name: point[at].view(f.shapes[name]) for name, at in f.layout.items()}
        x, y = (torch.cat([torch.as_tensor(b[i]) for b in f.batches]) for i in (0, 1))
        return F.cross_entropy(torch.func.functional_call(f.model, split, (x,)), y)

    point = f.point().requires_grad_()
    (slope,) = torch.autograd.grad(whole(point), point, create_graph=True)
    return torch.autograd.grad(slope, point, v)[0]


@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("method", ["retained", "rebuilt"])
def test_products_of_a_network_are_those_of_its_dense_hessian(
    method: str, checkpointed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = net(checkpointed)
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torchs_product(f, v)
    calls: list[type] = []
    apply = convolutions._applied

    def watched(kernel: type, *args: Any) -> Any:
        calls.append(kernel)
        return apply(kernel, *args)

    monkeypatch.setattr(convolutions, "_applied", watched)
    H = ls.Hessian(f, method=method)
    for _ in range(2):
        torch.testing.assert_close(H @ v, expected, rtol=1e-11, atol=1e-12)
    assert {convolutions.Convolution, convolutions.GroupNorm} <= set(calls)


def test_blocks_of_small_networks_go_through_torchs_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One pass takes all columns at once where torch can batch them, which these kernels cannot."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)).double()
    x = torch.randn(5, 1, 4, 4, dtype=torch.float64)
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, torch.arange(5) % 2)])
    monkeypatch.setattr(convolutions, "_applied", None)
    H = ls.Hessian(f)
    V = torch.randn(f.dim, 3, dtype=torch.float64)
    block = H @ V
    assert H._vectorise
    torch.testing.assert_close(block, torch.stack([H @ v for v in V.T], 1))


def test_a_model_without_them_runs_in_no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "instead", None)
    with convolutions.few_passes(nn.Linear(2, 2)), convolutions.few_passes(None):
        pass


@pytest.mark.parametrize("mixes", [False, True], ids=["apart", "batch-statistics"])
def test_products_in_float64_go_through_pieces_where_samples_do_not_see_each_other(
    mixes: bool,
) -> None:
    torch.manual_seed(4)
    norm = nn.BatchNorm2d(3) if mixes else nn.Identity()
    model = nn.Sequential(nn.Conv2d(2, 3, 3), norm, nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))
    x, y = torch.randn(40, 2, 6, 6), torch.arange(40) % 3
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)], mode="train" if mixes else "eval")
    H, v = ls.Hessian(f), torch.randn(f.dim, generator=torch.Generator().manual_seed(1))
    found = H.reference(v)
    whole = ls.Hessian(f.astype(torch.float64), f.point().double(), method="rebuilt")
    torch.testing.assert_close(found, whole @ v.double(), rtol=1e-11, atol=1e-13)
    assert isinstance(H._finer, ls.Hessian)
    assert H._finer.f.pieces == (1 if mixes else 4)  # type: ignore[attr-defined]
    assert not f.notes


class Transformed(nn.Module):
    """A convolution in a forward pass that differentiates and batches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        def one(image: Tensor) -> Tensor:
            return torch.tanh(self.norm(self.conv(image[None]))).sum()

        slopes = torch.func.vmap(torch.func.grad(one))(x)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            tangent = forward_ad.unpack_dual(torch.tanh(self.conv(dual))).tangent
        return slopes.square().sum((1, 2, 3)) + tangent.sum((1, 2, 3))


def test_a_forward_pass_that_transforms_itself_keeps_torchs_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(6)
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    f = ls.ModelLandscape(Transformed().double(), F.mse_loss, [(x, torch.zeros(5).double())])
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torchs = ls.Hessian(f, method="rebuilt") @ v
    monkeypatch.setattr(hessian, "SMALL", -1)
    torch.testing.assert_close(ls.Hessian(f, method="rebuilt") @ v, torchs, rtol=1e-11, atol=1e-12)


def test_layers_that_write_into_their_input() -> None:
    torch.manual_seed(7)
    parts = [nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ELU(inplace=True), nn.Conv2d(4, 4, 3), nn.SiLU(inplace=True)]  # fmt: skip
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.randn(6, 2, 8, 8, dtype=torch.float64)
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, torch.arange(6) % 3)])
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small = ls.Hessian(f) @ v
    with mock.patch.object(hessian, "SMALL", -1):
        torch.testing.assert_close(ls.Hessian(f) @ v, small, rtol=1e-11, atol=1e-12)


class Slopes(nn.Module):
    """A net that depends on more than the graph of what comes back to the weights of a convolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "penalty-recomputed":
            return self.head(checkpoint(self.penalised, x, use_reentrant=False))
        return self.head(self.penalised(x) if self.kind == "penalty" else self.convolved(x))

    def convolved(self, x: Tensor) -> Tensor:
        w = self.conv.weight
        if self.kind == "standardised":
            w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        elif self.kind == "slice":
            w = torch.cat([w[:2], w[2:] ** 3])
        y = F.conv2d(x, w, self.conv.bias)
        if self.kind == "hooked":
            w.register_hook(lambda g: g**3)
        return torch.tanh(y).mean((2, 3))

    def penalised(self, x: Tensor) -> Tensor:
        """Features that have the slope along the weights in them, not linearly."""
        features = self.convolved(x)
        (slope,) = torch.autograd.grad(features.square().sum(), self.conv.weight, create_graph=True)
        return features + slope.square().sum()


@pytest.mark.parametrize(
    "kind", ["plain", "standardised", "slice", "hooked", "penalty", "penalty-recomputed"]
)
@pytest.mark.parametrize("method", ["retained", "rebuilt"])
def test_slopes_along_weights_have_values_where_more_than_their_graph_is_used(
    method: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hessian, "SMALL", -1)
    torch.manual_seed(8)
    x = torch.randn(6, 2, 6, 6, dtype=torch.float64)
    f = ls.ModelLandscape(Slopes(kind).double(), F.cross_entropy, [(x, torch.arange(6) % 3)])
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    H, expected = ls.Hessian(f, method=method), torchs_product(f, v)
    for _ in range(2):
        torch.testing.assert_close(H @ v, expected, rtol=1e-11, atol=1e-12)
    assert not convolutions._graph_alone


def test_a_rebuilt_product_is_eight_convolutions_where_a_gradient_is_three(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three where it is two, along images that want no gradient."""
    monkeypatch.setattr(hessian, "SMALL", -1)
    first, second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Flatten())
    x, y = torch.randn(5, 2, 6, 6), torch.arange(5)
    f = ls.ModelLandscape(model, F.cross_entropy, [(x, y)])
    H, v = ls.Hessian(f, method="rebuilt"), torch.ones(f.dim)
    H @ v
    with FlopCounterMode(display=False) as product:
        H @ v
    with FlopCounterMode(display=False) as one:
        first(x)
    assert product.get_total_flops() == (3 + 8 * 2) * one.get_total_flops()
