"""Flat directions against closed-form counts: at stationary points the Hessian has as many zero eigenvalues, elsewhere f is constant along as many."""

from pathlib import Path

import landscape_figures
import pytest
import torch
from symmetric import NETS, teacher
from torch import Tensor, nn

import landscape as ls
from landscape.points.classify import LEVEL
from landscape.points.symmetry import symmetries
from landscape.points.words import verdict

L = nn.Linear
F = nn.functional


def named(*without: str) -> list[object]:
    """The nets but for some; those that take long are slow."""
    names = [name for name in NETS if not any(word in name for word in without)]
    long = ("cross", "heads", "rotary", "stream", "torch's own layer", "grouped", "residual")
    return [
        pytest.param(name, marks=[pytest.mark.slow] * any(word in name for word in long))
        for name in names
    ]


@pytest.mark.parametrize("name", named())
def test_at_a_minimum_symmetries_explain_every_zero_eigenvalue(name: str) -> None:
    f = teacher(name)
    point = ls.classify(f)
    count = NETS[name][3]
    assert point.nullity == sum(point.flat.values()) == count
    assert point.kind == "minimum"
    rank = f.dim - count
    assert point.learning_coefficient == (rank / 2, rank / 2)
    spectrum = torch.linalg.eigvalsh(ls.Hessian(f).dense()).abs().sort().values
    if count:
        assert float(spectrum[count - 1]) < 1e-4 * float(spectrum[count])


# what the fibre alone explains, where the point is stationary
CURVED = [
    *("dead", "unused", "adapter", "both sides", "spectral", "cosines", "a residual", "makes"),
    *("scale and shift", "gains"),
]


@pytest.mark.parametrize("name", named(*CURVED))
def test_elsewhere_the_loss_is_constant_along_as_many_directions(name: str) -> None:
    """A random point, where the gradient is orthogonal to every orbit, with targets of its own."""
    f = teacher(name, samples=40)
    draws = torch.Generator().manual_seed(9)
    x = f.point() + 0.2 * torch.randn(f.dim, generator=draws, dtype=torch.float64)
    found = symmetries(f, x)
    assert sum(found.dims.values()) == NETS[name][3]
    g = f.gradient(x)
    for flat in found.kinds:
        assert float((flat.tangents.T @ g).norm()) < 1e-10 * float(g.norm())


@pytest.mark.parametrize("name", list(NETS)[:5])
def test_a_regulariser_breaks_them(name: str) -> None:
    f = teacher(name, l2=1e-2)
    x = f.point()
    dims = symmetries(f, x).dims
    # |w|^2 is left by rotations alone, of the linear maps between
    rotations = 3 if "r^2" in name else 0
    assert sum(dims.values()) == rotations


@pytest.mark.parametrize(
    "name",
    ["leaky units of two layers", pytest.param("torch's own attention", marks=pytest.mark.slow)],
)
def test_a_search_from_both_ends_leaves_them_out(name: str) -> None:
    f = teacher(name)
    whole = torch.linalg.eigvalsh(ls.Hessian(f).dense())
    point = ls.classify(f, method="lanczos", smallest=4)
    count = NETS[name][3]
    assert (point.kind, point.index, point.nullity) == ("minimum", 0, count)
    assert sum(point.flat.values()) == count
    assert float(point.eigenvalues[0]) == pytest.approx(float(whole[count]), rel=1e-6)
    assert any("left out of the search" in reason for reason in point.reasons)


@pytest.mark.slow
def test_above_3000_parameters_against_the_dense_spectrum() -> None:
    """3,024 parameters, 60 units: the smallest curvature is the 61st of the whole spectrum."""
    net = nn.Sequential(L(25, 60), nn.LeakyReLU(0.3), L(60, 24)).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        x = torch.randn(600, 25, dtype=torch.float64)
        for parameter in net.parameters():
            parameter.data = 0.3 * torch.randn_like(parameter)
    f = ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())])
    point = ls.classify(f, max_products=5000)
    assert (point.method, point.kind, point.nullity) == ("lanczos", "minimum", 60)
    assert sum(point.flat.values()) == 60
    whole = torch.linalg.eigvalsh(ls.Hessian(f).dense())
    assert float(point.eigenvalues[0]) == pytest.approx(float(whole[60]), rel=1e-4)


def test_what_few_samples_leave_open_is_level_and_no_symmetry() -> None:
    """Of 66 parameters 5 samples of 3 outputs see 15 directions: by the implicit function theorem the loss is 0 on a manifold of the others. Rescaling explains 7."""
    net = nn.Sequential(L(5, 7), nn.LeakyReLU(0.5), L(7, 3)).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = torch.randn(5, 5, dtype=torch.float64)
    point = ls.classify(ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())]))
    assert point.nullity == sum(point.flat.values()) == len(point.x) - 15
    assert sum(count for name, count in point.flat.items() if "rescaling" in name) == 7
    # what no sample sees anywhere: the first layer's weights and bias read 5 samples of 6 columns
    assert point.symmetric <= 7 + 7
    left = point.flat[LEVEL]
    assert left == point.nullity - point.symmetric
    assert (point.kind, point.learning_coefficient) == ("minimum", (7.5, 7.5))
    assert any(f"along {left} the loss of other data changes" in r for r in point.reasons)
    assert f"{point.symmetric} of them of symmetries" in verdict(point)


