"""What a search for eigenpairs has seen serves the density and the trace: the same numbers for fewer products."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

import landscape as ls
from landscape.operators.base import SymmetricOperator


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


def test_pairs_that_are_known_save_the_density_steps_and_a_probe() -> None:
    A = Diagonal(spectrum())
    pairs = ls.eigsh(A, 8, 2, seed=5)
    spent = A.products
    short = ls.spectral_density(A, 3, 20, 5, known=pairs)
    counted = len(short.known)
    assert 5 <= counted <= 10
    # the search's first and last start are probes, and a node for each outlier is saved by the other
    assert A.products - spent == short.products == max(20 - counted, 10)
    assert short.nodes.diff().min() > 0
    assert torch.equal(short.weights[short.known], torch.full((counted,), 1e-3, dtype=A.dtype))
    assert float(short.errors[short.known].abs().max()) == 0
    assert float(short.weights.sum()) == pytest.approx(1, abs=1e-12)
    assert np.isin(short.nodes[short.known].numpy(), pairs.values.numpy()).all()


@pytest.mark.parametrize("other", ["seed", "steps", "operator"])
def test_what_was_seen_otherwise_is_not_taken(other: str) -> None:
    """Pairs of another seed are still pairs; of another operator they are not."""
    A = Diagonal(spectrum())
    pairs = ls.eigsh(A, 8, 2, seed=5)
    B = Diagonal(spectrum(900)) if other == "operator" else A
    seed, steps = (6 if other == "seed" else 5), (300 if other == "steps" else 20)
    found = ls.spectral_density(B, 2, steps, seed, known=pairs)
    assert found.products == 2 * max(steps - len(found.known), steps // 2)
    assert bool(len(found.known)) == (other != "operator")


class Exact(SymmetricOperator):
    """A diagonal matrix in float64 that counts its products."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__(len(values), torch.float64, torch.device("cpu"))
        self.values, self.asked = values, 0

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        self.asked += V.shape[1]
        return self.values[:, None] * V


class Lossy(SymmetricOperator):
    """The same in float32, each number of a product off by up to ``loss`` of it, as kernels are
    that sum long rows."""

    def __init__(self, values: torch.Tensor, loss: float) -> None:
        super().__init__(len(values), torch.float32, torch.device("cpu"))
        self.exact, self.loss = Exact(values), loss

    def _in_float64(self) -> SymmetricOperator:
        return self.exact

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        product = self.exact.values[:, None] * V.double()
        return (product * (1 + self.loss * torch.sin(1e9 * product))).float()


@pytest.mark.parametrize("loss", [0.0, 5e-6])
def test_what_products_lose_is_measured_once(loss: float) -> None:
    """By the product in float64 that verifies residuals; pairs within tol are not made again there."""
    values, held = spectrum(), 0
    truth = values.sort().values
    for seed in range(6):
        A = Lossy(values, loss)
        pairs = ls.eigsh(A, 8, 4, seed=seed)
        assert pairs.converged
        assert A.exact.asked == 1
        assert (A.error > 0) == (loss > 0)
        assert A.error <= 40 * loss * pairs.scale
        off = (pairs.values - torch.cat([truth[:4], truth[-8:]])).abs()
        assert bool((off <= pairs.bounds).all())
        one = ls.trace(A, probes=12, seed=seed, known=pairs)
        assert A.exact.asked == 1 + (loss > 0)  # the loss along a random vector is next to nothing
        held += one.low <= float(values.sum()) <= one.high
    assert binom.cdf(held, 6, 0.95) > 1e-3


def test_products_that_lose_more_than_tol_are_made_again_in_float64() -> None:
    values = spectrum()
    truth, A = values.sort().values, Lossy(values, 1e-3)
    pairs = ls.eigsh(A, 8, 4)
    off = (pairs.values - torch.cat([truth[:4], truth[-8:]])).abs()
    assert A.exact.asked >= 13
    assert bool((off <= pairs.bounds).all())
    assert float(off.max()) < 1e-4


