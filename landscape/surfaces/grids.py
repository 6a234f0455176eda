"""Values of a landscape on a plane through a point, and whether that picture is right.

x: (n,), the centre; u, v: (n,), the directions as used; a, b: (r,), the steps along them; values[i, j] = f(x + a[i] u + b[j] v).
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.hessian import Hessian
from landscape.linalg.lanczos import eigsh
from landscape.model import ModelLandscape
from landscape.provenance import provenance
from landscape.results import Provenance, result, save
from landscape.surfaces.directions import drawn, eigenvectors, normalised, principal_axes

BUDGET = 2**26  # bytes of points evaluated at once
CHOICES = ("random", "eigen", "pca")


@result
@dataclass(frozen=True)
class Surface:
    """A landscape on the plane x + a u + b v. Cells that are not finite are kept as they came."""

    x: Tensor  # (n,), the centre
    directions: tuple[Tensor, Tensor]  # u and v, each (n,), as used
    steps: Tensor  # (r,): a and b alike
    values: Tensor  # (r, r): values[i, j] = f(x + steps[i] u + steps[j] v)
    chosen: str  # how the directions were chosen: random, eigen, pca or given
    normalize: str | None  # how they were normalised: filter, layer, unit or not at all
    reused: int  # cells taken from a coarser surface
    trajectory: Tensor | None  # (t, 2), the trajectory's coordinates on the plane
    outside: Tensor | None  # (t,), the share of each point's distance from x that is outside the plane
    provenance: Provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store everything in ``folder``; ``landscape.load`` reads it."""
        return save(self, folder)


