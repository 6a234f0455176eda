"""Many runs of a real torch optimiser side by side.

X: (R, n), one run a row. The elementwise optimisers of torch treat the rows of one parameter (R, n) as R independent runs, so that one
optimiser drives them all, with one such parameter a group of options; every other class gets an optimiser a row, of a model with its
parameters in their own shapes: Muon and Adafactor treat matrices as matrices.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn, optim

from landscape.core import Landscape
from landscape.specs.optimizers import ELEMENTWISE, Maker, Spec

Columns = slice | Tensor
EVERY = slice(None)


class Ensemble:
    """R runs from the rows of X (R, n), stepped together.

    Args:
        make: a list of parameters -> an optimiser.
        gradients: points (R, n) -> gradients (R, n).
        values: points (R, n) -> values (R,), for optimisers that ask for the loss (LBFGS).
        move: points (R, n) -> points, what happens to them before every step; None: nothing.
        f: whose parameters' names and shapes count; None: a point is a flat vector.

    Raises:
        ValueError: the optimiser refuses its options.
    """

    def __init__(
        self,
        X: Tensor,
        make: Maker,
        gradients: Callable[[Tensor], Tensor],
        values: Callable[[Tensor], Tensor],
        move: Callable[[Tensor], Tensor] | None = None,
        f: Landscape | None = None,
    ) -> None:
        self.gradients, self.values, self.move = gradients, values, move
        self.columns: list[Columns] = [EVERY]  # of each parameter of an optimiser
        try:
            self._make(X.detach(), make, f if f is not None and f.layout else None)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the optimiser cannot be made: {error}") from error

    def _make(self, X: Tensor, make: Maker, model: Landscape | None) -> None:
        """``parameters``: a list for each of the ``optimizers``, which are one for all rows, ``together``, or one a row."""
        spec = make if isinstance(make, Spec) and model is not None else None
        if spec is not None and model is not None and spec.kind not in ELEMENTWISE:
            shapes = model.shapes
            self.together, self.columns = False, list(model.layout.values())
            rows = [{k: nn.Parameter(x[s].reshape(shapes[k]).clone()) for k, s in model.layout.items()} for x in X]
            self.parameters = [list(row.values()) for row in rows]
            self.optimizers = [spec.grouped(row) for row in rows]
            return
        if spec is not None and model is not None and spec.groups:
            groups = spec.split(list(model.layout))
            numbers = torch.arange(model.dim, device=X.device)
            self.columns = [torch.cat([numbers[model.layout[name]] for name in members]) for members, _ in groups]
            parameters = [nn.Parameter(X[:, c]) for c in self.columns]
            optimizer = spec.kind(
                [{"params": [p], **own} for p, (_, own) in zip(parameters, groups, strict=True)], **spec.options
            )
            self.together, self.parameters, self.optimizers = True, [parameters], [optimizer]
            return
        whole = nn.Parameter(X.clone())
        optimizer = make([whole])
        self.together = type(optimizer) in ELEMENTWISE  # a subclass may do anything
        self.parameters = [[whole]] if self.together else [[nn.Parameter(row.clone())] for row in X]
        self.optimizers = [optimizer] if self.together else [make(p) for p in self.parameters]

    @property
    def points(self) -> Tensor:
        """Where the runs are, (R, n)."""
        if self.together:
            parts = [p.detach() for p in self.parameters[0]]
        else:
            parts = [torch.stack([p.detach().reshape(-1) for p in same]) for same in zip(*self.parameters, strict=True)]
        if len(parts) == 1:
            return parts[0]
        X = parts[0].new_empty(len(parts[0]), sum(part.shape[1] for part in parts))
        for c, part in zip(self.columns, parts, strict=True):
            X[:, c] = part
        return X

    def step(self) -> None:
        """One step of every run. Cost: one gradient a run; LBFGS as many as its closure is called."""
        if self.move is not None:
            self.put(self.move(self.points))
        if isinstance(self.optimizers[0], optim.LBFGS):
            for optimizer, parameters in zip(self.optimizers, self.parameters, strict=True):
                optimizer.step(partial(self._evaluate, parameters))
            return
        G = self.gradients(self.points)
        for optimizer, parameters, g in zip(self.optimizers, self.parameters, [G] if self.together else G, strict=True):
            self._set_gradient(parameters, g)
            optimizer.step()

    def put(self, X: Tensor) -> None:
        """Move the runs to X (R, n), leaving the optimisers' state as it is."""
        with torch.no_grad():
            for parameters, x in zip(self.parameters, [X] if self.together else X, strict=True):
                for p, c in zip(parameters, self.columns, strict=True):
                    p.copy_(x[..., c].view_as(p))

    def _set_gradient(self, parameters: list[nn.Parameter], g: Tensor) -> None:
        for p, c in zip(parameters, self.columns, strict=True):
            p.grad = g[..., c].reshape(p.shape)

    def _evaluate(self, parameters: list[nn.Parameter]) -> float:
        """The value at the parameters, the gradient in their ``grad``: the closure of an optimiser that asks for it."""
        x = torch.cat([p.detach().reshape(-1) for p in parameters])[None]
        self._set_gradient(parameters, self.gradients(x)[0])
        return float(self.values(x)[0])


def require_fit(make: Maker, f: Landscape) -> None:
    """Raise a ValueError that says why, if the optimiser cannot drive the points of f."""
    if not isinstance(make, Spec):
        return
    if f.layout:
        make.split(list(f.layout))
        if make.kind.__name__ == "Muon":
            flat = [name for name, shape in f.shapes.items() if len(shape) != 2]
            if flat:
                raise ValueError(
                    f"Muon takes matrices only, and {flat[0]} is none: analyse the matrices alone, include=['*.weight'] say."
                )
        return
    if make.groups:
        raise ValueError("groups are globs over the names of a model's parameters, and a formula has none.")
    if make.kind.__name__ == "Muon":
        raise ValueError("Muon takes matrices only: a formula's point is a flat vector.")
