"""The user's own optimiser from the options of a command: its class, its options and its state."""

from torch.optim import LBFGS, Optimizer

from landscape.errors import LoadingError
from landscape.files import checkpoints
from landscape.landscapes.model import ModelLandscape
from landscape.specs.optimizers import maker
from landscape.training.restored import restore

from .. import given
from ..errors import OneLine

State = dict[str, object]


def saved(
    options: given.Analyze | given.Diagnose, there: bool = True
) -> tuple[State | None, tuple[str, ...]]:
    """The saved state of the run's optimiser and where it was read from; None: there is none."""
    stated = options["optimizer_state"]
    path = stated or (options["checkpoint"] if there else None)
    if stated == "none" or path is None:
        return None, ()
    found = checkpoints.read_optimizer(path)
    if found is not None:
        return found[0], (f"optimiser's state read from {found[1]}",)
    if stated is None:
        return None, ()
    raise LoadingError(
        f"{path} holds no optimiser's state: save optimizer.state_dict() under 'optimizer', or by "
        "itself."
    )


def optimizer(f: ModelLandscape, options: given.Analyze) -> tuple[Optimizer | None, list[str]]:
    """The optimiser of f's own parameters with its saved state, and in words what was restored;
    None: none was named.

    Raises:
        LoadingError: the state does not fit.
        OneLine: the line does not make an optimiser.
    """
    line = options["optimizer"]
    if line is None:
        if options["optimizer_state"]:
            raise OneLine("--optimizer-state needs --optimizer, whose state it is.", 2)
        return None, []
    try:
        spec = maker(line)
        named = {name: p for name, p in f.parameters().items() if name in f.layout}
        made = spec.grouped(named)
    except (TypeError, ValueError) as error:
        raise OneLine(f"--optimizer {line!r}: {error}", 2) from error
    if isinstance(made, LBFGS):
        raise OneLine(
            f"--optimizer {line!r}: LBFGS finds the length of each step by trying several, so that "
            "its rate has no edge, and no room.",
            2,
        )
    state, notes = saved(options)
    if state is None:
        return made, list(notes)
    try:
        stated = None if spec.groups else spec.options
        return made, [*notes, restore(made, f.parameters(), state, stated)]
    except ValueError as error:
        if options["optimizer_state"] is not None:
            raise LoadingError(f"{options['optimizer_state']}: {error}") from error
        return made, [f"the checkpoint's optimiser state was left out: {error}"]
