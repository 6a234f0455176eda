"""Values of a landscape on a line or a plane through a point.

x: (n,), the centre; directions: k of them, each (n,), as used, k = 1 (u) or 2 (u and v); a: (r,),
the steps, the same along each; values: (r,) or (r, r), values[i] = f(x + a[i] u), values[i, j] =
f(x + a[i] u + a[j] v).
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from landscape.core import Landscape, Progress, silent
from landscape.errors import memory_is_full
from landscape.landscapes import metrics as cells
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.metrics import Cells, Metric
from landscape.progress import watched
from landscape.results import Provenance, large, provenance
from landscape.specs import whole
from landscape.surfaces.planes import Directions, Plane, Trajectory, plane, trajectories
from landscape.surfaces.result import Surface
from landscape.surfaces.walks import Walk, project, with_spectra

# Seconds between two calls of ``keep``.
EVERY = 5.0

Places = tuple[Tensor, ...]


class AnotherPlane(ValueError):  # noqa: N818  # what it is about
    """The known surface is of another landscape, centre or plane."""


@owned()
@watched
def surface(  # noqa: PLR0913
    f: Landscape,
    x: Tensor | Sequence[float],
    directions: Directions | Plane = "random",
    normalize: str | None = "filter",
    span: float | tuple[float, float] = 1.0,
    resolution: int = 51,
    *,
    metrics: Iterable[str | Metric] | Mapping[str, str | Metric] = (),
    batch_statistics: bool = False,
    trajectory: Trajectory = None,
    spectra: int = 0,
    known: Surface | None = None,
    seed: int = 0,
    keep: Callable[[Surface], None] | None = None,
    progress: Progress = silent,
) -> Surface:
    """The values of f on a plane or line through x (n,).

    Args:
        f: the landscape.
        x: the centre.
        directions: "random", "eigen", "pca", or tensors (n,), one for a line, two for a plane, as
            for ``ls.surfaces.plane``; or what that function made: it has further choices.
        normalize: "filter", "layer" or None, as for ``ls.surfaces.plane``; a plane has been
            normalised already.
        span: the steps go from -span to span, or from the first to the second of two numbers.
        resolution: r, the steps each way; an odd number has the centre among them.
        metrics: measured beside f in every cell: "accuracy", "gradient-norm", or functions, alone
            or in a dict from names. Of a model a function of (output, target), the mean over a
            batch; it is averaged over all samples. Of a formula a function of points (..., n) ->
            (...).
        batch_statistics: measure BatchNorm's running statistics anew in every cell, one more pass
            over the data each.
        trajectory: points (t, n) to project on the plane, or several such trajectories by name.
        spectra: eigenvalues of each end of the Hessian's spectrum computed at every point of the
            trajectories.
        known: an earlier surface with the same landscape, centre and directions, whole or
            interrupted, whose cells are not computed again.
        seed: of the directions.
        keep: called with the surface so far every five seconds, and when the computation is
            interrupted: pass it as ``known``.
        progress: called with the cells done.

    Raises:
        TypeError, ValueError: an argument is out of range, or ``known`` or the plane given is of
            another centre.

    Cost: one evaluation a cell, r^k in all less those known, and two a point of a trajectory; at
    most 64 MiB of points, or one, at once, of a model at most 64 points.

    Examples:
        >>> import landscape as ls
        >>> f = ls.FunctionLandscape(lambda x: (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, dim=2)
        >>> plane = ls.surface(f, [0.0, 0.0], span=1.0, resolution=5)
        >>> plane.values.shape
        torch.Size([5, 5])
    """
    low, high = _ends(span)
    whole(2, resolution=resolution)
    x = _centre(f, x)
    paths = trajectories(x, trajectory)
    named = cells.metrics(metrics)
    if not isinstance(directions, Plane):
        directions = plane(f, x, directions, normalize, trajectory=paths, seed=seed)
    elif not torch.equal(directions.x, x):
        raise ValueError("the plane goes through another point than x: make it at x.")
    measure, size = cells.evaluator(f, named, batch_statistics=batch_statistics)
    walks = _walks(f, measure, size, directions, paths, spectra, seed, progress)
    first = next(iter(walks.values()), None)
    shape = (resolution,) * len(directions.directions)
    blank = Surface(
        x=directions.x,
        directions=directions.directions,
        steps=torch.linspace(low, high, resolution, dtype=x.dtype, device=x.device),
        values=large.empty(shape, x),
        chosen=directions.chosen,
        normalize=directions.normalize,
        reused=0,
        trajectory=None if first is None else first.where,
        outside=None if first is None else first.outside,
        metrics={key: large.empty(shape, x) for key in named},
        walks=walks,
        batch_statistics=batch_statistics,
        done=torch.zeros(shape, dtype=torch.bool, device=x.device),
        provenance=provenance(
            f,
            directions.x,
            seed,
            directions=directions.chosen,
            normalize=directions.normalize,
            span=high if low == -high else [low, high],
            resolution=resolution,
            biases=directions.biases,
        ),
    )
    started = blank if known is None else _reuse(blank, directions, known, measure)
    return replace(_fill(started, directions, measure, size, keep, progress), done=None)


def _centre(f: Landscape, x: Tensor | Sequence[float]) -> Tensor:
    x = f.locate(x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x has values that are not finite: pass the centre of the surface.")
    return x


def _ends(span: float | tuple[float, float]) -> tuple[float, float]:
    """The first and the last step."""
    pair = tuple(span) if isinstance(span, tuple | list) else ()
    if not pair and isinstance(span, int | float) and 0 < span < math.inf:
        return -float(span), float(span)
    numbers = len(pair) == 2 and all(isinstance(s, int | float) for s in pair)
    if numbers and -math.inf < pair[0] < pair[1] < math.inf:
        return float(pair[0]), float(pair[1])
    raise ValueError(
        f"span must be a positive number, or two numbers of which the second is larger, got {span}."
    )


def _walks(
    f: Landscape,
    measure: Cells,
    size: int,
    plane: Plane,
    paths: dict[str, Tensor],
    spectra: int,
    seed: int,
    progress: Progress,
) -> dict[str, Walk]:
    """The trajectories on the plane, with the spectra at their points where these are asked for."""
    walks = {}
    for name, points in paths.items():
        walk = project(measure, size, plane.x, plane.directions, points)
        walks[name] = with_spectra(f, walk, points, spectra, seed, progress) if spectra else walk
    return walks


def _alike(a: Provenance, b: Provenance) -> bool:
    """Whether both are of one landscape, as far as they say: a formula has no hash unless a command
    gave it one.
    """
    same_model = a.model_hash == b.model_hash or "" in (a.model_hash, b.model_hash)
    return same_model and (a.data_hash, a.dtype) == (b.data_hash, b.dtype)


def _reuse(blank: Surface, plane: Plane, known: Surface, measure: Cells) -> Surface:
    """The blank surface with the known cells filled in."""
    if not set(blank.metrics) <= set(known.metrics):
        return blank
    same = blank.batch_statistics == known.batch_statistics
    before = Plane(known.x, known.directions, known.chosen, known.normalize)
    if not same or not _alike(blank.provenance, known.provenance) or not plane.equal(before):
        raise AnotherPlane(
            "the known surface is of another landscape, centre or plane: compute this one afresh."
        )
    new, old = _in_common(blank, known)
    if not len(new[0]):
        return blank
    # functions have no hash: one known cell is seen again
    again = measure(plane.points(blank.steps, tuple(i[:1] for i in new)))
    filled = {}
    for key, one in again.items():
        values = (known.values if key == "loss" else known.metrics[key]).to(blank.values)[old]
        if not torch.allclose(values[:1], one, rtol=1e-4, atol=1e-6, equal_nan=True):
            raise AnotherPlane(
                f"the {key} of the known surface is {float(values[0]):.6g} where it is "
                f"{float(one):.6g} here."
            )
        filled[key] = torch.full_like(blank.values, torch.nan)
        filled[key][new] = values
    done = torch.zeros_like(blank.values, dtype=torch.bool)
    done[new] = True
    # what an interrupted computation has done is its own
    reused = int(done.sum()) if known.done is None else known.reused
    return replace(blank, values=filled.pop("loss"), metrics=filled, done=done, reused=reused)


def _in_common(blank: Surface, known: Surface) -> tuple[Places, Places]:
    """The cells that the known surface has computed: their places in the blank one, and in the
    known one.
    """
    near = 4 * torch.finfo(blank.x.dtype).eps * float(blank.steps.abs().max())
    close = (blank.steps[:, None] - known.steps.to(blank.steps)[None, :]).abs() <= near
    here, there = close.any(dim=1).nonzero()[:, 0], close.int().argmax(dim=1)
    k = len(blank.directions)
    new = torch.meshgrid(*[here] * k, indexing="ij")
    old = torch.meshgrid(*[there[here]] * k, indexing="ij")
    finished = torch.ones_like(known.values, dtype=torch.bool) if known.done is None else known.done
    ready = finished.to(blank.x.device)[old]
    return tuple(i[ready] for i in new), tuple(i[ready] for i in old)


def _fill(
    started: Surface,
    plane: Plane,
    measure: Cells,
    size: int,
    keep: Callable[[Surface], None] | None,
    progress: Progress,
) -> Surface:
    """The surface with all its cells computed, in place."""
    assert started.done is not None
    done = started.done.reshape(-1)
    shape, total = started.done.shape, len(done)
    last, pause = time.monotonic(), EVERY
    try:
        for start in range(0, total, size):
            progress("surface", start, total)
            cells = (~done[start : start + size]).nonzero()[:, 0] + start
            if not len(cells):
                continue
            where = torch.unravel_index(cells, shape)
            for key, values in _measured(measure, plane, started.steps, where).items():
                target = started.values if key == "loss" else started.metrics[key]
                target[where] = values
                large.release(target)
            done[cells] = True
            if keep is not None and time.monotonic() - last > pause:
                begun = time.monotonic()
                keep(started)
                last = time.monotonic()
                pause = max(EVERY, 20 * (last - begun))
    except BaseException:
        if keep is not None:
            keep(started)
        raise
    progress("surface", total, total)
    return started


def _measured(measure: Cells, plane: Plane, steps: Tensor, where: Places) -> dict[str, Tensor]:
    """The numbers of some cells, in two halves where the memory does not hold them at once."""
    count = len(where[0])
    try:
        return measure(plane.points(steps, where))
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if count < 2 or not memory_is_full(error):
            raise
    halves = [
        _measured(measure, plane, steps, tuple(i[part] for i in where))
        for part in (slice(count // 2), slice(count // 2, None))
    ]
    return {key: torch.cat([half[key] for half in halves]) for key in halves[0]}
