"""From the options of `landscape escape` to a stored study, or a sweep of them."""

import re

from torch import Tensor

import landscape as ls
from landscape import specs
from landscape.core import Landscape, Progress
from landscape.optimizers.escape import BLOCK, FallsBelow, LeavesBall, event
from landscape.results import origin
from landscape.results.numbers import several
from landscape.specs.optimizers import maker

from .. import given, memory
from ..errors import OneLine
from ..runs import Run
from . import problem

RECORDED = 4  # runs of a formula whose paths are kept
SETTINGS = ("noise", "start", "radius")


def escape(run: Run, options: given.Escape) -> ls.optimizers.Study | ls.optimizers.Sweep:
    """The stored study or sweep with --resume where there is one, else a new one."""
    leaves = event(options["event"])
    if options["sweep"] is None:
        return run.finished(ls.optimizers.Study) or problem.store(
            run, lambda bar: _study(options, leaves, bar)
        )
    key, values = varied(options["sweep"])

    def work(bar: Progress) -> ls.optimizers.Sweep:
        with origin(options["landscape"]):
            return _sweep(options, leaves, bar, key, values)

    return run.finished(ls.optimizers.Sweep) or problem.store(run, work)


def _study(
    options: given.Escape, leaves: LeavesBall | FallsBelow, bar: Progress
) -> ls.optimizers.Study:
    with problem.loaded(options) as loaded:
        f = loaded.landscape
        _require_memory(f, options)
        return ls.escape(
            f,
            problem.at(f, options),
            options["optimizers"],
            options["runs"],
            options["steps"],
            options["start"],
            leaves,
            options["noise"],
            options["schedule"],
            options["seed"],
            record=_record(f, options),
            progress=bar,
        )


def _require_memory(f: Landscape, options: given.Escape) -> None:
    """Refuse more runs than fit: starts and ends of all of them are kept, and some numbers each."""
    optimizers = len(options["optimizers"])
    each = 8 * f.dim * (3 + optimizers) + 64 * optimizers
    at_once = min(options["runs"], BLOCK) * f.dim * 8 * 16
    what = f"a study of {options['runs']:,} runs of {several(optimizers, 'optimiser')}"
    memory.require(options["runs"] * each + at_once, what, "fewer --runs")


def _sweep(
    options: given.Escape,
    leaves: LeavesBall | FallsBelow,
    bar: Progress,
    key: str,
    values: list[float],
) -> ls.optimizers.Sweep:
    """Vary an option of the optimisers or of the study where they know it, else the landscape's."""
    sweep, same = ls.optimizers.sweep, _same(options, leaves)
    seed, given_to = options["seed"], options["optimizers"]
    options_of = [specs.line(spec.partition(";")[0], "an optimiser").options for spec in given_to]
    if key in SETTINGS or key == "lr" or any(key in known for known in options_of):
        f = problem.known(options)
        named = {_without(spec, key): maker(spec) for spec in given_to}
        at, record = problem.at(f, options), _record(f, options)
        return sweep(f, at, named, key, values, seed=seed, progress=bar, record=record, **same)

    def build(value: object) -> tuple[Landscape, Tensor]:
        changed: given.Escape = {**options}
        if key == "dim":
            changed["dim"] = int(str(value))
        else:
            settings = dict(options["settings"]) | {key: value}
            changed["settings"] = tuple(settings.items())
        g = problem.known(changed)
        return g, problem.at(g, changed)

    return sweep(build, None, given_to, key, values, seed=seed, progress=bar, **same)


def _same(options: given.Escape, leaves: LeavesBall | FallsBelow) -> dict[str, object]:
    """What every study of a sweep shares."""
    return {
        "runs": options["runs"],
        "steps": options["steps"],
        "start": options["start"],
        "noise": options["noise"],
        "schedule": options["schedule"],
        "event": leaves,
    }


def _without(spec: str, key: str) -> str:
    """The label of an optimiser whose option ``key`` is varied."""
    pattern = rf"(?<=[:,])\s*{re.escape(key)}\s*=[^,;]*(,|(?=;)|$)"
    return re.sub(pattern, "", spec).strip().rstrip(",:")


def varied(text: str) -> tuple[str, list[float]]:
    """``"lr=0.01,0.1"`` -> ``("lr", [0.01, 0.1])``."""
    key, equals, rest = text.partition("=")
    values = [specs.literal(part.strip()) for part in rest.split(",")]
    numbers = [value for value in values if isinstance(value, int | float)]
    if not equals or not key.strip() or len(numbers) < len(values):
        raise OneLine(f"--sweep is KEY=NUMBER,NUMBER,..., got {text!r}.", 2)
    return key.strip(), numbers


def _record(f: Landscape, options: given.Escape) -> int:
    if options["record"] is not None:
        return options["record"]
    return 0 if f.layout else RECORDED
