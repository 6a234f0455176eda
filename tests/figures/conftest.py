"""The analysis of a real small net that is a saddle, with a slice that leaves the finite numbers."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

import landscape as ls


@pytest.fixture(scope="session")
def report() -> Any:
    """14 parameters, two batches, so that every number of a figure is there."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        x = torch.randn(40, 2, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    f = ls.ModelLandscape(model, nn.functional.cross_entropy, [(x[:25], y[:25]), (x[25:], y[25:])], name="xor")
    return ls.analyze(f, largest=6, smallest=5, probes=3, steps=15)


@pytest.fixture(scope="session")
def broken(report: Any) -> Any:
    """The same with three values of the first slice that are not finite."""
    values = report.slices[0].values.clone()
    values[-3:] = float("nan")
    first = dataclasses.replace(report.slices[0], values=values)
    return dataclasses.replace(report, slices=(first, *report.slices[1:]))
