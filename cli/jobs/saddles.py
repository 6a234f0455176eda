"""From the options of `landscape saddles` to a stored search, census or path."""

import time
from dataclasses import replace
from functools import partial

import click
from torch import Tensor

import landscape as ls
from landscape import loading
from landscape.core import Progress
from landscape.inventory.census import Census
from landscape.inventory.networks import NetworkCensus
from landscape.landscapes.formula import FunctionLandscape, require_formula
from landscape.landscapes.grid import Grid
from landscape.landscapes.model import require_model
from landscape.loading import point as points
from landscape.paths.minimum_energy import EnergyPath
from landscape.points.reports import SearchReport
from landscape.results import provenance

from .. import given, runs, screens
from ..errors import OneLine
from ..runs import Run
from . import problem

ALONG_PATHS, A_PATH = 360, 10  # starts of a network's census, and how many on one training path
FOLLOWING = "eigenvector-following"
Found = Census | NetworkCensus


def find(run: Run, options: given.Find) -> SearchReport:
    """One search, from a start or from a random point."""
    if options["start"] is not None and options["random"]:
        raise OneLine(
            "--start and --random are two ways to say where the search begins: pass one of them.", 2
        )
    if options["index"] is not None and options["method"] not in (None, FOLLOWING):
        raise OneLine(
            f"--index is what --method {FOLLOWING} follows; {options['method']} takes none.", 2
        )

    def work(bar: Progress) -> SearchReport:
        with problem.loaded(options) as loaded:
            return _searched(loaded, options, bar)

    return run.finished(SearchReport) or problem.store(run, work)


def _searched(loaded: loading.Problem, options: given.Find, bar: Progress) -> SearchReport:
    begun, seed, f = time.perf_counter(), options["seed"], loaded.landscape
    start, words = _start(loaded, options)
    found = ls.find_stationary(
        f,
        start,
        options["method"] or ("newton-mr" if options["index"] is None else FOLLOWING),
        index=_index(loaded, start, options["index"]),
        tol=options["tol"] or 0.0,
        max_products=options["max_products"],
        seed=seed,
        progress=bar,
    )
    seconds = time.perf_counter() - begun
    return SearchReport(f.dim, words, found, seconds, provenance=provenance(f, None, seed))


def census(run: Run, options: given.Census) -> Found:
    """A census; a stored one of a formula with fewer starts is taken further by --resume."""
    kinds: tuple[type[Found], ...] = (Census, NetworkCensus)
    known, done = run.earlier(
        kinds,
        frozenset({"starts"}),
        lambda stored: isinstance(stored, NetworkCensus) or stored.starts >= options["starts"],
    )
    if done and known is not None:
        return known

    def work(bar: Progress) -> Found:
        with problem.loaded(options) as loaded:
            if loaded.landscape.layout:
                return _of_network(run, loaded, options, known, bar)
            return _of_formula(run, loaded, options, known, bar)

    return problem.store(run, work, frozenset({"starts"}))


