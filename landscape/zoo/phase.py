"""Real phase retrieval in the limit of infinitely many Gaussian measurements: the signal z up to
its sign from all (a.x)^2.

f(x) = 1/4 E ((a.x)^2 - (a.z)^2)^2 over a ~ N(0, I); with E a_i a_j a_k a_l it is (3 |x|^4 + 3 |z|^4
- 2 |x|^2 |z|^2 - 4 (x.z)^2) / 4, of gradient (3 |x|^2 - |z|^2) x - 2 (x.z) z and Hessian (3 |x|^2 -
  |z|^2) I + 6 x x' - 2 z z'. So, c = |z|^2:

    x = 0                    maximum                       eigenvalues -3 c, -c (n - 1 times)
    x = z, x = -z            minimum, f = 0                2 c (n - 1 times), 6 c
    x.z = 0, |x|^2 = c / 3   a sphere of n - 2 dimensions  -2 c, 0 (n - 2 times), 2 c

Sun, Qu & Wright 2018, Found. Comput. Math. 18:1131, treat the complex case and finitely many
measurements.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, KnownPoint


def phase_retrieval(n: int = 3, signal: Sequence[float] | None = None) -> KnownLandscape:
    """The population loss of real phase retrieval in n dimensions.

    Args:
        n: the signal's length.
        signal: its n entries, not all zero; None: all ones.

    Raises:
        ValueError: n is not positive, or the signal has another length, or is zero or not finite.
    """
    whole(1, n=n)
    z = torch.tensor(
        [1.0] * n if signal is None else list(signal), dtype=torch.float64, device="cpu"
    )
    c = float(z @ z)
    if len(z) != n or not math.isfinite(c) or c == 0:
        raise ValueError(f"signal must be {n} finite numbers, not all zero, got {signal}.")

    def function(x: Tensor) -> Tensor:
        square, overlap = x.square().sum(-1), x @ z.to(x)
        return 0.25 * (3 * square.square() + 3 * c * c - 2 * c * square) - overlap.square()

    def points() -> list[KnownPoint]:
        found = [
            KnownPoint(torch.zeros_like(z), 0.75 * c * c, n, 0, "maximum"),
            KnownPoint(z.clone(), 0.0, 0, 0, "minimum"),
            KnownPoint(-z, 0.0, 0, 0, "minimum"),
        ]
        if n > 1:
            across = torch.zeros_like(z)
            first = int(z.abs().argmax())
            second = 0 if first else 1
            across[first], across[second] = -z[second], z[first]
            across *= math.sqrt(c / 3) / float(across.norm())
            found += [
                KnownPoint(x, 2 / 3 * c * c, 1, n - 2, "saddle")
                for x in ((across, -across) if n == 2 else (across,))
            ]
        return found

    return KnownLandscape(
        function,
        n,
        name="phase-retrieval",
        formula=(
            "1/4 E ((a.x)^2 - (a.z)^2)^2 over normal a, = (3 |x|^4 + 3 |z|^4 - 2 |x|^2 |z|^2 - 4 "
            "(x.z)^2) / 4"
        ),
        source=(
            "J. Sun, Q. Qu, J. Wright, Found. Comput. Math. 18 (2018) 1131; the real case by "
            "Gaussian moments"
        ),
        points=points,
    )
