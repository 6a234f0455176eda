"""Searches end at points known in closed form, in the dense and the matrix-free way, and name it when they do not."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad

import landscape as ls
from landscape.points import steps
from landscape.points.walk import Outcome

METHODS = ("newton-mr", "gradient-norm", "saddle-free")
HIMMELBLAU = [  # roots of the two cubics for the gradient, to ten digits
    (3.0, 2.0, 0), (-2.8051180870, 3.1313125183, 0), (-3.7793102534, -3.2831859913, 0), (3.5844283403, -1.8481265270, 0),
    (0.0866775046, 2.8842547020, 1), (-3.0730257508, -0.0813530440, 1), (3.3851541833, 0.0738518798, 1),
    (-0.1279613466, -1.9537149808, 1), (-0.2708445907, -0.9230385565, 2),
]  # fmt: skip


@pytest.fixture(params=["dense", "matrix-free"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "matrix-free":
        monkeypatch.setattr(steps, "DENSE_STEP", 0)
    return request.param


def himmelblau(x: Tensor) -> Tensor:
    return (x[..., 0] ** 2 + x[..., 1] - 11) ** 2 + (x[..., 0] + x[..., 1] ** 2 - 7) ** 2


def tang(x: Tensor) -> Tensor:
    return 0.5 * (x**4 - 16 * x**2 + 5 * x).sum(-1)


def uphill(x: Tensor) -> Tensor:
    return (x + x**3 / 3).sum(-1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton-mr", "gradient-norm"])
def test_himmelblaus_nine_points(
    method: str, route: str, dtype: torch.dtype, device: torch.device
) -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    for a, b, index in HIMMELBLAU:
        start = torch.tensor([a + 0.1, b - 0.08], dtype=dtype, device=device)
        found = ls.find_stationary(f, start, method)
        gap = (found.x.cpu().double() - torch.tensor([a, b], dtype=torch.float64)).abs().max()
        assert float(gap) <= (1e-8 if dtype == torch.float64 else 1e-4), (a, b)
        assert (found.outcome, found.index, found.search) == (Outcome.STATIONARY, index, method)
        assert found.distance == pytest.approx(math.hypot(0.1, 0.08), rel=1e-3)
        assert found.start_value == pytest.approx(float(himmelblau(start)), rel=1e-4)
        assert (found.x.dtype, found.x.device.type) == (dtype, device.type)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(5))
def test_every_index_is_reached(index: int, route: str, dtype: torch.dtype) -> None:
    f = ls.FunctionLandscape(tang, 4, ls.Box(-5.0, 5.0))
    roots = np.roots([4, 0, -32, 5]).real  # of the derivative of x^4 - 16 x^2 + 5 x
    start = torch.tensor([0.4, -0.3, 0.9, -0.8], dtype=dtype)
    found = ls.find_stationary(f, start, "eigenvector-following", index=index)
    assert (found.outcome, found.index) == (Outcome.STATIONARY, index)
    assert found.kind == ("minimum" if index == 0 else "maximum" if index == 4 else "saddle")
    assert all(min(abs(v - root) for root in roots) < 1e-4 for v in found.x.tolist())


def test_a_minimum_is_left_for_the_saddle_that_is_asked_for() -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    at = torch.tensor([3.0, 2.0], dtype=torch.float64)
    assert float(f.gradient(at).norm()) == 0
    stays = ls.find_stationary(f, at, "eigenvector-following", index=0)
    assert (stays.outcome, stays.distance) == (Outcome.STATIONARY, 0.0)
    found = ls.find_stationary(f, at, "eigenvector-following", index=1, seed=1)
    assert (found.outcome, found.index) == (Outcome.STATIONARY, 1)


def test_only_minima_attract_saddle_free_steps(route: str) -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    for a, b, index in HIMMELBLAU:
        found = ls.find_stationary(
            f, torch.tensor([a + 1e-3, b + 2e-3], dtype=torch.float64), "saddle-free"
        )
        assert (found.outcome, found.kind) == (Outcome.STATIONARY, "minimum")
        assert found.value <= found.start_value
        assert (found.distance < 0.01) == (index == 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_start_that_is_stationary_stays(method: str) -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    found = ls.find_stationary(f, torch.tensor([3.0, 2.0], dtype=torch.float64), method)
    assert (found.distance, found.search_products, found.iterations) == (0.0, 0, 0)
    again = ls.find_stationary(
        f, ls.find_stationary(f, torch.tensor([0.0, 3.0], dtype=torch.float64)).x, method
    )
    assert again.iterations <= 2
    assert again.distance < 1e-12
    assert again.kind == "saddle" or method == "saddle-free"


@pytest.mark.parametrize("method", ["newton-mr", "gradient-norm"])
def test_a_gradient_flat_end_is_named(method: str, route: str, dtype: torch.dtype) -> None:
    """x + x^3/3 has the slope 1 + x^2: its square is stationary at 0, and nothing else is."""
    f = ls.FunctionLandscape(uphill, 1)
    found = ls.find_stationary(f, torch.tensor([1.5], dtype=dtype), method)
    assert found.outcome is Outcome.GRADIENT_FLAT
    assert found.kind == "not-stationary"
    assert any("Frye" in reason for reason in found.reasons)
    assert abs(float(found.x)) < 0.02
    assert found.gradient_norm == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_a_search_without_end_is_named() -> None:
    away = ls.FunctionLandscape(lambda x: torch.log1p(x.square()).sum(-1), 2)
    found = ls.find_stationary(away, torch.tensor([3.0, 2.0], dtype=torch.float64))
    assert found.outcome is Outcome.DIVERGED
    short = ls.find_stationary(
        ls.FunctionLandscape(lambda x: (x**4).sum(-1), 3),
        torch.ones(3, dtype=torch.float64),
        max_products=12,
    )
    assert short.outcome is Outcome.BUDGET
    assert short.search_products <= 12 + 3
    loose = ls.find_stationary(
        ls.FunctionLandscape(lambda x: (x**4).sum(-1), 3),
        torch.ones(3, dtype=torch.float64),
        tol=1e-3,
    )
    assert loose.outcome is Outcome.TOLERANCE
    assert loose.gradient_norm <= 1e-3 * loose.start_gradient_norm


@pytest.mark.slow
def test_eigenvectors_on_a_sphere(route: str, dtype: torch.dtype, device: torch.device) -> None:
    """x'Ax on the unit sphere is stationary at A's eigenvectors; the k-th has index k (Courant and Fischer)."""
    Q, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    values = torch.tensor([-1.0, 0.5, 1.0, 2.5, 4.0], dtype=torch.float64)
    A = (Q * values) @ Q.T
    f = ls.FunctionLandscape(
        lambda x: torch.einsum("...i,ij,...j->...", x, A.to(x), x), 5, ls.Sphere()
    )
    start = torch.randn(5, dtype=torch.float64).to(device, dtype)
    accuracy = 1e-4 if dtype == torch.float32 else 1e-9
    for k in range(5):
        found = ls.find_stationary(f, start, "eigenvector-following", index=k)
        x = found.x.cpu().double()
        assert (found.outcome, found.index) == (Outcome.STATIONARY, k)
        assert float(x.norm()) == pytest.approx(1, abs=accuracy)
        assert found.value == pytest.approx(float(values[k]), abs=accuracy)
        assert float((A @ x - values[k] * x).norm()) < accuracy
    for method in METHODS:
        found = ls.find_stationary(f, start, method)
        assert found.outcome is Outcome.STATIONARY
        assert min(abs(found.value - float(v)) for v in values) < accuracy


def test_a_torus_is_gone_round_the_short_way() -> None:
    f = ls.FunctionLandscape(lambda x: x.cos().sum(-1), 2, ls.Torus())
    found = ls.find_stationary(f, torch.tensor([2 * math.pi - 0.1, 3.0], dtype=torch.float64))
    assert (found.outcome, found.index) == (Outcome.STATIONARY, 1)
    assert float(torch.sin(found.x / 2).abs()[0]) < 1e-12  # at 0, which is 2 pi
    assert float(found.x.min()) >= 0
    assert found.distance == pytest.approx(math.hypot(0.1, math.pi - 3), rel=1e-9)


def test_symmetric_directions_make_no_steps() -> None:
    """Two atoms at a distance: translations and the rotation are trivial, and only the distance may change."""

    def energy(x: Tensor) -> Tensor:
        return (((x[..., :2] - x[..., 2:]) ** 2).sum(-1) - 1) ** 2

    def directions(x: Tensor) -> Tensor:
        turn = torch.stack([-x[1], x[0], -x[3], x[2]])
        return torch.stack([x.new_tensor([1, 0, 1, 0]), x.new_tensor([0, 1, 0, 1]), turn], dim=1)

    symmetry = ls.landscapes.Symmetry(
        lambda x: ((x[..., :2] - x[..., 2:]) ** 2).sum(-1, keepdim=True), directions
    )
    f = ls.FunctionLandscape(energy, 4, symmetry=symmetry)
    start = torch.tensor([0.3, 0.1, 1.1, 0.9], dtype=torch.float64)
    for method in METHODS:
        found = ls.find_stationary(f, start, method)
        assert found.outcome is Outcome.STATIONARY
        move = found.x - start
        assert float((directions(start).T @ move).abs().max()) < 1e-9
        assert float((found.x[:2] - found.x[2:]).norm()) == pytest.approx(1, abs=1e-9)


def test_a_deep_linear_net_has_its_saddle_at_the_origin(route: str) -> None:
    """w2 w1 for two by two layers and the identity as data: |W2 W1 - M|^2 / 2 has at 0 the Hessian of -tr(M'W2 W1)."""
    M = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        first, second = x[..., :4].unflatten(-1, (2, 2)), x[..., 4:].unflatten(-1, (2, 2))
        return 0.5 * (second @ first - M.to(x)).square().sum((-1, -2))

    f = ls.FunctionLandscape(loss, 8)
    found = ls.find_stationary(f, 0.05 * torch.randn(8, dtype=torch.float64))
    assert (found.outcome, found.kind, found.index) == (Outcome.STATIONARY, "saddle", 4)
    assert float(found.x.abs().max()) < 1e-9
    assert found.value == pytest.approx(2.5)
    low = ls.find_stationary(f, torch.randn(8, dtype=torch.float64), "saddle-free")
    assert low.value == pytest.approx(
        0, abs=1e-12
    )  # no local minimum but the global ones (Kawaguchi 2016)


def small(
    dtype: torch.dtype, device: torch.device | str = "cpu"
) -> tuple[ls.ModelLandscape, nn.Module]:
    torch.manual_seed(3)
    x = torch.randn(40, 4, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(
        nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2, bias=False)
    ).double()
    batches = [(x[:25], y[:25]), (x[25:], y[25:])]
    return ls.ModelLandscape(
        model, nn.functional.cross_entropy, batches, l2={"*": 0.02}, dtype=dtype, device=device
    ), model


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton-mr", "saddle-free", "eigenvector-following"])
def test_a_small_network_to_rounding(
    method: str, route: str, dtype: torch.dtype, device: torch.device
) -> None:
    if route == "matrix-free" and dtype == torch.float32 and method != "newton-mr":
        pytest.skip("seconds more, and the same code")
    f, model = small(dtype, device)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state, training = torch.get_rng_state(), model.training
    found = ls.find_stationary(f, method=method, index=1 if method.startswith("eig") else None)
    assert found.outcome is Outcome.STATIONARY
    assert found.gradient_norm <= (1e-5 if dtype == torch.float32 else 1e-13)
    assert found.index == {"saddle-free": 0, "eigenvector-following": 1}.get(method, found.index)
    again, _ = small(torch.float64)
    x = found.x.detach().cpu().double()
    slope = again.gradient(
        x
    )  # the point is stationary for the landscape in float64, as far as the dtype can tell
    assert float(slope.norm()) < (1e-3 if dtype == torch.float32 else 1e-12)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == training


def test_ctrl_c_leaves_the_model() -> None:
    f, model = small(torch.float64)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calls = itertools.count()

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    model.train()
    with pytest.raises(KeyboardInterrupt):
        ls.find_stationary(f, progress=interrupt)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_same_seed_finds_the_same() -> None:
    f = ls.FunctionLandscape(tang, 4, ls.Box(-5.0, 5.0))
    start = torch.tensor([0.4, -0.3, 0.9, -0.8], dtype=torch.float64)
    a, b = (
        ls.find_stationary(f, start, "eigenvector-following", index=2, seed=5) for _ in range(2)
    )
    assert torch.equal(a.x, b.x)
    assert a.search_products == b.search_products


@pytest.mark.slow
def test_a_found_point_is_a_stationary_point_and_is_stored(tmp_path: Path) -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    found = ls.find_stationary(f, torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert isinstance(found, ls.points.StationaryPoint)
    loaded = ls.load(ls.results.save(found, tmp_path / "point"))
    assert isinstance(loaded, ls.points.FoundPoint)
    assert (loaded.outcome, loaded.kind, loaded.distance) == (
        found.outcome,
        found.kind,
        found.distance,
    )
    x = found.x.clone()
    assert torch.equal(loaded.x, x)
    assert float(grad(himmelblau)(x).norm()) == pytest.approx(found.gradient_norm)


def test_bad_arguments_are_told_in_a_line() -> None:
    f = ls.FunctionLandscape(himmelblau, 2)
    x = torch.tensor([2.0, 2.0], dtype=torch.float64)
    mistakes: dict[str, dict[str, Any]] = {
        "method must be one of": {"method": "newton"},
        "needs index=": {"method": "eigenvector-following"},
        "index is for": {"index": 1},
        "from 0 to 2": {"method": "eigenvector-following", "index": 3},
        "tol must": {"tol": -1.0},
        "max_products must": {"max_products": 0},
        "seed must": {"seed": -1},
        "no current point": {"start": None},
        "shape": {"start": torch.zeros(3)},
        "float32 or float64": {"start": torch.zeros(2, dtype=torch.int64)},
        "NaN": {"start": x * float("nan")},
    }
    for match, arguments in mistakes.items():
        with pytest.raises(ValueError, match=match) as error:
            ls.find_stationary(f, **({"start": x} | arguments))
        assert "\n" not in str(error.value)
    broken = ls.FunctionLandscape(lambda x: x.sum(-1) / 0.0, 2)
    with pytest.raises(ls.NumericalError, match="loss at the start"):
        ls.find_stationary(broken, x)
    with pytest.raises(ls.NumericalError, match="gradient norm at the start"):
        ls.find_stationary(
            ls.FunctionLandscape(lambda x: x.abs().sqrt().sum(-1), 2), torch.zeros(2)
        )


def test_nothing_is_made_on_the_default_device(route: str) -> None:
    f = ls.FunctionLandscape(himmelblau, 2, ls.Box(-5.0, 5.0))
    start = torch.tensor([2.0, 2.0], dtype=torch.float64)
    with torch.device("meta"):
        for method in METHODS:
            ls.find_stationary(f, start, method)
        ls.find_stationary(f, start, "eigenvector-following", index=1)