LEVELS = (-0.05, -0.01, -1e-3, 1e-3, 0.02, 0.2, 0.9, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_counts_beside_known_pairs_hold_and_are_narrower(tol: float) -> None:
    """Against counts of the spectrum itself, at levels amid the bulk and among the outliers."""
    values = spectrum()
    A, seeds, held, widths = Diagonal(values), 15, 0, np.zeros((2, len(LEVELS)))
    for seed in range(seeds):
        pairs = ls.eigsh(A, 10, 4, tol=tol, seed=seed)
        some = ls.spectral_density(A, 3, 40, seed, known=pairs)
        plain = ls.spectral_density(A, 3, 40, seed)
        assert some.products <= 3 * (40 - len(some.known)) < 0.8 * plain.products
        for i, level in enumerate(LEVELS):
            truth = int((values < level).sum())
            counts = [one.count(-np.inf, level) for one in (some, plain)]
            held += counts[0].low <= truth <= counts[0].high
            widths[:, i] += [one.high - one.low for one in counts]
    assert binom.cdf(held, seeds * len(LEVELS), 0.95) > 1e-3
    assert (widths[0] <= 1.1 * widths[1]).all()
    assert widths[0, -2:].sum() < 0.1 * widths[1, -2:].sum()  # among outliers they are exact


@pytest.mark.slow
def test_counts_from_what_a_search_has_seen_hold() -> None:
    """No product but those of the search, whose pairs are coarse: truth is the spectrum itself."""
    values = spectrum()
    A, held, asked = Diagonal(values), 0, 0
    for seed in range(40):
        pairs = ls.eigsh(A, 8, 2, tol=1e-3, seed=seed)
        spent = A.products
        density = ls.spectral_density(A, 2, 16, seed, known=pairs)
        if A.products > spent or len(density.masses) < 2:
            continue
        assert len(density.apart) == 10
        assert float(density.coupling.max()) > 1e-4
        for level in (*LEVELS, *(0.99 * pairs.values[-8:]).tolist()):
            one, truth = density.count(-np.inf, level), int((values < level).sum())
            held, asked = held + (one.low <= truth <= one.high), asked + 1
        mean, trace = density.moment(1), float(values.mean())
        held, asked = held + (mean.low <= trace <= mean.high), asked + 1
    assert asked >= 200
    assert binom.cdf(held, asked, 0.95) > 1e-3


def test_copies_of_an_eigenvalue_are_counted_with_the_others() -> None:
    """A start sees one vector of an eigenspace: which of the copies, no pair says."""
    values = torch.cat([torch.linspace(-1, 1, 400, dtype=torch.float64), torch.tensor([5.0, 5, 7])])
    A = Diagonal(values)
    pairs = ls.eigsh(A, 3, 0, seed=1)
    assert pairs.values.tolist() == pytest.approx([5, 5, 7])
    density = ls.spectral_density(A, 6, 30, 1, known=pairs)
    assert density.nodes[density.known].tolist() == pytest.approx([7])
    five = density.count(4, 6)
    assert five.low <= 2 <= five.high
    seven = density.count(6, 8)
    assert (seven.low, seven.high) == pytest.approx((1, 1), abs=1e-6)


@pytest.mark.slow
def test_probes_of_the_density_are_samples_of_the_trace() -> None:
    """Intervals of the trace hold as often as they say, for a quarter of the samples less."""
    values = spectrum()
    A, truth, seeds, held, off, told = Diagonal(values), float(values.sum()), 40, 0, [], []
    for seed in range(seeds):
        pairs = ls.eigsh(A, 10, 10, seed=seed)
        density = ls.spectral_density(A, 3, 20, seed, known=pairs)
        spent = A.products
        one = ls.trace(A, probes=12, seed=seed, known=pairs, density=density)
        assert A.products - spent == one.products == 9
        held += one.low <= truth <= one.high
        off.append(one.value - truth)
        told.append(one.error)
    assert binom.cdf(held, seeds, 0.95) > 1e-3
    rms = np.sqrt(np.mean(np.square(off)))
    assert 0.6 * rms < np.mean(told) < 1.6 * rms


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


def test_what_couples_to_a_pair_is_counted_with_doubt() -> None:
    """[[theta, b'], [b, diag(mu)]]: all of diag(mu) is seen, and b moves its values past levels near them."""
    draws = np.random.default_rng(0)
    moved = 0
    for _ in range(50):
        theta, mu = 3.0, np.sort(draws.uniform(-1, 1, 4))
        b = torch.from_numpy(0.3 * draws.standard_normal(4))
        seen = ls.spectral_density(torch.from_numpy(np.diag(mu)), 2)
        one = torch.full((2, 1), 0.2, dtype=torch.float64)
        density = replace(
            seen,
            nodes=torch.cat([seen.nodes, torch.tensor([theta], dtype=torch.float64)]),
            weights=torch.cat([0.8 * seen.weights, one[0]]),
            errors=torch.cat([0.8 * seen.errors, 0 * one[0]]),
            masses=torch.cat([0.8 * seen.masses, one], 1),
            dimension=5,
            known=torch.tensor([4]),
            apart=torch.tensor([theta], dtype=torch.float64),
            coupling=b.norm()[None],
        )
        H = torch.diag(torch.cat([density.nodes[-1:], torch.from_numpy(mu)]))
        H[0, 1:] = H[1:, 0] = b
        values = torch.linalg.eigvalsh(H).numpy()
        for level in (values[:4, None] + [-1e-9, 1e-9]).ravel().tolist():
            found, truth = density.count(-np.inf, level), int((values < level).sum())
            assert found.low <= truth <= found.high
            moved += truth != int((mu < level).sum())
    assert moved >= 100
