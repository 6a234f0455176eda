"""GOE: the tables of exact arithmetic, sampled matrices, and the coverage of the sampler's intervals."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape as ls
from landscape.theory.goe import log_positive

wrong: Any = 2.0  # for a whole number
TRUTH = Path(__file__).parents[1] / "truth" / "random-matrices"


def table(name: str) -> dict[str, Any]:
    return json.loads((TRUTH / f"{name}.json").read_text())["values"]


@pytest.mark.parametrize("n", range(1, 21))
def test_coin_toss(n):
    row = table("coin_toss")[str(n)]
    assert ls.theory.coin_toss(n) == row["P_saddle"]
    assert ls.theory.coin_toss(n, maxima_are_saddles=True) == 1 - row["P_minimum"]
    assert ls.theory.coin_toss_index(n) == pytest.approx(row["P_index"], rel=1e-15)


@pytest.mark.parametrize("n", range(1, 9))
def test_exact_positive_is_that_of_exact_arithmetic(n):
    value = ls.theory.goe_positive(n)
    assert isinstance(value, float)
    assert value == pytest.approx(table("goe_positive")[str(n)]["probability"], rel=1e-11)


def test_positive_closed_forms():
    assert ls.theory.goe_positive(2) == pytest.approx((2 - math.sqrt(2)) / 4, rel=1e-12)
    assert ls.theory.goe_positive(3) == pytest.approx(
        (math.pi - 2 * math.sqrt(2)) / (4 * math.pi), rel=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 9])
def test_sampled_intervals_cover_the_exact_value(n):
    exact = table("goe_positive")["4"]["probability"] if n == 4 else math.exp(log_positive(n))
    inside = 0
    for seed in range(200):
        value = ls.theory.goe_positive(n, seed=seed, method="sample", samples=1000)
        inside += value.low <= exact <= value.high
    assert 180 <= inside <= 198  # of 200 draws with chance 0.95: outside this with chance 0.004


@pytest.mark.slow
@pytest.mark.parametrize("n", [13, 20, 60])
def test_sampler_far_below_every_float(n):
    value = ls.theory.goe_positive(n, seed=3, method="sample", log=True)
    assert value.error < 0.005
    assert abs(value.value - ls.theory.goe_positive(n, method="exact", log=True)) < 4 * value.error
    law = ls.theory.goe_law(n)
    assert 1 < value.value / law < 1.18  # the ratio at n = 8, falling to 1


@pytest.mark.slow
def test_beyond_twelve_the_answer_has_an_error():
    value = ls.theory.goe_positive(20, seed=1)
    assert isinstance(value, ls.Estimate)
    assert 0 < value.error < 0.01 * value.value
    assert value.low < value.value < value.high
    assert value == ls.theory.goe_positive(20, seed=1)
    assert value != ls.theory.goe_positive(20, seed=2)


def test_sampler_leaves_the_global_random_state_alone():
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    ls.theory.goe_positive(5, method="sample")
    assert (np.random.get_state(legacy=False)["state"]["key"] == before).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ls.theory.goe_positive(0), "n must be a whole number of at least 1, got 0"),
        (lambda: ls.theory.goe_positive(wrong), "n must be a whole number of at least 1, got 2.0"),
        (lambda: ls.theory.goe_positive(3, method="guess"), "exact or sample"),
        (lambda: ls.theory.goe_positive(60), "log=True"),
        (lambda: ls.theory.goe_positive(60, method="exact"), "log=True"),
        (lambda: ls.theory.coin_toss(-1), "n must be a whole number of at least 1, got -1"),
    ],
)
def test_faults_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
