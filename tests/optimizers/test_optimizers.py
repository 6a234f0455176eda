"""Rows of ensembles against rules in NumPy (tests/truth/dynamics), against torch's own groups, and in the shapes of a model."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import landscape as ls
from landscape.optimizers.ensembles import Ensemble
from landscape.specs import optimizers as makers

TRUTH = Path(__file__).parents[1] / "truth/dynamics/numpy_optimizers.py"


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("numpy_optimizers", TRUTH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = _reference()


@pytest.fixture
def doubles() -> Iterator[None]:
    """NAdam and ASGD keep scalars in torch's default dtype: in float32 they are 1e-9 off."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def spec(name: str, options: dict[str, Any]) -> str:
    return f"{name}:" + ",".join(
        f"{k}={json.dumps(list(v) if isinstance(v, tuple) else v)}" for k, v in options.items()
    )


def rosenbrock(x: Tensor) -> Tensor:
    return (1 - x[..., 0]) ** 2 + 100 * (x[..., 1] - x[..., 0] ** 2) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), REFERENCE.CASES, ids=[spec(*case) for case in REFERENCE.CASES]
)
def test_rows_follow_the_rule_in_numpy(name: str, options: dict[str, Any], doubles: None) -> None:
    """The first row step by step from its start, at settings that do not amplify rounding; all rows, which some settings bounce across
    the valley, each step from where torch was before it."""
    f = ls.FunctionLandscape(rosenbrock, dim=2)
    X = np.array([[-1.2, 1.0], [-0.5, 0.2], [0.4, 0.3]])
    ensemble = Ensemble(
        torch.tensor(X), makers.maker(spec(name, options)), f.many().gradients, f.value
    )
    rule, *rules = (getattr(REFERENCE, name)(**options) for _ in range(1 + len(X)))
    x, apart, steps = X[0], 0.0, 0.0
    for _ in range(200):
        ensemble.step()
        x = rule.step(x, REFERENCE.rosen_grad(x))
        found = ensemble.points.numpy().copy()
        apart = max(apart, float(np.abs(found[0] - x).max()))
        expected = np.array(
            [r.step(row, REFERENCE.rosen_grad(row)) for r, row in zip(rules, X, strict=True)]
        )
        steps = max(steps, float(np.abs(found - expected).max()))
        X = found
    print(
        f"{spec(name, options)}: largest difference {apart:.1e} after up to 200 steps, {steps:.1e} a step"
    )
    assert apart <= 1e-12
    assert steps <= 1e-12


def network(bias: bool = True, dtype: torch.dtype = torch.float64) -> ls.ModelLandscape:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Linear(4, 2, bias=bias)).to(
        dtype
    )
    x = torch.randn(12, 3, dtype=dtype)
    return ls.ModelLandscape(
        model, nn.functional.mse_loss, [(x, torch.stack([x[:, 0], -x[:, 1]], dim=1))]
    )


