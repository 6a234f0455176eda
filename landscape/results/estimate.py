"""Estimated numbers and their errors."""

import dataclasses

from landscape.results import numbers
from landscape.results.store import result


@result("estimate")
@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated number: ``value`` ± ``error``.

    It is inside [``low``, ``high``] with 95 % confidence unless said otherwise.
    """

    value: float
    error: float  # one standard error, in the units of value
    low: float
    high: float
    products: int = 0  # Hessian-vector products spent

    def __str__(self) -> str:
        return numbers.uncertain(self.value, self.error)
