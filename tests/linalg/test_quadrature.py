"""Truth: given spectra. What quadrature promises is certain (moments, inequalities) or statistical (over seeds)."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from landscape import results
from landscape.errors import NumericalError
from landscape.linalg.lanczos import eigsh
from landscape.linalg.quadrature import spectral_density

F = torch.float64
INF = float("inf")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


def uniform(n, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(n, dtype=F, generator=torch.Generator().manual_seed(n))


def semicircle(n):
    M = torch.randn(n, n, dtype=F, generator=torch.Generator().manual_seed(0))
    return torch.linalg.eigvalsh((M + M.T) / (8 * n) ** 0.5)


SPECTRA = {
    "uniform": uniform(2000),
    "semicircle": semicircle(600),
    "outliers": torch.cat([uniform(2000, 0, 0.1), torch.tensor([5.0, 6.0, 7.0], dtype=F)]),
    # as of a detector: 900 negative ones from -0.1 to -1e-4, a bulk around 0, large positive ones
    "edge": torch.cat(
        [
            -(10.0 ** (-3 * uniform(900) - 1)),
            10 * uniform(20),
            1e-3 * semicircle(600),
            uniform(500, 0, 1e-3),
        ]
    ),
    "rank deficient": torch.cat([torch.zeros(1900, dtype=F), uniform(100, 0.5)]),
    "two values": torch.tensor([0.0] * 900 + [1.0] * 100, dtype=F),
    "identity": torch.ones(300, dtype=F),
}
INTERVALS = [
    (-INF, -1e-3),
    (-INF, 0.05),
    (0.25, 0.5),
    (0.3, INF),
    (5.5, 6.5),
    (-1e-3, 1e-2),
    (-INF, INF),
    (-0.5, -0.4),
]


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", SPECTRA)
def test_counts_hold_the_truth(name, dtype, diagonal, device):
    d = SPECTRA[name].to(dtype)
    held = tried = 0
    for seed in range(4):
        density = spectral_density(diagonal(d.to(device)), probes=8, steps=40, seed=seed)
        for lo, hi in INTERVALS:
            got, truth = density.count(lo, hi), int(((d >= lo) & (d <= hi)).sum())
            assert 0 <= got.low <= got.value <= got.high <= len(d)
            held, tried = held + (got.low <= truth <= got.high), tried + 1
    assert held >= binom.ppf(1e-3, tried, 0.95)  # a 95 % interval may miss


@pytest.mark.slow
def test_counts_are_not_uselessly_loose(diagonal):
    d = torch.cat([uniform(3000, -0.1, 0.1), torch.tensor([4.0, 5.0], dtype=F)])
    density = spectral_density(diagonal(d), probes=40, steps=40)
    outliers = density.count(3, INF)
    assert outliers.high - outliers.low < 2.0
    assert abs(outliers.value - 2) < 1
    assert density.count(0.2, 3.5).high < 0.1  # a gap is seen to be one
    assert density.count(-INF, INF).low > 3001.9
    half = density.count(0, INF)
    assert half.high - half.low < 0.12 * 3002
    finer = spectral_density(diagonal(d), probes=40, steps=160).count(0, INF)
    assert finer.high - finer.low < 0.5 * (half.high - half.low)


def test_the_interval_knows_what_the_spread_hides(diagonal):
    """Many eigenvalues near an edge, seen through few steps: the probes agree with each other and are all wrong."""
    d = SPECTRA["edge"]
    density = spectral_density(diagonal(d), probes=10, steps=20)
    truth = int((d < -1e-3).sum())
    got = density.count(-INF, -1e-3)
    shared = density.nodes < -1e-3
    naive = float(density.weights[shared].sum()) * len(d)
    spread = float((density.masses @ shared.to(F)).std()) * len(d) / 10**0.5
    assert abs(naive - truth) > 4 * spread
    assert got.low <= truth <= got.high


@DTYPES
def test_moments_are_those_of_the_probes(dtype, diagonal: Any):
    """The quadrature is exact: one probe's mean of lambda^k is z' H^k z, computed here directly."""
    d = uniform(500, -1, 1).to(dtype)
    seen: list[Any] = []

    class Spy(diagonal):
        def __matmul__(self, V):
            if not seen:
                seen.append(V.clone())
            return super().__matmul__(V)

    density = spectral_density(Spy(d), probes=3, steps=12)
    Z = seen[0].double()
    for k in range(12):
        direct = ((Z * Z) * d.double()[:, None] ** k).sum(0)
        assert torch.allclose(
            density.masses @ density.nodes**k, direct, atol=20 * torch.finfo(dtype).eps
        )
        got = density.moment(k)
        assert got.value == pytest.approx(float(direct.mean()), abs=20 * torch.finfo(dtype).eps)
        if k in (
            1,
            2,
            3,
        ):  # the law of the forms: variance 2 |A|^2 / n^2 less what the sphere takes
            powers = d.double() ** k
            law = (2 * float((powers - powers.mean()).square().sum()) / 3) ** 0.5 / 500
            assert got.error == pytest.approx(law, rel=0.1)
    assert density.products == 36


def test_moments_cover_the_truth(diagonal):
    d = uniform(400, -1, 2)
    held = dict.fromkeys((1, 2, 3), 0)
    for seed in range(100):
        density = spectral_density(diagonal(d), probes=6, steps=5, seed=seed)
        for k in held:
            got = density.moment(k)
            held[k] += got.low <= float((d**k).mean()) <= got.high
    for k, count in held.items():
        assert 88 <= count <= 99, k


def test_weights_are_shares_with_their_errors(diagonal):
    d = uniform(1000)
    density = spectral_density(diagonal(d), probes=10, steps=20)
    assert density.nodes.shape == density.weights.shape == density.errors.shape == (20,)
    assert density.masses.shape == (10, 20)
    assert float(density.weights.sum()) == pytest.approx(1, abs=1e-12)
    assert (density.weights > 0).all()
    assert (density.nodes.diff() > 0).all()
    expected = (2 * density.weights / (1000 * 10)).sqrt()
    assert 0.7 < float((density.errors / expected).median()) < 1.4


def test_errors_are_those_of_a_repetition(diagonal):
    d = torch.cat([uniform(500), torch.tensor([3.0], dtype=F)])
    runs = [spectral_density(diagonal(d), probes=6, steps=10, seed=s) for s in range(60)]
    spread = np.std([float(r.weights[-1]) for r in runs])
    assert np.mean([float(r.errors[-1]) for r in runs]) == pytest.approx(spread, rel=0.3)


def test_steps_and_probes_beyond_what_there_is(diagonal):
    density = spectral_density(diagonal(torch.tensor([1.0, 2.0, 4.0], dtype=F)), probes=5, steps=80)
    assert density.complete
    assert density.nodes.tolist() == pytest.approx([1, 2, 4])
    assert density.products == 15
    single = spectral_density(torch.full((1, 1), 3.0, dtype=F), probes=2)
    assert single.count(2, 4).value == pytest.approx(1)
    assert single.count(4, 5).value == 0
    zero = spectral_density(torch.zeros(4, 4, dtype=F), probes=2)
    assert zero.nodes.tolist() == [0]
    assert zero.count(0, 0).value == pytest.approx(4)


def test_one_by_one_is_side_by_side(diagonal, monkeypatch):
    d = uniform(300)
    side = spectral_density(diagonal(d), probes=4, steps=10)
    monkeypatch.setattr("landscape.linalg.quadrature.MEMORY", 1)
    one = spectral_density(diagonal(d), probes=4, steps=10)
    assert torch.allclose(side.nodes, one.nodes, atol=1e-12)
    assert torch.allclose(side.masses, one.masses, atol=1e-10)


@pytest.mark.parametrize("steps", [11, 12, 20])
def test_nodes_of_few_eigenvalues_are_eigenvalues(steps, diagonal):
    """Eleven that lie six decades apart: rounding holds apart what several probes see of one."""
    ends = torch.logspace(0, 3, 10, dtype=F)
    values = torch.cat([torch.full((90,), 1e-3, dtype=F), ends])
    for seed in range(8):
        density = spectral_density(diagonal(values), probes=3, steps=steps, seed=seed)
        assert density.complete
        assert torch.allclose(density.nodes, values[89:], rtol=0, atol=1e-11)
        assert torch.allclose(density.masses.sum(1), torch.ones(3, dtype=F))
        moment = density.moment(1)
        assert moment.low <= float(values.mean()) <= moment.high


def test_no_tensor_without_a_device(diagonal, no_default_device):
    density = spectral_density(diagonal(torch.arange(50, dtype=F, device="cpu")), probes=2, steps=5)
    assert density.count(0, 10).high > 0
    assert density.moment(1).value > 0


def test_a_result_survives_storage(diagonal, tmp_path):
    density = spectral_density(diagonal(uniform(100)), probes=3, steps=6)
    again = results.load(results.save(density, tmp_path))
    assert again.count(0.2, 0.4) == density.count(0.2, 0.4)


@pytest.mark.parametrize("monkey", [False, True], ids=["side by side", "one by one"])
def test_a_product_that_is_not_finite_is_named(monkey, diagonal, monkeypatch):
    if monkey:
        monkeypatch.setattr("landscape.linalg.quadrature.MEMORY", 1)
    with pytest.raises(NumericalError, match=r"product 17 "):
        spectral_density(diagonal(uniform(300), fails_at=17), probes=4, steps=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 1}, "probes must be a whole number of at least 2"),
        ({"steps": 1}, "steps must be a whole number of at least 2"),
    ],
)
def test_a_mistake_is_one_message(options, message):
    with pytest.raises(ValueError, match=message):
        spectral_density(torch.eye(5), **options)
    density = spectral_density(torch.eye(5))
    with pytest.raises(ValueError, match="lo <= hi"):
        density.count(2, 1)
    with pytest.raises(ValueError, match="lo <= hi"):
        density.count(float("nan"), 1)
    with pytest.raises(ValueError, match="k must be 0 or more"):
        density.moment(-1)


BANDS = {
    "semicircle": semicircle(300),
    "1 / i": 1 / torch.arange(300, 0, -1, dtype=F),
    "threefold": torch.linspace(-1, 1, 100, dtype=F).repeat_interleave(3),
    "two values": torch.tensor([-1.0, 1.0], dtype=F).repeat_interleave(150),
    "few large": torch.cat([torch.zeros(297, dtype=F), torch.tensor([1.0, 5.0, 100.0], dtype=F)]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("probes", "steps"), [(2, 40), (10, 12)])
@pytest.mark.parametrize("name", BANDS)
def test_a_band_holds_at_all_levels_at_once(name, probes, steps):
    values = BANDS[name]
    beside = torch.cat([values - 1e-9, values + 1e-9])
    levels = torch.cat([beside[::40], torch.linspace(-1.5, 1.5, 17, dtype=F)])
    truth = (values[None] <= levels[:, None]).sum(1)
    runs, wrong = 40, 0
    for seed in range(runs):
        density = spectral_density(torch.diag(values), probes=probes, steps=steps, seed=seed)
        low, high = density.band(levels)
        wrong += bool(((low > truth + 1e-6) | (high < truth - 1e-6)).any())
    assert wrong <= binom.ppf(0.999, runs, 0.05)


@DTYPES
def test_a_band_counts_known_pairs_one_by_one(dtype):
    """Above the bulk it says the number exactly, as far as the bulk lets it."""
    values = SPECTRA["outliers"].to(dtype)
    H = torch.diag(values)
    known = eigsh(H, largest=3)
    low, high = spectral_density(H, probes=3, steps=20, known=known).band([-1.0, 4.0, 5.5, 8.0])
    assert high[0] - low[0] <= 200  # of 2,000
    assert (high[2:] - low[2:] <= high[1] - low[1] + 1e-6).all()
    assert low[3] > 1800
    assert (low <= torch.tensor([0.0, 2000.0, 2001.0, 2003.0])).all()
    assert (high >= torch.tensor([0.0, 2000.0, 2001.0, 2003.0])).all()
