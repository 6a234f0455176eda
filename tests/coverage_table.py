"""How often intervals hold the truth: ``python tests/coverage_table.py`` prints the table of docs/intervals.md.

A case draws samples from a problem whose truth is known and returns the interval's ends and that truth.
``--repeats`` says how often (400 by default), ``--write`` puts the table into the page, ``--only NAME``
measures the rows of one interval. A cell is the share of intervals that held the truth, in per cent; -
where the interval says nothing. ``--kept FILE`` keeps every cell that is measured, a line each, and
measures none that is in the file: delete the lines of what has changed.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import coverage_models
import coverage_points
import numpy as np
import torch

import landscape as ls
from landscape.linalg.quadrature import SpectralDensity
from landscape.points.crowds import alone, conservative
from landscape.results import Estimate, statistics

PAGE = Path(__file__).parents[1] / "docs" / "intervals.md"
BEGIN, END = "<!-- coverage -->\n", "<!-- end of coverage -->"
BEGIN_UNKNOWABLE, END_UNKNOWABLE = "<!-- unknowable -->\n", "<!-- end of unknowable -->"
SAMPLES = (1, 2, 3, 5, 10, 30, 200)

# (number of samples, random numbers) -> (low, high, truth); None: it says nothing
Draw = Callable[[int, np.random.Generator], tuple[float, float, float] | None]
Random = np.random.Generator
BURSTS = "100 more in 1 % of realisations"


def _held(found: Estimate, truth: float) -> tuple[float, float, float]:
    return found.low, found.high, truth


def _median(times: Callable[[int, Random], np.ndarray], truth: float, limit: float) -> Draw:
    def draw(count: int, random: Random) -> tuple[float, float, float]:
        t = times(count, random)
        seen = np.minimum(t, limit)
        return _held(statistics.kaplan_meier_median(seen, t <= limit), truth)

    return draw


def _rate(rate: float, limit: float) -> Draw:
    def draw(count: int, random: Random) -> tuple[float, float, float]:
        t = random.exponential(1 / rate, count)
        return _held(statistics.exponential_rate(np.minimum(t, limit), t <= limit), rate)

    return draw


def _counts(counts: Callable[[int, Random], np.ndarray], truth: float, together: int = 1) -> Draw:
    return lambda count, random: _held(
        statistics.count_mean(
            torch.from_numpy(np.asarray(counts(count, random))), together=together
        ),
        truth,
    )


def _share(points: Callable[[int, Random], tuple[np.ndarray, np.ndarray]], truth: float) -> Draw:
    return lambda count, random: _held(
        statistics.share(*map(torch.from_numpy, points(count, random))), truth
    )


def _lattice(count: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """Points of a torus: 8, 12 or 16, and nearly always a quarter of them minima."""
    b = random.choice([8, 12, 16], count, p=[0.4, 0.4, 0.2])
    return b // 4 + (random.random(count) < 0.2) * random.choice([-1, 1], count), b


def _rare(count: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    b = np.full(count, 20)
    return random.binomial(b, 0.005), b


def _clusters(count: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """A realisation has a share of its own."""
    b = np.full(count, 12)
    return random.binomial(b, random.beta(2, 4, count)), b


def _sparse(count: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    b = random.poisson(0.5, count)
    return random.binomial(b, 0.3), b


def _bursts(count: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """A quarter of 8 points are minima, and now and then all of 100 more."""
    more = 100 * (random.random(count) < 0.01)
    return random.binomial(8, 0.25, count) + more, 8 + more


def _never_met(p: float) -> Draw:
    """The share of realisations with an event, where none of those drawn had it."""

    def draw(count: int, random: Random) -> tuple[float, float, float]:
        met = bool((random.random(count) < p).any())
        return 0.0, statistics.never_met(count), 0.0 if met else p

    return draw


def _normal(count: int, random: Random) -> np.ndarray:
    return random.standard_normal(count)


def _laplace(count: int, random: Random) -> np.ndarray:
    return random.laplace(size=count)


def _batches(tail: int) -> Callable[[int, Random], np.ndarray]:
    return lambda count, random: np.array([20] * (count - 1) + [tail])


def _pareto(count: int, random: Random) -> np.ndarray:
    """Sizes of Pareto's law with index 1, from 5 on."""
    return np.ceil(5 / random.random(count)).clip(max=10_000).astype(int)


