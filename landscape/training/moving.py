"""Torch optimisers that move tensors by the gradients of a landscape's own terms, one micro-batch a
step.

x: (n,) the landscape's point. The tensors moved are the optimiser's parameters or copies of them,
in its order; of those that are no part of x the gradient is None.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.core import Landscape, Term
from landscape.results import journal
from landscape.training.follow import Followed


@dataclass(frozen=True)
class Habits:
    """What a loop does with gradients besides handing them on."""

    adds_up: bool = False  # the gradient of the last step is not cleared
    gives_none: bool = False
    clip: float = math.inf  # the largest norm that is handed on
    one_batch: bool = False  # every step sees the first micro-batch


NONE = Habits()


class Mover:
    """Steps ``tensors``, of which tensor i is the part ``slices[i]`` of x, by the terms of f.

    Attributes:
        spent: passes over all the data that went into gradients so far.
    """

    def __init__(
        self,
        f: Landscape,
        tensors: Sequence[Tensor],
        slices: Sequence[slice | None],
        x: Tensor,
        habits: Habits = NONE,
    ) -> None:
        self.f, self.tensors, self.slices = f, tensors, slices
        self.base, self.spent, self.habits = x.clone(), 0.0, habits
        with f.evaluation():
            self.terms = list(f.terms())
        self.data = [t for t in self.terms if t.batch is not None]

    def point(self) -> Tensor:
        """Where the tensors are, a new x."""
        x = self.base.clone()
        for where, p in zip(self.slices, self.tensors, strict=True):
            if where is not None:
                x[where] = p.detach().reshape(-1).to(x)
        return x

    def write(self, x: Tensor) -> None:
        """Move the tensors to x."""
        self.base = x.clone()
        with torch.no_grad():
            for where, p in zip(self.slices, self.tensors, strict=True):
                if where is not None:
                    p.copy_(x[where].view_as(p))

    def step(self, optimizer: Optimizer, draws: torch.Generator | None) -> float:
        """One step on the gradient of a micro-batch drawn from ``draws``, a CPU generator; of all
        the data with None.

        The loss before.
        """
        whole = draws is None or not self.data
        terms = self.terms
        if draws is not None and self.data:
            drawn = int(torch.randint(len(self.data), (), generator=draws, device="cpu"))
            chosen = self.data[0 if self.habits.one_batch else drawn]
            terms = [chosen, *(t for t in self.terms if t.batch is None)]

        def closure() -> float:
            with self.f.evaluation():
                return self._differentiate(terms, whole)

        return float(optimizer.step(closure))

    def _differentiate(self, terms: list[Term], whole: bool) -> float:
        """Write the gradient of the terms into the tensors; the value."""
        batches = [(term.batch, whole or term.batch is None) for term in terms]
        what = f"steps {batches} {journal.identity(self.f)}"
        x = self.point()
        gradient, total = journal.recalled(what, [x], lambda: self._slope(terms, whole, x))
        for term in terms:
            self.spent += 1.0 if term.batch is None and not self.data else term.share
        self._hand_on(gradient)
        return float(total)

    def _slope(self, terms: list[Term], whole: bool, x: Tensor) -> list[Tensor]:
        """The gradient (n,) of the terms at x, and their value."""
        x = x.requires_grad_(True)
        gradient, total = torch.zeros_like(x), x.new_zeros(())
        with torch.enable_grad():
            for term in terms:
                value = term.function(x)
                scale = 1.0 if whole or term.batch is None else 1.0 / term.share
                if value.requires_grad:
                    gradient += scale * torch.autograd.grad(value, x)[0]
                total += scale * value.detach()
        return [gradient, total]

    def _hand_on(self, gradient: Tensor) -> None:
        """Give the tensors their parts of the gradient (n,), as the loop does."""
        norm = float(gradient.double().norm()) if self.habits.clip < math.inf else 0.0
        short = self.habits.clip / norm if norm > self.habits.clip else 1.0
        for where, p in zip(self.slices, self.tensors, strict=True):
            if where is None or self.habits.gives_none:
                p.grad = None
                continue
            part = short * gradient[where].view_as(p).to(p)
            p.grad = part + p.grad if self.habits.adds_up and p.grad is not None else part


def slices(followed: Followed) -> tuple[list[Tensor], list[slice | None]]:
    """The optimisers' parameters in their order, and which part of x each is."""
    where = {id(p): s for p, s in zip(followed.parameters, followed.layout.values(), strict=True)}
    parameters = [
        p for o in followed.optimizers for group in o.param_groups for p in group["params"]
    ]
    return parameters, [where.get(id(p)) for p in parameters]
