"""How long gradient flow stays on a plateau, and gradient descent among the saddles of an octopus.
Flow time is lr times steps.

The octopus is that of ``landscape.zoo.octopus``: d saddles in a row, and while one is left the next
coordinate shrinks.
"""

import math

import numpy as np
from scipy.integrate import quad


def deep_linear_time(layers: int, strength: float, start: float, share: float = 0.5) -> float:
    """The time in which one mode of a deep linear network is learned from ``start`` to a share of
    its strength.

    u' = N u^{2 - 2/N} (s - u), balanced weights (Saxe, McClelland & Ganguli 2014, ICLR,
    arXiv:1312.6120); closed for two layers, else by quadrature in ln u.

    Args:
        layers: N, from 1.
        strength: s, the singular value to be learned.
        start: u_0, between 0 and share s: the product of the layers' initial modes.
        share: of s, below 1.

    Raises:
        ValueError: an option out of range.
    """
    if layers < 1 or not strength > 0 or not 0 < share < 1 or not 0 < start <= share * strength:
        raise ValueError(
            "need layers >= 1, strength > 0, 0 < share < 1 and 0 < start <= share * strength."
        )
    end = share * strength
    if layers == 2:
        return math.log(end / start * (strength - start) / (strength - end)) / (2 * strength)
    power = 2 / layers - 1
    return float(
        quad(
            lambda q: math.exp(power * q) / (layers * (strength - math.exp(q))),
            math.log(start),
            math.log(end),
            epsabs=0,
            epsrel=1e-12,
            limit=400,
        )[0]
    )


def sigmoid_time(start: float, end: float = 0.0) -> float:
    """The time of w from ``start`` to ``end`` on (sigmoid(w) - 1)^2 / 2: e^-w and then some, w far
    below 0.

    The integral of 1 / (p (1 - p)^2) = e^-w + 3 + 3 e^w + e^2w, p = sigmoid(w), as a sum of
    positive terms: exact to rounding however near the ends are, and infinite where it is beyond
    1.8e308.

    Raises:
        ValueError: start is above end.
    """
    if not start <= end:
        raise ValueError(f"start must not be above end, got {start!r} and {end!r}.")
    if start == end:
        return 0.0
    d = end - start
    one, two = -math.expm1(-d), -math.expm1(-2 * d)
    with np.errstate(over="ignore", under="ignore"):
        # roots of exponentials: of near ends a term is finite where its exponential is not
        first, last = np.exp(-start / 2), np.exp(end)
        return float(first * one * first + 3 * d + 3 * last * one + last * (two / 2) * last)


def gaussian_well_time(start: float, end: float = 1.0) -> float:
    """The time of x from ``start`` to ``end`` on 1 - exp(-x^2 / 2): about e^{x^2 / 2} / x^2, x far
    out; infinite from 37.87 on, where it is beyond 1.8e308. By quadrature, to some 1e-12.

    Raises:
        ValueError: not 0 < end <= start.
    """
    if not 0 < end <= start:
        raise ValueError(f"need 0 < end <= start, got {start!r} and {end!r}.")
    if start == end:
        return 0.0
    if math.isinf(start):
        return math.inf
    # x = start e^-s: the integrand is 1 and e^{x^2 / 2} - 1, which matters down to small x
    span = math.log1p((start - end) / end) if start < 1e300 * end else math.log(start / end)
    square = start**2 / 2
    reach = min(span, 20 + math.log(max(start, 1.0)))
    peak = [k / (1 + 2 * square) for k in (3, 40) if k / (1 + 2 * square) < reach]
    beyond = quad(
        lambda s: -math.expm1(-square * math.exp(-2 * s)) * math.exp(square * math.expm1(-2 * s)),
        0,
        reach,
        points=peak or None,
        epsabs=0,
        epsrel=1e-13,
        limit=400,
    )[0]
    log = math.log(beyond) + square if beyond > 0 else -math.inf
    return span + (math.exp(log) if log < math.log(1.79e308) else math.inf)


def octopus_growth(L: float, gamma: float, lr: float) -> float:
    """kappa: by what factor gradient descent stays longer at each saddle of an octopus than at the
    one before.

    1 + ln(1 / (1 - 2 lr L)) / ln(1 + 2 lr gamma) >= 1 + L / gamma: the next coordinate shrinks
    while one grows, and must grow back.

    Raises:
        ValueError: not 0 < gamma <= L or not 0 < lr < 1 / (2 L).
    """
    _octopus(L, gamma, lr)
    return 1 - math.log1p(-2 * lr * L) / math.log1p(2 * lr * gamma)


def octopus_exit(
    dim: int,
    L: float,
    gamma: float,
    tau: float,
    lr: float,
    start: float = 1.0,
    steps: int = 10_000_000,
) -> list[int]:
    """The steps at which gradient descent brings coordinate 1, 2, ... of an octopus to 2 tau; as
    many as within ``steps``.

    Coordinates that still shrink are carried as logarithms: torch's float64 comes to an exact zero
    and stays for good where the smallest falls below 5e-324, which is at dim 5 or 6 with L of 2 to
    3 times gamma; float32 one dimension earlier.

    Args:
        dim, L, gamma, tau: as of the octopus.
        lr: of gradient descent.
        start: every coordinate's, between 0 and tau.
        steps: most of them, a microsecond each where a saddle is being left, none in between.

    Raises:
        ValueError: an option out of range.
    """
    _octopus(L, gamma, lr)
    if dim < 1 or not 0 < start < tau:
        raise ValueError(f"need dim >= 1 and 0 < start < tau, got {dim!r}, {start!r}, {tau!r}.")
    shrink, grow = math.log1p(-2 * lr * L), math.log1p(2 * lr * gamma)
    logs, now, exits = [math.log(start)] * dim, 0, list[int]()
    for i in range(dim):
        wait = max(0, math.ceil((math.log(tau) - logs[i]) / grow))
        x = math.exp(logs[i] + wait * grow)
        for j in range(i + 1, dim):
            logs[j] += wait * shrink
        now += wait
        while x < 2 * tau and now < steps:
            u, v = x - tau, x / tau - 2
            g1 = (
                -2 * gamma * x
                + (10 * gamma - 14 * L) / tau * u**2
                + 2 * (5 * L - 3 * gamma) / tau**2 * u**3
            )
            g2 = -gamma - (L + gamma) * (10 * v**3 + 15 * v**4 + 6 * v**5)
            slope = -30 * (L + gamma) * (v * (1 + v)) ** 2 / tau
            if i + 1 < dim:
                g1 += slope * math.exp(2 * logs[i + 1])
                logs[i + 1] += math.log1p(-2 * lr * g2)
            for j in range(i + 2, dim):
                logs[j] += shrink
            x -= lr * g1
            now += 1
        if now > steps or x < 2 * tau:
            break
        exits.append(now)
    return exits


def _octopus(L: float, gamma: float, lr: float) -> None:
    if not 0 < gamma <= L or not 0 < 2 * lr * L < 1:
        raise ValueError(
            f"need 0 < gamma <= L and 0 < lr < 1 / (2 L), got {gamma!r}, {L!r} and lr={lr!r}."
        )
