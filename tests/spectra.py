"""Spectra that are hard to find, and what ``Eigenpairs`` promises of the pairs of a diagonal operator."""

import torch

from landscape.linalg.lanczos import Stop

F = torch.float64


def uniform(n, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(n, dtype=F, generator=torch.Generator().manual_seed(n))


def check(pairs, d, largest, smallest, tol):
    """Every promise of Eigenpairs against the eigenvalues d of the diagonal operator."""
    truth = d.double().sort().values
    scale = truth.abs().max()
    eps = torch.finfo(pairs.vectors.dtype).eps
    wanted = torch.cat([truth[:smallest], truth[len(truth) - largest :]])
    assert pairs.stop is Stop.CONVERGED
    assert pairs.values.dtype == pairs.bounds.dtype == F
    assert (
        (pairs.values - wanted).abs() <= pairs.bounds + 50 * eps * scale
    ).all()  # also: each as often as it should be
    V, d = pairs.vectors.double(), d.double()
    assert ((d[:, None] * V - V * pairs.values).norm(dim=0) <= pairs.residuals).all()
    assert (pairs.residuals <= pairs.bounds).all()
    assert (pairs.bounds <= (tol + 3e-6 if eps > 1e-10 else tol) * scale).all()
    assert (V.T @ V - torch.eye(V.shape[1], dtype=F)).abs().max() <= 200 * eps
    assert pairs.negative_at_least <= int((truth < 0).sum())
    assert pairs.positive_at_least <= int((truth > 0).sum())
    assert pairs.scale <= scale * (1 + 50 * eps)


HARD = {
    "twenty copies of the largest": (torch.cat([torch.full((20,), 2.0, dtype=F), uniform(980)]), 10, 0),
    "twenty copies of the smallest": (torch.cat([torch.full((20,), -2.0, dtype=F), uniform(980)]), 0, 10),
    "twenty copies at both ends": (
        torch.cat([torch.full((20,), -2.0, dtype=F), torch.full((20,), 2.0, dtype=F), uniform(960)]), 7, 6),
    "a cluster of relative width 1e-6": (torch.cat([2 + 1e-6 * uniform(20), uniform(980)]), 25, 0),
    "clusters at both ends": (torch.cat([2 + 1e-6 * uniform(9), -3 + 1e-6 * uniform(9), uniform(980)]), 10, 10),
    "identity": (torch.ones(500, dtype=F), 10, 3),
    "zero": (torch.zeros(500, dtype=F), 10, 3),
    "two distinct values": (torch.cat([torch.ones(5, dtype=F), torch.zeros(800, dtype=F)]), 10, 5),
    "three distinct values": (torch.tensor([-1.0, 0.0, 3.0], dtype=F).repeat(100), 10, 10),
    "rank one": (torch.cat([torch.full((1,), 7.0, dtype=F), torch.zeros(999, dtype=F)]), 10, 0),
    "outliers of a net": (torch.cat([uniform(395, -1, 1), torch.tensor([5, 10, 50, 100, 1000.0], dtype=F)]), 6, 0),
    "wide, indefinite": (torch.cat([torch.logspace(-8, 3, 400, dtype=F), -torch.logspace(-8, 2, 400, dtype=F)]), 8, 8),
    "all negative": (-1 - uniform(700), 10, 2),
    "one below zero": (torch.cat([torch.tensor([-1e-3], dtype=F), torch.linspace(1, 1e3, 2000, dtype=F)]), 3, 1),
}  # fmt: skip
