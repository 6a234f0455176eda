"""The spherical pure p-spin glass: mean numbers of stationary points (Auffinger, Ben Arous & Cerny
2013, CPAM 66:165).

H(x) = sum J_{i1..ip} x_i1 ... x_ip over the sphere |x|^2 = N, J independent standard normal over
N^{(p-1)/2}, so that Var H = N. Energies are per spin, E = H / N. x and -x count as two points.
"""

import dataclasses
import math

import mpmath as mp
from scipy.optimize import brentq

from landscape.results import Result, result
from landscape.specs import whole
from landscape.theory.pfaffian import Row, at_precision, floats, mean_abs_det


@result("pspin-thresholds")
@dataclasses.dataclass(frozen=True)
class PspinThresholds(Result):
    """Energies per spin, as positive numbers E that stand for -E, and complexities, all in the
    limit of many spins.
    """

    order: int  # p
    # below -e_inf stationary points of finite index prevail, above it the index grows like N
    e_inf: float
    e_index: list[
        float
        # e_index[k]: no stationary point of index k below -e_index[k]; -e_index[0] is the ground
        # state
    ]
    total: float  # lim ln(mean number of all stationary points) / N
    minima: float  # the same for those of any one finite index


def pspin_counts(spins: int, order: int = 3) -> list[float]:
    """The exact mean number of stationary points of each index k = 0..N-1 on the sphere of N spins.

    Kac-Rice: E N_k = |S^n| ((p-1) / 2 pi)^{n/2} E[|det(G - x)|, k eigenvalues of G below x], n = N
    - 1, G the GOE and x ~ N(0, p / (p-1)); the mean over G by a Pfaffian, that over x by the
      trapezoid rule. At least 12 digits.

    Args:
        spins: N, from 2; 0.2 s at 5, growing like N^4.
        order: p, from 2.

    Raises:
        ValueError: an option out of range.
    """
    whole(2, spins=spins)
    whole(2, order=order)
    return floats("pspin_counts", at_precision(_counts, 40 + 6 * spins, spins, order))


def _counts(spins: int, order: int) -> Row:
    n, p = spins - 1, mp.mpf(order)
    sphere = 2 * mp.pi ** (mp.mpf(spins) / 2) / mp.gamma(mp.mpf(spins) / 2)
    factor = sphere * ((p - 1) / (2 * mp.pi)) ** (mp.mpf(n) / 2)
    return [factor * v for v in mean_abs_det(n, p / (p - 1))]


def pspin_complexity(energy: float, index: int = 0, order: int = 3) -> float:
    """lim ln(mean number of stationary points of this index with E <= energy) / N, for energy <=
    -E_inf.

    Negative where there is none with a probability that tends to 1. Above -E_inf it stays at its
    value there.

    Raises:
        ValueError: an option out of range, or an energy that is not finite.
    """
    whole(0, index=index)
    whole(3, order=order)
    if not math.isfinite(energy):
        raise ValueError(f"pspin_complexity got energy={energy!r}; pass a finite number.")
    e_inf = 2 * math.sqrt((order - 1) / order)
    e = max(-energy, e_inf)
    root = math.sqrt(max(e * e - e_inf * e_inf, 0.0))
    rate = e * root / e_inf**2 - math.log((e + root) / e_inf)
    return math.log(order - 1) / 2 - (order - 2) / (4 * (order - 1)) * e * e - (index + 1) * rate


def pspin_thresholds(order: int = 3, indices: int = 4) -> PspinThresholds:
    """The threshold energies E_inf < ... < E_1 < E_0 and the complexities.

    Args:
        order: p, from 3.
        indices: how many of E_0, E_1, ... to give.

    Raises:
        ValueError: an option out of range.
    """
    whole(3, order=order)
    whole(1, indices=indices)
    e_inf = 2 * math.sqrt((order - 1) / order)
    far = 4 * e_inf + 2 * math.sqrt(math.log(order))
    levels = [
        float(
            brentq(
                lambda e, k=k: pspin_complexity(-e, k, order), e_inf, far, xtol=1e-15, rtol=1e-15
            )
        )
        for k in range(indices)
    ]
    total = math.log(order - 1) / 2
    return PspinThresholds(order, e_inf, levels, total, total - (order - 2) / order)
