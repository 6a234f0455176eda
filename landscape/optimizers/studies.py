"""Studies of escape with their theory beside: the octopus, noise over a barrier, plateaus of deep
linear networks, saddles of a network.

Each gives a ``Comparison``: measured times or rates against one setting, with a prediction where
there is one and a note where arithmetic, not the landscape, decides. ``landscape figures render
comparison`` draws any of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape import theory, zoo
from landscape.core import Landscape, Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.operators.hessian import Hessian
from landscape.optimizers.escape import Escapes, FallsBelow, LeavesBall, escape
from landscape.results import Estimate, Provenance, Result, result
from landscape.results.statistics import exact, slope
from landscape.rng import generator, words
from landscape.zoo.linear import deep_linear

# Of a barrier looked at once a step, in standard deviations of a step: Broadie, Glasserman & Kou
# 1997, Math. Finance 7:325.
SHIFT = 0.5826


@result("comparison-series")
@dataclass(frozen=True, eq=False)
class Series:
    """One line of a comparison."""

    label: str
    x: list[float]
    measured: list[Estimate]  # infinite: not within the limit
    predicted: list[float | None]
    notes: list[str]  # one an x, empty where there is nothing to say


@result("comparison")
@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """Measured and predicted numbers against one setting."""

    title: str
    over: str  # what x is, with its unit
    quantity: str  # what is measured, with its unit
    series: list[Series]
    fits: dict[str, Estimate]  # what was fitted, in words
    logarithmic: tuple[bool, bool]  # of x, of the measured


@owned()
def octopus_study(
    dims: Sequence[int] = (2, 3, 4, 5, 6),
    L: float = math.e,
    gamma: float = 1.0,
    *,
    runs: int = 20,
    steps: int = 8_000,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Gradient descent on the octopus takes a time exponential in its dimension, perturbed gradient
    descent a polynomial one.

    Starts are (1, ..., 1) disturbed by 2 %; the end is |x_d| > 2 tau, the last saddle left. lr = 1
    / (4 L); the perturbation has radius e / 100, threshold gamma e / 100 and interval 1 (Du et al.
    2017). Descent that underflow holds at an exact zero is noted as stalled and is no part of the
    fit.

    Args:
        dims: of the octopus, at least 3 values for fits.
        L, gamma: as of ``zoo.octopus``; tau = e.
        runs, steps: of every dimension and method, and when they are given up.
        dtype: of the points: float32 underflows one dimension earlier.
        seed: of starts and perturbations.

    Cost: about ``steps`` gradients of ``runs`` rows for each dimension that descent does not leave;
    half a minute by default.
    """
    tau, lr, e = math.e, 1 / (4 * L), math.e
    line = f"sgd:lr={lr!r}"
    kinds = {
        "gradient descent": "none",
        "perturbed gradient "
        "descent": f"perturbed:radius={e / 100!r},threshold={gamma * e / 100!r},interval=1",
    }
    found: dict[str, list[Escapes]] = {kind: [] for kind in kinds}
    random = np.random.default_rng(seed)
    origin = None
    for d in dims:
        f = zoo.load("octopus", dim=d, L=L, gamma=gamma, tau=tau)
        at = torch.zeros(d, dtype=dtype, device="cpu")
        start = torch.from_numpy(1 + 0.02 * random.standard_normal((runs, d))).to(dtype)
        last = torch.zeros(d, 1, dtype=dtype, device="cpu")
        last[-1] = 1.0
        for kind, noise in kinds.items():
            leaves = LeavesBall(2 * tau, within=last)
            study = escape(
                f,
                at,
                [line],
                runs,
                steps,
                start,
                leaves,
                noise,
                seed=int(random.integers(2**31)),
                theory=False,
            )
            found[kind].append(study[line])
            origin = origin or study.provenance
            progress(kind, d, max(dims))
    exact: list[list[float | None]] = [
        [
            float(s[-1]) if len(s := theory.octopus_exit(d, L, gamma, tau, lr)) == d else None
            for d in dims
        ],
        [None] * len(dims),
    ]
    x = [float(d) for d in dims]
    series = [
        Series(kind, x, [r.median for r in all_], law, [_stalled(r) for r in all_])
        for (kind, all_), law in zip(found.items(), exact, strict=True)
    ]
    return Comparison(
        f"Octopus, L = {L:.3g}, gamma = {gamma:.3g}, {str(dtype).removeprefix('torch.')}",
        "dimension d",
        "steps until the last saddle is left",
        series,
        _fits(series, theory.octopus_growth(L, gamma, lr)),
        (False, True),
        provenance=origin_of(
            origin, seed, dims=list(dims), L=L, gamma=gamma, runs=runs, steps=steps
        ),
    )


