"""The analysis of a real small net that is a saddle, with a slice that leaves the finite numbers."""

import dataclasses
from typing import Any

import censuses
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.points.survive import survive
from landscape.surfaces.connection import connection_plane


@pytest.fixture(scope="session")
def report() -> Any:
    """14 parameters, two batches, so that every number of a figure is there."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        x = torch.randn(40, 2, dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    f = ls.ModelLandscape(
        model, nn.functional.cross_entropy, [(x[:25], y[:25]), (x[25:], y[25:])], name="xor"
    )
    return ls.analyze(f, largest=6, smallest=5, probes=3, steps=15)


@pytest.fixture(scope="session")
def broken(report: Any) -> Any:
    """The same with three values of the first slice that are not finite."""
    values = report.slices[0].values.clone()
    values[-3:] = float("nan")
    first = dataclasses.replace(report.slices[0], values=values)
    return dataclasses.replace(report, slices=(first, *report.slices[1:]))


@pytest.fixture(scope="session")
def counted() -> Any:
    """A census of Himmelblau's function with its picture and its tree."""
    f, census = censuses.himmelblau_census()
    return dataclasses.replace(
        census,
        picture=ls.inventory.picture(f, census, 41),
        tree=ls.paths.disconnectivity(f, census),
    )


@pytest.fixture(scope="session")
def path() -> Any:
    """Over both passes of the Mueller-Brown surface."""
    f = censuses.landscape(censuses.mueller_brown)
    a, b = (torch.tensor(x, dtype=torch.float64) for x in ([-0.558, 1.442], [0.623, 0.028]))
    return ls.minimum_energy_path(f, a, b)


@pytest.fixture(scope="session")
def glasses() -> Any:
    """Stationary points of spin glasses of two to four spins."""
    return ls.inventory.count_saddles("p-spin", [2, 3, 4], 40)


@pytest.fixture(scope="session")
def widths() -> Any:
    """The ends of searches in networks of two widths."""
    x = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]

    def net(width: int) -> ls.ModelLandscape:
        with torch.random.fork_rng():
            model = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).double()
        return ls.ModelLandscape(
            model, nn.functional.mse_loss, [(x, torch.sin(2 * x))], l2={"*": 0.003}
        )

    return ls.inventory.index_by_width(net, [2, 3], runs=6, points=5, steps=100)


