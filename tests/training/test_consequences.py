"""What a planted cause leaves behind is not named before it: runs of the calibration that were wrong once."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import landscape as ls

PATH = Path(__file__).parents[1] / "benchmarks" / "causes.py"


@pytest.fixture(scope="module")
def causes() -> Any:
    spec = importlib.util.spec_from_file_location("causes", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["causes"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("weight decay", 310),  # to a zero that looks like a saddle
        ("weight decay", 303),  # against what gradients promised
        ("constant inputs", 308),  # whose weights get no gradient
        ("unscaled", 306),  # which saturate
        ("equal units", 301),  # which die together
        ("saddle", 300),  # where any step is long
        ("too small", 500),  # Adam's steps are as long as its rate
        ("too small", 700),  # with a hundredth of the loss to gain
        ("too large", 508),  # thrown off, and come to rest there
        ("zero_grad missing", 700),  # which diverges at once
        ("control", 315),  # which falls slowly and steadily
    ],
)
def test_the_cause_is_named_before_what_it_leaves_behind(causes: Any, kind: str, seed: int) -> None:
    found = causes.judged(kind, seed, False, None)
    assert found.right, found
    assert found.named != "not stuck" or kind == "control"


@pytest.mark.slow
def test_adam_that_has_hardly_moved_is_told_so(causes: Any) -> None:
    """Its steps are as long as its rate: N steps move n weights by at most N lr n^(1/2)."""
    plan = causes.too_small(500)
    assert plan.optimizer in ("Adam", "AdamW")
    trace, _, _ = causes.run(plan)
    start = float(trace.weight_norm[0])
    moved = float(trace.from_start[-1]) / start
    assert moved <= 2 * plan.steps * plan.lr * len(trace.x) ** 0.5 / start
    first = ls.diagnose(trace).causes[0]
    assert any(f"moved by {moved:.2g} of their norm" in line for line in first.evidence)
