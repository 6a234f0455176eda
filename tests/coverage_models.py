"""Coverage problems of intervals that belong to a model: least squares, whose population is known.

A model with weights w sees x of independent entries with E x^2 = s, and y = noise. Its loss is
s |w|^2 + noise^2, its Hessian 2 s. A batch is a sample; where a tail is asked for, the last batch
has one row. What batches add is written in closed form here, of all at once; that the library makes
the same of a model is ``tests/results/test_intervals.py``.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import landscape as ls
from landscape.landscapes.model import ModelLandscape
from landscape.linalg.operand import as_operator
from landscape.linalg.tracking import refresh
from landscape.paths.compare import risen
from landscape.points.look import Look
from landscape.points.room import Gram, critical_factor, felt_sharpness
from landscape.points.survive import Survival, paired
from landscape.results import Estimate
from landscape.results.statistics import Spread, mean, sampling_spread, skewed_mean
from landscape.training.probes import at_once

Random = np.random.Generator
Found = tuple[float, float, float] | None
Draw = Callable[[int, Random], Found]

NOISE = 0.5
ROWS = 20  # of a batch
LEAST = 2  # samples of a network: few are a hard case, as its Hessian has few large values

# rows, entries -> x, and E x^2
INPUTS: dict[str, tuple[Callable[[Random, tuple[int, int]], np.ndarray], float, int]] = {
    "normal inputs, equal batches": (lambda r, size: r.standard_normal(size), 1.0, ROWS),
    "normal inputs, a tail of one": (lambda r, size: r.standard_normal(size), 1.0, 1),
    "inputs of Laplace's law": (lambda r, size: r.laplace(size=size), 2.0, ROWS),
    "Laplace's law, a tail of one": (lambda r, size: r.laplace(size=size), 2.0, 1),
}


class Data(NamedTuple):
    """What least squares sees, batch by batch."""

    x: np.ndarray  # (N, n)
    y: np.ndarray  # (N,)
    firsts: np.ndarray  # (B,) of each batch the first row
    shares: torch.Tensor  # (B,)

    def sums(self, values: np.ndarray) -> torch.Tensor:
        """What each batch adds to the mean of values (N, ...): (B, ...)."""
        return torch.from_numpy(np.add.reduceat(values, self.firsts) / len(self.x))

    def losses(self, w: list[float]) -> torch.Tensor:
        """What each batch adds to the loss at weights w."""
        return self.sums((self.x @ np.array(w) - self.y) ** 2)

    def gradients(self, w: list[float]) -> torch.Tensor:
        """The gradient (B, n) of each batch."""
        g = self.sums(2 * self.x * (self.x @ np.array(w) - self.y)[:, None])
        return g / self.shares[:, None]

    @property
    def batches(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """As a model is given them."""
        x, y = torch.from_numpy(self.x), torch.from_numpy(self.y[:, None])
        sizes = np.diff([*self.firsts, len(x)]).tolist()
        return list(zip(x.split(sizes), y.split(sizes), strict=True))


def data(name: str, count: int, random: Random, n: int) -> Data:
    """``count`` batches of rows of n entries."""
    law, _, tail = INPUTS[name]
    sizes = np.array([ROWS] * (count - 1) + [tail])
    x = law(random, (int(sizes.sum()), n))
    shares = torch.from_numpy(sizes / sizes.sum())
    return Data(x, NOISE * random.standard_normal(len(x)), np.cumsum(sizes) - sizes, shares)


BEFORE, AFTER = [1.0, -0.5], [0.7, 0.1]


def change(name: str) -> Draw:
    """What a change of two weights does to the loss."""

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        seen = data(name, count, random, 2)
        found = paired(seen.losses(BEFORE), seen.losses(AFTER), seen.shares, len(seen.x))
        truth = INPUTS[name][1] * (
            math.fsum(a * a for a in AFTER) - math.fsum(b * b for b in BEFORE)
        )
        return found.low, found.high, truth

    return draw


def height(name: str) -> Draw:
    """The barrier between (1, 1) and (-1, -1) of x -> (a b - 1) x, whose middle is at 0."""

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        seen = data(name, count, random, 1)
        rows = torch.stack([seen.losses([w]) for w in (0.0, -1.0, 0.0)])
        line, spread = risen(rows, seen.shares, len(seen.x))
        value, error = float(line.max() - max(line[0], line[-1])), float(spread.errors)
        return value - spread.reach * error, value + spread.reach * error, INPUTS[name][1]

    return draw


def sharpness(name: str) -> Draw:
    """What gradient descent feels of one weight: 2 E x^2."""

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        seen = data(name, count, random, 1)
        forms = seen.sums(2 * seen.x**2)
        spread = sampling_spread(forms, seen.shares, len(seen.x))
        _, found = felt_sharpness(
            0.1 * float(forms.sum()), 0.0, Spread(0.1 * spread.errors, *spread[1:]), 0.1
        )
        return found.low, found.high, 2 * INPUTS[name][1]

    return draw


def noise_scale(name: str, metric: tuple[float, float, float] | None = None) -> Draw:
    """tr Sigma / |G|^2 of least squares: g = 2 x (x . w - noise), fourth moments and all; in the
    ``metric`` of an optimiser's steps where there is one.
    """
    weights = metric or (1.0, 1.0, 1.0)
    s, fourth = INPUTS[name][1], 24.0 if "Laplace" in name else 3.0
    size = math.fsum(v * v for v in AT)
    # the variance of g_i / 2: E x_i^2 (x . w)^2 is fourth w_i^2 + s^2 (|w|^2 - w_i^2)
    variances = [(fourth - 2 * s**2) * v * v + s**2 * size + s * NOISE**2 for v in AT]
    noise = math.fsum(c * v for c, v in zip(weights, variances, strict=True))
    truth = noise / math.fsum(c * (s * v) ** 2 for c, v in zip(weights, AT, strict=True))

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        found = scale(data(name, count, random, len(AT)), torch.tensor(weights).double())
        return found.low, found.high, truth

    return draw


AT = [0.6, -0.4, 0.2]


def scale(seen: Data, weights: torch.Tensor) -> Estimate:
    """The noise scale at the weights AT, from inner products of the batches' gradients."""
    g = seen.gradients(AT)
    whole = seen.shares @ g
    columns = torch.stack([weights, weights], 1)
    own, with_mean = g.square() @ columns, (g * whole) @ columns
    return Gram(seen.shares, own, with_mean, whole.square() @ columns, len(seen.x)).scale(0)


