"""Numbers for people: as many digits as the error supports, bounds never rounded down."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.results import numbers


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.3456, 0.98, "12.35 ± 0.98"),
        (-0.13712, 0.011, "-0.137 ± 0.011"),
        (1234.5, 120.0, "1234 ± 120"),
        (3.2e-7, 1.5e-8, "(3.20 ± 0.15)e-7"),
        (2.5e9, 3e7, "(2.500 ± 0.030)e+9"),
        (1.0, 1e-13, "1 ± 1e-13"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (0.001, 4.0, "0.0 ± 4.0"),
        (12.3456, math.nan, "12.35"),
        (12.3456, None, "12.35"),
        (12.3456, 0.0, "12.3456"),
        (math.nan, 1.0, "nan"),
        (math.inf, 1.0, "inf"),
    ],
)
def test_value_and_error(value: float, error: float | None, text: str) -> None:
    assert numbers.uncertain(value, error) == text


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), st.booleans())
def test_what_is_printed_is_within_a_tenth_of_the_error(
    value: float, error: float, negative: bool
) -> None:
    value = -value if negative else value
    text = numbers.uncertain(value, error)
    if text.startswith("("):
        left, _, power = text[1:].partition(")e")
        printed = float(left.split(" ± ")[0]) * 10.0 ** int(power)
    else:
        printed = float(text.split(" ± ")[0])
    assert abs(printed - value) <= max(0.0501 * error, 1e-8 * abs(value))


@pytest.mark.parametrize(
    ("value", "bound", "text"),
    [
        (13.139038, 3.4e-5, "13.14"),
        (0.0009, 0.0074, "0.0009 ± 0.0074"),
        (0.0, 0.0, "0"),
        (-1.5, 0.1, "-1.50 ± 0.10"),
    ],
)
def test_a_bound_is_shown_where_it_reaches_the_digits(
    value: float, bound: float, text: str
) -> None:
    assert numbers.bounded(value, bound) == text


@given(st.floats(1e-300, 1e300))
def test_a_bound_is_never_rounded_down_and_less_than_doubled(value: float) -> None:
    printed = float(numbers.bound(value))
    assert value * (1 - 1e-9) <= printed <= 2 * value * (1 + 1e-9)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 100_000, "< 0.1 %"),
        (99_999, 100_000, "> 99.9 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_shares_are_never_rounded_to_none_or_all(part: int, whole: int, text: str) -> None:
    assert numbers.share(part, whole) == text
