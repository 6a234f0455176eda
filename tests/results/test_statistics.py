"""Intervals against the laws that they come from, and SciPy's answers in the cases where a formula has none."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from landscape.results import Estimate, statistics


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
    "all censored": ([5, 5, 5], [False] * 3, math.inf, 0, math.inf),
    "many censored": ([5] * 6, [False] * 6, math.inf, 5, math.inf),
    "one run that left": ([79], [True], 79, 0, math.inf),
    "one run that stayed": ([4], [False], math.inf, 0, math.inf),
    "five left at once": ([3] * 5, [True] * 5, 3, 0, math.inf),
    "six left at once": ([3] * 6, [True] * 6, 3, 3, 3),
    "all left at the start": ([0] * 9, [True] * 9, 0, 0, 0),
    "three of a hundred left": (
        [1, 2, 3] + [9] * 97,
        [True] * 3 + [False] * 97,
        math.inf,
        9,
        math.inf,
    ),
}


@pytest.mark.parametrize("edge", EDGES)
def test_the_median_has_open_ends_where_few_runs_left(edge: str) -> None:
    """By the binomial law 2 * 2^-5 is more than 5 % and 2 * 2^-6 is not; what is censored comes later."""
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
        survival, median = 1.0, math.inf
        for t in sorted(set(times[observed].tolist())):
            risk, dead = int((times >= t).sum()), int((observed & (times == t)).sum())
            survival *= 1 - dead / risk
            median = t if survival <= 0.5 + 1e-12 and median == math.inf else median
        assert statistics.kaplan_meier_median(times, observed).value == median


@pytest.mark.parametrize("count", [1, 5, 6, 17, 100])
def test_without_censoring_the_limits_are_those_of_order_statistics(count: int) -> None:
    times = np.random.default_rng(count).exponential(size=count)
    found = statistics.kaplan_meier_median(times, np.ones(count, bool))
    exact = statistics.median(times)
    assert (found.low, found.high) == (max(exact.low, 0.0), exact.high)


def test_the_median_of_censored_times_is_held() -> None:
    """Exponential times beside exponential censoring, the median known: 95 % and not all of them."""
    random, truth = np.random.default_rng(5), math.log(2)
    for count, least in ((3, 0.95), (30, 0.95), (100, 0.94)):
        inside = 0
        for _ in range(400):
            times, limits = random.exponential(1, count), random.exponential(1.5, count)
            found = statistics.kaplan_meier_median(np.minimum(times, limits), times <= limits)
            inside += found.low <= truth <= found.high
        assert inside / 400 >= least - 0.02


def test_rates_without_events_have_a_width() -> None:
    none = statistics.exponential_rate(np.array([10, 20]), np.zeros(2, bool))
    assert (none.value, none.low) == (0.0, 0.0)
    # P(no event in 30 steps) is 2.5 % at the upper end
    assert math.exp(-30 * none.high) == pytest.approx(0.025)
    assert none.error > 0
    at_once = statistics.exponential_rate(np.zeros(3), np.ones(3, bool))
    assert (at_once.value, at_once.low, at_once.high) == (math.inf, 0.0, math.inf)


@pytest.mark.parametrize("count", [2, 3, 10, 200])
def test_alike_realisations_have_a_width(count: int) -> None:
    """Where all of R are alike, others may be a share p of all as long as (1 - p)^R is 2.5 %."""
    p = 1 - 0.025 ** (1 / count)
    none = statistics.share(torch.zeros(count), torch.full((count,), 7))
    clopper = stats.binomtest(0, count).proportion_ci(0.95)
    assert (none.low, none.high) == pytest.approx((clopper.low, clopper.high), abs=1e-12)
    same = statistics.share(torch.full((count,), 2), torch.full((count,), 8))
    assert (same.low, same.high) == pytest.approx((0.25 * (1 - p), 0.25 + 0.75 * p))
    assert none.error > 0 < same.error
    never = statistics.count_mean(torch.zeros(count))
    assert (never.low, never.high) == pytest.approx((0, -math.log(0.025) / count))
    assert statistics.count_mean(torch.full((count,), 8)).high > 8
    assert statistics.count_mean(torch.full((count,), 8), random=False) == statistics.exact(8.0)


def test_rare_counts_have_poissons_interval() -> None:
    """Of m draws with weight 1 each k times: Garwood's limits."""
    for k, m in ((0, 50), (1, 50), (7, 1000)):
        found = statistics.rare_mean(k / m, k**0.5 / m, 1 / m)
        low = stats.chi2.ppf(0.025, 2 * k) / 2 if k else 0.0
        assert (m * found.low, m * found.high) == pytest.approx(
            (low, stats.chi2.ppf(0.975, 2 * k + 2) / 2), rel=1e-6
        )


