"""A confidence is what its rule says: a ceiling times signs that can each be read."""

import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import landscape as ls
from landscape.training import rules
from landscape.training.causes import decades, ramp


@pytest.mark.parametrize(
    ("x", "low", "high", "expected"),
    [
        (0.5, 0.0, 1.0, 0.5),
        (2.0, 0.0, 1.0, 1.0),
        (-1.0, 0.0, 1.0, 0.0),
        (math.nan, 0.0, 1.0, 0.0),
        (0.25, 1.0, 0.0, 0.75),
    ],
    ids=["between", "above", "below", "NaN", "falling"],
)
def test_a_ramp_is_straight_between_its_numbers(
    x: float, low: float, high: float, expected: float
) -> None:
    assert ramp(x, low, high) == expected


def test_decades_count_from_power_to_power() -> None:
    assert decades(1e-2, -3.0, -1.0) == pytest.approx(0.5)
    assert decades(1e-2, -1.0, -3.0) == pytest.approx(0.5)
    assert [decades(x, -3.0, -1.0) for x in (0.0, -1.0, math.inf, math.nan)] == [
        0.0,
        0.0,
        1.0,
        0.0,
    ]


def test_every_rule_says_why_its_ceiling_is_where_it_is() -> None:
    for rule in rules.RULES:
        assert rule.name in rules.NAMES
        assert 0 < rule.ceiling < 1
        assert rule.because
        assert all(factor.__doc__ for factor in rule.factors)
    assert {rule.name for rule in rules.RULES} == set(rules.NAMES)


def test_a_cause_says_what_it_is_made_of() -> None:
    """Gradient descent too short for its valley: the causes' factors multiply to their confidences."""
    w = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    f = ls.FunctionLandscape(lambda x: 0.5 * (x[..., 0] ** 2 + 0.1 * x[..., 1] ** 2), dim=2)
    optimizer = torch.optim.SGD([w], lr=2e-3)
    with ls.Tracer(optimizer, f, every=10) as tracer:
        for _ in range(200):
            optimizer.zero_grad()
            f.value(w).backward()
            optimizer.step()
    found = ls.diagnose(tracer.result)
    ceilings = {name: {r.ceiling for r in rules.RULES if r.name == name} for name in rules.NAMES}
    for cause in found.causes:
        product = math.prod(cause.factors.values())
        assert any(cause.confidence == pytest.approx(c * product) for c in ceilings[cause.name]), (
            str(cause)
        )
        weak = {sign: value for sign, value in cause.factors.items() if value < 0.995}
        assert all(f"{sign} {value:.2f}" in str(cause) for sign, value in weak.items())
        assert ("Weak signs" in str(cause)) == bool(weak)


def rounded(dtype: torch.dtype, rate: float, scheduled: float) -> ls.training.Cause:
    """What is said of SGD whose steps are lost in rounding. The schedule multiplies the rate by
    ``scheduled`` after half of them.
    """
    torch.manual_seed(0)
    x = torch.randn(96, 6, dtype=dtype)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).to(dtype)
    f = ls.ModelLandscape(model, nn.functional.mse_loss, [(x, x[:, :1] - x[:, 1:2])])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    schedule = LambdaLR(optimizer, lambda step: 1.0 if step < 32 else scheduled)
    with ls.Tracer(optimizer, f, every=4, curvature=0, last_look=False) as tracer:
        for _ in range(64):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), x[:, :1] - x[:, 1:2]).backward()
            optimizer.step()
            schedule.step()
    cause = next(c for c in ls.diagnose(tracer.result).causes if "lost in rounding" in str(c))
    assert cause.name == "learning rate"
    return cause


@pytest.mark.parametrize(
    ("dtype", "rate", "scheduled", "finer", "remedy"),
    [
        (torch.float32, 1e-2, 1e-6, False, "Raise it again: the schedule ended"),
        (torch.float32, 2e-8, 1.0, False, "Raise the rate, lr=2e-07"),
        (torch.float32, 1e-7, 0.1, False, "Raise the rate, lr=1e-07"),
        (torch.bfloat16, 1e-4, 1.0, True, "or raise the rate, lr=0.001"),
        (torch.bfloat16, 1e-2, 0.01, True, "or raise the rate again."),
    ],
    ids=["scheduled", "too small", "always too small", "coarse", "coarse and scheduled"],
)
def test_steps_lost_in_rounding_are_mended_where_they_were_lost(
    dtype: torch.dtype, rate: float, scheduled: float, finer: bool, remedy: str
) -> None:
    """To keep weights in float32 is no remedy where they are, nor is the rate before a schedule
    where it moved nothing.
    """
    cause = rounded(dtype, rate, scheduled)
    assert ("float32" in cause.remedy) == finer
    assert remedy in cause.remedy
    told = f"the rate is {rate * scheduled:.3g}, {scheduled:.2g} of what it was"
    assert (told in cause.evidence) == ("again" in remedy)
