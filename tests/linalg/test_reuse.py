"""What a search for eigenpairs has seen serves the density and the trace: the same numbers for fewer products."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

import landscape as ls


class Diagonal:
    """A diagonal matrix that counts its products; its spectrum is what it is made of."""

    def __init__(self, values: torch.Tensor) -> None:
        n = len(values)
        self.values, self.shape, self.products = values, (n, n), 0
        self.dtype, self.device = values.dtype, values.device

    def __matmul__(self, V: torch.Tensor, /) -> torch.Tensor:
        self.products += 1 if V.ndim == 1 else V.shape[1]
        return self.values * V if V.ndim == 1 else self.values[:, None] * V


def spectrum(n: int = 1000) -> torch.Tensor:
    """Ten outliers over a heavy bulk with a fifth of its values negative, as networks have."""
    generator = torch.Generator().manual_seed(0)
    bulk = torch.exp(2 * torch.randn(n - 10, generator=generator, dtype=torch.float64) - 7)
    signs = torch.where(torch.rand(n - 10, generator=generator) < 0.2, -0.3, 1.0)
    return torch.cat([bulk * signs, torch.logspace(0, 1, 10, dtype=torch.float64)])


def test_the_first_start_of_a_search_is_the_first_probe_of_the_density() -> None:
    A = Diagonal(spectrum())
    pairs = ls.eigsh(A, 8, 2, seed=5)
    spent = A.products
    short = ls.spectral_density(A, 3, 20, 5, known=pairs)
    assert A.products - spent == short.products == 40
    whole = ls.spectral_density(A, 3, 20, 5)
    assert torch.allclose(short.nodes, whole.nodes, rtol=1e-10, atol=1e-12)
    assert torch.allclose(short.masses, whole.masses, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("other", ["seed", "steps", "operator"])
def test_what_was_seen_otherwise_is_not_taken(other: str) -> None:
    A = Diagonal(spectrum())
    pairs = ls.eigsh(A, 8, 2, seed=5)
    B = Diagonal(spectrum(900)) if other == "operator" else A
    seed, steps = (6 if other == "seed" else 5), (300 if other == "steps" else 20)
    found = ls.spectral_density(B, 2, steps, seed, known=pairs)
    assert found.products == 2 * steps


def test_the_trace_beside_known_pairs() -> None:
    """Against the sum of the spectrum: 95 % intervals hold as often as they say, and are the shorter ones."""
    values = spectrum()
    A, truth, seeds = Diagonal(values), float(values.sum()), 60
    pairs = ls.eigsh(A, 10, 10)
    spent = A.products
    found = [ls.trace(A, probes=12, seed=seed, known=pairs) for seed in range(seeds)]
    assert A.products - spent == 12 * seeds
    held = sum(one.low <= truth <= one.high for one in found)
    assert binom.cdf(held, seeds, 0.95) > 1e-3
    off = np.sqrt(np.mean([(one.value - truth) ** 2 for one in found]))
    alone = [ls.trace(A, probes=30, seed=seed) for seed in range(20)]
    assert off < np.sqrt(np.mean([(one.value - truth) ** 2 for one in alone]))
    assert np.mean([one.error for one in found]) < 2 * off