def _of_network(
    run: Run, loaded: loading.Problem, options: given.Census, known: Found | None, bar: Progress
) -> NetworkCensus:
    """From points along training paths, ten a path."""
    source, seed = run.ctx.get_parameter_source("starts"), options["seed"]
    chosen = source is not click.core.ParameterSource.DEFAULT
    starts = options["starts"] if chosen else ALONG_PATHS
    f = require_model(loaded.landscape, f"{loaded.name} has no data to train on.")
    bar("training paths", 0, None)
    count, each = -(-starts // A_PATH), min(A_PATH, starts)
    paths = ls.inventory.training_paths(f, runs=count, points=each, seed=seed)
    done = known if isinstance(known, NetworkCensus) else None
    return ls.inventory.critical_points(
        f, paths, seed=seed, known=done, keep=run.keep, progress=bar
    )


def _of_formula(
    run: Run, loaded: loading.Problem, options: given.Census, known: Found | None, bar: Progress
) -> Census:
    f = require_formula(loaded.landscape, "", FunctionLandscape)
    done = known if isinstance(known, Census) else None
    if done is not None and not _same(done, loaded):
        why = "holds a census of another landscape: it has changed since"
        raise OneLine(f"{run.target} {why}. Pass --force.", 2)
    found = ls.census(
        f,
        options["starts"],
        options["seed"],
        tolerance=options["tolerance"],
        known=done,
        device=loading.device(options["device"]),
        keep=run.keep,
        progress=bar,
    )
    bar("minima", 0, None)
    found = replace(found, picture=_picture(f, found), tree=ls.paths.disconnectivity(f, found))
    notes = [note for note in loaded.notes if note not in found.reasons]
    return replace(found, reasons=[*found.reasons, *notes])


def _picture(f: FunctionLandscape, found: Census) -> Grid | None:
    """Values for the figure of a census, where there can be one."""
    flat = f.dim <= 2 and not isinstance(f.domain, ls.Sphere)
    return ls.inventory.picture(f, found) if flat else None


def path(run: Run, options: given.Path) -> EnergyPath:
    """A path between two points, or between two minima of a stored census."""
    if options["origin"] == options["goal"]:
        raise OneLine(f"--from and --to are the same point, {options['goal']}.", 2)
    if (stored := run.finished(EnergyPath)) is not None:
        return stored
    ends = {"--from": options["origin"], "--to": options["goal"]}
    known = None if options["census"] is None else _census(options["census"])
    numbers = [] if known is None else [_number(known, *end) for end in ends.items()]

    def work(bar: Progress) -> EnergyPath:
        with problem.loaded(options) as loaded:
            f = loaded.landscape
            if known is None:
                a, b = (points.read(text, f, option) for option, text in ends.items())
            else:
                _require_same(known, numbers, loaded, str(options["census"]))
                a, b = (known.points[i].x.to(f.device, f.dtype) for i in numbers)
            return _between(loaded, a, b, options, bar)

    return problem.store(run, work)


def _between(
    loaded: loading.Problem, a: Tensor, b: Tensor, options: given.Path, bar: Progress
) -> EnergyPath:
    path = partial(ls.minimum_energy_path, loaded.landscape, a, b, progress=bar)
    if options["images"] is not None:
        path = partial(path, images=options["images"])
    if options["tol"] is not None:
        path = partial(path, tol=options["tol"])
    if options["max_steps"] is not None:
        path = partial(path, max_steps=options["max_steps"])
    found = path(seed=options["seed"])
    return replace(found, reasons=[*found.reasons, *loaded.notes])


def _start(loaded: loading.Problem, options: given.Find) -> tuple[Tensor | None, str]:
    """Where the search begins, and in words."""
    f = loaded.landscape
    if options["start"] is not None:
        return points.read(options["start"], f, "--start"), options["start"]
    if not f.layout:
        return points.draw(f, options["seed"]), f"a random point of seed {options['seed']}"
    if options["random"]:
        raise OneLine(
            f"--random draws from a formula's domain; {loaded.name} is a model, whose parameters "
            "are the start.",
            2,
        )
    return f.locate(None), "the model's parameters"


def _index(loaded: loading.Problem, start: Tensor | None, index: int | None) -> int | None:
    if index is None or start is None:
        return index
    f = loaded.landscape
    most = f.dim - f.trivial_directions(start).shape[1]
    if index > most:
        raise OneLine(
            f"--index {index} is out of range: in {loaded.name} an index is at most {most}.", 2
        )
    return index


def _census(run: str) -> Census:
    found = runs.load(run)
    if not isinstance(found, Census):
        raise OneLine(
            f"{run} holds a {type(found).__name__}, and --census needs what `landscape saddles "
            "census` made.",
            2,
        )
    return found


def _number(census: Census, option: str, text: str) -> int:
    """The position in the census of one of its minima."""
    minima = [i for i, point in enumerate(census.points) if point.kind == "minimum"]
    more = ", ..." * (len(minima) > 20)
    listed = f"its minima are {', '.join(map(str, minima[:20])) or 'none'}{more}"
    if not text.isascii() or not text.isdigit() or int(text) >= len(census.points):
        raise OneLine(f"{option} {text!r} is no number of a point of the census; {listed}.", 2)
    if int(text) not in minima:
        kind = census.points[int(text)].kind
        raise OneLine(f"{option} {text}: that point of the census is a {kind}; {listed}.", 2)
    return int(text)


def _same(census: Census, loaded: loading.Problem) -> bool:
    """Whether the census is of this very landscape, as far as it says."""
    mark = loaded.fingerprint or loaded.landscape.fingerprint()[0]
    return census.provenance.model_hash in ("", mark)


def _require_same(census: Census, numbers: list[int], loaded: loading.Problem, run: str) -> None:
    """A census of this landscape; one that may have changed since is told where the points of
    these numbers are minima all the same.
    """
    f = loaded.landscape
    if census.dim != f.dim:
        raise OneLine(
            f"{run} is a census in {census.dim} dimensions, and {loaded.name} has {f.dim}.", 2
        )
    if _same(census, loaded):
        return
    for i in numbers:
        kind = ls.classify(f, census.points[i].x.to(f.device, f.dtype)).kind
        if kind != "minimum":
            raise OneLine(
                f"{run} is a census of another landscape: its point {i}, a minimum there, is "
                f"{kind} in {loaded.name}. Make a census of {loaded.name} first.",
                2,
            )
    screens.say(
        f"Note: {run} is a census of another landscape, or {loaded.name} has changed since.",
        err=True,
    )
