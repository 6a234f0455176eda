"""The table of intervals: it names each one that a result class has, and its coverages hold.

``LANDSCAPE_COVERAGE=400 pytest tests/results/test_intervals.py`` is the long way, of minutes.
"""

import math
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import landscape as ls
from landscape.paths.compare import barrier, risen
from landscape.points.look import Look
from landscape.points.room import noise_scales
from landscape.points.survive import by_batch

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import coverage_models  # noqa: E402
import coverage_table  # noqa: E402
import intervals  # noqa: E402

REPEATS = int(os.environ.get("LANDSCAPE_COVERAGE", "0"))
PAGE = coverage_table.PAGE.read_text(encoding="utf-8")


def test_every_interval_of_every_result_is_in_the_table() -> None:
    assert intervals.found() == set(intervals.COVERS)


@pytest.mark.parametrize("name", intervals.COVERS)
def test_what_holds_an_interval_exists_and_is_documented(name: str) -> None:
    row = intervals.COVERS[name]
    assert f"| `{name}` | {row.covers} | {row.fewest} |" in PAGE
    kind, _, case = row.test.partition(": ")
    if kind == "coverage":
        assert len(coverage_table.CASES[case]) >= 3
        return
    file, _, function = row.test.partition("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    assert f"def {function}(" in text if function else "def test_" in text


@pytest.mark.parametrize("name", coverage_table.CASES)
def test_the_coverages_of_the_page_are_right(name: str) -> None:
    """95 % are meant; what the repetitions may miss of 93 % by chance is allowed."""
    table = PAGE.partition(coverage_table.BEGIN)[2].partition(coverage_table.END)[0]
    lines = [line for line in table.splitlines() if line.startswith(f"| {name} | ")]
    assert len(lines) == len(coverage_table.CASES[name])
    for line in lines:
        problem, *cells = (cell.strip() for cell in line.split("|")[2:-1])
        least = min(float(cell) for cell in cells if cell != "-")
        assert least >= 100 * _least(name, coverage_table.REPEATS, 0.01), problem


def test_what_no_interval_can_know_has_a_table_of_its_own_and_a_sentence_that_holds() -> None:
    page = PAGE.partition(coverage_table.BEGIN_UNKNOWABLE)[2]
    table = page.partition(coverage_table.END_UNKNOWABLE)[0]
    for name, problems in coverage_table.UNKNOWABLE.items():
        for problem in problems:
            (line,) = (a for a in table.splitlines() if a.startswith(f"| {name} | {problem} |"))
            least = min(float(cell) for cell in line.split("|")[3:-1])
            said = name == "what no realisation showed"
            assert least >= 93 if said else least < 90  # or it need not be excused


@pytest.mark.slow
@pytest.mark.parametrize("name", coverage_table.CASES)
def test_intervals_hold_the_truth(name: str) -> None:
    """As often as they say, up to what chance allows: a short look unless asked for more."""
    costly = name in coverage_table.COSTLY
    repeats = REPEATS or (4 if costly else 40)
    short = (1, 3, 30) if costly else (2, 5, 30)
    for problem, draw in coverage_table.CASES[name].items():
        counts = coverage_table.SAMPLES if REPEATS else short
        found = {count: coverage_table.coverage(draw, count, repeats) for count in counts}
        known = {count: held for count, held in found.items() if not math.isnan(held)}
        assert known
        assert min(known.values()) >= _least(name, repeats, 1e-4), (problem, known)


class Product(nn.Module):
    """x -> (a b - 1) x: two weights with a barrier between (1, 1) and (-1, -1)."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((2,), at, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.w[0] * self.w[1] - 1) * x


@pytest.mark.parametrize("name", coverage_models.INPUTS)
def test_batches_in_closed_form_are_those_of_models(name: str) -> None:
    """Losses, gradients' inner products and barriers, batch by batch."""
    seen = coverage_models.data(name, 5, np.random.default_rng(1), 3)
    net = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    f = ls.ModelLandscape(net, nn.functional.mse_loss, seen.batches)
    at = torch.tensor(coverage_models.AT, dtype=torch.float64)
    close = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-14)
    close(f.weights, seen.shares)
    close(by_batch(f, at), seen.losses(coverage_models.AT))
    weights = torch.tensor([1.0, 0.1, 10.0], dtype=torch.float64)
    look = Look(f, at, "coverage")
    for metric, found in zip((torch.ones(3), weights), noise_scales(look, weights), strict=True):
        expected = coverage_models.scale(seen, metric.double())
        assert [found.low, found.value, found.high] == pytest.approx(
            [expected.low, expected.value, expected.high]
        )

    one = coverage_models.data(name, 5, np.random.default_rng(2), 1)
    f = ls.ModelLandscape(Product(1.0), nn.functional.mse_loss, one.batches)
    other, t = {"w": -torch.ones(2, dtype=torch.float64)}, torch.tensor([0.0, 0.5, 1.0])
    line, spread = barrier(f, {"w": f.point()}, other, t)
    expected_line, expected_spread = risen(
        torch.stack([one.losses([w]) for w in (0.0, -1.0, 0.0)]), one.shares, len(one.x)
    )
    close(line, expected_line)
    close(spread.errors, expected_spread.errors)


def _least(name: str, repeats: int, chance: float) -> float:
    if name in coverage_table.CERTAIN:
        return 1.0
    return float(stats.binom.ppf(chance, repeats, 0.93) / repeats)