def alone(f: ls.ModelLandscape, x: Tensor, make: Any, steps: int) -> Tensor:
    """The user's own loop from the point x."""
    f.load(x)
    optimizer = make(dict(f.model.named_parameters()))
    ((data, target),) = f.batches
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(f.model(data), target).backward()
        optimizer.step()
    return f.point()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "kind", "options", "overrides"),
    [
        ("sgd:lr=0.1,momentum=0.9; *.bias:lr=0.02,momentum=0", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9},
         {"*.bias": {"lr": 0.02, "momentum": 0.0}}),
        ("adamw:lr=0.01; 2.bias:weight_decay=0.5; 2.*:lr=0.03,betas=[0.5,0.9]", torch.optim.AdamW, {"lr": 0.01},
         {"2.bias": {"weight_decay": 0.5}, "2.*": {"lr": 0.03, "betas": (0.5, 0.9)}}),
        ("adafactor:lr=0.01; *.bias:lr=0.1", torch.optim.Adafactor, {"lr": 0.01}, {"*.bias": {"lr": 0.1}}),
    ],
    ids=["sgd", "adamw", "adafactor"],
)  # fmt: skip
def test_groups_are_those_of_torch(
    line: str, kind: Any, options: dict[str, Any], overrides: dict[str, Any], dtype: torch.dtype
) -> None:
    f = network(dtype=dtype)
    X = f.point() + 0.3 * torch.randn(3, f.dim, dtype=dtype)

    def make(parameters: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [parameters["2.bias"]],
                **overrides.get("2.bias", overrides.get("*.bias", {})),
            },
            {"params": [parameters["2.weight"]], **overrides.get("2.*", {})},
            {"params": [parameters["0.bias"]], **overrides.get("*.bias", {})},
            {"params": [parameters["0.weight"]]},
        ]
        return kind(groups, **options)

    ensemble = Ensemble(X, makers.maker(line), f.many().gradients, f.value, f=f)
    assert ensemble.together == (kind is not torch.optim.Adafactor)
    for _ in range(40):
        ensemble.step()
    expected = torch.stack([alone(f, x, make, 40) for x in X])
    torch.testing.assert_close(
        ensemble.points, expected, rtol=0, atol=2e-5 if dtype is torch.float32 else 1e-11
    )
    plain = Ensemble(X, makers.maker(line.partition(";")[0]), f.many().gradients, f.value, f=f)
    for _ in range(40):
        plain.step()
    assert float((plain.points - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("line", ["muon:lr=0.02", "adafactor:lr=0.02"])
def test_matrices_stay_matrices(line: str) -> None:
    """Muon orthogonalises a matrix's update and Adafactor factors its second moment: of a flat vector neither is the same."""
    f = network(bias=False, dtype=torch.float32)
    X = f.point() + 0.3 * torch.randn(3, f.dim)
    make = makers.maker(line)
    ensemble = Ensemble(X, make, f.many().gradients, f.value, f=f)
    for _ in range(20):
        ensemble.step()
    kind = {"muon": torch.optim.Muon, "adafactor": torch.optim.Adafactor}[line.partition(":")[0]]
    expected = torch.stack([alone(f, x, lambda p: kind(list(p.values()), lr=0.02), 20) for x in X])
    torch.testing.assert_close(ensemble.points, expected, rtol=0, atol=1e-4)
    assert float((ensemble.points - X).abs().max()) > 0.01


@pytest.mark.slow
def test_a_study_with_groups_and_with_muon() -> None:
    """A frozen layer stays where it is; Muon leaves the saddle at zero of a net without biases."""
    f = network(bias=False)
    at = torch.zeros(f.dim, dtype=torch.float64)
    lines = ["sgd:lr=0.2; 0.*:lr=0", "muon:lr=0.02"]
    study = ls.escape(f, at, lines, 3, 100, 1e-3, ls.FallsBelow(0.1))
    first = f.layout["0.weight"]
    assert torch.equal(study[lines[0]].ends[:, first], study.starts[:, first])
    assert not bool(study[lines[0]].escaped.any())
    assert bool(study[lines[1]].escaped.all())
    assert study[lines[0]].theory.steps is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "sgd:lr=0.1; *.bais:lr=0",
            r"the group '\*\.bais' matches no parameter\. Did you mean '.\.bias'",
        ),
        ("sgd:lr=0.1; *.bias:lrr=0", r"no option 'lrr'\. Did you mean 'lr'"),
        ("sgd:lr=0.1; *.bias", "is no group"),
        ("muon:lr=0.1", r"Muon takes matrices only, and 0\.bias is none"),
        ("lbfgs:lr=0.1; *.bias:lr=0", "one group of parameters"),
        ("sparseadam", "sparse gradients only"),
    ],
)
def test_groups_that_do_not_fit(line: str, said: str) -> None:
    f = network()
    with pytest.raises(ValueError, match=said):
        ls.escape(f, f.point(), [line], 2, 3)
    with pytest.raises(ValueError, match=r"formula|no option|no group|one group|sparse"):
        ls.escape(ls.zoo.load("strict-saddle", dim=2), torch.zeros(2).double(), [line], 2, 3)
