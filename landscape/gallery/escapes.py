"""How optimisers leave saddles, how sharp a training run becomes, and how rare minima are."""

import math

import torch
from torch import nn

from landscape.core import Progress
from landscape.gallery import Computed, Match, exact
from landscape.inventory.counting import count_saddles
from landscape.landscapes.model import ModelLandscape
from landscape.optimizers.edge import edge_of_stability
from landscape.optimizers.studies import octopus_study
from landscape.results import Estimate


def octopus(progress: Progress) -> Computed:
    """Gradient descent and its perturbed form from saddle to saddle."""
    L = 1.5
    study = octopus_study((2, 3, 4, 5, 6), L=L, runs=20, steps=5_000, progress=progress)
    kappa = study.fits["kappa, the factor a dimension in the limit, exactly"].value
    found = study.fits["gradient descent: factor a dimension"]
    return {"study": study}, [
        Match(
            "factor of gradient descent's time a dimension",
            kappa,
            "its limit for many saddles at this rate, derived; Du et al. 2017, "
            f"theorem 4.1, prove at least 1 + L / gamma = {1 + L:g}",
            found,
            0.02 * kappa,
            "five dimensions, of which the first are below the limit's law",
        ),
    ]


def edge(progress: Progress) -> Computed:
    """Full-batch descent at two rates, and one with momentum."""
    study = edge_of_stability(
        _net(), _net().point(), EDGE, steps=4_000, every=80, progress=progress
    )
    return {"study": study}, [
        Match(
            f"late sharpness over its limit, {line}",
            1.0,
            "Cohen et al. 2021, section 3: at the limit or just above",
            Estimate(run.late, run.spread, run.late - 2 * run.spread, run.late + 2 * run.spread),
            0.02,
            "the error is the spread",
        )
        for line, run in study.runs.items()
    ]


EDGE = ["sgd:lr=0.4", "sgd:lr=0.25", "sgd:lr=0.4,momentum=0.5"]


def _net() -> ModelLandscape:
    """Two tanh layers of ten units on twenty points of a curve."""
    generator = torch.Generator("cpu").manual_seed(0)
    net = nn.Sequential(
        nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1)
    ).double()
    with torch.no_grad():
        for p in net.parameters():
            fan = p.shape[1] if p.ndim > 1 else p.shape[0]
            p.copy_(
                (
                    2 * torch.rand(p.shape, generator=generator, dtype=torch.float64, device="cpu")
                    - 1
                )
                / math.sqrt(fan)
            )
    x = torch.linspace(-1, 1, 20, dtype=torch.float64, device="cpu")[:, None]
    y = torch.sin(2 * math.pi * x) + 0.3 * torch.cos(5 * x)
    return ModelLandscape(
        net, lambda o, t: 0.5 * (o - t).square().mean(), [(x, y)], name="tanh net"
    )


def counts(progress: Progress) -> Computed:
    """Stationary points of isotropic random landscapes by index."""
    found = count_saddles("isotropic-waves", range(1, 5), 200, seed=0, progress=progress)
    matches = []
    for d in found.dimensions[1:]:
        assert d.expected is not None
        matches.append(
            Match(
                f"mean number of minima in {d.dim} variables",
                d.expected.counts[0],
                "the Kac-Rice formula; Fyodorov 2004",
                d.means[0],
            )
        )
    return {"counts": found}, [
        *matches,
        Match(
            "share of landscapes whose Euler sum is right",
            1.0,
            "Morse theory: 0 on a torus",
            exact(found[4].right),
        ),
    ]