def origin_of(first: Provenance | None, seed: int, **config: object) -> Provenance:
    """That of a study from that of its first escape."""
    if first is None:
        raise ValueError("a study needs at least one value.")
    return replace(first, seed=seed, config=config)


def mean_steps(rate: Estimate) -> Estimate:
    """The mean of an exponential waiting time from its rate; infinite where nothing has left."""
    if math.isinf(rate.value):
        # All left before the first step.
        return Estimate(0.0, math.inf, 0.0, math.inf)
    if rate.value > 0:
        return Estimate(1 / rate.value, rate.error / rate.value**2, 1 / rate.high, 1 / rate.low)
    return Estimate(math.inf, math.inf, 1 / rate.high, math.inf)


def _stalled(found: Escapes) -> str:
    share = float(found.stalled.double().mean())
    return f"{100 * share:.3g} % stalled by underflow" if share else ""


def _fits(series: list[Series], kappa: float) -> dict[str, Estimate]:
    """How each grows with d, of the dimensions left: as a factor a dimension and as a power."""
    fits = {"kappa, the factor a dimension in the limit, exactly": exact(kappa)}
    for s in series:
        known = [
            (x, m.value) for x, m in zip(s.x, s.measured, strict=True) if math.isfinite(m.value)
        ]
        if len(known) < 3:
            continue
        x, y = (np.array(column) for column in zip(*known, strict=True))
        factor, power = slope(x, np.log(y)), slope(np.log(x), np.log(y))
        fits[f"{s.label}: factor a dimension"] = Estimate(
            math.exp(factor.value),
            math.exp(factor.value) * factor.error,
            math.exp(factor.low),
            math.exp(factor.high),
        )
        fits[f"{s.label}: power of d"] = power
    return fits


