"""A user's own formula as a landscape: its domain on one line, and a look at the formula before
anything rests on it.

A formula is fn(x), a torch function of points (..., n) -> (...). A domain is written as

    space, space:SPREAD     all of R^n; starts are drawn from a normal distribution of that
                            standard deviation
    box:LOW,HIGH            the same bounds in every coordinate; box:LOW,HIGH;LOW,HIGH gives each
                            coordinate its own
    torus, torus:PERIOD     of period 2 pi where none is given; torus:PERIOD;PERIOD gives each
                            coordinate its own
    sphere, sphere:RADIUS   of radius 1 where none is given

with numbers such as 2, 1e-3, pi, 2pi, -pi/2.
"""

import functools
import hashlib
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from landscape import rng, specs
from landscape.core import Domain
from landscape.errors import LoadingError, NumericalError
from landscape.landscapes.domains import Bounds, Box, Space, Sphere, Torus
from landscape.landscapes.formula import FunctionLandscape
from landscape.loading import userfiles
from landscape.rng import seeded

POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
SAMPLES = 1_000  # points at which it is asked whether the formula is finite
COORDINATES = 1_000_000  # most numbers in them
# change over a period, relative to the formula's range, that is told, refused
PERIOD_NOTE, PERIOD_ERROR = 1e-8, 1e-2


@dataclass(frozen=True)
class _Written:
    """A domain as it is written, its numbers read: one row for all coordinates, or one for each."""

    spec: str
    form: str  # how a domain of this kind is written
    dim: int
    rows: list[list[float]]

    def coordinates(self, width: int) -> list[Bounds]:
        """The ``width`` numbers of a row, each a tuple where every coordinate has its own."""
        rows = self.rows
        self._require_width(width)
        if len(rows) not in (0, 1, self.dim):
            raise self._places(f"one, or one for each of {self.dim} coordinates")
        each = len(rows) > 1
        return [tuple(column) if each else column[0] for column in zip(*rows, strict=True)]

    def radius(self) -> list[float]:
        """The one number that says how large the domain is, or none."""
        self._require_width(1)
        if len(self.rows) > 1:
            raise self._places("one")
        return self.rows[0] if self.rows else []

    def require_positive(self) -> None:
        """Raise unless all numbers are above zero."""
        if any(row[0] <= 0 for row in self.rows):
            raise ValueError(f"domain {self.spec!r} needs a number above zero.")

    def misspelt(self) -> ValueError:
        """The error that says how a domain of this kind is written."""
        return ValueError(f"domain {self.spec!r}: write {self.form}.")

    def _require_width(self, width: int) -> None:
        if any(len(row) != width for row in self.rows):
            raise self.misspelt()

    def _places(self, wanted: str) -> ValueError:
        return ValueError(
            f"domain {self.spec!r} has {len(self.rows)} places, separated by ';', and needs "
            f"{wanted}."
        )


def _space(written: _Written) -> Domain:
    spread = written.radius()
    written.require_positive()
    return Space(*spread)


def _box(written: _Written) -> Domain:
    if not written.rows:
        raise written.misspelt()
    bounds = written.coordinates(2)
    if any(low >= high for low, high in written.rows):
        raise ValueError(f"domain {written.spec!r} needs LOW below HIGH in every coordinate.")
    return Box(*bounds)


def _torus(written: _Written) -> Domain:
    periods = written.coordinates(1)
    written.require_positive()
    return Torus(*periods)


def _sphere(written: _Written) -> Domain:
    radius = written.radius()
    if written.dim < 2:
        raise ValueError("domain sphere needs dim 2 or more: the sphere in R^1 is two points.")
    written.require_positive()
    return Sphere(*radius)


# how each kind of domain is written, and what makes one of its numbers
KINDS: dict[str, tuple[str, Callable[[_Written], Domain]]] = {
    "space": ("space or space:SPREAD", _space),
    "box": ("box:LOW,HIGH, or box:LOW,HIGH;LOW,HIGH;... with a pair for each coordinate", _box),
    "torus": (
        "torus, torus:PERIOD, or torus:PERIOD;PERIOD;... with one for each coordinate",
        _torus,
    ),
    "sphere": ("sphere or sphere:RADIUS", _sphere),
}


def domain(spec: str, dim: int) -> Domain:
    """The domain in R^dim that ``spec`` writes.

    Raises:
        ValueError: no such domain, or its numbers are not that many or not in order.
    """
    given = specs.line(spec, "a domain")
    name = given.name
    if name not in KINDS:
        raise ValueError(
            f"unknown domain {spec!r}.{specs.closest(name, KINDS)} Write space, box:LOW,HIGH, "
            f"torus:PERIOD or sphere:RADIUS."
        )
    places = given.text.split(";") if ":" in spec else []
    rows = [[number(part, f"domain {spec!r}") for part in place.split(",")] for place in places]
    form, parse = KINDS[name]
    return parse(_Written(spec, form, dim, rows))