def seeds(law: Callable[[Random, int], np.ndarray]) -> Draw:
    """The mean change over seeds, which is 0."""

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        found = skewed_mean(law(random, count))
        return found.low, found.high, 0.0

    return draw


def remedies(spreads: Callable[[Random], np.ndarray]) -> Draw:
    """Remedies without effect, whose upper ends are all above 0 in 95 % of studies."""

    def draw(count: int, random: Random) -> Found:
        if count < 2:
            return None
        sizes = spreads(random)[:, None]
        gains = sizes * random.standard_normal((len(sizes), count))
        control = 0.5 * random.standard_normal(count)
        apart = [mean(np.zeros(count)), *(mean(row - control) for row in gains)]
        return -math.inf, min(one.high for one in at_once(apart, count)[1:]), 0.0

    return draw


def factor(f: Callable[[torch.Tensor], torch.Tensor], truth: float) -> Draw:
    """Where f rises again along a random direction of ``count`` dimensions from |x| = 1."""

    def draw(count: int, random: Random) -> Found:
        x = torch.from_numpy(random.standard_normal(count))
        x = x / x.norm()
        look = Look(ls.FunctionLandscape(f, count), x, "coverage")
        step = float(random.uniform(0.01, 0.5))
        found = critical_factor(look, -step * x)
        rounding = 1e-9 * truth / step
        return found.low - rounding, found.high + rounding, truth / step

    return draw


def tracked(spectrum: Callable[[Random, int], np.ndarray]) -> Draw:
    """How far the largest tracked value is from an eigenvalue, of ``count`` dimensions."""

    def draw(count: int, random: Random) -> Found:
        Q = np.linalg.qr(random.standard_normal((count, count)))[0]
        values = spectrum(random, count)
        H = torch.from_numpy((Q * values) @ Q.T)
        E = random.standard_normal((count, count)) / count
        first = refresh(as_operator((H + H.T) / 2), None, None, 1)
        H = H + 0.1 * torch.from_numpy(E + E.T)
        H = (H + H.T) / 2
        ends = refresh(as_operator(H), first.vectors, None, 1)
        near = torch.linalg.eigvalsh(H)
        truth = float(near[(near - ends.largest).abs().argmin()])
        reach = ends.largest_bound + 1e-12
        return ends.largest - reach, ends.largest + reach, truth

    return draw


