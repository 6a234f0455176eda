"""A module's pass that is made again in every backward pass, so that weights are whole for one
module at a time.

Autograd sums what the two halves of a second backward pass make of a weight, and keeps the sum
whole from the one to the other: at its height the gradients of all weights of a model. Where each
backward pass makes the module's own pass again, from its inputs and this rank's parts of the
weights, what is made of a whole weight becomes a part within the module.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscape.landscapes.placed import makers, stored_parameters

Part = tuple[Tensor, Callable[[Tensor], Tensor]]  # of a weight, and what makes it whole
UnitPart = tuple[nn.Module, str, Part]  # a weight's module, its name there, and its part


def units(model: nn.Module) -> list[nn.Module]:
    """The modules that have parameters and no module with parameters below them; and those that
    use the weights of one below without calling it.
    """
    one = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    below = {id(inner) for module in one for inner in module.modules()}
    rest = [m for m in model.modules() if id(m) not in below and _is_last(m)]
    return one + rest


def _is_last(module: nn.Module) -> bool:
    inner = [part for part in module.modules() if any(p is not None for p in _own(part))]
    return inner == [module]


def _own(module: nn.Module) -> Iterable[Tensor | None]:
    return stored_parameters(module).values()


class Unit:
    """Stands in the place of a module's forward pass.

    Args:
        forward: the module's own.
        parts: of the module's weights.
        random: whether a pass draws random numbers, which must be the same again.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        parts: list[UnitPart],
        random: bool,
    ) -> None:
        self.forward, self.parts, self.random = forward, parts, random

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, form = tree_flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        given = [leaves[i] for i in places]
        rest = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]

        def run(tensors: tuple[Tensor, ...]) -> Any:
            filled = list(rest)
            for i, t in zip(places, tensors, strict=False):
                filled[i] = t
            own_args, own_kwargs = tree_unflatten(filled, form)
            with self._placed(tensors[len(places) :]):
                return self.forward(*own_args, **own_kwargs)

        told: list[Any] = []
        pieces = [piece for _, _, (piece, _) in self.parts]
        again: Any = _Again
        outputs = again.apply(run, told, self.random, *given, *pieces)
        return _woven(told[0], outputs)

    @contextmanager
    def _placed(self, pieces: tuple[Tensor, ...]) -> Iterator[None]:
        # of the evaluation that is under way, which may be another than that of the first pass
        slots = [(makers(module), name) for module, name, _ in self.parts]
        before = [(made, name, made[name]) for made, name in slots]
        for (made, name), (_, _, (_, whole)), piece in zip(slots, self.parts, pieces, strict=True):
            made[name] = partial(whole, piece)
        try:
            yield
        finally:
            for made, name, maker in before:
                made[name] = maker


class _Again(torch.autograd.Function):
    """A pass of a module, of which a graph keeps what it was given."""

    @staticmethod
    def forward(
        ctx: Any, run: Callable[..., Any], told: list[Any], random: bool, *given: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.run = run
        ctx.drawn = torch.get_rng_state() if random else None
        ctx.save_for_backward(*given)
        leaves, form = tree_flatten(run(given))
        outputs = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        told.append((form, [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]))
        ctx.mark_non_differentiable(*[t for t in outputs if not t.is_floating_point()])
        return outputs

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        recorded, needed = torch.is_grad_enabled(), ctx.needs_input_grad[3:]
        with torch.enable_grad(), _drawing(ctx.drawn):
            again = [_apart(t, recorded) for t in ctx.saved_tensors]
            leaves = tree_flatten(ctx.run(tuple(again)))[0]
            outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            pairs = [
                (output, slope)
                for output, slope in zip(outputs, slopes, strict=True)
                if slope is not None and output.requires_grad
            ]
            wanted = [t for t, need in zip(again, needed, strict=True) if need]
            found = iter(
                torch.autograd.grad(
                    [output for output, _ in pairs],
                    wanted,
                    [slope for _, slope in pairs],
                    create_graph=recorded,
                    allow_unused=True,
                )
            )
        return (None, None, None, *(next(found) if need else None for need in needed))


def _apart(t: Tensor, recorded: bool) -> Tensor:
    """The same numbers as a node of its own: another path to them is none of this pass."""
    if not t.requires_grad:
        return t
    return t.view_as(t) if recorded else t.detach().requires_grad_(True)


@contextmanager
def _drawing(state: Tensor | None) -> Iterator[None]:
    with nullcontext() if state is None else torch.random.fork_rng(devices=[]):
        if state is not None:
            torch.set_rng_state(state)
        yield


def _woven(told: tuple[Any, list[tuple[Any] | None]], outputs: tuple[Tensor, ...]) -> Any:
    form, others = told
    tensors = iter(outputs)
    leaves = [next(tensors) if other is None else other[0] for other in others]
    return tree_unflatten(leaves, form)
