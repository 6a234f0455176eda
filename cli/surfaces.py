"""From the options of `landscape surface` to a stored surface or connection, and those in words."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

import landscape as ls
from landscape import files
from landscape.files.checkpoints import entry
from landscape.landscapes.metrics import NAMES, borrowed
from landscape.loading import point as points
from landscape.loading import userfiles
from landscape.surfaces.connection import connection_plane
from landscape.surfaces.directions import principal_axes
from landscape.surfaces.grids import AnotherPlane

from . import numbers, problems, runs
from .errors import OneLine
from .facts import Fact

EXTENDS = {"resolution", "span"}  # options in which a finished surface may be taken further


def picture(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> ls.surfaces.Surface:
    """A surface; with --resume the stored one, taken further where that is asked, or an interrupted one finished."""
    known = runs.kept(target, ls.surfaces.Surface, ctx, *EXTENDS) if resume else None
    if known is None and resume and (known := runs.stored(target, ls.surfaces.Surface)) is not None:
        changed = set(runs.differing(known, ctx))
        if not changed or not changed <= EXTENDS:
            return runs.finished(target, ls.surfaces.Surface, ctx) or known

    def work(bar: Any) -> ls.surfaces.Surface:
        with problems.loaded(options) as problem:
            f, (x, asked) = problem.landscape, _asked(problem.landscape, options)
            try:
                made = ls.surface(f, x, known=known, keep=partial(runs.keep, target), progress=bar, **asked)
            except AnotherPlane as error:
                raise OneLine(
                    f"{target} holds a surface that this one cannot go on from: {error} Pass --force.", 2
                ) from None
            if not options["check"]:
                return made
            bar("check", 0, None)
            return replace(made, check=ls.surfaces.check_picture(f, made, seed=options["seed"]))

    return problems.store(ctx, target, work)


def connection(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> ls.paths.Connection:
    """A trained curve from the landscape's point to another."""
    if resume and (stored := runs.finished(target, ls.paths.Connection, ctx)) is not None:
        return stored

    def work(bar: Any) -> ls.paths.Connection:
        with problems.loaded(options) as problem:
            return joined(problem.landscape, bar)

    def joined(f: Any, bar: Any) -> ls.paths.Connection:
        if not options["batch_statistics"] and borrowed(f):
            click.echo(
                "Note: along the whole curve BatchNorm normalises with the statistics of the model at hand, at the other end, too; "
                "--batch-statistics measures them at every point.",
                err=True,
            )
        made = ls.paths.connect(
            f, problems.at(f, options), points.read(options["connect"], f, "--connect"), kind=options["curve"], bends=options["bends"],
            steps=options["train_steps"], optimizer=options["optimizer"], noise=options["noise"],
            batch_statistics=options["batch_statistics"], metrics=_metrics(options["metrics"]), seed=options["seed"],
            progress=bar,
        )  # fmt: skip
        fresh = options["batch_statistics"]
        plane = connection_plane(f, made, options["resolution"], batch_statistics=fresh, progress=bar)
        return replace(made, plane=plane)

    return problems.store(ctx, target, work)


