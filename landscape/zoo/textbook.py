"""Small formulas from textbooks: quadratic saddles, and degenerate points that second derivatives
do not decide.

Every one is stationary at 0, and but for ``crossed_valleys`` and singular quadratics nowhere else.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.landscapes.domains import Box
from landscape.specs import number, whole
from landscape.zoo.known import KnownLandscape, KnownPoint, known_point

MILNOR = "Milnor 1963, Morse Theory, section 2: degenerate critical points"


def strict_saddle(dim: int = 10, negative: int = 1, condition: float = 1.0) -> KnownLandscape:
    """A quadratic with eigenvalues of both signs along the axes; along the first ``negative`` of
    them it falls.

    Args:
        dim: number of variables.
        negative: how many eigenvalues are negative: 0 a minimum, ``dim`` a maximum.
        condition: the sizes of the eigenvalues of either sign run from 1 to this, evenly in the
            logarithm; 1: all are 1.

    Raises:
        ValueError: an option out of range.
    """
    whole(1, dim=dim)
    whole(0, dim, negative=negative)
    number(1, condition=condition)
    eigenvalues = torch.cat([-_spread(negative, condition), _spread(dim - negative, condition)])

    def f(x: Tensor) -> Tensor:
        return 0.5 * (eigenvalues.to(x) * x.square()).sum(-1)

    return KnownLandscape(
        f,
        dim,
        Box(-1.0, 1.0),
        name="strict-saddle",
        formula="1/2 sum_i a_i x_i^2, the first a_i negative",
        source="Lee, Simchowitz, Jordan, Recht 2016, COLT: strict saddles",
        points=lambda: [known_point(eigenvalues.new_zeros(dim), 0.0, eigenvalues)],
    )


def quadratic(
    matrix: Sequence[Sequence[float]] | None = None, spectrum: Sequence[float] | None = None
) -> KnownLandscape:
    """The quadratic form of a symmetric matrix; by default [[1, 2], [2, 1]], with the eigenvalues
    -1 and 3.

    Args:
        matrix: its rows.
        spectrum: or its eigenvalues, along the axes in this order.

    Raises:
        ValueError: both are given, or the matrix is not square, symmetric and finite.
    """
    if spectrum is not None:
        if matrix is not None:
            raise ValueError("give matrix or spectrum, not both.")
        try:
            matrix = torch.diag(
                torch.tensor(spectrum, dtype=torch.float64, device="cpu").flatten()
            ).tolist()
        except (TypeError, ValueError) as error:
            raise ValueError(f"spectrum must be numbers, got {spectrum!r}.") from error
    matrix = ((1.0, 2.0), (2.0, 1.0)) if matrix is None else matrix
    try:
        A = torch.tensor(matrix, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError) as error:
        raise ValueError(f"matrix must be rows of numbers, got {matrix!r}.") from error
    if (
        A.ndim != 2
        or A.shape[0] != A.shape[1]
        or not A.numel()
        or not bool(torch.isfinite(A).all())
    ):
        raise ValueError(f"matrix must be square and finite, got {matrix!r}.")
    if not torch.equal(A, A.T):
        raise ValueError(f"matrix must be symmetric, got {matrix!r}.")
    eigenvalues = torch.linalg.eigvalsh(A)
    zero = len(A) * torch.finfo(A.dtype).eps * float(eigenvalues.abs().max())

    def f(x: Tensor) -> Tensor:
        return 0.5 * (x * (x @ A.to(x))).sum(-1)

    return KnownLandscape(
        f,
        len(A),
        Box(-1.0, 1.0),
        name="quadratic",
        formula="1/2 x'A x",
        source="closed form: 0, and with it the kernel of A",
        points=lambda: [known_point(A.new_zeros(len(A)), 0.0, eigenvalues, zero)],
    )


def monkey_saddle() -> KnownLandscape:
    """Three valleys and three ridges meet at 0."""
    return _only_zero(
        "monkey-saddle",
        "x^3 - 3 x y^2",
        lambda x, y: x**3 - 3 * x * y**2,
        (0.0, 0.0),
        "Hilbert, Cohn-Vossen 1952, Geometry and the Imagination, chapter IV; Milnor 1963, Morse "
        "Theory, section 2",
    )


def x4_minus_y4() -> KnownLandscape:
    """A saddle of fourth order."""
    return _only_zero("x4-minus-y4", "x^4 - y^4", lambda x, y: x**4 - y**4, (0.0, 0.0), MILNOR)


def x4_plus_y4() -> KnownLandscape:
    """A minimum of fourth order."""
    return _only_zero("x4-plus-y4", "x^4 + y^4", lambda x, y: x**4 + y**4, (0.0, 0.0), MILNOR)


def minus_x4_y4() -> KnownLandscape:
    """A maximum of fourth order."""
    return _only_zero("minus-x4-y4", "-x^4 - y^4", lambda x, y: -(x**4) - y**4, (0.0, 0.0), MILNOR)


def x2_plus_y3() -> KnownLandscape:
    """No minimum: it falls along negative y."""
    return _only_zero("x2-plus-y3", "x^2 + y^3", lambda x, y: x**2 + y**3, (0.0, 2.0), MILNOR)


def x2_plus_y4() -> KnownLandscape:
    """A minimum with one flat direction."""
    return _only_zero("x2-plus-y4", "x^2 + y^4", lambda x, y: x**2 + y**4, (0.0, 2.0), MILNOR)


def cubic_inflection() -> KnownLandscape:
    """An inflection in one variable."""
    return KnownLandscape(
        lambda x: x[..., 0] ** 3,
        1,
        Box(-2.0, 2.0),
        name="cubic-inflection",
        formula="x^3",
        source=MILNOR,
        points=lambda: [_at((0.0,), (0.0,))],
    )


def crossed_valleys() -> KnownLandscape:
    """Both axes are minima; 0, where they cross, and one point of each axis are listed."""
    return KnownLandscape(
        lambda x: (x[..., 0] * x[..., 1]).square(),
        2,
        Box(-2.0, 2.0),
        name="crossed-valleys",
        formula="x^2 y^2",
        source="textbook: the Hessian on the axes is diag(2 y^2, 2 x^2)",
        points=lambda: [
            _at((0.0, 0.0), (0.0, 0.0)),
            _at((1.0, 0.0), (0.0, 2.0)),
            _at((0.0, 1.0), (0.0, 2.0)),
        ],
    )


def peano() -> KnownLandscape:
    """A minimum along every straight line through 0, yet negative between two parabolas."""
    return _only_zero(
        "peano",
        "(y - x^2) (y - 2 x^2)",
        lambda x, y: (y - x**2) * (y - 2 * x**2),
        (0.0, 2.0),
        "Genocchi, Peano 1884, Calcolo differenziale e principii di calcolo integrale, notes",
    )


def _only_zero(
    name: str,
    formula: str,
    function: Callable[[Tensor, Tensor], Tensor],
    eigenvalues: tuple[float, float],
    source: str,
) -> KnownLandscape:
    """A function of x and y that is stationary at 0 alone."""
    return KnownLandscape(
        lambda x: function(x[..., 0], x[..., 1]),
        2,
        Box(-2.0, 2.0),
        name=name,
        formula=formula,
        source=source,
        points=lambda: [_at((0.0, 0.0), eigenvalues)],
    )


def _at(x: tuple[float, ...], eigenvalues: tuple[float, ...]) -> KnownPoint:
    """A point of value 0."""
    row, spectrum = (torch.tensor(v, dtype=torch.float64, device="cpu") for v in (x, eigenvalues))
    return known_point(row, 0.0, spectrum)


def _spread(count: int, condition: float) -> Tensor:
    """``count`` sizes from 1 to ``condition``."""
    return torch.logspace(0.0, 1.0, count, base=float(condition), dtype=torch.float64, device="cpu")
