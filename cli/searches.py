"""From the options of `landscape saddles` to a stored search, census or path."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

import landscape as ls
from landscape import loading
from landscape.inventory.census import Census
from landscape.inventory.networks import NetworkCensus
from landscape.landscapes.formula import FunctionLandscape, require_formula
from landscape.landscapes.model import require_model
from landscape.loading import point as points
from landscape.points.reports import SearchReport
from landscape.results import provenance

from . import problems, runs
from .errors import OneLine

ALONG_PATHS, A_PATH = 360, 10  # starts of a network's census, and how many of them on one training path
FOLLOWING = "eigenvector-following"


def find(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> SearchReport:
    """One search, from a start or from a random point."""
    if options["start"] is not None and options["random"]:
        raise OneLine("--start and --random are two ways to say where the search begins: pass one of them.", 2)
    if options["index"] is not None and options["method"] not in (None, FOLLOWING):
        raise OneLine(f"--index is what --method {FOLLOWING} follows; {options['method']} takes none.", 2)
    if resume and (stored := runs.finished(target, SearchReport, ctx)) is not None:
        return stored

    def work(bar: Any) -> SearchReport:
        begun, seed = time.perf_counter(), options["seed"]
        with problems.loaded(options) as problem:
            f = problem.landscape
            start, words = _start(problem, options)
            given = {k: options[k] for k in ("tol", "max_products") if options[k] is not None}
            index = _index(problem, start, options["index"])
            found = ls.find_stationary(f, start, _method(options), index=index, seed=seed, progress=bar, **given)
            seconds = time.perf_counter() - begun
            return SearchReport(f.dim, words, found, seconds, provenance=provenance(f, None, seed))

    return problems.store(ctx, target, work)


def census(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> Census | NetworkCensus:
    """A census; a stored one of a formula with fewer starts is taken further by --resume."""
    stored = runs.stored(target, object) if resume else None
    if isinstance(stored, NetworkCensus):
        return runs.finished(target, NetworkCensus, ctx) or stored
    begun = runs.kept(target, object, ctx, "starts") if resume else None
    known = begun if isinstance(begun, Census) else runs.stored(target, Census) if resume else None
    if begun is None and known is not None and known.starts >= options["starts"]:
        return runs.finished(target, Census, ctx) or known
    changed = [] if known is None else [k for k in runs.differing(known, ctx) if k != "starts"]
    if changed:
        raise OneLine(
            f"{target} holds a census with another {', '.join(changed)}, which more starts cannot extend: pass --force, or another --out.",
            2,
        )

    def work(bar: Any) -> Census | NetworkCensus:
        with problems.loaded(options) as problem:
            return taken(problem, bar)

    def taken(problem: loading.Problem, bar: Any) -> Census | NetworkCensus:
        f, keep = problem.landscape, partial(runs.keep, target)
        if f.layout:
            chosen = ctx.get_parameter_source("starts") is not click.core.ParameterSource.DEFAULT
            count = options["starts"] if chosen else ALONG_PATHS
            done = begun if isinstance(begun, NetworkCensus) else None
            model = require_model(f, f"{problem.name} has no data to train on.")
            return _of_network(model, count, options["seed"], done, keep, bar)
        return _of_formula(require_formula(f, "", FunctionLandscape), problem, bar)

    def _of_formula(f: FunctionLandscape, problem: loading.Problem, bar: Any) -> Census:
        if known is not None and not _same(known, problem):
            raise OneLine(f"{target} holds a census of another landscape: it has changed since. Pass --force.", 2)
        starts, seed = options["starts"], options["seed"]
        device = loading.device(options["device"])
        found = ls.census(
            f,
            starts,
            seed,
            tolerance=options["tolerance"],
            known=known,
            device=device,
            keep=partial(runs.keep, target),
            progress=bar,
        )
        bar("minima", 0, None)
        found = replace(found, picture=_picture(f, found), tree=ls.paths.disconnectivity(f, found))
        notes = [note for note in problem.notes if note not in found.reasons]
        return replace(found, reasons=[*found.reasons, *notes])

    return problems.store(ctx, target, work)


def _of_network(
    f: ls.ModelLandscape, starts: int, seed: int,
    known: NetworkCensus | None, keep: Callable[[NetworkCensus], None], bar: Any,
) -> NetworkCensus:  # fmt: skip
    """From points along training paths, ten a path."""
    bar("training paths", 0, None)
    paths = ls.inventory.training_paths(f, runs=-(-starts // A_PATH), points=min(A_PATH, starts), seed=seed)
    return ls.inventory.critical_points(f, paths, seed=seed, known=known, keep=keep, progress=bar)


def _picture(f: FunctionLandscape, found: Census) -> ls.inventory.Picture | None:
    """Values for the figure of a census, where there can be one."""
    return ls.inventory.picture(f, found) if f.dim <= 2 and not isinstance(f.domain, ls.Sphere) else None


def path(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> Any:
    """An EnergyPath between two points, or between two minima of a stored census."""
    if options["origin"] == options["goal"]:
        raise OneLine(f"--from and --to are the same point, {options['goal']}.", 2)
    if resume and (stored := runs.finished(target, ls.paths.EnergyPath, ctx)) is not None:
        return stored
    known = None if options["census"] is None else _census(options["census"])
    numbers = [] if known is None else [_number(known, options[key], option) for key, option in ENDS.items()]

    def work(bar: Any) -> Any:
        with problems.loaded(options) as problem:
            return found_between(problem, bar)

    def found_between(problem: loading.Problem, bar: Any) -> Any:
        f = problem.landscape
        if known is None:
            ends = [points.read(options[key], f, option) for key, option in ENDS.items()]
        else:
            _require_same(known, problem, options["census"])
            ends = [known.points[i].x.to(f.device, f.dtype) for i in numbers]
        given = {k: options[k] for k in ("images", "tol", "max_steps") if options[k] is not None}
        found = ls.minimum_energy_path(f, *ends, seed=options["seed"], progress=bar, **given)
        return replace(found, reasons=[*found.reasons, *problem.notes])

    return problems.store(ctx, target, work)


ENDS = {"origin": "--from", "goal": "--to"}


def _method(options: dict[str, Any]) -> str:
    return str(options["method"] or (FOLLOWING if options["index"] is not None else "newton-mr"))


def _start(problem: loading.Problem, options: dict[str, Any]) -> tuple[torch.Tensor | None, str]:
    """Where the search begins, and in words."""
    f = problem.landscape
    if options["start"] is not None:
        return points.read(options["start"], f, "--start"), options["start"]
    if not f.layout:
        return points.draw(f, options["seed"]), f"a random point of seed {options['seed']}"
    if options["random"]:
        raise OneLine(
            f"--random draws from a formula's domain; {problem.name} is a model, whose parameters are the start.", 2
        )
    return f.locate(None), "the model's parameters"


def _index(problem: loading.Problem, start: torch.Tensor | None, index: int | None) -> int | None:
    if index is None or start is None:
        return index
    most = problem.landscape.dim - problem.landscape.trivial_directions(start).shape[1]
    if index > most:
        raise OneLine(f"--index {index} is out of range: in {problem.name} an index is at most {most}.", 2)
    return index


def _census(run: str) -> Census:
    found = runs.load(run)
    if not isinstance(found, Census):
        raise OneLine(
            f"{run} holds a {type(found).__name__}, and --census needs what `landscape saddles census` made.", 2
        )
    return found


def _number(census: Census, text: str, option: str) -> int:
    """The position in the census of one of its minima."""
    minima = [i for i, point in enumerate(census.points) if point.kind == "minimum"]
    listed = f"its minima are {', '.join(map(str, minima[:20])) or 'none'}{', ...' * (len(minima) > 20)}"
    if not text.isascii() or not text.isdigit() or int(text) >= len(census.points):
        raise OneLine(f"{option} {text!r} is no number of a point of the census; {listed}.", 2)
    if int(text) not in minima:
        raise OneLine(f"{option} {text}: that point of the census is a {census.points[int(text)].kind}; {listed}.", 2)
    return int(text)


def _same(census: Census, problem: loading.Problem) -> bool:
    """Whether the census is of this very landscape, as far as it says."""
    return census.provenance.model_hash in ("", problem.fingerprint or problem.landscape.fingerprint()[0])


def _require_same(census: Census, problem: loading.Problem, run: str) -> None:
    """A census of this landscape; one that may have changed since is told."""
    dim = problem.landscape.dim
    if census.dim != dim:
        raise OneLine(f"{run} is a census in {census.dim} dimensions, and {problem.name} has {dim}.", 2)
    if not _same(census, problem):
        click.echo(f"Note: {run} is a census of another landscape, or {problem.name} has changed since.", err=True)