def _sampling(
    inputs: Callable[[int, Random], np.ndarray],
    truth: float,
    batches: Callable[[int, Random], np.ndarray],
) -> Draw:
    """The Hessian 2 mean x^2 of least squares with one weight; a batch is a sample."""

    def draw(count: int, random: Random) -> tuple[float, float, float] | None:
        if count < 2:
            return None
        sizes = batches(count, random)
        x, shares = inputs(int(sizes.sum()), random), torch.from_numpy(sizes / sizes.sum())
        sums = np.add.reduceat(2 * x**2, np.cumsum(sizes) - sizes)
        forms = torch.from_numpy(sums / sizes.sum())[:, None]
        spread = statistics.sampling_spread(forms, shares, int(sizes.sum()))
        value, reach = float(forms.sum()), spread.reach * float(spread.errors)
        return value - reach, value + reach, truth

    return draw


def _crowd(squares: np.ndarray, smallest: int, largest: int, pick: Callable[[Random], int]) -> Draw:
    """One of the eigenvalues of the sample's 2 mean xx', of which both ends are asked for, as an
    estimate of the population's 2 ``squares``.
    """
    n, truth = len(squares), np.sort(2 * squares)

    def draw(count: int, random: Random) -> tuple[float, float, float] | None:
        if count < 2:
            return None
        x = random.standard_normal((count * 20, n)) * squares**0.5
        every, vectors = np.linalg.eigh(2 * x.T @ x / len(x))
        asked = np.r_[:smallest, n - largest : n]
        forms = 2 * ((x @ vectors[:, asked]) ** 2).reshape(count, 20, -1).mean(1) / count
        shares = torch.full((count,), 1 / count, dtype=torch.float64)
        values, others = map(torch.from_numpy, (every[asked], np.delete(every, asked)))
        spread = conservative(
            values,
            torch.zeros(len(asked), dtype=torch.float64),
            statistics.sampling_spread(torch.from_numpy(forms), shares),
            alone(others),
        )
        i = pick(random)
        value, reach = float(values[i]), spread.reach * float(spread.errors[i])
        return value - reach, value + reach, float(truth[asked[i]])

    return draw


SPECTRA = {
    "semicircle": np.random.default_rng(0).standard_normal(80),
    "1 / i": 1 / np.arange(1, 81.0),
    "few large": np.r_[np.zeros(77), 1.0, 5.0, 100.0],
}

MATRICES = {name: torch.from_numpy(np.diag(values)) for name, values in SPECTRA.items()}


def _spectrum(name: str, ask: Callable[[torch.Tensor, int, int], Estimate], truth: float) -> Draw:
    H = MATRICES[name]

    def draw(count: int, random: Random) -> tuple[float, float, float] | None:
        if count < 2:
            return None
        low, high, _ = _held(ask(H, count, int(random.integers(2**31))), truth)
        rounding = 1e-9 * max(abs(truth), 1.0)
        return low - rounding, high + rounding, truth

    return draw


# the same densities are asked for moments and for counts
@lru_cache(maxsize=4_000)
def _density(H: torch.Tensor, probes: int, seed: int) -> SpectralDensity:
    return ls.spectral_density(H, probes=probes, steps=4, seed=seed)


def _moment(H: torch.Tensor, probes: int, seed: int) -> Estimate:
    return _density(H, probes, seed).moment(1)


def _count(H: torch.Tensor, probes: int, seed: int) -> Estimate:
    return _density(H, probes, seed).count(0.5, math.inf)


def _trace(H: torch.Tensor, samples: int, seed: int) -> Estimate:
    return ls.trace(H, probes=3 * samples, seed=seed)


