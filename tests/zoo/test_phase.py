"""Truths: exact points and spectra in tests/truth/landscapes; Gaussian moments by Gauss-Hermite quadrature."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import zoo

TRUTH = Path(__file__).parents[1] / "truth" / "landscapes"


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_exact_points(n: int, method: str, dtype: torch.dtype, device: torch.device) -> None:
    truth = json.loads((TRUTH / f"phase_retrieval_n{n}.json").read_text())
    f = zoo.load("phase-retrieval", n=n, signal=truth["z"])
    rounding = 100 * torch.finfo(dtype).eps
    for known in truth["points"]:
        verdict = ls.classify(f, torch.tensor(known["x"], dtype=dtype, device=device), method)
        assert (verdict.kind, verdict.index, verdict.nullity) == (
            known["kind"],
            known["index"],
            known["nullity"],
        )
        size = max(abs(x) for x in known["eigenvalues"])
        exact = torch.tensor(known["eigenvalues"], dtype=torch.float64)
        assert torch.allclose(verdict.eigenvalues, exact, atol=rounding * size)
        assert abs(verdict.value - known["value"]) <= rounding * truth["points"][0]["value"]
    signs = {(round(p["value"], 9), p["index"], p["nullity"]) for p in truth["points"]}
    points = f.stationary_points()
    assert {(round(p.value, 9), p.index, p.nullity) for p in points} == signs
    assert len(points) == (5 if n == 2 else 4)  # the saddles of n > 2 are one sphere


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_points_given(n: int, device: torch.device) -> None:
    f = zoo.load("phase-retrieval", n=n)
    for point in f.stationary_points():
        for method in ("dense", "lanczos"):
            verdict = ls.classify(f, point.x.to(device), method)
            assert (verdict.kind, verdict.index, verdict.nullity) == (
                point.kind,
                point.index,
                point.nullity,
            )
            assert abs(verdict.value - point.value) < 1e-12
    assert f.counts == {1: {0: 2, 1: 1}, 2: {0: 2, 1: 2, 2: 1}}.get(n, {0: 2, n: 1})


def test_the_mean_over_measurements() -> None:
    z, x = np.array([1.0, -2.0]), np.array([0.3, 0.7])
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)  # exact for the eighth degree and beyond
    a = np.stack(np.meshgrid(nodes, nodes), -1)
    mean = (np.outer(weights, weights) * ((a @ x) ** 2 - (a @ z) ** 2) ** 2).sum() / (2 * np.pi)
    f = zoo.load("phase-retrieval", n=2, signal=z.tolist())
    assert abs(float(f.value(torch.from_numpy(x))) - mean / 4) < 1e-12


def test_rows_are_independent(dtype: torch.dtype, device: torch.device) -> None:
    f = zoo.load("phase-retrieval", n=4)
    x = torch.randn(2, 3, 4, dtype=dtype, device=device)
    values = f.value(x)
    assert values.dtype == dtype
    assert values.device.type == device.type
    assert torch.allclose(values.flatten(), torch.stack([f.value(row) for row in x.flatten(0, 1)]))


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"n": 2, "signal": [1, 2, 3]},
        {"signal": [0, 0, 0]},
        {"signal": [1, 2, float("inf")]},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|must be . finite numbers"):
        zoo.load("phase-retrieval", **options)
