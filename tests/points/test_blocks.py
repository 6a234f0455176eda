"""Blocks of the Hessian against torch.autograd.functional.hessian and a closed form."""

from pathlib import Path

import pytest
import torch
from landscape_figures import RECIPES
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.points import blocks


def net(device: torch.device, dtype: torch.dtype, hidden: int = 4) -> ls.ModelLandscape:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, 3))
    x, y = torch.randn(20, 6), torch.randint(3, (20,))
    batches = [(x.to(device, dtype), y.to(device))]
    return ls.ModelLandscape(model.to(device, dtype), F.cross_entropy, batches, name="small")


def dense(f: ls.ModelLandscape) -> Tensor:
    """The Hessian by torch, without this library's products."""
    (x, y), model = f.batches[0], f.model
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = [t.view(s) for t, s in zip(flat.split(sizes), shapes, strict=True)]
        return F.cross_entropy(
            torch.func.functional_call(model, dict(zip(names, parts, strict=True)), (x,)), y
        )

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    return torch.autograd.functional.hessian(loss, flat).double().cpu()


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_norms_are_those_of_the_dense_hessian(
    device: torch.device, dtype: torch.dtype, tol: float
) -> None:
    f = net(device, dtype)
    H, found = dense(f), blocks(f)
    edges = [slice(0, 28), slice(28, 43)]
    truth = torch.tensor(
        [[float(H[a, b].norm()) for b in edges] for a in edges], dtype=torch.float64
    )
    torch.testing.assert_close(found.norms, truth, rtol=tol, atol=tol)
    assert (found.layers, found.sizes, found.products) == (("0", "2"), (28, 15), 43)
    torch.testing.assert_close(found.picture.double(), H.abs(), rtol=1e-4, atol=1e-5)
    own = truth.diagonal().square().sum() / truth.square().sum()
    assert found.diagonal_share == pytest.approx(float(own), rel=10 * tol)


def test_a_picture_of_many_parameters_holds_the_means_of_its_cells() -> None:
    f = net(torch.device("cpu"), torch.float64, hidden=40)
    H, found = dense(f), blocks(f)
    n, side = len(H), len(found.picture)
    assert n > side == 256
    cell = torch.arange(n) * side // n
    for a, b in ((0, 0), (3, 200), (255, 255)):
        truth = float(H[cell == a][:, cell == b].abs().mean())
        assert float(found.picture[a, b]) == pytest.approx(truth, rel=1e-5)


def test_parameters_that_lie_apart_count_as_one_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(2)), nn.Linear(2, 1, bias=False)
            self.c = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = (3 * self.a**2).sum() + 5 * self.b.weight.square().sum() + 7 * self.c**2
            return x.mean() * 0 + out

    f = ls.ModelLandscape(
        Twice().double(),
        lambda out, target: out.mean(),
        [(torch.ones(4, 1).double(), torch.ones(4))],
    )
    found = dict(zip((made := blocks(f)).layers, made.norms.diagonal().tolist(), strict=True))
    assert found["(top)"] == pytest.approx((6**2 * 2 + 14**2) ** 0.5)
    assert found["b"] == pytest.approx(10 * 2**0.5)
    assert made.diagonal_share == pytest.approx(1.0)


def test_it_is_stored_said_and_drawn(tmp_path: Path) -> None:
    found = blocks(net(torch.device("cpu"), torch.float64))
    found.save(tmp_path)
    again = ls.load(tmp_path)
    assert torch.equal(again.norms, found.norms)
    share = f"{100 * found.diagonal_share:.3g} %"
    assert share in str(again)
    assert share in RECIPES["blocks"].caption(again)
    assert again.to_dict()["norms"] == found.norms.tolist()
    axes = RECIPES["blocks"].draw(again).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2"]


def test_a_formula_has_no_layers() -> None:
    f = ls.FunctionLandscape(lambda x: (x**2).sum(-1), 2)
    with pytest.raises(ValueError, match="blocks are those of a model's layers"):
        blocks(f, [0.0, 0.0])  # type: ignore[arg-type]
