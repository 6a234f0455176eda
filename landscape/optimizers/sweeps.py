"""Escape compared across settings: one study a value of a learning rate, a noise, a dimension, a
curvature, with the theory beside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from landscape import specs
from landscape.core import Landscape, Progress, require_landscape, silent
from landscape.landscapes.arithmetic import owned
from landscape.optimizers.escape import LeavesBall, Study, escape
from landscape.progress import watched
from landscape.results import Result, journal, result
from landscape.rng import words
from landscape.specs.grammar import Options
from landscape.specs.optimizers import Maker, Spec, as_makers

Problem = Callable[[float], tuple[Landscape, Tensor]]  # value -> landscape and the point to leave


@result("escape-sweep")
@dataclass(frozen=True, eq=False)
class Sweep(Result):
    """One study a value, in the order given; ``sweep[i]`` is that of the i-th.

    Their labels are the same.
    """

    over: str  # what was varied
    values: list[float]
    studies: list[Study]

    def __getitem__(self, i: int) -> Study:
        return self.studies[i]

    @property
    def labels(self) -> list[str]:
        """The optimisers."""
        return list(self.studies[0].results)


@owned()
@watched
def sweep(
    f: Landscape | Problem,
    at: Tensor | Sequence[float] | None,
    optimizers: Sequence[str] | Mapping[str, Maker],
    over: str,
    values: Sequence[float],
    *,
    seed: int = 0,
    progress: Progress = silent,
    **options: Any,
) -> Sweep:
    """Escape for each value of one setting, all else the same.

    Args:
        f: a landscape; or a function of the value that gives a landscape and the point to leave,
            for a dimension, a number or a size of curvatures; ``over`` is then only its name.
        at: (n,) the stationary point; None with a function.
        optimizers: as of ``escape``; labels stay as given when an option of theirs is varied.
        over: an option of the optimisers, such as "lr"; "noise": SIGMA of ``noise="isotropic"`` or
            SIZE of "minibatch" or "hessian"; "start" or "radius"; or whatever a function f varies.
        values: at least one number.
        seed: of the studies, which are independent of each other.
        options: the other arguments of ``escape``.

    Raises:
        ValueError: ``over`` is none of these, or a value is refused.

    Cost: that of the studies.
    """
    if not len(values):
        raise ValueError("values is empty: give at least one number.")
    makers = as_makers(optimizers)
    children = np.random.SeedSequence(seed).spawn(len(values))
    studies = []
    for value, child in zip(values, children, strict=True):

        def told(stage: str, done: int, total: int | None, value: float = value) -> None:
            progress(f"{over} = {value:g}, {stage}", done, total)

        with journal.part(f"{over} {value!r}"):
            g, point, chosen, given = _varied(f, at, makers, over, value, options)
            studies.append(escape(g, point, chosen, seed=words(child)[0], progress=told, **given))
    first = studies[0].provenance
    config = first.config | {"over": over, "values": [float(v) for v in values]}
    return Sweep(
        over,
        [float(v) for v in values],
        studies,
        provenance=replace(first, seed=seed, config=config),
    )


def _varied(
    f: Landscape | Problem,
    at: Tensor | Sequence[float] | None,
    makers: dict[str, Maker],
    over: str,
    value: float,
    options: Options,
) -> tuple[Landscape, Tensor | Sequence[float], dict[str, Maker], Options]:
    """Landscape, point, optimisers and options with ``over`` at ``value``."""
    if callable(f):
        g, point = f(value)
        return g, point, makers, options
    require_landscape(f, "a sweep")
    if at is None:
        raise ValueError("at is missing: it is None with a function f only.")
    if over in ("noise", "start", "radius"):
        return f, at, makers, options | _setting(over, value, options)
    if not all(isinstance(make, Spec) for make in makers.values()):
        raise ValueError(
            f"{over!r} is an option of optimisers written as 'name:option=value' only."
        )
    chosen: dict[str, Maker] = {}
    for label, make in makers.items():
        assert isinstance(make, Spec)
        known = [*list(inspect.signature(make.kind).parameters)[1:], "noise", "start", "radius"]
        if over not in known:
            raise ValueError(
                f"{make.kind.__name__} has no option {over!r} to vary.{specs.closest(over, known)}"
            )
        chosen[label] = replace(make, options={**make.options, over: value})
    return f, at, chosen, options


def _setting(over: str, value: float, options: Options) -> Options:
    if over == "start":
        return {"start": float(value)}
    if over == "radius":
        return {"event": replace(options.get("event", LeavesBall(1.0)), radius=float(value))}
    kind = specs.line(options.get("noise", "isotropic"), "noise").name
    sizes = {"minibatch": f"minibatch:{int(value)}", "hessian": f"hessian:{float(value)!r}"}
    return {"noise": sizes.get(kind, f"isotropic:{float(value)!r}")}
