"""Learning-rate schedules on one line, made of torch's own schedulers.

``StepLR:step_size=7,gamma=0.1`` is one scheduler, its class in any case; ``A + B`` steps both after every optimiser step (chained);
``A |10| B`` is A for 10 steps, then B on its own clock (SequentialLR). A factor of LambdaLR or MultiplicativeLR is an expression in t,
``LambdaLR:lr_lambda=0.95**t``: numbers, t, arithmetic, comparisons, exp, log, sqrt, sin, cos, min, max, abs, pi. It is parsed, never run
as code.
"""

import ast
import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from landscape import specs

SCHEDULERS: dict[str, type[LRScheduler]] = {
    name.lower(): kind
    for name, kind in vars(lr_scheduler).items()
    if inspect.isclass(kind) and issubclass(kind, LRScheduler) and not name.startswith("_") and kind is not LRScheduler
}
COMPOSED = ("sequentiallr", "chainedscheduler")  # written with |N| and +
_FUNCTIONS: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in ("exp", "log", "sqrt", "sin", "cos", "floor", "ceil")},
    **{"min": min, "max": max, "abs": abs},
}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
}  # fmt: skip


class Schedule:
    """What a spec says, stepped after the optimiser it was made for.

    Raises:
        ValueError: a scheduler or an option that torch does not have, or a value that it refuses.
    """

    def __init__(self, spec: str, optimizer: Optimizer) -> None:
        self._parts = [_sequence(part.strip(), optimizer) for part in re.split(r"\s\+\s", spec)]
        self.needs_loss = any(isinstance(part, ReduceLROnPlateau) for part in self._parts)

    def step(self, loss: float | None = None) -> None:
        """After ``optimizer.step()``. ``loss`` is what ReduceLROnPlateau watches."""
        for part in self._parts:
            if isinstance(part, ReduceLROnPlateau):
                if loss is None:
                    raise ValueError("ReduceLROnPlateau watches the loss: pass losses=.")
                part.step(loss)
            else:
                part.step()


def schedule_curve(spec: str, lr: float, steps: int, losses: Sequence[float] | Tensor | None = None) -> Tensor:
    """The learning rates (steps,), float64, that a schedule gives: read from a real optimiser before each of its steps.

    Args:
        spec: see the module; ``"StepLR:step_size=7,gamma=0.1"``.
        lr: the optimiser's own rate.
        steps: number of optimiser steps, at least 1.
        losses: (steps,) what ReduceLROnPlateau is told after each step.

    Raises:
        ValueError: the spec is wrong, a number is out of range, or losses are missing or too few.
    """
    if steps < 1 or not 0 < lr < math.inf:
        raise ValueError(f"steps must be at least 1 and lr a positive number, got {steps} and {lr!r}.")
    if losses is not None and len(losses) < steps:
        raise ValueError(f"losses must have one number a step, {steps}, got {len(losses)}.")
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64, device="cpu"))
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=0.9)  # OneCycleLR and CyclicLR also cycle the momentum
    schedule, rates = Schedule(spec, optimizer), []
    for t in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step(None if losses is None else float(losses[t]))
    return torch.tensor(rates, dtype=torch.float64, device="cpu")


def _sequence(spec: str, optimizer: Optimizer) -> LRScheduler:
    pieces = re.split(r"\s*\|\s*(\d+)\s*\|\s*", spec)
    made = [_single(piece.strip(), optimizer) for piece in pieces[::2]]
    if len(made) == 1:
        return made[0]
    milestones = [sum(int(n) for n in pieces[1 : i + 2 : 2]) for i in range(0, len(pieces) - 1, 2)]
    return lr_scheduler.SequentialLR(optimizer, made, milestones)


def _single(spec: str, optimizer: Optimizer) -> LRScheduler:
    name, options = specs.split(spec)
    kind = SCHEDULERS.get(name.strip().lower())
    if kind is None or name.strip().lower() in COMPOSED:
        hint = specs.closest(name.strip().lower(), SCHEDULERS)
        raise ValueError(
            f"no scheduler is called {name!r}.{hint} Known: {', '.join(k.__name__ for k in SCHEDULERS.values())}."
        )
    require_options(name, kind, options, skip=1)
    if "lr_lambda" in options:
        options["lr_lambda"] = factor(str(options["lr_lambda"]))
    try:
        return kind(optimizer, **options)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{spec!r}: {error}") from error


def require_options(name: str, kind: type, options: Mapping[str, Any], skip: int) -> None:
    """Raise a ValueError that names the nearest option unless ``kind`` takes all of ``options``; its first ``skip`` parameters are none."""
    known = list(inspect.signature(kind).parameters)[skip:]
    for key in options:
        if key not in known:
            raise ValueError(f"{name} has no option {key!r}.{specs.closest(key, known)} It has {', '.join(known)}.")


def factor(text: str) -> Callable[[int], float]:
    """The function of t that an arithmetic expression spells.

    Raises:
        ValueError: it is more than arithmetic.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _value(tree, 1.0)
    except (SyntaxError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"{text!r} is no arithmetic expression in t: {error}.") from error
    return lambda t: float(_value(tree, t))


def _value(node: ast.expr, t: float) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id="t"):
            return t
        case ast.Name(id="pi"):
            return math.pi
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, t), _value(right, t))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, t)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, t), _value(right, t))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, t) else other, t)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(a, t) for a in args))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an expression in t; known: {', '.join(_FUNCTIONS)}, pi.")
