"""From the options of `landscape escape` to a stored study."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

import landscape as ls
from landscape import loading, points
from landscape.core import FunctionLandscape
from landscape.dynamics.escape import event

from . import problems, runs


def study(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> ls.Study:
    """The stored study with --resume where there is one, else a new one."""
    if resume and (stored := runs.finished(target, ls.Study, ctx)) is not None:
        return stored
    leaves = event(options["event"])

    def work(bar: Any, settings: dict[str, Any]) -> ls.Study:
        problem = problems.landscape(options)
        f = problem.landscape
        given = {k: options[k] for k in ("optimizers", "runs", "steps", "start", "noise", "schedule", "seed")}
        found = ls.escape(f, _at(f, options), event=leaves, progress=bar, **given)
        return replace(found, provenance=replace(found.provenance, name=problem.name, config=settings))

    return problems.store(ctx, target, work)


def _at(f: Any, options: dict[str, Any]) -> torch.Tensor:
    if options["at"] is not None:
        return points.read(options["at"], f, "--at")
    if isinstance(f, FunctionLandscape):
        return torch.zeros(f.dim, dtype=f.dtype, device=loading.device(options["device"]))
    point: torch.Tensor = f.point()
    return point
