"""A spread and a certain bound are two kinds of numbers, and say so."""

from pathlib import Path

import pytest
import torch

import landscape as ls
from landscape.results import Bounded


@pytest.mark.parametrize(
    ("value", "bound", "text"),
    [
        (1.23, 4e-5, "1.23 ± 4e-05"),
        (-2e7, 3e6, "-2e+07 ± 3e+06"),
        (0.5, 0.0, "0.5 ± 0"),
        (1.0, 4.2e-15, "1 ± 5e-15"),
    ],
)
def test_a_bound_is_printed_with_one_digit(value: float, bound: float, text: str) -> None:
    assert str(Bounded(value, bound)) == text


def test_a_bounded_number_comes_back(tmp_path: Path) -> None:
    ls.results.save(Bounded(1.0, 0.25), tmp_path)
    found = ls.load(tmp_path)
    assert (found.low, found.high) == (0.75, 1.25)
    assert found == Bounded(1.0, 0.25)


def test_an_exact_trace_has_the_error_that_its_interval_has() -> None:
    g = ls.FunctionLandscape(lambda x: (x**2).sum(-1) + x.prod(-1), dim=3)
    trace = ls.analyze(g, torch.tensor([0.3, 0.1, -0.2], dtype=torch.float64)).trace
    assert trace is not None
    assert trace.low <= 6 <= trace.high
    assert 0 < trace.error < 1e-10
    assert trace.high - trace.value == pytest.approx(trace.error, rel=1e-2)
