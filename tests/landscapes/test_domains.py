"""Truths: the sphere's derivatives by torch.func and projection; eigenvectors as the stationary points of a quadratic form."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import landscape as ls
from landscape.landscapes.domains import Space

SPECTRUM = torch.tensor([-2.0, -0.5, 1.0, 1.5, 4.0], dtype=torch.float64)


def rough(x: Tensor) -> Tensor:
    return (x[..., 0] * x[..., 1]).sin() + x[..., 2] ** 3 * x[..., 3] - x[..., 1].exp() * x[..., 3]


def rotation(n: int) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]


def tangent(x: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """P g and P (H - (g.x / r^2) I) P on the sphere."""
    g, H = torch.func.grad(rough)(x), torch.func.hessian(rough)(x)
    eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
    P = eye - torch.outer(x, x) / radius**2
    return P @ g, P @ (H - (g @ x / radius**2) * eye) @ P


@pytest.mark.parametrize("radius", [1.0, 2.5])
@pytest.mark.parametrize("method", ["auto", "rebuilt", "forward-over-reverse", "finite-difference"])
def test_sphere_derivatives(
    method: str, radius: float, dtype: torch.dtype, device: torch.device
) -> None:
    f = ls.FunctionLandscape(rough, dim=4, domain=ls.Sphere(radius))
    x = f.domain.wrap(torch.randn(4, dtype=dtype, device=device))
    gradient, H = tangent(x, radius)
    eps = torch.finfo(dtype).eps
    assert torch.allclose(f.gradient(x), gradient, atol=200 * eps)
    found = ls.Hessian(f, x, method=method).dense()
    atol = 100 * eps ** (2 / 3) if method == "finite-difference" else 500 * eps
    assert torch.allclose(found, H, atol=atol)
    assert (found @ x).norm() <= 10 * atol


def test_off_the_sphere_stands_for_the_nearest_point_on_it() -> None:
    f = ls.FunctionLandscape(rough, dim=4, domain=ls.Sphere())
    x = torch.randn(3, 4, dtype=torch.float64)
    assert torch.allclose(f.value(x), rough(x / x.norm(dim=-1, keepdim=True)))
    assert torch.allclose(f.gradient(x), torch.stack([f.gradient(row / row.norm()) for row in x]))


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("radius", [1.0, 3.0])
@pytest.mark.parametrize("k", range(5))
def test_quadratic_forms_on_a_sphere(
    k: int, radius: float, method: str, dtype: torch.dtype, device: torch.device
) -> None:
    Q = rotation(5)
    A = (Q * SPECTRUM) @ Q.T
    f = ls.FunctionLandscape(
        lambda x: 0.5 * ((x @ A.to(x)) * x).sum(-1), dim=5, domain=ls.Sphere(radius)
    )
    verdict = ls.classify(f, (radius * Q[:, k]).to(device, dtype), method)
    others = torch.cat([SPECTRUM[:k], SPECTRUM[k + 1 :]]) - SPECTRUM[k]
    assert (verdict.index, verdict.nullity) == (k, 0)
    assert verdict.kind == ("minimum" if k == 0 else "maximum" if k == 4 else "saddle")
    assert torch.allclose(verdict.eigenvalues, others, atol=float(200 * torch.finfo(dtype).eps))
    assert "1 trivial directions (domain, symmetry) are left out" in verdict.reasons
    along = (verdict.pairs.vectors.to(verdict.x) * verdict.x[:, None]).sum(0)
    assert along.abs().max() < 100 * radius * torch.finfo(dtype).eps


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_repeated_eigenvalue_is_a_family_on_the_sphere(method: str) -> None:
    values = torch.tensor([1.0, 1.0, 1.0, 5.0], dtype=torch.float64)
    f = ls.FunctionLandscape(lambda x: (values.to(x) * x * x).sum(-1), dim=4, domain=ls.Sphere())
    verdict = ls.classify(f, torch.tensor([0.6, 0.0, 0.8, 0.0], dtype=torch.float64), method)
    assert (verdict.kind, verdict.index, verdict.nullity) == ("degenerate", 0, 2)


def test_sphere_samples_and_characteristics(dtype: torch.dtype) -> None:
    sphere = ls.Sphere(2.0)
    x = sphere.sample(4000, 3, torch.Generator().manual_seed(0), dtype)
    assert x.shape == (4000, 3)
    assert x.dtype == dtype
    assert torch.allclose(x.norm(dim=1), torch.full((4000,), 2.0, dtype=dtype))
    assert x.mean(0).norm() < 4 * 2.0 / math.sqrt(
        4000
    )  # uniform: each coordinate has mean 0 and variance 4 / 3
    assert torch.allclose(
        (x.T @ x / 4000).double(), 4 / 3 * torch.eye(3, dtype=torch.float64), atol=0.12
    )
    assert torch.equal(x, sphere.sample(4000, 3, torch.Generator().manual_seed(0), dtype))
    assert [sphere.characteristic(n) for n in (1, 2, 3, 4)] == [
        2,
        0,
        2,
        0,
    ]  # two points, circle, sphere, S^3
    inside = sphere.contains(torch.tensor([[0.0, 0.0], [1.0, 0.0], [math.nan, 1.0]]))
    assert inside.tolist() == [False, True, False]
    assert sphere.size(3).tolist() == [4.0, 4.0, 4.0]
    assert torch.allclose(sphere.wrap(torch.tensor([3.0, 4.0])), torch.tensor([1.2, 1.6]))
    assert sphere.normals(torch.tensor([0.0, 2.0])).tolist() == [[0.0], [1.0]]


def test_torus(dtype: torch.dtype, device: torch.device) -> None:
    torus = ls.Torus((1.0, 2 * math.pi))
    x = torch.tensor([[1.25, -0.5], [-0.25, 7.0]], dtype=dtype, device=device)
    eps = 50 * torch.finfo(dtype).eps
    wrapped = torus.wrap(x)
    expected = torch.tensor(
        [[0.25, 2 * math.pi - 0.5], [0.75, 7.0 - 2 * math.pi]], dtype=dtype, device=device
    )
    assert torch.allclose(wrapped, expected, atol=eps)
    assert torch.allclose(torus.difference(x, wrapped), torch.zeros_like(x), atol=eps)
    a, b = (
        torch.tensor([0.9, 0.1], dtype=dtype, device=device),
        torch.tensor([0.1, 6.2], dtype=dtype, device=device),
    )
    there = torch.tensor([0.2, 6.1 - 2 * math.pi], dtype=dtype, device=device)
    assert torch.allclose(torus.difference(a, b), there, atol=eps)
    assert torch.allclose(torus.difference(b, a), -there, atol=eps)
    assert torus.embed(x).shape == (2, 4)
    assert torch.allclose(torus.embed(x), torus.embed(wrapped), atol=eps)
    step = torch.tensor([1e-3, -1e-3], dtype=torch.float64)
    y = x.double().cpu()
    assert math.isclose(
        float((torus.embed(y + step) - torus.embed(y))[0].norm()), float(step.norm()), rel_tol=1e-4
    )
    assert torus.characteristic(2) == 0
    assert torus.normals(a).shape == (2, 0)
    assert torus.contains(torch.tensor([[9.0, 9.0], [math.inf, 0.0]])).tolist() == [True, False]
    drawn = torus.sample(500, 2, torch.Generator().manual_seed(0), dtype)
    assert drawn.dtype == dtype
    assert bool(((drawn >= 0) & (drawn < torus.size(2).to(dtype))).all())


def test_box_and_space(dtype: torch.dtype, device: torch.device) -> None:
    box = ls.Box((-1.0, 0.0), (1.0, 3.0))
    x = torch.tensor([[-1.0, 3.0], [0.0, 3.1], [0.5, 0.5]], dtype=dtype, device=device)
    assert box.contains(x).tolist() == [True, False, True]
    drawn = box.sample(500, 2, torch.Generator().manual_seed(0), dtype)
    assert drawn.dtype == dtype
    assert bool(box.contains(drawn).all())
    assert torch.allclose(
        drawn.mean(0).double(), torch.tensor([0.0, 1.5], dtype=torch.float64), atol=0.15
    )
    assert box.size(2).tolist() == [2.0, 3.0]
    assert ls.Box(-1.0, 1.0).size(3).tolist() == [2.0, 2.0, 2.0]
    assert box.characteristic(2) is None
    assert torch.equal(box.wrap(x), x)
    space = Space(3.0)
    assert abs(float(space.sample(2000, 2, torch.Generator().manual_seed(0)).std()) - 3.0) < 0.2
    assert space.contains(torch.tensor([[1e9, 0.0], [math.nan, 0.0]])).tolist() == [True, False]
    assert space.size(2).tolist() == [12.0, 12.0]


def turns(x: Tensor) -> Tensor:
    return torch.stack([-x[1], x[0], torch.zeros_like(x[0])])[:, None]


def test_symmetries_are_trivial_directions(device: torch.device) -> None:
    symmetry = ls.landscapes.Symmetry(
        lambda x: torch.stack([x[..., :2].norm(dim=-1), x[..., 2]], -1), turns
    )
    f = ls.FunctionLandscape(
        lambda x: (x[..., :2].square().sum(-1) - 1) ** 2 - x[..., 2] ** 2, dim=3, symmetry=symmetry
    )
    x = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64, device=device)
    expected = torch.tensor([-0.8, 0.6, 0.0], dtype=torch.float64)
    assert torch.allclose(f.trivial_directions(x)[:, 0].cpu().abs(), expected.abs())
    for method in ("dense", "lanczos"):
        verdict = ls.classify(f, x, method)
        assert (verdict.kind, verdict.index, verdict.nullity) == ("saddle", 1, 0)
    plain = ls.FunctionLandscape(f.function, dim=3)
    assert plain.trivial_directions(x).shape == (3, 0)
    assert ls.classify(plain, x).nullity == 1
    both = ls.FunctionLandscape(lambda x: x[..., 2], dim=3, domain=ls.Sphere(), symmetry=symmetry)
    basis = both.trivial_directions(x)
    assert torch.allclose(basis.T @ basis, torch.eye(2, dtype=x.dtype, device=device))
    pole = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=device)
    assert both.trivial_directions(pole).shape == (3, 1)  # the rotation fixes the pole


@pytest.mark.parametrize("m", [0, 1, 3, 6])
def test_without_is_the_compression(m: int, dtype: torch.dtype, device: torch.device) -> None:
    x = torch.randn(7, dtype=dtype, device=device)
    H = ls.Hessian(
        ls.FunctionLandscape(lambda x: x.square().sum(-1).sin() + (x**3).sum(-1), dim=7), x
    )
    Q = rotation(7)
    left_out, rest = Q[:, :m].to(device, dtype), Q[:, m:]
    A = H.without(left_out)
    truth = torch.linalg.eigvalsh(rest.T @ H.dense().double().cpu() @ rest)
    atol = float(100 * torch.finfo(dtype).eps * truth.abs().max())
    assert A.shape == (7 - m, 7 - m)
    assert torch.allclose(torch.linalg.eigvalsh(A.dense().double().cpu()), truth, atol=atol)
    lifted = A.lift(torch.eye(7 - m, dtype=dtype, device=device))
    assert torch.allclose(
        lifted.T @ lifted, torch.eye(7 - m, dtype=dtype, device=device), atol=atol
    )
    assert (left_out.T @ lifted).abs().max() <= atol if m else True


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ls.Box(1.0, 1.0), "low < high"),
        (lambda: ls.Box((0.0, 2.0), (1.0, 1.0)), "low < high"),
        (lambda: ls.Box(math.nan, 1.0), "low < high"),
        (lambda: ls.Torus(0.0), "positive period"),
        (lambda: ls.Torus((1.0, math.inf)), "positive period"),
        (lambda: ls.Sphere(-1.0), "positive radius"),
        (lambda: ls.Sphere(math.nan), "positive radius"),
    ],
)
def test_bad_domains(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_point_with_nothing_but_trivial_directions() -> None:
    f = ls.FunctionLandscape(lambda x: x[..., 0], dim=1, domain=ls.Sphere())
    with pytest.raises(ValueError, match="every direction at this point is trivial"):
        ls.classify(f, torch.ones(1, dtype=torch.float64))
