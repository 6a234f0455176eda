"""Truth: the same sums in float64 by NumPy. A plain float32 dot passes none of the accuracy tests below."""

import numpy as np
import pytest
import torch

from landscape.linalg.reductions import combine, dots, gram, norm, orthogonalise


def vectors(m, n, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 7, 512, 867_072, 10_000_000])
def test_float32_norm_is_right_to_1e_7(n, device):
    v = vectors(1, n)[0] + 1
    truth = np.linalg.norm(v.numpy().astype(np.float64))
    assert abs(norm(v.to(device)).item() - truth) <= 1.2e-7 * truth


@pytest.mark.parametrize("n", [513, 867_072, 4_000_000])
def test_float32_dots_are_right_to_1e_7_of_the_norms(n, device):
    Q = vectors(3, n)
    w = (
        Q[0] + 0.5 * Q[1]
    )  # as in a reorthogonalisation: one large dot, one middling, one that cancels
    truth = Q.numpy().astype(np.float64) @ w.numpy().astype(np.float64)
    size = np.linalg.norm(Q.numpy().astype(np.float64), axis=1) * np.linalg.norm(
        w.numpy().astype(np.float64)
    )
    got = dots(Q.to(device), w.to(device))
    assert got.dtype == torch.float64
    assert (np.abs(got.cpu().numpy() - truth) <= 1e-7 * size).all()


@pytest.mark.parametrize("n", [1, 4097, 867_072])
def test_float32_dots_of_rows_with_rows_are_right_to_1e_7_of_the_norms(n, device):
    P, Q = vectors(2, n), vectors(3, n, seed=1) + 0.1
    P[1] = Q[0]
    truth = P.numpy().astype(np.float64) @ Q.numpy().astype(np.float64).T
    size = np.outer(*(np.linalg.norm(V.numpy().astype(np.float64), axis=1) for V in (P, Q)))
    got = gram(P.to(device), Q.to(device))
    assert got.dtype == torch.float64
    assert (np.abs(got.cpu().numpy() - truth) <= 2e-7 * size).all()


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e15, 1e30])
def test_norm_neither_overflows_nor_underflows(size):
    v = vectors(1, 1000)[0] * size
    assert norm(v).item() == pytest.approx(np.linalg.norm(v.numpy().astype(np.float64)), rel=2e-7)
    assert norm(torch.zeros(5)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_what_is_left_is_orthogonal_even_when_little_is(dtype, device):
    n, eps = 200_000, torch.finfo(dtype).eps
    Q = torch.linalg.qr(vectors(20, n).to(torch.float64).T)[0].T.to(device, dtype).contiguous()
    inside = torch.linspace(1, 2, 20, dtype=dtype, device=device) @ Q
    w = inside + 1e-3 * vectors(1, n, seed=1)[0].to(device, dtype) / n**0.5
    c, rest = orthogonalise(w, Q)
    overlaps = (Q.double() @ rest.double()).abs().max() / rest.double().norm()
    assert overlaps <= 4 * eps
    assert (c.cpu() - torch.linspace(1, 2, 20, dtype=torch.float64)).abs().max() <= 1e-4
    assert ((c.to(dtype) @ Q + rest - w).norm() / w.norm()) <= 20 * eps
    assert rest.norm() > 0.9e-3  # not everything was taken away


def test_nothing_to_be_orthogonal_to():
    w = torch.ones(3)
    c, rest = orthogonalise(w, torch.zeros(0, 3))
    assert c.shape == (0,)
    assert torch.equal(rest, w)
    assert rest.data_ptr() != w.data_ptr()


def test_combine_in_place_is_the_product():
    Q = vectors(7, 700_001)
    S = torch.linalg.qr(vectors(7, 3).to(torch.float64))[0]
    truth = S.T @ Q.double()
    assert (combine(S, Q).double() - truth).abs().max() <= 1e-5
    combine(S, Q, out=Q[:3])
    assert (Q[:3].double() - truth).abs().max() <= 1e-5
