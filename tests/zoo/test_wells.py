"""Octopus, double wells, a Gaussian well, quadratics by spectrum: closed forms, joints, torch's steps against exact ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import landscape as ls
from landscape.zoo.known import KnownLandscape

OCTOPUS = json.loads(
    (Path(__file__).parents[1] / "truth" / "dynamics" / "t4_octopus.json").read_text()
)
KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("octopus", {"dim": 1}), ("octopus", {"dim": 4, "L": 2.0, "gamma": 0.5, "tau": 1.0}), ("octopus", {}),
    ("double-well", {"dim": 3, "wells": 2, "stiffness": 4.0}), ("double-well", {"dim": 1}), ("gaussian-well", {"dim": 3}),
    ("quadratic", {"spectrum": [3.0, -2.0, 0.5]}),
]  # fmt: skip


def load(name: str, options: dict[str, Any]) -> KnownLandscape:
    f = ls.zoo.load(name, **options)
    assert isinstance(f, KnownLandscape)
    return f


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), KNOWN)
def test_known_points_are_what_they_say(name, options):
    f = load(name, options)
    points = f.stationary_points()
    X = torch.stack([p.x for p in points])
    assert len(torch.unique(X, dim=0)) == len(points)
    assert float(f.gradient(X).abs().max()) < 1e-12
    torch.testing.assert_close(
        f.value(X), X.new_tensor([p.value for p in points]), rtol=1e-13, atol=1e-13
    )
    for p in points:
        H = torch.func.hessian(f.value)(p.x)
        eigenvalues = torch.linalg.eigvalsh(H)
        assert (int((eigenvalues < 0).sum()), p.nullity, p.kind) == (
            p.index,
            0,
            ls.classify(f, p.x).kind,
        )
    assert f.counts is not None
    assert f.counts == {k: sum(p.index == k for p in points) for k in f.counts}


@pytest.mark.slow
@pytest.mark.parametrize(
    "check", OCTOPUS["checks"], ids=lambda c: f"{c['L']:.3g}-{c['gamma']}-{c['tau']:.3g}"
)
def test_octopus_is_smooth_across_its_joints(check):
    L, gamma, tau = check["L"], check["gamma"], check["tau"]
    f = load("octopus", {"dim": 3, "L": L, "gamma": gamma, "tau": tau})
    generator = torch.Generator().manual_seed(0)
    eps = 1e-7 * tau
    for i in range(3):
        for at in (tau, 2 * tau):
            x = torch.rand(3, generator=generator, dtype=torch.float64) * 0.9 * tau
            x[:i] += 3 * tau
            x[i] = at
            e = eps * torch.eye(3, dtype=torch.float64)[i]
            for order in (f.value, f.gradient, torch.func.hessian(f.value)):
                below, above = order(x - e), order(x + e)
                torch.testing.assert_close(below, above, rtol=1e-4, atol=2e-4 * L)
    assert -float(f.value(torch.full((3,), 4 * tau, dtype=torch.float64))) == pytest.approx(
        3 * check["nu"], rel=1e-12
    )


def test_octopus_by_hand():
    """d = 2, L = gamma = tau = 1 at x = (1.5, 0.4): u = 1/2, v = -1/2."""
    f = load("octopus", {"dim": 2, "L": 1.0, "gamma": 1.0, "tau": 1.0})
    g1 = -2.25 - 4 / 3 / 8 + 1 / 16
    g2 = -1 - 2 * (-10 / 8 + 15 / 16 - 6 / 32)
    for signs in ((1, 1), (-1, 1), (1, -1)):
        x = torch.tensor([1.5, 0.4], dtype=torch.float64) * torch.tensor(signs)
        assert float(f.value(x)) == pytest.approx(g1 + g2 * 0.16, rel=1e-14)
    x = torch.tensor([3.0, 0.5], dtype=torch.float64)
    assert float(f.value(x)) == pytest.approx(1 - 50 / 6 - 0.25, rel=1e-14)
    assert float(f.value(torch.tensor([0.5, 0.5], dtype=torch.float64))) == pytest.approx(
        0.0, abs=1e-15
    )


@pytest.mark.parametrize(
    "row", [r for r in OCTOPUS["torch_sgd"] if (r["escape_step"] or 999) < 400]
)
def test_octopus_under_torch(row):
    """torch's steps through the formula, in float32 and float64, are the exact ones until underflow ends them."""
    dtype = getattr(torch, row["dtype"])
    f = load("octopus", {"dim": row["d"], "L": row["L"], "gamma": row["gamma"]})
    p = torch.nn.Parameter(torch.ones(row["d"], dtype=dtype))
    optimizer = torch.optim.SGD([p], lr=1 / (4 * row["L"]))
    last = None
    for t in range(400):
        if bool((p.detach().abs() >= 2 * math.e).all()):
            last = t
            break
        before = p.detach().clone()
        optimizer.zero_grad()
        f.value(p).backward()
        optimizer.step()
        if torch.equal(before, p.detach()):
            break
    assert last == row["escape_step"]
    if last is not None:
        exact = ls.theory.octopus_exit(row["d"], row["L"], row["gamma"], math.e, 1 / (4 * row["L"]))
        assert last == exact[-1]
    else:
        assert bool((p.detach() == 0).any())


def test_rows_dtypes_and_devices(device, dtype):
    for name, options in KNOWN:
        f = load(name, options)
        X = torch.randn(5, f.dim, device=device, dtype=dtype)
        values = f.value(X)
        assert values.dtype == dtype
        assert values.device.type == device.type
        torch.testing.assert_close(values, torch.stack([f.value(x) for x in X]))


def test_barrier_and_plateau():
    f = load("double-well", {"dim": 1})
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    assert f.value(x).tolist() == [-0.25, 0.0, -0.25]
    g = load("gaussian-well", {"dim": 1})
    assert float(g.gradient(torch.tensor([5.0], dtype=torch.float64))) == pytest.approx(
        5 * math.exp(-12.5), rel=1e-14
    )


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("octopus", {"L": 1.0, "gamma": 2.0}, "0 < gamma <= L"),
        ("double-well", {"wells": 3}, "wells must be a whole number from 1 to 2"),
        ("quadratic", {"spectrum": [1.0], "matrix": [[1.0]]}, "not both"),
        ("quadratic", {"spectrum": ["a"]}, "spectrum must be numbers"),
        ("gaussian-well", {"dim": 0}, "at least 1"),
    ],
)
def test_wrong_options(name, options, text):
    with pytest.raises(ValueError, match=text):
        ls.zoo.load(name, **options)
