"""Linear networks and symmetric factorisations: every critical value is a choice of singular
directions or eigenvectors.

S: the chosen directions, r = |S|; a pair (i, j) is always i in S and j not. ``crossed`` counts the
pairs with s_j > s_i, each of which lowers f by a rotation from i to j; ``tied`` those with s_j =
s_i, where that rotation leaves f as it is: with repeated values the critical manifolds contain it,
and one S stands for all that choose as many of each value.

Linear network. W_l: (n_l, n_(l-1)) the layers, l = 1 ... L, d = n_0 inputs, p = n_L outputs; Y = U
diag(s) V' with q values s_j > 0; h hidden units. The representative of S is balanced: unit a of
every layer passes on direction i with the weight s_i^(1/L), units beyond r have weight zero. In
these coordinates the Hessian falls into pieces of one or two weights, or L of them in (i, k), both
in S, where one eigenvalue is positive and L - 1 are zero; (i, j) gives s_i^(1 - 2/L) (s_i ± s_j),
the p + d - 2 q directions without a value give positive ones, and an unused unit of a two-layer
network gives ± s_j for each j and zero otherwise. So, with n weights,

    L = 2   index = crossed + (h - r) (q - r)   nullity = n - r (p + d - r) - 2 (h - r) (q - r) +
            tied
    L > 2   index = crossed                     nullity = n - r (p + d - r) + tied

For L = 2 every critical point is (W_2 C, C^-1 W_1) of a representative, up to weights of unused
units on inputs without a value; C invertible is a linear change of coordinates, so index and
nullity are the same on the whole family (Baldi & Hornik 1989, Neural Networks 2:53, has the points;
this requires p = q or d = q). For L > 2 every critical value is still that of an S (Achour,
Malgouyres & Gerchinovitz 2024, JMLR 25(242)), but the index also depends on the ranks of partial
products, of which the balanced points have the
least: those are given, the others of the same value are not.

Factorisation. U: (n, k) of M = Q diag(l) Q'; a critical U is Q_S diag(l_S)^(1/2) R with R (r, k) of
orthonormal rows. Eigenvalues: 2 l_i; l_i + l_k and 0 for two of S; l_i - l_j; for each unused
column 0 for each of S and -l_j for the others. So

    index = crossed + (k - r) #{j: l_j > 0}     nullity = r (r - 1) / 2 + r (k - r) + tied + (k - r)
                                                #{j: l_j = 0}

and all but the last term, which is no family but flat to second order, is the manifold's dimension
(derived here; that all saddles are strict for M of full rank: Ge, Jin & Zheng 2017, ICML).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import torch
from torch import Tensor

from landscape import rng
from landscape.landscapes.kinds import kind
from landscape.specs import whole
from landscape.zoo.known import KnownLandscape, KnownPoint

Numbers = Sequence[float] | float


def deep_linear(
    singular_values: Numbers = (3.0, 2.0, 1.0),
    hidden: Sequence[int] | int | None = None,
    inputs: int | None = None,
    outputs: int | None = None,
    seed: int = 0,
) -> KnownLandscape:
    """1/2 |W_L ... W_1 - Y|_F^2, weights layer by layer from the input, each matrix row by row.

    Args:
        singular_values: of Y, positive, in any order; equal numbers are one multiple value.
        hidden: widths of the hidden layers, one number: of one hidden layer; None: one as wide as
            there are values. Fewer units than values are a bottleneck.
        inputs, outputs: d and p; None: as many as values. At most one of them may be larger.
        seed: of the singular vectors.

    Raises:
        ValueError: a value or width out of range.
    """
    s = _numbers("singular_values", singular_values)
    q, sizes = len(s), _sizes(s, hidden, inputs, outputs)
    d, *widths, p = sizes
    layers = len(sizes) - 1
    dim = sum(a * b for a, b in pairwise(sizes))
    generator = rng.generator(seed)
    U, V = _orthonormal(p, q, generator), _orthonormal(d, q, generator)
    Y = (U * torch.tensor(s, dtype=torch.float64, device="cpu")) @ V.T

    def function(x: Tensor) -> Tensor:
        weights = _matrices(x, sizes)
        output = weights[0]
        for W in weights[1:]:
            output = W @ output
        return 0.5 * (output - Y.to(x)).square().sum((-2, -1))

    def points() -> list[KnownPoint]:
        return [point(S) for S in _choices(s, min(widths))]

    def point(S: list[int]) -> KnownPoint:
        r, (crossed, tied) = len(S), _pairs(S, s)
        strength = torch.tensor([s[i] for i in S], dtype=torch.float64, device="cpu") ** (
            1 / layers
        )
        factors = [torch.eye(size, r, dtype=torch.float64, device="cpu") for size in sizes]
        factors[0], factors[-1] = V[:, S], U[:, S]
        weights = [((b * strength) @ a.T).flatten() for a, b in pairwise(factors)]
        unused = (widths[0] - r) * (q - r) if layers == 2 else 0
        index, nullity = crossed + unused, dim - r * (p + d - r) - 2 * unused + tied
        value = 0.5 * sum(s[j] ** 2 for j in range(q) if j not in S)
        return KnownPoint(
            torch.cat(weights), value, index, nullity, kind(index, nullity, dim - index - nullity)
        )

    return KnownLandscape(
        function,
        dim,
        name="deep-linear",
        formula=(
            f"1/2 |{' '.join(f'W_{k}' for k in range(layers, 0, -1))} - Y|_F^2, Y of singular "
            f"values {_list(s)}"
        ),
        source="P. Baldi, K. Hornik, Neural Networks 2 (1989) 53"
        + (
            "" if layers == 2 else "; E. M. Achour et al., JMLR 25 (2024) 242; balanced points only"
        ),
        points=points,
        complete=layers == 2,
    )


def _sizes(
    s: Sequence[float], hidden: Sequence[int] | int | None, inputs: int | None, outputs: int | None
) -> list[int]:
    """The widths of all layers, from the input to the output."""
    q = len(s)
    widths = [q] if hidden is None else [hidden] if isinstance(hidden, int) else list(hidden)
    d, p = q if inputs is None else inputs, q if outputs is None else outputs
    if min(s) <= 0:
        raise ValueError(f"singular_values must be positive, got {list(s)}.")
    if not widths or min(widths) < 1:
        raise ValueError(f"hidden must be one width or several, at least 1 each, got {hidden}.")
    if min(d, p) != q:
        raise ValueError(
            f"inputs and outputs must be {q}, as many as singular values, or one of them more; got "
            f"{d} and {p}."
        )
    return [d, *widths, p]


def factorisation(
    eigenvalues: Numbers = (4.0, 3.0, 2.0, 1.0), rank: int = 2, seed: int = 0
) -> KnownLandscape:
    """1/4 |U U' - M|_F^2 for a symmetric positive semidefinite M, U row by row.

    Args:
        eigenvalues: of M, not negative, in any order; equal numbers are one multiple eigenvalue.
        rank: columns of U.
        seed: of the eigenvectors.

    Raises:
        ValueError: an eigenvalue or the rank is out of range.
    """
    values = _numbers("eigenvalues", eigenvalues)
    n, k = len(values), rank
    if min(values) < 0:
        raise ValueError(f"eigenvalues must not be negative, got {eigenvalues}.")
    whole(1, rank=rank)
    Q = _orthonormal(n, n, rng.generator(seed))
    M = (Q * torch.tensor(values, dtype=torch.float64, device="cpu")) @ Q.T

    def function(x: Tensor) -> Tensor:
        U = x.reshape(*x.shape[:-1], n, k)
        return 0.25 * (U @ U.mT - M.to(x)).square().sum((-2, -1))

    def points() -> list[KnownPoint]:
        return [point(S) for S in _choices(values, k)]

    def point(S: list[int]) -> KnownPoint:
        r, (crossed, tied) = len(S), _pairs(S, values)
        U = torch.zeros(n, k, dtype=torch.float64, device="cpu")
        U[:, :r] = (
            Q[:, S] * torch.tensor([values[i] for i in S], dtype=torch.float64, device="cpu").sqrt()
        )
        others = [values[j] for j in range(n) if j not in S]
        zero = others.count(0.0)
        index = crossed + (k - r) * (len(others) - zero)
        nullity = r * (r - 1) // 2 + r * (k - r) + tied + (k - r) * zero
        value = 0.25 * sum(x**2 for x in others)
        return KnownPoint(
            U.flatten(), value, index, nullity, kind(index, nullity, n * k - index - nullity)
        )

    return KnownLandscape(
        function,
        n * k,
        name="factorisation",
        formula=f"1/4 |U U' - M|_F^2, M of eigenvalues {_list(values)}, U of shape ({n}, {k})",
        source=(
            "R. Ge, C. Jin, Y. Zheng, ICML 2017; index and nullity derived in "
            "landscape/zoo/linear.py"
        ),
        points=points,
    )


def _matrices(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Flat weights (..., n) as the layers' matrices (..., rows, columns)."""
    shapes = [(rows, columns) for columns, rows in pairwise(sizes)]
    parts = torch.split(x, [rows * columns for rows, columns in shapes], dim=-1)
    return [part.reshape(*x.shape[:-1], *shape) for part, shape in zip(parts, shapes, strict=True)]


