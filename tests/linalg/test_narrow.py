"""Truth: spectra that are given, under a known orthogonal transform or none; the recurrence, multiplied out in float64.

A diagonal operator has eigenvectors of one entry, a mixed one none that is large: rounding differs most between these.
``LANDSCAPE_CASES=1000`` tries so many random spectra.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from spectra import HARD, check, uniform

from landscape.linalg import narrow, operand
from landscape.linalg.lanczos import Stop, eigsh
from landscape.linalg.narrow import Narrow
from landscape.linalg.rows import Rows

sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))
from live import Live

F = torch.float64
CASES = int(os.environ.get("LANDSCAPE_CASES", "24"))


class Mixed:
    """U diag(d) U', U two cosine transforms with random signs: no eigenvector has large entries."""

    def __init__(self, d: torch.Tensor, seed: int = 0) -> None:
        self.d, self.shape, self.dtype, self.device = d, (len(d), len(d)), d.dtype, d.device
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (2, len(d), 1))
        self.signs = torch.as_tensor(signs).to(d.dtype)
        self.remarks: list[str] = []

    def remember(self, remark: str) -> None:
        self.remarks.append(remark)

    def __matmul__(self, V: torch.Tensor) -> torch.Tensor:
        W = V.reshape(len(self.d), -1)
        for signs in self.signs:
            W = torch.as_tensor(scipy.fft.dct((signs * W).numpy(), axis=0, norm="ortho"))
        W = self.d[:, None] * W
        for signs in self.signs.flip(0):
            W = signs * torch.as_tensor(scipy.fft.idct(W.numpy(), axis=0, norm="ortho"))
        return W.reshape(V.shape)


# ---- rows ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [(torch.float16, 1.6e-4, 2.2e-4), (torch.bfloat16, 1.3e-3, 1.8e-3)],
    ids=["float16", "bfloat16"],
)
def test_how_far_rounding_moves_a_vector(dtype: torch.dtype, least: float, most: float) -> None:
    """The part that one of many ranks holds of a unit vector of 1e9 entries, 3e-5 each."""
    v = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 1e-9**0.5
    rows = Rows.empty(4, 1, v[None, :][:0], dtype, 10**9)
    rows[2] = v
    moved = (rows[2] - v).norm() / v.norm()
    assert least < moved < most
    if dtype is torch.float16:  # without a scale digits are lost
        assert (v.to(dtype).float() - v).norm() / v.norm() > 2.5 * moved
    rows[0] = v  # whole
    assert torch.equal(rows[0], v)
    one = torch.eye(1, 100_000)[0]
    rows[3] = one  # the largest entry that a unit vector has
    assert torch.equal(rows[3], one)


def test_rows_are_read_as_they_were_written() -> None:
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    rows = Rows.empty(6, 2, values[:0], torch.float16, 40)
    rows[:5] = values
    rows[:4, slice(10, 20)] = values[:4, 10:20]
    truth = values.clone()
    truth[2:] = values[2:].half()
    assert torch.equal(rows[:5][:, slice(0, 40)], truth)
    assert torch.equal(rows[:5][:, slice(30, 90)], truth[:, 30:])
    assert torch.equal(rows[torch.tensor([3, 1])], truth[[3, 1]])
    assert torch.equal(rows[:3][:, slice(0, 40)], truth[:3])
    assert torch.equal(rows.rounded(values), truth)
    assert (rows[:1].shape, rows.shape, len(rows)) == ((1, 40), (6, 40), 6)
    rows[5] = rows[4]  # once rounded, it stays
    assert torch.equal(rows[5], truth[4])


