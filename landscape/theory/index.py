"""The index of random symmetric matrices, and index against energy (Bray & Dean 2007, Phys. Rev.
Lett. 98:150201).
"""

import math

import mpmath as mp

from landscape.specs import whole
from landscape.theory.pfaffian import at_precision, by_index, floats


def goe_index(n: int, *, log: bool = False) -> list[float]:
    """P(k of the n eigenvalues of the GOE are negative), k = 0..n, exact to all digits of a float.

    Cost: about n^4 operations in up to 40 + 3 n + n^2 / 7 digits: 0.2 s at n = 20, 10 s at n = 50;
    remembered.

    Args:
        n: size of the matrix.
        log: natural logarithms instead, which are needed beyond n = 50.

    Raises:
        ValueError: n is not a positive integer, or a probability is below every float, with
            ``log=False``.
    """
    whole(1, n=n)
    if not log and n > 50:
        raise ValueError(
            f"goe_index: at n={n} the chance of index 0 is below every float; pass log=True."
        )
    values = at_precision(by_index, 40 + 3 * n + n * n // 7, n, mp.mpf(0), 0)
    return [float(mp.log(v)) for v in values] if log else floats("goe_index", values)


def index_fraction(level: float, n: int | None = None) -> float:
    """The mean share of negative curvatures at stationary points of one energy, 1/2 + (w sqrt(1 -
    w^2) + arcsin w) / pi.

    Spherical p-spin: w = E / E_inf (see ``pspin_thresholds``). Gaussian field on R^n of covariance
    n f(|x - y|^2 / 2n) at phi = n eps: w = sqrt(f'') |f'| eps / (f f'' + f'^2), which is eps / 2
    for f(t) = exp(-t).

    Args:
        level: w; below -1 all curvatures are positive in the limit, above 1 none.
        n: instead of the limit, the exact ratio of mean counts sum_k k N_k / (n sum_k N_k) for n
            variables, which holds for f = exp(-t), and for the p-spin on n + 1 spins at the level
            sqrt((n + 1) / n) E / E_inf. About n^4 operations: 0.2 s at n = 20.

    Raises:
        ValueError: n is not a positive integer, or the level is not finite.
    """
    if not math.isfinite(level):
        raise ValueError(f"index_fraction got level={level!r}; pass a finite number.")
    if n is None:
        w = min(max(level, -1.0), 1.0)
        return 0.5 + (w * math.sqrt(1 - w * w) + math.asin(w)) / math.pi
    whole(1, n=n)
    digits = 40 + 4 * n + int(8 * n * level * level)
    values = at_precision(by_index, digits, n, mp.sqrt(2 * n) * mp.mpf(level), 1)
    with mp.workdps(digits):
        return float(mp.fsum(k * v for k, v in enumerate(values)) / (n * mp.fsum(values)))