def _correlation(shared: float, heavy: bool) -> Draw:
    """Pairs of correlation 0.8, ten on each path, which have the variance ``shared`` in common."""

    def draw(count: int, random: Random) -> tuple[float, float, float] | None:
        if count < 2:
            return None

        def numbers() -> np.ndarray:
            common, own = random.standard_normal((count, 1)), random.standard_normal((count, 10))
            return shared**0.5 * common + (1 - shared) ** 0.5 * own

        size = random.choice([0.5, 1.5], (count, 1)) if heavy else 1.0
        x, y = size * numbers(), size * numbers()
        runs = np.repeat(np.arange(count), 10)
        found = statistics.correlation(x.ravel(), (0.8 * x + 0.6 * y).ravel(), runs)
        return _held(found, 0.8)

    return draw


def _slope(noise: Callable[[int, Random], np.ndarray]) -> Draw:
    def draw(count: int, random: Random) -> tuple[float, float, float] | None:
        if count < 3:
            return None
        x = np.linspace(0, 1, count)
        return _held(statistics.slope(x, 2 * x + noise(count, random)), 2.0)

    return draw


def _unmet(weights: np.ndarray) -> Draw:
    p = weights / weights.sum()

    def draw(count: int, random: Random) -> tuple[float, float, float]:
        met = random.multinomial(count, p)
        return 0.0, statistics.unmet(met[met > 0].tolist(), count), float(p[met == 0].sum())

    return draw


CASES: dict[str, dict[str, Draw]] = {
    "sampling errors": {
        "normal inputs, equal batches": _sampling(_normal, 2.0, _batches(20)),
        "normal inputs, a tail of one": _sampling(_normal, 2.0, _batches(1)),
        "normal inputs, sizes of Pareto's law": _sampling(_normal, 2.0, _pareto),
        "inputs of Laplace's law": _sampling(_laplace, 4.0, _batches(20)),
        "Laplace's law, a tail of one": _sampling(_laplace, 4.0, _batches(1)),
        "Laplace's law, sizes of Pareto's": _sampling(_laplace, 4.0, _pareto),
        "the largest of three that are one": _crowd(np.ones(3), 0, 3, lambda r: 2),
        "three pairs": _crowd(np.array([4.0, 4, 2, 2, 1, 1]), 3, 3, lambda r: int(r.integers(6))),
        "the ends of ten that are one": _crowd(np.ones(10), 2, 2, lambda r: int(r.integers(4))),
    },
    "median of runs": {
        "exponential": _median(lambda n, r: r.exponential(1, n), math.log(2), math.inf),
        "half are censored early": _median(lambda n, r: r.exponential(1, n), math.log(2), 0.8),
        "log-normal, sigma 2": _median(lambda n, r: np.exp(2 * r.standard_normal(n)), 1.0, 5.0),
    },
    "rate": {
        "all seen": _rate(0.01, math.inf),
        "most seen": _rate(0.01, 150.0),
        "1 in 20 seen": _rate(0.01, 5.0),
    },
    "mean of counts": {
        "8 or, rarely, 12": _counts(lambda n, r: 8 + 4 * (r.random(n) < 0.15), 8.6),
        "Poisson, mean 8": _counts(lambda n, r: r.poisson(8, n), 8.0),
        "rare: mean 0.02": _counts(lambda n, r: r.poisson(0.02, n), 0.02),
        "in pairs": _counts(lambda n, r: 2 * r.poisson(0.5, n), 1.0, together=2),
    },
    "share": {
        "nearly always 1/4": _share(_lattice, 0.25),
        "rare: 0.005": _share(_rare, 0.005),
        "a realisation has its own": _share(_clusters, 1 / 3),
        "most have no points": _share(_sparse, 0.3),
    },
    "moments of the spectrum": {
        name: _spectrum(name, _moment, float(values.mean())) for name, values in SPECTRA.items()
    },
    "counts of eigenvalues": {
        name: _spectrum(name, _count, float((values > 0.5).sum()))
        for name, values in SPECTRA.items()
    },
    "trace": {
        name: _spectrum(name, _trace, float(values.sum())) for name, values in SPECTRA.items()
    },
    "correlation": {
        "independent ends": _correlation(0.0, False),
        "ends of a path alike": _correlation(0.5, False),
        "paths of two sizes": _correlation(0.5, True),
    },
    "slope": {
        "normal": _slope(lambda n, r: r.standard_normal(n)),
        "uniform": _slope(lambda n, r: r.random(n) - 0.5),
        "Student's, 3 degrees": _slope(lambda n, r: r.standard_t(3, n)),
    },
    "share of draws not met": {
        "300 alike": _unmet(np.ones(300)),
        "1 / i": _unmet(1 / np.arange(1, 301.0)),
        "nine alike and a rare one": _unmet(np.r_[np.ones(9), 0.02]),
    },
    "what no realisation showed": {
        "in 1 of 100": _never_met(0.01),
        "in 1 of 10": _never_met(0.1),
        "in 1 of 2": _never_met(0.5),
    },
    **coverage_models.CASES,
    **coverage_points.CASES,
}