def test_units_that_one_sample_uses_leave_a_level_piece() -> None:
    """A unit that is on for one sample of 40 has 4 weights before it and 2 after it: that sample's two outputs leave 4 of the 6 open, of which rescaling is one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = nn.Sequential(L(3, 5), nn.ReLU(), L(5, 2)).double()
        x = torch.randn(40, 3, dtype=torch.float64)
    w, b = net.state_dict()["0.weight"], net.state_dict()["0.bias"]
    highest = (x @ w[0]).sort().values
    b[0] = -(highest[-1] + highest[-2]) / 2  # between the two samples that it sees best
    point = ls.classify(ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())]))
    assert point.kind == "minimum"
    assert point.nullity == sum(point.flat.values()) == 5 + 3
    assert point.flat["rescaling of 0, 2"] == 5
    assert point.flat[LEVEL] == 2  # a shift of the unit's weights holds on this piece too


@pytest.mark.slow
def test_a_product_of_lower_rank() -> None:
    """W2 W1 = M of rank 1: W1 (3 x 5) loses 2 dimensions, as its rows must span M's, W2 all 12."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(L(5, 3, bias=False), L(3, 4, bias=False)).double()
        w = net.state_dict()["1.weight"]
        w.copy_(w[:, :1] @ w[:1])
        x = torch.randn(60, 5, dtype=torch.float64)
    point = ls.classify(ls.ModelLandscape(net, F.mse_loss, [(x, net(x).detach())]))
    assert point.nullity == sum(point.flat.values()) == 27 - 2 - 12
    assert point.kind == "minimum"


def test_an_accidental_zero_is_no_symmetry() -> None:
    """(a b - 1)^2 + c^4: GL(1) of a and b is one, the zero of c is not, and the verdict stays open."""

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (
                nn.Parameter(torch.tensor([v], dtype=torch.float64)) for v in (2.0, 0.5, 0.0)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x * ((self.a * self.b - 1) ** 2 + self.c**4)

    data = [(torch.ones(4, 1, dtype=torch.float64),) * 2]
    point = ls.classify(ls.ModelLandscape(Product(), lambda out, t: out.mean(), data))
    assert point.kind == "degenerate"
    assert point.nullity == 2
    assert sum(point.flat.values()) == 1
    assert any("1 of the 2 zero eigenvalues" in reason for reason in point.reasons)
    assert any("minimum to fourth order" in reason for reason in point.reasons)


def test_a_valley_that_is_flat_to_second_order_only_stays_open() -> None:
    """y^2 - 3 x^2 y is constant along y = 0 and falls beside it: a straight way is not enough."""

    class Peano(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.p = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.p[1] ** 2 - 3 * self.p[0] ** 2 * self.p[1])

    data = [(torch.ones(4, 1, dtype=torch.float64),) * 2]
    point = ls.classify(ls.ModelLandscape(Peano(), lambda out, t: out.mean(), data))
    assert point.kind == "degenerate"
    assert point.flat == {}


@pytest.mark.slow
def test_a_report_says_and_draws_it(tmp_path: Path) -> None:
    f = teacher("2 d^2 a head")
    report = ls.analyze(f)
    text = " ".join(str(report).split())
    assert "MINIMUM: every eigenvalue is positive but for 16 flat directions" in text
    assert "8 of 2 x GL(2) of q, k" in text
    assert "local learning coefficient 24" in text
    back = ls.load(report.save(tmp_path / "run"))
    assert back.point.flat == report.point.flat
    assert landscape_figures.RECIPES["spectrum"].draw(back).axes


@pytest.mark.slow
def test_where_the_loss_slopes_the_gradients_share_is_told() -> None:
    f = teacher("one a ReLU unit, and softmax", samples=40)
    x = f.point() + 0.3 * torch.randn(
        f.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    report = ls.analyze(f, x)
    assert report.point.kind == "not-stationary"
    assert sum(report.point.flat.values()) == 17
    assert any("are the gradient's share" in reason for reason in report.point.reasons)


@pytest.mark.slow
def test_polish_finds_a_minimum_modulo_symmetry() -> None:
    f = teacher("the same with biases, of the key all, of the value through", samples=100)
    draws = torch.Generator().manual_seed(1)
    start = f.point() + 1e-3 * torch.randn(f.dim, generator=draws, dtype=torch.float64)
    point = ls.find_stationary(f, start)
    assert point.kind == "minimum"
    assert point.nullity == sum(point.flat.values()) == 24
