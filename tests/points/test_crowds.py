"""Bars of eigenvalues that are near each other hold the population's, and those far apart are as
they were.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import landscape as ls
from landscape.points.crowds import NONE, Unseen, alone, conservative
from landscape.points.look import Look
from landscape.points.room import room
from landscape.results import statistics
from landscape.results.statistics import Spread, student


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def raised(
    values: torch.Tensor, errors: torch.Tensor, unseen: Unseen = NONE, freedom: int = 200
) -> torch.Tensor:
    bounds = torch.full_like(values, 1e-12)
    return conservative(values, bounds, Spread(errors, freedom, 0.0), unseen).errors


def test_two_values_are_one_where_their_bars_meet() -> None:
    """With the freedom of both; then each bar reaches over one about their mean, no farther."""
    errors, q, reach = tensor(1.0, 1.0), student(2 * 200), student(200)
    for gap, meet in ((2 * q - 1e-9, True), (2 * q + 1e-9, False)):
        found = raised(tensor(5.0, 5.0 + gap), errors)
        assert torch.equal(found, errors) != meet
        if meet:
            assert (reach * found).tolist() == pytest.approx([gap / 2 + reach] * 2)


def test_a_gap_of_two_that_are_one_is_rarely_taken_for_more() -> None:
    """Their gap has Rayleigh's law with the scale 2^{1/2} errors (GOE of order two)."""
    rayleigh = stats.rayleigh(scale=2**0.5)
    assert rayleigh.sf(2 * student(400)) == pytest.approx(0.021, abs=0.001)


def test_values_far_apart_keep_their_errors_to_the_last_bit() -> None:
    values, errors = tensor(-3.0, 0.1, 1.0, 8.0), tensor(0.1, 1 / 30, 0.05, 0.7)
    far = alone(tensor(0.3, 0.4))
    for freedom in (1, 200):
        small = errors if freedom == 200 else 1e-2 * errors
        assert torch.equal(raised(values, small, far, freedom), small)


def test_a_ladder_is_no_crowd() -> None:
    """Fifty values of which each bar meets the next: the first and the last are apart."""
    values, errors = torch.arange(50, dtype=torch.float64), torch.full((50,), 0.3).double()
    found = student(200) * raised(values, errors)
    # the mean of those around is the value itself
    assert float(found.min()) == pytest.approx(0.3 * student(200))
    assert 0.6 < float(found.max()) < 15


@pytest.mark.parametrize("bad", [math.nan, 1e-13], ids=["unknown", "no more than rounding"])
def test_what_is_not_known_stays_so_and_what_rounding_hides_is_no_neighbour(bad: float) -> None:
    errors = tensor(1.0, bad)
    found = raised(tensor(5.0, 5.5), errors)
    assert torch.equal(found[1:], errors[1:]) or (math.isnan(bad) and bool(found[1].isnan()))
    assert (float(found[0]) > 1) == math.isnan(bad)


def test_what_was_not_asked_for_is_a_neighbour() -> None:
    """The k-th of k beside a hundred that were not looked for."""
    values, errors = tensor(10.0, 20.0), tensor(0.5, 0.5)
    near = alone(torch.linspace(5, 9.9, 100, dtype=torch.float64))
    first, second = raised(values, errors, near)
    assert 10 - student(200) * float(first) < 7.5  # the mean of all
    assert float(second) == 0.5
    zero = alone(torch.zeros(100_000, dtype=torch.float64))
    assert torch.equal(raised(tensor(1.0, 20.0), errors / 10, zero), errors / 10)


def _linear(count: int, n: int, random: np.random.Generator) -> ls.ModelLandscape:
    """Least squares with inputs whose squares all have the mean 1: a Hessian 2 I."""
    x = torch.from_numpy(random.standard_normal((20 * count, n)))
    batches = [(part, part[:, :1]) for part in x.split(20)]
    net = nn.Linear(n, 1, bias=False, dtype=torch.float64)
    return ls.ModelLandscape(net, nn.functional.mse_loss, batches)


@pytest.mark.slow
def test_a_model_has_the_errors_of_closed_form() -> None:
    """2 mean xx': both ends of its spectrum, and the sharpness that SGD feels, reach over 2."""
    f = _linear(10, 3, np.random.default_rng(1))
    x = np.random.default_rng(1).standard_normal((200, 3))
    values, vectors = np.linalg.eigh(2 * x.T @ x / len(x))
    forms = 2 * ((x @ vectors) ** 2).reshape(10, 20, 3).mean(1) / 10
    every = statistics.sampling_spread(torch.from_numpy(forms), torch.full((10,), 0.1).double())
    expected = raised(torch.from_numpy(values), every.errors, freedom=every.freedom)
    found = ls.points.spectrum(f, largest=2, smallest=1)
    torch.testing.assert_close(found.sampling_errors, expected)
    assert ((found.pairs.values - 2).abs() <= found.sampling_reach * expected).all()
    optimizer = torch.optim.SGD(f.model.parameters(), lr=0.1)
    sharpness = room(Look(f, None, "test"), optimizer, ls.Hessian(f).dense()).sharpness
    top = statistics.sampling_reach(9) * float(every.errors[-1])
    assert sharpness.low < values[0] < 2 < values[-1] + top < sharpness.high


def test_an_analysis_and_a_spectrum_raise_the_same_errors_and_say_so() -> None:
    f = _linear(10, 8, np.random.default_rng(0))
    report = ls.analyze(f, largest=2, smallest=2)
    spectrum = ls.points.spectrum(f, largest=2, smallest=2)
    # what lies between is known to the one, and estimated by the other
    assert torch.allclose(report.sampling_errors, spectrum.sampling_errors, rtol=1e-2)
    assert report.sampling_raised == 4
    assert "errors here reach over the mean of all that are as near" in " ".join(
        str(report).split()
    )
    again = ls.analyze(f, largest=2, smallest=2, known=report)
    assert torch.equal(report.sampling_errors, again.sampling_errors)
