"""Truth: the sum of a given spectrum. Over seeds the errors must be as large as the deviations, and no larger."""

import numpy as np
import pytest
import torch

from landscape.errors import NumericalError
from landscape.linalg.trace import trace

F = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
GENERATOR = torch.Generator().manual_seed(0)
SPECTRA = {
    "flat": torch.rand(1000, dtype=F, generator=GENERATOR),
    "indefinite": torch.randn(1000, dtype=F, generator=GENERATOR),
    "decaying": 1 / torch.arange(1, 1001, dtype=F) ** 2,
    "outliers": torch.cat(
        [
            torch.tensor([100.0, 50.0, -20.0], dtype=F),
            1e-2 * torch.rand(997, dtype=F, generator=GENERATOR),
        ]
    ),
}


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", SPECTRA)
def test_errors_are_calibrated(name, dtype, diagonal):
    d = SPECTRA[name].to(dtype)
    truth = float(d.double().sum())
    got = [trace(diagonal(d), seed=s) for s in range(200)]
    deviations = np.array([t.value - truth for t in got])
    errors = np.array([t.error for t in got])
    assert (np.abs(deviations) <= 3 * errors).mean() >= 0.96
    assert np.mean([t.low <= truth <= t.high for t in got]) >= 0.93
    reach = np.mean([(t.high - t.low) / 2 for t in got])
    assert reach <= 1.6 * 1.96 * deviations.std()  # wider than a normal law's, by little
    assert 0.75 <= np.sqrt((errors**2).mean()) / np.sqrt((deviations**2).mean()) <= 1.3
    assert abs(deviations.mean()) <= 4 * deviations.std() / 200**0.5  # no bias
    assert {t.products for t in got} == {30}


def test_much_better_than_hutchinson_where_the_spectrum_decays(diagonal):
    d = SPECTRA["outliers"]
    hutchinson = (2 * float((d**2).sum()) / 30) ** 0.5
    assert trace(diagonal(d)).error < hutchinson / 100


@pytest.mark.parametrize("n", [1, 2, 30])
@DTYPES
def test_small_is_exact(n, dtype, device):
    M = torch.randn(n, n, dtype=F, generator=torch.Generator().manual_seed(1)).to(dtype)
    M = (M + M.T).to(device)
    t = trace(M)
    assert t.value == pytest.approx(float(M.double().trace()), rel=1e-12)
    assert (t.error, t.low, t.high, t.products) == (0, t.value, t.value, n)


@DTYPES
@pytest.mark.parametrize(("rank", "shift"), [(0, 0.0), (0, 2.0), (1, 0.0), (5, 0.0), (10, 0.0)])
def test_low_rank_and_a_multiple_of_identity_are_exact_to_rounding(rank, shift, dtype, diagonal):
    d = torch.full((500,), shift, dtype=dtype)
    d[:rank] += torch.arange(1, rank + 1, dtype=dtype)
    t = trace(diagonal(d))
    truth = float(d.double().sum())
    assert t.low <= truth <= t.high
    assert t.error <= 1e-5 * abs(truth)


def test_seed_decides_and_global_state_is_left_alone(diagonal):
    before = torch.get_rng_state()
    d = SPECTRA["flat"]
    a, b, c = (trace(diagonal(d), seed=s) for s in (0, 0, 1))
    assert a == b
    assert a.value != c.value
    assert torch.equal(before, torch.get_rng_state())


def test_products_are_counted_and_bounded(diagonal):
    for probes in (6, 7, 31, 100):
        H = diagonal(SPECTRA["flat"])
        assert trace(H, probes=probes).products == H.products == probes


@pytest.mark.parametrize("at", [1, 10, 15, 30])
def test_a_product_that_is_not_finite_is_named(at, diagonal):
    with pytest.raises(NumericalError, match=rf"product {at} .*loss is finite"):
        trace(diagonal(SPECTRA["flat"], fails_at=at))


def test_no_tensor_without_a_device(diagonal, no_default_device):
    assert trace(diagonal(SPECTRA["flat"])).error > 0
    assert trace(diagonal(SPECTRA["flat"][:7])).error == 0


def test_a_mistake_is_one_message():
    with pytest.raises(ValueError, match="probes must be at least 6, got 5"):
        trace(torch.eye(9), probes=5)
    with pytest.raises(ValueError, match="square"):
        trace(torch.ones(2, 3))
