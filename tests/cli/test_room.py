"""`landscape analyze --optimizer`: the room of the user's own optimiser, from a line and a saved state."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from torch import nn

Run = Callable[..., Result]
FAST = ["--no-layers", "--probes", "2", "--steps", "10", "--force", "--out", "run"]


@pytest.mark.slow
def test_the_state_beside_the_weights_is_read_and_told(here: Path, run: Run) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x = torch.randn(24, 2, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")
    options = [*FAST, "--checkpoint", "last.pt", "--optimizer", "adam"]
    found = run("analyze", "net.py", *options, "--json")
    assert found.exit_code == 0, found.stderr
    room = json.loads(found.stdout)["room"]
    assert room["rate"] == 0.02
    assert room["edge"] == pytest.approx(38 / 0.02)
    assert room["low"] <= room["value"]
    assert room["high"] is None or room["high"] >= room["value"]
    assert room["remarks"] == []
    found = run("analyze", "net.py", *options, "--optimizer-state", "none")
    assert "gathered no second moments" in " ".join(found.stdout.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--optimizer", "adams"], "no optimiser is called"),
        (["--optimizer", "adam:lr=-1"], "Invalid learning rate"),
        (["--optimizer", "sgd:lr=0.1; *.nothing:lr=0"], "matches no parameter"),
        (["--optimizer-state", "x.pt"], "needs --optimizer"),
        (["--optimizer", "lbfgs", "--optimizer-state", "x.pt"], "no room"),
    ],
)
def test_a_mistake_is_one_line(here: Path, run: Run, options: list[str], words: str) -> None:
    found = run("analyze", "net.py", *FAST, *options)
    assert found.exit_code == 2
    assert words in found.stderr
    assert "Traceback" not in found.stderr
