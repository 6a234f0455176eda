"""Where polishing does not end at a stationary point it says why; where it does, closed forms say where that is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.core import silent
from landscape.points.analyze import Polish
from landscape.points.walk import Outcome, Walk
from landscape.points.words import _polished

L = nn.Linear
F = nn.functional


def landscape(
    net: nn.Module, x: Tensor, y: Tensor, steps: int, l2: float = 0.0
) -> ls.ModelLandscape:
    loss = F.mse_loss if y.is_floating_point() else F.cross_entropy
    net = net.double()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(steps):
        adam.zero_grad()
        loss(net(x), y).backward()
        adam.step()
    return ls.ModelLandscape(net, loss, [(x, y)], l2={"*": l2} if l2 else None)


def drawn(
    build: Callable[[], nn.Module], *shapes: tuple[int, ...]
) -> tuple[nn.Module, list[Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = [torch.randn(*shape, dtype=torch.float64) for shape in shapes]
        return build(), tensors


@pytest.mark.parametrize("hidden", [False, True], ids=["softmax regression", "tanh units"])
def test_separable_data_have_their_infimum_at_infinity(hidden: bool) -> None:
    def build() -> nn.Module:
        return nn.Sequential(L(3, 8), nn.Tanh(), L(8, 2)) if hidden else L(3, 2)

    net, (x,) = drawn(build, (60, 3))
    y = ((x[:, 0] * (x[:, 1] if hidden else 1)) > 0).long()
    f = landscape(net, x, y, 200)
    report = ls.analyze(f, polish="newton-mr", layers=False)
    assert report.polish is not None
    assert report.polish.outcome.name == "UNENDING"
    assert torch.equal(report.point.x, f.point())
    assert report.point.kind == "not-stationary"
    text = " ".join(str(report).split())
    assert "its infimum lies at infinity" in text
    assert "everything below describes the start" in text
    assert not any(check.status.name == "BROKEN" for check in report.checks)


def test_a_regulariser_brings_it_back() -> None:
    net, (x,) = drawn(lambda: L(3, 2), (60, 3))
    f = landscape(net, x, (x[:, 0] > 0).long(), 200, l2=1e-3)
    report = ls.analyze(f, polish="newton-mr", layers=False)
    assert report.polish is not None
    assert report.polish.outcome.name == "STATIONARY"
    assert (report.point.kind, report.point.nullity) == ("minimum", 0)


def test_a_far_minimum_is_no_way_to_infinity() -> None:
    """Least squares whose solution is a thousand times as far from 0 as the start."""
    net, (x, noise) = drawn(lambda: L(3, 1), (50, 3), (50, 1))
    f = landscape(net, x, 1e3 * (x.sum(1, keepdim=True) + noise), 0)
    report = ls.analyze(f, polish="newton-mr", layers=False)
    A = torch.cat([x, torch.ones(50, 1, dtype=torch.float64)], 1)
    truth = torch.linalg.lstsq(A, 1e3 * (x.sum(1, keepdim=True) + noise)).solution[:, 0]
    assert report.polish is not None
    assert report.polish.outcome.name == "STATIONARY"
    torch.testing.assert_close(report.point.x, truth, rtol=1e-9, atol=1e-6)


def test_a_minimum_on_a_kink_is_said() -> None:
    """|w - 1| by ReLUs: the slope is 1 on both sides, and 0 nowhere."""

    class Absolute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([3.0, 2.0]))

        def forward(self, x: Tensor) -> Tensor:
            return x * (F.relu(self.w - 1) + F.relu(1 - self.w)).sum() + 0 * x.sum()

    data = [(torch.ones(4, 1, dtype=torch.float64),) * 2]
    f = ls.ModelLandscape(Absolute().double(), lambda out, t: out.mean(), data)
    found = ls.find_stationary(f, torch.tensor([1.0 + 1e-9, 1.0 - 1e-9], dtype=torch.float64))
    assert found.outcome.name == "KINK"
    assert "a kink here" in found.outcome.value


@pytest.mark.slow
def test_a_relu_net_on_noise_ends_on_kinks() -> None:
    net, (x, y) = drawn(lambda: nn.Sequential(L(3, 8), nn.ReLU(), L(8, 1)), (200, 3), (200, 1))
    f = landscape(net, x, y, 500)
    report = ls.analyze(f, polish="newton-mr", layers=False)
    assert report.polish is not None
    assert report.polish.outcome.name in ("KINK", "STATIONARY")
    assert report.polish.outcome.name == "STATIONARY" or report.point.kind == "not-stationary"


def test_a_loss_that_has_vanished_lies_on_a_way_to_infinity() -> None:
    """Of separable classes nothing but rounding is left far out, whichever way led there; a sum of
    squares that is 0 at its minimum has curvature there, and a minimum it is."""
    x = torch.tensor([[-1.0, 0.5], [1.0, 0.3], [-2.0, 0.1]], dtype=torch.float64)
    y = torch.tensor([0, 1, 0])
    classes = ls.ModelLandscape(nn.Linear(2, 2).double(), F.cross_entropy, [(x, y)])
    values = ls.ModelLandscape(nn.Linear(2, 1).double(), F.mse_loss, [(x, x.sum(1, keepdim=True))])
    far = torch.tensor([-20.0, 0.1, 20.0, 0.2, 0.0, 0.0], dtype=torch.float64)
    met = torch.tensor([1.0, 1.0, 1e-16], dtype=torch.float64)
    start = torch.tensor([0.3, 0.1, -0.2, 0.4, 0.1, -0.1], dtype=torch.float64)
    for f, end, vanished in ((classes, far, True), (values, met, False)):
        walk = Walk(f, start[: f.dim], 0.0, 100, silent)
        walk.go(walk.at(end))
        assert 0 < walk.place.norm < 1e-14
        assert walk.unending is vanished


def test_where_polishing_has_spent_all_it_may_the_remedy_can_be_typed() -> None:
    """No option raises its budget."""
    spent = Polish("newton-mr", Outcome.BUDGET, 1.0, 0.5, 1.0, 0.9, 1.0, 0.1, 3, 4, 5)
    told = " ".join(_polished(spent))
    assert "--l2" in told
    assert "max_products" not in told
    assert "did not become stationary" in told
