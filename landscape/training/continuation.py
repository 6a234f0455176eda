"""A stuck checkpoint without a trace: a short traced run from there, on a copy."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.core import Landscape, Progress, require_finite, silent
from landscape.results.journal import paused
from landscape.rng import generator
from landscape.specs.optimizers import Maker, maker
from landscape.specs.schedules import Schedule
from landscape.training.follow import Followed
from landscape.training.moving import Mover, slices
from landscape.training.restored import Saved, restore
from landscape.training.trace import Trace
from landscape.training.tracer import Tracer

RECORDS = 20  # of a continuation, where nothing else is said


@dataclass(frozen=True)
class Continuation:
    """A run that was continued from where a landscape was: what ``diagnose`` needs to try remedies
    at its end.
    """

    trace: Trace
    f: Landscape  # of a copy of the model, at the end of the run
    optimizer: Optimizer  # over the copy's parameters
    # In words, what of a saved state the optimiser went on with; empty where none was given.
    restored: str = ""


def continuation(
    f: Landscape,
    optimizer: str | Maker,
    *,
    state: Saved | None = None,
    at: Tensor | Sequence[float] | None = None,
    schedule: str | None = None,
    steps: int = 100,
    every: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Continuation:
    """Train a copy of f's model for some traced steps, one micro-batch of f each.

    Args:
        f: the landscape of a checkpoint; its model is not touched. Its micro-batches should be as
            large as those of the run.
        optimizer: ``"adam:lr=1e-3"``, a torch class in any case with its options, or a function of
            a list of parameters.
        state: ``optimizer.state_dict()`` of the run's own, which goes on with its momenta, moments
            and step counts, and with its options, groups included, where the string names no
            others; a function's stay its own. None: it starts anew.
        at: where to start, (n,); None: where the model is. A formula has no such place and needs
            it.
        schedule: as in ``schedule_curve``, stepped after every optimiser step; None: the rate
            stays.
        steps: optimiser steps.
        every: steps from one record to the next; None: so that there are about 20.
        seed: of the draws of micro-batches.

    Raises:
        ValueError: an unknown optimiser, schedule or option; a state of another kind of optimiser,
            or of other parameters; a formula without ``at``; fewer than one step.
        NumericalError: the loss is not finite at the start.

    Cost: steps gradients of a micro-batch, and what ``Tracer`` takes.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    ours, parameters = on_copy(f, at)
    made, restored = going_on(ours, parameters, optimizer, state)
    if schedule is not None:
        for group in made.param_groups:
            group.pop("initial_lr", None)  # of the run's own schedule
    rates = None if schedule is None else Schedule(schedule, made)
    followed = Followed(made, ours)
    mover = Mover(ours, *slices(followed), followed.point())
    require_finite(ours.value(followed.point()), "the loss where the run starts")
    draws = generator(seed)
    with Tracer(made, ours, every=every or max(1, steps // RECORDS)) as tracer:
        for step in range(steps):
            progress("traced steps", step, steps)
            # what is recalled makes no passes, and the tracer looks at them
            with paused() if tracer.looking else nullcontext():
                loss = mover.step(made, draws)
            if rates is not None:
                rates.step(loss)
    return Continuation(tracer.result, ours, made, restored)


def going_on(
    f: Landscape,
    parameters: list[nn.Parameter],
    optimizer: str | Maker,
    state: Saved | None,
) -> tuple[Optimizer, str]:
    """The optimiser of these parameters of f's, with the state that the run's own had, and in words
    what of it was taken.

    Raises:
        ValueError: an unknown optimiser or option; a state of another kind of optimiser, or of
            other parameters.
    """
    spec = maker(optimizer) if isinstance(optimizer, str) else None
    made = (made_by(optimizer) if isinstance(optimizer, str) else optimizer)(parameters)
    if state is None:
        return made, ""
    named = f.parameters() if f.layout else {"x": parameters[0]}
    return made, restore(made, named, state, None if spec is None else spec.options)


def on_copy(
    f: Landscape, at: Tensor | Sequence[float] | None
) -> tuple[Landscape, list[nn.Parameter]]:
    """The landscape of a copy of f's model, moved to ``at``, and the parameters that an optimiser
    steps.

    Raises:
        ValueError: ``at`` is of another size, or missing for a formula.
    """
    x = f.locate(at)
    ours = f.copy(x)
    if not ours.layout:
        return ours, [nn.Parameter(x.clone())]
    named = ours.parameters()
    return ours, [named[k] for k in ours.layout]


def made_by(spec: str) -> Maker:
    """As ``makers.maker``; what torch has against an option's value is a ValueError that names the
    spec.

    Raises:
        ValueError: torch has no such optimiser or option.
    """
    make = maker(spec)

    def made(parameters: list[nn.Parameter]) -> Optimizer:
        try:
            return make(parameters)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer {spec!r}: {error}.") from error

    return made