@owned()
def barrier_study(
    temperatures: Sequence[float] = (0.05, 0.08, 0.12, 0.2, 0.3),
    lr: float = 0.02,
    *,
    runs: int = 500,
    steps: int = 100_000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """SGD with isotropic noise over the barrier of a double well, beside the exact mean passage
    time and Kramers' formula.

    SGD with noise sigma is Euler and Maruyama's scheme at T = lr sigma^2 / 2. Runs start at the
    minimum -1 and end beyond the barrier's top; the exact time is to a top moved by 0.5826 of a
    step's noise, since runs are looked at once a step.

    Args:
        temperatures: T; the barrier is 1/4.
        lr: of SGD, the step of the scheme.
        runs, steps: at each temperature, and when they are given up: censored runs count in the
            mean as an exponential law says.
        seed: of the noise.

    Cost: about 5 / lr exp(1 / (4 T)) steps of ``runs`` rows at each temperature.
    """
    f = zoo.load("double-well", dim=1)
    at = torch.full((1,), -1.0, dtype=torch.float64, device="cpu")
    line = f"sgd:lr={lr!r}"
    children = np.random.SeedSequence(seed).spawn(len(temperatures))
    measured, exact, asymptotic, origin = [], list[float | None](), list[float | None](), None
    for T, child in zip(temperatures, children, strict=True):
        sigma = math.sqrt(2 * T / lr)
        study = escape(
            f,
            at,
            [line],
            runs,
            steps,
            0.0,
            LeavesBall(1.0),
            f"isotropic:{sigma!r}",
            seed=words(child)[0],
            theory=False,
        )
        measured.append(mean_steps(study[line].rate))
        shifted = SHIFT * math.sqrt(2 * T * lr)
        exact.append(theory.double_well_passage(T, shifted) / lr)
        asymptotic.append(theory.kramers(0.25, T, 2.0, -1.0)[0] / 2 / lr)
        origin = origin or study.provenance
        progress("temperature", len(measured), len(temperatures))
    x = [1 / T for T in temperatures]
    empty = [""] * len(x)
    series = [
        Series("SGD, exact mean time", x, measured, exact, empty),
        Series("Kramers' formula", x, [], asymptotic, empty),
    ]
    crossed = [(v, m.value) for v, m in zip(x, measured, strict=True) if math.isfinite(m.value)]
    fits = {}
    if len(crossed) >= 3:
        inverse, mean = (np.array(column) for column in zip(*crossed, strict=True))
        fits["barrier, by the slope of ln steps over 1 / T (1/4 in the limit)"] = slope(
            inverse, np.log(mean)
        )
    origin = origin_of(origin, seed, temperatures=list(temperatures), lr=lr, runs=runs, steps=steps)
    return Comparison(
        f"Over a barrier of 1/4, lr = {lr:g}",
        "1 / T, with T = lr sigma² / 2",
        "mean steps to the top",
        series,
        fits,
        (False, True),
        provenance=origin,
    )


@owned()
def plateau_study(
    layers: Sequence[int] = (2, 3),
    starts: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
    strength: float = 1.0,
    lr: float = 0.005,
    *,
    progress: Progress = silent,
) -> Comparison:
    """Gradient descent's plateau in a deep linear network of one mode, from small weights, beside
    the exact time of the flow.

    Args:
        layers: N, one series each.
        starts: u_0, the product of the layers' balanced weights.
        strength: s, the singular value to be learned; the plateau ends at s / 2.
        lr: of gradient descent; flow time is lr times steps.

    Cost: the plateaus' steps, all starts of a depth side by side.
    """
    line, series, origin = f"sgd:lr={lr!r}", [], None
    for N in layers:
        f = deep_linear((strength,), [1] * (N - 1))
        rows = [u ** (1 / N) for u in starts]
        (solved,) = [p for p in f.stationary_points() if p.value < 1e-12]
        signs = solved.x.sign()
        at = torch.zeros(N, dtype=torch.float64, device="cpu")
        start = torch.tensor(rows, dtype=torch.float64, device="cpu")[:, None] * signs
        expected: list[float | None] = [
            theory.deep_linear_time(N, strength, u) / lr for u in starts
        ]
        most = int(2 * max(e for e in expected if e is not None)) + 10
        fall = FallsBelow(0.5 * strength**2 * (1 - 0.25))  # f = (s - u)^2 / 2 at u = s / 2
        study = escape(f, at, [line], len(rows), most, start, fall, theory=False)
        times = [exact(float(t)) for t in study[line].steps]
        series.append(Series(f"{N} layers", list(starts), times, expected, [""] * len(rows)))
        origin = origin or study.provenance
        progress("layers", N, max(layers))
    origin = origin_of(
        origin, 0, layers=list(layers), starts=list(starts), strength=strength, lr=lr
    )
    return Comparison(
        f"Plateaus of deep linear networks, s = {strength:g}, lr = {lr:g}",
        "initial product of weights",
        "steps to half of the mode",
        series,
        {},
        (True, True),
        provenance=origin,
    )


@owned()
def saddle_study(
    f: Landscape,
    points: Sequence[Tensor],
    optimizers: Sequence[str],
    *,
    runs: int = 32,
    steps: int = 20_000,
    start: float = 1e-4,
    radius: float = 1e-2,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Do optimisers leave these saddles of a network, and as fast as their curvature says? e-folds
    of distance a step, side by side.

    Args:
        f: the network's landscape, float64.
        points: stationary points (n,) of index 1 or more, from ``critical_points`` for one.
        optimizers: as of ``escape``; SGD has an exact law, adaptive ones that of their rule on the
            Hessian.
        runs, steps, start, radius: of the escapes from a ball in the falling directions, in which
            distance is measured.
        seed: of starts; points are independent.

    Raises:
        ValueError: a point has no falling direction.

    Cost: a Hessian and the escapes for each point.
    """
    lines = {line: Series(line, [], [], [], []) for line in optimizers}
    children = np.random.SeedSequence(seed).spawn(len(points))
    origin = None
    for number, (x, child) in enumerate(zip(points, children, strict=True)):
        w, V = torch.linalg.eigh(Hessian(f, at=x).dense())
        falling = V[:, w < -1e-9 * float(w.abs().max())]
        if falling.shape[1] == 0:
            raise ValueError(
                f"point {number} has no falling direction: its smallest eigenvalue is "
                f"{float(w[0]):.3g}."
            )
        drawn = torch.randn(
            runs,
            falling.shape[1],
            generator=generator(words(child)[0]),
            dtype=torch.float64,
            device="cpu",
        )
        moves = (start * drawn / drawn.norm(dim=1, keepdim=True)).to(x) @ falling.T
        study = escape(
            f,
            x,
            list(optimizers),
            runs,
            steps,
            moves,
            LeavesBall(radius, within=falling),
            seed=words(child, 2)[1],
        )
        for line, s in lines.items():
            run = study[line]
            s.x.append(float(-w[0]))
            nothing = exact(0.0)
            s.measured.append(run.growth if run.growth is not None else nothing)
            s.predicted.append(run.theory.growth)
            left = int(run.escaped.sum())
            s.notes.append(f"index {falling.shape[1]}, {left} of {runs} left")
        origin = origin or study.provenance
        progress("points", number + 1, len(points))
    origin = origin_of(
        origin,
        seed,
        optimizers=list(optimizers),
        runs=runs,
        steps=steps,
        start=start,
        radius=radius,
    )
    return Comparison(
        f"Leaving saddles of {f.name}",
        "steepest fall, −λ",
        "e-folds of distance a step",
        list(lines.values()),
        {},
        (True, True),
        provenance=origin,
    )
