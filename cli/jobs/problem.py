"""From the options of a command to a problem, and from a problem to a result in its folder."""

import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TypeVar

import torch

import landscape as ls
from landscape import loading, results, zoo
from landscape.core import Landscape, Progress
from landscape.landscapes.model import require_model
from landscape.loading import point as points
from landscape.points.analyze import AnalysisReport, Spectrum
from landscape.points.analyze import analyze as analyze_point
from landscape.points.analyze import spectrum as spectrum_at
from landscape.points.budget import Forecast
from landscape.points.budget import forecast as forecast_of
from landscape.results import Result, journal

from .. import BEGUN, config, given, memory, progress, ranks, resume, runs, screens
from ..errors import OneLine
from ..runs import Run
from . import optimiser

R = TypeVar("R", bound=Result)
SUBJECTS = (
    "model",
    "landscape",
    "run",
    "family",
)  # the arguments that name what a command is about


FREE = frozenset({"budget"})  # the option that may change when an analysis is gone on with


def analyze(run: Run, options: given.Analyze) -> AnalysisReport:
    """The stored analysis with --resume where there is one that left nothing open; else one that
    goes on from what is there, or a new one.
    """
    known, done = run.earlier((AnalysisReport,), FREE, lambda report: not report.unfinished)
    if done and known is not None:
        return known

    def compute(f: Landscape, bar: Progress) -> AnalysisReport:
        model = require_model(f, "analyze needs a model.")
        optimizer, notes = optimiser.optimizer(model, options)
        report = analyze_point(
            f,
            method=options["method"],
            largest=options["largest"],
            smallest=options["smallest"],
            tol=options["tol"],
            probes=options["probes"],
            steps=options["steps"],
            layers=options["layers"],
            seed=options["seed"],
            polish=options["polish"],
            optimizer=optimizer,
            budget=_left(options["budget"]),
            known=known,
            progress=bar,
        )
        origin = report.provenance
        return replace(report, provenance=replace(origin, notes=(*origin.notes, *notes)))

    return _solved(run, options, compute, free=FREE)


def _left(budget: float | None) -> float | None:
    """The seconds of a budget that loading has left; where it has left none, next to none."""
    return None if budget is None else max(1e-3, budget - (time.monotonic() - BEGUN))


def forecast(options: given.Analyze) -> Forecast:
    """What an analysis would take."""
    with screens.aside():
        problem = over_ranks(loading.problem(asked(options, options["model"])))
        with told(problem):
            return forecast_of(
                problem.landscape,
                method=options["method"],
                largest=options["largest"],
                smallest=options["smallest"],
                probes=options["probes"],
                steps=options["steps"],
                layers=options["layers"],
                seed=options["seed"],
            )


def spectrum(run: Run, options: given.Sharded) -> Spectrum:
    """The stored spectrum with --resume where there is one, else a new one. Eigenvectors that lie
    on several ranks are not stored.
    """

    def compute(f: Landscape, bar: Progress) -> Spectrum:
        found = spectrum_at(
            f,
            largest=options["largest"],
            smallest=options["smallest"],
            tol=options["tol"],
            probes=options["probes"],
            steps=options["steps"],
            seed=options["seed"],
            progress=bar,
        )
        if not f.spread.sharded:
            return found
        return replace(found, pairs=replace(found.pairs, vectors=found.pairs.vectors[:0]))

    return run.finished(Spectrum) or _solved(run, options, compute, shard=options["shard"])


def store(run: Run, work: Callable[[Progress], R], free: AbstractSet[str] = resume.NOTHING) -> R:
    """The result of ``work(progress)``, stored in the run's folder with its figures.

    Args:
        free: the options that may change when an interrupted run is gone on with.
    """
    settings, asked_for = config.resolved(run.ctx), run.ctx.params
    files = config.contents(run.ctx)
    unfinished: list[str] = []  # what a budget left open, for --resume
    with (
        screens.aside(),
        runs.writing(run.target, lambda: bool(unfinished)) as folder,
        progress.bar(asked_for["quiet"]) as bar,
    ):
        bar(_first_stage(run), 0, None)
        with (
            runs.staying(),
            run.journal(settings, free),
            results.origin(config=settings, files=files),
        ):
            result = work(bar)
            unfinished += getattr(result, "unfinished", ())
            if unfinished:
                journal.flush()
        runs.fill(folder, result, settings, config.words(run.ctx))
        if asked_for["figures"]:
            bar("drawing", 0, None)
            runs.draw(folder / "figures", result)
    return result