# ---- what rounding loses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "diagonal"])
@pytest.mark.parametrize("bulk", [1.0, 0.01], ids=["wide bulk", "outliers"])
def test_what_is_measured_is_what_is_lost(mixed: bool, bulk: float, diagonal: Any) -> None:
    d = torch.cat([bulk * uniform(3000, -1, 1), torch.logspace(-0.5, 0.5, 8, dtype=F)])
    H, m = Mixed(d) if mixed else diagonal(d), 80
    basis = Narrow(H, m, np.random.SeedSequence(0), torch.float16, 3)
    basis.start()
    basis.grow(m)
    ritz = basis.ritz()
    Q = basis.Q[: m + 1][:, slice(0, len(d))]
    T, beside = basis.C.triu(), torch.diag(basis.betas[: m - 1], -1)
    lost = H @ Q[:m].T - Q[:m].T @ (T + beside)
    lost[:, -1] -= basis.betas[-1] * Q[m]
    T = T + T.triu(1).T
    loss, scale = basis.rounded.loss, float(d.max())
    assert 1e-6 * scale < loss < 5e-4 * scale
    assert torch.linalg.matrix_norm(lost, 2) <= 1.6 * loss
    assert torch.linalg.matrix_norm(lost, 2) >= 0.2 * loss
    assert torch.linalg.matrix_norm(T - Q[:m] @ (H @ Q[:m].T), 2) <= 1.6 * loss
    assert ritz.theta[-1] == pytest.approx(scale, abs=loss)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_the_floor_of_residuals_and_what_values_are_right_to(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as a basis goes, whatever tol allows; values are right to the square of it."""
    monkeypatch.setattr(narrow, "REACH", float("inf"))
    d = torch.cat([uniform(4000, -0.5, 0.5), torch.linspace(0.7, 1, 6, dtype=F)])
    pairs = eigsh(Mixed(d), 5, tol=1e-12, storage=storage, max_products=90, probes=0)
    floor = 2e-4 if storage == "float16" else 2e-8
    assert floor / 20 < pairs.residuals.max() < floor
    off = (pairs.values - d.sort().values[-5:]).abs()
    assert off.max() <= max(3e-15, float(pairs.residuals.max()) ** 2 / 0.2)
    if storage == "float16":
        assert off[-1] <= 3e-8
    exact = eigsh(Mixed(d), 5, tol=1e-12, max_products=90, probes=0)
    assert exact.residuals.max() < 1e-9


# ---- eigenpairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_hard_spectra(name: str, diagonal: Any) -> None:
    d, largest, smallest = HARD[name]
    for i, kind in enumerate((Mixed, diagonal)):
        for dtype in (torch.float32, F):
            H = kind(d.to(dtype))
            pairs = eigsh(H, largest, smallest, tol=1e-3, seed=i, storage="float16")
            if kind is diagonal:
                check(pairs, d.to(dtype), largest, smallest, tol=1e-3)
                assert pairs.products == H.products
            wanted = d.sort().values
            wanted = torch.cat([wanted[:smallest], wanted[len(d) - largest :]])
            assert pairs.converged
            assert ((pairs.values - wanted).abs() <= pairs.bounds).all()


def spectrum(numbers: np.random.Generator) -> np.ndarray:
    """A bulk, clusters of any width beside it or in it, repeated eigenvalues, in any unit."""
    n = int(numbers.integers(65, 1500))
    d = [
        numbers.uniform(-1, 1, n),
        numbers.normal(size=n) / 3,
        1e-3 * numbers.normal(size=n),
        numbers.laplace(size=n) / 5,
    ][numbers.integers(4)]
    for _ in range(int(numbers.integers(0, 4))):
        count = int(numbers.integers(1, 15))
        width = 10 ** numbers.uniform(-6, -1) * numbers.integers(0, 2)
        place = numbers.uniform(-3, 6) + width * numbers.uniform(0, 1, count)
        d[numbers.choice(n, count, replace=False)] = place
    if numbers.random() < 0.3:
        d[numbers.choice(n, 2, replace=False)] = d.max()
    return d * 10 ** numbers.uniform(-6, 6)


@pytest.mark.slow
def test_random_spectra_lie_within_their_bounds(diagonal: Any) -> None:
    """Intervals, residuals, counts of signs and orthonormality certainly; orders as often as promised."""
    doubt, wrong = 0.0, 0
    for seed in range(CASES):
        numbers = np.random.default_rng([7, seed])
        dtype = (torch.float32, F)[seed % 2]
        d = torch.as_tensor(spectrum(numbers)).to(dtype)
        largest, smallest = (int(k) for k in numbers.integers(0, 9, 2))
        largest += not largest + smallest
        H = diagonal(d) if numbers.random() < 0.4 else Mixed(d, seed)
        few = largest + smallest + int(numbers.integers(15, 40))
        tol = 10 ** numbers.uniform(np.log10(5e-4), -2)
        pairs = eigsh(
            H, largest, smallest, tol=tol, seed=seed, storage="float16",
            max_basis=few if numbers.random() < 0.4 else None,
        )  # fmt: skip
        truth = d.double().sort().values
        scale = float(truth.abs().max())
        rounding = 60 * torch.finfo(dtype).eps * scale
        V = pairs.vectors.double()
        R = (H @ pairs.vectors).double() - V * pairs.values
        gaps = (pairs.values[:, None] - truth).abs().min(1).values
        assert (gaps <= pairs.residuals + rounding).all(), seed
        assert (R.norm(dim=0) <= pairs.residuals + rounding).all(), seed
        assert (V.T @ V - torch.eye(V.shape[1])).abs().max() <= 200 * torch.finfo(dtype).eps, seed
        assert pairs.negative_at_least <= int((truth < 0).sum()), seed
        assert pairs.positive_at_least <= int((truth > 0).sum()), seed
        assert pairs.converged, seed
        assert (pairs.residuals <= tol * scale + rounding).all(), seed
        wanted = torch.cat([truth[:smallest], truth[len(truth) - largest :]])
        wrong += not bool(((pairs.values - wanted).abs() <= pairs.bounds + rounding).all())
        doubt += 1 - pairs.confidence
    assert wrong <= doubt + 2 * doubt**0.5 + 1


@pytest.mark.slow
def test_confidence_is_calibrated() -> None:
    """A hidden copy is missed no oftener than the doubt says, beside a basis in float16 too."""
    d = torch.cat([torch.tensor([1.2, 1.2, 1.0], dtype=F), uniform(3000)])
    promised, right = [], []
    for seed in range(40):
        pairs = eigsh(Mixed(d, seed), 1, tol=1e-2, seed=seed, storage="float16")
        promised.append(pairs.confidence)
        right.append(abs(float(pairs.values[0]) - 1.2) <= float(pairs.bounds[0]))
    assert np.mean(right) >= np.mean(promised) - 0.03
    assert np.mean(promised) > 0.9


def test_probes_find_copies() -> None:
    d = torch.cat([torch.tensor([3.0, 3.0, 2.0], dtype=F), uniform(500)])
    blind = eigsh(Mixed(d), 2, tol=1e-3, probes=0, storage="float16")
    assert blind.values.tolist() == pytest.approx([2, 3], abs=1e-5)
    assert blind.confidence == 0
    for probes in (1, 2):
        pairs = eigsh(Mixed(d), 2, tol=1e-3, probes=probes, storage="float16")
        assert pairs.values.tolist() == pytest.approx([3, 3], abs=1e-5)
        assert pairs.confidence > 0.98


def test_known_pairs_are_extended(diagonal: Any) -> None:
    d = torch.cat([-torch.logspace(-1, 1, 30, dtype=F), uniform(2000)])
    five = eigsh(diagonal(d), 0, 5, tol=1e-3, storage="float16")
    ten = eigsh(diagonal(d), 0, 10, tol=1e-3, known=five, storage="float16")
    check(ten, d, 0, 10, tol=1e-3)
    assert ten.diagonal.shape == ten.last_diagonal.shape == (0,)


def test_a_matrix_that_is_not_symmetric_is_found_out(diagonal: Any) -> None:
    class Skew(diagonal):
        def __matmul__(self, V: torch.Tensor) -> torch.Tensor:
            return super().__matmul__(V) + 1e-2 * (V.roll(1, 0) - V.roll(-1, 0))

    d = torch.cat([uniform(400), torch.linspace(2, 3, 10, dtype=F)])
    pairs = eigsh(Skew(d), 5, tol=1e-3, storage="float16", max_products=600)
    V = pairs.vectors
    residuals = (Skew(d) @ V - V * pairs.values).norm(dim=0)
    assert (residuals <= pairs.residuals * (1 + 1e-9)).all()
    assert pairs.stop is Stop.INEXACT


# ---- which basis -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_basis_takes_half_the_memory() -> None:
    """The most that lives at a time, products and the pairs at the end included."""
    d = torch.cat([uniform(100_000), torch.linspace(1.05, 1.3, 12, dtype=F)]).float()
    most = {}
    for storage in ("float32", "float16"):
        with Live() as live:
            eigsh(Mixed(d), 5, tol=1e-3, max_basis=200, max_products=30, storage=storage)
        most[storage] = live.most / (4 * len(d))  # in vectors
    assert most["float32"] >= 200
    assert most["float16"] <= 0.5 * most["float32"] + 12


@pytest.mark.parametrize(
    ("dtype", "tol", "expected"),
    [
        (torch.float32, 1e-3, "float16"),
        (torch.float32, 1e-4, None),
        (F, 1e-4, "float32"),
        (F, 1e-3, "float32"),
    ],
)
def test_what_a_budget_does_not_hold_is_held_narrow_where_tol_allows(
    dtype: torch.dtype, tol: float, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = torch.cat([uniform(2000), torch.linspace(1.2, 3, 9, dtype=F)])
    H = Mixed(d.to(dtype))
    eigsh(H, 3, tol=tol)
    assert not H.remarks
    monkeypatch.setattr(operand, "budget", lambda *_: 20 * len(d) * dtype.itemsize)
    pairs = eigsh(H, 3, tol=tol)
    assert pairs.converged
    assert ((pairs.values - d.sort().values[-3:]).abs() <= pairs.bounds).all()
    assert len(H.remarks) == (expected is not None)
    if expected:
        assert f"were held in {expected}, since" in H.remarks[0]
    H.remarks.clear()
    assert eigsh(H, 3, tol=tol, storage=str(dtype)[6:]).converged  # as asked
    assert not H.remarks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage": "bfloat16"}, "storage must be one of float16, float32, float64"),
        ({"storage": "float16"}, r"too coarsely for tol = 0.0001: use tol=0.0005 or more"),
        ({"storage": "float32", "tol": 1e-9}, r"too coarsely for tol = 1e-09: use tol=6e-08"),
    ],
)
def test_a_mistake_is_one_message(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        eigsh(torch.eye(100, dtype=F), 3, **options)
