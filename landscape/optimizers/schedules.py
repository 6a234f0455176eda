"""The learning rates that schedules give, read from real optimisers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.results import Result, provenance, result
from landscape.specs.schedules import Schedule


@result("schedules")
@dataclass(frozen=True, eq=False)
class Schedules(Result):
    """Curves of several schedules, for a figure."""

    rates: dict[str, Tensor]  # by spec, (steps,) float64 each
    lr: float


def schedule_curve(
    spec: str, lr: float, steps: int, losses: Sequence[float] | Tensor | None = None
) -> Tensor:
    """The learning rates (steps,), float64, that a schedule gives: read from a real optimiser
    before each of its steps.

    Args:
        spec: see the module; ``"StepLR:step_size=7,gamma=0.1"``.
        lr: the optimiser's own rate.
        steps: number of optimiser steps, at least 1.
        losses: (steps,) what ReduceLROnPlateau is told after each step.

    Raises:
        ValueError: the spec is wrong, a number is out of range, or losses are missing or too few.

    Examples:
        >>> import landscape as ls
        >>> rates = ls.schedule_curve("steplr:step_size=10", lr=0.1, steps=30)
        >>> [round(float(rate), 4) for rate in rates[::10]]
        [0.1, 0.01, 0.001]
    """
    if steps < 1 or not 0 < lr < math.inf:
        raise ValueError(
            f"steps must be at least 1 and lr a positive number, got {steps} and {lr!r}."
        )
    if losses is not None and len(losses) < steps:
        raise ValueError(f"losses must have one number a step, {steps}, got {len(losses)}.")
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64, device="cpu"))
    # OneCycleLR and CyclicLR also cycle the momentum.
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=0.9)
    schedule, rates = Schedule(spec, optimizer), []
    for t in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step(None if losses is None else float(losses[t]))
    return torch.tensor(rates, dtype=torch.float64, device="cpu")


def schedule_curves(
    lines: Sequence[str], lr: float, steps: int, losses: Sequence[float] | Tensor | None = None
) -> Schedules:
    """``schedule_curve`` of each line, as one result that can be stored and drawn.

    Raises:
        ValueError: as of ``schedule_curve``, or there is no line.
    """
    if isinstance(lines, str) or not len(lines):
        raise ValueError(f"lines must be a list of schedules, at least one, got {lines!r}.")
    rates = {spec: schedule_curve(spec, lr, steps, losses) for spec in lines}
    return Schedules(rates, lr, provenance=provenance(None, name="schedules", lr=lr, steps=steps))
