"""The coin toss: what the index of a stationary point would be if each of its n curvatures had a
sign of its own.

It is a heuristic, right at n = 1 only: eigenvalues repel, so that for a random symmetric matrix a
minimum is far rarer (``goe_positive``) and the index far closer to n / 2 (``goe_index``).
"""

import math

from landscape.specs import whole


def coin_toss(n: int, *, maxima_are_saddles: bool = False) -> float:
    """The chance that n fair coins don't all agree, which is that of a saddle: 1 - 2^(1-n).

    Args:
        n: number of curvatures.
        maxima_are_saddles: count maxima, from which one can still descend, as saddles too: 1 -
            2^-n.

    Raises:
        ValueError: n is not a positive integer.
    """
    whole(1, n=n)
    return 1 - 2.0 ** (-n if maxima_are_saddles else 1 - n)


def coin_toss_index(n: int) -> list[float]:
    """P(k of n coins show heads), k = 0..n: the binomial law that the coin toss gives the index.

    Raises:
        ValueError: n is not a positive integer.
    """
    whole(1, n=n)
    return [math.comb(n, k) / 2**n for k in range(n + 1)]