def _asked(f: Any, options: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """The centre, and what ``landscape.surface`` is asked."""
    x, how = problems.at(f, options), options["normalize"]
    walks = dict(_walk(spec, f) for spec in options["trajectories"])
    directions: Any = options["directions"]
    if options["toward"]:
        if len(options["toward"]) > 2:
            raise OneLine(f"--toward takes one point for a line or two for a plane, got {len(options['toward'])}.", 2)
        directions, how = tuple(points.read(p, f, "--toward") - x for p in options["toward"]), "none"
    if directions == "pca" and not walks:
        raise OneLine("--directions pca needs --trajectory: a .npy file (t, n) or a folder of checkpoints.", 2)
    if directions == "moments" and options["optimizer_state"] is None:
        raise OneLine("--directions moments needs --optimizer-state FILE, an optimiser's state_dict.", 2)
    state = None if options["optimizer_state"] is None else _state(options["optimizer_state"])
    span = options["span"]
    if span is None:
        span = _reach(x, walks, options["dimensions"]) if directions == "pca" else 1.0
    drawn = {k: options[k] for k in ("dimensions", "biases", "seed")}
    how = None if how == "none" else how
    return x, {
        "directions": ls.surfaces.plane(f, x, directions, how, trajectory=walks or None, optimizer=state, **drawn),
        "span": tuple(float(v) for v in span.split(",")) if isinstance(span, str) else span,
        "trajectory": walks or None,
        "metrics": _metrics(options["metrics"]),
        **{k: options[k] for k in ("resolution", "batch_statistics", "seed", "spectra")},
    }


def _reach(x: torch.Tensor, walks: dict[str, torch.Tensor], dimensions: int) -> float:
    """A little farther than any trajectory goes along its principal axes from x."""
    points = torch.cat(list(walks.values())).to(x)
    V = torch.stack(principal_axes(x, points, dimensions))
    return 1.15 * float(((points - x) @ V.T).abs().max())


def _walk(spec: str, f: Any) -> tuple[str, torch.Tensor]:
    name, separator, path = spec.partition("=")
    if not separator:
        name, path = Path(spec).stem, spec
    return name, points.walk(path, f, "--trajectory")


def _state(spec: str) -> Any:
    path, _, key = spec.partition(":") if not Path(spec).exists() else (spec, "", "")
    tree = files.read_tree(Path(path))
    if key:
        return entry(tree, key, Path(path))
    for name in ("optimizer", "optimizer_state_dict", "optimizer_state"):
        if isinstance(tree, dict) and isinstance(tree.get(name), dict):
            return tree[name]
    return tree


def _metrics(specs: tuple[str, ...]) -> dict[str, Any]:
    """Names stay names; Python is found."""
    return {
        spec if spec in NAMES or ":" not in spec else spec.rpartition(":")[2]: userfiles.resolve(spec)[0]
        if ":" in spec
        else spec
        for spec in specs
    }


def facts(result: Any) -> list[Fact]:
    """A surface or a connection in words."""
    return _connected(result) if isinstance(result, ls.paths.Connection) else _pictured(result)


def _pictured(s: ls.surfaces.Surface) -> list[Fact]:
    what = "line" if s.values.ndim == 1 else "plane"
    r, low, high = len(s.steps), float(s.steps[0]), float(s.steps[-1])
    grid = f"{r} by {r} cells" if what == "plane" else f"{r} cells"
    reach = f"steps to {high:g}" if low == -high else f"steps from {low:g} to {high:g}"
    fresh = "; BatchNorm's statistics measured in every cell" if s.batch_statistics else ""
    walks = [
        f"{name}: {len(w.values)} points, {100 * w.lost:.3g} % of its squared distances outside the {what}; "
        f"values off the {what} differ by up to {numbers.plain(float(w.gap.abs().max()))}"
        for name, w in s.walks.items()
    ]
    return [
        Fact(what, (f"{s.chosen} directions, normalisation {s.normalize or 'none'}",)),
        Fact("grid", (f"{grid}, {reach}" + (f", {s.reused} of them known before" if s.reused else "") + fresh,)),
        Fact("values", (_range(s.values),)),
        *(Fact(name, (_range(values),)) for name, values in s.metrics.items()),
        *([Fact("trajectories", tuple(walks))] if walks else []),
        *([Fact("picture", tuple(_checked(s.check, what)))] if s.check is not None else []),
    ]


def _checked(check: ls.surfaces.PictureCheck, what: str) -> list[str]:
    pairs = zip(check.measured.tolist(), check.predicted.tolist(), strict=True)
    curves = ", ".join(f"{m:.5g} measured, {p:.5g} by the Hessian" for m, p in pairs)
    shares = [(check.trace_share, "trace"), (check.frobenius_share, "squared Frobenius norm")]
    return [
        f"curvature at the centre: {curves}" + ("" if check.agrees else "; THESE DIFFER"),
        *(f"the {what} holds {numbers.uncertain(s.value, s.error)} of the Hessian's {of}" for s, of in shares),
    ]


def _connected(c: ls.paths.Connection) -> list[Fact]:
    return [
        Fact("curve", (f"{c.kind} with {len(c.control) - 2} trained point(s), {c.optimizer}",)),
        Fact("ends", (f"{numbers.plain(float(c.curve.values[0]))} and {numbers.plain(float(c.curve.values[-1]))}",)),
        Fact(
            "barrier",
            (
                f"{numbers.plain(c.barrier)} along the curve, {numbers.plain(c.straight_barrier)} along the straight line",
            ),
        ),
        *(Fact(name, (f"{_range(values)} along the curve",)) for name, values in c.curve.metrics.items()),
    ]


def _range(values: torch.Tensor) -> str:
    finite = values[values.isfinite()]
    lost = values.numel() - finite.numel()
    shown = f"{float(finite.min()):.6g} to {float(finite.max()):.6g}" if finite.numel() else "none is finite"
    return shown + (f"; {lost} are not finite" if lost else "")
