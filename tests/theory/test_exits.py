"""Exit steps: published-rule tables in 50-digit arithmetic, torch itself, a plain recursion in arbitrary precision."""

import json
import math
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch

import landscape as ls

TRUTH = Path(__file__).parents[1] / "truth" / "dynamics"
OPTIONS = ("lr", "momentum", "dampening", "nesterov", "weight_decay")


def rows(name: str, part: str = "rows") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((TRUTH / f"{name}.json").read_text())[part]
    return found


def options(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in OPTIONS}


@pytest.mark.parametrize("row", rows("t1_saddle_sgd"), ids=lambda row: str(row["id"]))
def test_exit_is_that_of_the_table(row):
    falling = [i for i, lam in enumerate(row["lam"]) if lam < 0]
    lam, x0 = ([row[name][i] for i in falling] for name in ("lam", "x0"))
    assert ls.theory.sgd_exit(lam, x0, row["R"], steps=20_000, **options(row)).tolist() == [
        row["exit_step"]
    ]


def plain(
    lam, x0, radius, steps, *, lr, momentum, dampening, nesterov, weight_decay
) -> tuple[int, float]:
    """torch's rule in 40 digits; the step and how far the distances around it are from the radius."""
    with mp.workdps(40):
        lam, x, margin = [mp.mpf(v) for v in lam], [mp.mpf(v) for v in x0], mp.inf
        b: list[Any] = [None] * len(x)
        for t in range(steps + 1):
            r = mp.sqrt(sum(v * v for v in x)) / radius
            margin = min(margin, abs(r - 1))
            if r > 1:
                return t, float(margin)
            for i, k in enumerate(lam):
                g = (k + mp.mpf(weight_decay)) * x[i]
                if momentum:
                    b[i] = g if b[i] is None else momentum * b[i] + (1 - mp.mpf(dampening)) * g
                    g = g + momentum * b[i] if nesterov else b[i]
                x[i] -= mp.mpf(lr) * g
        return -1, float(margin)


def drawn(seed: int) -> tuple[list[float], np.ndarray, float, dict[str, Any]]:
    """A saddle, two starts, a radius and a form of SGD at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    lam = rng.normal(size=n) * 10 ** rng.uniform(-1.5, 0.5)
    lam = np.abs(lam) * (-1 if seed % 2 else np.sign(lam))  # every other one falls along all axes
    form = seed % 4
    chosen = {
        "lr": 10 ** rng.uniform(-2, -0.5), "momentum": [0.0, 0.9, 0.5, 0.95][form], "nesterov": form == 2,
        "dampening": 0.0 if form != 3 else rng.uniform(0, 1), "weight_decay": 0.01 * (seed % 3),
    }  # fmt: skip
    return (
        lam.tolist(),
        rng.normal(size=(2, n)) * 10 ** rng.uniform(-12, -2),
        10 ** rng.uniform(-1, 1),
        chosen,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(32))
def test_exit_is_that_of_a_plain_recursion_and_of_torch(seed):
    lam, X, radius, chosen = drawn(seed)
    steps = 1500
    found = ls.theory.sgd_exit(lam, X, radius, steps=steps, **chosen)
    assert found.dtype == np.int64
    for row, start in enumerate(X):
        t, margin = plain(lam, start.tolist(), radius, steps, **chosen)
        assert margin > 1e-9  # rounding does not decide
        assert found[row] == t
    p = torch.nn.Parameter(torch.tensor(X[0], dtype=torch.float64))
    optimizer = torch.optim.SGD([p], **chosen)
    a = torch.tensor(lam, dtype=torch.float64)
    for t in range(steps + 1):
        if float(p.detach().norm()) > radius:
            assert found[0] == t
            return
        p.grad = a * p.detach()
        optimizer.step()
    assert found[0] == -1


@pytest.mark.slow
def test_exit_where_formats_end():
    """Starts below the smallest float64's square, distances above the largest: logarithms are the truth."""
    t = ls.theory.sgd_exit([-0.5], [[1e-300], [0.9], [2.0]], 1.0, lr=0.2)
    assert t.tolist() == [math.ceil(300 * math.log(10) / math.log(1.1)), 2, 0]
    slow = ls.theory.sgd_exit([-1e-4], [1e-300], 1e300, lr=1e-3, steps=10**12)[
        0
    ]  # 1.4e10 steps, by doubling
    assert slow == pytest.approx(600 * math.log(10) / math.log1p(1e-7), rel=1e-6)
    assert ls.theory.sgd_exit([-1.0], [1e-3], lr=0.1, steps=72).tolist() == [-1]
    assert ls.theory.sgd_exit([-1.0], [1e-3], lr=0.1, steps=73).tolist() == [73]
    assert ls.theory.sgd_exit([-1.0, 1.0], [1e-3, 1e-3], lr=0.1, weight_decay=1.0).tolist() == [-1]
    assert ls.theory.sgd_exit([-1.0], [0.0], lr=0.1).tolist() == [-1]


