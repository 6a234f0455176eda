"""Points of a model's fibre against the model's own outputs for inputs that the search never saw, and the fibre's dimension against closed forms."""

import pytest
import torch
from symmetric import Bilinear, spectral, weighted
from torch import Tensor, nn

import landscape as ls
from landscape.points.fibres import Fibre

L = nn.Linear
F = nn.functional


def landscape(net: nn.Module, width: int, samples: int = 100) -> ls.ModelLandscape:
    draws = torch.Generator().manual_seed(3)
    x, y = (torch.randn(samples, d, generator=draws, dtype=torch.float64) for d in (width, 1))
    with torch.no_grad():
        y = y.expand(samples, net(x).shape[1]).clone()
    return ls.ModelLandscape(net, F.mse_loss, [(x, y)])


def outputs(f: ls.ModelLandscape, theta: Tensor, x: Tensor) -> Tensor:
    tensors = {name: theta[s].view(f.shapes[name]) for name, s in f.layout.items()}
    return torch.func.functional_call(f.model, tensors, (x,)).detach()


NETS = {
    "weight normalisation": (weighted, 4, 13),
    "spectral normalisation": (spectral, 4, 5),
    "bilinear": (Bilinear, 7, 13),
    "nothing": (lambda: nn.Sequential(L(4, 5), nn.Tanh(), L(5, 2)), 4, 0),
}


@pytest.mark.parametrize("name", NETS)
def test_a_point_of_the_fibre_has_the_same_outputs(name: str) -> None:
    build, width, count = NETS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = build().double().eval()
    f = landscape(net, width)
    x = f.point()
    fibre = Fibre(f, x, 0, 1.0)
    assert fibre.null.shape == (f.dim, count)
    fresh = torch.randn(50, width, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    here = outputs(f, x, fresh)
    if count:
        step = 0.1 * float(x.norm())
        moved = fibre.reached(fibre.null, step)
        assert moved is not None
        assert float((moved - x).norm()) > step * 0.999
        torch.testing.assert_close(outputs(f, moved, fresh), here, rtol=1e-10, atol=1e-12)
        straight = x + step * fibre.null[:, 0]
        assert float((outputs(f, straight, fresh) - here).norm()) > 1e-6 * float(here.norm())


def test_what_is_flat_to_first_order_only_is_not_reached() -> None:
    """c^3 beside a b: the Jacobian has no part of c at 0, and no step along c leaves the outputs."""

    class Cubed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Parameter(torch.tensor(v)) for v in (2.0, 0.5, 0.0))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.a * self.b) + self.c**3

    f = landscape(Cubed().double(), 1)
    fibre = Fibre(f, f.point(), 0, 1.0)
    assert fibre.null.shape[1] == 2
    c = torch.zeros(3, 1, dtype=torch.float64)
    c[2] = 1.0
    for step in (0.2, 0.02):
        assert fibre.reached(c, step) is None
        assert fibre.reached(fibre.null, step) is None
        other = fibre.null[:, :1] * 0
        other[:2, 0] = torch.tensor([2.0, -0.5], dtype=torch.float64) / 4.25**0.5
        moved = fibre.reached(other, step)
        assert moved is not None
        assert float(moved[0] * moved[1]) == pytest.approx(1.0, rel=1e-11)
