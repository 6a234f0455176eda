"""Numbers as people read them: no more digits than the error supports, and a bound is
rounded up.
"""

import math


def uncertain(value: float, error: float | None = None) -> str:
    """``12.31 ± 0.98``: two digits of the error, the value to the same place; four without an
    error.
    """
    if not math.isfinite(value):
        return str(value)
    if error is None or not math.isfinite(error):
        return plain(value)
    if error <= 0:
        return f"{value:.6g}"
    power = math.floor(math.log10(max(abs(value), error)))
    digits = power - math.floor(math.log10(error)) + 1  # after the point, in units of 10**power
    if digits > 9:
        return f"{value:.9g} ± {error:.0e}"
    if -4 < power < 6:
        places = max(digits - power, 0)
        return f"{value:.{places}f} ± {error:.{places}f}"
    return f"({value / 10.0**power:.{digits}f} ± {error / 10.0**power:.{digits}f})e{power:+d}"


def bounded(value: float, bound: float) -> str:
    """Four digits where the bound does not reach them, else ``value ± bound``."""
    return uncertain(value, bound) if bound > 5e-4 * abs(value) else plain(value)


def plain(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def count(value: float) -> str:
    """``1,234``."""
    return f"{round(value):,}"


def several(number: int, singular: str, plural: str = "") -> str:
    """``1 point``, ``1,234 points``: a number with its noun."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def bound(value: float) -> str:
    """One significant digit, rounded up: a bound that is rounded down is none."""
    if not math.isfinite(value) or value <= 0:
        return f"{value:.0e}" if value else "0"
    power = math.floor(math.log10(value))
    return f"{math.ceil(value / 10.0**power * (1 - 1e-12)) * 10.0**power:.0e}"


def share(part: float, whole: int) -> str:
    """``6.5 %``, and never 0 % or 100 % of something that is neither."""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.9 < percent < 100 else f"{percent:.3g} %"
