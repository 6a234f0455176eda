"""Directions to look along: random, of the Hessian, of a trajectory, or given; and how long they are.

x, u, v: (n,) a point and directions in the dtype and on the device of the landscape. A parameter tensor of shape (filters, ...) has
one filter a row: an output channel of a convolution, an output unit of a linear layer. Tensors of one dimension (biases, norm layers)
have no filters.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.hessian import Hessian
from landscape.linalg.lanczos import eigsh
from landscape.model import ModelLandscape

NORMALISATIONS = ("filter", "layer", None)


def random(f: Landscape, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two directions of standard normal numbers, the same on every device."""
    children = np.random.SeedSequence(seed).spawn(2)
    seeds = [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]
    u, v = (
        torch.randn(f.dim, generator=torch.Generator("cpu").manual_seed(s), dtype=torch.float64, device="cpu").to(x)
        for s in seeds
    )
    return u, v


def eigen(f: Landscape, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Unit eigenvectors of the largest and the smallest eigenvalue of the Hessian at x."""
    pairs = eigsh(Hessian(f, x), largest=1, smallest=1, tol=1e-3, seed=seed)
    return pairs.vectors[:, -1].to(x), pairs.vectors[:, 0].to(x)


def principal(x: Tensor, trajectory: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions in which the points (m, n) of a trajectory lie farthest from x: the first two principal components about x.

    Raises:
        ValueError: fewer than two points off x, or another n.
    """
    if trajectory.ndim != 2 or trajectory.shape[1] != len(x):
        raise ValueError(f"trajectory must have shape (points, {len(x)}), got {tuple(trajectory.shape)}.")
    moves = (trajectory.to(x) - x).double()
    U, sizes, _ = torch.linalg.svd(moves @ moves.T)  # (m, m): a trajectory has far fewer points than parameters
    if len(moves) < 2 or not bool(sizes[1] > 1e-12 * sizes[0]):
        raise ValueError("the trajectory's points lie on one line through x: two principal directions need more.")
    u, v = (torch.nn.functional.normalize(moves.T @ U[:, i], dim=0).to(x) for i in range(2))
    return u, v


def normalised(f: Landscape, x: Tensor, u: Tensor, how: str | None, biases: bool) -> Tensor:
    """u at the scale of the point x.

    "filter": each filter of u gets the norm of x's own (Li et al. 2018, NeurIPS, section 4: d_ij |w_ij| / |d_ij|); tensors without
    filters are zeroed, or with ``biases`` get the norm of x's tensor as a whole. "layer": each tensor gets the norm of x's. None: as it is.
    A formula has no layers: its directions get length 1, or stay as they are with None.

    Raises:
        ValueError: what is left of u is zero.
    """
    if how is not None and not isinstance(f, ModelLandscape):
        u = u / u.double().norm().to(u)
    elif how is not None and isinstance(f, ModelLandscape):
        shapes = {name: p.shape for name, p in f.model.named_parameters()}
        u = u.clone()
        for name, where in f.layout.items():
            rows = shapes[name][0] if how == "filter" and len(shapes[name]) > 1 else 1
            scale = 0.0 if how == "filter" and len(shapes[name]) < 2 and not biases else 1.0
            u[where] = scale * _matched(u[where].reshape(rows, -1), x[where].reshape(rows, -1)).reshape(-1)
    if not bool(torch.isfinite(u).all()) or not bool(u.abs().max() > 0):
        raise ValueError(
            f"a direction is zero or not finite after normalize={how!r}: the parameters it scales with are zero, or it is. "
            "Pass normalize=None, or another direction."
        )
    return u


def _matched(d: Tensor, w: Tensor) -> Tensor:
    """The rows of d (rows, m) with the norms of the rows of w."""
    lengths = d.double().norm(dim=1, keepdim=True)
    ratios = torch.where(lengths > 0, w.double().norm(dim=1, keepdim=True) / lengths, torch.zeros_like(lengths))
    return d * ratios.to(d)


NAMED: dict[str, Callable[[Landscape, Tensor, int], tuple[Tensor, Tensor]]] = {"random": random, "eigen": eigen}
