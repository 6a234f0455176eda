"""What every operator at a point asks of autograd: the point as a leaf, one more backward pass, and
whether it can be trusted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import Node

from landscape.core import Landscape
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned


def leaf(f: Landscape, at: Tensor | Sequence[float] | None) -> Tensor:
    """The point as a new leaf that requires grad; None is where f stands."""
    with owned():
        return f.locate(at).clone().requires_grad_(True)


def vjp(output: Tensor, x: Tensor, v: Tensor, *, keep: bool) -> Tensor:
    """v' d output / d x, as x is shaped; zeros where the output does not depend on x."""
    try:
        (product,) = torch.autograd.grad(output, x, v, retain_graph=keep, allow_unused=True)
    except RuntimeError as error:
        if (
            "not implemented" in str(error)
            or "not differentiable" in str(error)
            or "does not require grad" in str(error)
        ):
            line = str(error).splitlines()[0]
            raise NumericalError(NO_SECOND_DERIVATIVE.format(line)) from error
        raise
    return torch.zeros_like(x) if product is None else product


def _nodes(value: Tensor) -> Iterator[Node]:
    """The nodes of the graph of a value."""
    seen, todo = set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        todo += [parent for parent, _ in node.next_functions]


def require_second_derivative(gradient: Tensor) -> None:
    """Look for the node that ``once_differentiable`` leaves: autograd skips it silently and the
    product would be wrong.
    """
    if any(node.name().endswith("::Error") for node in _nodes(gradient)):
        raise NumericalError(
            NO_SECOND_DERIVATIVE.format("a custom autograd.Function marked once_differentiable")
        )


def functions(value: Tensor) -> Iterator[Node]:
    """The nodes of autograd Functions that are written in Python, in the graph of a value."""
    backward = torch.autograd.function.BackwardCFunction
    return (node for node in _nodes(value) if isinstance(node, backward))


def leaves(value: Tensor) -> Iterator[Tensor]:
    """The leaves that the graph of a value reaches."""
    found = (getattr(node, "variable", None) for node in _nodes(value))
    return (leaf for leaf in found if isinstance(leaf, Tensor))


def name_of(node: Node) -> str:
    """The name of an autograd Function of the user's own."""
    return type(node).__name__.removesuffix("Backward")


@contextmanager
def cut_off(value: Tensor) -> Iterator[list[str]]:
    """The autograd Functions of which a backward pass through ``value``, made inside with
    ``create_graph``, shows that their gradients are cut off from what they depend on.

    What a backward pass gives is linear in what it is given. Where that has a graph and the result
    has none, though it is not zero, the backward pass ran without recording: an adjoint solver's,
    say. Its second derivative would be silently missing.
    """
    lost: list[str] = []

    def watch(name: str) -> Callable[[Sequence[object], Sequence[object]], None]:
        def hook(made: Sequence[object], given: Sequence[object]) -> None:
            results = [g for g in made if isinstance(g, Tensor)]
            recorded = any(isinstance(g, Tensor) and g.requires_grad for g in given)
            if recorded and not any(g.requires_grad for g in results):
                lost.extend([name] if any(bool(g.any()) for g in results) else [])

        return hook

    handles = [node.register_hook(watch(name_of(node))) for node in functions(value)]
    try:
        yield lost
    finally:
        for handle in handles:
            handle.remove()


NO_SECOND_DERIVATIVE = (
    'a kernel has no second derivative ({}): pass method="finite-difference" to Hessian, '
    "or replace the layer by one made of elementary operations."
)