def test_the_mean_of_forms_is_exact_for_one_eigenvalue() -> None:
    """X = chi^2 / P: |X - 1| <= q sqrt(X) has 95 % and what is left of the upper tail."""
    for probes in (1, 2, 5, 30):
        X = np.random.default_rng(probes).chisquare(probes, 40_000) / probes
        held = [abs(x - 1) <= statistics.form_mean(0.0, x**0.5, probes).high for x in X[:200]]
        q = statistics.form_mean(0.0, 1.0, probes).high
        inside = np.abs(X - 1) <= q * np.sqrt(X)
        assert held == inside[:200].tolist()
        assert 0.95 <= inside.mean() <= 0.98


def test_nothing_bounds_the_number_of_kinds_not_met() -> None:
    assert statistics.unseen([9, 9, 9]) == ls_estimate(0.0, 0.0)
    assert statistics.unseen([1, 1, 1, 1, 2, 5], 1) == ls_estimate(3.0, 1.0)
    assert statistics.unseen([9, 9, 9], 3) == ls_estimate(3.0, 3.0)
    assert statistics.unmet([9, 9, 9], 300) == pytest.approx(-math.log(0.05) / 300)
    assert statistics.unmet([], 2) == 1.0


def test_the_estimate_of_kinds_not_met_is_a_low_one() -> None:
    """81 kinds alike, 20 draws: 63 are not met; once^2 / 2 twice says 90 on average."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        hits = np.bincount(random.integers(0, 81, 20))
        found.append(statistics.unseen(hits[hits > 0].tolist()).value)
    assert 50 < np.mean(found) < 81 * (80 / 81) ** 20


@pytest.mark.parametrize("runs", [1, 2, 6])
def test_a_median_of_runs_without_events_or_with_one_is_open(runs: int) -> None:
    """All n runs last longer than the median with the chance 2^-n, below 2.5 % from 6 on."""
    times = np.full(runs, 9)
    none = statistics.kaplan_meier_median(times, np.zeros(runs, bool))
    assert (none.value, none.high) == (math.inf, math.inf)
    assert none.low == (9.0 if 0.5**runs < 0.025 else 0.0)
    one = statistics.kaplan_meier_median(times, np.arange(runs) == 0)
    assert one.high == math.inf
    assert one.low <= 9
    alike = statistics.kaplan_meier_median(times, np.ones(runs, bool))
    assert (alike.low, alike.high) == ((9.0, 9.0) if runs == 6 else (0.0, math.inf))


def test_no_runs_say_nothing() -> None:
    nothing = np.zeros(0)
    median = statistics.kaplan_meier_median(nothing, nothing.astype(bool))
    rate = statistics.exponential_rate(nothing, nothing.astype(bool))
    assert (median.low, median.high) == (rate.low, rate.high) == (0.0, math.inf)


@pytest.mark.parametrize("runs", [1, 2, 30])
@pytest.mark.parametrize("limit", [0.05, 1.0, 20.0])
def test_rates_with_no_event_and_one_hold(runs: int, limit: float) -> None:
    """Waiting times of rate 1, each seen up to a limit; without events the interval ends at
    -ln 0.025 over all steps, and misses where all last longer: e^{-runs limit} <= 2.5 %.
    """
    random, held = np.random.default_rng(runs), 0
    for _ in range(400):
        times = random.exponential(size=runs)
        found = statistics.exponential_rate(np.minimum(times, limit), times <= limit)
        held += found.low <= 1 <= found.high
    assert held >= stats.binom.ppf(1e-4, 400, 0.95)
    none = statistics.exponential_rate(np.full(runs, limit), np.zeros(runs, bool))
    assert none.high == pytest.approx(-math.log(0.025) / (runs * limit), rel=1e-9)
    assert none.value == none.low == 0


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_realisations_without_points_say_nothing_of_a_share(count: int) -> None:
    """One in ten has a point, one in three of which is a minimum."""
    random, held = np.random.default_rng(count), 0
    for _ in range(300):
        b = torch.from_numpy((random.random(count) < 0.1).astype(int))
        a = b * torch.from_numpy((random.random(count) < 1 / 3).astype(int))
        found = statistics.share(a, b)
        held += found.low <= 1 / 3 <= found.high
    assert held >= stats.binom.ppf(1e-4, 300, 0.93)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 30])
def test_points_that_come_in_pairs_are_rare_in_pairs(count: int) -> None:
    """A pair in a share of realisations where none may be met: its mean is twice the share."""
    for share in (0.02, 0.1, 0.3):
        random, held = np.random.default_rng(count), 0
        for _ in range(300):
            counts = torch.from_numpy(2 * (random.random(count) < share).astype(int))
            found = statistics.count_mean(counts, together=2)
            held += found.low <= 2 * share <= found.high
        assert held >= stats.binom.ppf(1e-4, 300, 0.93)


def ls_estimate(value: float, low: float) -> Estimate:
    return Estimate(value, math.inf, low, math.inf)


@pytest.mark.parametrize("law", ["alike", "zipf", "one rare", "two sizes"])
def test_the_unmet_hold_no_more_than_is_said(law: str) -> None:
    """The share of all draws that the kinds not met hold is known where the law is: 95 % are below."""
    kinds = np.arange(1.0, 301)
    weights = {
        "alike": np.ones(300),
        "zipf": 1 / kinds,
        "one rare": np.r_[np.ones(9), 0.02],
        "two sizes": np.r_[np.full(20, 10.0), np.full(200, 0.1)],
    }[law]
    p, random, wrong = weights / weights.sum(), np.random.default_rng(7), 0
    for _ in range(500):
        met = random.multinomial(400, p)
        wrong += p[met == 0].sum() > statistics.unmet(met[met > 0].tolist(), 400)
    assert wrong <= stats.binom.ppf(0.999, 500, 0.05)


def test_the_error_of_a_correlation_is_known_to_a_jackknife_over_runs() -> None:
    """For n normal pairs the standard error of r is about (1 - r^2) / sqrt(n - 1)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2_000)
    y = 0.6 * x + 0.8 * rng.normal(size=2_000)
    alone = statistics.correlation(x, y, np.arange(2_000))
    assert alone.value == pytest.approx(stats.pearsonr(x, y).statistic, rel=1e-12)
    assert alone.error == pytest.approx(0.64 / 2_000**0.5, rel=0.1)
    law = stats.pearsonr(x, y).confidence_interval(0.95)
    assert (alone.low, alone.high) == pytest.approx(tuple(law), abs=3e-3)
    copies = [np.repeat(a[:200], 10) for a in (x, y, np.arange(200))]
    # ten copies of a point are one
    once = statistics.correlation(x[:200], y[:200], np.arange(200))
    assert statistics.correlation(*copies).error == pytest.approx(once.error, rel=1e-9)
    assert once.error == pytest.approx(0.64 / 200**0.5, rel=0.3)


