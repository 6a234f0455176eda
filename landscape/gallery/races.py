"""Races: several of torch's optimisers from one point, at a saddle and on a plateau. Who is out
when, beside what theory expects.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from landscape import theory, zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact
from landscape.landscapes.formula import FunctionLandscape
from landscape.optimizers.ensembles import Ensemble
from landscape.specs.optimizers import maker

RATE, START, MOMENTUM = 0.01, (0.7, 1e-3), 0.9
SADDLE = {
    "SGD": f"sgd:lr={RATE}",
    "momentum 0.9": f"sgd:lr={RATE},momentum={MOMENTUM}",
    "Adam": f"adam:lr={RATE}",
    "RMSprop": f"rmsprop:lr={RATE}",
    "Adagrad": f"adagrad:lr={RATE}",
}
FAR, GOAL = (3.2, 2.4), 3.0  # 4 from the minimum; how much nearer it is to come
PLATEAU = {
    "SGD, rate 1": "sgd:lr=1",
    "SGD, rate 0.1": "sgd:lr=0.1",
    "momentum 0.9, rate 1": "sgd:lr=1,momentum=0.9",
    "Adam, rate 0.01": "adam:lr=0.01",
    "Adagrad, rate 0.05": "adagrad:lr=0.05",
}
LIMIT = 5_000  # steps


def saddle_race(progress: Progress) -> Computed:
    """How many steps |y| takes from 0.001 to more than 1, where it falls as -y^2 / 2."""
    f = FunctionLandscape(lambda x: 0.5 * (x[..., 0] ** 2 - x[..., 1] ** 2), 2, name="saddle")
    paths = _race(f, START, SADDLE, 1.0, lambda X: X[:, 1].abs(), progress)
    took = {name: exact(float(len(path) - 1)) for name, path in paths.items()}
    data = _data(f, paths, (-0.25, -0.2), (0.85, 1.15), 1.0)
    data["measure"] = {name: path[:, 1].abs() for name, path in paths.items()}
    far = 1 / START[1]
    adam, rmsprop = (
        int(theory.adaptive_exit(rule, [-1.0], [START[1]], 1.0, lr=RATE)[0])
        for rule in ("adam", "rmsprop")
    )
    slow = (1 / RATE) ** 2 / 8
    return data, [
        Match(
            "steps of SGD",
            math.ceil(math.log(far) / math.log1p(RATE)),
            "Lee et al. 2016: y <- (1 + lr) y; ln 1000 / ln(1 + lr)",
            took["SGD"],
        ),
        Match(
            "steps with momentum 0.9",
            _heavy_ball(far),
            "Polyak 1964, the roots of his recursion",
            took["momentum 0.9"],
        ),
        Match(
            "steps of Adam",
            adam,
            "algorithm 1 of Kingma & Ba 2015, stepped without torch",
            took["Adam"],
        ),
        Match("steps of RMSprop", rmsprop, "its rule, stepped without torch", took["RMSprop"]),
        Match(
            "steps of Adagrad",
            slow,
            "(distance / lr)^2 / 8 in the limit of small steps",
            took["Adagrad"],
            0.02 * slow,
            "steps of a finite size",
        ),
    ]


def _heavy_ball(far: float) -> float:
    """Steps of y <- y + b, b <- mu b + lr y from rest until |y| has grown by ``far``: y is a sum of
    powers of two roots.
    """
    t = 1 + MOMENTUM + RATE
    big, small = ((t + side * math.sqrt(t * t - 4 * MOMENTUM)) / 2 for side in (1, -1))
    first = 1 + RATE  # after one step; before it y = 1
    share = (first - small) / (big - small)
    n = 0
    while share * big**n + (1 - share) * small**n <= far:
        n += 1
    return float(n)


def plateau_race(progress: Progress) -> Computed:
    """How many steps a run takes to come 3 nearer to the minimum, 4 away, of a well whose gradient
    is r e^(-r^2/2).
    """
    f = zoo.formula("gaussian-well", dim=2)
    at = torch.tensor(FAR, dtype=torch.float64, device="cpu")

    def gone(X: Tensor) -> Tensor:
        away: Tensor = torch.linalg.vector_norm(X - at, dim=1)
        return away

    paths = _race(f, FAR, PLATEAU, GOAL, gone, progress)
    took = {name: float(len(path) - 1) for name, path in paths.items()}
    data = _data(f, paths, (-1.6, -1.6), (3.8, 3.4), GOAL)
    data["measure"] = {name: gone(path) for name, path in paths.items()}
    low = FunctionLandscape(lambda x: 0.01 * f.value(x), 2, name="a hundredth of it")
    (again,) = _race(low, FAR, {"Adam": PLATEAU["Adam, rate 0.01"]}, GOAL, gone, progress).values()
    flow = theory.gaussian_well_time(4.0, 4.0 - GOAL)
    law, finite = (
        "(Ei(8) - Ei(1/2)) / (2 lr), of the gradient flow",
        "steps of a finite rate instead of the flow",
    )
    return data, [
        Match(
            "steps of SGD at a rate of 1",
            flow,
            law,
            exact(took["SGD, rate 1"]),
            0.02 * flow,
            finite,
        ),
        Match(
            "steps of SGD at a rate of 0.1",
            10 * flow,
            law,
            exact(took["SGD, rate 0.1"]),
            0.002 * 10 * flow,
            finite,
        ),
        Match(
            "Adam's steps where f is a hundredth of this, over its steps here",
            1.0,
            "Kingma & Ba 2015, abstract: it is invariant to a rescaling of the gradients",
            exact((len(again) - 1) / took["Adam, rate 0.01"]),
            0.01,
            "up to its eps",
        ),
    ]


def _race(
    f: FunctionLandscape,
    start: tuple[float, float],
    specs: dict[str, str],
    goal: float,
    measure: Callable[[Tensor], Tensor],
    progress: Progress,
) -> dict[str, Tensor]:
    """The points (steps + 1, 2) of one run of each from ``start`` until its measure, (m, 2) ->
    (m,), is more than ``goal``.
    """
    paths: dict[str, Tensor] = {}
    for name, spec in specs.items():
        progress(name, len(paths), len(specs))
        X = torch.tensor([start], dtype=torch.float64, device="cpu")
        ensemble, path = Ensemble(X, maker(spec), f.many().gradients, f.value), [X]
        while float(measure(path[-1])) <= goal and len(path) <= LIMIT:
            ensemble.step()
            path.append(ensemble.points.clone())
        paths[name] = torch.cat(path)
    return paths


def _data(
    f: FunctionLandscape,
    paths: dict[str, Tensor],
    low: tuple[float, float],
    high: tuple[float, float],
    goal: float,
) -> dict[str, object]:
    """What the figure draws: the paths, and f on the rectangle from ``low`` to ``high``."""
    xs, ys = (
        torch.linspace(a, b, 81, dtype=torch.float64, device="cpu")
        for a, b in zip(low, high, strict=True)
    )
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="ij"), dim=-1)
    return {"paths": paths, "xs": xs, "ys": ys, "values": f.value(grid), "goal": goal}