def _choices(values: list[float], most: int) -> Iterator[list[int]]:
    """Up to ``most`` positions of positive values, small choices first; then those of the first
    values; of equal ones the first.
    """
    groups = [
        [i for i, x in enumerate(values) if x == value]
        for value in dict.fromkeys(values)
        if value > 0
    ]
    taken = sorted(
        product(*(range(len(group) + 1) for group in groups)),
        key=lambda c: (sum(c), [-x for x in c]),
    )
    for numbers in taken:
        if sum(numbers) <= most:
            yield [i for group, number in zip(groups, numbers, strict=True) for i in group[:number]]


def _pairs(S: list[int], values: list[float]) -> tuple[int, int]:
    """The numbers of crossed and of tied pairs."""
    pairs = [(values[i], values[j]) for i in S for j in range(len(values)) if j not in S]
    return sum(b > a for a, b in pairs), sum(a == b for a, b in pairs)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns (rows, columns), float64."""
    drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64, device="cpu")
    basis: Tensor = torch.linalg.qr(drawn)[0]
    return basis


def _numbers(name: str, given: Numbers) -> list[float]:
    values = [float(x) for x in (given if isinstance(given, Sequence) else [given])]
    if not values or not all(math.isfinite(x) for x in values):
        raise ValueError(f"{name} must be finite numbers, at least one, got {given}.")
    return values


def _list(values: list[float]) -> str:
    return ", ".join(f"{x:g}" for x in values)
