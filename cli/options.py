"""The options that commands share, and the kinds of value they take.

Every option has a LANDSCAPE_* variable.
"""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import completion, config
from .help import DATA, MODEL, NUMBERS, OUTPUT, Option
from .screens import say

F = TypeVar("F", bound=Callable[..., Any])
if TYPE_CHECKING:
    from landscape.points.classify import StationaryPoint

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older releases of click cannot be subscripted

SEEDS = click.IntRange(0, 2**63 - 1)
KINDS = (
    *("minimum", "maximum", "saddle", "degenerate", "plateau", "not-stationary"),
    "inconclusive",
)


class Positive(ParamType):
    """A finite number above zero."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not (math.isfinite(number) and number > 0):
            self.fail(f"{value} is not a finite number above zero.", param, ctx)
        return number


POSITIVE = Positive()


class Duration(ParamType):
    """Seconds: ``60``, ``60s``, ``5m``, ``1.5h``."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value).strip()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
        number = POSITIVE.convert(text[:-1] if unit else text, param, ctx)
        return number * (unit or 1.0)


class Dimensions(ParamType):
    """``1:12``, both included, ``1:12:2`` in steps, ``2,3,5``, or one number."""

    name = "dims"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        try:
            numbers = dimensions(str(value))
        except ValueError:
            self.fail(f"{value!r} is not of the form 1:12, 1:12:2 or 2,3,5.", param, ctx)
        if not numbers or min(numbers) < 1:
            self.fail(
                f"{value!r} must name dimensions of at least 1, the lower one first.", param, ctx
            )
        return str(value)


def dimensions(text: str) -> list[int]:
    """The dimensions that a text of the form of ``Dimensions`` names."""
    found: set[int] = set()
    for part in text.split(","):
        ends = [int(v) for v in part.split(":")]
        if len(ends) > 3 or (len(ends) == 3 and ends[2] < 1):
            raise ValueError(text)
        found |= set(range(ends[0], ends[1] + 1, *ends[2:])) if len(ends) > 1 else set(ends)
    return sorted(found)


class Setting(ParamType):
    """``key=value``, the value in JSON; a bare word is a string."""

    name = "key=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, object]:
        if isinstance(value, tuple):
            return value
        key, separator, text = str(value).partition("=")
        if not separator or not key.isidentifier():
            self.fail(f"{value!r} is not of the form key=value.", param, ctx)
        try:
            return key, json.loads(text)
        except RecursionError:
            self.fail(f"the value of {key} is nested too deeply.", param, ctx)
        except ValueError as error:  # also an integer of too many digits
            if text[:1] in ("{", "[", '"'):
                self.fail(f"the value of {key} is not JSON: {error}.", param, ctx)
            return key, text


class Coefficient(ParamType):
    """``GLOB=VALUE``: a finite coefficient, not negative, for the parameters whose names match."""

    name = "glob=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        glob, separator, text = str(value).rpartition("=")
        if not separator or not glob:
            self.fail(
                f"{value!r} is not of the form GLOB=VALUE, for example '*.weight=1e-4'.", param, ctx
            )
        try:
            number = float(text)
        except ValueError:
            self.fail(f"{text!r} in {value!r} is not a number.", param, ctx)
        if not (math.isfinite(number) and number >= 0):
            self.fail(f"the coefficient in {value!r} must be finite and not negative.", param, ctx)
        return glob, number


@dataclass(frozen=True)
class Expectation:
    """What ``--expect`` asks for: a kind of point, a saddle of one index perhaps."""

    kind: str
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"

    def holds(self, point: "StationaryPoint") -> bool:
        """Whether a point is surely of this kind."""
        return point.kind == self.kind and self.index in (None, point.index)

    def require(self, ctx: click.Context, point: "StationaryPoint") -> None:
        """Say so and exit with 1 unless it holds."""
        if not self.holds(point):
            from landscape.points.words import verdict

            say(f"Expected {self}, found {verdict(point).lower()}.", err=True)
            ctx.exit(1)


