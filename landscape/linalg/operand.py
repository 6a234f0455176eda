"""What the solvers ask of their operand and their random numbers.

An operand is an ``Operator`` or a dense symmetric tensor, which is wrapped into one. Random vectors
are drawn on the CPU by a generator made here and then moved, so that every device starts from the
same ones; the global state is left alone.

Over several ranks a solver holds its rank's part of every vector: ``as_operator`` gives an operand
whose products take and give parts, and ``spread`` says how the parts lie.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from landscape import rng
from landscape.core import Operator
from landscape.errors import NumericalError
from landscape.landscapes.memory import HOST, budget
from landscape.ranks import Ranks, Spread

FLOATS = (torch.float32, torch.float64)
# A product is taken to be exact to this many eps ‖H‖, unless an operator has measured more.
ROUNDING = 20.0


class Dense:
    """A dense symmetric matrix as an operator."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.dtype, self.device = matrix, matrix.dtype, matrix.device
        self.shape = (matrix.shape[0], matrix.shape[1])

    def __matmul__(self, V: Tensor, /) -> Tensor:
        return self.matrix @ V


class OnHost:
    """An operator on a GPU as one whose vectors lie in the host's memory; each product carries them
    there and back.
    """

    def __init__(self, H: Operator) -> None:
        self.H, self.shape, self.dtype = H, H.shape, H.dtype
        self.device = torch.device("cpu")
        remember: Callable[[str], None] | None = getattr(H, "remember", None)
        if remember is not None:
            remember(
                f"the vectors of a Krylov basis lay in the host's memory, since that of {H.device} "
                "did not hold them"
            )

    def __getattr__(self, name: str) -> object:
        """What is known of the operator is known of this one: eps, error, granted, ..."""
        return getattr(self.H, name)

    def __matmul__(self, V: Tensor, /) -> Tensor:
        return (self.H @ V.to(self.H.device)).cpu()

    def reference(self, V: Tensor) -> Tensor:
        """H V in float64."""
        return reference(self.H, V.to(self.H.device)).cpu()


class Trusted:
    """An operator whose products a solver takes to be exact up to rounding until ``settle``, after
    it has held what they have given against one in float64 and had the operator ``learn`` that.
    """

    def __init__(self, H: Operator) -> None:
        self.H, self.shape, self.dtype, self.device = H, H.shape, H.dtype, H.device
        self.settled = False

    @classmethod
    def unless_known(cls, H: Operator) -> Operator:
        """The operator so trusted where asking what its products lose would cost any."""
        return cls(H) if getattr(H, "unmeasured", False) else H

    @property
    def error(self) -> float:
        return lost(self.H) if self.settled else 0.0

    @property
    def coarse(self) -> bool:
        return self.settled and is_coarse(self.H)

    def settle(self) -> None:
        """Ask the operator from now on."""
        self.settled = True

    def __getattr__(self, name: str) -> object:
        return getattr(self.H, name)

    def __matmul__(self, V: Tensor, /) -> Tensor:
        return self.H @ V


class Rounded:
    """An operator whose Krylov basis is held in a narrower dtype: what rounding a vector of the
    basis loses counts as lost by its product, and products at the end have nothing of it.
    """

    def __init__(self, H: Operator) -> None:
        self.H, self.shape, self.dtype, self.device = H, H.shape, H.dtype, H.device
        self.loss = 0.0  # the largest met, for a unit vector

    @property
    def error(self) -> float:
        return lost(self.H) + self.loss

    def __getattr__(self, name: str) -> object:
        return getattr(self.H, name)

    def __matmul__(self, V: Tensor, /) -> Tensor:
        return self.H @ V


def learn(H: Operator, lost: float, scale: float) -> None:
    """Tell an operator that a product with a unit vector was seen to lose so much, ‖H‖ being
    ``scale``.
    """
    tell: Callable[[float, float], None] | None = getattr(H, "learn", None)
    if tell is not None:
        tell(lost, scale)


def overlook(H: Operator, level: float) -> None:
    """Have an operator asked from now on what its products lose, without one in float64, where that
    is known to be at most ``level``.
    """
    slight: Callable[[float], bool] | None = getattr(H, "overlook", None)
    if slight is not None and slight(level):
        settle(H)


def settle(H: Operator) -> None:
    """Have an operator that was trusted asked from now on what its products lose."""
    tell: Callable[[], None] | None = getattr(H, "settle", None)
    if tell is not None:
        tell()


def may_leave(H: Operator) -> bool:
    """Whether the vectors of H lie on a GPU and could lie in the host's memory: over ranks they are
    exchanged from where they are.
    """
    return H.device.type == "cuda" and spread(H).ranks.count == 1


def reference(H: Operator, V: Tensor) -> Tensor:
    """H V in float64, for V (n,) or (n, k), from the finest products that the operator has."""
    if hasattr(H, "reference"):
        found: Tensor = H.reference(V)
        return found
    return (H @ V).double()