@pytest.mark.parametrize(
    ("x", "y", "runs"),
    [
        ([0.0, 1, 2, 3], [0.0, 1, 1, 3], [0, 0, 1, 1]),
        ([0.0, 1, 0, 1, 0, 1], [0.0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2]),
        ([0.0, 1, 2], [1.0, 1, 1], [0, 1, 2]),
        ([0.0, 1], [0.0, 1], [0, 1]),
        ([0.0, 0, 0, 5], [1.0, 2, 3, 9], [0, 1, 2, 3]),
    ],
    ids=["two runs", "runs alike", "constant", "two pairs", "one run decides"],
)
def test_a_correlation_says_nothing_of_what_it_does_not_know(
    x: list[float], y: list[float], runs: list[int]
) -> None:
    found = statistics.correlation(*map(np.array, (x, y, runs)))
    assert (found.low, found.high) == (-1.0, 1.0)


def test_the_spread_of_batches_knows_their_sizes_and_tails() -> None:
    """sigma / sqrt(N) whatever the sizes; 2 / freedom is the variance of the mean square over its
    square, which for numbers of excess kurtosis g gets g / B more.
    """
    random = np.random.default_rng(0)
    sizes = np.array([60, 4, 4, 4, 1])
    squares = []
    for _ in range(2_000):
        means = random.standard_normal(5) / sizes**0.5
        parts = torch.from_numpy(sizes / sizes.sum() * means)[:, None]
        spread = statistics.sampling_spread(parts, torch.from_numpy(sizes / sizes.sum()))
        squares.append(float(spread.errors) ** 2)
    assert spread.freedom == 4
    assert np.mean(squares) * sizes.sum() == pytest.approx(1, rel=0.05)
    assert np.var(squares) / np.mean(squares) ** 2 == pytest.approx(2 / 4, rel=0.15)
    assert statistics.sampling_reach(4) == pytest.approx(stats.t.ppf(0.975, 4))
    assert statistics.sampling_reach(4, 5.0) == pytest.approx(stats.t.ppf(0.975, 2 / 1.5))
    heavy = random.exponential(size=(40, 1))
    heavy -= heavy.mean()
    assert statistics.excess(heavy**2) == pytest.approx(stats.kurtosis(heavy[:, 0], bias=False))
    assert statistics.excess(np.ones((3, 1))) == statistics.excess(np.zeros((9, 1))) == 0.0


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_means_of_skewed_numbers_hold_on_both_sides(count: int) -> None:
    """Exponential numbers and their negatives; beside normal ones, where Student's is right."""
    random, held, widths = np.random.default_rng(count), 0, []
    for _ in range(600):
        a, sign = random.exponential(size=count), random.choice([-1, 1])
        found = statistics.skewed_mean(sign * a)
        held += found.low <= sign <= found.high
        normal = random.standard_normal(count)
        plain, wide = statistics.mean(normal), statistics.skewed_mean(normal)
        assert wide.low <= plain.low < plain.high <= wide.high
        widths.append((wide.high - wide.low) / (plain.high - plain.low))
    assert held >= stats.binom.ppf(1e-3, 600, 0.93)
    assert max(widths) <= 1.5 + 1e-9


