"""A model's landscape at many points at once: all rows in one pass by vmap, or one by one where a
module does not allow that.

X: (R, n), one point a row; what else a function takes has one part a row too.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap

from landscape.core import Landscape
from landscape.errors import LoadingError, RanksError, memory_is_full
from landscape.landscapes.memory import fitting
from landscape.ranks import ALONE, Ranks
from landscape.results import journal

Leaves = list[Tensor]
Function = Callable[..., Tensor]
Measure = Callable[[Function, Tensor, Sequence[Leaves]], Tensor]
MANY = 2**30  # rows at a time: no limit
TOGETHER = 256  # rows of a pass that may have any number: each holds its own activations


class Rows:
    """The sum of some functions (x, ...) -> () at the rows of X. The first failure of vmap is the
    last: from then on rows go one by one.

    Memory: one function's graph at a time, of all rows.
    """

    def __init__(
        self,
        f: Landscape,
        functions: Callable[[], Iterable[Function]],
        ranks: Ranks = ALONE,
    ) -> None:
        self.f, self.functions, self.ranks, self.vectorised = f, functions, ranks, True
        self.width = MANY

    def values(self, X: Tensor, *rest: Leaves) -> Tensor:
        """(R,), summed in float64. Cost: one forward pass for all rows."""

        def compute() -> list[Tensor]:
            with torch.no_grad():
                zero = X.new_zeros(len(X)).double()
                return [self._at(X.detach(), rest, _losses, zero).to(X.dtype)]

        return self._recalled("values", X, rest, compute)

    def gradients(self, X: Tensor, *rest: Leaves) -> Tensor:
        """(R, n). Cost: one forward and one backward pass for all rows."""

        def compute() -> list[Tensor]:
            with torch.enable_grad():
                return [self._at(X.detach(), rest, _slopes, torch.zeros_like(X))]

        return self._recalled("gradients", X, rest, compute)

    def _recalled(
        self,
        of: str,
        X: Tensor,
        rest: Sequence[Leaves],
        compute: Callable[[], Sequence[Tensor]],
    ) -> Tensor:
        what = f"rows' {of} {journal.identity(self.f)}"
        inputs = [X, *(t for leaves in rest for t in leaves)]
        (found,) = journal.recalled(what, inputs, compute, self.ranks)
        return found

    def _at(self, X: Tensor, rest: Sequence[Leaves], measure: Measure, zero: Tensor) -> Tensor:
        def compute() -> Tensor:
            with self.f.evaluation():
                found = []
                for i in range(0, max(1, len(X)), self.width):
                    own = slice(i, i + self.width)
                    rows = [[t[own] for t in leaves] for leaves in rest]
                    found.append(self._block(X[own], rows, measure, zero[own]))
            return found[0] if len(found) == 1 else torch.cat(found)

        return fitting(compute, lambda: self._give_way(X), X.device)

    def _give_way(self, X: Tensor) -> bool:
        """Fewer rows at a time where memory runs out, then smaller pieces of batches."""
        width = min(self.width, len(X))
        if width < 2:
            return self.f.finer(X[0])
        self.width = (width + 1) // 2
        return True

    def _block(self, X: Tensor, rest: Sequence[Leaves], measure: Measure, zero: Tensor) -> Tensor:
        if self.vectorised:
            try:
                return self._sum(partial(_together, measure), X, rest, zero)
            except RanksError:
                raise
            except (RuntimeError, LoadingError) as error:  # a model's own errors come again below
                if memory_is_full(error):
                    raise
                self.vectorised = False
        return self._sum(partial(_one_by_one, measure), X, rest, zero)

    def _sum(self, measure: Measure, X: Tensor, rest: Sequence[Leaves], zero: Tensor) -> Tensor:
        with self.ranks.together():
            parts = (measure(function, X, rest) for function in self.functions())
            total = next(parts, zero)  # a rank may have nothing to evaluate
            for part in parts:
                total = total + part
        return self.ranks.total(total)


def _together(measure: Measure, function: Function, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
    return measure(vmap(function, randomness="same"), X, rest)


def _one_by_one(measure: Measure, function: Function, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
    return torch.stack(
        [measure(function, x, [[t[i] for t in leaves] for leaves in rest]) for i, x in enumerate(X)]
    )


def _losses(function: Function, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
    return function(X, *rest).double()


def _slopes(function: Function, X: Tensor, rest: Sequence[Leaves]) -> Tensor:
    """Rows do not see each other, so that the gradient of the losses' sum is that of each."""
    X = X.detach().requires_grad_(True)
    losses = function(X, *rest)
    (slopes,) = torch.autograd.grad(losses, X, torch.ones_like(losses))
    return slopes


def values_in_parts(f: Landscape, X: Tensor) -> Tensor:
    """f at any number of points X (R, n) -> (R,), ``TOGETHER`` at a time."""
    many = f.many()
    return torch.cat([many.values(part) for part in torch.split(X, TOGETHER)])
