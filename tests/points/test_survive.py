"""What a change does to the loss, against the loss measured by hand and quadratics whose terms are known."""

from pathlib import Path

import landscape_figures
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.points.survive import pruned, pruned_in_groups, rounded, survive


class Diagonal(nn.Module):
    """sum a_i w_i^2 / 2 + b'w over two weights: gradient, Hessian and every trace are known."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(4, 6, generator=draws, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(3, 5, generator=draws, dtype=torch.float64))
        self.a = [
            torch.rand(s, generator=draws, dtype=torch.float64) + 0.1 for s in ((4, 6), (3, 5))
        ]
        self.b = [torch.randn(s, generator=draws, dtype=torch.float64) for s in ((4, 6), (3, 5))]

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.first, self.second)
        parts = zip(weights, self.a, self.b, strict=True)
        return x * sum((a * w * w / 2 + b * w).sum() for w, a, b in parts)


def diagonal() -> tuple[Diagonal, ls.ModelLandscape]:
    net = Diagonal()
    x = torch.tensor([[0.5], [1.5], [0.8], [1.2]], dtype=torch.float64)
    batches = [(part, part) for part in x.split(1)]
    return net, ls.ModelLandscape(net, lambda out, target: out.mean(), batches)


@pytest.mark.parametrize(
    "change", ["int4", "int8:asymmetric", "prune:0.5", "prune:2:4", "noise:0.1"]
)
def test_a_diagonal_quadratic_is_predicted_exactly(change: str) -> None:
    net, f = diagonal()
    found = survive(f, change, seed=3)
    assert found.whole.predicted.value == pytest.approx(found.whole.measured.value, rel=1e-9)
    assert abs(found.whole.third) + abs(found.whole.fourth) < 1e-9
    for layer in (*found.layers, found.whole):
        assert layer.holds
        assert layer.predicted.high - layer.predicted.low < 1e-9
    sizes = {layer.name: layer for layer in found.layers}
    for name, a in zip(("first", "second"), net.a, strict=True):
        truth = float(a.mean()) * sizes[name].size ** 2  # a diagonal Hessian has an exact trace
        assert sizes[name].hawq.value == pytest.approx(truth, rel=1e-9)
        assert sizes[name].hawq.error < 1e-9


def test_the_error_of_the_measured_change_is_that_of_the_batches() -> None:
    """f_b = x_b c for a number c, so that the change of batch b is x_b times the mean change."""
    _, f = diagonal()
    whole = survive(f, "int4").whole
    x = torch.tensor([0.5, 1.5, 0.8, 1.2], dtype=torch.float64)
    truth = abs(whole.measured.value) * float(x.std()) / 2
    assert whole.measured.error == pytest.approx(truth, rel=1e-9)


def test_a_network_is_measured_as_if_by_hand_and_the_error_of_second_order_is_seen() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3)).double()
        x, y = torch.randn(80, 6, dtype=torch.float64), torch.randint(0, 3, (80,))
    f = ls.ModelLandscape(
        net, nn.functional.cross_entropy, list(zip(x.split(20), y.split(20), strict=True))
    )
    before, x0 = float(f.value(f.point())), f.point()
    for change in ("int8", "int4", "prune:0.5"):
        found = survive(f, change)
        names = [layer.name for layer in found.layers]
        assert sorted(names) == ["0.weight", "2.weight"]  # biases stay
        moved = x0.clone()
        for name in names:
            w = x0[f.layout[name]].view(f.shapes[name])
            made = pruned(w, 0.5) if "prune" in change else rounded(w, int(change[3:]))
            one = x0.clone()
            one[f.layout[name]] = moved[f.layout[name]] = made.reshape(-1)
            layer = next(layer for layer in found.layers if layer.name == name)
            assert layer.measured.value == pytest.approx(float(f.value(one)) - before, abs=1e-14)
        assert found.whole.measured.value == pytest.approx(
            float(f.value(moved)) - before, abs=1e-14
        )
        harm = [layer.measured.value for layer in found.layers]
        assert harm == sorted(harm, reverse=True)
        assert all(layer.inside for layer in (*found.layers, found.whole))
    small = survive(f, "int8").whole
    assert small.holds
    reach = (small.predicted.high - small.predicted.low) / 2
    assert reach < 0.05 * abs(small.measured.value)  # and the interval is no excuse


def test_where_second_order_does_not_reach_it_says_so() -> None:
    """A cosine moved by half its period: far beyond four derivatives."""

    class Wave(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.full((1, 1), 0.3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.cos(40 * self.w)

    data = [(torch.ones(2, 1, dtype=torch.float64),) * 2]
    f = ls.ModelLandscape(Wave(), lambda out, target: out.mean(), data)
    found = survive(f, torch.tensor([0.4], dtype=torch.float64), label="a jump")
    assert not found.whole.holds
    assert "second order does not reach" in " ".join(str(found).split())


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.95])
def test_the_slope_at_the_end_tells_of_kinks(at: float) -> None:
    """w -> relu(w)^2 / 2 from -at to 1 - at: its slope bends at 0, and a parabola sees nothing; the
    change is (1 - at)^2 / 2, the slope at the end 1 - at, and the interval no more than of its size.
    """

    class Bend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.full((1, 1), -at, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.w.relu().square() / 2

    data = [(torch.ones(2, 1, dtype=torch.float64),) * 2]
    f = ls.ModelLandscape(Bend(), lambda out, target: out.mean(), data)
    whole = survive(f, torch.tensor([1.0], dtype=torch.float64), label="across").whole
    truth = (1 - at) ** 2 / 2
    assert whole.measured.value == pytest.approx(truth)
    assert whole.predicted.value == 0.0
    assert whole.inside
    assert whole.predicted.high <= 3 * (1 - at)
    assert not whole.holds


def test_the_changes_themselves() -> None:
    w = torch.tensor([[-1.0, 0.2, 0.5, 0.06], [3.0, 1.0, 2.0, 4.0]], dtype=torch.float64)
    for bits in (4, 8):
        most = 2 ** (bits - 1) - 1
        steps = w.abs().amax(1, keepdim=True) / most
        assert float(((rounded(w, bits) - w).abs() / steps).max()) <= 0.5 + 1e-12
        levels = rounded(w, bits) / steps
        torch.testing.assert_close(levels, levels.round())
        wide = rounded(w, bits, asymmetric=True)
        spans = (w.amax(1) - w.amin(1).clamp(max=0)) / (2**bits - 1)
        assert ((wide - w).abs().amax(1) <= spans + 1e-12).all()
    assert torch.equal(rounded(torch.zeros(2, 3), 4), torch.zeros(2, 3))
    assert torch.equal((pruned(w, 0.5) == 0).sum(), torch.tensor(4))
    grouped = pruned_in_groups(w, 2, 4)
    assert grouped.tolist() == [[-1.0, 0.0, 0.5, 0.0], [3.0, 0.0, 0.0, 4.0]]
    assert (pruned_in_groups(torch.rand(3, 7) + 1, 2, 4) != 0).sum(1).tolist() == [4] * 3


def test_it_is_stored_drawn_and_said(tmp_path: Path) -> None:
    _, f = diagonal()
    found = survive(f, "prune:0.5")
    back = ls.load(found.save(tmp_path / "run"))
    assert str(back) == str(found)
    assert back.keep == found.keep
    recipe = landscape_figures.RECIPES["survival"]
    assert "prune:0.5" in recipe.caption(back)
    assert recipe.draw(back).axes


@pytest.mark.parametrize("change", ["int3", "prune:1.5", "prune:4:2", "noise", "noise:x", "half"])
def test_an_unknown_change_is_named(change: str) -> None:
    _, f = diagonal()
    with pytest.raises(ValueError, match=f"no change is called '{change}'"):
        survive(f, change)