@pytest.mark.slow
def test_growth_is_the_spectral_radius():
    rng = np.random.default_rng(0)
    for form in range(4):
        chosen: dict[str, Any] = {
            "lr": 0.3,
            "momentum": [0.0, 0.9, 0.5, 0.9][form],
            "nesterov": form == 2,
            "dampening": 0.4 * (form == 3),
            "weight_decay": 0.1,
        }
        lam = rng.normal(size=6) * 5
        found = ls.theory.sgd_growth(lam, **chosen)
        for k, rho in zip(lam, found, strict=True):
            # the steps of torch, as a matrix by its columns
            t, x = 400, torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
            optimizer, peak, size = torch.optim.SGD([x], **chosen), [], 0.0
            for _ in range(t):
                x.grad = k * x.detach()
                optimizer.step()
                state = optimizer.state[x].get("momentum_buffer")
                scale = float(x.detach().abs()) + (0.0 if state is None else float(state.abs()))
                size += math.log(scale)
                with torch.no_grad():
                    x.div_(scale)
                    if state is not None:
                        state /= scale
                peak.append(size)
            assert math.exp((peak[-1] - peak[99]) / (t - 100)) == pytest.approx(rho, rel=0.02)


@pytest.mark.parametrize(
    "row",
    rows("t7_stability"),
    ids=lambda row: f"{row['momentum']}-{row['dampening']}-{row['nesterov']}",
)
def test_limits_of_stability(row):
    chosen = {name: row[name] for name in OPTIONS if name != "lr"}
    lr = row["lr_max_bisection"]
    assert ls.theory.sgd_limit(lr, **chosen) == pytest.approx(row["lam"], rel=1e-12)
    below, above = (
        ls.theory.sgd_growth([row["lam"]], lr=lr * s, **chosen)[0] for s in (0.999, 1.001)
    )
    assert below < 1 < above


def test_adam_limit():
    assert ls.theory.adam_limit(1e-3) == pytest.approx(38e3)
    assert ls.theory.adam_limit(0.1, 0.0) == pytest.approx(20)
    assert ls.theory.sgd_limit(0.1, 0.9, dampening=1.0) == math.inf


