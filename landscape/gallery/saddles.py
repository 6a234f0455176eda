"""Saddles in two variables with runs that leave them, and all stationary points of a function."""

import math

import numpy as np
import torch
from torch import Tensor

from landscape import zoo
from landscape.core import Progress
from landscape.gallery import Computed, Match, exact, mean
from landscape.inventory.census import census
from landscape.inventory.picture import picture
from landscape.landscapes.formula import FunctionLandscape
from landscape.optimizers.ensembles import Ensemble
from landscape.results import Estimate
from landscape.specs.optimizers import maker

RATE, STEPS = 0.05, 200


def saddle(progress: Progress) -> Computed:
    """x^2 - y^2: the growth a step of SGD's unstable coordinate, 1 + 2 lr."""
    f = FunctionLandscape(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, 2, name="saddle")
    generator = torch.Generator("cpu").manual_seed(0)
    angle = 2 * math.pi * torch.rand(100, generator=generator, dtype=torch.float64, device="cpu")
    X = 1e-4 * torch.stack([angle.cos(), angle.sin()], dim=1)
    X[:, 0] += 0.8  # along the ridge, where every run comes down first
    paths = {name: _run(f, X, spec, STEPS) for name, spec in _optimizers().items()}
    y = paths["SGD"][..., 1]
    growth = (y[1:60] / y[:59]).abs()
    each = growth.log().mean(0).exp().tolist()
    out = {name: float((p[..., 1].abs() > 1).any(0).double().mean()) for name, p in paths.items()}
    data = {"paths": paths, "left": out, "surface": _grid(f, 1.2), "rate": RATE}
    return data, [
        Match(
            "growth of the falling coordinate a step of SGD, 1 + 2 lr",
            1 + 2 * RATE,
            "Lee et al. 2016: x <- (1 - lr lambda) x on a quadratic",
            mean(each),
        ),
        Match(
            "share of SGD's runs that leave",
            1.0,
            "Lee et al. 2016: from almost every start",
            exact(out["SGD"]),
        ),
    ]


def _optimizers() -> dict[str, str]:
    return {
        "SGD": f"sgd:lr={RATE}",
        "momentum 0.9": f"sgd:lr={RATE / 5},momentum=0.9",
        "Adam": f"adam:lr={RATE / 2}",
    }


def monkey_saddle(progress: Progress) -> Computed:
    """x^3 - 3 x y^2: how the gradient turns about the saddle, and into which of the three valleys
    runs go.
    """
    f = FunctionLandscape(
        lambda x: x[..., 0] ** 3 - 3 * x[..., 0] * x[..., 1] ** 2, 2, name="monkey saddle"
    )
    t = 2 * math.pi * torch.arange(721, dtype=torch.float64, device="cpu") / 720
    g = f.gradient(torch.stack([t.cos(), t.sin()], dim=1))
    turn = torch.atan2(g[:, 1], g[:, 0])
    steps = torch.remainder(turn[1:] - turn[:-1] + math.pi, 2 * math.pi) - math.pi
    winding = float(steps.sum()) / (2 * math.pi)
    runs, generator = 600, torch.Generator("cpu").manual_seed(0)
    X = torch.zeros(runs, 2, dtype=torch.float64, device="cpu")
    noise = torch.randn(400, runs, 2, generator=generator, dtype=torch.float64, device="cpu")
    ensemble, slopes, path = (
        Ensemble(X, maker("sgd:lr=0.05"), f.many().gradients, f.value),
        f.many().gradients,
        [X],
    )
    step = 0

    def noisy(X: Tensor) -> Tensor:
        return slopes(X) + 0.3 * noise[step]

    ensemble.gradients = noisy
    outside = torch.zeros(runs, dtype=torch.bool, device="cpu")
    for step in range(400):  # noqa: B007  # noisy reads it
        ensemble.step()
        now = torch.where(outside[:, None], path[-1], ensemble.points)
        path.append(now)
        outside |= now.norm(dim=1) > 1.0
        ensemble.put(now)
    ends = path[-1][outside]
    valley = torch.remainder(
        torch.round((torch.atan2(ends[:, 1], ends[:, 0]) - math.pi / 3) / (2 * math.pi / 3)), 3
    )
    counts = [int((valley == k).sum()) for k in range(3)]
    share = max(counts, key=lambda c: abs(c - len(ends) / 3)) / len(ends)
    error = (2 / 9 / len(ends)) ** 0.5
    data = {
        "paths": {"SGD with noise": torch.stack(path)[:, :60]},
        "surface": _grid(f, 1.2),
        "counts": counts,
    }
    return data, [
        Match(
            "turns of the gradient about the saddle",
            -2.0,
            "an n-fold saddle has index 1 - n: Milnor 1965, Topology from the Differentiable "
            "Viewpoint, section 6",
            exact(round(winding, 9)),
        ),
        Match(
            "share of runs in each valley, the one farthest from it",
            1 / 3,
            "by symmetry",
            Estimate(share, error, share - 2 * error, share + 2 * error),
        ),
    ]


def styblinski_tang(progress: Progress) -> Computed:
    """All stationary points in two variables."""
    f = zoo.formula("styblinski-tang", dim=2)
    found = census(f, 600, 0, progress=progress)
    low = min(p.value for p in found.points)
    slope = np.array([2.0, 0.0, -16.0, 2.5])  # of (x^4 - 16 x^2 + 5 x) / 2
    least = 2 * min(np.polyval([0.5, 0.0, -8.0, 2.5, 0.0], np.roots(slope).real))
    return {"census": found, "picture": picture(f, found, 81)}, [
        Match(
            "lowest value",
            float(least),
            "closed form: twice that at the lowest root of 4 x^3 - 32 x + 5",
            exact(low),
            1e-9,
            "test-function lists print -78.33233 and, wrongly, -78.33198",
            printed=True,
        ),
        Match(
            "stationary points",
            9.0,
            "3^n, a cubic equation a coordinate",
            exact(float(len(found.points))),
        ),
    ]


def _run(f: FunctionLandscape, X: Tensor, spec: str, steps: int) -> Tensor:
    """The points (steps + 1, R, 2) of runs from the rows of X; a run that is outside stays where it
    is.
    """
    ensemble, path = Ensemble(X, maker(spec), f.many().gradients, f.value), [X]
    for _ in range(steps):
        ensemble.step()
        outside = (path[-1].abs() > 1.2).any(dim=1, keepdim=True)
        path.append(torch.where(outside, path[-1], ensemble.points))
    return torch.stack(path)


def _grid(f: FunctionLandscape, reach: float) -> dict[str, Tensor]:
    a = torch.linspace(-reach, reach, 61, dtype=torch.float64, device="cpu")
    A, B = torch.meshgrid(a, a, indexing="ij")
    return {"steps": a, "values": f.value(torch.stack([A, B], dim=-1))}