def _first_stage(run: Run) -> str:
    """What happens before a solver begins, in words."""
    asked_for = run.ctx.params
    about = next((str(asked_for[key]) for key in SUBJECTS if asked_for.get(key)), "")
    return f"{'training' if zoo.is_trained_here(about) else 'loading'} {about}"


@contextmanager
def loaded(options: given.Landscape) -> Iterator[loading.Problem]:
    """The landscape that the options describe; results made inside say that they are about it."""
    problem = landscape(options)
    with told(problem):
        yield problem


def told(problem: loading.Problem) -> AbstractContextManager[None]:
    """Results made inside say that they are about this problem."""
    journal.require(problem.landscape, problem.fingerprint)
    return results.origin(problem.name, notes=problem.notes, model_hash=problem.fingerprint)


def landscape(options: given.Landscape) -> loading.Problem:
    """The landscape that the options describe, a model or a formula."""
    about = asked(options, options["landscape"], options["dim"], options["domain"])
    return over_ranks(loading.landscape(about))


def known(options: given.Landscape) -> Landscape:
    """One landscape of several, which --resume finds again."""
    found = landscape(options)
    journal.require(found.landscape, found.fingerprint)
    return found.landscape


def over_ranks(problem: loading.Problem) -> loading.Problem:
    """The problem shared by all processes that torchrun has started."""
    return replace(problem, landscape=ls.over_ranks(problem.landscape))


def at(f: Landscape, options: given.Escape | given.Surface) -> torch.Tensor:
    """The point --at; else the model's own, or the origin of a formula."""
    if options["at"] is not None:
        return points.read(options["at"], f, "--at")
    if f.layout:
        return f.locate(None)
    return torch.zeros(f.dim, dtype=f.dtype, device=loading.device(options["device"]))


def asked(
    options: given.Problem, model: str, dim: int | None = None, domain: str | None = None
) -> loading.LandscapeOptions:
    """The options about a landscape in the form that the library reads."""
    for key in ("checkpoint_key", "strip"):
        if options[key] and not options["checkpoint"]:
            raise OneLine(
                f"--{key.replace('_', '-')} says which weights of a checkpoint are meant: pass "
                f"--checkpoint FILE too.",
                2,
            )
    return loading.LandscapeOptions(
        model,
        settings=dict(options["settings"]),
        checkpoint=options["checkpoint"],
        checkpoint_key=options["checkpoint_key"],
        strip=options["strip"],
        data=options["data"],
        loss=options["loss"],
        l2=dict(options["l2"]),
        l1=dict(options["l1"]),
        include=options["include"] or None,
        exclude=options["exclude"] or None,
        mode=options["mode"],
        masks=options["masks"],
        device=options["device"],
        dtype=options["dtype"],
        precision=options["precision"],
        batch_size=options["batch_size"],
        seed=options["seed"],
        dim=dim,
        domain=domain,
    )


def _require_memory(f: Landscape, options: given.Spectrum) -> None:
    """Refuse eigenvectors, or a dense Hessian, that do not fit."""
    n, size = f.dim, f.dtype.itemsize
    if f.device.type != "cpu":
        return  # the device says itself
    if options.get("method") == "dense":
        memory.require(
            4.0 * n * n * 8, f"the dense Hessian of {n:,} parameters", "--method lanczos"
        )
        return
    vectors = options["largest"] + options["smallest"] + options["steps"]
    what = f"the spectrum of {n:,} parameters"
    needed = 1.0 * n * size * vectors * ranks.here()
    memory.require(needed, what, "fewer --largest, --smallest and --steps")


def _solved(
    run: Run,
    options: given.Spectrum,
    compute: Callable[[Landscape, Progress], R],
    *,
    shard: bool = False,
    free: AbstractSet[str] = resume.NOTHING,
) -> R:
    def work(bar: Progress) -> R:
        about = asked(options, options["model"])
        found = loading.problem(about, shard=shard)
        problem = found if shard else over_ranks(found)
        _require_memory(problem.landscape, options)
        with told(problem):
            return compute(problem.landscape, bar)

    return store(run, work, free)