def number(text: str, what: str) -> float:
    """A finite number, with pi where it is wanted; ``what`` is what an error names.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"([+-]?)(\d*\.?\d*)\*?pi(?:/(\d+\.?\d*))?", text.strip())
    try:
        sign, factor, divisor = match.groups() if match else ("", "", None)
        value = (
            float(text)
            if match is None
            else math.pi * float(f"{sign}{factor or 1}") / float(divisor or 1)
        )
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{what}: {specs.one_line(text, 60)!r} is not a number.") from None
    if not math.isfinite(value):
        raise ValueError(f"{what}: {text.strip()} is not finite.")
    return value


def is_formula(
    found: Callable[..., object], settings: Mapping[str, object], dim: int | None
) -> bool:
    """Whether a callable is a formula fn(x) and no factory.

    It is one where exactly one positional parameter has neither a default nor a setting, or where a
    dimension is given and there is any positional parameter but ``dim``. A class is always a
    factory.
    """
    if isinstance(found, type):
        return False
    parameters = _parameters(found)
    if parameters is None:
        return dim is not None
    given = set(settings) if dim is None else {*settings, "dim"}
    places = [p for p in parameters if p.kind in POSITIONAL and p.name not in given]
    if dim is not None and not takes_dim(found):
        return bool(places)
    return sum(map(_is_needed, places)) == 1


def _is_needed(place: inspect.Parameter) -> bool:
    return place.default is place.empty and place.kind is not place.VAR_POSITIONAL


def takes_dim(found: Callable[..., object]) -> bool:
    """Whether a callable has a parameter ``dim`` of its own."""
    return any(p.name == "dim" for p in _parameters(found) or ())


def _parameters(found: Callable[..., object]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):  # some builtins tell no signature
        return None


def build(
    function: Callable[..., Tensor],
    spec: str,
    settings: Mapping[str, object],
    dim: int | None,
    where: Domain | None,
    dtype: torch.dtype | None,
) -> FunctionLandscape:
    """A formula with its settings as a landscape.

    Raises:
        ValueError: no dimension, or the settings are not its parameters.
    """
    name = spec.rpartition(":")[2]
    if dim is None:
        raise ValueError(
            f"{spec} takes one argument: pass --dim N to search it as a formula fn(x), or --set "
            f"for a factory's argument."
        )
    try:
        inspect.signature(function).bind(None, **settings)
    except TypeError as error:
        raise ValueError(
            f"--dim calls {spec} as a formula fn(x), with --set for other arguments: {error}."
        ) from None
    except ValueError:  # some builtins tell no signature
        pass
    bound = functools.partial(function, **settings) if settings else function
    return FunctionLandscape(bound, dim, where, dtype or torch.float64, name)


def fingerprint(f: FunctionLandscape, source: str, settings: Mapping[str, object]) -> str:
    """SHA-256 over the formula's file, or its text where it has none, and all that was set; 16
    hexadecimal digits.
    """
    path = (
        Path(source)
        if source.endswith(".py")
        else Path(getattr(sys.modules.get(source), "__file__", None) or "")
    )
    text = path.read_bytes() if path.is_file() else str(getattr(f, "formula", source)).encode()
    where = None if f.domain == Space() else f.domain
    chosen = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(
        b"\0".join([text, f"{f.name}|{f.dim}|{where}|{chosen}".encode()])
    ).hexdigest()[:16]


def probe(f: FunctionLandscape, source: str, seed: int = 0) -> list[str]:
    """Try a user's formula at points drawn from its domain; notes on what is odd but in nobody's
    way.

    Args:
        source: the file or module it comes from, for errors that point at its lines.
        seed: of the points.

    Raises:
        LoadingError: it raises, gives no tensor of one number a point, gives another number alone
            than in a batch or a second time, loses the dtype or the derivative of x, or has not the
            period of its torus.
        NumericalError: it is nowhere finite, or has no second derivative.

    Cost: about 2,000 evaluations in batches, and the derivatives of four.
    """
    with seeded(seed):
        return _Probe(f, source, seed).run()


class _Probe:
    """The questions asked of a formula, cheapest first."""

    def __init__(self, f: FunctionLandscape, source: str, seed: int) -> None:
        self.f, self.source = f, source
        count = max(8, min(SAMPLES, COORDINATES // f.dim))
        space = f.domain
        with userfiles.guarded(source):
            self.x = space.sample(count, f.dim, rng.generator(seed), f.dtype)
        self.few = self.x[
            : 5 if f.dim == 4 else 4
        ]  # as many points as coordinates would hide a wrong axis

    def run(self) -> list[str]:
        self._batched()
        values = self._values(self.x, "on a batch")
        finite = torch.isfinite(values)
        if not bool(finite.any()):
            raise NumericalError(
                f"{self.f.name} is NaN or infinite at all {len(values):,} points drawn from its "
                f"domain: pass another --domain."
            )
        notes = [*self._period(values[finite]), *self._gradient(self.x[finite], values[finite])]
        holes = len(values) - int(finite.sum())
        if holes:
            notes.append(
                f"the formula is NaN or infinite at {holes:,} of {len(values):,} points drawn from "
                f"its domain "
                f"({100 * holes / len(values):.2g} %)"
            )
        return notes

    def _values(self, x: Tensor, how: str) -> Tensor:
        """The formula at x, of the shape and dtype that it must have."""
        shape = tuple(x.shape)
        try:
            with userfiles.guarded(self.source):
                y = self.f.function(self.f.domain.chart(x))
        except LoadingError as error:
            raise LoadingError(
                f"{error} (the formula was called {how} {shape}; it must take (..., n))"
            ) from error
        if not isinstance(y, Tensor):
            raise LoadingError(
                f"{self.f.name} gave a {type(y).__name__} for points {shape}, not a tensor: "
                f"compute with torch throughout."
            )
        if y.shape != x.shape[:-1]:
            raise LoadingError(
                f"{self.f.name} is not batched: it gave shape {tuple(y.shape)} for points {shape}, "
                f"not {shape[:-1]}; "
                "index coordinates as x[..., i] and sum over dim=-1."
            )
        if y.dtype != x.dtype:
            raise LoadingError(
                f"{self.f.name} gave {y.dtype} for points of {x.dtype}: keep the dtype of x."
            )
        return y

    def _batched(self) -> None:
        singles = torch.stack([self._values(x, "on one point").detach() for x in self.few])
        again = torch.stack([self._values(x, "on one point").detach() for x in self.few])
        if not torch.allclose(singles, again, rtol=1e-6, atol=0, equal_nan=True):
            raise LoadingError(
                f"{self.f.name} gave two values at the same point: a formula must not be random."
            )
        together = self._values(self.few, "on a batch of points")
        size = float(torch.nan_to_num(singles, 0.0, 0.0, 0.0).abs().max())
        if not torch.allclose(
            together.detach(), singles, rtol=1e-4, atol=1e-5 * size, equal_nan=True
        ):
            raise LoadingError(
                f"{self.f.name} is not batched: points give other values together than alone; "
                f"index coordinates as "
                "x[..., i] and sum over dim=-1."
            )

    def _period(self, values: Tensor) -> list[str]:
        if not isinstance(self.f.domain, Torus):
            return []
        here = self._values(self.few, "on a batch").detach()
        period = self.f.domain.size(self.f.dim).to(self.few)
        moved = torch.stack(
            [self._values(x + period.diag(), "on a batch").detach() for x in self.few]
        )
        change = float(torch.nan_to_num(moved - here[:, None], 0.0, 0.0, 0.0).abs().max())
        span = max(float(values.max() - values.min()), 1e-300)
        if change > PERIOD_ERROR * span:
            raise LoadingError(
                f"{self.f.name} has not the period of its torus: over one period it changes by "
                f"{change:.3g}, of a range of "
                f"{span:.3g}; pass --domain torus:PERIOD or a box."
            )
        if change > max(PERIOD_NOTE, 1e3 * torch.finfo(self.few.dtype).eps) * span:
            return [
                f"over one period of the torus the formula changes by {change:.2g}; torus:2pi is "
                f"written so"
            ]
        return []

    def _gradient(self, x: Tensor, values: Tensor) -> list[str]:
        """First derivatives at all finite points, second ones at a few."""
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            y = self._values(x, "on a batch")
            if not y.requires_grad:
                if float(values.detach().max() - values.detach().min()) > 0:
                    raise LoadingError(
                        f"{self.f.name} is detached from x: it goes through .item(), .detach(), "
                        f"float() or numpy on the way; "
                        "compute with torch throughout."
                    )
                return ["the formula has the same value at every point drawn"]
            (g,) = self._derivative(y.sum(), x)
        smooth = torch.isfinite(g).all(-1)
        if not bool(smooth.any()):
            raise NumericalError(
                f"the gradient of {self.f.name} is NaN or infinite wherever its value is finite."
            )
        self._second(x.detach()[smooth][: len(self.few)])
        bad = int((~smooth).sum())
        return (
            [f"the gradient is NaN or infinite at {bad:,} points where the formula is finite"]
            if bad
            else []
        )

    def _second(self, x: Tensor) -> None:
        x = x.requires_grad_(True)
        with torch.enable_grad():
            y = self._values(x, "on a batch")
            (g,) = self._derivative(y.sum(), x, create_graph=True)
            h = (
                self._derivative(
                    (g * torch.linspace(1, 2, self.f.dim, dtype=x.dtype, device=x.device)).sum(), x
                )[0]
                if g.requires_grad
                else 0 * g
            )
        if not bool(torch.isfinite(h).any()):
            raise NumericalError(
                f"the second derivative of {self.f.name} is NaN or infinite wherever it was tried."
            )
        if bool((h == 0).all()) and bool((g != 0).any()):
            raise NumericalError(
                f"{self.f.name} has no second derivative: its gradient stays the same around every "
                f"point tried, as that of abs, relu "
                "or a step that is detached from x."
            )

    def _derivative(self, y: Tensor, x: Tensor, create_graph: bool = False) -> tuple[Tensor]:
        try:
            (g,) = torch.autograd.grad(y, x, create_graph=create_graph, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            order = "derivative" if create_graph else "second derivative"
            raise NumericalError(
                f"{self.f.name} has no {order}: {specs.one_line(error, 160)}"
            ) from error
        return (torch.zeros_like(x) if g is None else g,)
