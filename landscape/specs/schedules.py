"""Learning-rate schedules on one line, made of torch's own schedulers.

``StepLR:step_size=7,gamma=0.1`` is one scheduler, its class in any case; ``A + B`` steps both after
every optimiser step (chained); ``A |10| B`` is A for 10 steps, then B on its own clock
(SequentialLR). A factor of LambdaLR or MultiplicativeLR is an expression in t,
``LambdaLR:lr_lambda=0.95**t``: numbers, t, arithmetic, comparisons, exp, log, sqrt, sin, cos, min,
max, abs, pi, and a sum in brackets. It is parsed, never run as code.
"""

import ast
import inspect
import math
import operator
import re
from collections.abc import Callable

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import SWALR

from landscape import specs
from landscape.specs.grammar import Options

SCHEDULERS: dict[str, type[LRScheduler]] = {
    name.lower(): kind
    for name, kind in vars(lr_scheduler).items()
    if inspect.isclass(kind)
    and issubclass(kind, LRScheduler)
    and not name.startswith("_")
    and kind is not LRScheduler
}
SCHEDULERS["swalr"] = SWALR  # which torch keeps elsewhere
# Written with |N| and +.
COMPOSED = {name: SCHEDULERS.pop(name) for name in ("sequentiallr", "chainedscheduler")}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in ("exp", "log", "sqrt", "sin", "cos", "floor", "ceil")},
    **{"min": min, "max": max, "abs": abs},
}
_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}


class Schedule:
    """What a spec says, stepped after the optimiser it was made for.

    Raises:
        ValueError: a scheduler or an option that torch does not have, or a value that it refuses.
    """

    def __init__(self, spec: str, optimizer: Optimizer) -> None:
        self._spec = spec
        self._parts = [_sequence(part.strip(), optimizer) for part in _chain(spec)]
        self.needs_loss = any(isinstance(part, ReduceLROnPlateau) for part in self._parts)

    def step(self, loss: float | None = None) -> None:
        """After ``optimizer.step()``. ``loss`` is what ReduceLROnPlateau watches."""
        if self.needs_loss and loss is None:
            raise ValueError("ReduceLROnPlateau watches the loss: pass losses=.")
        try:
            for part in self._parts:
                if isinstance(part, ReduceLROnPlateau):
                    assert loss is not None
                    part.step(loss)
                else:
                    part.step()
        # OneCycleLR beyond its steps, a period of zero.
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"{self._spec!r}: {error}") from error


def _chain(spec: str) -> list[str]:
    """``spec`` cut at each `` + `` outside brackets."""
    parts, start = [], 0
    for plus in re.finditer(r"\s\+\s", spec):
        before = spec[: plus.start()]
        if sum(map(before.count, "([{")) == sum(map(before.count, ")]}")):
            parts.append(spec[start : plus.start()])
            start = plus.end()
    return [*parts, spec[start:]]


def _sequence(spec: str, optimizer: Optimizer) -> LRScheduler:
    pieces = re.split(r"\s*\|\s*(\d+)\s*\|\s*", spec)
    made = [_single(piece.strip(), optimizer) for piece in pieces[::2]]
    if len(made) == 1:
        return made[0]
    milestones = [sum(int(n) for n in pieces[1 : i + 2 : 2]) for i in range(0, len(pieces) - 1, 2)]
    return lr_scheduler.SequentialLR(optimizer, made, milestones)


def _single(spec: str, optimizer: Optimizer) -> LRScheduler:
    given = specs.line(spec, "a schedule")
    name, options = given.name, given.options
    kind = SCHEDULERS.get(name.lower())
    if name.lower() in COMPOSED:
        raise ValueError(
            f"{name} is written by its parts: A |10| B is one after the other, A + B is "
            f"both, chained."
        )
    if kind is None:
        hint = specs.closest(name.lower(), SCHEDULERS)
        raise ValueError(
            f"no scheduler is called {name!r}.{hint} Known: "
            f"{', '.join(k.__name__ for k in SCHEDULERS.values())}."
        )
    require_options(name, kind, options, skip=1)
    if "lr_lambda" in options:
        options["lr_lambda"] = factor(str(options["lr_lambda"]))
    try:
        return kind(optimizer, **options)
    except (ArithmeticError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{spec!r}: {error}") from error


def require_options(name: str, kind: type, options: Options, skip: int) -> None:
    """Raise a ValueError that names the nearest option unless ``kind`` takes all of ``options``.

    Its first ``skip`` parameters are no options. A word or a NaN in the place of a number is named
    too: torch compares it with one, or takes it and fails at a later step.
    """
    known = dict(list(inspect.signature(kind).parameters.items())[skip:])
    for key, value in options.items():
        if key not in known:
            raise ValueError(
                f"{name} has no option {key!r}.{specs.closest(key, known)} It has "
                f"{', '.join(known)}."
            )
        wanted = _wanted(str(known[key].annotation), value)
        if wanted:
            raise ValueError(f"{name}: {key} must be {wanted}, got {value!r}.")


def _wanted(annotation: str, value: object) -> str:
    """What an option of this annotation, such as "float | list[float]", must be if not value."""
    parts = value if isinstance(value, list | tuple) else [value]
    takes_words = re.search(r"\bstr\b|Literal|Callable|_empty", annotation)
    if any(isinstance(v, str) for v in parts) and not takes_words:
        return "true or false" if "bool" in annotation else "a number"
    if any(isinstance(v, float) and math.isnan(v) for v in parts):
        return "a number"
    if annotation.startswith("tuple") and not isinstance(value, list | tuple):
        return "a list of numbers such as [0.9,0.99]"
    return ""


def factor(text: str) -> Callable[[float], float]:
    """The function of t that an arithmetic expression spells. It raises a ValueError at a t where
    the expression has no finite value.

    Raises:
        ValueError: it is more than arithmetic.
    """
    try:
        read = _read(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no arithmetic expression in t: {error}.") from error

    def at(t: float) -> float:
        try:
            value = float(read(t))
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValueError(f"{text!r} has no value at t = {t:g}: {error}.") from error
        if not math.isfinite(value):
            raise ValueError(f"{text!r} has no finite value at t = {t:g}.")
        return value

    return at


def _read(node: ast.expr) -> Callable[[float], float]:
    """The whole expression is checked here, also the branches that are taken late.

    Numbers are floats, so that no power takes for ever.
    """
    match node:
        case ast.Constant(value=int() | float() as number):
            constant = float(number)
            return lambda t: constant
        case ast.Name(id="t"):
            return float
        case ast.Name(id="pi"):
            return lambda t: math.pi
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            inner = _read(operand)
            return inner if isinstance(sign, ast.UAdd) else lambda t: -inner(t)
        case (
            ast.BinOp(left=left, op=op, right=right)
            | ast.Compare(left=left, ops=[op], comparators=[right])
        ) if type(op) in _BINARY:
            combine, first, second = _BINARY[type(op)], _read(left), _read(right)
            return lambda t: combine(first(t), second(t))
        case ast.IfExp(test=test, body=body, orelse=other):
            condition, yes, no = _read(test), _read(body), _read(other)
            return lambda t: yes(t) if condition(t) else no(t)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            function, values = _FUNCTIONS[name], [_read(a) for a in args]
            return lambda t: function(*(v(t) for v in values))
    raise ValueError(
        f"{ast.unparse(node)!r} is not allowed in an expression in t; known: "
        f"{', '.join(_FUNCTIONS)}, pi."
    )
