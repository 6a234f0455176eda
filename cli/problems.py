"""From the options of a command to a problem, and from a problem to a result in its folder."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from landscape import loading, results
from landscape.core import Landscape
from landscape.loading import point as points

from . import config, progress, runs
from .errors import OneLine

R = TypeVar("R")


def solve(
    ctx: click.Context, target: Path, options: dict[str, Any], kind: type[R], compute: Callable[..., R], *, resume: bool
) -> R:
    """The stored result of ``kind`` with --resume where there is one, else ``compute(problem, ...)``, stored in ``target``."""
    if resume and (stored := runs.finished(target, kind, ctx)) is not None:
        return stored

    def work(bar: Any) -> R:
        problem, rest = load(options)
        with told(problem):
            return compute(problem.landscape, progress=bar, **rest)

    return store(ctx, target, work)


def store(ctx: click.Context, target: Path, work: Callable[[Any], R]) -> R:
    """The result of ``work(progress)``, stored in ``target`` with its figures."""
    settings = config.resolved(ctx)
    # what users' own code prints is no result of ours: it goes to stderr
    with redirect_stdout(sys.stderr), runs.writing(target) as folder, progress.bar() as bar:
        bar("loading", 0, None)
        with results.origin(config=settings):
            result = work(bar)
        bar("figures", 0, None)
        runs.fill(folder, result, settings, config.words(ctx))
    return result


@contextmanager
def loaded(options: dict[str, Any]) -> Iterator[loading.Problem]:
    """The landscape that the options of a command describe; results made inside say that they are about it."""
    problem = landscape(options)
    with told(problem):
        yield problem


def told(problem: loading.Problem) -> AbstractContextManager[None]:
    """Results made inside say that they are about this problem."""
    return results.origin(problem.name, notes=problem.notes, model_hash=problem.fingerprint)


def landscape(options: dict[str, Any]) -> loading.Problem:
    """The landscape that the options of a command describe; those that are not about it are left alone."""
    known = {f.name for f in fields(loading.LandscapeOptions)}
    return loading.landscape(loading.LandscapeOptions(**_chosen(options | {"model": options["landscape"]}, known)))


def at(f: Landscape, options: dict[str, Any]) -> torch.Tensor:
    """The point --at; else the model's own, or the origin of a formula."""
    if options["at"] is not None:
        return points.read(options["at"], f, "--at")
    if f.layout:
        return f.locate(None)
    return torch.zeros(f.dim, dtype=f.dtype, device=loading.device(options["device"]))


def load(options: dict[str, Any]) -> tuple[loading.Problem, dict[str, Any]]:
    """The problem that the options describe, and the options that are not about it; ``seed`` is of both."""
    known = {f.name for f in fields(loading.ProblemOptions)}
    rest = {k: v for k, v in options.items() if k not in known} | {"seed": options["seed"]}
    return loading.problem(loading.ProblemOptions(**_chosen(options, known))), rest


def _chosen(options: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Those of the options that are known, in the form that the library wants."""
    if options["checkpoint_key"] and not options["checkpoint"]:
        raise OneLine("--checkpoint-key says where in a checkpoint the weights are: pass --checkpoint FILE too.", 2)
    chosen = {k: dict(v) if k in ("settings", "l2", "l1") else v for k, v in options.items() if k in known}
    return chosen | {key: chosen[key] or None for key in ("include", "exclude")}
