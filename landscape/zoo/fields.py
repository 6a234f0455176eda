"""Random landscapes: Gaussian fields of variance known in closed form, the same for the same seed
on every device.
"""

import math
from itertools import product

import torch
from torch import Tensor

from landscape import rng
from landscape.landscapes.domains import Sphere, Torus
from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point

LARGEST = 2**24  # coefficients: 128 MiB


def trigonometric(dim: int = 2, degree: int = 3, seed: int = 0) -> KnownLandscape:
    """A random trigonometric polynomial on the torus, stationary, of mean 0 and variance 1.

    Waves k are the integer vectors with 0 < |k| <= degree, one of each pair k, -k; all have
    independent normal amplitudes of equal variance.

    Args:
        dim: number of variables.
        degree: the largest |k|.
        seed: of the amplitudes.

    Raises:
        ValueError: an option out of range, or too many waves.
    """
    whole(1, dim=dim, degree=degree)
    whole(0, seed=seed)
    if (2 * degree + 1) ** dim > LARGEST // 16:
        raise ValueError(
            f"trigonometric has too many waves for dim={dim} and degree={degree}; lower one of "
            f"them."
        )
    waves = waves_within(dim, degree)
    amplitudes = wave_amplitudes(len(waves), seed)

    def f(x: Tensor) -> Tensor:
        phase = x @ waves.T.to(x)
        a, b = amplitudes.to(x)
        value: Tensor = phase.cos() @ a + phase.sin() @ b
        return value

    return KnownLandscape(
        f,
        dim,
        Torus(),
        name="trigonometric",
        formula="sum_k a_k cos(k.x) + b_k sin(k.x), 0 < |k| <= degree",
        source=(
            "Nicolaescu 2018, Bernoulli 24:1128: critical points of random Fourier series on the "
            "torus"
        ),
    )


def p_spin(spins: int = 10, order: int = 3, seed: int = 0) -> KnownLandscape:
    """The spherical p-spin glass: a random form of degree p on the sphere of radius sqrt(spins), of
    variance ``spins``.

    For order 2 the stationary points are the eigenvectors of a random symmetric matrix, of either
    sign.

    Args:
        spins: n.
        order: p.
        seed: of the couplings, which are independent standard normal numbers.

    Raises:
        ValueError: an option out of range, or more than 2^24 couplings.
    """
    whole(2, spins=spins)
    whole(2, order=order)
    whole(0, seed=seed)
    if order > 24 or spins**order > LARGEST:
        raise ValueError(
            f"p-spin has too many couplings for spins={spins} and order={order}; lower one of them."
        )
    couplings = spin_couplings(spins, order, seed)

    def f(x: Tensor) -> Tensor:
        value: Tensor = x @ couplings.to(x).reshape(spins, -1)
        for _ in range(order - 1):
            value = (x[..., :, None] * value.reshape(*x.shape, -1)).sum(-2)
        return value[..., 0]

    def points() -> list[KnownPoint]:
        J = couplings.reshape(spins, spins)
        levels, vectors = torch.linalg.eigh(J + J.T)
        found = []
        for i, v in enumerate(vectors.T):
            others = torch.cat([levels[:i], levels[i + 1 :]]) - levels[i]
            value = 0.5 * spins * float(levels[i])
            found += [
                known_point(sign * math.sqrt(spins) * v, value, others) for sign in (1.0, -1.0)
            ]
        return found

    return KnownLandscape(
        f,
        spins,
        Sphere(math.sqrt(spins)),
        name="p-spin",
        formula="n^(-(p-1)/2) sum J_{i1..ip} x_{i1} ... x_{ip}, |x|^2 = n",
        source=(
            "Crisanti, Sommers 1992, Z. Phys. B 87:341; Auffinger, Ben Arous, Černý 2013, Comm. "
            "Pure Appl. Math. 66:165"
        ),
        points=points if order == 2 else None,
    )


def waves_within(dim: int, degree: int) -> Tensor:
    """The integer vectors k with 0 < |k| <= degree, one of each pair k, -k: (m, dim), float64 on
    the CPU.
    """
    rows = [
        k
        for k in product(range(-degree, degree + 1), repeat=dim)
        if 0 < sum(v * v for v in k) <= degree**2
    ]
    return torch.tensor(
        [k for k in rows if k > tuple(-v for v in k)], dtype=torch.float64, device="cpu"
    )


def wave_amplitudes(count: int, seed: int) -> Tensor:
    """Independent normal amplitudes of the cosines and sines of ``count`` waves, of variance 1 /
    count: (2, count).
    """
    generator = rng.generator(seed)
    amplitudes: Tensor = (
        torch.randn(2, count, generator=generator, dtype=torch.float64, device="cpu") / count**0.5
    )
    return amplitudes


def spin_couplings(spins: int, order: int, seed: int) -> Tensor:
    """The couplings J of ``p_spin`` over n^((p-1)/2), one for every tuple of indices:
    (spins^order,).
    """
    generator = rng.generator(seed)
    couplings: Tensor = torch.randn(
        spins**order, generator=generator, dtype=torch.float64, device="cpu"
    )
    couplings /= float(spins) ** ((order - 1) / 2)
    return couplings
