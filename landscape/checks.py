"""What could make a Hessian wrong here: reported, never silently mended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from landscape.results import result


@result
class Status(Enum):
    """How a check ended; the text is what it means for the numbers."""

    OK = "nothing found"
    NOTE = "something was switched or assumed; the numbers hold"
    WARNING = "the numbers hold only with the reservation stated"
    FAILED = "the numbers cannot be trusted"


@result
@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, the evidence in numbers, and what to do."""

    name: str  # kinks, dropout, batch-norm, determinism, kernels, finite
    status: Status
    message: str
    evidence: dict[str, float]
