"""Numbers and what is known of their errors: a spread, or a certain bound."""

import dataclasses

from landscape.results import numbers
from landscape.results.store import result


@result("estimate")
@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated number with a statistical error.

    The true number lies in [``low``, ``high``] with 95 % confidence unless the field that holds
    the estimate says otherwise. An exact number has ``error`` 0 and ``low`` = ``high``.

    Examples:
        >>> import landscape as ls
        >>> print(ls.Estimate(1.2345, 0.021, 1.19, 1.28))
        1.234 ± 0.021
    """

    value: float
    error: float  # one standard error, in the units of value; NaN or infinite where it is unknown
    low: float
    high: float
    products: int = 0  # Hessian-vector products spent

    def __str__(self) -> str:
        return numbers.uncertain(self.value, self.error)


@result("bounded")
@dataclasses.dataclass(frozen=True)
class Bounded:
    """A number that a solver has bounded: the true one certainly lies in ``value`` ± ``bound``."""

    value: float
    bound: float  # at least 0, in the units of value; rounding of the arithmetic included

    @property
    def low(self) -> float:
        """value - bound."""
        return self.value - self.bound

    @property
    def high(self) -> float:
        """value + bound."""
        return self.value + self.bound

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {numbers.bound(self.bound)}"
