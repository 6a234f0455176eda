"""Mean counts: tables of 60-digit arithmetic, closed forms, Euler characteristics, sampled matrices."""

import json
import math
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest

import landscape as ls
from landscape.theory.goe import log_positive

TRUTH = Path(__file__).parents[1] / "truth" / "random-matrices"


def table(name: str) -> dict[str, Any]:
    return json.loads((TRUTH / f"{name}.json").read_text())["values"]


@pytest.mark.parametrize("n", range(2, 9))
def test_goe_index_is_that_of_exact_arithmetic(n):
    assert ls.theory.goe_index(n) == pytest.approx(table("goe_index")[str(n)]["P_index"], rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 12, 25])
def test_two_exact_routes_to_the_same_chance(n):
    logs = ls.theory.goe_index(n, log=True)
    assert logs[0] == pytest.approx(log_positive(n), abs=1e-11)
    assert logs == pytest.approx(logs[::-1], abs=1e-12)
    assert sum(math.exp(v) for v in logs) == pytest.approx(1, abs=1e-13)


def test_goe_index_of_sampled_matrices():
    g = np.random.default_rng(1).standard_normal((20_000, 9, 9))
    share = np.bincount(
        (np.linalg.eigvalsh(g + g.transpose(0, 2, 1)) < 0).sum(1), minlength=10
    ) / len(g)
    exact = np.array(ls.theory.goe_index(9))
    assert (np.abs(share - exact) <= 4 * np.sqrt(exact * (1 - exact) / len(g)) + 1e-4).all()


def test_index_fraction():
    for row in table("index_energy")["by_w"]:
        assert ls.theory.index_fraction(row["w"]) == pytest.approx(
            row["index_fraction_limit"], abs=1e-14
        )
        for n, value in row["index_fraction_exact_n"].items():
            assert ls.theory.index_fraction(row["w"], int(n)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("spins", [2, 3, 4, 5])
def test_pspin_counts(spins):
    counts = ls.theory.pspin_counts(spins)
    assert counts == pytest.approx(table("pspin_p3")[f"p3_N{spins}"]["E_by_index"], rel=1e-12)
    assert sum((-1) ** k * c for k, c in enumerate(counts)) == pytest.approx(
        2 * (spins % 2), abs=1e-11
    )


def test_pspin_of_order_two_has_two_points_an_eigenvector():
    assert ls.theory.pspin_counts(6, order=2) == pytest.approx([2.0] * 6, rel=1e-12)


def test_pspin_thresholds():
    truth = {k: v["value"] for k, v in table("pspin_thresholds_p3")["p3"].items()}
    levels = ls.theory.pspin_thresholds(3)
    assert levels.e_inf == pytest.approx(truth["E_inf"], rel=1e-14)
    assert levels.e_index == pytest.approx([truth[f"E_{k}"] for k in range(4)], rel=1e-12)
    assert levels.total == pytest.approx(truth["complexity_all_stationary_points"], rel=1e-14)
    assert levels.minima == pytest.approx(truth["complexity_at_threshold"], rel=1e-12)
    for index in (0, 2):
        assert ls.theory.pspin_complexity(-levels.e_inf, index) == pytest.approx(
            levels.minima, rel=1e-10
        )
        assert ls.theory.pspin_complexity(-levels.e_index[index] - 1e-3, index) < 0


def test_pspin_thresholds_are_saved(tmp_path):
    levels = ls.theory.pspin_thresholds(4, indices=2)
    ls.results.save(levels, tmp_path)
    assert ls.load(tmp_path) == levels


@pytest.mark.slow
@pytest.mark.parametrize("name", list(table("torus_d1_d2")))
def test_torus_counts(name):
    row = table("torus_d1_d2")[name]
    assert ls.theory.torus_counts(row["K"], row["sigma2"]) == pytest.approx(
        row["E_by_index"], rel=1e-12
    )


def test_torus_counts_of_a_lopsided_field():
    waves, variances = [[1, 0], [0, 1], [2, 1]], [1.0, 3.0, 0.5]
    k, v = np.array(waves, dtype=float), np.array(variances)
    g = np.random.default_rng(2).standard_normal((400_000, 3)) * np.sqrt(v)
    h = np.abs(g @ k[:, 0] ** 2 * (g @ k[:, 1] ** 2) - (g @ (k[:, 0] * k[:, 1])) ** 2)
    scale = 2 * math.pi / math.sqrt(np.linalg.det((k.T * v) @ k))
    error = scale * h.std() / len(h) ** 0.5
    assert abs(sum(ls.theory.torus_counts(waves, variances)) - scale * h.mean()) < 4 * error


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_isotropic_counts(dim):
    row = table("isotropic_fields")[str(dim)]
    assert ls.theory.isotropic_counts(dim) == pytest.approx(
        row["density_by_index_over_(mu/m)^(d/2)"], rel=1e-12
    )


def test_precision_of_mpmath_is_left_alone():
    before = mp.mp.dps
    ls.theory.goe_index(7)
    ls.theory.pspin_counts(3)
    assert mp.mp.dps == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ls.theory.goe_index(0), "n must be a whole number of at least 1, got 0"),
        (lambda: ls.theory.goe_index(51), "log=True"),
        (lambda: ls.theory.index_fraction(math.nan), "finite"),
        (lambda: ls.theory.pspin_counts(1), "spins must be a whole number of at least 2, got 1"),
        (
            lambda: ls.theory.pspin_thresholds(2),
            "order must be a whole number of at least 3, got 2",
        ),
        (lambda: ls.theory.torus_counts([[1, 0, 0]]), "one or two"),
        (lambda: ls.theory.torus_counts([[1], [2, 3]]), "even rows"),
        (lambda: ls.theory.torus_counts([[1, 0]]), "span"),
        (lambda: ls.theory.torus_counts([[1]], [-1.0]), "positive"),
    ],
)
def test_faults_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_rare_indices_have_a_width() -> None:
    """The waves of one torus: few of 100 sampled Hessians in six dimensions are definite, and none need be."""
    waves = [[int(i == j) for j in range(6)] for i in range(6)] + [[1] * 6]
    few = ls.theory.torus_counts_sampled(waves, samples=100)
    many = ls.theory.torus_counts_sampled(waves, samples=40_000, seed=1)
    for sampled, known in zip(few, many, strict=True):
        assert 0 < sampled.error < math.inf
        assert sampled.low < sampled.high
        assert sampled.low - 4 * known.error <= known.value <= sampled.high + 4 * known.error
