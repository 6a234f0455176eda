"""Units of a network that have stopped: found over all the data of a landscape, and healed in a
point of it.

A unit is an output of a linear layer whose activation follows at once. Dead: a ReLU that is zero on
every sample. Saturated: a sigmoid or tanh that no sample meets on its slope.
"""

import math

import torch
from torch import Tensor, nn

from landscape.landscapes.model import ModelLandscape
from landscape.results.journal import paused

# Largest slope, as a share of the activation's largest, of a unit that is called saturated.
SATURATED = 1e-3

# a linear layer's name, which of its units (outputs,), their mean |input| (outputs,)
Sick = list[tuple[str, Tensor, Tensor]]


def sick_units(f: ModelLandscape) -> tuple[Sick, Sick]:
    """Units of linear layers that are dead (ReLU, never active) or saturated (sigmoid, tanh, never
    on their slope), over all data.
    """
    layers = {id(m): name for name, m in f.model.named_modules() if isinstance(m, nn.Linear)}
    # The tensors are held, so that no identity is used twice.
    made: dict[int, tuple[str, Tensor]] = {}
    # (layer, whether ReLU) -> the most active or steepest over the data, a unit
    largest: dict[tuple[str, bool], Tensor] = {}
    size: dict[str, list[Tensor]] = {}

    def linear(module: nn.Module, _: object, output: Tensor) -> None:
        made[id(output)] = (layers[id(module)], output)

    def activation(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if id(inputs[0]) not in made:
            return
        name = made[id(inputs[0])][0]
        relu = isinstance(module, nn.ReLU)
        y = output.detach().reshape(-1, output.shape[-1])
        most = _slope(module, y).amax(0)
        key = (name, relu)
        largest[key] = torch.maximum(largest[key], most) if key in largest else most
        size.setdefault(name, []).append(inputs[0].detach().reshape(y.shape).abs().mean(0))

    hooks = []
    try:
        for m in f.model.modules():
            if isinstance(m, nn.Linear):
                hooks.append(m.register_forward_hook(linear))
            elif isinstance(m, nn.ReLU | nn.Sigmoid | nn.Tanh):
                hooks.append(m.register_forward_hook(activation))
        with paused():  # what is recalled makes no pass
            f.value(f.point())
    finally:
        for hook in hooks:
            hook.remove()
    sick: dict[bool, Sick] = {True: [], False: []}
    for (name, relu), most in largest.items():
        units = most <= (0.0 if relu else SATURATED)
        if bool(units.any()):
            sick[relu].append((name, units, torch.stack(size[name]).mean(0)))
    return sick[True], sick[False]


def _slope(activation: nn.Module, y: Tensor) -> Tensor:
    """How steep an activation is where its outputs are y, over its steepest; a ReLU's y itself."""
    if isinstance(activation, nn.ReLU):
        return y
    return y * (1 - y) / 0.25 if isinstance(activation, nn.Sigmoid) else 1 - y * y


def revive(f: ModelLandscape, x: Tensor, dead: Sick, draws: torch.Generator) -> Tensor:
    """x with fresh incoming weights, normal of variance 2 / inputs, and zero biases for the dead
    units.
    """
    x = x.clone()
    for name, units, _ in dead:
        where = f.layout.get(f"{name}.weight")
        if where is not None:
            W = x[where].view(len(units), -1)
            fresh = torch.randn(
                W.shape, generator=draws, dtype=torch.float64, device="cpu"
            ) * math.sqrt(2 / W.shape[1])
            W[units] = fresh.to(W)[units]
        if (where := f.layout.get(f"{name}.bias")) is not None:
            x[where][units] = 0.0
    return x


def rescale(f: ModelLandscape, x: Tensor, saturated: Sick) -> Tensor:
    """x with the incoming weights and biases of saturated units divided by their mean absolute
    input.
    """
    x = x.clone()
    for name, units, size in saturated:
        for part in ("weight", "bias"):
            where = f.layout.get(f"{name}.{part}")
            if where is not None:
                rows = x[where].view(len(units), -1)
                rows[units] /= size[units, None].to(rows)
    return x


# Weights whose root mean square is at most this are next to zero.
ZERO = 1e-4
# Weights that differ by this share of the largest are equal: what rounding leaves of a run's steps.
EQUAL = 1e-3


def zero_layers(f: ModelLandscape, x: Tensor) -> list[str]:
    """Names of f's weight matrices and kernels that are next to zero at x."""
    return [
        name
        for name, where in f.layout.items()
        if len(f.shapes[name]) > 1 and float(x[where].double().square().mean()) <= ZERO**2
    ]


def equal_layers(f: ModelLandscape, x: Tensor) -> list[str]:
    """Names of f's weight matrices and kernels whose units, three at least, all have the same
    weights at x up to EQUAL: gradients keep them equal.
    """
    found = []
    for name, where in f.layout.items():
        rows = x[where].view(f.shapes[name][0], -1) if len(f.shapes[name]) > 1 else x[:0]
        if len(rows) >= 3:
            apart = (rows - rows[:1]).abs().max()
            if float(apart) <= EQUAL * float(rows.abs().max()):
                found.append(name)
    return found


def started(f: ModelLandscape, x: Tensor, names: list[str], draws: torch.Generator) -> Tensor:
    """x with fresh weights, normal of variance 1 / inputs, in the layers of these names."""
    x = x.clone()
    for name in names:
        shape = f.shapes[name]
        fresh = torch.randn(shape, generator=draws, dtype=torch.float64, device="cpu")
        x[f.layout[name]] = (fresh / math.sqrt(shape[1:].numel())).reshape(-1).to(x)
    return x
