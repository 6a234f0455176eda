"""Truth: spectra that are given (diagonal operators), in closed form (path Laplacian) or by LAPACK in float64.

Solvers never see that an operator is diagonal: their random starts prefer no direction. A repeated eigenvalue is what
one Krylov space cannot see, so most spectra here repeat something; a bound must hold and be worth having.
"""

import traceback
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from spectra import HARD, check, uniform
from torch.utils._python_dispatch import TorchDispatchMode

from landscape import results
from landscape.errors import NumericalError
from landscape.linalg.lanczos import Stop, certify_below, eigsh
from landscape.operators.base import SymmetricOperator

F = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
SEEDS = range(4)


def path_laplacian(n):
    A = (
        2 * torch.eye(n, dtype=F)
        - torch.diag(torch.ones(n - 1, dtype=F), 1)
        - torch.diag(torch.ones(n - 1, dtype=F), -1)
    )
    return A, (
        2 - 2 * torch.cos(torch.pi * torch.arange(1, n + 1, dtype=F) / (n + 1))
    ).sort().values


def every_eigenvalue_twice(n):
    A, truth = path_laplacian(n // 2)
    return torch.block_diag(A, A), truth.repeat_interleave(2)


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", HARD)
def test_hard_spectra_with_defaults(name, dtype, diagonal):
    d, largest, smallest = HARD[name]
    d = d.to(dtype)
    for seed in SEEDS:
        H = diagonal(d)
        pairs = eigsh(H, largest, smallest, seed=seed)
        assert pairs.products == H.products
        check(pairs, d, largest, smallest, tol=1e-4)


def test_below_tol_the_order_is_open_but_the_intervals_hold(diagonal):
    """A bulk far below tol ‖H‖: the interval holds some eigenvalue, and the i-th one is no further than tol ‖H‖."""
    d = torch.cat([1e-12 * uniform(2000, -1, 1), torch.tensor([1.0, 1.0, -0.5], dtype=F)])
    for seed in SEEDS:
        pairs = eigsh(diagonal(d), 3, 3, seed=seed)
        assert ((pairs.values[:, None] - d).abs().min(1).values <= pairs.bounds).all()
        assert (
            pairs.values - torch.cat([d.sort().values[:3], d.sort().values[-3:]])
        ).abs().max() <= 1e-4
        assert pairs.values[[0, -2, -1]].tolist() == pytest.approx([-0.5, 1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("size", [50, 500], ids=["50", "500"])
@pytest.mark.parametrize(
    "build", [path_laplacian, every_eigenvalue_twice], ids=["simple", "double"]
)
@DTYPES
def test_bounds_hold_the_closed_form(build, dtype, size, device):
    A, truth = build(n=size)  # 2 - 2 cos(pi j / (n + 1)), and the same spectrum doubled
    for seed in SEEDS:
        pairs = eigsh(A.to(device, dtype), largest=4, tol=1e-4, seed=seed)
        scale = truth.abs().max()
        rounding = 50 * torch.finfo(dtype).eps * scale
        assert ((pairs.values.cpu() - truth[-4:]).abs() <= pairs.bounds.cpu() + rounding).all()
        assert (pairs.bounds <= 1e-4 * scale).all()


@pytest.mark.slow
@DTYPES
def test_a_dense_matrix_against_lapack(dtype, device):
    M = torch.randn(300, 300, dtype=F, generator=torch.Generator().manual_seed(3))
    M = (M + M.T).to(dtype)
    truth = torch.linalg.eigvalsh(M.double())
    pairs = eigsh(M.to(device), largest=5, smallest=7, tol=1e-5)
    wanted = torch.cat([truth[:7], truth[-5:]])
    assert ((pairs.values - wanted).abs() <= pairs.bounds).all()
    assert (pairs.bounds <= 1.3e-5 * truth.abs().max()).all()
    assert pairs.vectors.device == torch.device(device) or device == "cuda"
    assert 0.9 * truth.abs().max() <= pairs.scale <= truth.abs().max() * (1 + 1e-6)
    assert 7 <= pairs.negative_at_least <= int((truth < 0).sum())
    assert 5 <= pairs.positive_at_least <= int((truth > 0).sum())


@pytest.mark.parametrize("n", [1, 2, 3, 12, 64])
@DTYPES
def test_small_is_exact(n, dtype):
    M = torch.randn(n, n, dtype=F, generator=torch.Generator().manual_seed(n))
    M = (M + M.T).to(dtype)
    truth = np.linalg.eigvalsh(M.double().numpy())
    pairs = eigsh(M, largest=n, smallest=n)  # more than there are: all of them, once
    assert (
        np.abs(pairs.values.numpy() - truth).max()
        <= 20 * torch.finfo(dtype).eps * np.abs(truth).max()
    )
    assert (pairs.products, pairs.confidence, pairs.converged) == (n, 1.0, True)
    assert pairs.negative_at_least == (truth < 0).sum()
    one = eigsh(M, largest=0, smallest=1)
    assert abs(float(one.values[0]) - truth[0]) <= float(one.bounds[0])
    assert one.vectors.shape == (n, 1)


@pytest.mark.slow
def test_a_large_share_of_the_spectrum(diagonal):
    d = uniform(900, -1, 1)
    for k in (200, 350):  # iterated, and formed
        pairs = eigsh(diagonal(d), largest=0, smallest=k)
        check(pairs, d, 0, k, tol=1e-4)
    assert pairs.products == 900


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seeds"), [(2_000, 4), (20_000, 1)])
def test_a_shallow_negative_direction_is_seen(n, seeds, diagonal):
    d = torch.linspace(0.5, 1e3, n, dtype=F)
    d[n // 3] = -1e-3
    for seed in range(seeds):
        pairs = eigsh(diagonal(d), largest=1, smallest=1, tol=1e-7, seed=seed)
        check(pairs, d, 1, 1, tol=1e-7)
        assert pairs.values[0] + pairs.bounds[0] < 0
        assert pairs.negative_at_least == 1


@pytest.mark.slow
def test_two_million_float32(diagonal):
    d = torch.cat(
        [
            uniform(2_000_000 - 30, -0.1, 0.1),
            1 + uniform(20, 0, 9),
            torch.full((10,), 12.0, dtype=F),
        ]
    )
    d = d.to(torch.float32)
    pairs = eigsh(diagonal(d), largest=12, max_basis=40)
    check(pairs, d, 12, 0, tol=1e-4)
    assert pairs.bounds.min() <= 1e-5 * 12


@pytest.mark.slow
def test_ordinary_spectra_cost_little_more_than_one_krylov_space(diagonal):
    """Outliers over a bulk, as of a trained net: the Krylov space takes 24 to 28, the residuals 1, the probe the rest."""
    d = torch.cat([1e-3 * uniform(100_000, -1, 1), torch.logspace(-1, 1, 40, dtype=F)])
    for seed in SEEDS:
        pairs = eigsh(diagonal(d), 10, tol=1e-3, seed=seed)
        check(pairs, d, 10, 0, tol=1e-3)
        assert pairs.products <= 36
        assert pairs.confidence >= 0.98


def test_probes_find_what_one_krylov_space_misses(diagonal):
    d = torch.cat([torch.tensor([3.0, 3.0, 2.0], dtype=F), uniform(500)])
    blind = eigsh(diagonal(d), 2, probes=0)
    assert blind.values.tolist() == pytest.approx([2, 3], abs=1e-6)
    assert blind.confidence == 0
    once, thrice = (eigsh(diagonal(d), 2, probes=p) for p in (1, 3))
    for pairs in (once, thrice):
        assert pairs.values.tolist() == pytest.approx([3, 3], abs=1e-6)
    assert 0.99 < once.confidence < thrice.confidence <= 1
    assert once.products < thrice.products


HIDDEN = {
    "a copy of the second": (torch.tensor([1.2, 1.2, 1.0], dtype=F), 2, 1.0),
    "the largest, beside two that are as near as tol": (torch.tensor([1.015, 1.0, 1.0], dtype=F), 1, 0.9),
    "the largest, beside a bulk": (torch.tensor([0.03, 0.015], dtype=F), 1, -1.0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HIDDEN)
def test_confidence_is_calibrated(name, diagonal):
    """A start that reports doubt p misses what is hidden from it with probability p at most."""
    top, k, width = HIDDEN[name]
    d = torch.cat([top, width * uniform(3000).pow(4 if width < 0 else 1)])
    promised, right = [], []
    for seed in range(60):
        pairs = eigsh(diagonal(d), k, tol=1e-2, seed=seed)
        promised.append(pairs.confidence)
        right.append(bool(((pairs.values - d.sort().values[-k:]).abs() <= pairs.bounds).all()))
    assert np.mean(right) >= np.mean(promised) - 0.02
    assert np.mean(promised) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_one_value_an_end_takes_one_start(name, diagonal):
    """However often it is repeated; a second start, where it is asked for, costs more and leaves less doubt."""
    d = HARD[name][0]
    once, twice = (eigsh(diagonal(d), 1, 1, tol=1e-3, probes=p) for p in (1, 2))
    for pairs in (once, twice):
        check(pairs, d, 1, 1, tol=1e-3)
    assert once.confidence >= 0.97
    assert once.products <= twice.products
    assert once.confidence <= twice.confidence


@pytest.mark.slow
def test_known_pairs_are_extended_not_searched_again(diagonal):
    d = torch.cat([-torch.logspace(-1, 1, 30, dtype=F), uniform(3000)])
    ten = eigsh(diagonal(d), 0, 10)
    twenty = eigsh(diagonal(d), 0, 20, known=ten)
    check(twenty, d, 0, 20, tol=1e-4)
    assert twenty.products < eigsh(diagonal(d), 0, 20).products
    both = eigsh(diagonal(d), 5, 3, known=ten)  # fewer than known at one end, all new at the other
    check(both, d, 5, 3, tol=1e-4)
    assert ten.negative_at_least >= 10


def test_budget_keeps_what_there_is(diagonal):
    d = uniform(5000)
    H = diagonal(d)
    pairs = eigsh(H, 10, max_products=40)
    assert pairs.stop is Stop.BUDGET
    assert not pairs.converged
    assert pairs.products == H.products <= 40
    V = pairs.vectors
    assert ((d[:, None] * V - V * pairs.values).norm(dim=0) <= pairs.bounds).all()
    assert pairs.bounds.max() > 1e-4
    nearest = (pairs.values[:, None] - d).abs().min(1).values
    assert (nearest <= pairs.bounds).all()


def test_tol_below_rounding_says_so(diagonal: Any):
    d = torch.cat([uniform(1000), torch.tensor([2.0, 3.0], dtype=F)])
    H = diagonal(d.float())
    noise = torch.randn(1002, generator=torch.Generator().manual_seed(0))

    class Rough(diagonal):
        def __matmul__(self, V):
            self.phase = -getattr(self, "phase", 1.0)
            return super().__matmul__(V) + self.phase * 1e-4 * (
                noise if V.ndim == 1 else noise[:, None]
            )

    assert eigsh(H, 2, tol=1e-4).stop is Stop.CONVERGED
    pairs = eigsh(Rough(d.float()), 2, tol=1e-5)
    assert pairs.stop is Stop.INEXACT
    assert "rounding" in pairs.stop.value


@pytest.mark.parametrize("at", [1, 2, 17, 31])
def test_a_product_that_is_not_finite_is_named(at, diagonal):
    with pytest.raises(NumericalError, match=rf"product {at} .*loss is finite"):
        eigsh(diagonal(uniform(3000), fails_at=at), 10)
    with pytest.raises(NumericalError, match=r"product 2 "):
        eigsh(diagonal(uniform(30), fails_at=2), 3)


@pytest.mark.slow
def test_seed_decides_and_global_state_is_left_alone(diagonal):
    before = torch.get_rng_state()
    a, b, c = (eigsh(diagonal(uniform(500)), 3, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.vectors, b.vectors)
    assert not torch.equal(a.vectors, c.vectors)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_no_tensor_without_a_device(diagonal, no_default_device):
    d = torch.arange(300, dtype=F, device="cpu")
    assert eigsh(diagonal(d), 3, 2).converged
    assert eigsh(diagonal(d[:20]), 3, 2).converged


class Syncs(TorchDispatchMode):
    """Counts what would stall a GPU: reading a scalar, or copying to the host. What ``reductions.norm`` reads it
    reads on a CPU only, where nothing waits; tests/gpu has the budgets of a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waits = func in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
        )
        if waits and not any(f.name == "norm" for f in traceback.extract_stack(limit=8)):
            self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_host_does_not_wait_for_every_step(diagonal):
    d = torch.cat([uniform(3000), torch.linspace(1.1, 3, 20, dtype=F)])
    with Syncs() as syncs:
        pairs = eigsh(diagonal(d), 10)
    assert syncs.count < pairs.products / 4


@pytest.mark.slow
def test_progress_counts_products(diagonal):
    calls = []
    pairs = eigsh(diagonal(uniform(500)), 3, progress=lambda *args: calls.append(args))
    assert calls[-1] == ("residuals", pairs.products, pairs.products)
    assert [c[1] for c in calls] == sorted(c[1] for c in calls)


@pytest.mark.slow
def test_a_result_survives_storage(diagonal, tmp_path):
    pairs = eigsh(diagonal(uniform(500)), 3)
    again = results.load(results.save(pairs, tmp_path))
    assert torch.equal(pairs.vectors, again.vectors)
    assert (again.stop, again.converged, again.scale) == (Stop.CONVERGED, True, pairs.scale)


@pytest.mark.parametrize(
    ("H", "options", "message"),
    [
        (torch.ones(3, 4), {}, "square"),
        (torch.ones(4), {}, "square"),
        (torch.ones(0, 0), {}, "square"),
        (torch.ones(3, 3, dtype=torch.int64), {}, "float32 or float64"),
        (torch.ones(3, 3, dtype=torch.float16), {}, "float32 or float64"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), {}, "not symmetric"),
        (torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), {}, "NaN"),
        (torch.tensor([[torch.inf, 0.0], [0.0, 1.0]]), {}, "NaN"),
        (torch.eye(100), {"largest": 0}, "both 0"),
        (torch.eye(100), {"largest": -1}, "largest must be a whole number of at least 0"),
        (torch.eye(100), {"probes": -1}, "probes must be a whole number of at least 0"),
        (torch.eye(100), {"tol": 0.0}, "tol must lie"),
        (torch.eye(100), {"tol": float("nan")}, "tol must lie"),
        (torch.eye(100), {"max_products": 12}, "max_products must be at least .*21 for k = 10"),
        (torch.eye(100), {"max_basis": 12}, "max_basis must be at least"),
        (torch.eye(100), {"known": eigsh(torch.eye(3), 2)}, "known has vectors of 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message(H, options, message):
    with pytest.raises(ValueError, match=message):
        eigsh(H, **options)


@pytest.mark.slow
def test_a_level_is_certified_across_a_gap(diagonal):
    d = torch.linspace(1, 1e3, 5000, dtype=F)  # the gap above 0 is a thousandth of the spread
    pairs = eigsh(diagonal(d), 1, 1)
    H = diagonal(d)
    certificate = certify_below(H, pairs, 0.0)
    assert certificate.clear
    assert certificate.confidence >= 0.999
    assert certificate.products == H.products <= 400
    assert certify_below(diagonal(d), pairs, 0.0, max_products=30).confidence < 0.5


@pytest.mark.slow
def test_a_hidden_negative_eigenvalue_is_found(diagonal):
    d = torch.linspace(1, 1e3, 5000, dtype=F)
    d[1234] = -1e-3
    blind = replace(eigsh(diagonal(d), 1, 0), smallest=0)
    aware = eigsh(diagonal(d), 0, 2, tol=1e-7)
    for seed in range(10):
        certificate = certify_below(diagonal(d), blind, 0.0, seed=seed)
        assert not certificate.clear
    assert certify_below(diagonal(d), aware, 0.0).clear  # it is known
    assert certify_below(diagonal(d), aware, 0.0).confidence >= 0.999


@DTYPES
def test_a_certificate_counts_copies_and_survives_small_operators(dtype, diagonal):
    d = torch.tensor([-1.0, -1.0, 2.0, 3.0, 3.0] + [5.0] * 95, dtype=dtype)
    one = eigsh(
        diagonal(d), 0, 1, probes=0
    )  # by the same seed: the certificate's start must not be the search's
    assert eigsh(diagonal(d), 0, 1, known=one).negative_at_least == 2
    two = eigsh(diagonal(d), 0, 2)
    assert not certify_below(diagonal(d), one, 0.0).clear
    assert certify_below(diagonal(d), two, 0.0).clear
    small = eigsh(diagonal(d[:5]), 0, 5)
    assert certify_below(diagonal(d[:5]), small, 0.0).confidence == 1
    with pytest.raises(ValueError, match="known has vectors of 5"):
        certify_below(diagonal(d), small, 0.0)
    with pytest.raises(ValueError, match="level must be finite"):
        certify_below(diagonal(d), two, float("nan"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.3, 3.0], ids=["within tol", "wider than tol"])
def test_bounds_are_matched_by_index_in_clusters_at_the_cut(width, diagonal):
    """More eigenvalues than wanted lie within a few tol of the cut, doubled ones among them."""
    for seed in range(12):
        numbers = np.random.default_rng(seed)
        cluster = 1 + 1e-3 * width * numbers.uniform(0, 1, 8)
        d = torch.tensor(np.concatenate([numbers.uniform(-0.5, 0.5, 600), cluster, cluster[:4]]))
        pairs = eigsh(diagonal(d), 7, tol=1e-3, seed=seed)
        check(pairs, d, 7, 0, tol=1e-3)
        assert pairs.residuals.max() <= 1e-3 * pairs.scale
        assert pairs.bounds[0] >= 0.99e-3  # the innermost could have another just beyond


@DTYPES
def test_residuals_cost_one_product_unless_it_disagrees(dtype, diagonal: Any):
    d = torch.cat([uniform(400), torch.linspace(2, 3, 10, dtype=F)]).to(dtype)
    calls = []
    eigsh(diagonal(d), 5, progress=lambda *args: calls.append(args))
    assert [done for stage, done, _ in calls if stage == "residuals"] == [
        max(c[1] for c in calls if c[0] != "residuals") + 1
    ]

    class Skew(diagonal):
        def __matmul__(self, V):
            return super().__matmul__(V) + 1e-2 * (V.roll(1, 0) - V.roll(-1, 0))

    H = Skew(d)
    pairs = eigsh(H, 5, max_products=600)
    assert pairs.products == H.products
    V = pairs.vectors.double()
    H.d = d.double()
    assert ((H @ V - V * pairs.values).norm(dim=0) <= pairs.residuals).all()
    assert not pairs.converged


class Lossy(SymmetricOperator):
    """diag(d) whose products in float32 have d's last ``len(G)`` axes tied to the rows of G: what other kernels would give."""

    def __init__(self, d: torch.Tensor, G: torch.Tensor) -> None:
        super().__init__(len(d), torch.float32, torch.device("cpu"))
        self.d, self.G, self.fine = d, G, Exact(d)

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        V, k = V.double(), len(self.G)
        out = self.d[:, None] * V + self.G.T @ V[-k:]
        out[-k:] += self.G @ V
        return out.float()

    def _in_float64(self) -> SymmetricOperator:
        return self.fine


class Exact(SymmetricOperator):
    def __init__(self, d: torch.Tensor) -> None:
        super().__init__(len(d), F, torch.device("cpu"))
        self.d, self.columns = d, 0

    def _multiply(self, V: torch.Tensor) -> torch.Tensor:
        self.columns += V.shape[1]
        return self.d[:, None] * V


@pytest.mark.parametrize(
    ("tol", "lost", "columns", "stop"),
    [(1e-3, 2.2e-4, (2, 5), Stop.CONVERGED), (1e-3, 1e-6, (1, 1), Stop.CONVERGED), (1e-4, 6e-4, (11, 11), Stop.INEXACT)],
    ids=["pairs-beyond-tol-alone", "rounding", "more-than-tol"],
)  # fmt: skip
def test_products_in_float64_are_few(
    tol: float, lost: float, columns: tuple[int, int], stop: Stop
) -> None:
    """Where products lose something, those pairs alone take one that would be beyond tol without; and a loss beyond tol is
    told after one search.
    """
    d = torch.cat([uniform(2000) - 0.5, torch.linspace(2.0, 20.0, 10, dtype=F)])
    draws = torch.Generator().manual_seed(3)
    G = torch.linalg.qr(torch.randn(len(d), 10, generator=draws, dtype=F))[0].T.clone()
    G[:, -10:] = 0
    H = Lossy(d, lost * 20 * G)
    pairs = eigsh(H, 10, tol=tol)
    assert pairs.stop is stop
    assert columns[0] <= H.fine.columns <= columns[1]
    assert pairs.products <= eigsh(Lossy(d, 0 * G), 10, tol=tol).products + columns[1] + 3
    truth = d.sort().values[-10:]
    assert ((pairs.values - truth).abs() <= pairs.bounds).all()
    V = pairs.vectors.double()
    assert ((d[:, None] * V - V * pairs.values).norm(dim=0) <= pairs.residuals).all()
