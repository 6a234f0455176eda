"""The table of intervals: it names each one that a result class has, and its coverages hold.

``LANDSCAPE_COVERAGE=400 pytest tests/results/test_intervals.py`` is the long way, of minutes.
"""

import math
import os
import sys
from pathlib import Path

import pytest
from scipy import stats

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

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
        if (name, problem) in coverage_table.SHORT:
            assert least < 90  # or it need not be excused
        else:
            assert least >= 100 * _least(name, coverage_table.REPEATS, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", coverage_table.CASES)
def test_intervals_hold_the_truth(name: str) -> None:
    """As often as they say, up to what chance allows: a short look unless asked for more."""
    repeats = REPEATS or (4 if name in coverage_table.COSTLY else 40)
    for problem, draw in coverage_table.CASES[name].items():
        if (name, problem) in coverage_table.SHORT:
            continue
        for count in coverage_table.SAMPLES if REPEATS else (2, 5, 30):
            found = coverage_table.coverage(draw, count, repeats)
            assert math.isnan(found) or found >= _least(name, repeats, 1e-4), (problem, count)


def _least(name: str, repeats: int, chance: float) -> float:
    if name in coverage_table.CERTAIN:
        return 1.0
    return float(stats.binom.ppf(chance, repeats, 0.93) / repeats)
