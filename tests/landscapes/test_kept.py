"""Passes of a landscape leave what a model's steps keep and log as it was."""

from collections import Counter, deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.landscapes.kept import kept


class Meter:
    """As people write them."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def update(self, value: float) -> None:
        self.sum += value
        self.count += 1


class Net(nn.Module):
    """Keeps what it has seen in every way."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.outputs: list[float] = []
        self.nested = {"train": {"losses": [1.0]}}
        self.counts: Counter[str] = Counter()
        self.last: deque[float] = deque(maxlen=3)
        self.names: set[str] = set()
        self.meter = Meter()
        self.seen = torch.zeros(())
        self.confusion = np.zeros((2, 2))
        self.steps = 0

    def training_step(self, x: Tensor) -> Tensor:
        loss = self.layer(x).square().mean()
        self.outputs.append(loss.item())
        self.nested["train"]["losses"].append(2.0)
        self.nested["new"] = {}
        self.counts["steps"] += 1
        self.last.append(1.0)
        self.names.add("x")
        self.meter.update(loss.item())
        self.seen += len(x)
        self.confusion[0, 1] += 1
        self.steps += 1
        self.extra = 1
        self.log("loss", loss)
        self.log_dict({"a": loss})
        return loss

    def log(self, name: str, value: object) -> None:
        raise AssertionError("a pass of the landscape has logged")

    def log_dict(self, values: object) -> None:
        raise AssertionError("a pass of the landscape has logged")


def test_lists_counts_meters_and_logs_are_left_alone() -> None:
    model = Net()
    with kept(model, None, len):
        for _ in range(3):
            model.training_step(torch.ones(4, 2))
        assert model.steps == 3
    assert model.outputs == []
    assert model.nested == {"train": {"losses": [1.0]}}
    assert not model.counts
    assert not model.last
    assert model.last.maxlen == 3
    assert not model.names
    assert (model.meter.sum, model.meter.count) == (0.0, 0)
    assert float(model.seen) == 0.0
    assert not model.confusion.any()
    assert model.steps == 0
    assert not hasattr(model, "extra")
    log: Any = model.log
    assert log.__func__ is Net.log


def test_long_lists_lose_only_what_was_appended() -> None:
    model: Any = nn.Linear(1, 1)
    model.history = list(range(20_000))
    with kept(model):
        model.history.extend([0, 0])
    assert len(model.history) == 20_000


def test_an_error_inside_is_passed_on() -> None:
    model = Net()
    try:
        with kept(model):
            model.outputs.append(1.0)
            raise ValueError("inside")
    except ValueError:
        pass
    assert model.outputs == []
