"""Truths: numpy's own forward passes and finite differences, Monte Carlo means, the teacher's Hessian by orthant moments."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import NumericalError, zoo
from landscape.zoo.nets import relu_kernel

NETS = [("sigmoid", 2), ("sigmoid", 4), ("tanh", 2), ("tanh", 3)]
PATTERNS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def xor(x: np.ndarray, activation: str, h: int) -> float:
    act = np.tanh if activation == "tanh" else lambda z: 1 / (1 + np.exp(-z))
    low, high = (-0.8, 0.8) if activation == "tanh" else (0.1, 0.9)
    units = act(PATTERNS @ x[: 2 * h].reshape(h, 2).T + x[2 * h : 3 * h])
    return 0.5 * float(
        ((act(units @ x[3 * h : 4 * h] + x[-1]) - np.array([low, high, high, low])) ** 2).sum()
    )


def differences(f, x: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """The Hessian by central differences of fourth order."""
    n = len(x)
    E = step * np.eye(n)

    def mixed(i: int, j: int, k: float) -> float:
        a, b = k * E[i], k * E[j]
        return (f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * (k * step) ** 2)

    return np.array(
        [[(4 * mixed(i, j, 1) - mixed(i, j, 2)) / 3 for j in range(n)] for i in range(n)]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "h"), NETS)
def test_xor_points(activation: str, h: int, dtype: torch.dtype, device: torch.device) -> None:
    f = zoo.load("xor-net", hidden=h, activation=activation)
    points = f.stationary_points()
    for point in points:
        assert abs(xor(point.x.numpy(), activation, h) - point.value) < 1e-14
        for method in ("dense", "lanczos"):
            verdict = ls.classify(f, point.x.to(device, dtype), method)
            assert (verdict.kind, verdict.index, verdict.nullity) == (
                point.kind,
                point.index,
                point.nullity,
            )
    assert [p.nullity - f.dim for p in points] == [-1, -3, -4]
    assert f.counts is None
    assert "no minimum" in " ".join(ls.classify(f, points[0].x).reasons)


@pytest.mark.parametrize(("activation", "h"), NETS)
def test_xor_signs_by_differences(activation: str, h: int) -> None:
    f = zoo.load("xor-net", hidden=h, activation=activation)
    for point in f.stationary_points():
        x = point.x.numpy()
        H = differences(lambda y: xor(y, activation, h), x)
        eigenvalues = np.linalg.eigvalsh(H)
        zero = 1e-7 * np.abs(eigenvalues).max()
        assert int((eigenvalues < -zero).sum()) == point.index
        assert int((np.abs(eigenvalues) <= zero).sum()) == point.nullity
        assert np.allclose(H, ls.Hessian(f, point.x).dense().numpy(), atol=1e-7)


def teacher_hessian(k: int) -> np.ndarray:
    """E [v_i.x > 0][v_j.x > 0] x x': I / 2 for i = j, else I / 4 + (e_i e_j' + e_j e_i') / (2 pi)."""
    H = np.zeros((k, k, k, k))
    for i, j in np.ndindex(k, k):
        H[i, :, j, :] = np.eye(k) / (2 if i == j else 4)
        if i != j:
            H[i, i, j, j] += 1 / (2 * math.pi)
            H[i, j, j, i] += 1 / (2 * math.pi)
    return H.reshape(k * k, k * k)


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 6])
def test_the_teacher_and_the_ray(k: int, dtype: torch.dtype, device: torch.device) -> None:
    f = zoo.load("student-teacher", width=k)
    for point in f.stationary_points():
        for method in ("dense", "lanczos"):
            verdict = ls.classify(f, point.x.to(device, dtype), method)
            assert (verdict.kind, verdict.index, verdict.nullity) == (
                point.kind,
                point.index,
                point.nullity,
            )
            assert abs(verdict.value - point.value) < 100 * torch.finfo(dtype).eps
    generator = torch.Generator().manual_seed(k)
    V = torch.eye(k, dtype=dtype)[torch.randperm(k, generator=generator)]
    order = V.argmax(1).numpy()
    units = np.arange(k)
    truth = (
        teacher_hessian(k)
        .reshape(k, k, k, k)[np.ix_(order, units, order, units)]
        .reshape(k * k, k * k)
    )
    for method in ("auto", "forward-over-reverse"):
        H = ls.Hessian(f, V.flatten().to(device), method=method).dense().double().cpu().numpy()
        assert np.allclose(H, truth, atol=20 * torch.finfo(dtype).eps)
    assert np.linalg.eigvalsh(truth)[0] > 0.09


