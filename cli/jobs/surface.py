"""From the options of `landscape surface` to a stored surface or connection."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

import landscape as ls
from landscape import files
from landscape.core import Landscape, Progress
from landscape.files.checkpoints import entry
from landscape.landscapes.metrics import NAMES, Metric, borrowed
from landscape.loading import point as points
from landscape.loading import userfiles
from landscape.paths.connect import Connection
from landscape.results import large
from landscape.surfaces.connection import connection_plane
from landscape.surfaces.directions import reach
from landscape.surfaces.grids import AnotherPlane
from landscape.surfaces.result import Surface

from .. import given, memory, screens
from ..errors import OneLine
from ..runs import Run, differing
from . import problem

EXTENDS = frozenset({"resolution", "span"})  # a finished surface is taken further in these
STATES = ("optimizer", "optimizer_state_dict", "optimizer_state")
BASE = 2**29  # bytes that any grid needs besides: points and their values, one part at a time
Directions = str | tuple[Tensor, ...]


def surface(run: Run, options: given.Surface) -> Surface:
    """A surface; with --resume the stored one, taken further or finished."""

    def enough(stored: Surface) -> bool:
        return not EXTENDS & set(differing(stored, run.ctx))

    known, done = run.earlier((Surface,), EXTENDS, enough)
    if done and known is not None:
        return known

    def work(bar: Progress) -> Surface:
        with problem.loaded(options) as loaded:
            f = loaded.landscape
            _require_memory(f, options)
            try:
                made = _surface(f, options, known, run, bar)
            except AnotherPlane as error:
                why = "holds a surface that this one cannot go on from"
                raise OneLine(f"{run.target} {why}: {error} Pass --force.", 2) from None
            if not options["check"]:
                return made
            bar("check", 0, None)
            check = ls.surfaces.check_picture(f, made, seed=options["seed"])
            return replace(made, check=check)

    return problem.store(run, work, EXTENDS)


def connection(run: Run, options: given.Surface) -> Connection:
    """A trained curve from the landscape's point to another."""
    goal = options["connect"]

    def work(bar: Progress) -> Connection:
        with problem.loaded(options) as loaded:
            return _connected(loaded.landscape, str(goal), options, bar)

    return run.finished(Connection) or problem.store(run, work)


def _connected(f: Landscape, goal: str, options: given.Surface, bar: Progress) -> Connection:
    fresh = options["batch_statistics"]
    if not fresh and borrowed(f):
        screens.say(
            "Note: BatchNorm normalises along the whole curve with the statistics of the model at "
            "hand, at the other end too; --batch-statistics measures them at every point.",
            err=True,
        )
    made = ls.paths.connect(
        f,
        problem.at(f, options),
        points.read(goal, f, "--connect"),
        kind=options["curve"],
        bends=options["bends"],
        steps=options["train_steps"],
        optimizer=options["optimizer"],
        noise=options["noise"],
        batch_statistics=fresh,
        metrics=_metrics(options["metrics"]),
        seed=options["seed"],
        progress=bar,
    )
    resolution = options["resolution"]
    plane = connection_plane(f, made, resolution, batch_statistics=fresh, progress=bar)
    return replace(made, plane=plane)


def _surface(
    f: Landscape, options: given.Surface, known: Surface | None, run: Run, bar: Progress
) -> Surface:
    x, how = problem.at(f, options), options["normalize"]
    walks = dict(_walk(spec, f) for spec in options["trajectories"])
    directions = _directions(f, x, options, bool(walks))
    state = None if options["optimizer_state"] is None else _state(options["optimizer_state"])
    plane = ls.surfaces.plane(
        f,
        x,
        directions,
        None if how == "none" or not isinstance(directions, str) else how,
        trajectory=walks or None,
        optimizer=state,
        dimensions=options["dimensions"],
        biases=options["biases"],
        seed=options["seed"],
    )
    return ls.surface(
        f,
        x,
        plane,
        span=_span(options, x, walks),
        resolution=options["resolution"],
        metrics=_metrics(options["metrics"]),
        batch_statistics=options["batch_statistics"],
        trajectory=walks or None,
        spectra=options["spectra"],
        seed=options["seed"],
        known=known,
        keep=run.keep,
        progress=bar,
    )


def _require_memory(f: Landscape, options: given.Surface) -> None:
    """Refuse a grid that does not fit: its values beyond a size lie in a file."""
    line = options["dimensions"] == 1 or len(options["toward"]) == 1
    r = options["resolution"]
    cells = r if line else r * r
    values = cells * f.dtype.itemsize * (1 + len(options["metrics"]))
    held = 3 * values if values < large.LARGE else 0
    what = f"a grid of {r:,}{'' if line else f' by {r:,}'} cells"
    memory.require(cells + held + BASE, what, "a smaller --resolution")
    if held == 0 and 3 * values > shutil.disk_usage(tempfile.gettempdir()).free:
        raise OneLine(
            f"{what} needs more than is free on the disk: pass a smaller --resolution.", 2
        )


def _directions(f: Landscape, x: Tensor, options: given.Surface, walks: bool) -> Directions:
    """The directions of the plane, by name or given by points."""
    toward, named = options["toward"], options["directions"]
    if len(toward) > 2:
        raise OneLine(
            f"--toward takes one point for a line or two for a plane, got {len(toward)}.", 2
        )
    if toward:
        return tuple(points.read(p, f, "--toward") - x for p in toward)
    if named == "pca" and not walks:
        raise OneLine(
            "--directions pca needs --trajectory: a .npy file (t, n) or a folder of checkpoints.", 2
        )
    if named == "moments" and options["optimizer_state"] is None:
        raise OneLine(
            "--directions moments needs --optimizer-state FILE, an optimiser's state_dict.", 2
        )
    return named


def _span(
    options: given.Surface, x: Tensor, walks: Mapping[str, Tensor]
) -> float | tuple[float, float]:
    span = options["span"]
    if isinstance(span, str):
        low, high = span.split(",")
        return float(low), float(high)
    if span is not None:
        return span
    along = options["directions"] == "pca" and not options["toward"]
    return reach(x, list(walks.values()), options["dimensions"]) if along else 1.0


def _walk(spec: str, f: Landscape) -> tuple[str, Tensor]:
    name, separator, path = spec.partition("=")
    if not separator:
        name, path = Path(spec).stem, spec
    return name, points.walk(path, f, "--trajectory")


def _state(spec: str) -> Mapping[str, object]:
    """An optimiser's state_dict in a file."""
    path, _, key = spec.partition(":") if not Path(spec).exists() else (spec, "", "")
    tree = files.read_tree(Path(path))
    found = entry(tree, key, Path(path)) if key else tree
    usual = tree if isinstance(tree, dict) and not key else {}
    found = next((usual[name] for name in STATES if isinstance(usual.get(name), dict)), found)
    if not isinstance(found, Mapping):
        raise OneLine(f"{spec} holds no optimiser's state, but {files.describe(found)}.", 2)
    return found


def _metrics(specs: tuple[str, ...]) -> dict[str, str | Metric]:
    """Metrics by their labels: names stay names, Python is imported."""
    metrics: dict[str, str | Metric] = {}
    for spec in specs:
        label = spec if spec in NAMES else spec.rpartition(":")[2]
        metrics[label] = _own_metric(spec) if ":" in spec else spec
    return metrics


def _own_metric(spec: str) -> Metric:
    metric, _ = userfiles.resolve(spec)
    if not callable(metric):
        raise OneLine(f"{spec} is a {type(metric).__name__}: a metric is a function.", 2)
    return metric
