"""Adaptive optimisers at saddles: tables of another implementation, torch at random settings, laws of small steps."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.theory.adaptive import _rule

TRUTH = Path(__file__).parents[1] / "truth" / "dynamics"
NAMES = ("Adam", "AdamW", "Adamax", "RMSprop", "Adagrad", "Rprop")
theory = ls.theory


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((TRUTH / f"{name}.json").read_text())["rows"]
    return found


@pytest.mark.parametrize(
    "row",
    [r for r in rows("t3_adaptive_exit") if r["optimizer"] in NAMES],
    ids=lambda r: f"{r['optimizer']}-{r['lam'][1]}-{r['x0'][1]}",
)
def test_exit_is_that_of_the_table(row):
    found = theory.adaptive_exit(
        row["optimizer"], row["lam"][1:], row["x0"][1:], row["R"], steps=20_000, **row["kwargs"]
    )
    assert found.tolist() == [row["exit_step"]]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NAMES)
def test_exit_is_that_of_torch(name, seed):
    rng = np.random.default_rng([seed, NAMES.index(name)])
    lam, X = rng.normal(size=3) * 10 ** rng.uniform(-1, 1), rng.normal(size=(3, 3)) * 1e-3
    lam[0] = -abs(lam[0])
    options: dict[str, Any] = {"lr": 10 ** rng.uniform(-2, -1.3)}
    if name in ("Adam", "AdamW", "Adamax"):
        options |= {"betas": (rng.uniform(0, 0.95), rng.uniform(0.9, 0.999)), "weight_decay": 0.01}
    if name == "RMSprop":
        options |= {"momentum": 0.5 * seed, "centered": seed == 1, "alpha": 0.95}
    if name == "Adagrad":
        options |= {"lr": 0.1, "lr_decay": 1e-3 * seed, "initial_accumulator_value": 1e-4 * seed}
    found = theory.adaptive_exit(name, lam, X, 0.9, steps=2000, **options)
    for start, expected in zip(X, found, strict=True):
        p = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        optimizer = getattr(torch.optim, name)([p], foreach=False, **options)
        t = 0
        while float(p.detach().norm()) <= 0.9 and t < 2000:
            p.grad = torch.tensor(lam) * p.detach()
            optimizer.step()
            t += 1
        assert expected == t


@pytest.mark.parametrize("name", NAMES)
def test_rules_where_signs_change_and_eps_counts(name):
    options: dict[str, Any] = {"lr": 0.03} | ({} if name == "Rprop" else {"eps": 0.05})
    lam, x = np.array([4.0, 0.5, -0.1]), np.array([[0.3, -0.4, 0.01]])
    step = _rule(name, dict(options))
    p = torch.nn.Parameter(torch.tensor(x[0]))
    optimizer = getattr(torch.optim, name)([p], foreach=False, **options)
    for t in range(1, 61):
        x = step(x, lam * x, t)
        p.grad = torch.tensor(lam) * p.detach()
        optimizer.step()
        np.testing.assert_allclose(x[0], p.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_laws_of_small_steps():
    table = {row["case"]: row for row in rows("t3b_scaling")}
    cases = {
        "Adam b1=0 b2=1-1e-9 lr=0.001 eps=1e-14": ("adam", 1e-3, {"beta2": 1 - 1e-9}, 0.01),
        "Adam b1=0.9 b2=1-1e-9 lr=0.0001 eps=1e-14": ("adam", 1e-4, {"beta2": 1 - 1e-9}, 0.02),
        "Adagrad lr=0.003": ("adagrad", 3e-3, {}, 0.01),
        "Adamax lr=0.001 (law n)": ("adamax", 1e-3, {}, 0.1),
        "Rprop lr=0.01 eta+=1.05": ("rprop", 1e-2, {"etaplus": 1.05}, 1e-12),
    }
    for case, (name, lr, options, error) in cases.items():
        steps, holds = theory.adaptive_law(name, 1.0, lr, **options)
        assert holds
        assert steps == pytest.approx(table[case]["exit_step"], rel=error)
        assert steps == pytest.approx(table[case]["law"], rel=1e-4)
    alpha = 1 - 1e-6
    measured = theory.adaptive_exit(
        "rmsprop", [-1.0], [1e-9], lr=1e-5, alpha=alpha, eps=1e-16, steps=20_000
    )[0]
    assert theory.adaptive_law("rmsprop", 1.0, 1e-5, alpha=alpha)[0] == pytest.approx(
        float(measured), rel=0.05
    )


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_adams_law_knows_where_it_holds(beta1):
    """Between its two memories it is within 15 % of the rule itself, and elsewhere it says nothing."""
    h, known = 1e-4, {}
    for n in (2.0, 30.0, 300.0, 1000.0, 10_000.0):
        law, where = theory.adaptive_law("adam", n * h, h, beta1=beta1)
        known[n] = not math.isnan(law)
        assert known[n] != ("only" in where)
        if known[n]:
            exact = theory.adaptive_exit(
                "adam", [-1.0], [1e-9], n * h, lr=h, betas=(beta1, 0.999), eps=1e-30
            )
            assert law == pytest.approx(float(exact[0]), rel=0.15)
    assert known == {2.0: False, 30.0: beta1 == 0, 300.0: True, 1000.0: True, 10_000.0: False}


def test_predictions_beside_measured_steps():
    """The library's own runs of torch on a saddle along axes, run by run; and why there is none where there is none."""
    f = ls.zoo.load("quadratic", spectrum=[-1.0, 2.0, -0.3])
    labels = {
        "sgd:lr=0.1": ("SGD", {"lr": 0.1}),
        "sgd:lr=0.05,momentum=0.9,nesterov=true": (
            "sgd",
            {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        ),
        "adam:lr=0.01": ("Adam", {"lr": 0.01}),
    }
    study = ls.escape(
        f, torch.zeros(3, dtype=torch.float64), list(labels), runs=20, steps=500, start=1e-3
    )
    for label, (name, options) in labels.items():
        found = theory.predict_exit(
            name, options, [-1.0, 2.0, -0.3], study.starts.numpy(), steps=500, aligned=True
        )
        assert found.steps == study[label].steps.tolist()
        assert found.median == study[label].median.value

    def ask(name: str, options: dict[str, Any] | None = None, **more: Any) -> theory.Prediction:
        return theory.predict_exit(name, options or {}, [-1.0], [[1e-3]], **more)

    assert ask("lbfgs").law == "no law for lbfgs"
    assert ask("adam").law == "not along axes: no law"
    assert "amsgrad" in ask("adam", options={"amsgrad": True}, aligned=True).law
    assert ask("sgd", noise=True).median is None
    assert ask("sgd", options={"lr": 1e-9}, steps=5).median == float("inf")


def test_wrong_names():
    with pytest.raises(ValueError, match=r"no law for 'adamm'\. Did you mean"):
        theory.adaptive_exit("adamm", [-1.0], [1e-3])
    with pytest.raises(ValueError, match="no law for adam with 'beta'"):
        theory.adaptive_exit("adam", [-1.0], [1e-3], beta=0.9)
    with pytest.raises(ValueError, match="no option 'beta'"):
        theory.adaptive_law("adam", 1.0, 0.1, beta=0.9)