@pytest.mark.slow
def test_student_values_and_derivatives_by_sampling_and_differences() -> None:
    k = 3
    f = zoo.load("student-teacher", width=k)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_000_000, k))
    for at in (rng.normal(size=k * k), f.stationary_points()[1].x.numpy()):
        residual = np.maximum(x @ at.reshape(k, k).T, 0).sum(1) - np.maximum(x, 0).sum(1)
        sample = 0.5 * residual**2
        assert abs(sample.mean() - float(f.value(torch.from_numpy(at)))) < 5 * sample.std() / 1e3
        H = ls.Hessian(f, torch.from_numpy(at)).dense().numpy()
        # third derivatives jump where students are parallel, so differences are of first order there
        by_differences = differences(lambda y: float(f.value(torch.from_numpy(y))), at)
        assert np.allclose(H, by_differences, atol=1e-3)
    assert torch.autograd.gradcheck(
        f.value, torch.randn(k * k, dtype=torch.float64, requires_grad=True)
    )
    assert torch.autograd.gradgradcheck(
        f.value, torch.randn(k * k, dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize(
    "angle",
    [0.0, 1e-300, 1e-12, 1e-6, 0.0996, 0.0997, 0.5, math.pi / 2, 2.0, 3.0419, 3.05, math.pi],
)
def test_the_kernel_and_its_derivatives(angle: float, device: torch.device) -> None:
    size, other = 1.7, 0.6
    v = torch.tensor([other, 0.0, 0.0], dtype=torch.float64, device=device)
    w = size * torch.tensor(
        [math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64, device=device
    )
    if angle == math.pi:
        w[1] = 0.0
    s, c = math.sin(angle), math.cos(angle)
    assert (
        abs(float(relu_kernel(w, v)) - size * other / (2 * math.pi) * (s + (math.pi - angle) * c))
        < 1e-15
    )
    w.requires_grad_(True)
    (gradient,) = torch.autograd.grad(relu_kernel(w, v), w)
    unit = w.detach() / size
    exact = (other * s * unit + (math.pi - angle) * v) / (2 * math.pi)
    assert torch.allclose(gradient, exact, atol=1e-14)
    H = torch.autograd.functional.hessian(lambda y: relu_kernel(y, v), w.detach())
    across = torch.tensor(
        [-math.sin(angle), math.cos(angle), 0.0], dtype=torch.float64, device=device
    )
    plane = (
        torch.eye(3, dtype=torch.float64, device=device)
        - torch.outer(unit, unit)
        + torch.outer(across, across)
    )
    assert torch.allclose(H, other * abs(s) / (2 * math.pi * size) * plane, atol=1e-13)


def test_a_student_of_weight_zero_has_no_derivative() -> None:
    f = zoo.load("student-teacher", width=2)
    x = torch.tensor([0.0, 0.0, 1.0, 0.5], dtype=torch.float64)
    assert math.isfinite(float(f.value(x)))
    assert f.gradient(x).isnan().any()
    with pytest.raises(NumericalError):
        ls.classify(f, x)


def test_the_students_order_does_not_matter(device: torch.device) -> None:
    f = zoo.load("student-teacher", width=4)
    W = torch.randn(5, 4, 4, dtype=torch.float64, device=device)
    moved = W[:, torch.tensor([2, 0, 3, 1])].flatten(1)
    assert torch.allclose(f.value(moved), f.value(W.flatten(1)))
    assert f.symmetry is not None
    invariants = f.symmetry.invariants
    assert torch.allclose(invariants(moved), invariants(W.flatten(1)), atol=1e-14)
    mixed = W.clone()
    mixed[:, 0, 0], mixed[:, 1, 0] = W[:, 1, 0], W[:, 0, 0]  # the same numbers, but other vectors
    assert (invariants(mixed.flatten(1)) - invariants(W.flatten(1))).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize(("name", "options"), [("xor-net", {}), ("student-teacher", {"width": 3})])
def test_rows_are_independent(
    name: str, options: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> None:
    f = zoo.load(name, **options)
    x = torch.randn(2, 3, f.dim, dtype=dtype, device=device)
    values = f.value(x)
    assert values.dtype == dtype
    assert values.device.type == device.type
    one_by_one = torch.stack([f.value(row) for row in x.flatten(0, 1)])
    assert torch.allclose(values.flatten(), one_by_one, rtol=50 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("xor-net", {"hidden": 1}, "at least 2"),
        ("xor-net", {"activation": "relu"}, "sigmoid or tanh"),
        ("student-teacher", {"width": 1}, "at least 2"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.load(name, **options)
