"""Expected counts against exact tables (tests/truth/random-matrices), dense matrices drawn plainly, and identities."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape as ls
from landscape.results import Estimate
from landscape.theory import goe

TRUTH = Path(__file__).parents[1] / "truth/random-matrices"


def table(name: str) -> dict[str, Any]:
    return json.loads((TRUTH / f"{name}.json").read_text())["values"]


@pytest.mark.parametrize(("n", "row"), table("goe_positive").items())
def test_goe_positive_is_the_closed_form(n: str, row: dict[str, Any]) -> None:
    exact = ls.theory.goe_positive(int(n))
    assert isinstance(exact, float)
    assert exact == pytest.approx(row["probability"], rel=1e-13)
    assert ls.theory.goe_positive(int(n), log=True) == pytest.approx(row["log_probability"], rel=1e-13)


@pytest.mark.parametrize(("n", "row"), table("goe_index").items())
def test_goe_index_is_the_closed_form(n: str, row: dict[str, Any]) -> None:
    assert ls.theory.goe_index(int(n)) == pytest.approx(row["P_index"], abs=1e-15)


@pytest.mark.parametrize("n", [1, 5, 6])
@pytest.mark.parametrize("shift", [-1.3, 0.4])
def test_a_shifted_index_is_that_of_dense_matrices(n: int, shift: float) -> None:
    rng, draws = np.random.default_rng(n), 40_000
    G = rng.standard_normal((draws, n, n))
    counted = np.bincount(
        (np.linalg.eigvalsh((G + G.swapaxes(1, 2)) / math.sqrt(2)) < shift).sum(axis=1), minlength=n + 1
    )
    law = np.array(ls.theory.goe_index(n, shift=shift))
    assert law.sum() == pytest.approx(1, abs=1e-14)
    errors = np.sqrt(draws * law * (1 - law)) + 1
    assert (np.abs(counted - draws * law) < 4.5 * errors).all()


@pytest.mark.parametrize("n", [20, 40])
def test_no_digit_is_lost(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the digits give the same number, and the sampler, which shares nothing with it, agrees."""
    exact, sampled = ls.theory.goe_positive(n, log=True), ls.theory.goe_positive(n, method="sample", log=True)
    assert isinstance(sampled, Estimate)
    assert abs(sampled.value - exact) < 4 * sampled.error < 0.5
    digits = goe._digits
    monkeypatch.setattr(goe, "_digits", lambda n: 2 * digits(n))
    assert goe._log_positive.__wrapped__(n) == exact


@pytest.mark.parametrize("n", [3, 8, 12])
def test_intervals_of_the_sampler_are_calibrated(n: int) -> None:
    exact = ls.theory.goe_positive(n)
    found = [ls.theory.goe_positive(n, seed, method="sample", particles=200, filters=20) for seed in range(200)]
    covered = sum(e.low <= exact <= e.high for e in found)
    assert 180 <= covered <= 199  # binomial(200, 0.95) outside in one case of 300
    assert all(e.error < 0.1 * e.value for e in found)
    scores = [(e.value - exact) / e.error for e in found]
    assert abs(np.mean(scores)) < 0.35


def test_one_seed_one_answer() -> None:
    first, again, other = (ls.theory.goe_positive(9, seed, method="sample", particles=50) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_large_n_law_is_approached() -> None:
    ratios = [ls.theory.goe_positive(n, log=True) / (-math.log(3) / 4 * n * n) for n in (8, 20, 60)]
    assert ratios == sorted(ratios, reverse=True)
    assert 1 < ratios[-1] < 1.03


@pytest.mark.parametrize(("n", "row"), table("coin_toss").items())
def test_coin_toss(n: str, row: dict[str, Any]) -> None:
    assert ls.theory.coin_toss(int(n)) == row["P_saddle"]
    assert 1 - ls.theory.coin_toss(int(n), maxima=True) == pytest.approx(row["P_minimum"], rel=1e-9)
    assert ls.theory.coin_toss_index(int(n)) == pytest.approx(row["P_index"], rel=1e-15)


@pytest.mark.parametrize("row", table("index_energy")["by_w"], ids=lambda row: str(row["w"]))
def test_index_against_energy(row: dict[str, Any]) -> None:
    assert ls.theory.index_fraction(row["w"]) == pytest.approx(row["index_fraction_limit"], abs=1e-15)


@pytest.mark.parametrize("row", table("pspin_p3").values(), ids=lambda row: f"n={row['N']}")
def test_pspin_counts_are_exact(row: dict[str, Any]) -> None:
    counts = ls.theory.pspin_counts(3, row["N"])
    assert counts == pytest.approx(row["E_by_index"], rel=1e-11)
    euler = sum((-1) ** k * c for k, c in enumerate(counts))
    assert euler == pytest.approx(1 + (-1) ** (row["N"] - 1), abs=1e-9)


def test_a_quadratic_form_on_the_sphere_has_its_eigenvectors() -> None:
    assert ls.theory.pspin_counts(2, 4) == pytest.approx([2, 2, 2, 2], rel=1e-12)


def test_pspin_thresholds() -> None:
    truth = table("pspin_thresholds_p3")["p3"]
    assert ls.theory.pspin_threshold(3) == pytest.approx(truth["E_inf"]["value"], rel=1e-15)
    for k in range(4):
        assert ls.theory.pspin_threshold(3, k) == pytest.approx(truth[f"E_{k}"]["value"], rel=1e-13)
        at_threshold = ls.theory.pspin_complexity(-ls.theory.pspin_threshold(3), 3, k)
        assert at_threshold == pytest.approx(truth["complexity_at_threshold"]["value"], rel=1e-12)


@pytest.mark.parametrize(("name", "row"), table("torus_d1_d2").items())
def test_torus_counts(name: str, row: dict[str, Any]) -> None:
    counts = ls.theory.torus_counts(row["K"], row["sigma2"], samples=60_000)
    if row["d"] == 1:
        assert counts == pytest.approx(row["E_by_index"], rel=1e-14)
        return
    for estimate, truth in zip(counts, row["E_by_index"], strict=True):
        assert isinstance(estimate, Estimate)
        assert abs(estimate.value - truth) < 4 * estimate.error < 0.06 * truth


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ls.theory.goe_positive(0), "n must be a whole number of at least 1, got 0"),
        (lambda: ls.theory.goe_positive(3, method="guess"), "method must be auto, exact or sample, got 'guess'"),
        (lambda: ls.theory.goe_positive(3, method="sample", filters=1), "at least 2, got 2000 and 1"),
        (lambda: ls.theory.goe_index(3, shift=math.nan), "shift must be finite"),
        (lambda: ls.theory.coin_toss(2.5), "n must be a whole number"),
        (lambda: ls.theory.pspin_counts(1, 3), "p must be a whole number of at least 2"),
        (lambda: ls.theory.pspin_complexity(-1.0, 3), "energy must be at most -E_inf"),
        (lambda: ls.theory.torus_counts([[1, 0], [2, 0]]), "span R\\^d"),
    ],
)
def test_bad_input_is_named(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