# Intervals that hold in every repetition, or are wrong.
CERTAIN = {
    *("eigenvalues at a point", "index", "angles between spans"),
    *("learning coefficient", "tracked ends", "critical factor"),
}

# Draws of some hundredths of a second and more.
COSTLY = {
    *("eigenvalues of a search", "index", "angles between spans", "learning coefficient"),
    *("second derivative from values", "change by second order", "HAWQ's number"),
}

# What no interval from so few samples can know, without assuming more than anybody knows: a table
# of its own, and beside it what can be said.
UNKNOWABLE: dict[str, dict[str, Draw]] = {
    "mean of counts": {
        BURSTS: _counts(lambda n, r: r.poisson(1, n) + 100 * (r.random(n) < 0.01), 2.0)
    },
    "share": {BURSTS: _share(_bursts, 3 / 9)},
    "what no realisation showed": {BURSTS: _never_met(0.01)},
}


REPEATS = 400


def coverage(draw: Draw, count: int, repeats: int) -> float:
    """The share of intervals that hold the truth; NaN where they say nothing."""
    held = 0
    for seed in np.random.SeedSequence(count).spawn(repeats):
        found = draw(count, np.random.default_rng(seed))
        if found is None:
            return math.nan
        held += found[0] <= found[2] <= found[1]
    return held / repeats


class Kept:
    """Cells that were measured before, in a file of one line each, or nowhere."""

    def __init__(self, path: Path | None, repeats: int) -> None:
        self.path, self.repeats = path, repeats
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        self.cells = {tuple(key): value for *key, value in map(json.loads, lines)}

    def cell(self, name: str, problem: str, count: int, draw: Draw) -> float:
        """The coverage, measured where it is not kept."""
        key = (name, problem, count, self.repeats)
        if key not in self.cells:
            self.cells[key] = coverage(draw, count, self.repeats)
            if self.path:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([*key, self.cells[key]]) + "\n")
        return self.cells[key]


def rows(kept: Kept, cases: dict[str, dict[str, Draw]]) -> Iterator[str]:
    """The table, line by line."""
    yield "| interval | problem | " + " | ".join(map(str, SAMPLES)) + " |\n"
    yield "|---|---|" + "---:|" * len(SAMPLES) + "\n"
    for name, problems in cases.items():
        for problem, draw in problems.items():
            found = [kept.cell(name, problem, count, draw) for count in SAMPLES]
            cells = ["-" if math.isnan(c) else f"{100 * c:.1f}" for c in found]
            yield f"| {name} | {problem} | {' | '.join(cells)} |\n"


def printed(kept: Kept, cases: dict[str, dict[str, Draw]]) -> str:
    """The table, which is printed while it is made."""
    table = ""
    for row in rows(kept, cases):
        print(row, end="", flush=True)
        table += row
    return table


def put(page: str, begin: str, end: str, table: str) -> str:
    """The page with the table between both marks."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of a cell")
    parser.add_argument("--only", choices=CASES, action="append", help="the rows of this interval")
    parser.add_argument("--kept", type=Path, help="a file of cells, read and added to")
    parser.add_argument("--write", action="store_true", help="put the table into docs/intervals.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(given.kept, given.repeats)
    cases = {name: CASES[name] for name in given.only or CASES}
    table, other = printed(kept, cases), printed(kept, UNKNOWABLE)
    if given.write:
        page = put(PAGE.read_text(encoding="utf-8"), BEGIN, END, table)
        page = put(page, BEGIN_UNKNOWABLE, END_UNKNOWABLE, other)
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
