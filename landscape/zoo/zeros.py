"""Networks of one hidden layer at zero, where training that starts small begins: saddles of which
index and nullity are known.

f(W, V) = 1 / (2 m) sum |V act(W x) - y|^2 over m samples; x = W row by row, then V row by row; h
hidden units, d inputs, p outputs. Samples have mean zero and covariance the identity, and M = 1/m
sum y x' has the chosen singular values s, r of them positive. At zero the gradient vanishes, the
weights of two layers couple, and nothing else is of second order but a sigmoid's value there:

    tanh      each unit: ± s_i, zero p + d - 2 r times                               index h r,
              nullity h (p + d - 2 r)
    sigmoid   h - 1 combinations of units: ± s_i / 4, zero p + d - 2 r times;        index h r,
              their sum: h/8 ± sqrt(h^2/64 + s_i^2/16), h/4 p - r times, zero d - r  nullity (h - 1)
                                                                                     (p + d - 2 r) +
                                                                                     d - r

since tanh(0) = 0, tanh'(0) = 1, sigmoid(0) = 1/2, sigmoid'(0) = 1/4.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape import rng
from landscape.landscapes.kinds import kind
from landscape.specs import number, whole
from landscape.zoo.known import KnownLandscape, KnownPoint


def tanh_net(
    strengths: Sequence[float] = (2.0, 1.0),
    hidden: int = 3,
    inputs: int | None = None,
    seed: int = 0,
) -> KnownLandscape:
    """A tanh network without biases around its saddle at zero.

    Args:
        strengths: s, positive: how strongly outputs depend on inputs; as many outputs.
        hidden: h.
        inputs: d, at least as many as strengths; None: one more.
        seed: of the samples.

    Raises:
        ValueError: an option out of range.
    """
    return _net("tanh", strengths, hidden, inputs, seed)


def sigmoid_net(
    strengths: Sequence[float] = (2.0, 1.0),
    hidden: int = 3,
    inputs: int | None = None,
    seed: int = 0,
) -> KnownLandscape:
    """A sigmoid network without biases around its saddle at zero: mean targets are zero, or zero
    would not be stationary.

    Args:
        strengths, hidden, inputs, seed: as of ``tanh_net``.

    Raises:
        ValueError: an option out of range.
    """
    return _net("sigmoid", strengths, hidden, inputs, seed)


def spectrum(activation: str, strengths: Sequence[float], hidden: int, inputs: int) -> Tensor:
    """All eigenvalues at zero, ascending: (h (d + p),), float64."""
    p = r = len(strengths)
    if activation == "tanh":
        values = [v for s in strengths for v in (s, -s)] * hidden + [0.0] * (
            hidden * (p + inputs - 2 * r)
        )
    else:
        apart = [v / 4 for s in strengths for v in (s, -s)] + [0.0] * (p + inputs - 2 * r)
        roots = [(hidden / 8, math.sqrt(hidden**2 / 64 + s**2 / 16)) for s in strengths]
        together = [v for a, b in roots for v in (a + b, a - b)] + [0.0] * (inputs - r)
        values = apart * (hidden - 1) + together
    return torch.tensor(values, dtype=torch.float64, device="cpu").sort().values


def _net(
    activation: str, strengths: Sequence[float], hidden: int, inputs: int | None, seed: int
) -> KnownLandscape:
    s = [float(x) for x in (strengths if isinstance(strengths, Sequence) else [strengths])]
    for value in s:
        number(0, strengths=value)
    if not s or min(s) == 0:
        raise ValueError(f"strengths must be positive numbers, at least one, got {strengths!r}.")
    p = len(s)
    d = p + 1 if inputs is None else inputs
    whole(1, hidden=hidden)
    whole(p, inputs=d)
    act: Callable[[Tensor], Tensor] = torch.tanh if activation == "tanh" else torch.sigmoid
    x, y = _samples(s, d, seed)
    dim = hidden * (d + p)

    def function(point: Tensor) -> Tensor:
        W, V = torch.split(point, [hidden * d, p * hidden], dim=-1)
        units = act(x.to(point) @ W.reshape(*point.shape[:-1], hidden, d).mT)
        error = units @ V.reshape(*point.shape[:-1], p, hidden).mT - y.to(point)
        total: Tensor = error.square().sum((-2, -1)) / (2 * len(x))
        return total

    def points() -> list[KnownPoint]:
        w = spectrum(activation, s, hidden, d)
        index, nullity = int((w < 0).sum()), int((w == 0).sum())
        zero = torch.zeros(dim, dtype=torch.float64, device="cpu")
        return [
            KnownPoint(
                zero,
                0.5 * sum(v * v for v in s),
                index,
                nullity,
                kind(index, nullity, dim - index - nullity),
            )
        ]

    return KnownLandscape(
        function,
        dim,
        name=f"{activation}-net",
        formula=(
            f"1/(2m) sum |V {activation}(W x) - y|^2, {hidden} hidden units, {d} inputs, {p} "
            f"outputs"
        ),
        source=(
            "the saddle at zero is derived in landscape/zoo/zeros.py; other points are not given"
        ),
        points=points,
        complete=False,
    )


def _samples(s: list[float], d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs (m, d) of mean zero and covariance 1, and targets (m, p) linear in them with singular
    values s.
    """
    m, p = 2 * d + 2, len(s)
    generator = rng.generator(seed)
    drawn = torch.randn(m, d, generator=generator, dtype=torch.float64, device="cpu")
    x = math.sqrt(m) * torch.linalg.qr(drawn - drawn.mean(0)).Q
    U, V = (
        torch.linalg.qr(torch.randn(n, p, generator=generator, dtype=torch.float64, device="cpu")).Q
        for n in (p, d)
    )
    return x, x @ (V * torch.tensor(s, dtype=torch.float64, device="cpu")) @ U.T