@pytest.mark.parametrize(
    ("optimizer", "options", "limit"),
    [
        (torch.optim.RMSprop, {"momentum": 0.9}, ls.theory.rmsprop_limit(0.1, 0.9)),
        (torch.optim.RMSprop, {}, ls.theory.rmsprop_limit(0.1)),
        (torch.optim.Adam, {"betas": (0.9, 0.999)}, ls.theory.adam_limit(0.1)),
        (
            torch.optim.AdamW,
            {"betas": (0.5, 0.999), "weight_decay": 1.0},
            ls.theory.adam_limit(0.1, 0.5, weight_decay=1.0),
        ),
        (
            torch.optim.AdamW,
            {"betas": (0.9, 0.999), "weight_decay": 5.0},
            ls.theory.adam_limit(0.1, weight_decay=5.0),
        ),
        # decay in the gradient is curvature: a quarter of the limit is its own
        (
            torch.optim.Adam,
            {"betas": (0.8, 0.999), "weight_decay": 0.25e8 * ls.theory.adam_limit(0.1, 0.8)},
            0.75 * ls.theory.adam_limit(0.1, 0.8),
        ),
        (
            torch.optim.RMSprop,
            {"momentum": 0.5, "weight_decay": 0.25e8 * ls.theory.rmsprop_limit(0.1, 0.5)},
            0.75 * ls.theory.rmsprop_limit(0.1, 0.5),
        ),
        (torch.optim.RMSprop, {"momentum": 0.8, "centered": True}, 36.0),
        (torch.optim.Adam, {"betas": (0.8, 0.999), "amsgrad": True}, 180.0),
    ],
)
def test_adaptive_limits_are_those_of_torch(optimizer, options, limit) -> None:
    """With eps far above the gradients the preconditioner is frozen at P = eps."""
    for factor in (0.95, 1.05):
        x = torch.tensor([1e-60], dtype=torch.float64, requires_grad=True)
        steps = optimizer([x], lr=0.1, eps=1e8, **options)
        for _ in range(3000):
            x.grad = factor * limit * 1e8 * x.detach()
            steps.step()
            if abs(x.item()) > 1e-5:
                break
        # Adam's first steps, whose averages are still short, make it grow whatever the limit.
        assert (abs(x.item()) < 1e-50) == (factor < 1)
    with pytest.raises(ValueError, match="weight_decay"):
        ls.theory.adam_limit(1.0, weight_decay=2.0)


@pytest.mark.parametrize("beta1", [0.9, 0.99])
def test_adam_grows_in_its_first_steps_below_the_limit(beta1: float) -> None:
    """From 0.9 of it by e^{2.8 / (1 - beta1)} or so; after the first steps the limit holds."""
    shrinks = {}
    for factor in (0.9, 1.1):
        x = torch.tensor([1e-290], dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([x], lr=0.1, eps=1e8, betas=(beta1, 0.999))
        sizes = []
        for _ in range(round(30 / (1 - beta1))):
            x.grad = factor * ls.theory.adam_limit(0.1, beta1) * 1e8 * x.detach()
            adam.step()
            sizes.append(abs(x.item()))
            if not 1e-320 < sizes[-1] < 1e-9:
                break
        if factor < 1:
            grown = math.log(max(sizes) / 1e-290) * (1 - beta1)
            assert 2.5 < grown < 3.2
        half = len(sizes) // 2
        shrinks[factor] = sizes[-1] < 1e-9 and max(sizes[-50:]) < max(sizes[half - 50 : half])
    assert shrinks == {0.9: True, 1.1: False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("betas", "within"),
    [((0.9, 0.999), True), ((0.5, 0.99), True), ((0.9, 0.95), True), ((0.99, 0.9), False)],
)
def test_where_a_moving_preconditioner_keeps_to_adams_limit(
    betas: tuple[float, float], within: bool
) -> None:
    """The curvature that Adam feels on x^2 / 2, sqrt(v) / (1 - beta2^t) moving as torch moves it."""
    x = torch.tensor([1e-3], dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([x], lr=0.1, betas=betas, eps=1e-14)
    felt = []
    for t in range(1, 8001):
        x.grad = x.detach().clone()
        adam.step()
        v = float(adam.state[x]["exp_avg_sq"]) / (1 - betas[1] ** t)
        felt.append(1 / (v**0.5 * ls.theory.adam_limit(0.1, betas[0])))
    low, high = np.quantile(felt[6000:], (0.05, 0.95))
    assert (low >= 0.75 and high <= 1.3) == within
    if not within:
        assert high < 0.05


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"lr": -1.0}, "lr must be a number of at least 0"),
        ({"lr": 0.1, "nesterov": True}, "Nesterov's form needs momentum"),
        ({"lr": 0.1, "radius": 0.0}, "radius must be a positive number"),
        ({"lr": 0.1, "start": [[1.0, 2.0]]}, "start must be"),
        ({"lr": 0.1, "curvatures": [math.nan]}, "finite"),
    ],
)
def test_wrong_input(chosen, text):
    with pytest.raises(ValueError, match=text):
        ls.theory.sgd_exit(**{"curvatures": [-1.0], "start": [0.1], **chosen})