def surface(
    f: Landscape,
    x: Tensor,
    directions: str | tuple[Tensor, Tensor] = "random",
    normalize: str | None = "filter",
    span: float = 1.0,
    resolution: int = 51,
    *,
    biases: bool = False,
    trajectory: Tensor | None = None,
    known: Surface | None = None,
    seed: int = 0,
    name: str | None = None,
    config: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> Surface:
    """The values of f on a plane through x (n,).

    Args:
        directions: "random", Gaussian; "eigen", eigenvectors of the largest and of the smallest eigenvalue; "pca", the principal
            axes of ``trajectory`` about x; or two tensors (n,), which are normalised but not made orthogonal.
        normalize: "filter", "layer" or None for drawn and given directions, see ``directions.normalised``; those of "eigen" and
            "pca" have unit length always, for rescaled filters would be no eigenvectors. A formula's get unit length.
        span: the grid's steps go from -span to span.
        resolution: r, the steps each way; an odd number has the centre among them.
        biases: move biases and the parameters of normalisation layers too, which "filter" and "layer" hold otherwise.
        trajectory: points (t, n) to project on the plane.
        known: an earlier surface with the same landscape, centre and directions, whose cells are not computed again.
        seed: of the directions.
        name, config: kept in the provenance; by default the landscape's name and the options above.
        progress: called with the cells done.

    Raises:
        ValueError: an argument is out of range, or ``known`` is of another plane.

    Cost: one evaluation a cell, r² in all less those known; at most 64 MiB of points, or one, at once.
    """
    if not (isinstance(span, int | float) and 0 < span < float("inf")):
        raise ValueError(f"span must be a positive number, got {span}.")
    if resolution < 2:
        raise ValueError(f"resolution must be at least 2, got {resolution}.")
    if x.ndim != 1 or len(x) != f.dim:
        raise ValueError(f"the centre has shape ({f.dim},), got {tuple(x.shape)}.")
    x = x.detach().clone()
    if trajectory is not None and (trajectory.ndim != 2 or trajectory.shape[1] != len(x)):
        raise ValueError(f"trajectory has shape (t, {len(x)}), got {tuple(trajectory.shape)}.")
    u, v, chosen, used = _plane(f, x, directions, normalize, biases, trajectory, seed)
    steps = torch.linspace(-span, span, resolution, dtype=x.dtype, device=x.device)
    config = config or {
        "directions": chosen,
        "normalize": normalize,
        "span": span,
        "resolution": resolution,
        "biases": biases,
    }
    source = provenance(f, x, name, seed, config)
    empty = torch.full((resolution, resolution), torch.nan, dtype=x.dtype, device=x.device)
    made = Surface(x, (u, v), steps, empty, chosen, used, 0, *_projected(x, u, v, trajectory), source)
    values, wanted = _reuse(f, made, known)
    _fill(f, made, values, wanted, progress)
    return replace(made, values=values, reused=int((~wanted).sum()))


def _plane(
    f: Landscape,
    x: Tensor,
    directions: str | tuple[Tensor, Tensor],
    normalize: str | None,
    biases: bool,
    trajectory: Tensor | None,
    seed: int,
) -> tuple[Tensor, Tensor, str, str | None]:
    if isinstance(directions, str):
        if directions not in CHOICES:
            raise ValueError(f"directions must be {', '.join(CHOICES)} or two tensors, got {directions!r}.")
        chosen = directions
        if chosen == "eigen":
            return *eigenvectors(f, x, seed), chosen, "unit"
        if chosen == "pca":
            return *principal_axes(x, trajectory), chosen, "unit"
        pair = drawn(f, x, seed)
    else:
        if len(directions) != 2:
            raise ValueError(f"a plane has two directions, got {len(directions)}.")
        chosen, pair = "given", (directions[0], directions[1])
    u, v = (normalised(f, x, d, normalize, biases=biases) for d in pair)
    formula = normalize is not None and not isinstance(f, ModelLandscape)
    return u, v, chosen, "unit" if formula else normalize


def _projected(x: Tensor, u: Tensor, v: Tensor, points: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Coordinates (t, 2) of points (t, n) on the plane by least squares, and the share of their distance outside it."""
    if points is None:
        return None, None
    D = points.detach().to(x.device, x.dtype) - x
    B = torch.stack([u, v], dim=1)
    where = D @ torch.linalg.pinv(B).T
    far = torch.linalg.vector_norm(D, dim=1)
    left = torch.linalg.vector_norm(D - where @ B.T, dim=1)
    return where, torch.where(far > 0, left / far.clamp_min(torch.finfo(x.dtype).tiny), 0.0)


def _reuse(f: Landscape, made: Surface, known: Surface | None) -> tuple[Tensor, Tensor]:
    """Values with the known cells filled in, and a mask of those to compute."""
    values, wanted = made.values.clone(), torch.ones_like(made.values, dtype=torch.bool)
    if known is None:
        return values, wanted
    hashes = [(p.model_hash, p.data_hash, p.dtype) for p in (made.provenance, known.provenance)]
    pairs = [(made.x, known.x), *zip(made.directions, known.directions, strict=True)]
    if hashes[0] != hashes[1] or not all(torch.equal(p, q.to(p.device)) for p, q in pairs):
        raise ValueError("the known surface is of another landscape, centre or plane: compute this one without known=.")
    near = 4 * torch.finfo(made.x.dtype).eps * float(made.steps[-1])
    old = known.steps.to(made.steps.device)
    same = (made.steps[:, None] - old[None, :]).abs() <= near
    here, there = same.any(dim=1).nonzero()[:, 0], same.int().argmax(dim=1)
    if len(here):  # a formula has no hash: one known cell is computed again
        point = made.x + made.steps[here[0]] * made.directions[0] + made.steps[here[0]] * made.directions[1]
        before, now = known.values.to(values.device)[there[here[0]], there[here[0]]], f.value(point).detach()
        if not torch.allclose(before, now, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise ValueError(f"the known surface has {float(before):.6g} where this landscape is {float(now):.6g}.")
    values[here[:, None], here] = known.values.to(values.device)[there[here][:, None], there[here]]
    wanted[here[:, None], here] = False
    return values, wanted


def _fill(f: Landscape, made: Surface, values: Tensor, wanted: Tensor, progress: Progress) -> None:
    cells, (u, v) = wanted.nonzero(), made.directions
    size = max(1, BUDGET // (len(made.x) * made.x.element_size()))
    for start in range(0, len(cells), size):
        progress("surface", start, len(cells))
        i, j = cells[start : start + size].T
        points = made.x + made.steps[i, None] * u + made.steps[j, None] * v
        values[i, j] = f.value(points).detach()
    progress("surface", len(cells), len(cells))


@result
@dataclass(frozen=True)
class PictureCheck:
    """How far a surface can be trusted about its centre, and what it cannot show."""

    measured: Tensor  # (2,), second derivatives of f along u and v at the centre, from values
    predicted: Tensor  # (2,), u'Hu and v'Hv
    error: Tensor  # (2,), how far two steps of the differences disagree
    mass: float  # share of the |eigenvalues| looked at that lies in the plane
    negative: float  # sum of the |negative eigenvalues| looked at
    negative_inside: float  # how much of it lies in the plane
    eigenvalues: Tensor  # (k,), those looked at, of both ends


def check_picture(f: Landscape, picture: Surface, *, ends: int = 5, seed: int = 0) -> PictureCheck:
    """Whether the picture's curvature at its centre is the Hessian's, and how much of the spectrum its plane misses.

    Args:
        ends: eigenvalues computed at each end of the spectrum.

    Cost: 2 products, an ``eigsh``, and about 100 evaluations. The second derivatives are five-point central differences at steps
    halved from a quarter of the span; the pair of steps that agree best is taken, and their disagreement is ``error``.
    """
    H, V = Hessian(f, picture.x), torch.stack(picture.directions, dim=1)
    predicted = (V * (H @ V)).sum(dim=0)
    found = [_second(f, picture.x, d, float(picture.steps[-1])) for d in picture.directions]
    pairs = eigsh(H, largest=ends, smallest=ends, seed=seed)
    values, vectors = pairs.values.to(V.device, V.dtype), pairs.vectors.to(V.device, V.dtype)
    U, sizes, _ = torch.linalg.svd(V, full_matrices=False)
    inside = (U[:, sizes > 1e-6 * sizes.max()].T @ vectors).square().sum(dim=0)
    total, negative = values.abs(), values.clamp(max=0).abs()
    return PictureCheck(
        measured=torch.stack([second for second, _ in found]),
        predicted=predicted,
        error=torch.stack([error for _, error in found]),
        mass=float((total * inside).sum() / total.sum()) if bool(total.sum() > 0) else 0.0,
        negative=float(negative.sum()),
        negative_inside=float((negative * inside).sum()),
        eigenvalues=values,
    )


def _second(f: Landscape, x: Tensor, d: Tensor, span: float) -> tuple[Tensor, Tensor]:
    """The second derivative along d and the disagreement of the two steps it comes from, both ()."""
    stencil = torch.tensor([-1.0, 16.0, -30.0, 16.0, -1.0], dtype=torch.float64, device=x.device) / 12
    where = torch.arange(-2, 3, dtype=x.dtype, device=x.device)
    steps = [span / 2**k for k in range(2, 12)]
    seconds = torch.stack([f.value(x + h * where[:, None] * d).double() @ stencil / h**2 for h in steps])
    apart = (seconds[1:] - seconds[:-1]).abs().nan_to_num(nan=torch.inf)
    best = apart.argmin()
    return seconds[1:][best].to(x.dtype), apart[best].to(x.dtype)