@pytest.fixture(scope="session")
def network() -> Any:
    """The ends of 30 searches from points along the training of 26 parameters."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        x = torch.randn(30, 3, dtype=torch.float64)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()
    y = (x[:, 0] * x[:, 1] > 0).long()
    f = ls.ModelLandscape(
        model, nn.functional.cross_entropy, [(x[:20], y[:20]), (x[20:], y[20:])], l2={"*": 0.02}
    )
    return ls.inventory.critical_points(
        f, ls.inventory.training_paths(f, runs=6, points=5, steps=100, seed=1), seed=0
    )


@pytest.fixture(scope="session")
def plane() -> Any:
    """A formula that is not finite on one side of the plane."""
    f = ls.FunctionLandscape(
        lambda x: x[..., 0].square() - (1.4 + x[..., 1]).log() + 0.1 * x[..., 2], 3, name="slope"
    )
    u, v, w = torch.eye(3, dtype=torch.float64)
    path = torch.stack([0.8 * u - 0.6 * v, 0.5 * u + 0.2 * v + 0.1 * w, 0 * u])
    beside = {"third": lambda x: x[..., 2] + x[..., 0], "slope": "gradient-norm"}
    return ls.surface(
        f,
        0 * u,
        (u, v),
        span=2.0,
        resolution=21,
        trajectory={"one": path, "two": -path},
        metrics=beside,
        spectra=1,
    )


@pytest.fixture(scope="session")
def line() -> Any:
    """The same along one direction, beyond where it is finite."""
    f = ls.FunctionLandscape(
        lambda x: x[..., 0].square() - (1.4 + x[..., 1]).log(), 2, name="slope"
    )
    v = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return ls.surface(
        f, 0 * v, v, span=(-2.0, 1.0), resolution=21, metrics={"slope": "gradient-norm"}
    )


@pytest.fixture(scope="session")
def joined() -> Any:
    """A curve round a hill, with the plane that it lies in."""
    f = ls.FunctionLandscape(lambda x: (x.square().sum(-1) - 1).square() + 0.01, 2, name="ring")
    a, b = torch.tensor([[1.0, 0.0], [-0.6, 0.8]], dtype=torch.float64)
    made = ls.paths.connect(f, a, b, steps=50, resolution=21, metrics={"slope": "gradient-norm"})
    return dataclasses.replace(made, plane=connection_plane(f, made, 15))


def trained(seed: int) -> ls.ModelLandscape:
    """A small net with two layers after some steps of training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(24, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    loss = nn.functional.cross_entropy
    return ls.ModelLandscape(model, loss, [(x[:12], y[:12]), (x[12:], y[12:])], name="xor")


@pytest.fixture(scope="session")
def changed() -> Any:
    """What rounding does to a small net."""
    return survive(trained(0), "int4")


@pytest.fixture(scope="session")
def parted() -> Any:
    """The Hessian of a small net in blocks."""
    return ls.points.blocks(trained(0))


@pytest.fixture(scope="session")
def beside() -> Any:
    """Three trainings of one net beside each other."""
    return ls.compare([trained(seed) for seed in range(3)], ["a", "b", "c"], resolution=9)


@pytest.fixture
def drawn(request: pytest.FixtureRequest) -> Any:
    """Recipe -> a result that it draws."""

    def of(name: str, broken: bool = False) -> Any:
        census = {"contours", "value_index", "hits", "disconnectivity"}
        if name == "index_loss":
            return request.getfixturevalue("network")
        if name in ("saddle_share", "minimum_chance", "index_counts", "index_energy", "complexity"):
            return request.getfixturevalue("glasses")
        if name == "index_width":
            return request.getfixturevalue("widths")
        if name.startswith("escape_") or name in ("schedule", "edge", "comparison"):
            kind = {"escape_sweep": "swept", "edge": "edged", "comparison": "compared"}.get(
                name, "left"
            )
            return request.getfixturevalue(kind)
        if name.startswith("run_") or name == "probes":
            return request.getfixturevalue("diverged" if broken else "diagnosed")
        if name in ("surface", "surface_3d", "metrics", "walks"):
            return request.getfixturevalue("plane")
        if name in ("survival", "basins", "blocks"):
            kind = {"survival": "changed", "basins": "beside", "blocks": "parted"}[name]
            return request.getfixturevalue(kind)
        if name in ("line", "connection"):
            return request.getfixturevalue("line" if name == "line" else "joined")
        which = (
            "counted"
            if name in census
            else "path"
            if name == "path_profile"
            else "broken"
            if broken
            else "report"
        )
        return request.getfixturevalue(which)

    return of


@pytest.fixture(scope="session")
def diagnosed() -> Any:
    """A run of a small net with ReLUs and sigmoids, diagnosed, with remedies tried."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 1)
        ).double()
        x = torch.randn(24, 3, dtype=torch.float64)
    y = x[:, :1].sin()
    f = ls.ModelLandscape(
        model, nn.functional.mse_loss, [(x[:12], y[:12]), (x[12:], y[12:])], name="small"
    )
    run = ls.training.continuation(f, "adam:lr=0.05", steps=30, every=3)
    found = ls.diagnose(run.trace, f=run.f, optimizer=run.optimizer, steps=5, seeds=3)
    return ls.training.DiagnosisReport(
        f.dim, "as written", found, run.trace, 1.0, provenance=run.trace.provenance
    )


@pytest.fixture(scope="session")
def diverged(diagnosed: Any) -> Any:
    """The same with records that are not finite at the end, and a remedy that diverged."""
    trace, trials = diagnosed.trace, diagnosed.diagnosis.trials
    holed = {
        k: getattr(trace, k).clone() for k in ("loss", "gradient_norm", "largest", "layer_gradient")
    }
    for values in holed.values():
        values[-2:] = float("nan")
    first = dataclasses.replace(
        trials.probes[-1],
        against_control=ls.Estimate(float("inf"), float("inf"), float("-inf"), float("inf")),
        diverged=3,
    )
    told = dataclasses.replace(
        diagnosed.diagnosis, trials=dataclasses.replace(trials, probes=[*trials.probes[:-1], first])
    )
    return dataclasses.replace(diagnosed, trace=dataclasses.replace(trace, **holed), diagnosis=told)


@pytest.fixture(scope="session")
def left() -> Any:
    """Three optimisers leaving a saddle, one too slow; two runs of each recorded, with a schedule."""
    f = ls.FunctionLandscape(
        lambda x: x[..., 0] ** 2 - x[..., 1] ** 2 + x[..., 1] ** 4, 2, name="two wells"
    )
    lines = ["sgd:lr=0.1", "adam:lr=0.02", "sgd:lr=0.001"]
    at = torch.zeros(2, dtype=torch.float64)
    return ls.escape(
        f, at, lines, 12, 150, 1e-2, ls.LeavesBall(0.6), schedule="StepLR:step_size=50", record=2
    )


@pytest.fixture(scope="session")
def swept() -> Any:
    """Two learning rates, the smaller too slow."""
    f = ls.zoo.load("strict-saddle", dim=2)
    return ls.optimizers.sweep(
        f, torch.zeros(2).double(), ["sgd:lr=0.1"], "lr", [1e-4, 0.1, 1.0], runs=9, steps=200
    )


@pytest.fixture(scope="session")
def edged() -> Any:
    """A few steps of a one-dimensional fit."""
    f = ls.FunctionLandscape(lambda x: (x[..., 0] * x[..., 1] - 1).square(), 2, name="product")
    return ls.optimizers.edge_of_stability(
        f, torch.tensor([2.0, 0.1]).double(), ["sgd:lr=0.2", "sgd:lr=0.1,momentum=0.5"], 60, 5
    )


@pytest.fixture(scope="session")
def compared() -> Any:
    """An octopus that float32 does not let go."""
    return ls.optimizers.octopus_study((2, 3, 4, 5), L=1.5, runs=3, steps=400, dtype=torch.float32)
