"""What every operator at a point asks of autograd: the point as a leaf, one more backward pass, and
whether it can be trusted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned


def leaf(f: Landscape, at: Tensor | Sequence[float] | None) -> Tensor:
    """The point as a new leaf that requires grad; None is where f stands."""
    with owned():
        return f.locate(at).clone().requires_grad_(True)


def vjp(output: Tensor, x: Tensor, v: Tensor, *, keep: bool) -> Tensor:
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


def require_second_derivative(gradient: Tensor) -> None:
    """Look for the node that ``once_differentiable`` leaves: autograd skips it silently and the
    product would be wrong.
    """
    seen, todo = set(), [gradient.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("::Error"):
            raise NumericalError(
                NO_SECOND_DERIVATIVE.format("a custom autograd.Function marked once_differentiable")
            )
        todo += [parent for parent, _ in node.next_functions]


NO_SECOND_DERIVATIVE = (
    'a kernel has no second derivative ({}): pass method="finite-difference" to Hessian, '
    "or replace the layer by one made of elementary operations."
)
