"""Families of landscapes: one for every dimension and seed, with what theory expects of their
stationary points.

X: (B, n) points, labels: (B,) ascending, which of R realisations each row belongs to. A family may
evaluate realisations together; what that gives is what each landscape gives alone, up to rounding.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from landscape import specs, theory, zoo
from landscape.landscapes.domains import Torus
from landscape.landscapes.formula import FunctionLandscape
from landscape.results import result
from landscape.specs import whole
from landscape.zoo.fields import spin_couplings, wave_amplitudes, waves_within
from landscape.zoo.known import KnownLandscape

# options of built-in landscapes that are their number of variables
SIZES = (
    "dim",
    "spins",
    "sites",
)
# the highest order of a p-spin whose couplings are made symmetric, which takes p! transpositions
SYMMETRISED = 4
ISOTROPIC = 4  # variables to which ``isotropic_waves`` goes


class Together(Protocol):
    """R realisations of one dimension, evaluated side by side."""

    def value(self, X: Tensor, labels: Tensor, /) -> Tensor:
        """Values (B,)."""
        ...

    def derivatives(self, X: Tensor, labels: Tensor, /) -> tuple[Tensor, Tensor]:
        """Gradients (B, n) and Hessians (B, n, n), tangent ones on a sphere."""
        ...


@result("expected-counts")
@dataclass(frozen=True)
class ExpectedCounts:
    """The mean number of stationary points of each index, k = 0..n."""

    counts: list[float]
    errors: list[float]  # standard errors; 0 where exact
    source: str


@dataclass(frozen=True)
class Family:
    """``family(dim, seed)`` is a landscape; the seed is of its random coefficients."""

    name: str
    build: Callable[[int, int], FunctionLandscape]
    together: Callable[[int, Sequence[int]], Together | None] = lambda dim, seeds: None
    expected: Callable[[int], ExpectedCounts | None] = lambda dim: None
    fingerprint: str = ""  # of the source that makes it, where that is a file of the user
    random: bool = True  # False: every seed gives the same landscape
    kind: str = ""  # "torus" or "p-spin": which further theory applies
    order: int = 0  # p of a p-spin
    # of an isotropic field: Bray and Dean's w over the value of f
    level: Callable[[int], float | None] = lambda dim: None

    def __call__(self, dim: int, seed: int) -> FunctionLandscape:
        """The landscape of ``dim`` variables."""
        return self.build(dim, seed)


def names() -> list[str]:
    """The built-in families: the built-in formulas that exist for any number of variables, and
    ``isotropic-waves``.
    """
    return [
        "isotropic-waves",
        *(name for name in zoo.names() if zoo.is_formula(name) and _size(name)),
    ]


def built_in(name: str, **options: Any) -> Family:
    """The family of a built-in landscape against its number of variables.

    Args:
        name: one of ``names``.
        options: of the landscape, its size and seed aside.

    Raises:
        ValueError: an unknown name or option.
    """
    if name not in names():
        reason = f"no family {name!r}"
        if name in zoo.names():
            reason = f"{name} has no number of variables to vary"
        raise ValueError(
            f"{reason}.{specs.closest(name, names())} Known: {', '.join(names())}, or "
            f"file.py:family."
        )
    _require_options(name, options)
    if name == "isotropic-waves":
        return isotropic_waves()
    if name == "trigonometric":
        return waves(lambda dim: (waves_within(dim, options.get("degree", 3)), None), name=name)
    if name == "p-spin":
        return p_spin(**options)
    size, random = _size(name), "seed" in zoo.options(name)

    def build(dim: int, seed: int) -> FunctionLandscape:
        return zoo.formula(name, **{size: dim}, **({"seed": seed} if random else {}), **options)

    return Family(
        name, build, expected=lambda dim: None if random else _known(build(dim, 0)), random=random
    )


def _require_options(name: str, options: Iterable[str]) -> None:
    """Raise unless these are options of a built-in family."""
    known = {} if name == "isotropic-waves" else zoo.options(name)
    allowed = [option for option in known if option not in (_size(name), "seed")]
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"the family {name} has no option {option!r}.{specs.closest(option, allowed)} "
                f"Its options: {', '.join(allowed) or 'none'}."
            )


def waves(of: Callable[[int], tuple[Tensor, Tensor | None]], *, name: str = "waves") -> Family:
    """Random trigonometric polynomials sum_k a_k cos(k.x) + b_k sin(k.x) on the torus.

    Args:
        of: dim -> integer vectors k (m, dim), one of each pair k, -k, and their variances (m,);
            None: all equal.
        name: for reports.
    """

    @functools.lru_cache(maxsize=16)
    def chosen(dim: int) -> tuple[Tensor, Tensor]:
        whole(1, dim=dim)
        k, v = of(dim)
        k = torch.as_tensor(k, dtype=torch.float64, device="cpu")
        if k.ndim != 2 or k.shape[1] != dim or not len(k):
            raise ValueError(
                f"{name}: waves for dim={dim} have shape (m, {dim}), got {tuple(k.shape)}."
            )
        v = (
            torch.ones(len(k), dtype=k.dtype, device="cpu")
            if v is None
            else torch.as_tensor(v, dtype=k.dtype, device="cpu")
        )
        if v.shape != (len(k),) or not bool(((v > 0) & torch.isfinite(v)).all()):
            raise ValueError(f"{name}: {len(k)} waves need as many positive variances.")
        return k, v

    def together(dim: int, seeds: Sequence[int]) -> Waves:
        k, v = chosen(dim)
        return Waves(k, torch.stack([wave_amplitudes(len(k), seed) * v.sqrt() for seed in seeds]))

    def build(dim: int, seed: int) -> FunctionLandscape:
        alone = together(dim, [seed])

        def f(x: Tensor) -> Tensor:
            rows = x.reshape(-1, dim)
            return alone.value(
                rows, torch.zeros(len(rows), dtype=torch.long, device=x.device)
            ).reshape(x.shape[:-1])

        return FunctionLandscape(f, dim, Torus(), name=name)

    return Family(
        name,
        build,
        together,
        lambda dim: _field(*chosen(dim)),
        kind="torus",
        level=lambda dim: _level(*chosen(dim)),
    )


def isotropic_waves() -> Family:
    """Waves along the axes and the diagonals of pairs of axes, weighted so that the Hessian has the
    law of an isotropic field's.

    In d = 1..4 variables the axes have 8 - 2 d times the variance of the diagonals: E h_ii^2 = 3 E
    h_ij^2 then.
    """

    return waves(_isotropic, name="isotropic-waves")


def _isotropic(dim: int) -> tuple[Tensor, Tensor]:
    """The waves of ``isotropic_waves`` and their variances."""
    whole(1, ISOTROPIC, dim=dim)
    rows = [
        k for k in waves_within(dim, 2) if float(k.abs().max()) == 1 and float(k.abs().sum()) <= 2
    ]
    weights = [8.0 - 2 * dim if float(k.abs().sum()) == 1 else 1.0 for k in rows]
    kept = [(k, w) for k, w in zip(rows, weights, strict=True) if w > 0]
    return torch.stack([k for k, _ in kept]), torch.tensor(
        [w for _, w in kept], dtype=torch.float64, device="cpu"
    )


def p_spin(order: int = 3) -> Family:
    """Spherical p-spin glasses; ``dim`` is the number of spins N, on a sphere of N - 1
    dimensions.
    """
    whole(2, order=order)

    def build(dim: int, seed: int) -> FunctionLandscape:
        return zoo.formula("p-spin", spins=dim, order=order, seed=seed)

    def together(dim: int, seeds: Sequence[int]) -> Together | None:
        if order > SYMMETRISED:
            return None
        return Forms(
            torch.stack(
                [symmetric(spin_couplings(dim, order, s).reshape([dim] * order)) for s in seeds]
            )
        )

    def expected(dim: int) -> ExpectedCounts:
        counts = theory.pspin_counts(dim, order)
        return ExpectedCounts(counts, [0.0] * len(counts), "Kac-Rice for p-spin glasses, exact")

    return Family("p-spin", build, together, expected, kind="p-spin", order=order)


@dataclass(frozen=True, eq=False)
class Waves:
    """Trigonometric polynomials with their derivatives written out."""

    k: Tensor  # (m, n)
    amplitudes: Tensor  # (R, 2, m) of cosines and sines

    def value(self, X: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        a, b, phase = self._rows(X, labels)
        value: Tensor = (a * phase.cos() + b * phase.sin()).sum(-1)
        return value

    def derivatives(self, X: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n), (B, n, n)."""
        a, b, phase = self._rows(X, labels)
        k, c, s = self.k.to(X), phase.cos(), phase.sin()
        pairs = (k[:, :, None] * k[:, None, :]).reshape(len(k), -1)
        return (b * c - a * s) @ k, -((a * c + b * s) @ pairs).reshape(
            len(X), X.shape[1], X.shape[1]
        )

    def _rows(self, X: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b = self.amplitudes.to(X).transpose(0, 1)[:, labels]
        return a, b, X @ self.k.to(X).T


@dataclass(frozen=True, eq=False)
class Forms:
    """Symmetric forms T(x, ..., x) of one order on the sphere |x|^2 = n.

    The form's gradient is p T x^(p-1), its Hessian p (p-1) T x^(p-2); the sphere's are those of
    ``landscape.domains.Sphere``.
    """

    T: Tensor  # (R, n, ..., n)

    def value(self, X: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        return torch.einsum("bi,bij,bj->b", X, self._contracted(X, labels), X)

    def derivatives(self, X: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n), (B, n, n)."""
        p, C = self.T.ndim - 1, self._contracted(X, labels)
        size = X.norm(dim=1, keepdim=True)
        u = X / size
        g = p * (C @ X[:, :, None])[:, :, 0]
        radial = (g * u).sum(1, keepdim=True)
        H = p * (p - 1) * C
        H.diagonal(dim1=1, dim2=2).sub_(radial / size)
        a = (H @ u[:, :, None])[:, :, 0]
        cross = (a - 0.5 * (a * u).sum(1, keepdim=True) * u)[:, :, None] * u[:, None, :]
        return g - radial * u, H - cross - cross.mT  # (I - u u') H (I - u u')

    def _contracted(self, X: Tensor, labels: Tensor) -> Tensor:
        """T x^(p-2), (B, n, n)."""
        C = self.T.to(X)[labels]
        for _ in range(self.T.ndim - 3):
            C = (C * X.reshape(len(X), *[1] * (C.ndim - 2), -1)).sum(-1)
        return C


def symmetric(J: Tensor) -> Tensor:
    """The symmetric part of a tensor (n, ..., n): the same form."""
    orders = list(itertools.permutations(range(J.ndim)))
    return torch.stack([J.permute(order) for order in orders]).mean(0)


def _size(name: str) -> str:
    """The option of a built-in landscape that is its number of variables; empty where there is
    none.
    """
    if name == "isotropic-waves":
        return "dim"
    found = [option for option in zoo.options(name) if option in SIZES]
    return found[0] if found else ""


def _field(k: Tensor, v: Tensor) -> ExpectedCounts:
    """Mean counts of a stationary field: exact in one and two variables and for isotropic weights,
    sampled else.
    """
    dim = k.shape[1]
    rows, variances = k.long().tolist(), v.tolist()
    m, mu, isotropic = _moments(k, v)
    if isotropic:
        scale = (2 * math.pi) ** dim * (mu / m) ** (dim / 2)
        return ExpectedCounts(
            [scale * c for c in theory.isotropic_counts(dim)],
            [0.0] * (dim + 1),
            "Kac-Rice for isotropic fields, exact",
        )
    if dim <= 2:
        return ExpectedCounts(
            theory.torus_counts(rows, variances), [0.0] * (dim + 1), "Kac-Rice on the torus, exact"
        )
    sampled = theory.torus_counts_sampled(rows, variances)
    return ExpectedCounts(
        [c.value for c in sampled], [c.error for c in sampled], "Kac-Rice on the torus, sampled"
    )


def _level(k: Tensor, v: Tensor) -> float | None:
    """With f(0) = total / n, f'(0) = -m and f''(0) = n mu of the covariance n f(r^2 / 2n)."""
    m, mu, isotropic = _moments(k, v)
    # wave_amplitudes have the variance 1 / m of m waves, so f has that over all variances
    share, n = 1 / len(k), k.shape[1]
    m, mu, total = share * m, share * mu, share * float(v.sum())
    return math.sqrt(n * mu) * m / (n * (total * mu + m * m)) if isotropic else None


def _moments(k: Tensor, v: Tensor) -> tuple[float, float, bool]:
    """The variances m of df/dx_i and mu of d2f/dx_i dx_j, and whether second and fourth moments are
    those of an isotropic field.
    """
    dim = k.shape[1]
    second = np.einsum("w,wi,wj->ij", v.numpy(), k.numpy(), k.numpy())
    fourth = np.einsum("w,wi,wj,wk,wl->ijkl", v.numpy(), *[k.numpy()] * 4)
    m, mu = second[0, 0], (fourth[0, 0, 1, 1] if dim > 1 else fourth[0, 0, 0, 0] / 3)
    e = np.eye(dim)
    isotropic = mu * sum(
        np.einsum(f"{a},{b}->ijkl", e, e) for a, b in (("ij", "kl"), ("ik", "jl"), ("il", "jk"))
    )
    alike = np.allclose(second, m * e, rtol=0, atol=1e-12 * m) and np.allclose(
        fourth, isotropic, rtol=0, atol=1e-12 * m
    )
    return float(m), float(mu), bool(alike)


def _known(f: FunctionLandscape) -> ExpectedCounts | None:
    if not isinstance(f, KnownLandscape) or not f.complete:
        return None
    try:
        counts = f.counts
    except ValueError:  # points merge at these options
        return None
    if counts is None:
        return None
    return ExpectedCounts(
        [float(counts.get(i, 0)) for i in range(f.dim + 1)], [0.0] * (f.dim + 1), f.source
    )
