"""Counts against dimension: tables of exact means, families evaluated together and alone, intervals that cover, runs taken up again."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import landscape as ls
from landscape.inventory import energies, families, realisations
from landscape.inventory.counting import DimensionCounts, _children, _whole
from landscape.operators.pointwise import derivatives
from landscape.results import statistics as shares
from landscape.zoo.fields import spin_couplings

_SPEC = importlib.util.spec_from_file_location(
    "counting", Path(__file__).parents[1] / "benchmarks" / "counting.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
tables = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tables)

TRUTHS = tables.every()
REALISATIONS = 200


def wells(dim: int, seed: int) -> ls.FunctionLandscape:
    """Uncoupled double wells with tilts too weak to remove any of the 3^dim points."""
    tilt = 0.1 * torch.randn(
        dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).clamp(-2, 2)
    return ls.FunctionLandscape(
        lambda x: (x**4 / 4 - x**2 / 2 + tilt.to(x) * x).sum(-1), dim, ls.Box(-3, 3)
    )


def hidden(dim: int, seed: int) -> ls.FunctionLandscape:
    """Bowls side by side, whose maximum and saddles are kinks that no search comes to."""
    return ls.FunctionLandscape(
        lambda x: (x - 4 * torch.round(x / 4)).square().sum(-1), dim, ls.Torus(4.0)
    )


# ---- exact means


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family", "dim", "exact"), TRUTHS, ids=[t[0] for t in TRUTHS])
def test_measured_means_are_the_exact_ones(
    name: str, family: families.Family, dim: int, exact: list[float]
) -> None:
    counts = ls.inventory.count_saddles(family, dim, REALISATIONS, seed=0)
    assert counts[dim].realisations == REALISATIONS
    assert counts[dim].right >= 0.99
    assert max(map(abs, tables.deviations(counts, dim, exact))) < 3
    expected = counts[dim].expected
    assert expected is not None
    assert expected.counts == pytest.approx(exact, rel=1e-9)
    assert not any(expected.errors)


@pytest.mark.slow
def test_intervals_of_measured_means_cover_the_exact_mean() -> None:
    """200 repetitions of 16 realisations each. Rice 1945: 2 sqrt(14 / 3) points, half of them minima."""
    k = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    counts = ls.inventory.count_saddles(
        families.waves(lambda dim: (k, None)), 1, 200 * 16, seed=3, starts=24
    )[1].counts
    exact = math.sqrt((1 + 16 + 81) / (1 + 4 + 9))
    found = [shares.mean(rows[:, 0]) for rows in counts.split(16)]
    inside = sum(m.low <= exact <= m.high for m in found)
    assert 180 <= inside <= 198  # of 200 draws with chance 0.95: outside this with chance 0.004


def test_intervals_of_shares_cover_the_exact_share() -> None:
    """Realisations with points that go together: all of one kind, or none, so that they are worth far fewer than they are."""
    rng = np.random.default_rng(0)
    for exact, realised in ((0.3, 40), (0.06, 150)):
        inside = 0
        for _ in range(200):
            size = torch.from_numpy(rng.integers(1, 6, realised))
            kind = torch.from_numpy(rng.random(realised) < exact)
            found = shares.share(size * kind, size)
            inside += found.low <= exact <= found.high
        assert (
            180 <= inside <= 199
        )  # the interval of Clopper and Pearson covers no less than it says


def test_a_share_that_was_not_met_has_an_upper_end() -> None:
    none, all_ = torch.zeros(30), torch.full((30,), 4.0)
    found = shares.share(none, all_)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(
        1 - 0.025 ** (1 / 30), rel=1e-12
    )  # (1 - p)^30 = 0.025: realisations, not points
    assert shares.share(all_, all_).low == pytest.approx(0.025 ** (1 / 30), rel=1e-12)
    assert math.isnan(shares.share(none, none).value)


# ---- families


@pytest.mark.parametrize(
    ("family", "dim"),
    [
        (families.built_in("trigonometric", degree=2), 3),
        (families.isotropic_waves(), 4),
        (families.p_spin(2), 4),
        (families.p_spin(3), 5),
        (families.p_spin(4), 3),
    ],
    ids=["waves", "isotropic", "p2", "p3", "p4"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_together_is_each_alone(
    family: families.Family, dim: int, dtype: torch.dtype, device: torch.device
) -> None:
    seeds, labels = [3, 4, 5], torch.tensor([0, 0, 1, 2, 2], device=device)
    together = family.together(dim, seeds)
    assert together is not None
    alone = [family(dim, seed) for seed in seeds]
    X = alone[0].domain.sample(5, dim, torch.Generator().manual_seed(1)).to(device, dtype)
    f = [alone[i] for i in labels.tolist()]
    g, H = together.derivatives(X, labels)
    near: dict[str, Any] = (
        {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    )
    torch.testing.assert_close(
        together.value(X, labels), torch.stack([f[i].value(x) for i, x in enumerate(X)]), **near
    )
    for i, x in enumerate(X):
        slope, curvature = derivatives(f[i], x[None])
        torch.testing.assert_close(g[i], slope[0], **near)
        torch.testing.assert_close(H[i], curvature[0], **near)


def test_waves_are_those_of_the_zoo() -> None:
    x = torch.rand(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mine = families.built_in("trigonometric", degree=3)(2, 11).value(x)
    torch.testing.assert_close(
        mine, ls.zoo.load("trigonometric", dim=2, degree=3, seed=11).value(x)
    )


def test_nothing_is_made_without_a_device() -> None:
    """With a default device that holds no numbers any tensor made without one fails."""
    with torch.device("meta"):
        counts = ls.inventory.count_saddles("p-spin", [2, 3], 4)
    assert counts[3].right == 1


def test_sampled_counts_of_a_field_are_the_exact_ones() -> None:
    for dim in (2, 3):
        k, v = families._isotropic(dim)
        sampled = ls.theory.torus_counts_sampled(
            k.long().tolist(), v.tolist(), samples=40_000, seed=1
        )
        exact = [
            (2 * math.pi) ** dim * 3 ** (-dim / 2) * c for c in ls.theory.isotropic_counts(dim)
        ]
        assert max(abs(s.value - e) / s.error for s, e in zip(sampled, exact, strict=True)) < 3
        assert max(s.error / s.value for s in sampled) < 0.04


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dims"), [("styblinski-tang", [1, 2, 3, 4]), ("phi4-ring", [3, 4, 5])]
)
def test_families_without_chance_have_the_counts_of_the_zoo(name: str, dims: list[int]) -> None:
    counts = ls.inventory.count_saddles(name, dims)
    for dim in dims:
        found = counts[dim]
        truth = families.built_in(name)(dim, 0).counts  # type: ignore[attr-defined]
        assert found.realisations == 1
        assert found.counts[0].tolist() == [truth.get(k, 0) for k in range(dim + 1)]
        assert found.deviations == [0.0] * (dim + 1)
        assert found.total.error == 0


@pytest.mark.slow
def test_a_users_own_family() -> None:
    counts = ls.inventory.count_saddles(wells, [1, 2, 3], 8)
    for dim in (1, 2, 3):
        exact = [math.comb(dim, k) * 2 ** (dim - k) for k in range(dim + 1)]
        assert counts[dim].counts.tolist() == [exact] * 8
        assert counts[dim].right == 1
        assert counts[dim].minima.value == pytest.approx((2 / 3) ** dim)
        assert math.isnan(counts[dim].expected_minima)
    assert counts.name == "wells"


def test_equal_landscapes_of_different_seeds_are_told_apart() -> None:
    def same_every_time(dim: int, seed: int) -> ls.FunctionLandscape:
        return wells(dim, 0)

    found = ls.inventory.count_saddles(same_every_time, 2, 4)[2]
    assert found.counts.tolist() == [[4, 4, 1]] * 4
    # four alike do not make certain that a fifth is
    assert found.total.value == 9
    assert found.total.low < 9 < found.total.high
    assert int(found.starts.max()) < 6000  # no census was asked


@pytest.mark.slow
def test_values_and_indices_are_those_of_the_points() -> None:
    """Order 2: the eigenvalues of the couplings' symmetric part, n / 2 times each, twice, the index their rank."""
    family = families.p_spin(2)
    found = ls.inventory.count_saddles(family, 5, 3)[5]
    assert found.counts.tolist() == [[2] * 5] * 3
    assert found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    for number in range(3):
        J = spin_couplings(5, 2, _children(0, 5, number)[0]).reshape(5, 5)
        levels = 5 * torch.linalg.eigvalsh((J + J.T) / 2)
        mine = found.labels == number
        order = found.indices[mine].argsort(stable=True)
        torch.testing.assert_close(
            found.values[mine][order], levels.repeat_interleave(2), atol=1e-9, rtol=0
        )
        assert found.indices[mine][order].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


