"""What the optimiser of a run had gathered, put into a new one: momenta, moments and step counts go
on instead of starting at zero.

A saved state is what ``optimizer.state_dict()`` gives: groups of numbered parameters with their
options, and what is kept for each number. Numbers are no names. They follow the order in which the
run listed its parameters: all of the model's, the trainable ones, or of either the matrices first
and the vectors after, as where weight decay is of the matrices only. Every tensor must fit that
order.
"""

import copy
import inspect
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from landscape.specs.optimizers import OPTIMIZERS

# What torch saves of an optimiser, of a group, of a parameter; and how it numbers parameters.
Saved = Mapping[str, Any]
Number = Hashable
# What DataParallel, torch.compile and Lightning put before names.
PREFIXES = ("module.", "_orig_mod.", "model.")
# How steps are computed, not what they are.
_KERNELS = ("foreach", "fused", "capturable", "differentiable")
_OPTIONS = {name for kind in OPTIMIZERS.values() for name in inspect.signature(kind).parameters}


def restore(
    optimizer: Optimizer,
    named: Mapping[str, nn.Parameter],
    saved: Saved,
    stated: Collection[str] | None = None,
) -> str:
    """Put a saved state into a new optimiser of the same kind.

    Args:
        optimizer: over some of the parameters; changed only where the state fits.
        named: all of the model's parameters, in order.
        saved: ``state_dict()`` of the run's optimiser.
        stated: options that stay as they are; the others, and which parameters form a group, become
            those saved. None: all stay.

    Returns:
        What was taken, in words.

    Raises:
        ValueError: the state is of another kind of optimiser, or of other parameters.
    """
    groups, kept = _parts(saved)
    _require_kind(optimizer, groups)
    names = _names(groups, kept, named)
    numbered = {number: named[name] for number, name in names.items()}
    if stated is not None:
        optimizer.param_groups = _regrouped(optimizer, groups, numbered, stated)
    place = {id(p): i for i, p in enumerate(_parameters(optimizer))}
    numbers = [i for i, p in numbered.items() if i in kept and id(p) in place]
    body = optimizer.state_dict()
    body["state"] = {place[id(numbered[i])]: copy.deepcopy(kept[i]) for i in numbers}
    optimizer.load_state_dict(body)
    return _told([kept[i] for i in numbers], optimizer, stated)


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _regrouped(
    optimizer: Optimizer,
    groups: Sequence[Saved],
    numbered: Mapping[Number, nn.Parameter],
    stated: Collection[str],
) -> list[dict[str, object]]:
    """The saved groups of the optimiser's own parameters, with their options unless ``stated``."""
    mine = {id(p) for p in _parameters(optimizer)}
    own = ("params", "param_names")
    skipped = {*own, *_KERNELS, *stated}
    base = {k: v for k, v in optimizer.param_groups[0].items() if k not in own}
    regrouped = []
    for group in groups:
        members = [numbered[i] for i in group["params"] if id(numbered[i]) in mine]
        options = {k: v for k, v in group.items() if k not in skipped}
        if members:
            _require_options(type(optimizer), members, base | options)
            regrouped.append({**base, **copy.deepcopy(options), "params": members})
    return regrouped


def _told(states: list[Saved], optimizer: Optimizer, stated: Collection[str] | None) -> str:
    rate = float(optimizer.param_groups[0]["lr"])
    words = "" if stated is None or "lr" in stated else f", and its rate of {rate:.3g}"
    gathered = sorted(
        {
            key
            for state in states
            for key, value in state.items()
            if value is not None and key != "step"
        }
    )
    if not gathered:
        return f"the saved optimiser had gathered nothing{words}"
    steps = max((int(state["step"]) for state in states if "step" in state), default=None)
    after = "" if steps is None else f" after {steps} steps"
    return (
        f"with the optimiser's saved {', '.join(gathered)} of {len(states)} tensors{after}{words}"
    )


