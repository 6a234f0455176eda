"""The values of f on a grid: along a line, or over a plane."""

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.landscapes import rows
from landscape.results import Result, result


@result("census-picture")
@dataclass(frozen=True, eq=False)
class Grid(Result):
    """f on a grid, as it was computed, on the CPU: values may be NaN or infinite."""

    xs: Tensor  # (r,) places along the first direction, float64
    ys: Tensor  # (s,) along the second one; (0,) of a line
    values: Tensor  # (r, s), values[i, j] = f at xs[i], ys[j]; (r,) of a line


def values(f: Landscape, origin: Tensor, directions: Tensor, axes: list[Tensor]) -> Tensor:
    """f at ``origin`` (n,) plus all sums of steps along ``directions`` (n, k): one size an axis.

    ``axes`` (k tensors) are on the CPU, and so is the answer, float64. Cost: a value a cell.
    """
    steps = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    points = (origin.double().cpu() + steps @ directions.double().cpu().T).to(origin)
    with torch.no_grad():
        found = rows.values_in_parts(f, points.reshape(-1, f.dim))
    return found.double().cpu().reshape(steps.shape[:-1])
