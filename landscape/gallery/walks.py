"""The principal axes of a random walk, which look like those of training."""

import math

import torch

from landscape.core import Progress
from landscape.gallery import Computed, Match, mean

STEPS, DIM, WALKS = 1_000, 4_000, 8


def random_walk(progress: Progress) -> Computed:
    """Shares of variance of the first axes; the projections are cosines, whatever the walk."""
    generator = torch.Generator("cpu").manual_seed(0)
    shares = []
    first = torch.empty(0, dtype=torch.float32, device="cpu")
    for walk in range(WALKS):
        progress("walks", walk, WALKS)
        X = torch.randn(STEPS, DIM, generator=generator, dtype=torch.float64, device="cpu").cumsum(
            0
        )
        X = X - X.mean(0)
        sizes, vectors = torch.linalg.eigh(X @ X.T)
        shares.append((sizes.flip(0) / sizes.sum())[:8])
        if walk == 0:
            first = vectors.flip(1)[:, :4] * sizes.flip(0)[:4].sqrt()
    table = torch.stack(shares)
    data = {"projections": first, "shares": table.mean(0), "errors": table.std(0) / WALKS**0.5}
    return data, [
        Match(
            "share of the first axis",
            6 / math.pi**2,
            "Antognini & Sohl-Dickstein 2018: 6 / (pi k)^2 for axis k",
            mean(table[:, 0].tolist()),
            0.006,
            "the limit of many dimensions and steps",
        ),
        Match(
            "share of the second axis",
            1.5 / math.pi**2,
            "the same for k = 2",
            mean(table[:, 1].tolist()),
            0.003,
        ),
    ]
