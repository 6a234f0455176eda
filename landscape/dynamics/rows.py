"""A model's landscape at many points at once: all rows in one pass by vmap, or one by one where a module does not allow that.

X: (R, n), one point a row; what else a function takes has one part a row too.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from landscape.core import Landscape
from landscape.errors import LoadingError
from landscape.model import ModelLandscape

Leaves = list[Tensor]


class Rows:
    """``function``(x, ...) -> () at the rows of X. The first row-wise failure of vmap is the last: from then on rows go one by one."""

    def __init__(self, f: ModelLandscape, function: Callable[..., Tensor]) -> None:
        self.f, self.function, self.vectorised = f, function, True

    def values(self, X: Tensor, *rest: Leaves) -> Tensor:
        """(R,). Cost: one forward pass for all rows."""
        with torch.no_grad():
            return self._at(X.detach(), rest, self._losses)

    def gradients(self, X: Tensor, *rest: Leaves) -> Tensor:
        """(R, n). Cost: one forward and one backward pass for all rows."""
        with torch.enable_grad():
            return self._at(X.detach(), rest, self._slopes)

    def _losses(self, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
        losses: Tensor = vmap(self.function, randomness="same")(X, *rest)
        return losses

    def _slopes(self, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
        """Rows do not see each other, so that the gradient of the losses' sum is that of each."""
        X = X.requires_grad_(True)
        losses = self._losses(X, rest)
        (slopes,) = torch.autograd.grad(losses, X, torch.ones_like(losses))
        return slopes

    def _at(self, X: Tensor, rest: Sequence[Leaves], measure: Callable[[Tensor, Sequence[Leaves]], Tensor]) -> Tensor:
        with self.f.evaluation():
            if self.vectorised:
                try:
                    return measure(X, rest)
                except (RuntimeError, LoadingError):  # a model's own errors come again below
                    self.vectorised = False
            return torch.stack([self._alone(x, [[t[i] for t in leaves] for leaves in rest]) for i, x in enumerate(X)])

    def _alone(self, x: Tensor, rest: Sequence[Leaves]) -> Tensor:
        if not torch.is_grad_enabled():
            return self.function(x, *rest)
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(self.function(x, *rest), x)
        return slope


def _whole(f: ModelLandscape) -> Rows:
    return Rows(f, lambda x: torch.stack([term.function(x) for term in f.terms()]).sum())


def gradients(f: Landscape) -> Callable[[Tensor], Tensor]:
    """f's gradient at many points, (R, n) -> (R, n)."""
    return _whole(f).gradients if isinstance(f, ModelLandscape) else f.gradient


def values(f: Landscape) -> Callable[[Tensor], Tensor]:
    """f at many points, (R, n) -> (R,)."""
    return _whole(f).values if isinstance(f, ModelLandscape) else lambda X: f.value(X).detach()
