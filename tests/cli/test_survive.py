"""``landscape survive --change finetune:FILE``: on a quadratic loss the change of the loss is foretold exactly."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main
from torch import nn

import landscape as ls

REGRESSION = """
import landscape as ls, torch
from torch import nn

def data():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, x.sum(1, keepdim=True)

def problem():
    x, y = data()
    return ls.ModelLandscape(nn.Linear(4, 1).double(), nn.functional.mse_loss, [(x, y)])
"""


def test_another_checkpoint_is_measured_and_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(REGRESSION)
    for seed, name in enumerate(("base", "tuned")):
        torch.manual_seed(seed)
        torch.save(nn.Linear(4, 1).double().state_dict(), f"{name}.pt")
    line = "survive net.py --checkpoint base.pt --change finetune:tuned.pt --out runs/it"
    done = CliRunner().invoke(main, line.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = ls.load("runs/it")
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = []
    for name in ("base", "tuned"):
        weights = torch.load(f"{name}.pt")
        out = x @ weights["weight"].T + weights["bias"]
        losses.append(float((out - x.sum(1, keepdim=True)).square().mean()))
    assert found.loss == pytest.approx(losses[0])
    assert found.whole.measured.value == pytest.approx(losses[1] - losses[0])
    assert found.whole.predicted.value == pytest.approx(losses[1] - losses[0])
    assert found.whole.inside
