"""Truths: Hessians written out in numpy from the product rule; exact spectra, values and signs in tests/truth/landscapes."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import zoo
from landscape.points.classify import StationaryPoint
from landscape.zoo.known import KnownLandscape, KnownPoint

TRUTH = Path(__file__).parents[1] / "truth" / "landscapes"
SIX = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
NETWORKS: dict[str, dict[str, Any]] = {
    "3-3-3": {},
    "bottleneck": {"hidden": 1},
    "wide": {"hidden": 5},
    "more inputs": {"hidden": 4, "inputs": 5},
    "more outputs": {"hidden": 2, "outputs": 4, "seed": 3},
    "repeated": {"singular_values": [2, 2, 1, 1], "hidden": 3},
    "unsorted": {"singular_values": [1, 3, 2]},
    "one value": {"singular_values": 2, "hidden": 1, "inputs": 3},
    "three layers": {"singular_values": [3, 2, 1], "hidden": [3, 3]},
    "four layers": {"singular_values": [2, 2, 1], "hidden": [3, 2, 4], "inputs": 4},
}
MATRICES: dict[str, dict[str, Any]] = {
    "4 x 2": {},
    "one column": {"eigenvalues": [3, 2, 1], "rank": 1},
    "more columns than rows": {"eigenvalues": [2, 1], "rank": 3},
    "repeated": {"eigenvalues": [2, 2, 2, 1, 1], "rank": 3},
    "singular": {"eigenvalues": [3, 1, 0, 0], "rank": 3},
}


def sizes_of(q: int, options: dict[str, Any]) -> list[int]:
    hidden = options.get("hidden", q)
    return [
        options.get("inputs", q),
        *(hidden if isinstance(hidden, list) else [hidden]),
        options.get("outputs", q),
    ]


def cut(x: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    weights, start = [], 0
    for columns, rows in pairwise(sizes):
        weights.append(x[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
    return weights


def chain(matrices: list[np.ndarray], size: int) -> np.ndarray:
    product = np.eye(size)
    for W in matrices:
        product = W @ product
    return product


def target(f: KnownLandscape, sizes: list[int]) -> np.ndarray:
    """Y, read off the values of f where the product of the layers is a unit matrix."""
    Y, origin = (
        np.zeros((sizes[-1], sizes[0])),
        float(f.value(torch.zeros(f.dim, dtype=torch.float64))),
    )
    for a, b in np.ndindex(*Y.shape):
        weights = [np.zeros((rows, columns)) for columns, rows in pairwise(sizes)]
        for k, W in enumerate(weights):
            W[a if k == len(weights) - 1 else 0, b if k == 0 else 0] = 1.0
        x = torch.from_numpy(np.concatenate([W.ravel() for W in weights]))
        Y[a, b] = origin + 0.5 - float(f.value(x))
    return Y


def chain_hessian(x: np.ndarray, sizes: list[int], Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of 1/2 |W_L ... W_1 - Y|^2 by the product rule."""
    weights = cut(x, sizes)
    L = len(weights)
    below = [chain(weights[:k], sizes[0]) for k in range(L + 1)]
    above = [chain(weights[k + 1 :], sizes[k + 1]) for k in range(L)]
    E = below[L] - Y
    first = [np.einsum("ia,bj->abij", above[k], below[k]).reshape(-1, E.size) for k in range(L)]
    J = np.concatenate(first)
    H = J @ J.T
    starts = np.cumsum([0, *(W.size for W in weights)])
    for k in range(L):
        for m in range(k + 1, L):
            middle = chain(weights[k + 1 : m], sizes[k + 1])
            block = np.einsum("ic,da,bj,ij->abcd", above[m], middle, below[k], E).reshape(
                weights[k].size, -1
            )
            H[starts[k] : starts[k + 1], starts[m] : starts[m + 1]] += block
            H[starts[m] : starts[m + 1], starts[k] : starts[k + 1]] += block.T
    return J @ E.ravel(), H