# ---- what is not whole


@pytest.mark.slow
def test_missing_points_are_reported_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realisations, "CENSUS", 100)
    counts = ls.inventory.count_saddles(hidden, 2, 3, starts=10)
    found = counts[2]
    assert found.counts.tolist() == [[1, 0, 0]] * 3
    assert found.right == 0
    assert found.incomplete.tolist() == [True] * 3
    assert (found.starts > 10).all()  # more starts, then a census


@pytest.mark.slow
def test_a_wrong_sum_gets_more_starts_and_then_is_right() -> None:
    counts = ls.inventory.count_saddles("isotropic-waves", 3, 20, starts=3)
    found = counts[3]
    assert found.right == 1
    assert (found.starts > 3).all()
    assert len(found.starts.unique()) > 1
    whole = ls.inventory.count_saddles("isotropic-waves", 3, 20)
    assert (found.counts == whole[3].counts).all(
        1
    ).sum() >= 19  # the same landscapes, searched otherwise


@pytest.mark.slow
def test_a_point_met_rarely_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Euler sum alone is right with two points missing of 81: with it as the only rule, some are."""
    dim, family = 4, families.built_in("phi4-ring")
    strict = realisations.tallies(family, dim, [(0, seed) for seed in range(8)], 100, 6400)
    monkeypatch.setattr(realisations, "SEEN", 0)
    lenient = realisations.tallies(family, dim, [(0, seed) for seed in range(8)], 100, 6400)
    assert [sum(t.counts) for t in strict] == [65] * 8
    assert all(t.euler == t.expected for t in lenient)
    assert min(sum(t.counts) for t in lenient) < 65


@pytest.mark.slow
def test_far_too_many_points_are_left_incomplete_in_time() -> None:
    """3^11 = 177,147 points and a few hundred searches: no census can help, and it would take minutes."""
    found = ls.inventory.count_saddles("styblinski-tang", 11, starts=5)[11]
    assert found.starts.tolist() == [5 + 10 + 20 + 40 + 80 + 160]
    assert found.incomplete.tolist() == [True]
    assert found.expected is not None
    assert found.total.value < 320 < sum(found.expected.counts) == 3**11


@pytest.mark.slow
def test_degenerate_points_stand_in_no_count() -> None:
    counts = ls.inventory.count_saddles(
        lambda dim, seed: ls.FunctionLandscape(lambda x: (x**4).sum(-1), dim, ls.Box(-1, 1)),
        1,
        2,
        starts=20,
    )
    assert counts[1].counts.tolist() == [[0, 0]] * 2
    assert counts[1].degenerate.tolist() == [1, 1]
    assert counts[1].complete.tolist() == [False, False]


# ---- runs taken up again


def same(one: DimensionCounts, other: DimensionCounts) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818  # not an error
        pass

    kept: list[ls.inventory.SaddleCounts] = []

    def keep(counts: ls.inventory.SaddleCounts) -> None:
        kept.append(ls.load(ls.results.save(counts, tmp_path)))
        if len(kept) == 2:
            raise Stop

    whole = ls.inventory.count_saddles("isotropic-waves", [1, 2], 100, seed=7)
    with pytest.raises(Stop):
        ls.inventory.count_saddles("isotropic-waves", [1, 2], 100, seed=7, keep=keep)
    assert not kept[-1].finished
    assert [d.realisations for d in kept[-1].dimensions] == [100, 66]
    again = ls.inventory.count_saddles("isotropic-waves", [1, 2], 100, seed=7, known=kept[-1])
    assert again.finished
    assert all(same(again[dim], whole[dim]) for dim in (1, 2))
    assert (again.lines, again.energy) == (whole.lines, whole.energy)


@pytest.mark.slow
def test_more_realisations_and_dimensions_extend_a_run() -> None:
    short = ls.inventory.count_saddles("isotropic-waves", 2, 30, seed=1)
    long = ls.inventory.count_saddles("isotropic-waves", [1, 2], 80, seed=1)
    extended = ls.inventory.count_saddles("isotropic-waves", [1, 2], 80, seed=1, known=short)
    again = ls.inventory.count_saddles("isotropic-waves", [1, 2], 110, seed=1, known=long)
    assert same(again[2], ls.inventory.count_saddles("isotropic-waves", 2, 110, seed=1)[2])
    assert all(same(extended[dim], long[dim]) for dim in (1, 2))
    torch.testing.assert_close(short[2].counts, long[2].counts[:30])
    other = ls.inventory.count_saddles("isotropic-waves", 2, 30, seed=2)
    assert not torch.equal(other[2].counts, short[2].counts)
    with pytest.raises(ValueError, match="seed 1, not 2"):
        ls.inventory.count_saddles("isotropic-waves", 2, 50, seed=2, known=short)


def test_a_block_that_is_not_whole_is_made_again() -> None:
    counts = ls.inventory.count_saddles("isotropic-waves", 2, 50, seed=1)[2]
    (kept,) = _whole(counts, 60, 20)
    assert kept.realisations == 40
    assert len(kept.values) == len(kept.indices) == int(counts.counts[:40].sum())
    assert torch.equal(kept.values, counts.values[counts.labels < 40])
    assert _whole(counts, 50, 20) == [counts]
    assert _whole(counts, 90, 60) == []


def test_counts_are_stored(tmp_path: Path) -> None:
    counts = ls.inventory.count_saddles("p-spin", [2, 3], 20)
    again = ls.load(counts.save(tmp_path))
    assert all(same(again[dim], counts[dim]) for dim in (2, 3))
    assert (again.lines, again.energy, again.provenance) == (
        counts.lines,
        counts.energy,
        counts.provenance,
    )
    assert again.complexity.limit == counts.complexity.limit  # type: ignore[union-attr]
    with pytest.raises(KeyError, match="dimension 4 was not counted; 2, 3"):
        counts[4]


def test_the_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before, numpy_before = (
        torch.get_rng_state(),
        np.random.get_state(legacy=False)["state"]["key"].copy(),
    )
    ls.inventory.count_saddles(lambda dim, seed: wells(dim, int(torch.randint(9, ()))), 1, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state(legacy=False)["state"]["key"] == numpy_before).all()


# ---- energies


@pytest.mark.slow
def test_index_against_energy_is_the_exact_law_of_the_glass() -> None:
    counts = ls.inventory.count_saddles("p-spin", 4, 200, seed=1)
    law = counts.energy
    assert law is not None
    assert law.directions == 3
    w = np.sort(counts[4].values.numpy()) / (4 * ls.theory.pspin_thresholds(3).e_inf)

    def deviations(curve: list[float]) -> list[float]:
        """Of each bin from the mean of the curve over its points."""
        means = [
            part.mean() for part in np.array_split(np.interp(w, law.curve, curve), len(law.shares))
        ]
        return [abs(s.value - m) / s.error for s, m in zip(law.shares, means, strict=True)]

    assert max(deviations(law.finite)) < 3.5
    assert max(deviations(law.limit)) > 3.5  # three directions are not many


def test_the_units_of_energy_of_a_field() -> None:
    """f(t) = exp(-t), so f = -f' = f'' at 0: w = eps / 2 (Bray and Dean)."""
    n = 3
    k, v = families._isotropic(n)
    m, mu, isotropic = families._moments(k, v)
    w = families._level(k, v)
    assert isotropic
    assert w is not None
    share, total = 1 / len(k), float(v.sum())
    f0, f1, f2 = share * total / n, -share * m, share * n * mu
    assert w == pytest.approx(math.sqrt(f2) * abs(f1) / (n * (f0 * f2 + f1**2)), rel=1e-12)
    many = families.isotropic_waves().together(n, range(1000))
    assert many is not None
    drawn = many.value(torch.zeros(1000, n, dtype=torch.float64), torch.arange(1000))
    assert float(drawn.var()) == pytest.approx(n * f0, rel=0.15)