class ExpectationType(ParamType):
    """One of ``KINDS``, or ``saddle:K``."""

    name = "kind"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Expectation:
        if isinstance(value, Expectation):
            return value
        kind, separator, index = str(value).partition(":")
        if kind in KINDS and not separator:
            return Expectation(kind)
        if kind == "saddle" and index.isascii() and index.isdigit() and int(index) > 0:
            return Expectation(kind, int(index))
        return self.fail(
            f"{value!r} is none of {', '.join(KINDS)}, or saddle:K with K at least 1.",
            param,
            ctx,
        )


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option that also reads LANDSCAPE_NAME."""
    long = next(n for n in names if n.startswith("--")).partition("/")[0]
    settings.setdefault("envvar", "LANDSCAPE_" + long[2:].upper().replace("-", "_"))
    return click.option(*names, cls=Option, **settings)


def _stack(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    return lambda function: functools.reduce(
        lambda f, decorate: decorate(f), reversed(decorators), function
    )


json_option = option(
    "--json",
    "as_json",
    group=OUTPUT,
    is_flag=True,
    help="Print the result as JSON on stdout, and nothing else.",
)

_problem = _stack(
    option(
        "--set",
        "settings",
        group=MODEL,
        type=Setting(),
        multiple=True,
        help="A keyword argument of the factory or formula, its value in JSON.",
    ),
    option(
        "--checkpoint",
        group=MODEL,
        metavar="FILE",
        help="Weights: .safetensors, .pt, .pth, .bin, .ckpt, .npz or .zip; or a folder that "
        "save_pretrained() or torch.distributed.checkpoint wrote.",
    ),
    option(
        "--checkpoint-key",
        group=MODEL,
        metavar="KEY",
        help="Where in the checkpoint the weights are, dots for nesting.",
    ),
    option(
        "--strip",
        group=MODEL,
        metavar="PREFIX",
        help="Take the tensors whose names begin with PREFIX, and cut it off their names.",
    ),
    option(
        "--data",
        group=DATA,
        metavar="SPEC",
        help="digits, a .csv, .npz, .safetensors or .pt file of arrays, file.py:attr or "
        "pkg.mod:attr.",
    ),
    option(
        "--loss",
        group=DATA,
        metavar="NAME",
        help=", ".join(completion.LOSSES) + ", file.py:function or pkg.mod:function.",
    ),
    option(
        "--l2",
        group=DATA,
        type=Coefficient(),
        multiple=True,
        help="Add VALUE/2 |w|^2 over the parameters that match GLOB, in place of the l2= that "
        "problem() sets.",
    ),
    option(
        "--l1",
        group=DATA,
        type=Coefficient(),
        multiple=True,
        help="Add VALUE |w|_1 over the parameters that match GLOB, in place of the l1= that "
        "problem() sets.",
    ),
    option(
        "--include",
        group=MODEL,
        metavar="GLOB",
        multiple=True,
        help="Analyse only the parameters that match.",
    ),
    option(
        "--exclude",
        group=MODEL,
        metavar="GLOB",
        multiple=True,
        help="Keep the parameters that match fixed.",
    ),
    option(
        "--mode",
        group=MODEL,
        type=click.Choice(["eval", "train"]),
        help="Run dropout and BatchNorm in this mode (default: eval, or what problem() sets).",
    ),
    option(
        "--masks",
        group=MODEL,
        type=click.IntRange(1, 100_000),
        help="Dropout masks to average over in train mode.",
    ),
    option(
        "--device",
        metavar="DEVICE",
        group=NUMBERS,
        default="auto",
        show_default=True,
        help="auto, cpu, cuda or cuda:1.",
    ),
    option(
        "--dtype",
        group=NUMBERS,
        type=click.Choice(["float32", "float64"]),
        help="Compute in this precision; default: the parameters' own.",
    ),
    option(
        "--precision",
        group=NUMBERS,
        type=click.Choice(["full", "tf32", "bf16"]),
        help="Faster Hessian-vector products; what they lose is measured and inside every bound.",
    ),
    option(
        "--batch-size",
        group=DATA,
        type=click.IntRange(1),
        help="Samples in a micro-batch. Sampling errors need at least two batches; the mean over "
        "the data is the same.",
    ),
    option(
        "--seed",
        group=NUMBERS,
        type=SEEDS,
        default=0,
        show_default=True,
        help="Seed for every random choice.",
    ),
)

problem_options = _stack(
    click.argument(
        "model", envvar="LANDSCAPE_MODEL", shell_complete=completion.of(completion.MODELS)
    ),
    _problem,
)

landscape_options = _stack(
    click.argument(
        "landscape",
        envvar="LANDSCAPE_LANDSCAPE",
        shell_complete=completion.of(completion.MODELS, completion.FORMULAS),
    ),
    option(
        "--dim",
        group=MODEL,
        type=click.IntRange(1),
        metavar="N",
        help="Coordinates of a formula fn(x).",
    ),
    option(
        "--domain",
        group=MODEL,
        metavar="SPEC",
        help="Where a formula lives: space, box:LOW,HIGH, 'box:LOW,HIGH;LOW,HIGH', torus:PERIOD, "
        "sphere:RADIUS.",
    ),
    _problem,
)

comparison_options = _stack(
    click.argument("checkpoints", nargs=-1, required=True, metavar="A B [...]"), _problem
)

diagnosis_options = _stack(
    click.argument("run", envvar="LANDSCAPE_RUN", shell_complete=completion.of(completion.STUCK)),
    _problem,
)

spectrum_options = _stack(
    option(
        "--largest",
        group=NUMBERS,
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="Eigenvalues wanted at the upper end.",
    ),
    option(
        "--smallest",
        group=NUMBERS,
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="Eigenvalues wanted at the lower end.",
    ),
    option(
        "--tol",
        group=NUMBERS,
        type=Positive(),
        default=1e-4,
        show_default=True,
        help="Solver bound wanted, relative to the largest |eigenvalue|.",
    ),
    option(
        "--probes",
        group=NUMBERS,
        type=click.IntRange(2, 100_000),
        default=3,
        show_default=True,
        help="Random vectors for the density.",
    ),
    option(
        "--steps",
        group=NUMBERS,
        type=click.IntRange(2, 100_000),
        default=50,
        show_default=True,
        help="Lanczos steps a probe.",
    ),
)

run_options = _stack(
    option(
        "--out",
        group=OUTPUT,
        metavar="DIR",
        help="The run folder; default: a fresh one under runs/.",
    ),
    option(
        "--force",
        group=OUTPUT,
        is_flag=True,
        help="Replace the results in a non-empty DIR, once the new ones are there.",
    ),
    option(
        "--resume",
        group=OUTPUT,
        is_flag=True,
        help="Return the result in DIR if it is finished; else go on with what was kept, or start "
        "afresh.",
    ),
    option(
        "--trust",
        is_flag=True,
        help="Run Python that --config names, and that is not named on the command line.",
    ),
    click.option(
        "--config",
        cls=Option,
        group=OUTPUT,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=config.read,
        help="Options as TOML.",
        envvar="LANDSCAPE_CONFIG",
    ),
    option(
        "--figures/--no-figures",
        group=OUTPUT,
        default=True,
        show_default=True,
        help="Draw the figures of the result into DIR/figures.",
    ),
    option(
        "-q",
        "--quiet",
        group=OUTPUT,
        is_flag=True,
        help="Print the result in one line, and no progress.",
    ),
    option(
        "-v",
        "--verbose",
        group=OUTPUT,
        is_flag=True,
        help="Print the tables behind the result too.",
    ),
    json_option,
)