def square_hessian(x: np.ndarray, M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of 1/4 |U U' - M|^2, column by column."""
    U = x.reshape(len(M), -1)
    R = U @ U.T - M
    units = np.eye(x.size).reshape(-1, *U.shape)
    return (R @ U).ravel(), np.stack([((D @ U.T + U @ D.T) @ U + R @ D).ravel() for D in units])


def matrix(f: KnownLandscape, n: int) -> np.ndarray:
    """M, read off the values of f at one and at sums of two unit vectors in the first column of U."""

    def linear(u: np.ndarray) -> float:
        U = np.zeros((n, f.dim // n))
        U[:, 0] = u
        origin = float(f.value(torch.zeros(f.dim, dtype=torch.float64)))
        return 2 * (
            origin + 0.25 * float(u @ u) ** 2 - float(f.value(torch.from_numpy(U.ravel())))
        )  # u' M u

    e = np.eye(n)
    return np.array([[(linear(a + b) - linear(a - b)) / 4 for a in e] for b in e])


def assert_signs(H: np.ndarray, point: KnownPoint) -> None:
    eigenvalues = np.linalg.eigvalsh(H)
    zero = 1e-11 * max(np.abs(eigenvalues).max(), 1.0)
    assert (int((eigenvalues < -zero).sum()), int((np.abs(eigenvalues) <= zero).sum())) == (
        point.index,
        point.nullity,
    )


def assert_verdict(verdict: StationaryPoint, point: KnownPoint) -> None:
    assert (verdict.kind, verdict.index) == (point.kind, point.index)
    assert verdict.index_bounds == (point.index, point.index)
    if verdict.method == "dense":
        assert verdict.nullity == point.nullity
    else:
        assert verdict.nullity in (None, point.nullity)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_against_the_product_rule(name: str) -> None:
    options = NETWORKS[name]
    f = zoo.load("deep-linear", **options)
    s = np.atleast_1d(options.get("singular_values", [3, 2, 1]))
    sizes = sizes_of(len(s), options)
    Y = target(f, sizes)
    assert np.allclose(np.linalg.svd(Y)[1], sorted(s, reverse=True), atol=1e-12)
    for point in f.stationary_points():
        gradient, H = chain_hessian(point.x.numpy(), sizes, Y)
        assert np.abs(gradient).max() < 1e-13
        assert (
            abs(0.5 * ((chain(cut(point.x.numpy(), sizes), sizes[0]) - Y) ** 2).sum() - point.value)
            < 1e-12
        )
        assert_signs(H, point)
        x = point.x
        assert np.allclose(ls.Hessian(f, x).dense().numpy(), H, atol=1e-12)
        if len(sizes) == 3:  # anywhere on the orbit, far from balance
            C = np.random.default_rng(0).normal(size=(sizes[1], sizes[1])) + 3 * np.eye(sizes[1])
            W1, W2 = cut(x.numpy(), sizes)
            moved = np.concatenate([(np.linalg.inv(C) @ W1).ravel(), (W2 @ C).ravel()])
            gradient, H = chain_hessian(moved, sizes, Y)
            assert np.abs(gradient).max() < 1e-12
            assert_signs(H, point)


@pytest.mark.parametrize("name", MATRICES)
def test_factorisations_against_the_product_rule(name: str) -> None:
    options = MATRICES[name]
    f = zoo.load("factorisation", **options)
    values = options.get("eigenvalues", [4, 3, 2, 1])
    M = matrix(f, len(values))
    assert np.allclose(np.linalg.eigvalsh(M), sorted(values), atol=1e-12)
    for point in f.stationary_points():
        gradient, H = square_hessian(point.x.numpy(), M)
        assert np.abs(gradient).max() < 1e-13
        U = point.x.numpy().reshape(len(M), -1)
        assert abs(0.25 * ((U @ U.T - M) ** 2).sum() - point.value) < 1e-12
        assert_signs(H, point)


def test_the_number_of_manifolds() -> None:
    count = {
        name: len(zoo.load("deep-linear", **options).stationary_points())
        for name, options in NETWORKS.items()
    }
    assert count["3-3-3"] == count["wide"] == 8
    assert count["bottleneck"] == 4  # none of the values, or one of three
    assert (
        count["repeated"] == 8
    )  # up to two of each value: nine choices, one of them more than the three units can hold
    assert (
        len(zoo.load("factorisation", eigenvalues=[2, 2, 2, 1, 1], rank=3).stationary_points()) == 9
    )
    assert zoo.load("deep-linear").counts == {9: 1}  # the origin; all others are families
    assert zoo.load("deep-linear", hidden=[3, 3]).counts is None


def test_a_deep_origin_is_a_plateau_and_partial_fits_are_flat_saddles() -> None:
    f = zoo.load("deep-linear", hidden=[3, 3])
    first, second, *_ = f.stationary_points()
    assert (first.kind, first.nullity) == ("plateau", f.dim)
    assert (second.kind, second.index, second.value) == ("degenerate", 0, 2.5)
    assert not f.complete
    assert "no minimum" in " ".join(ls.classify(f, second.x, "dense").reasons)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("case", ["hidden 6", "bottleneck 3"])
def test_verdicts_on_six_directions(case: str, method: str, device: torch.device) -> None:
    f = zoo.load("deep-linear", singular_values=SIX, hidden=int(case.split()[1]))
    points = f.stationary_points()
    assert len(points) == (64 if case == "hidden 6" else 42)
    for point in points:  # so many at once that the Lanczos route forms the matrix
        assert_verdict(ls.classify(f, point.x.to(device), method, smallest=30), point)
    for point in points[::9]:
        assert_verdict(ls.classify(f, point.x.to(device), method), point)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("name", ["repeated", "more inputs", "four layers"])
def test_verdicts_on_networks(
    name: str, method: str, dtype: torch.dtype, device: torch.device
) -> None:
    f = zoo.load("deep-linear", **NETWORKS[name])
    for point in f.stationary_points():
        assert_verdict(ls.classify(f, point.x.to(device, dtype), method), point)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("name", ["4 x 2", "repeated", "singular"])
def test_verdicts_on_factorisations(
    name: str, method: str, dtype: torch.dtype, device: torch.device
) -> None:
    f = zoo.load("factorisation", **MATRICES[name])
    for point in f.stationary_points():
        assert_verdict(ls.classify(f, point.x.to(device, dtype), method), point)


@pytest.mark.slow
def test_verdicts_on_six_eigenvalues() -> None:
    f = zoo.load("factorisation", eigenvalues=SIX, rank=6)
    for point in f.stationary_points():
        for method in ("dense", "lanczos"):
            assert_verdict(ls.classify(f, point.x, method), point)


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [
        ("deep_linear_2layer", "deep-linear", {"hidden": 2}),
        ("deep_linear_2layer_wide", "deep-linear", {}),
        ("factorisation", "factorisation", {}),
    ],
)
def test_exact_spectra(file: str, name: str, options: dict[str, Any]) -> None:
    truth = json.loads((TRUTH / f"{file}.json").read_text())["points"]
    f = zoo.formula(name, **options)

    def key(value: float, index: int, nullity: int, eigenvalues: list[float]) -> tuple[Any, ...]:
        return round(value, 9), index, nullity, tuple(round(x, 9) + 0.0 for x in eigenvalues)

    found = [
        key(p.value, p.index, p.nullity, ls.classify(f, p.x, "dense").eigenvalues.tolist())
        for p in f.stationary_points()
    ]
    assert sorted(found) == sorted(
        key(p["value"], p["index"], p["nullity"], p["eigenvalues"]) for p in truth
    )


@pytest.mark.parametrize("name", ["deep-linear", "factorisation"])
def test_rows_are_independent(name: str, dtype: torch.dtype, device: torch.device) -> None:
    f = zoo.load(name)
    x = torch.randn(2, 3, f.dim, dtype=dtype, device=device)
    values = f.value(x)
    assert values.dtype == dtype
    assert values.device.type == device.type
    one_by_one = torch.stack([f.value(row) for row in x.flatten(0, 1)]).view(2, 3)
    assert torch.allclose(values, one_by_one, rtol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deep-linear", {"singular_values": []}, "at least one"),
        ("deep-linear", {"singular_values": [1, 0]}, "must be positive"),
        ("deep-linear", {"singular_values": [1, float("nan")]}, "finite"),
        ("deep-linear", {"hidden": 0}, "at least 1 each"),
        ("deep-linear", {"hidden": []}, "at least 1 each"),
        ("deep-linear", {"inputs": 2}, "as many as singular values"),
        ("deep-linear", {"inputs": 4, "outputs": 4}, "or one of them more"),
        ("factorisation", {"eigenvalues": [1, -1]}, "not be negative"),
        ("factorisation", {"rank": 0}, "rank must be a whole number of at least 1"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.load(name, **options)
