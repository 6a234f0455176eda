"""From the options of `landscape diagnose` to a stored diagnosis."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

import landscape as ls
from landscape import specs, zoo
from landscape.errors import LoadingError
from landscape.files import checkpoints
from landscape.loading import userfiles
from landscape.training.continuation import going_on, made_by, on_copy
from landscape.zoo import stuck

from . import config, problems, runs
from .errors import OneLine

ABOUT_A_MODEL = (
    "checkpoint", "checkpoint_key", "data", "loss", "l2", "l1", "include", "exclude", "mode", "masks", "dtype", "batch_size",
)  # fmt: skip
STATE = "optimizer_state"
TRACED = ("schedule", "steps", "every")
TRIED = ("probe_steps", "trials")
ANEW = "with its optimiser starting anew"


def report(ctx: click.Context, target: Path, options: dict[str, Any], *, resume: bool) -> ls.training.DiagnosisReport:
    """The stored diagnosis with --resume where there is one, else a new one."""
    if resume and (stored := runs.finished(target, ls.training.DiagnosisReport, ctx)) is not None:
        return stored
    run, name = _source(ctx, options)

    def work(bar: Any) -> ls.training.DiagnosisReport:
        begun = time.perf_counter()
        trace, how, notes, f, optimizer = run(options, bar)
        given = {"f": f, "optimizer": optimizer} if f is not None and options["probe"] is not False else {}
        found = ls.diagnose(
            trace, **given, steps=options["probe_steps"], seeds=options["trials"], seed=options["seed"], progress=bar
        )
        settings = config.resolved(ctx)
        origin = replace(
            trace.provenance, name=name or trace.name, seed=options["seed"], config=settings, notes=tuple(notes)
        )
        seconds = time.perf_counter() - begun
        return ls.training.DiagnosisReport(trace.x.numel(), how, found, trace, seconds, provenance=origin)

    return problems.store(ctx, target, work)


def _source(ctx: click.Context, options: dict[str, Any]) -> tuple[Any, str]:
    """How the trace is come by, and the name of the run: a stored trace, a built-in stuck run or a model."""
    run = options["run"]
    if Path(run).is_dir():
        return _stored(ctx, options), ""
    if run in stuck.names():
        _refuse(ctx, ("model", "optimizer", STATE, *TRACED, *ABOUT_A_MODEL), f"is fixed in the built-in run {run}")
        return _built_in, run
    _refuse(ctx, ("model",), "belongs to a stored trace: pass the model in the place of RUN")
    if not userfiles.is_python(run) and run not in zoo.names():
        hint = specs.closest(run, [*stuck.names(), *zoo.names()])
        raise OneLine(
            f"{run!r} is no folder with a trace, no model and no built-in stuck run.{hint} The stuck runs are {', '.join(stuck.names())}.",
            2,
        )
    if options["optimizer"] is None:
        raise OneLine(f"{run} is a model, which needs --optimizer, the run's own: sgd:lr=0.1 or adam:lr=1e-3, say.", 2)
    made_by(options["optimizer"])  # a mistake in it must not wait for the model
    return _continued, ""


def _stored(ctx: click.Context, options: dict[str, Any]) -> Any:
    """A trace that ``Tracer`` has left, or that of an earlier diagnosis."""
    _refuse(ctx, TRACED, "is about steps from a model on, and a stored trace is finished")
    trace = _trace(options["run"])
    known = trace.provenance.name in zoo.names() and zoo.is_formula(trace.provenance.name)
    named = options["model"] or (trace.provenance.name if known and options["probe"] is not False else None)
    if named is None:
        _refuse(
            ctx,
            (*ABOUT_A_MODEL, "settings", "optimizer", STATE, *TRIED),
            "says on what remedies are tried: pass --model too",
        )
        if options["probe"]:
            raise OneLine("--probe on a stored trace needs --model, --optimizer and what the model needs.", 2)
    spec = options["optimizer"] or trace.provenance.config.get("optimizer")
    if named is not None:
        if spec is None:
            raise OneLine("--model needs --optimizer, the traced run's own: sgd:lr=0.1 or adam:lr=1e-3, say.", 2)
        made_by(spec)  # a mistake in it must not wait for the model

    def given(options: dict[str, Any], bar: Any) -> Any:
        how = f"a trace of {trace.optimizer} stored in {options['run']}"
        if named is None:
            return trace, how, (), None, None
        problem, wrong = _traced_problem(options | {"model": named}, trace)
        if wrong and options["model"] is None and not options["probe"]:  # nobody has asked for it
            return trace, how, (f"no remedies are tried: {wrong}",), None, None
        if wrong:
            raise OneLine(wrong, 2)
        f = problem.landscape
        x = trace.x.to(f.device, f.dtype)
        ours, parameters = on_copy(f, x)
        # a checkpoint of another time has a state of another time
        state, notes = _state(options, there=bool(f.layout) and torch.equal(f.locate(None), x))
        optimizer, restored, more = _going_on(ours, parameters, options | {"optimizer": spec}, state)
        how = f"{how}, tried {restored}"
        return trace, how, (*problem.notes, *notes, *more), ours, optimizer

    return given


def _traced_problem(options: dict[str, Any], trace: ls.training.Trace) -> tuple[Any, str]:
    """What was traced, a model or a formula, and what is wrong with it; "" where it fits the trace."""
    name, n = options["model"], trace.x.numel()
    if not trace.provenance.model_hash:  # a formula
        problem = problems.landscape(options | {"landscape": name, "dim": _free_dim(name, n)})
    else:
        problem, _ = problems.load(options)
    f = problem.landscape
    if f.dim != n or (f.layout and list(f.layout) != trace.layers):
        return problem, (
            f"{name} has {f.dim} parameters, the trace {n} in {', '.join(trace.layers[:3])}, ...: it is of another model."
        )
    if f.layout:
        return problem, ""
    loss, now = float(trace.loss[-1]), float(f.value(trace.x.to(f.dtype)))
    if not trace.diverged and abs(now - loss) > 1e-5 * max(abs(now), abs(loss)):
        return problem, f"{name} is {now:.6g} where the trace ended at {loss:.6g}: --set its options as they were."
    return problem, ""


def _free_dim(spec: str, n: int) -> int | None:
    """n where a formula of that name is in any dimension."""
    if spec in zoo.names():
        return n if "dim" in zoo.options(spec) else None
    return None if isinstance(userfiles.resolve(spec)[0], ls.FunctionLandscape) else n


def _trace(run: str) -> ls.training.Trace:
    if not (Path(run) / "result.json").exists() and (Path(run) / "records.f64").exists():
        raise OneLine(
            f"{run} holds the records of a Tracer and no finished trace: save it with tracer.result.save(folder).", 3
        )
    found = runs.load(run)
    found = found.trace if isinstance(found, ls.training.DiagnosisReport) else found
    if not isinstance(found, ls.training.Trace):
        raise OneLine(f"{run} holds a {type(found).__name__}, and diagnose reads the trace that a Tracer has left.", 2)
    return found


def _built_in(options: dict[str, Any], bar: Any) -> Any:
    settings = dict(options["settings"])
    variant = settings.pop("variant", 0)
    if settings:
        raise OneLine(f"--set {next(iter(settings))}: a built-in stuck run has variant=0, 1 or 2 only.", 2)
    scene = stuck.get(options["run"]).build(variant, options["seed"])
    with ls.Tracer(scene.optimizer, scene.f, every=max(1, scene.steps // 20)) as tracer:
        for step in scene.loop():
            bar("traced steps", step, scene.steps)
    how = f"{scene.steps} steps of {tracer.result.optimizer} from the start, {stuck.get(options['run']).source}"
    return tracer.result, how, (), scene.f, scene.optimizer


def _continued(options: dict[str, Any], bar: Any) -> Any:
    problem, _ = problems.load(options | {"model": options["run"]})
    given = {key: options[key] for key in ("schedule", "steps", "every", "seed")}
    state, notes = _state(options)
    _, _, more = _going_on(*on_copy(problem.landscape, None), options, state)  # whether it fits
    run = ls.training.continuation(
        problem.landscape, options["optimizer"], state=None if more else state, progress=bar, **given
    )
    how = f"{options['steps']} steps of {run.trace.optimizer} from the checkpoint on, on a copy, {run.restored or ANEW}"
    trace = replace(run.trace, provenance=replace(run.trace.provenance, name=problem.name))
    return trace, how, (*problem.notes, *notes, *more), run.f, run.optimizer


def _state(options: dict[str, Any], there: bool = True) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The saved state of the run's optimiser and, in words, where it was found; none where there is none, or none is wanted."""
    stated = options[STATE]
    path = stated or (options["checkpoint"] if there else None)
    if stated == "none" or path is None:
        return None, ()
    found = checkpoints.read_optimizer(path)
    if found is not None:
        return found[0], (f"optimiser's state read from {found[1]}",)
    if stated is None:
        return None, ()
    raise LoadingError(
        f"{path} holds no optimiser's state: save optimizer.state_dict() under 'optimizer', or by itself."
    )


def _going_on(
    f: Any, parameters: list[Any], options: dict[str, Any], state: dict[str, Any] | None
) -> tuple[Any, str, tuple[str, ...]]:
    """The optimiser, how it starts, and why it starts anew where a state that was not asked for does not fit."""
    try:
        optimizer, restored = going_on(f, parameters, options["optimizer"], state)
        return optimizer, restored or ANEW, ()
    except ValueError as error:
        if state is None:
            raise
        if options[STATE] is not None:
            raise LoadingError(f"{options[STATE]}: {error}") from error
        return going_on(f, parameters, options["optimizer"], None)[0], ANEW, (f"that state was left out: {error}",)


def _refuse(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise for the first of these options that was given; a stored configuration that repeats a default gives nothing."""
    defaults = {p.name: p.default for p in ctx.command.params}
    for name in names:
        source = ctx.get_parameter_source(name)
        given = source not in (None, click.core.ParameterSource.DEFAULT)
        if given and not (source is click.core.ParameterSource.DEFAULT_MAP and ctx.params[name] == defaults[name]):
            option = "set" if name == "settings" else name.replace("_", "-")
            raise OneLine(f"--{option} {why}.", 2)
