"""Products and dense matrices against ``torch.autograd.functional.hessian`` of the objective written out in nets.py."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import KINDS, plain_loss, problem
from torch import Tensor, nn

import landscape as ls
from landscape.operators.base import SymmetricOperator
from landscape.operators.hessian import METHODS, PROGRAMS

EXACT = {
    "auto": 1e-11,
    "retained": 1e-11,
    "rebuilt": 1e-11,
    "forward-over-reverse": 1e-11,
    "finite-difference": 1e-6,
}
SMOOTH = tuple(
    k for k in KINDS if k not in ("relu-mlp", "group-norm", "asymmetric", "huber", "conv")
)


def truth(kind: str, seed: int = 0) -> Tensor:
    objective, point = plain_loss(problem(kind, seed))
    return torch.autograd.functional.hessian(objective, point, vectorize=kind != "group-norm")


def landscape(kind: str, seed: int = 0, size: int = 7, **options: Any) -> ls.ModelLandscape:
    net = problem(kind, seed)
    return ls.ModelLandscape(net.model, net.loss, net.batches(size), l2=net.l2 or None, **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", [method for method in METHODS if method not in PROGRAMS])
def test_products_and_blocks_equal_the_dense_hessian(kind: str, method: str) -> None:
    if method == "finite-difference" and kind not in SMOOTH:
        pytest.skip("differences across kinks are another matrix")
    if method == "forward-over-reverse" and kind in (
        "huber",
        "regression",
        "tied-autoencoder",
    ):  # torch's mse and huber
        with pytest.raises(ls.NumericalError, match="no forward derivative"):
            ls.Hessian(landscape(kind), method=method) @ landscape(kind).point()
        return
    H, A = ls.Hessian(landscape(kind), method=method), truth(kind)
    V = torch.randn(len(A), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tolerance = EXACT[method] * A.norm()
    assert (H @ V[:, 0] - A @ V[:, 0]).norm() <= tolerance * V[:, 0].norm()
    assert (H @ V - A @ V).norm() <= tolerance * V.norm()
    assert H.products == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_dense_in_both_dtypes(kind: str, dtype: torch.dtype, device: torch.device) -> None:
    A = truth(kind, seed=1)
    H = ls.Hessian(landscape(kind, seed=1, dtype=dtype, device=device))
    dense = H.dense()
    assert dense.dtype == dtype
    assert dense.device.type == device.type
    assert torch.equal(dense, dense.T)
    assert H.products == len(A)
    rounding = 200 if dtype == torch.float32 else 2000  # the truth itself is float64
    assert (dense.cpu().double() - A).norm() <= rounding * torch.finfo(dtype).eps * A.norm()


def test_the_budget_decides_what_is_kept() -> None:
    f = landscape("tanh-mlp")
    v = f.point()
    kept, rebuilt = ls.Hessian(f), ls.Hessian(f, memory=100)
    torch.testing.assert_close(kept @ v, rebuilt @ v, rtol=1e-13, atol=1e-15)
    assert kept.retained
    assert not rebuilt.retained
    forced = ls.Hessian(f, method="retained", memory=100)
    forced @ v
    assert forced.retained


def test_a_kept_graph_belongs_to_its_point() -> None:
    f = landscape("tanh-mlp")
    H, x = ls.Hessian(f), f.point()
    before = H @ x
    f.load(torch.zeros_like(x))  # training goes on
    assert torch.equal(H @ x, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["regression", "tanh-mlp", "batch-norm", "gru", "encoder", "tied", "huber"]
)
def test_gauss_newton_is_its_definition(kind: str) -> None:
    net = problem(kind, seed=1)
    f = landscape(kind, seed=1)
    G, H = ls.GaussNewton(f), ls.Hessian(f)
    _, point = plain_loss(net)
    x, y = net.batch

    def output(flat: Tensor) -> Tensor:
        parts = [
            flat[s].view_as(p)
            for s, p in zip(f.layout.values(), net.model.parameters(), strict=True)
        ]
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return torch.func.functional_call(
                net.model, dict(zip(f.layout, parts, strict=True)), (x,)
            ).flatten()

    shape = net.model(x).shape
    J = torch.autograd.functional.jacobian(output, point)
    inner = torch.autograd.functional.hessian(lambda z: net.loss(z.view(shape), y), output(point))
    decay = torch.cat(
        [
            torch.full((p.numel(),), 1e-2 if "weight" in k else 0.0, dtype=torch.float64)
            for k, p in net.model.named_parameters()
        ]
    )
    expected = J.T @ inner @ J + torch.diag(decay)
    torch.testing.assert_close(G.dense(), expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        (H - G).dense(), truth(kind, seed=1) - expected, rtol=1e-9, atol=1e-11
    )
    assert torch.linalg.eigvalsh(G.dense()).min() >= -1e-12


def test_quadratic_forms_sum_to_the_hessian() -> None:
    f = landscape("tanh-mlp", seed=1)
    H = ls.Hessian(f)
    V = torch.randn(f.dim, 2, dtype=torch.float64)
    forms, shares = H.quadratic_forms(V)
    assert forms.shape == (4, 2)
    assert shares.tolist() == pytest.approx([7 / 23, 7 / 23, 7 / 23, 2 / 23])
    weights = torch.cat(
        [
            torch.full((s.stop - s.start,), 1e-2 if "weight" in k else 0.0, dtype=torch.float64)
            for k, s in f.layout.items()
        ]
    )
    torch.testing.assert_close(
        forms.sum(0) + (weights[:, None] * V * V).sum(0), (V * (H @ V)).sum(0)
    )


def test_to_scipy() -> None:
    H = ls.Hessian(landscape("regression"))
    A = H.to_scipy()
    v = np.linspace(-1, 1, A.shape[0])
    np.testing.assert_allclose(A @ v, (H @ torch.from_numpy(v)).numpy())
    np.testing.assert_allclose(
        A @ np.stack([v, v**2], 1), (H @ torch.from_numpy(np.stack([v, v**2], 1))).numpy()
    )
    np.testing.assert_allclose(A.T @ v[:, None], A @ v[:, None])


def test_block_is_the_diagonal_block() -> None:
    H = ls.Hessian(landscape("tanh-mlp"))
    torch.testing.assert_close(H.block(slice(3, 9)).dense(), H.dense()[3:9, 3:9])
    odd = torch.arange(1, H.shape[0], 2)
    torch.testing.assert_close(H.block(odd).dense(), H.dense()[odd][:, odd])


def test_released_graphs_are_made_anew() -> None:
    net = problem("tanh-mlp")
    f = ls.ModelLandscape(net.model, net.loss, net.batches(7))
    H, v = ls.Hessian(f), torch.ones_like(f.point())
    before = H @ v
    assert H.retained
    H.release()
    assert not H.retained
    torch.testing.assert_close(H @ v, before, rtol=0, atol=0)
    assert H.retained


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_hessian_of_a_part_is_a_diagonal_block(kind: str, device: torch.device) -> None:
    """Away from where the model is, so that parameters outside of the part must be held at the point."""
    f = landscape(kind, device=device)
    generator = torch.Generator().manual_seed(1)
    x = f.point() + 0.1 * torch.randn(f.dim, generator=generator, dtype=torch.float64).to(device)
    before = f.point()
    A, gradient = ls.Hessian(f, at=x).dense(), f.gradient(x)
    for name, s in f.layout.items():
        part = f.part([name], x)
        assert part.layout == {name: slice(0, s.stop - s.start)}
        torch.testing.assert_close(part.value(x[s]), f.value(x))
        torch.testing.assert_close(part.gradient(x[s]), gradient[s])
        torch.testing.assert_close(ls.Hessian(part, at=x[s]).dense(), A[s, s])
    some = list(f.layout)[::2]
    where = torch.cat([torch.arange(f.layout[k].start, f.layout[k].stop) for k in some])
    torch.testing.assert_close(
        ls.Hessian(f.part(some[::-1], x), at=x[where]).dense(), A[where][:, where]
    )
    assert torch.equal(f.point(), before)


def test_a_part_that_the_loss_does_not_use_is_flat() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    x, y = torch.randn(8, 2), torch.randint(2, (8,))
    f = ls.ModelLandscape(
        model, lambda model, batch: F.cross_entropy(model["used"](batch[0]), batch[1]), [(x, y)]
    )
    part = f.part(["idle.weight"], f.point())
    assert not ls.Hessian(part).dense().any()
    assert not part.gradient(part.point()).any()
    layer = {layer.name: layer for layer in ls.analyze(f, method="lanczos").layers}["idle"]
    assert (layer.largest.low, layer.largest.high) == (0.0, 0.0)


def test_formulas(dtype: torch.dtype, device: torch.device) -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0] ** 3 * x[..., 1] + x[..., 1] ** 2, dim=2)
    x = torch.tensor([2.0, 3.0], dtype=dtype, device=device)
    expected = torch.tensor([[36.0, 12.0], [12.0, 2.0]], dtype=dtype, device=device)
    assert torch.equal(ls.Hessian(f, at=x).dense(), expected)
    assert torch.equal(f.gradient(x), torch.tensor([36.0, 14.0], dtype=dtype, device=device))
    assert f.value(x.expand(4, 3, 2)).shape == (4, 3)
    for flat in (
        lambda x: x[..., 0] * 0 + 1.5,
        lambda x: x.sum(-1),
        lambda x: torch.ones(x.shape[:-1], dtype=x.dtype, device=x.device),
    ):
        H = ls.Hessian(ls.FunctionLandscape(flat, dim=2), at=x)
        assert torch.equal(H.dense(), torch.zeros(2, 2, dtype=dtype, device=device))


class NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return NoSecondDerivative.apply(self.linear(x))


def test_a_kernel_without_second_derivative_is_named_and_differences_stand_in() -> None:
    f = ls.ModelLandscape(
        Fused(), F.cross_entropy, [(torch.randn(5, 4), torch.randint(0, 3, (5,)))]
    )
    with pytest.raises(ls.NumericalError, match="finite-difference"):
        ls.Hessian(f, method="rebuilt") @ f.point()
    H = ls.Hessian(f)
    _ = H @ f.point()
    assert H.method == "finite-difference"
    assert "no second derivative" in H.why
    assert 0 < H.error < 0.1


class Distances(nn.Module):
    """Distances between transformed samples, which no shift of all of them changes, and a parameter
    that nothing reads: null directions.
    """

    def __init__(self, distances: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.unread = nn.Parameter(torch.ones(5))
        self.inner, self.outer, self.distances = nn.Linear(4, 4), nn.Linear(4, 3), distances

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        found: Tensor = self.outer(self.distances(h, h[:4] + 0.1)) + 0 * self.unread.sum()
        return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_differences_are_right_after_null_directions(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 4, generator=generator, dtype=dtype)
    y = torch.randint(0, 3, (12,), generator=generator)
    f = ls.ModelLandscape(Distances(torch.cdist).to(dtype), F.cross_entropy, [(x, y)])
    H = ls.Hessian(f)
    found = H.dense()
    assert H.method == "finite-difference"

    def plain(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, None] - b).square().sum(-1).sqrt()

    exact = ls.ModelLandscape(Distances(plain).double(), F.cross_entropy, [(x.double(), y)])
    truth = ls.Hessian(exact).dense()
    off = torch.linalg.matrix_norm(found.double() - truth, 2) / torch.linalg.matrix_norm(truth, 2)
    assert float(off) < (1e-8 if dtype == torch.float64 else 5e-3)
    unit = torch.eye(f.dim, dtype=dtype)
    bias = f.layout["inner.bias"].start
    for i in range(20):  # null directions again and again
        assert float((H @ unit[bias + i % 4]).norm()) < 1e-3
    column = H @ unit[12]
    assert float((column.double() - truth[:, 12]).norm()) <= 1e-2 * float(truth[:, 12].norm())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: ls.Hessian(f, method="exact"), "method must be one of"),
        (lambda f: ls.Hessian(f, at=torch.zeros(3)), "at must have shape"),
        (lambda f: ls.Hessian(f, at=torch.zeros(f.dim, dtype=torch.int64)), "floating-point"),
        (lambda f: ls.Hessian(f, at=f.point().float()), "the landscape torch.float64"),
        (
            lambda f: ls.Hessian(ls.FunctionLandscape(lambda x: x[..., 0], dim=1)),
            "no current point",
        ),
        (lambda f: ls.Hessian(f) @ torch.zeros(3), "it takes"),
        (lambda f: ls.Hessian(f) @ torch.zeros(f.dim, dtype=torch.float32), "move the vector"),
        (
            lambda f: ls.Hessian(f) - SymmetricOperator(2, torch.float64, torch.device("cpu")),
            "must agree",
        ),
        (
            lambda f: ls.GaussNewton(
                ls.ModelLandscape(f.model, lambda model, batch: model(batch[0]).sum(), f.batches)
            ),
            "hides the model",
        ),
        (
            lambda f: ls.FunctionLandscape(lambda x: x.sum(), dim=2).value(torch.zeros(3, 2)),
            "a formula maps",
        ),
        (lambda f: ls.FunctionLandscape(lambda x: x[..., 0], dim=0), "dim must be"),
        (lambda f: ls.Box(1, 1), "low < high"),
    ],
)
def test_bad_arguments_are_named(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(landscape("regression"))


def test_gauss_newton_of_a_formula_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="ModelLandscape"):
        ls.GaussNewton(ls.FunctionLandscape(lambda x: x[..., 0], dim=1))  # type: ignore[arg-type]


def test_a_box_is_sampled_inside() -> None:
    box = ls.Box((-1, 0), (1, 5))
    points = box.sample(1000, 2, torch.Generator().manual_seed(0))
    assert points.dtype == torch.float64
    for i, (low, high) in enumerate(((-1, 1), (0, 5))):
        column = points[:, i]
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < column.max() <= high
