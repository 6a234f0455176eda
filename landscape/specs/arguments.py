"""Arguments that are numbers: one form of sentence for every one that is not what it must be."""

import math
import numbers


def whole(least: int, most: int | None = None, **options: int) -> None:
    """Raise a ValueError unless every option is a whole number from ``least`` to ``most``."""
    for name, value in options.items():
        inside = isinstance(value, numbers.Integral) and least <= value <= (
            math.inf if most is None else most
        )
        if isinstance(value, bool) or not inside:
            limit = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise ValueError(f"{name} must be a whole number {limit}, got {value!r}.")


def number(least: float, **options: float) -> None:
    """Raise a ValueError unless every option is a finite number of at least ``least``."""
    for name, value in options.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, numbers.Real)
            or not least <= value < math.inf
        ):
            raise ValueError(f"{name} must be a number of at least {least:g}, got {value!r}.")
