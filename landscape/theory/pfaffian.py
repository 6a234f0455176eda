"""Averages over the GOE that know how many eigenvalues lie below a level, by de Bruijn's Pfaffian.

Eigenvalues u_1..u_n of weight exp(-u^2 / 2) (the GOE over sqrt 2) have the joint density |prod (u_j
- u_i)| times the weights over Mehta's integral. A factor w(u) a eigenvalue that is marked by z
  where u < 0,

    sum_k z^k E[prod_i |u_i|^r, k of them negative]    (each u moved by -y),

is n! Pf A(z) / Mehta (de Bruijn 1955, J. Indian Math. Soc. 19:133), A_ij = II sgn(v - u) u^i v^j
w(u) w(v) du dv, bordered by I u^i w(u) du when n is odd. On half lines the entries obey two-term
recurrences, from one integration by parts. The coefficients in z come from n + 1 values of z; all
in mpmath, with digits to spare for the cancellation.
"""

from collections.abc import Callable
from functools import lru_cache

import mpmath as mp

Row = list[mp.mpf]
STEP = 8  # trapezoid points a unit of y; the error falls like exp(-(2 pi STEP)^2 / 4)


def by_index(n: int, y: mp.mpf, power: int) -> Row:
    """E[prod |u_i - y|^power, k of the u_i below y], k = 0..n, for the GOE over sqrt 2; at the
    working precision.

    Args:
        n: size of the matrix.
        y: the level.
        power: 0 for the chance of each index, 1 for the mean of |det(U - y)|.
    """
    if n == 0:
        return [mp.mpf(1)]
    up, down = _half_line(y, n + power), _half_line(-y, n + power)
    marks = [mp.mpf(j) / n for j in range(n + 1)]
    values = [_pfaffian(_matrix(n, power, up, down, z)) for z in marks]
    coefficients = _interpolate(marks, values)
    mehta = (2 * mp.pi) ** (mp.mpf(n) / 2) * mp.fprod(
        mp.gamma(1 + mp.mpf(j) / 2) / mp.gamma(mp.mpf(3) / 2) for j in range(1, n + 1)
    )
    factor = mp.factorial(n) / mehta * mp.sign(mp.fsum(coefficients))
    return [factor * c for c in coefficients]


def mean_abs_det(n: int, variance: mp.mpf, half_width: int = 12) -> Row:
    """E[|det(G - x)|, k eigenvalues below x], k = 0..n, over the GOE G and x ~ N(0, variance), by
    the trapezoid rule.
    """
    spread = mp.sqrt(variance / 2)
    total = [mp.mpf(0)] * (n + 1)
    for j in range(half_width * STEP + 1):
        y = spread * j / STEP
        weight = mp.exp(-((mp.mpf(j) / STEP) ** 2) / 2) / mp.sqrt(2 * mp.pi) / STEP
        values = by_index(n, y, 1)
        for k in range(n + 1):
            total[k] += weight * (values[k] + (values[n - k] if j else 0))
    return [mp.sqrt(2) ** n * v for v in total]


def _half_line(y: mp.mpf, top: int) -> tuple[Row, list[Row]]:
    """m_k = I_0^oo u^k w, and a_ij = II_0^oo sgn(v - u) u^i v^j w w, for w(u) = exp(-(u + y)^2 / 2)
    and i, j < top.
    """
    edge = mp.exp(-y * y / 2)
    m = [mp.sqrt(mp.pi / 2) * mp.erfc(y / mp.sqrt(2))]
    g = [mp.sqrt(mp.pi) / 2 * mp.erfc(y)]  # I_0^oo u^k w^2
    for k in range(1, top):
        m.append(-y * m[-1] + ((k - 1) * m[k - 2] if k > 1 else edge))
    for k in range(1, 2 * top):
        g.append((-y * 2 * g[-1] + ((k - 1) * g[k - 2] if k > 1 else edge * edge)) / 2)
    a = [[mp.mpf(0)] * top for _ in range(top)]
    for j in range(top):
        for i in range(j + 1, top):
            before = (i - 1) * a[i - 2][j] if i > 1 else edge * m[j]
            a[i][j] = before - y * a[i - 1][j] - 2 * g[i + j - 1]
            a[j][i] = -a[i][j]
    return m, a


def _matrix(
    n: int, power: int, up: tuple[Row, list[Row]], down: tuple[Row, list[Row]], z: mp.mpf
) -> list[Row]:
    """A(z) above its diagonal, from the tables of the two half lines."""
    (m, a), (w, b) = up, down
    size = n + n % 2
    rows = [[mp.mpf(0)] * size for _ in range(size)]
    for i in range(n):
        p, s = i + power, (-1) ** i
        for j in range(i + 1, n):
            q, t = j + power, (-1) ** j
            rows[i][j] = a[p][q] - s * t * z * z * b[p][q] + z * (s * w[p] * m[q] - t * m[p] * w[q])
        if n % 2:
            rows[i][n] = m[p] + z * s * w[p]
    return rows


def _pfaffian(rows: list[Row]) -> mp.mpf:
    """Pfaffian of a skew matrix from its upper triangle, by elimination of two rows at a time
    (Wimmer 2012), no pivoting: the leading blocks are the Pfaffians of smaller ensembles, none of
    them zero for z >= 0.
    """
    value, n = mp.mpf(1), len(rows)
    for k in range(0, n, 2):
        pivot = rows[k][k + 1]
        value *= pivot
        first, second = [v / pivot for v in rows[k]], rows[k + 1]
        for i in range(k + 2, n):
            row, x, y = rows[i], first[i], second[i]
            for j in range(i + 1, n):
                row[j] += y * first[j] - x * second[j]
    return value


def _interpolate(points: Row, values: Row) -> Row:
    """Coefficients of the polynomial through the points, by Newton's divided differences."""
    n = len(points)
    difference = list(values)
    for k in range(1, n):
        for i in range(n - 1, k - 1, -1):
            difference[i] = (difference[i] - difference[i - 1]) / (points[i] - points[i - k])
    result = [difference[-1]]
    for k in range(n - 2, -1, -1):  # result * (z - points[k]) + difference[k]
        result = [difference[k] - points[k] * result[0]] + [
            result[i - 1] - points[k] * (result[i] if i < len(result) else 0)
            for i in range(1, len(result) + 1)
        ]
    return result


@lru_cache(maxsize=128)
def at_precision(
    function: Callable[..., Row], digits: int, *arguments: int | mp.mpf
) -> tuple[mp.mpf, ...]:
    """What ``function`` gives with so many digits, remembered; the caller's precision is left as it
    was.
    """
    with mp.workdps(digits):
        return tuple(function(*arguments))


def floats(function: str, values: tuple[mp.mpf, ...]) -> list[float]:
    """The values as floats, refused where one is below every float."""
    result = [float(v) for v in values]
    if any(v == 0 for v in result):
        raise ValueError(
            f"{function}: a value of {mp.nstr(min(values), 3)} is below every float; pass log=True."
        )
    return result
