"""The generalised Gauss-Newton matrix of a model's landscape at a point, known by its products."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.core import OutputTerm, Term
from landscape.landscapes.memory import eased
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.operators.base import SymmetricOperator
from landscape.operators.derivatives import leaf, vjp
from landscape.results import journal


class GaussNewton(SymmetricOperator):
    """The generalised Gauss-Newton matrix G = sum over batches of J' (d2 loss / d output2) J, plus
    the regulariser's Hessian.

    H - G is what the model's own second derivatives contribute (Schraudolph 2002, Neural
    Computation 14:1723). The loss may be any twice differentiable loss(output, target); for convex
    losses G is positive semidefinite.

    Args:
        f: a ModelLandscape with loss(output, target) and one output tensor.
        at: the point (n,); None: the model's current one.

    Raises:
        TypeError: f is not a ModelLandscape.
        ValueError: the loss hides the model's output, or the output is not a tensor.

    Cost of a product: about 4 gradients; graphs are rebuilt for every block of vectors.

    Examples:
        >>> import landscape as ls, torch
        >>> x, y = torch.linspace(-1, 1, 20)[:, None], torch.linspace(0, 2, 20)[:, None]
        >>> f = ls.ModelLandscape(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, y)])
        >>> G = ls.GaussNewton(f)
        >>> float((G - ls.Hessian(f)).dense().abs().max()) < 1e-6
        True
    """

    def __init__(self, f: ModelLandscape, at: Tensor | Sequence[float] | None = None) -> None:
        needs = (
            "the Gauss-Newton matrix needs a ModelLandscape, whose loss has an output to stop at"
        )
        require_model(f, f"{needs}, got {type(f).__name__}.", TypeError)
        self.f, self.x = f, leaf(f, at)
        super().__init__(f.dim, self.x.dtype, self.x.device)
        f.first_output(self.x.detach())  # raises what it raises before any product is asked for

    @property
    def eps(self) -> float:
        """The rounding unit of f's own arithmetic."""
        return self.f.rounding(self.x.detach())

    def _in_float64(self) -> SymmetricOperator | None:
        if self.dtype == torch.float64 and self.f.precision == "full":
            return None
        return self._in_full_of(self.f.astype(torch.float64))

    def _in_full(self) -> SymmetricOperator | None:
        return None if self.f.precision == "full" else self._in_full_of(self.f)

    def _in_full_of(self, f: ModelLandscape) -> SymmetricOperator:
        """The same matrix of f, in its dtype and in full precision."""
        finer = copy.copy(f)
        finer.precision = "full"
        return GaussNewton(finer, self.x.detach().to(f.dtype))

    def _multiply(self, V: Tensor) -> Tensor:
        what = f"Gauss-Newton products {journal.identity(self.f)}"
        f, x = self.f, self.x.detach()
        (product,) = journal.recalled(
            what,
            [self.x, V],
            lambda: [eased(f, x, lambda: self._multiplied(V))],
            f.ranks,
        )
        return product

    def _multiplied(self, V: Tensor) -> Tensor:
        total, f = torch.zeros_like(V), self.f
        with f.ranks.together(), f.evaluation(self.x, f.precision), torch.enable_grad():
            for term in f.output_terms(dealt=True):
                total += self._term_product(term, V)
            for regulariser in (t for t in f.dealt_terms() if t.batch is None):
                total += self._regulariser_product(regulariser, V)
        return f.ranks.total(total)

    def _term_product(self, term: OutputTerm, V: Tensor) -> Tensor:
        output = term.output(self.x)
        dummy = torch.zeros_like(output, requires_grad=True)
        (pulled,) = torch.autograd.grad(
            output, self.x, dummy, create_graph=True
        )  # J'u, linear in u: its vjp is J v
        at = output.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(term.criterion(at), at, create_graph=True)
        columns = []
        for v in V.T:
            (pushed,) = torch.autograd.grad(pulled, dummy, v, retain_graph=True)
            curved = (
                vjp(slope, at, pushed, keep=True)
                if slope.requires_grad
                else torch.zeros_like(pushed)
            )
            columns.append(vjp(output, self.x, curved, keep=True))
        return torch.stack(columns, dim=1)

    def _regulariser_product(self, term: Term, V: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(term.function(self.x), self.x, create_graph=True)
        if not gradient.requires_grad:
            return torch.zeros_like(V)
        return torch.stack([vjp(gradient, self.x, v, keep=True) for v in V.T], dim=1)