def _parts(
    saved: Saved,
) -> tuple[Sequence[Saved], Mapping[Number, Saved]]:
    groups, kept = saved.get("param_groups"), saved.get("state")
    if not isinstance(kept, Mapping) or not isinstance(groups, list | tuple) or not groups:
        raise ValueError(
            "no optimiser's state: it has no 'state' and 'param_groups'. Pass "
            "optimizer.state_dict()."
        )
    if not all(
        isinstance(group, Mapping) and isinstance(group.get("params"), list | tuple)
        for group in groups
    ):
        raise ValueError(
            "no optimiser's state: a group in its 'param_groups' has no list 'params'."
        )
    if not all(isinstance(state, Mapping) for state in kept.values()):
        raise ValueError("no optimiser's state: what it keeps for a parameter is no dict.")
    if not all(isinstance(state.get("step", 0), int | float | Tensor) for state in kept.values()):
        raise ValueError("no optimiser's state: a count of steps in it is no number.")
    return groups, kept


def _require_kind(optimizer: Optimizer, groups: Sequence[Saved]) -> None:
    foreign = sorted(
        {k for group in groups for k in group if k in _OPTIONS}
        - {"params", *_KERNELS, *optimizer.defaults}
    )
    if foreign:
        raise ValueError(
            f"the saved state is of another optimiser than {type(optimizer).__name__}: it has "
            f"{', '.join(foreign)}. "
            "Name the one that the run had."
        )
    if isinstance(optimizer, Adam):  # torch's AdamW is an Adam with this option, and all the others
        decoupled = isinstance(optimizer, AdamW) or bool(
            optimizer.defaults["decoupled_weight_decay"]
        )
        if any(
            bool(group.get("decoupled_weight_decay", decoupled)) != decoupled for group in groups
        ):
            raise ValueError(
                f"the saved state is of {'Adam' if decoupled else 'AdamW'}, not "
                f"{type(optimizer).__name__}: "
                "its weight decay is another. Name the one that the run had."
            )


def _require_options(kind: type[Optimizer], parameters: list[nn.Parameter], options: Saved) -> None:
    """The class itself says what it does not take."""
    known = inspect.signature(kind).parameters
    try:
        kind(parameters, **{k: v for k, v in options.items() if k in known})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the saved state has options that {kind.__name__} does not take: {error}"
        ) from error


def _names(
    groups: Sequence[Saved],
    kept: Mapping[Number, Saved],
    named: Mapping[str, nn.Parameter],
) -> dict[Number, str]:
    """The name of every numbered parameter."""
    numbers = [number for group in groups for number in group["params"]]
    for order in _orders(groups, named):
        names = dict(zip(numbers, order, strict=False))
        fit = all(_fits(kept.get(i, {}), named.get(name)) for i, name in names.items())
        if len(order) == len(numbers) and fit:
            return names
    trainable = sum(p.requires_grad for p in named.values())
    raise ValueError(
        f"the saved state does not fit: it is of {len(numbers)} parameters in {len(groups)} "
        f"groups, and the model has {len(named)}, {trainable} of them trainable, or their shapes "
        "are others. Made by Optimizer(model.named_parameters()), a state has names and fits in "
        "any order."
    )


def _orders(groups: Sequence[Saved], named: Mapping[str, nn.Parameter]) -> list[list[str]]:
    """The orders that a run may have numbered its parameters in: by the names saved, if there are
    any, else all or the trainable ones, with matrices before vectors where there are groups.
    """
    if all(group.get("param_names") for group in groups):
        return [[_known(str(name), named) for group in groups for name in group["param_names"]]]
    orders = [list(named), [k for k, p in named.items() if p.requires_grad]]
    if len(groups) == 1:
        return orders
    # sorted is stable
    return orders + [sorted(order, key=lambda k: named[k].ndim < 2) for order in orders]


def _known(name: str, named: Mapping[str, nn.Parameter]) -> str:
    """The name without what wrappers put before it."""
    while name not in named:
        prefix = next((p for p in PREFIXES if name.startswith(p)), None)
        if prefix is None:
            break
        name = name.removeprefix(prefix)
    return name


def _fits(state: Saved, parameter: nn.Parameter | None) -> bool:
    if parameter is None:
        return False
    tensors = [v for v in state.values() if isinstance(v, Tensor)]
    return all(_of(v, parameter) for v in tensors) and not any(
        isinstance(v, list) for v in state.values()
    )


def _of(kept: Tensor, parameter: Tensor) -> bool:
    """Whether a tensor is a number, or of the parameter: of its entries, or of rows or columns."""
    alike = zip(kept.shape, parameter.shape, strict=False)
    whole = kept.ndim == parameter.ndim and all(size in (1, of) for size, of in alike)
    return kept.numel() == 1 or whole
