"""The octopus of Du, Jin, Lee, Jordan, Singh & Poczos 2017 (NeurIPS, arXiv:1705.10412): d saddles
in a row, a minimum at the end.

In a tube the first coordinates are at their end, near 4 tau; one is under way; the others are
small. While x_i is at most tau it slides off a saddle, -gamma x_i^2, and all later ones are drawn
back, L x_j^2; between tau and 2 tau a quartic g1 takes x_i over, and a quintic g2 turns x_{i+1}
from L to -gamma: the next saddle. Both follow from continuous second derivatives, nu = (37 L + 13
gamma) tau^2 / 6 from that of the value. Other signs by reflection.

Gradient descent shrinks x_{i+1} while x_i grows and then has to grow it back, so that its time is
exponential in d; a disturbance at every saddle makes it linear. ``theory.octopus_exit`` has the
exact steps.
"""

import itertools
import math

import torch
from torch import Tensor

from landscape.specs import number, whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point, listable


def octopus(
    dim: int = 3, L: float = math.e, gamma: float = 1.0, tau: float = math.e
) -> KnownLandscape:
    """The octopus in its tube: x_1..x_{i-1} in [2 tau, 6 tau], x_i in [0, 2 tau], later ones in [0,
    tau], and reflections.

    Descent with steps up to 1 / (4 L) from small starts stays in the tube. Outside of it the
    formula goes on, but not continuously; the paper extends it smoothly.

    Args:
        dim: d, and so many saddles: (4 tau, ..., 4 tau, 0, ..., 0).
        L, gamma: halves of the curvatures across and down; L >= gamma > 0.
        tau: length of a piece.

    Raises:
        ValueError: an option out of range.
    """
    whole(1, dim=dim)
    number(0, L=L, gamma=gamma, tau=tau)
    if not (0 < gamma <= L and tau > 0):
        raise ValueError(
            f"need 0 < gamma <= L and tau > 0, got gamma={gamma!r}, L={L!r}, tau={tau!r}."
        )
    nu = (37 * L + 13 * gamma) / 6 * tau**2

    def f(x: Tensor) -> Tensor:
        a = x.abs()
        # 1 up to the last coordinate before the one under way
        passed = (a >= 2 * tau).to(x).cumprod(-1)
        reached = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], -1)
        on_way = reached * (1 - passed)
        u, v = a - tau, a / tau - 2
        quartic = (10 * gamma - 14 * L) / (3 * tau) * u**3 + (5 * L - 3 * gamma) / (
            2 * tau**2
        ) * u**4
        quintic = -gamma - (L + gamma) * (10 * v**3 + 15 * v**4 + 6 * v**5)
        # what the coordinate under way makes of the next one's L
        turned = torch.where(a > tau, quintic, L)
        across = 1 - reached
        nearest = torch.cat([torch.zeros_like(on_way[..., :1]), on_way[..., :-1]], -1)
        before = torch.cat([torch.zeros_like(turned[..., :1]), turned[..., :-1]], -1)
        stiffness = torch.where(nearest > 0, before, L)
        along = -gamma * x.square() + torch.where(a > tau, quartic, 0.0)
        terms = (
            passed * (L * (a - 4 * tau).square() - nu)
            + on_way * along
            + across * stiffness * x.square()
        )
        return terms.sum(-1)

    def points() -> list[KnownPoint]:
        listable(2 ** (dim + 1) - 1, "octopus")
        found = []
        for k in range(dim + 1):
            spectrum = torch.full((dim,), 2 * L, dtype=torch.float64, device="cpu")
            spectrum[k : k + 1] = -2 * gamma
            for signs in itertools.product((1.0, -1.0), repeat=k):
                x = torch.zeros(dim, dtype=torch.float64, device="cpu")
                x[:k] = 4 * tau * torch.tensor(signs, dtype=torch.float64, device="cpu")
                found.append(known_point(x, -k * nu, spectrum))
        return found

    return KnownLandscape(
        f,
        dim,
        name="octopus",
        formula=(
            "L x_j^2 and -gamma x_i^2 in a tube, joined by a quartic and a quintic; see the module"
        ),
        source=(
            "Du, Jin, Lee, Jordan, Singh, Poczos 2017, NeurIPS: all there are in the tube and its "
            "reflections"
        ),
        points=points,
        counts={0: 2**dim, 1: 2**dim - 1},
    )
