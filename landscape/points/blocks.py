"""The Hessian layer by layer: how much of it lies within the layers' own blocks, and how it looks.

H_ij is the block of the parameters of module i against those of module j. In classifiers the blocks
on the diagonal dominate, the more the more classes there are (Dong, Zhang, Luo, Yao & Sun 2025,
arXiv:2505.02809).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import Progress, silent
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.points.budget import modules
from landscape.points.look import Look
from landscape.results import Result, provenance, result

PIXELS = 256  # of a picture, a side, at most
WIDE = 64  # columns at once


@result("hessian-blocks")
@dataclass(frozen=True, eq=False)
class Blocks(Result):
    """The Hessian of a model in blocks, a module each, exact to the rounding of its products."""

    layers: tuple[str, ...]
    sizes: tuple[int, ...]  # parameters of each
    norms: Tensor  # (L, L) float64, CPU: the Frobenius norm of each block
    picture: Tensor  # (m, m) float32, CPU: mean |H_ab| over m x m cells, parameters layer by layer
    products: int

    @property
    def diagonal_share(self) -> float:
        """The share of |H|_F^2 that lies within the layers' own blocks; NaN where H is 0."""
        squares = self.norms.square()
        return float(squares.diagonal().sum() / squares.sum())


@owned()
def blocks(
    f: ModelLandscape,
    at: Tensor | Sequence[float] | None = None,
    *,
    progress: Progress = silent,
) -> Blocks:
    """Compute the norm of every block of the Hessian, and a picture of the whole.

    Args:
        f: a model's landscape.
        at: the point (n,); None: the model's current parameters.
        progress: called with the columns done.

    Raises:
        ValueError: ``f`` is no model's landscape, or ``at`` no point of it.

    Cost: n products, 64 at a time; no more than 64 columns of H are in memory at once.
    """
    f = require_model(f, "blocks are those of a model's layers.")
    look = Look(f, at, "blocks")
    H, n, names = look.hessian, f.dim, modules(f)
    places = [_places(f, own) for own in names.values()]
    order, sizes = torch.cat(places), torch.tensor([len(p) for p in places], device="cpu")
    squares = _Tally(torch.repeat_interleave(sizes))  # its module's number for each parameter
    seen = _Tally(torch.arange(n, device="cpu") * min(n, PIXELS) // n)
    for start in range(0, n, WIDE):
        progress("columns of the Hessian", start, n)
        chosen = torch.arange(start, min(start + WIDE, n), device="cpu")
        columns = (H @ _units(order[chosen], look.x)).double().cpu()[order]
        squares.add(chosen, columns.square())
        seen.add(chosen, columns.abs())
    return Blocks(
        tuple(names),
        tuple(sizes.tolist()),
        squares.sums.sqrt(),
        seen.means().float(),
        H.products,
        provenance=provenance(f, look.x),
    )


class _Tally:
    """Sums over the cells that groups of rows and of columns make; ``group`` (n,) ascending."""

    def __init__(self, group: Tensor) -> None:
        self.group, count = group, int(group[-1]) + 1
        self.sums = torch.zeros(count, count, dtype=torch.float64, device="cpu")

    def add(self, chosen: Tensor, columns: Tensor) -> None:
        """Columns (n, k) of the matrix, ``chosen`` (k,) of all of them."""
        rows = columns.new_zeros(len(self.sums), len(chosen))
        self.sums.index_add_(1, self.group[chosen], rows.index_add_(0, self.group, columns))

    def means(self) -> Tensor:
        """The mean of each cell."""
        counts = torch.bincount(self.group).double()
        return self.sums / counts[:, None] / counts


def _places(f: ModelLandscape, own: list[str]) -> Tensor:
    """Where these parameters lie in a point."""
    spans = (f.layout[name] for name in own)
    return torch.cat([torch.arange(s.start, s.stop, device="cpu") for s in spans])


def _units(chosen: Tensor, x: Tensor) -> Tensor:
    """The unit vectors (n, k) of these coordinates, as x is."""
    V = x.new_zeros(len(x), len(chosen))
    V[chosen.to(x.device), torch.arange(len(chosen), device=x.device)] = 1
    return V