def test_complexity_is_the_logarithm_of_counts() -> None:
    family = families.p_spin(3)
    values, indices = torch.tensor([-7.0, -5.0, -4.5, 1.0]), torch.tensor([0, 0, 1, 2])
    found = energies.complexity(family, 4, values.double(), indices, 2)
    assert found is not None
    end = dict(zip(found.levels, found.measured[0], strict=True))
    below = [v for e, v in end.items() if -7 / 4 <= e < -5 / 4]
    assert below
    assert below == pytest.approx([math.log(1 / 2) / 4] * len(below))
    assert found.measured[0][-1] == pytest.approx(math.log(2 / 2) / 4)
    ground = -found.thresholds.e_index[0]
    assert np.interp(ground, found.energies, found.limit[0]) == pytest.approx(0, abs=1e-4)


# ---- faults


def nothing(dim: int, seed: int) -> Any:
    """What is no formula."""
    return None


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ls.inventory.count_saddles("p-spn", 2), ValueError, "Did you mean 'p-spin'"),
        (lambda: ls.inventory.count_saddles("himmelblau", 2), ValueError, "no number of variables"),
        (lambda: ls.inventory.count_saddles("p-spin", 1), ValueError, "at least 2"),
        (lambda: ls.inventory.count_saddles("isotropic-waves", [2, 5]), ValueError, "from 1 to 4"),
        (lambda: ls.inventory.count_saddles("p-spin", []), ValueError, "dims must"),
        (lambda: ls.inventory.count_saddles("p-spin", 2, 0), ValueError, "realisations must"),
        (lambda: ls.inventory.count_saddles("p-spin", 2, seed=-1), ValueError, "seed must"),
        (lambda: ls.inventory.count_saddles("p-spin", 2, starts=0), ValueError, "starts must"),
        (lambda: ls.inventory.count_saddles(7, 2), TypeError, "a family is"),  # type: ignore[arg-type]
        (
            lambda: ls.inventory.count_saddles(nothing, 2),
            TypeError,
            "must give a formula",
        ),
        (lambda: families.built_in("p-spin", oder=3), ValueError, "Did you mean 'order'"),
        (lambda: ls.theory.torus_counts_sampled([[1, 0, 0]]), ValueError, "span"),
    ],
)
def test_faults_are_named(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_family_that_is_finite_nowhere() -> None:
    with pytest.raises(ls.NumericalError, match="dim=2"):
        ls.inventory.count_saddles(
            lambda dim, seed: ls.FunctionLandscape(lambda x: x.sum(-1) * float("nan"), dim), 2, 2
        )


@pytest.mark.slow
def test_ordinary_realisations_settle_by_their_own_euler_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong sum would send each of them to a census, which is right and slow and would hide it."""

    def refused(*_: object) -> None:
        raise AssertionError("a census was made")

    monkeypatch.setattr("landscape.inventory.realisations._by_census", refused)
    counted = ls.inventory.count_saddles("isotropic-waves", [2, 3], 20, seed=0)
    for d in counted.dimensions:
        signs = torch.tensor([(-1) ** k for k in range(d.dim + 1)])
        assert torch.equal(d.euler, d.counts @ signs)
        assert d.right == 1.0


def test_points_that_a_symmetry_pairs_are_counted_in_pairs() -> None:
    """x^T A x on a sphere has 2 n points; an index that none of R realisations has may come by two."""

    def family(dim: int, seed: int) -> ls.FunctionLandscape:
        A = torch.diag(torch.arange(1.0, dim + 1, dtype=torch.float64) + seed % 7)
        return ls.FunctionLandscape(lambda x: ((x @ A.to(x)) * x).sum(-1), dim, ls.Sphere(1.0))

    counts = ls.inventory.count_saddles(family, 3, 3, starts=100)[3]
    assert counts.together == 2
    reach = -math.log(0.025) / 3
    assert counts.total.high == pytest.approx(6 + reach * 8)
    assert counts.means[0].high == pytest.approx(2 + reach * 4)


def test_what_no_realisation_showed_is_said() -> None:
    """1 - 0.05^(1/R): with that share of them, R realisations miss it in 5 % of studies."""
    counts = ls.inventory.count_saddles("isotropic-waves", 1, 10, seed=3)
    unmet = counts[1].unmet
    assert (1 - unmet) ** 10 == pytest.approx(0.05)
    assert "happens in less than 26 % of all (95 %)" in " ".join(str(counts).split())
    sure = ls.inventory.count_saddles("styblinski-tang", 1)
    assert sure[1].unmet == 0
    assert "intervals" not in str(sure)
