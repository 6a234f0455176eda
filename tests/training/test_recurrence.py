"""How far back gradients reach: of a linear recurrent layer of one unit a factor w a step."""

import math

import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.training.recurrence import SHORTEST, reach

W, STEPS = 0.5, 12


class Last(nn.Module):
    """One recurrent unit with positive weights, whose ReLU never acts, read off the last step."""

    def __init__(self, layer: nn.Module, cell: bool = False, first: bool = True) -> None:
        super().__init__()
        self.layer, self.cell, self.first = layer, cell, first
        for name, p in layer.named_parameters():
            nn.init.constant_(p, W if "weight" in name else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.cell:
            out = self.layer(x)[0]
            return out[:, -1] if self.first else out[-1]
        h = x.new_zeros(len(x), 1)
        for t in range(x.shape[1]):
            h = self.layer(x[:, t], h)
        return h


def landscape(model: nn.Module, x: Tensor, rows: int = 5) -> ls.ModelLandscape:
    return ls.ModelLandscape(model, nn.functional.l1_loss, [(x, 1e3 * torch.ones(rows, 1))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["batch first", "time first", "cell"])
def test_a_linear_unit_passes_on_its_weight_a_step(
    kind: str, dtype: torch.dtype, device: torch.device
) -> None:
    x = torch.rand(5, STEPS, 1, dtype=dtype, device=device)
    if kind == "cell":
        model = Last(nn.RNNCell(1, 1, nonlinearity="relu"), cell=True)
    else:
        first = kind == "batch first"
        layer = nn.RNN(1, 1, nonlinearity="relu", batch_first=first)
        model, x = Last(layer, first=first), x if first else x.movedim(0, 1)
    f = landscape(model.to(device, dtype), x)
    found, steps = reach(f, f.point())
    assert steps == STEPS
    assert found == pytest.approx(W ** (STEPS - 1), rel=1e-4 if dtype == torch.float32 else 1e-10)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", ["short", "both ways", "none"])
def test_nothing_is_said_of_what_has_no_way_back(kind: str) -> None:
    x = torch.rand(5, SHORTEST - 1 if kind == "short" else STEPS, 1)
    layer = nn.RNN(1, 1, batch_first=True, bidirectional=kind == "both ways")
    model: nn.Module = Last(layer)
    if kind == "both ways":
        model = nn.Sequential(model, nn.Linear(2, 1))
    if kind == "none":
        model = nn.Sequential(nn.Flatten(), nn.Linear(STEPS, 1))
    f = landscape(model, x)
    assert math.isnan(reach(f, f.point())[0])


def test_a_loss_of_every_step_reaches_all_of_them() -> None:
    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.RNN(1, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0])

    x = torch.rand(5, 40, 1)
    f = ls.ModelLandscape(All(), nn.functional.mse_loss, [(x, torch.ones(5, 40, 1))])
    assert reach(f, f.point())[0] > 0.1
