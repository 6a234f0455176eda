"""Intervals against the laws that they come from, and SciPy's answers in the cases where a formula has none."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from landscape.results import statistics


def test_the_mean_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 7)
    law = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    for given in (values.tolist(), iter(values.tolist()), torch.from_numpy(values)):
        found = statistics.mean(given)
        assert (found.low, found.high) == pytest.approx(tuple(law), rel=1e-12)
        assert found.error == pytest.approx(stats.sem(values), rel=1e-12)


def test_a_mean_promises_nothing_that_it_does_not_know() -> None:
    alone = statistics.mean([2.0])
    assert alone.value == 2.0
    assert math.isnan(alone.error)
    assert (alone.low, alone.high) == (-math.inf, math.inf)
    for bad in (math.inf, -math.inf, math.nan):
        diverged = statistics.mean([1.0, bad, 2.0])
        assert (diverged.error, diverged.low, diverged.high) == (math.inf, -math.inf, math.inf)
    assert statistics.mean(torch.tensor([1.0, 2.0]), random=False) == statistics.exact(1.5)


def test_the_slope_of_a_line_is_found_with_its_error() -> None:
    """By the normal equations; SciPy's slope differs from them in the last bits only."""
    random = np.random.default_rng(1)
    x = np.linspace(0, 3, 9)
    y = 2 - 0.7 * x + 0.1 * random.standard_normal(9)
    design = np.stack([np.ones(9), x], axis=1)
    solved, (squares,), *_ = np.linalg.lstsq(design, y, rcond=None)
    error = math.sqrt(squares / 7 * np.linalg.inv(design.T @ design)[1, 1])
    found = statistics.slope(x, y)
    assert found.value == pytest.approx(solved[1], rel=1e-12)
    assert found.error == pytest.approx(error, rel=1e-10)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 7) * error, rel=1e-10)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 30, 101])
def test_the_median_lies_between_order_statistics(count: int) -> None:
    """By the binomial law the j-th smallest and largest of m hold it, 2 P(B < j) at most 5 %."""
    values = np.random.default_rng(count).normal(size=count)
    found, ordered = statistics.median(values), np.sort(values)
    j = max(
        (j for j in range(count // 2 + 1) if 2 * stats.binom.cdf(j - 1, count, 0.5) <= 0.05),
        default=0,
    )
    if j == 0:
        assert (found.low, found.high) == (-math.inf, math.inf)
    else:
        assert (found.low, found.high) == (ordered[j - 1], ordered[-j])
    assert found.value == np.median(values)


EDGES = {
    "all censored": ([5, 5, 5], [False] * 3, math.inf, math.inf, math.inf),
    "one run that left": ([4], [True], 4, 4, 4),
    "one run that stayed": ([4], [False], math.inf, math.inf, math.inf),
    "all left at once": ([3, 3, 3], [True] * 3, 3, 3, 3),
    "all left at the start": ([0, 0], [True] * 2, 0, 0, 0),
    "one in two left": ([2, 9], [True, False], 2, 2, math.inf),
}


@pytest.mark.parametrize("edge", EDGES)
def test_the_survival_has_an_answer_at_its_ends(edge: str) -> None:
    """Where all survive, or none does, Greenwood's formula divides by zero; survival is certain there."""
    times, observed, value, low, high = EDGES[edge]
    found = statistics.kaplan_meier_median(np.array(times), np.array(observed))
    assert (found.value, found.low, found.high) == (value, low, high)


def test_kaplan_meier_is_the_product_over_events() -> None:
    """Written out run by run, for samples with ties, zeros and censored runs."""
    random = np.random.default_rng(2)
    for _ in range(200):
        count = int(random.integers(1, 30))
        times, observed = (
            random.integers(0, 12, count),
            random.random(count) < random.choice([0.2, 0.6, 1.0]),
        )
        survival, variance, median, ends = 1.0, 0.0, math.inf, [math.inf, math.inf]
        for t in sorted(set(times[observed].tolist())):
            risk, dead = int((times >= t).sum()), int((observed & (times == t)).sum())
            survival *= 1 - dead / risk
            variance += dead / (risk * (risk - dead)) if risk > dead else math.inf
            wide = (
                math.exp(1.959963984540054 * math.sqrt(variance) / -math.log(survival))
                if survival > 0
                else 1.0
            )
            limits = (survival**wide, survival ** (1 / wide))
            median = t if survival <= 0.5 + 1e-12 and median == math.inf else median
            ends = [
                t if c <= 0.5 + 1e-12 and e == math.inf else e
                for c, e in zip(limits, ends, strict=True)
            ]
        found = statistics.kaplan_meier_median(times, observed)
        assert (found.value, found.low, found.high) == (median, *ends)


def test_remedies_without_effect_win_in_one_study_of_twenty() -> None:
    """All eight intervals hold zero at once, whatever the spread of each and the pairing."""
    random = np.random.default_rng(3)
    spreads = np.array([0.01, 0.1, 1, 1, 1, 2, 10, 100])
    wrong = 0
    for _ in range(400):
        control = random.normal(size=8)
        samples = control + spreads[:, None] * random.normal(size=(8, 8))
        found = statistics.against_control([*torch.from_numpy(samples)], torch.from_numpy(control))
        wrong += not all(one.low <= 0 <= one.high for one in found)
    assert wrong <= stats.binom.ppf(0.999, 400, 0.05)
    alone = statistics.against_control([torch.tensor([3.0, 5.0, 4.0])], torch.ones(3))
    assert alone == [statistics.mean([2.0, 4.0, 3.0])]
