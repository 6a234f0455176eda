"""From the options of a command to a problem, and from a problem to a result in its folder."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from landscape import loading

from . import config, progress, runs
from .errors import OneLine

R = TypeVar("R")


def solve(
    ctx: click.Context, target: Path, options: dict[str, Any], kind: type[R], compute: Callable[..., R], *, resume: bool
) -> R:
    """The stored result of ``kind`` with --resume where there is one, else ``compute(problem, ...)``, stored in ``target``."""
    if resume and (stored := runs.finished(target, kind, ctx)) is not None:
        return stored
    settings = config.resolved(ctx)
    # what users' own code prints is no result of ours: it goes to stderr
    with redirect_stdout(sys.stderr), runs.writing(target) as folder, progress.bar() as bar:
        bar("loading", 0, None)
        problem, rest = load(options)
        result = compute(problem, config=settings, progress=bar, **rest)
        bar("figures", 0, None)
        runs.fill(folder, result, settings, str(ctx.command.name))
    return result


def load(options: dict[str, Any]) -> tuple[loading.Problem, dict[str, Any]]:
    """The problem that the options describe, and the options that are not about it; ``seed`` is of both."""
    if options["checkpoint_key"] and not options["checkpoint"]:
        raise OneLine("--checkpoint-key says where in a checkpoint the weights are: pass --checkpoint FILE too.", 2)
    known = {f.name for f in fields(loading.ProblemOptions)}
    chosen: dict[str, Any] = {
        k: dict(v) if k in ("settings", "l2", "l1") else v for k, v in options.items() if k in known
    }
    for key in ("include", "exclude"):
        chosen[key] = chosen[key] or None
    rest = {k: v for k, v in options.items() if k not in known} | {"seed": options["seed"]}
    return loading.problem(loading.ProblemOptions(**chosen)), rest
