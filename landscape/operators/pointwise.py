"""Gradients and Hessians at many points at once, for landscapes of few variables.

X: (B, n) points, g: (B, n) gradients, H: (B, n, n) Hessians.
"""

import torch
from torch import Tensor
from torch.func import grad, vmap

from landscape.core import Landscape
from landscape.errors import NumericalError, memory_is_full
from landscape.landscapes.arithmetic import owned
from landscape.operators.derivatives import require_second_derivative

MANY = 32  # columns of a Hessian in one vectorised backward pass, from so many on


NO_SECOND_DERIVATIVE = (
    "the formula has no second derivative ({}); make it of elementary operations."
)


@owned()
def derivatives(f: Landscape, X: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (B, n) and Hessians (B, n, n) at points X (B, n). Cost: n products a point, one
    backward pass a column for all.

    Raises:
        NumericalError: f has no second derivative.
    """
    x = X.detach().requires_grad_(True)
    with f.evaluation(), torch.enable_grad():
        g = _slope(f, x)
        if not g.requires_grad:  # linear, as far as autograd can tell
            if bool((g != g[:1]).any()):
                raise NumericalError(
                    NO_SECOND_DERIVATIVE.format("its gradient varies but is detached from x")
                )
            return g, X.new_zeros(*X.shape, f.dim)
        require_second_derivative(g)
        try:
            H = _jacobian(g, x)
        except RuntimeError as error:
            if memory_is_full(error):
                raise
            raise NumericalError(NO_SECOND_DERIVATIVE.format(str(error).splitlines()[0])) from error
    return g.detach(), 0.5 * (H + H.mT)


def eigenpairs(H: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (B, n), ascending, and eigenvectors (B, n, n) of small symmetric matrices, where
    H is. They are computed on the CPU: on CUDA, matrices of a batch go one after another.
    """
    values, vectors = torch.linalg.eigh(H.cpu())
    return values.to(H.device), vectors.to(H.device)


def _slope(f: Landscape, x: Tensor) -> Tensor:
    """The gradients (B, n) at x, which requires grad, as functions of x; use inside
    ``f.evaluation()``.
    """
    if f.layout:
        terms = list(f.terms())
        slope: Tensor = vmap(
            grad(lambda y: torch.stack([t.function(y) for t in terms]).sum()), randomness="same"
        )(x)
        return slope
    value = f.value(x).sum()
    if not value.requires_grad:
        return torch.zeros_like(x, requires_grad=False)
    (g,) = torch.autograd.grad(value, x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x, requires_grad=False) if g is None else g


def _jacobian(g: Tensor, x: Tensor) -> Tensor:
    """d g / d x by rows, (B, n, n): one backward pass a column, or many columns at once where there
    are many.
    """
    n = x.shape[1]
    if n < MANY:
        columns = [
            torch.autograd.grad(g[:, i].sum(), x, retain_graph=i + 1 < n, allow_unused=True)[0]
            for i in range(n)
        ]
        return torch.stack(
            [torch.zeros_like(x) if column is None else column for column in columns], dim=1
        )
    unit = torch.eye(n, dtype=x.dtype, device=x.device)[:, None, :].expand(n, *x.shape)
    blocks = [
        torch.autograd.grad(
            g, x, unit[i : i + MANY], retain_graph=i + MANY < n, is_grads_batched=True
        )[0]
        for i in range(0, n, MANY)
    ]
    return torch.cat(blocks).transpose(0, 1)
