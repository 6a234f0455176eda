"""Censuses of sums of waves, which have no table, against Newton's method from a fine grid in plain numpy."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import landscape as ls

Array = NDArray[np.float64]


@dataclass
class Waves:
    """sum_j a_j cos(k_j'x) + b_j sin(k_j'x) + bowl |x|^2 / 2, with derivatives written by hand."""

    k: Array  # (m, n)
    a: Array
    b: Array
    bowl: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        k, a, b = (torch.from_numpy(t).to(x) for t in (self.k, self.a, self.b))
        phase = x @ k.T
        return torch.cos(phase) @ a + torch.sin(phase) @ b + self.bowl * (x * x).sum(-1) / 2

    def derivatives(self, x: Array) -> tuple[Array, Array]:
        phase = x @ self.k.T
        slope = -np.sin(phase) * self.a + np.cos(phase) * self.b
        value = np.cos(phase) * self.a + np.sin(phase) * self.b
        gradient = slope @ self.k + self.bowl * x
        hessian = -np.einsum("pj,ji,jl->pil", value, self.k, self.k) + self.bowl * np.eye(
            x.shape[1]
        )
        return gradient, hessian

    def stationary(self, low: float, high: float, side: int, periodic: bool) -> tuple[Array, Array]:
        """Points (p, n) and their indices (p,), by Newton steps of limited length from side^n starts."""
        n, size = self.k.shape[1], high - low
        axis = low + size * (np.arange(side) + 0.37) / side
        x = np.stack(np.meshgrid(*[axis] * n), -1).reshape(-1, n)
        for _ in range(40):
            gradient, hessian = self.derivatives(x)
            step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
            length = np.linalg.norm(step, axis=1, keepdims=True)
            x = x - step * np.minimum(1, 0.05 * size / np.maximum(length, 1e-300))
        x = x[length[:, 0] < 1e-9]
        x = low + (x - low) % size if periodic else x[((x >= low) & (x <= high)).all(1)]
        points: list[Array] = []
        for p in x:
            gaps = np.array([p - q for q in points]).reshape(-1, n)
            gaps = (gaps + size / 2) % size - size / 2 if periodic else gaps
            if not len(gaps) or np.linalg.norm(gaps, axis=1).min() > 1e-6:
                points.append(p)
        found = np.array(points)
        return found, (np.linalg.eigvalsh(self.derivatives(found)[1]) < 0).sum(1)


def random_waves(n: int, degree: int, seed: int) -> Waves:
    steps = range(-degree, degree + 1)
    k = np.array(
        [
            k
            for k in itertools.product(steps, repeat=n)
            if k > (0,) * n and sum(map(abs, k)) <= degree
        ],
        float,
    )
    a, b = np.random.default_rng(seed).standard_normal((2, len(k)))
    return Waves(k, a, b)


def agree(census: ls.inventory.Census, points: Array, indices: Array, period: float | None) -> None:
    assert len(census.points) == len(points)
    assert census.counts == {int(i): int((indices == i).sum()) for i in np.unique(indices)}
    assert census.degenerate == 0
    found = np.array([p.x.numpy() for p in census.points])
    gaps = points[:, None] - found[None]
    gaps = (gaps + period / 2) % period - period / 2 if period else gaps
    distance = np.linalg.norm(gaps, axis=-1)
    assert distance.min(1).max() < 1e-7
    assert [census.points[j].index for j in distance.argmin(1)] == indices.tolist()


@pytest.mark.slow
def test_a_crowded_box_is_emptied() -> None:
    k = np.array([[3, 2.5], [3, -2.5], [2, 3]])  # sin(3x) cos(2.5y) + sin(2x + 3y) / 2
    f = Waves(k, np.zeros(3), np.array([0.5, 0.5, 0.5]), 0.1)
    points, indices = f.stationary(-3, 3, 60, periodic=False)
    assert len(points) == 56
    agree(ls.census(ls.FunctionLandscape(f, 2, ls.Box(-3, 3)), 4000), points, indices, None)


@pytest.mark.slow
@pytest.mark.parametrize(("degree", "seed"), [(1, 0), (2, 1), (2, 2)])
def test_random_waves_on_a_torus_of_three_dimensions(degree: int, seed: int) -> None:
    f = random_waves(3, degree, seed)
    points, indices = f.stationary(0, 2 * np.pi, 16, periodic=True)
    assert (
        int(((-1) ** indices).sum()) == 0
    )  # Morse: the torus has Euler characteristic 0, or the truth has a gap
    one, other = (ls.census(ls.FunctionLandscape(f, 3, ls.Torus()), 4000, seed) for seed in (0, 1))
    for census in (one, other):
        agree(census, points, indices, 2 * np.pi)
        assert census.euler == census.euler_expected == 0