def lost(H: Operator) -> float:
    """What an operator has measured a product with a unit vector to be off by besides rounding."""
    return float(getattr(H, "error", 0.0))


def rounded(H: Operator) -> float:
    """What of that is lost by holding vectors in a narrower dtype."""
    return float(getattr(H, "loss", 0.0))


def as_operator(H: Operator | Tensor) -> Operator:
    """H itself, or a dense tensor wrapped; of an operator over ranks, the one on parts of vectors.

    Raises:
        TypeError: H is no operator, a landscape say.
        ValueError: H is not square or empty, its dtype is not float32 or float64, or a tensor is
            not finite or not symmetric to rounding.
    """
    if not hasattr(H, "shape") or not hasattr(H, "__matmul__"):
        remedy = (
            "pass ls.Hessian(f), or ls.Hessian(f, at=x)"
            if hasattr(H, "terms")
            else "pass an operator or a tensor"
        )
        raise TypeError(
            f"H must be an operator or a symmetric tensor (n, n), got {type(H).__name__}: {remedy}."
        )
    shape = tuple(H.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise ValueError(f"H must be a square matrix (n, n) with n at least 1, got shape {shape}.")
    if H.dtype not in FLOATS:
        raise ValueError(
            f"H must be float32 or float64, got {H.dtype}: convert it, or the point it is formed "
            f"at."
        )
    if not isinstance(H, Tensor):
        return _on_parts(H)
    H = H.detach()
    largest = H.abs().amax()
    if not bool(torch.isfinite(largest)):
        raise ValueError(
            "H has a NaN or inf: check that the loss and its derivatives are finite at this point."
        )
    gap = (H - H.T).abs().amax()
    if bool(gap > 100 * torch.finfo(H.dtype).eps * largest):
        raise ValueError(
            f"H is not symmetric: |H - Hᵀ| is up to {float(gap):.2g} beside entries up to "
            f"{float(largest):.2g}. "
            "Pass (H + H.T) / 2 if its symmetric part is meant."
        )
    return Dense(H)


def _on_parts(H: Operator) -> Operator:
    parts: Operator | None = getattr(H, "parts", None)
    return H if parts is None else parts


def spread(H: Operator) -> Spread:
    """How the vectors that H takes lie on the ranks."""
    found: Spread | None = getattr(H, "spread", None)
    return Spread([H.shape[0]]) if found is None else found


def granted(H: Operator) -> float:
    """How many more products of H whoever limits its time grants; infinite where nobody does."""
    grant: Callable[[], int] | None = getattr(H, "granted", None)
    return math.inf if grant is None else grant()


def held(H: Operator, share: float, host: int = HOST, dtype: torch.dtype | None = None) -> int:
    """How many vectors of H, in its own dtype or another, a budget of memory holds: the same
    number on every rank.
    """
    lie = spread(H)
    size = min(lie.ranks.objects(budget(H.device, share, host)))
    return size // (lie.local * (dtype or H.dtype).itemsize)


def ranks(H: Operator) -> Ranks:
    """The ranks that hold the vectors of H: reductions sum over them."""
    return spread(H).ranks


def gaussian(count: int, seeds: np.random.SeedSequence, H: Operator) -> Tensor:
    """``count`` vectors (count, n) of standard normal numbers from the next child of ``seeds``, in
    the dtype and on the device of H; over ranks this rank's part of them, (count, local).
    """
    (child,) = seeds.spawn(1)
    generator = rng.generator(child)

    def draw(number: int) -> Tensor:
        return torch.randn(number, generator=generator, dtype=H.dtype, device="cpu")

    return spread(H).drawn(count, draw).to(H.device)


def signs(count: int, seeds: np.random.SeedSequence) -> np.ndarray:
    """Random signs (count,) from the next child of ``seeds``, on the host."""
    (child,) = seeds.spawn(1)
    return np.random.default_rng(child).choice([-1.0, 1.0], count)


def noise(H: Operator, scale: float) -> float:
    """How far rounding, and what else an operator knows of its products, moves a product with a
    unit vector, ‖H‖ being ``scale``.
    """
    eps = getattr(H, "eps", torch.finfo(H.dtype).eps)
    return float(ROUNDING * eps * scale + lost(H))


def finest(H: Operator, scale: float) -> float:
    """The same for products by ``reference``, of vectors that are not rounded."""
    return noise(H, scale) - (lost(H) if is_coarse(H) else rounded(H))


def is_coarse(H: Operator) -> bool:
    """Whether an operator's own products lose more than rounding, and those by ``reference`` do
    not.
    """
    return bool(getattr(H, "coarse", False))


def bad_product(number: int) -> NumericalError:
    """The error for a product that is not finite."""
    return NumericalError(
        f"product {number} with H has a NaN or inf: check that the loss is finite at this point."
    )