def test_a_mean_that_has_no_skewness_or_no_interval_has_that_of_the_mean() -> None:
    for numbers in ([2.0], [1.0, math.inf], [3.0, 3.0]):
        assert statistics.skewed_mean(numbers) == statistics.mean(numbers)
    even = statistics.skewed_mean([-2.0, -1.0, 1.0, 2.0])
    assert even.high == pytest.approx(-even.low)


def test_small_batches_beside_large_ones_have_heavier_tails_and_equal_ones_do_not() -> None:
    """The mean of m squares of normal numbers has an excess kurtosis of 12 / m, and no more than
    half as long again is the reach of unequal ones.
    """
    assert float(stats.chi2(5).stats("k")) == pytest.approx(statistics.SQUARE / 5)
    for sizes, excess in (([20, 20, 20], 0.3), ([5, 5], 0.0)):
        assert statistics.unequal(np.array(sizes), excess) == excess
    assert statistics.unequal(np.array([100, 50] * 20), 0.1) == pytest.approx(
        0.1 + 12 * (0.015 - 1 / 75)
    )
    for sizes in ([20, 1], [20, 20, 1], [1_000, 1, 1, 1]):
        reach = statistics.sampling_reach(len(sizes) - 1)
        found = statistics.unequal(np.array(sizes), 0.0)
        assert statistics.sampling_reach(len(sizes) - 1, found) == pytest.approx(1.5 * reach)