def _networks(kind: str, count: int, random: Random) -> ModelLandscape:
    """A network of 13 weights at random ones, with ``count`` samples in one batch."""
    torch.manual_seed(int(random.integers(2**31)))
    last = nn.Linear(3, 1, dtype=torch.float64)
    middle = {"tanh": nn.Tanh(), "softplus": nn.Softplus(), "ReLU": nn.ReLU()}[kind]
    net = nn.Sequential(nn.Linear(2, 3, dtype=torch.float64), middle, last)
    x, y = torch.randn(count, 2, dtype=torch.float64), torch.randn(count, 1, dtype=torch.float64)
    return ls.ModelLandscape(net, nn.functional.mse_loss, [(x, y)])


# the same changes are asked for by both
@lru_cache(maxsize=4_000)
def _survived(kind: str, told: str, count: int, seed: int) -> tuple[ModelLandscape, Survival]:
    f = _networks(kind, count, np.random.default_rng(seed))
    return f, ls.points.survive(f, told, seed=seed)


def predicted(kind: str, told: str) -> Draw:
    """The change of the loss on ``count`` samples, by second order."""

    def draw(count: int, random: Random) -> Found:
        if count < LEAST:
            return None
        _, found = _survived(kind, told, count, int(random.integers(2**31)))
        foretold, rounding = found.whole.predicted, 1e-12
        return foretold.low - rounding, foretold.high + rounding, found.whole.measured.value

    return draw


def hawq(kind: str, told: str) -> Draw:
    """The mean diagonal entry of a layer's own block times |d|^2, on ``count`` samples."""

    def draw(count: int, random: Random) -> Found:
        if count < LEAST:
            return None
        f, found = _survived(kind, told, count, int(random.integers(2**31)))
        layer = found.layers[int(random.integers(len(found.layers)))]
        where = f.layout[layer.name]
        H = ls.Hessian(f).dense()
        truth = float(H.diagonal()[where].mean()) * layer.size**2
        rounding = 1e-12 * abs(truth)
        return layer.hawq.low - rounding, layer.hawq.high + rounding, truth

    return draw


CHANGES = {"tanh": "noise:0.1", "softplus": "int4", "ReLU": "int8"}

CASES: dict[str, dict[str, Draw]] = {
    "change of the loss": {name: change(name) for name in INPUTS},
    "barrier": {name: height(name) for name in INPUTS},
    "sharpness that an optimiser feels": {name: sharpness(name) for name in INPUTS},
    "noise scale": {name: noise_scale(name) for name in INPUTS},
    "noise scale of an optimiser's steps": {
        name: noise_scale(name, (1.0, 0.1, 10.0)) for name in INPUTS
    },
    "mean over seeds": {
        "normal": seeds(lambda r, n: r.standard_normal(n)),
        "Student's, 3 degrees": seeds(lambda r, n: r.standard_t(3, n)),
        "uniform": seeds(lambda r, n: r.random(n) - 0.5),
        "exponential": seeds(lambda r, n: r.exponential(1, n) - 1),
    },
    "trials beside the control": {
        "one alone": remedies(lambda r: np.ones(1)),
        "alike": remedies(lambda r: np.ones(8)),
        "one is wild": remedies(lambda r: np.r_[10.0, np.ones(7)]),
        "half are wild": remedies(lambda r: np.r_[np.full(4, 10.0), np.ones(4)]),
        "each has a spread of its own": remedies(lambda r: np.exp(r.standard_normal(8))),
    },
    "critical factor": {
        "parabola": factor(lambda x: x.square().sum(-1), 2.0),
        "eighth power": factor(lambda x: x.square().sum(-1) ** 4, 2.0),
        "cone": factor(lambda x: x.norm(dim=-1), 2.0),
    },
    "tracked ends": {
        "semicircle": tracked(lambda r, n: r.standard_normal(n)),
        "1 / i": tracked(lambda r, n: 1 / np.arange(1, n + 1.0)),
        "few large": tracked(lambda r, n: np.r_[100.0, 99.0, np.zeros(n)][:n]),
    },
    "change by second order": {
        f"{kind}, {told.partition(':')[0]}": predicted(kind, told) for kind, told in CHANGES.items()
    },
    "HAWQ's number": {
        f"{kind}, {told.partition(':')[0]}": hawq(kind, told) for kind, told in CHANGES.items()
    },
}
