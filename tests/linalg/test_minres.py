"""MINRES against the pseudo-inverse and SciPy's, on spectra of every sign pattern; its curvature against the definition."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import Tensor

import landscape as ls
from landscape.linalg.minres import Stop, minres

SPECTRA = {
    "definite": torch.linspace(0.5, 3, 40, dtype=torch.float64),
    "indefinite": torch.linspace(-2.05, 3, 40, dtype=torch.float64),
    "singular": torch.cat(
        [torch.linspace(-2, -0.5, 12), torch.zeros(8), torch.linspace(0.5, 3, 20)]
    ).double(),
}


def matrix(values: Tensor) -> Tensor:
    Q, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    A = (Q * values) @ Q.T
    return 0.5 * (A + A.T)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("consistent", [True, False], ids=["in range", "any b"])
def test_the_solution_of_least_length(
    spectrum: str, consistent: bool, dtype: torch.dtype, device: str
) -> None:
    A = matrix(SPECTRA[spectrum])
    b = torch.randn(len(A), dtype=torch.float64)
    b = A @ b if consistent else b
    truth = torch.from_numpy(
        np.linalg.lstsq(A.numpy(), b.numpy(), rcond=1e-10)[0]
    )  # the shortest of them
    tol = 1e-5 if dtype == torch.float32 else 1e-11
    found = minres(A.to(device, dtype), b.to(device, dtype), tol=tol)
    outside = spectrum == "singular" and not consistent
    assert found.stop is (Stop.LEAST_SQUARES if outside else Stop.CONVERGED)
    assert found.converged
    assert (found.x.dtype, found.x.device.type) == (dtype, torch.device(device).type)
    accuracy = 1e-2 if outside and dtype == torch.float32 else 200 * tol if not outside else 1e-6
    assert float((found.x.cpu().double() - truth).norm()) <= accuracy * float(truth.norm())
    residual = b - A @ truth
    assert float((found.residual.cpu().double() - residual).norm()) <= max(
        accuracy, 50 * tol
    ) * float(b.norm())
    assert found.residual_norm == pytest.approx(
        float(residual.norm()), abs=max(accuracy, 50 * tol) * float(b.norm())
    )
    assert found.products <= 5 * len(A)
    assert (found.normal_residual is not None) == outside


def test_the_residual_shrinks_as_scipys_does() -> None:
    A = matrix(SPECTRA["indefinite"])
    b = torch.randn(len(A), dtype=torch.float64)
    norms = []
    for steps in (3, 8, 15, 25):
        theirs, _ = scipy.sparse.linalg.minres(A.numpy(), b.numpy(), maxiter=steps, rtol=0)
        ours = minres(A, b, tol=0, max_products=steps + 2)
        assert ours.stop is Stop.BUDGET
        torch.testing.assert_close(ours.x, torch.from_numpy(theirs), rtol=1e-8, atol=1e-10)
        norms.append(ours.residual_norm)
    assert norms == sorted(norms, reverse=True)


def test_curvature_is_found_where_it_is_not_positive_and_nowhere_else() -> None:
    b = torch.randn(40, dtype=torch.float64)
    for name, values in SPECTRA.items():
        A = matrix(values)
        found = minres(A, b, tol=1e-10, curvature=True)
        if name == "definite":
            assert found.stop is Stop.CONVERGED
            continue
        r = found.residual
        assert found.stop is Stop.CURVATURE
        assert found.curvature == pytest.approx(float(r @ A @ r / (r @ r)))
        assert float(r @ A @ r) <= 1e-12
        torch.testing.assert_close(r, b - A @ found.x)
        if found.products > 3:  # an x that moved is a direction along which the quadratic falls
            assert float(b @ found.x) > 0


def test_singular_consistent_systems_lose_no_residual_to_the_null_space() -> None:
    A = torch.diag(torch.tensor([2.0, -1.0, 0.0, 0.0], dtype=torch.float64))
    found = minres(A, torch.tensor([2.0, 3.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(found.x, torch.tensor([1.0, -3.0, 0.0, 0.0], dtype=torch.float64))
    outside = minres(A, torch.tensor([2.0, 3.0, 5.0, 0.0], dtype=torch.float64))
    assert outside.stop is Stop.LEAST_SQUARES
    torch.testing.assert_close(outside.x, found.x)
    assert outside.residual_norm == pytest.approx(5)
    none = minres(torch.zeros(3, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert none.stop is Stop.LEAST_SQUARES
    assert none.x.tolist() == [0, 0, 0]


def test_ends_that_are_named(diagonal) -> None:
    d = torch.linspace(1, 50, 60, dtype=torch.float64)
    b = torch.ones(60, dtype=torch.float64)
    zero = minres(diagonal(d), torch.zeros_like(b))
    assert (zero.stop, zero.products, float(zero.x.norm())) == (Stop.CONVERGED, 0, 0)
    A = diagonal(d)
    assert minres(A, b, tol=1e-8).products == A.products  # every product is counted
    with pytest.raises(ls.NumericalError, match="product 4"):
        minres(diagonal(d, fails_at=4), b)
    with pytest.raises(ValueError, match=r"shape \(60,\)"):
        minres(diagonal(d), b[:5])
    with pytest.raises(ValueError, match="tol must"):
        minres(diagonal(d), b, tol=1.0)
    with pytest.raises(ValueError, match="at least 3"):
        minres(diagonal(d), b, max_products=2)
    with pytest.raises(ValueError, match="NaN"):
        minres(diagonal(d), b * float("nan"))
    with pytest.raises(ValueError, match="float32"):
        minres(diagonal(d), b.float())


def test_nothing_is_made_on_the_default_device() -> None:
    A, b = matrix(SPECTRA["indefinite"]), torch.randn(40, dtype=torch.float64)
    with torch.device("meta"):
        assert minres(A, b).converged
