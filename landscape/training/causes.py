"""What a cause and a rule are, and how a sign is weighed.

The confidence of a rule is its ceiling times its signs. A sign is 1 where it speaks for the cause,
0 where it speaks against it, and rises between two numbers, evenly in a quantity or in its decades.
What is compared has no unit, so that f -> a f with lr -> lr / a changes nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from landscape.results import result
from landscape.training.evidence import Tail

NAMES = (
    *("loop", "loss", "data"),
    *("saddle", "flat", "saturated", "dead", "vanishing", "learning rate", "noise", "minimum"),
)
# Causes that are less sure are left out.
REPORTED = 0.05


@result("diagnosis-cause")
@dataclass(frozen=True)
class Cause:
    """One reason why a run is stuck."""

    name: str  # one of NAMES
    confidence: float  # 0 to 1, how clear the evidence is
    evidence: list[str]
    remedy: str
    # What the confidence is made of, by sign: 1 speaks for the cause, 0 against it. Empty in
    # runs that an earlier version has stored.
    factors: dict[str, float] = field(default_factory=dict)
    tried: tuple[str, ...] = ()  # how the names of the trials begin that apply the remedy
    besides: str = ""  # what else would help and cannot be tried from where a run stands

    def __str__(self) -> str:
        text = f"{self.name} ({self.confidence:.2f}): {'; '.join(self.evidence)}. {self.remedy}"
        return " ".join([text, *self.signs()])

    def signs(self) -> list[str]:
        """What speaks for the cause and what against it, a sentence each."""
        clear = [sign for sign, value in self.factors.items() if value >= CLEAR]
        weak = [f"{sign} {value:.2f}" for sign, value in self.factors.items() if value < CLEAR]
        said = [f"For it: {', '.join(clear)}."] if clear else []
        return said + ([f"Weak signs, against it (1 is clear): {', '.join(weak)}."] if weak else [])


# Where two numbers of a sign come from, in words.
CALIBRATED = "between the runs of the calibration with and without the mistake"

# A sign from here on speaks for its cause only.
CLEAR = 0.995


@dataclass(frozen=True)
class Sign:
    """A quantity, and the two numbers between which it begins to speak for a cause."""

    name: str
    quantity: Callable[[Tail], float]
    low: float  # 0 here and on its side
    high: float  # 1 here and on its side; may be below ``low``
    source: str  # where the two numbers come from
    decades: bool = False  # whether it is weighed evenly in its decades
    unknown: float = 0.0  # the weight of NaN

    def __call__(self, tail: Tail) -> float:
        x = self.quantity(tail)
        if math.isnan(x):
            return self.unknown
        if self.decades:
            return decades(x, math.log10(self.low), math.log10(self.high))
        return ramp(x, self.low, self.high)


def little_gained(low: float, high: float, unknown: float = 1.0) -> Sign:
    """f is still near what a constant prediction costs."""
    return Sign(
        "little of what a constant prediction costs is gone",
        lambda tail: tail.progress,
        high,
        low,
        f"the share that is gone, {CALIBRATED}",
        unknown=unknown,
    )


@dataclass(frozen=True)
class Rule:
    """One way in which a run can be stuck."""

    name: str  # one of NAMES; the surest rule of a name speaks for it
    ceiling: float  # the confidence where every sign is there
    because: str  # why the ceiling is where it is
    factors: tuple[Callable[[Tail], float], ...]
    evidence: Callable[[Tail], list[str]]
    remedy: str | Callable[[Tail], str]
    tried: tuple[str, ...] = ()  # the trials that apply the remedy, by how their names begin
    besides: str = ""  # what else would help and cannot be tried from where a run stands

    def weigh(self, tail: Tail) -> tuple[float, dict[str, float]]:
        """The confidence, and each sign by its name in words."""
        factors = {_named(factor): factor(tail) for factor in self.factors}
        return math.prod(factors.values(), start=self.ceiling), factors

    def cause(self, tail: Tail, sure: float, factors: dict[str, float]) -> Cause:
        """The cause in words."""
        remedy = self.remedy if isinstance(self.remedy, str) else self.remedy(tail)
        return Cause(
            self.name, sure, self.evidence(tail), remedy, factors, self.tried, self.besides
        )


def _named(factor: Callable[[Tail], float]) -> str:
    if isinstance(factor, Sign):
        return factor.name
    return str(getattr(factor, "__name__", "sign")).replace("_", " ")


def surest(rules: tuple[Rule, ...], tail: Tail) -> list[Cause]:
    """A cause for each name that one of the rules speaks for, the surest first."""
    found: dict[str, Cause] = {}
    for rule in rules:
        sure, factors = rule.weigh(tail)
        if sure >= REPORTED and (rule.name not in found or sure > found[rule.name].confidence):
            found[rule.name] = rule.cause(tail, sure, factors)
    return sorted(found.values(), key=lambda cause: -cause.confidence)


def ramp(x: float, low: float, high: float) -> float:
    """0 at low, 1 at high, straight between and level beyond; 0 for NaN. low may be above high."""
    return min(1.0, max(0.0, (x - low) / (high - low))) if not math.isnan(x) else 0.0


def decades(x: float, low: float, high: float) -> float:
    """``ramp`` in the decades of x: 0 at 10^low, 1 at 10^high."""
    return ramp(math.log10(max(x, 1e-300)), low, high)


def shown(names: list[str]) -> str:
    """Some of the names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def against_constant(tail: Tail) -> str:
    """The loss beside that of a constant prediction, in words."""
    reading = tail.trace.reading
    assert reading is not None
    return (
        f"the loss is {reading.loss:.4g}, and one prediction for all samples costs "
        f"{reading.constant:.4g}"
    )
