"""From the options of `landscape diagnose` to a stored diagnosis."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch import nn
from torch.optim import Optimizer

import landscape as ls
from landscape import loading, specs, zoo
from landscape.core import Landscape, Progress
from landscape.errors import LoadingError
from landscape.loading import userfiles
from landscape.results import journal
from landscape.training.continuation import going_on, made_by, on_copy
from landscape.training.diagnose import DiagnosisReport
from landscape.training.trace import Trace
from landscape.zoo import stuck

from .. import config, given, runs
from ..errors import OneLine
from ..runs import Run
from . import problem
from .optimiser import State, saved

ABOUT_A_MODEL = (
    *("checkpoint", "checkpoint_key", "strip", "data", "loss", "l2", "l1"),
    *("include", "exclude", "mode", "masks", "dtype", "precision", "batch_size"),
)
STATE = "optimizer_state"
TRACED = ("schedule", "steps", "every")
TRIED = ("probe_steps", "trials")
ANEW = "with its optimiser starting anew"
WITHOUT = "needs --optimizer, the run's own: sgd:lr=0.1 or adam:lr=1e-3, say."


SHARE = 2.0  # of a run that is made here to be judged, what trials may take


@dataclass(frozen=True)
class Scene:
    """A traced run, and what remedies can be tried on."""

    trace: Trace
    how: str  # where the trace is from, in words
    notes: tuple[str, ...] = ()
    f: Landscape | None = None  # None: there is nothing to try remedies on
    optimizer: Optimizer | None = None
    name: str = ""  # of the run; "": the trace's own


Source = Callable[[given.Diagnose, Progress], Scene]


def diagnose(run: Run, options: given.Diagnose) -> DiagnosisReport:
    """The stored diagnosis with --resume where there is one, else a new one."""
    if (stored := run.finished(DiagnosisReport)) is not None:
        return stored
    source = _source(run.ctx, options)

    def work(bar: Progress) -> DiagnosisReport:
        begun = time.perf_counter()
        scene = source(options, bar)
        tried = scene.f is not None and options["probe"] is not False
        found = ls.diagnose(
            scene.trace,
            f=scene.f if tried else None,
            optimizer=scene.optimizer if tried else None,
            steps=options["probe_steps"],
            seeds=options["trials"],
            share=SHARE,
            seed=options["seed"],
            progress=bar,
        )
        trace = scene.trace
        origin = replace(
            trace.provenance,
            name=scene.name or trace.name,
            seed=options["seed"],
            config=config.resolved(run.ctx),
            notes=scene.notes,
        )
        seconds = time.perf_counter() - begun
        size = trace.x.numel()
        return DiagnosisReport(size, scene.how, found, trace, seconds, provenance=origin)

    return problem.store(run, work)


def _source(ctx: click.Context, options: given.Diagnose) -> Source:
    """How the trace is come by: a stored trace, a built-in stuck run or a model."""
    run = options["run"]
    if Path(run).is_dir():
        return _stored(ctx, options)
    if run in stuck.names():
        fixed = ("model", "optimizer", STATE, *TRACED, *ABOUT_A_MODEL)
        _refuse(ctx, fixed, f"is fixed in the built-in run {run}")
        return _built_in
    _refuse(ctx, ("model",), "belongs to a stored trace: pass the model in the place of RUN")
    if not userfiles.is_python(run) and run not in zoo.names():
        hint = specs.closest(run, [*stuck.names(), *zoo.names()])
        raise OneLine(
            f"{run!r} is no folder with a trace, no model and no built-in stuck run.{hint} "
            f"The stuck runs are {', '.join(stuck.names())}.",
            2,
        )
    if options["optimizer"] is None:
        raise OneLine(f"{run} is a model, which {WITHOUT}", 2)
    made_by(options["optimizer"])  # a mistake in it must not wait for the model
    return _continued


def _stored(ctx: click.Context, options: given.Diagnose) -> Source:
    """A trace that ``Tracer`` has left, or that an earlier diagnosis holds."""
    _refuse(ctx, TRACED, "is about steps from a model on, and a stored trace is finished")
    trace = _trace(options["run"])
    how = f"a trace of {trace.optimizer} stored in {options['run']}"
    model = options["model"] or _recalled(trace, options)
    if model is None:
        about = (*ABOUT_A_MODEL, "settings", "optimizer", STATE, *TRIED)
        _refuse(ctx, about, "says on what remedies are tried: pass --model too")
        if options["probe"]:
            needs = "needs --model, --optimizer and what the model needs"
            raise OneLine(f"--probe on a stored trace {needs}.", 2)
        return lambda options, bar: Scene(trace, how)
    spec = options["optimizer"] or trace.provenance.config.get("optimizer")
    if not isinstance(spec, str):
        raise OneLine(f"--model {WITHOUT.replace('the run', 'the traced run')}", 2)
    made_by(spec)  # a mistake in it must not wait for the model
    name, optimizer = model, spec

    def source(options: given.Diagnose, bar: Progress) -> Scene:
        loaded, wrong = _traced_problem(options, name, trace)
        journal.require(loaded.landscape, loaded.fingerprint)
        if wrong and options["model"] is None and not options["probe"]:  # nobody has asked for it
            return Scene(trace, how, (f"no remedies are tried: {wrong}",))
        if wrong:
            raise OneLine(wrong, 2)
        return _tried_on(loaded, {**options, "optimizer": optimizer}, Scene(trace, how))

    return source


def _recalled(trace: Trace, options: given.Diagnose) -> str | None:
    """The built-in formula that was traced, where remedies may be tried on it."""
    name = trace.provenance.name
    if options["probe"] is False or name not in zoo.names() or not zoo.is_formula(name):
        return None
    return name


def _tried_on(loaded: loading.Problem, options: given.Diagnose, scene: Scene) -> Scene:
    """The scene with a copy of the problem at the end of its trace."""
    f = loaded.landscape
    x = scene.trace.x.to(f.device, f.dtype)
    ours, parameters = on_copy(f, x)
    # a checkpoint of another time has a state of another time
    there = bool(f.layout) and torch.equal(f.locate(None), x)
    state, notes = saved(options, there=there)
    optimizer, restored, more = _going_on(ours, parameters, options, state)
    how = f"{scene.how}, tried {restored}"
    notes = (*loaded.notes, *notes, *more)
    return replace(scene, how=how, notes=notes, f=ours, optimizer=optimizer)


def _traced_problem(
    options: given.Diagnose, name: str, trace: Trace
) -> tuple[loading.Problem, str]:
    """What was traced, a model or a formula, and what is wrong with it; "" where it fits."""
    n = trace.x.numel()
    if trace.provenance.model_hash:
        loaded = loading.problem(problem.asked(options, name))
    else:
        loaded = loading.landscape(problem.asked(options, name, _free_dim(name, n)))
    f = loaded.landscape
    if f.dim != n or (f.layout and list(f.layout) != trace.layers):
        layers = ", ".join(trace.layers[:3])
        return loaded, (
            f"{name} has {f.dim} parameters, the trace {n} in {layers}, ...: it is of another "
            "model."
        )
    if f.layout:
        return loaded, ""
    loss, now = float(trace.loss[-1]), float(f.value(trace.x.to(f.dtype)))
    if not trace.diverged and abs(now - loss) > 1e-5 * max(abs(now), abs(loss)):
        return loaded, (
            f"{name} is {now:.6g} where the trace ended at {loss:.6g}: --set its options as they "
            "were."
        )
    return loaded, ""


def _free_dim(spec: str, n: int) -> int | None:
    """n where a formula of that name is in any dimension."""
    if spec in zoo.names():
        return n if "dim" in zoo.options(spec) else None
    return None if isinstance(userfiles.resolve(spec)[0], ls.FunctionLandscape) else n


def _trace(run: str) -> Trace:
    folder = Path(run)
    if not (folder / "result.json").exists() and (folder / "records.f64").exists():
        raise OneLine(
            f"{run} holds the records of a Tracer and no finished trace: save it with "
            "tracer.result.save(folder).",
            3,
        )
    found = runs.load(run)
    found = found.trace if isinstance(found, DiagnosisReport) else found
    if not isinstance(found, Trace):
        kind = type(found).__name__
        raise OneLine(f"{run} holds a {kind}, and diagnose reads the trace of a Tracer.", 2)
    return found


def _built_in(options: given.Diagnose, bar: Progress) -> Scene:
    name, settings = options["run"], dict(options["settings"])
    variant = settings.pop("variant", 0)
    if not isinstance(variant, int):
        raise OneLine(f"--set variant={variant}: a built-in stuck run has 0, 1 and 2.", 2)
    if settings:
        first = next(iter(settings))
        raise OneLine(f"--set {first}: a built-in stuck run has variant=0, 1 or 2 only.", 2)
    entry = stuck.get(name)
    scene = entry.build(variant, options["seed"])
    with ls.Tracer(scene.optimizer, scene.f, every=max(1, scene.steps // 20)) as tracer:
        for step in scene.loop():
            bar("traced steps", step, scene.steps)
    trace = tracer.result
    how = f"{scene.steps} steps of {trace.optimizer} from the start, {entry.source}"
    return Scene(trace, how, f=scene.f, optimizer=scene.optimizer, name=name)


def _continued(options: given.Diagnose, bar: Progress) -> Scene:
    loaded = loading.problem(problem.asked(options, options["run"]))
    f, optimizer = loaded.landscape, str(options["optimizer"])
    journal.require(f, loaded.fingerprint)
    state, notes = saved(options)
    _, _, more = _going_on(*on_copy(f, None), options, state)  # whether it fits
    run = ls.training.continuation(
        f,
        optimizer,
        state=None if more else state,
        schedule=options["schedule"],
        steps=options["steps"],
        every=options["every"],
        seed=options["seed"],
        progress=bar,
    )
    origin = replace(run.trace.provenance, name=loaded.name)
    trace = replace(run.trace, provenance=origin)
    way = f"{options['steps']} steps of {trace.optimizer} from the checkpoint on, on a copy"
    how = f"{way}, {run.restored or ANEW}"
    return Scene(trace, how, (*loaded.notes, *notes, *more), run.f, run.optimizer)


def _going_on(
    f: Landscape,
    parameters: list[nn.Parameter],
    options: given.Diagnose,
    state: State | None,
) -> tuple[Optimizer, str, tuple[str, ...]]:
    """The optimiser, how it starts, and why anew where a state nobody asked for does not fit."""
    spec, stated = str(options["optimizer"]), options["optimizer_state"]
    try:
        optimizer, restored = going_on(f, parameters, spec, state)
        return optimizer, restored or ANEW, ()
    except ValueError as error:
        if state is None:
            raise
        if stated is not None:
            raise LoadingError(f"{stated}: {error}") from error
        why = f"that state was left out: {error}"
        return going_on(f, parameters, spec, None)[0], ANEW, (why,)


def _refuse(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise for the first of these options that was given.

    A stored configuration that repeats a default gives nothing.
    """
    sources = click.core.ParameterSource
    defaults = {p.name: p.default for p in ctx.command.params}
    for name in names:
        source = ctx.get_parameter_source(name)
        repeated = source is sources.DEFAULT_MAP and ctx.params[name] == defaults[name]
        if source not in (None, sources.DEFAULT) and not repeated:
            option = "set" if name == "settings" else name.replace("_", "-")
            raise OneLine(f"--{option} {why}.", 2)
