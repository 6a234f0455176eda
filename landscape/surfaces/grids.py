"""Values of a landscape on a line or a plane through a point.

x: (n,), the centre; directions: k of them, each (n,), as used, k = 1 (u) or 2 (u and v); a: (r,),
the steps, the same along each;
values: (r,) or (r, r), values[i] = f(x + a[i] u), values[i, j] = f(x + a[i] u + a[j] v).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, silent
from landscape.landscapes import metrics as cells
from landscape.landscapes.metrics import Cells, Metric
from landscape.results import Provenance, provenance
from landscape.surfaces.directions import (
    drawn,
    eigenvectors,
    moments,
    normalised,
    principal_axes,
    require_normalisation,
)
from landscape.surfaces.result import Surface
from landscape.surfaces.walks import project, with_spectra

CHOICES = ("random", "eigen", "pca", "moments")
EVERY = 5.0  # seconds between two calls of ``keep``

Directions = str | Tensor | tuple[Tensor, ...]


class AnotherPlane(ValueError):  # noqa: N818  # what it is about
    """The known surface is of another landscape, centre or plane."""


def surface(
    f: Landscape,
    x: Tensor,
    directions: Directions = "random",
    normalize: str | None = "filter",
    span: float | tuple[float, float] = 1.0,
    resolution: int = 51,
    *,
    dimensions: int = 2,
    metrics: Iterable[str | Metric] | Mapping[str, str | Metric] = (),
    batch_statistics: bool = False,
    biases: bool = False,
    trajectory: Tensor | Mapping[str, Tensor] | None = None,
    spectra: int = 0,
    optimizer: Optimizer | Mapping[str, Any] | None = None,
    known: Surface | None = None,
    seed: int = 0,
    keep: Callable[[Surface], None] | None = None,
    progress: Progress = silent,
) -> Surface:
    """The values of f on a plane or line through x (n,).

    Args:
        directions: "random", Gaussian; "eigen", eigenvectors of the largest and of the smallest
            eigenvalue; "pca", the principal axes of ``trajectory`` about x; "moments", Adam's
            averages of gradients and of their squares in ``optimizer``; or tensors (n,), one for a
            line, two for a plane, which are normalised but not made orthogonal.
        normalize: "filter", "layer" or None for drawn and given directions, see
            ``directions.normalised``; those of "eigen" and "pca" have unit length always, for
            rescaled filters would be no eigenvectors. A formula's get unit length.
        span: the steps go from -span to span, or from the first to the second of two numbers.
        resolution: r, the steps each way; an odd number has the centre among them.
        dimensions: 2, or 1 for a line along the first of the directions; directions given as
            tensors say so themselves.
        metrics: measured beside f in every cell: "accuracy", "gradient-norm", or functions, alone
            or in a dict from names. Of a model a function of (output, target), the mean over a
            batch; it is averaged over all samples. Of a formula a function of points (..., n) ->
            (...).
        batch_statistics: measure BatchNorm's running statistics anew in every cell, one more pass
            over the data each.
        biases: move biases and the parameters of normalisation layers too, which "filter" and
            "layer" hold otherwise.
        trajectory: points (t, n) to project on the plane, or several such trajectories by name.
        spectra: eigenvalues of each end of the Hessian's spectrum computed at every point of the
            trajectories.
        optimizer: of which "moments" are the directions; its ``state_dict()`` will do.
        known: an earlier surface with the same landscape, centre and directions, whole or
            interrupted, whose cells are not computed again.
        seed: of the directions.
        keep: called with the surface so far every five seconds, and when the computation is
            interrupted: pass it as ``known``.
        progress: called with the cells done.

    Raises:
        ValueError: an argument is out of range, or ``known`` is of another plane.

    Cost: one evaluation a cell, r^k in all less those known, and two a point of a trajectory; at
    most 64 MiB of points, or one, at
        once, of a model at most 64 points.
    """
    low, high = _check(span, resolution, dimensions)
    x = f.locate(x).clone()
    paths = _paths(x, trajectory)
    named = cells.metrics(metrics)
    vectors, chosen, used = _plane(
        f, x, directions, normalize, biases, paths, optimizer, dimensions, seed
    )
    steps = torch.linspace(low, high, resolution, dtype=x.dtype, device=x.device)
    origin = provenance(
        f,
        x,
        seed,
        directions=chosen,
        normalize=normalize,
        span=high if low == -high else [low, high],
        resolution=resolution,
        biases=biases,
    )
    measure, size = cells.evaluator(f, named, batch_statistics=batch_statistics)
    shape = (resolution,) * len(vectors)
    empty = torch.full(shape, torch.nan, dtype=x.dtype, device=x.device)
    walks = {key: project(measure, size, x, vectors, points) for key, points in paths.items()}
    if spectra:
        walks = {
            key: with_spectra(f, walk, paths[key], spectra, seed, progress)
            for key, walk in walks.items()
        }
    first = next(iter(walks.values()), None)
    made = Surface(
        x,
        vectors,
        steps,
        empty,
        chosen,
        used,
        0,
        None if first is None else first.where,
        None if first is None else first.outside,
        {key: empty.clone() for key in named},
        walks,
        batch_statistics,
        torch.zeros_like(empty, dtype=torch.bool),
        provenance=origin,
    )
    made = _reuse(f, made, known, measure)
    made = _fill(made, measure, size, keep, progress)
    return replace(made, done=None)


def _check(
    span: float | tuple[float, float], resolution: int, dimensions: int
) -> tuple[float, float]:
    """The first and the last step."""
    if isinstance(span, tuple | list):
        numbers = all(isinstance(s, int | float) for s in span)
        if len(span) != 2 or not numbers or not -float("inf") < span[0] < span[1] < float("inf"):
            raise ValueError(
                "span is a positive number, or two numbers of which the second is larger, got "
                f"{span}."
            )
        low, high = float(span[0]), float(span[1])
    else:
        if not (isinstance(span, int | float) and 0 < span < float("inf")):
            raise ValueError(f"span must be a positive number, got {span}.")
        low, high = -float(span), float(span)
    if not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"resolution must be a whole number of at least 2, got {resolution}.")
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions must be 1 or 2, got {dimensions}.")
    return low, high


def _paths(x: Tensor, trajectory: Tensor | Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    if trajectory is None:
        return {}
    paths = dict(trajectory) if isinstance(trajectory, Mapping) else {"trajectory": trajectory}
    for name, points in paths.items():
        if not isinstance(points, Tensor):
            raise TypeError(
                f"{name} is a tensor (t, {len(x)}), got {type(points).__name__}: pass "
                "torch.stack(points)."
            )
        if points.ndim != 2 or points.shape[1] != len(x) or not len(points):
            raise ValueError(f"{name} has shape (t, {len(x)}), got {tuple(points.shape)}.")
    return {name: points.detach().to(x.device, x.dtype) for name, points in paths.items()}


def _plane(
    f: Landscape,
    x: Tensor,
    directions: Directions,
    normalize: str | None,
    biases: bool,
    paths: dict[str, Tensor],
    optimizer: Optimizer | Mapping[str, Any] | None,
    dimensions: int,
    seed: int,
) -> tuple[tuple[Tensor, ...], str, str | None]:
    """The directions as used, how they were chosen, and how they were normalised."""
    require_normalisation(normalize)
    if isinstance(directions, str):
        if directions not in CHOICES:
            raise ValueError(
                f"directions must be {', '.join(CHOICES)} or tensors, got {directions!r}."
            )
        chosen = directions
        if chosen == "eigen":
            return eigenvectors(f, x, seed)[:dimensions], chosen, "unit"
        if chosen == "pca":
            points = torch.cat(list(paths.values())) if paths else None
            return principal_axes(x, points, dimensions), chosen, "unit"
        if chosen == "moments" and optimizer is None:
            raise ValueError(
                'directions="moments" needs optimizer=, an optimiser or its state_dict().'
            )
        pair: tuple[Tensor, ...] = (
            moments(f, optimizer)
            if optimizer is not None and chosen == "moments"
            else drawn(f, x, seed)
        )
        pair = pair[:dimensions]
    else:
        if not isinstance(directions, Tensor | tuple | list):
            raise TypeError(
                f"directions must be {', '.join(CHOICES)} or tensors, got "
                f"{type(directions).__name__}."
            )
        pair = (directions,) if isinstance(directions, Tensor) else tuple(directions)
        if len(pair) not in (1, 2):
            raise ValueError(f"a line has one direction and a plane has two, got {len(pair)}.")
        chosen = "given"
    vectors = tuple(normalised(f, x, d, normalize, biases=biases) for d in pair)
    formula = normalize is not None and not f.layout
    return vectors, chosen, "unit" if formula else normalize


def _alike(a: Provenance, b: Provenance) -> bool:
    """Whether both are of one landscape, as far as they say: a formula has no hash unless a command
    gave it one.
    """
    same_model = a.model_hash == b.model_hash or "" in (a.model_hash, b.model_hash)
    return same_model and (a.data_hash, a.dtype) == (b.data_hash, b.dtype)


def _reuse(f: Landscape, made: Surface, known: Surface | None, measure: Cells) -> Surface:
    """The surface with the known cells filled in."""
    if known is None or not set(made.metrics) <= set(known.metrics):
        return made
    origins = made.provenance, known.provenance
    same = (
        len(made.directions) == len(known.directions)
        and made.batch_statistics == known.batch_statistics
    )
    pairs = (
        [(made.x, known.x), *zip(made.directions, known.directions, strict=True)] if same else []
    )
    if (
        not same
        or not _alike(*origins)
        or not all(torch.equal(p, q.to(p.device)) for p, q in pairs)
    ):
        raise AnotherPlane(
            "the known surface is of another landscape, centre or plane: compute this one afresh."
        )
    near = 4 * torch.finfo(made.x.dtype).eps * float(made.steps.abs().max())
    close = (made.steps[:, None] - known.steps.to(made.steps)[None, :]).abs() <= near
    here, there = close.any(dim=1).nonzero()[:, 0], close.int().argmax(dim=1)
    k = len(made.directions)
    new = torch.meshgrid(*[here] * k, indexing="ij")
    old = torch.meshgrid(*[there[here]] * k, indexing="ij")
    finished = torch.ones_like(known.values, dtype=torch.bool) if known.done is None else known.done
    ready = finished.to(made.x.device)[old]
    if not bool(ready.any()):
        return made
    new, old = tuple(i[ready] for i in new), tuple(i[ready] for i in old)
    again = measure(
        _points(made, tuple(i[:1] for i in new))
    )  # functions have no hash: one known cell is seen again
    filled = {}
    for key, one in again.items():
        before = (known.values if key == "loss" else known.metrics[key]).to(made.values)[old]
        if not torch.allclose(before[:1], one, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise AnotherPlane(
                f"the {key} of the known surface is {float(before[0]):.6g} where it is "
                f"{float(one):.6g} here."
            )
        filled[key] = torch.full_like(made.values, torch.nan)
        filled[key][new] = before
    done = torch.zeros_like(made.values, dtype=torch.bool)
    done[new] = True
    return replace(
        made, values=filled.pop("loss"), metrics=filled, done=done, reused=int(done.sum())
    )


def _points(made: Surface, where: tuple[Tensor, ...]) -> Tensor:
    """The points (m, n) of the cells at these places."""
    points = made.x.expand(len(where[0]), -1)
    for i, d in zip(where, made.directions, strict=True):
        points = points + made.steps[i, None] * d
    return points


def _fill(
    made: Surface,
    measure: Cells,
    size: int,
    keep: Callable[[Surface], None] | None,
    progress: Progress,
) -> Surface:
    """The surface with all its cells computed, in place."""
    done = made.done
    assert done is not None
    wanted = (~done).nonzero()
    last = time.monotonic()
    try:
        for start in range(0, len(wanted), size):
            progress("surface", start, len(wanted))
            where = tuple(wanted[start : start + size].T)
            for key, found in measure(_points(made, where)).items():
                (made.values if key == "loss" else made.metrics[key])[where] = found
            done[where] = True
            if keep is not None and time.monotonic() - last > EVERY:
                keep(made)
                last = time.monotonic()
    except BaseException:
        if keep is not None:
            keep(made)
        raise
    progress("surface", len(wanted), len(wanted))
    return made
