"""Coverage problems of what is said of points: eigenvalues and their signs, angles between spans of
eigenvectors, learning coefficients, second derivatives, expected counts.

Most of these bars are certain, and hold always or are wrong. A sample is what makes the problem
larger: a dimension, a pair that is asked for, a hidden unit, a hundred draws.
"""

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import nn

import landscape as ls
from landscape import theory
from landscape.linalg.lanczos import Eigenpairs
from landscape.paths.compare import principal_angles, turned
from landscape.surfaces.checking import _second

Random = np.random.Generator
Found = tuple[float, float, float] | None
Draw = Callable[[int, Random], Found]
Spectrum = Callable[[Random, int], np.ndarray]

n = 81  # of a search, more than are formed as a matrix
MOST = 30  # dimensions of which an index is asked, since signs take longest to tell
UNITS = 3  # of a network, at most


def _turned(values: np.ndarray, random: Random, dtype: torch.dtype) -> torch.Tensor:
    """A symmetric matrix whose eigenvalues are these, up to rounding to ``dtype``."""
    Q = np.linalg.qr(random.standard_normal((len(values),) * 2))[0]
    H = torch.from_numpy((Q * values) @ Q.T).to(dtype)
    return torch.triu(H) + torch.triu(H, 1).T


def _worst(found: np.ndarray, reach: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """The interval that is the nearest to failing."""
    i = int((np.abs(found - truth) - reach).argmax())
    return float(found[i] - reach[i]), float(found[i] + reach[i]), float(truth[i])


def search(spectrum: Spectrum, dtype: torch.dtype) -> Draw:
    """``count`` outermost eigenvalues, one by one."""

    def draw(count: int, random: Random) -> Found:
        if count >= n:
            return None
        H = _turned(spectrum(random, n), random, dtype)
        low, high = count // 2, count - count // 2
        seed = int(random.integers(2**31))
        pairs = ls.eigsh(H, largest=high, smallest=low, tol=1e-2, seed=seed)
        truth = np.linalg.eigvalsh(H.double().numpy())
        wanted = np.r_[truth[:low], truth[n - high :]]
        return _worst(pairs.values.numpy(), pairs.bounds.numpy(), wanted)

    return draw


def _well(H: torch.Tensor) -> ls.FunctionLandscape:
    """x'Hx / 2 + sum x^4."""
    return ls.FunctionLandscape(lambda x: (x @ H * x).sum(-1) / 2 + x.pow(4).sum(-1), len(H))


def curvature(spectrum: Spectrum, dtype: torch.dtype) -> Draw:
    """All eigenvalues at a point of ``count`` dimensions."""

    def draw(count: int, random: Random) -> Found:
        H = _turned(spectrum(random, count), random, dtype)
        x = torch.from_numpy(random.standard_normal(count)).to(dtype)
        point = ls.classify(_well(H), x, "dense")
        truth = np.linalg.eigvalsh((H.double() + 12 * x.double().square().diag()).numpy())
        return _worst(point.eigenvalues.numpy(), point.uncertainty.numpy(), truth)

    return draw


def index(spectrum: Spectrum, dtype: torch.dtype) -> Draw:
    """How many eigenvalues are negative, of ``count`` dimensions, from both ends alone."""

    def draw(count: int, random: Random) -> Found:
        if count > MOST:
            return None
        values = spectrum(random, count)
        f = _well(_turned(values, random, dtype))
        seed = int(random.integers(2**31))
        origin = torch.zeros(count, dtype=dtype)
        point = ls.classify(
            f, origin, "lanczos", largest=1, smallest=2, max_products=120, seed=seed
        )
        low, high = point.index_bounds
        return float(low), float(high), float((values < 0).sum())

    return draw


def angle(spectrum: Spectrum, dtype: torch.dtype, apart: float) -> Draw:
    """An angle between the spans of the ``count`` largest eigenvectors of two matrices."""

    def draw(count: int, random: Random) -> Found:
        if count > 10:
            return None
        A = _turned(spectrum(random, n), random, dtype)
        E = torch.from_numpy(random.standard_normal((n, n))).to(dtype) * apart / n**0.5
        B = A + torch.triu(E) + torch.triu(E, 1).T

        def pairs(H: torch.Tensor) -> Eigenpairs:
            return ls.eigsh(H, largest=count + 1, smallest=0, tol=1e-2)

        def top(H: torch.Tensor) -> np.ndarray:
            return np.linalg.eigh(H.double().numpy())[1][:, -count:]

        a, b = pairs(A), pairs(B)
        found = principal_angles(*(p.vectors[:, -count:].double() for p in (a, b)))
        error = turned(a, count) + turned(b, count)
        truth = np.sort(scipy.linalg.subspace_angles(top(A), top(B)))
        # what scipy and numpy leave: rounding over the gap
        return _worst(found.numpy(), np.full(count, error + 1e-10), truth)

    return draw


def learning(kind: str) -> Draw:
    """The learning coefficient of a network of ``count`` units or classes, at its own data: half
    the number of parameters that no symmetry explains.
    """

    def draw(count: int, random: Random) -> Found:
        if count > UNITS:
            return None
        torch.manual_seed(int(random.integers(2**31)))
        x = torch.randn(60, 2, dtype=torch.float64)
        f, truth = {"linear": _linear, "ReLU": _relu, "softmax": _softmax}[kind](count, x)
        # nothing is said where not all zero eigenvalues are explained
        found = ls.classify(f).learning_coefficient or (0.0, math.inf)
        return *found, truth

    return draw


def _taught(net: nn.Module, x: torch.Tensor) -> ls.ModelLandscape:
    """Its targets are its own outputs."""
    return ls.ModelLandscape(net, nn.functional.mse_loss, [(x, net(x).detach())])


def _linear(units: int, x: torch.Tensor) -> tuple[ls.ModelLandscape, float]:
    """Three outputs of rank r: the matrices (3, 2) of that rank have r (5 - r) dimensions."""
    net = nn.Sequential(nn.Linear(2, units, bias=False), nn.Linear(units, 3, bias=False)).double()
    rank = min(units, 2)
    return _taught(net, x), rank * (5 - rank) / 2


def _relu(units: int, x: torch.Tensor) -> tuple[ls.ModelLandscape, float]:
    """A kink of each unit crosses the data, so that they differ, and a scale of each is free; three
    units and more may also share out a linear function of these data: half of the Jacobian's rank.
    """
    first, last = nn.Linear(2, units), nn.Linear(units, 1)
    with torch.no_grad():
        turn = (torch.arange(units) + torch.rand(units)) * 2 * math.pi / units
        first.weight.copy_(torch.stack([turn.cos(), turn.sin()], 1))
        first.bias.uniform_(-0.3, 0.3)
        last.weight.uniform_(0.5, 1.5)
    net = nn.Sequential(first, nn.ReLU(), last).double()
    f = _taught(net, x)
    rows = torch.func.jacrev(lambda w: torch.func.functional_call(net, w, x))(
        {name: p.detach() for name, p in net.named_parameters()}
    )
    J = torch.cat([row.flatten(1) for row in rows.values()], 1)
    return f, float(torch.linalg.matrix_rank(J)) / 2


def _softmax(units: int, x: torch.Tensor) -> tuple[ls.ModelLandscape, float]:
    """Logits of units + 1 classes, of which one is free."""
    net = nn.Linear(2, units + 1).double()
    told = net(x).softmax(-1).detach()
    return ls.ModelLandscape(net, nn.functional.cross_entropy, [(x, told)]), 1.5 * units


def second(f: Callable[[torch.Tensor], torch.Tensor], truth: float, dtype: torch.dtype) -> Draw:
    """The second derivative of a function of s along a random direction of ``count`` dimensions,
    from values within a span.
    """

    def draw(count: int, random: Random) -> Found:
        d = torch.from_numpy(random.standard_normal(count))
        d = (d / d.norm()).to(dtype)
        g = ls.FunctionLandscape(lambda x: f((x * d).sum(-1)), count)
        span = float(random.uniform(0.1, 3.0))
        found, error = map(float, _second(g, torch.zeros(count, dtype=dtype), d, span))
        size = float(d.double().square().sum()) ** 2
        if math.isinf(error):
            return -math.inf, math.inf, truth * size
        return found - error, found + error, truth * size

    return draw


def expected(waves: list[list[int]], variances: list[float], truth: list[float]) -> Draw:
    """The mean number of points of an index, from ``count`` hundred draws."""

    def draw(count: int, random: Random) -> Found:
        seed, k = int(random.integers(2**31)), int(random.integers(len(truth)))
        found = theory.torus_counts_sampled(waves, variances, samples=100 * count, seed=seed)[k]
        return found.low, found.high, truth[k]

    return draw


AXES = [[1, 0], [0, 1]]
MIXED, UNEQUAL = [[1, 0], [0, 1], [1, 1], [2, 1]], [1.0, 1.0, 1.0, 20.0]


def _few(random: Random, count: int) -> np.ndarray:
    return np.r_[100.0, 99.0, 5.0, np.zeros(count)][:count]


CASES: dict[str, dict[str, Draw]] = {
    "eigenvalues of a search": {
        "semicircle": search(lambda r, n: r.standard_normal(n), torch.float64),
        "each three times": search(
            lambda r, n: np.repeat(r.standard_normal(n // 3), 3), torch.float64
        ),
        "few large, float32": search(_few, torch.float32),
    },
    "eigenvalues at a point": {
        "semicircle": curvature(lambda r, n: r.standard_normal(n), torch.float64),
        "1 / i, float32": curvature(lambda r, n: 1 / np.arange(1, n + 1.0), torch.float32),
        "few large, float32": curvature(_few, torch.float32),
    },
    "index": {
        "semicircle": index(lambda r, n: r.standard_normal(n), torch.float64),
        "half are zero": index(
            lambda r, n: np.where(np.arange(n) % 2, 0.0, r.standard_normal(n)), torch.float64
        ),
        "one is slightly negative, float32": index(
            lambda r, n: np.r_[-1e-3, r.uniform(0.5, 1, n)][:n], torch.float32
        ),
    },
    "angles between spans": {
        "1 / i": angle(lambda r, n: 1 / np.arange(1, n + 1.0), torch.float64, 0.01),
        "near each other": angle(lambda r, n: r.uniform(0.9, 1.0, n), torch.float64, 0.01),
        "the same twice, float32": angle(lambda r, n: r.standard_normal(n), torch.float32, 0.0),
    },
    "learning coefficient": {name: learning(name) for name in ("linear", "ReLU", "softmax")},
    "second derivative from values": {
        "cosine, float32": second(lambda s: -s.cos(), 1.0, torch.float32),
        "ripples": second(lambda s: s**2 / 2 + 1e-4 * (100 * s).cos(), 0.0, torch.float64),
        "s^2.5": second(lambda s: s.abs() ** 2.5, 0.0, torch.float64),
    },
    "expected counts": {
        "axes": expected(AXES, [1.0, 1.0], theory.torus_counts(AXES, [1.0, 1.0])),
        "one wave is large": expected(MIXED, UNEQUAL, theory.torus_counts(MIXED, UNEQUAL)),
        "three axes": expected(
            np.eye(3, dtype=int).tolist(), [1.0, 4.0, 9.0], [1.0, 3.0, 3.0, 1.0]
        ),
    },
}
