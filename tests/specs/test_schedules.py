"""Schedules against the formulas of each scheduler (tests/truth/dynamics/t9_schedulers.json) and by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import landscape as ls
from landscape.specs.schedules import factor

ROWS = json.loads((Path(__file__).parents[1] / "truth/dynamics/t9_schedulers.json").read_text())[
    "rows"
]


def spec(name: str, kwargs: dict[str, Any]) -> str:
    if name == "SequentialLR":
        first, second = (spec(*child) for child in kwargs["schedulers"])
        return f"{first} |{kwargs['milestones'][0]}| {second}"
    options = {("lr_lambda" if k == "fn" else k): v for k, v in kwargs.items()}
    return f"{name.lower()}:" + ",".join(
        f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in options.items()
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: spec(row["scheduler"], row["kwargs"]))
def test_curves_are_the_formulas(row: dict[str, Any]) -> None:
    found = ls.schedule_curve(
        spec(row["scheduler"], row["kwargs"]), row["base_lr"], 30, row["losses"]
    )
    assert found.tolist() == pytest.approx(row["lr"], rel=1e-13, abs=1e-15)


def test_chained_schedulers_multiply() -> None:
    found = ls.schedule_curve("ExponentialLR:gamma=0.9 + StepLR:step_size=3,gamma=0.5", 1.0, 8)
    assert found.tolist() == pytest.approx([0.9**t * 0.5 ** (t // 3) for t in range(8)])


def test_three_in_a_row() -> None:
    found = ls.schedule_curve(
        "ConstantLR:factor=0.5,total_iters=99 |2| ExponentialLR:gamma=0.5 |3| StepLR:step_size=9",
        1.0,
        7,
    )
    assert found.tolist()[:2] == [0.5, 0.5]
    assert found[3] / found[2] == pytest.approx(0.5)
    assert found[5] == found[6]


def test_expressions_in_t() -> None:
    assert factor("0.5*(1+cos(pi*t/10)) if t < 10 else 0")(4) == pytest.approx(
        0.5 * (1 + math.cos(0.4 * math.pi))
    )
    assert factor("max(0.1, -t // 3)")(5) == pytest.approx(0.1)


def test_a_sum_in_brackets_is_no_chain() -> None:
    found = ls.schedule_curve(
        "LambdaLR:lr_lambda=1 / (1 + t) + StepLR:step_size=2,gamma=0.5", 1.0, 2
    )
    assert found.tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize(
    "text", ["1/t", "1/(t-3)", "log(t)", "(t-2)**0.5", "10.0**t**t**t", "9**9**9**9**9"]
)
def test_an_expression_without_a_value_is_named_with_its_t(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no (finite )?value at t = [0-4]"):
        ls.schedule_curve(f"LambdaLR:lr_lambda={text}", 0.1, 8)


def test_branches_taken_late_are_read_at_once() -> None:
    with pytest.raises(ValueError, match="not allowed"):
        factor("1 if t < 1000 else open(t)")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "t.__class__",
        "open('x')",
        "[1][0]",
        "lambda: 1",
        "(t := 2)",
        "exp(x=1)",
        "u + 1",
        "1 +",
    ],
)
def test_an_expression_is_arithmetic_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="expression in t"):
        factor(text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("SteppLR", "Did you mean 'steplr'"),
        ("StepLR:gama=0.1,step_size=2", "Did you mean 'gamma'"),
        ("StepLR", "step_size"),
        ("ReduceLROnPlateau", "pass losses="),
        ("SequentialLR", "written by its parts"),
        ("StepLR:step_size=0", "'StepLR:step_size=0': integer modulo by zero"),
        ("CosineAnnealingLR:T_max=0", "T_max=0': integer modulo by zero"),
        ("StepLR:step_size=two", "StepLR: step_size must be a number, got 'two'"),
        ("MultiStepLR:milestones=['a']", "milestones must be a number"),
        ("ExponentialLR:gamma=NaN", "gamma must be a number, got nan"),
        ("StepLR:step_size=3 |x| ExponentialLR:gamma=0.9", "step_size must be a number"),
        ("OneCycleLR:max_lr=0.1,total_steps=2", "total_steps=2': Tried to step 3 times"),
    ],
)
def test_mistakes_are_named(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ls.schedule_curve(line, 0.1, 3)
