"""How far back in time the gradient of a recurrent layer reaches.

Of a loss that is read off the last steps of a sequence, what the first steps hold reaches the
weights by a product of one factor a step: 0.58 a step, say, for ``nn.RNN`` as it is initialised
(Hochreiter 1991; Pascanu, Mikolov & Bengio 2013, section 2).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from landscape.landscapes.model import ModelLandscape

SHORTEST = 10  # steps of a sequence of which something is said


class Inputs:
    """What the recurrent layers of a model read in one pass, the steps in the order of time."""

    def __init__(self) -> None:
        self.whole: list[tuple[Tensor, int]] = []  # sequences, and the dimension of time
        self.steps: dict[int, list[Tensor]] = {}  # by the cell that reads one step after the other

    def read(self, module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...] | None:
        """A hook before the forward of a layer: its input, of which a gradient is wanted."""
        if not args or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
            return None
        given = args[0] if args[0].requires_grad else args[0].detach().requires_grad_(True)
        if isinstance(module, nn.RNNCellBase):
            self.steps.setdefault(id(module), []).append(given)
        elif given.ndim == 3:
            self.whole.append((given, 1 if module.batch_first else 0))
        return (given, *args[1:])

    def norms(self, value: Tensor) -> Iterator[Tensor]:
        """The norm of the value's gradient in each step (T,), of each layer that sees enough."""
        for sequence, time in self.whole:
            (g,) = torch.autograd.grad(value, sequence, retain_graph=True, allow_unused=True)
            if g is not None and g.shape[time] >= SHORTEST:
                yield g.double().movedim(time, 0).flatten(1).norm(dim=1)
        for steps in self.steps.values():
            if len(steps) >= SHORTEST:
                # zeros for a step that the value does not hang on
                found = torch.autograd.grad(value, steps, retain_graph=True, materialize_grads=True)
                yield torch.stack([g.double().norm() for g in found])


@contextmanager
def _hooked(layers: list[nn.Module], inputs: Inputs) -> Iterator[None]:
    handles = [layer.register_forward_pre_hook(inputs.read) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reach(f: ModelLandscape, x: Tensor) -> tuple[float, int]:
    """The norm of the gradient in the first step of a sequence over that in the step where it is
    largest, at x (n,), the least of all recurrent layers that read one way; and the number of
    steps. NaN and 0 without such layers, or for packed sequences.

    Cost: a gradient of the first batch.
    """
    layers: list[nn.Module] = [
        m
        for m in f.model.modules()
        if isinstance(m, nn.RNNCellBase) or (isinstance(m, nn.RNNBase) and not m.bidirectional)
    ]
    if not layers:
        return math.nan, 0
    inputs, found = Inputs(), [(math.nan, 0)]
    with suppress(RuntimeError), f.evaluation(), torch.enable_grad():
        term = next(iter(f.terms()))
        with _hooked(layers, inputs):
            value = term.function(x.detach().clone().requires_grad_(True))
        for norms in inputs.norms(value):
            largest = float(norms.max())
            if largest > 0:
                found.append((float(norms[0]) / largest, len(norms)))
    return min(found, key=lambda pair: (math.isnan(pair[0]), pair[0]))
