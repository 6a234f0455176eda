"""Many runs of a real torch optimiser side by side.

X: (R, n), one run a row. The elementwise optimisers of torch treat the rows of a parameter (R, n)
as R independent runs, so that one optimiser drives them all (``Together``), with a parameter for
each group of options (``Grouped``). Every other class gets an optimiser a row (``Apart``), over the
parameters of a model in their own shapes: Muon and Adafactor treat matrices as matrices.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from landscape.core import Landscape
from landscape.specs.optimizers import ELEMENTWISE, Maker, Spec

# Points (R, n) -> gradients (R, n), and points (R, n) -> values (R,).
Rowwise = Callable[[Tensor], Tensor]


class Together:
    """One optimiser over one parameter (R, n)."""

    def __init__(self, rows: nn.Parameter, optimizer: Optimizer) -> None:
        self.optimizers, self.rows = [optimizer], rows

    @property
    def points(self) -> Tensor:
        return self.rows.detach()

    def put(self, X: Tensor) -> None:
        with torch.no_grad():
            self.rows.copy_(X)

    def step(self, gradients: Rowwise, values: Rowwise) -> None:
        self.rows.grad = gradients(self.points)
        self.optimizers[0].step()


class Grouped:
    """One optimiser over a parameter (R, c) for each group of options."""

    def __init__(self, X: Tensor, spec: Spec, layout: Mapping[str, slice]) -> None:
        groups = spec.split(list(layout))
        numbers = torch.arange(X.shape[1], device=X.device)
        self.columns = [torch.cat([numbers[layout[name]] for name in names]) for names, _ in groups]
        self.parts = [nn.Parameter(X[:, c]) for c in self.columns]
        options = [
            {"params": [part], **own} for part, (_, own) in zip(self.parts, groups, strict=True)
        ]
        self.optimizers = [spec.kind(options, **spec.options)]

    @property
    def points(self) -> Tensor:
        X = self.parts[0].new_empty(len(self.parts[0]), sum(len(c) for c in self.columns))
        for part, c in zip(self.parts, self.columns, strict=True):
            X[:, c] = part.detach()
        return X.detach()

    def put(self, X: Tensor) -> None:
        with torch.no_grad():
            for part, c in zip(self.parts, self.columns, strict=True):
                part.copy_(X[:, c])

    def step(self, gradients: Rowwise, values: Rowwise) -> None:
        G = gradients(self.points)
        for part, c in zip(self.parts, self.columns, strict=True):
            part.grad = G[:, c]
        self.optimizers[0].step()


class Apart:
    """An optimiser for each row, over parameters that make up the row one after the other."""

    def __init__(self, rows: list[list[nn.Parameter]], make: Callable[[int], Optimizer]) -> None:
        self.rows = rows
        self.optimizers = [make(i) for i in range(len(rows))]
        self.sizes = [p.numel() for p in rows[0]]

    @property
    def points(self) -> Tensor:
        return torch.stack([torch.cat([p.detach().reshape(-1) for p in row]) for row in self.rows])

    def put(self, X: Tensor) -> None:
        with torch.no_grad():
            for row, x in zip(self.rows, X, strict=True):
                for p, part in zip(row, torch.split(x, self.sizes), strict=True):
                    p.copy_(part.view_as(p))

    def step(self, gradients: Rowwise, values: Rowwise) -> None:
        """LBFGS asks for what it wants where it wants it; the others get gradients here."""
        if isinstance(self.optimizers[0], optim.LBFGS):
            for optimizer, row in zip(self.optimizers, self.rows, strict=True):
                optimizer.step(partial(self._evaluate, row, gradients, values))
            return
        for optimizer, row, g in zip(
            self.optimizers, self.rows, gradients(self.points), strict=True
        ):
            self._set_gradient(row, g)
            optimizer.step()

    def _evaluate(self, row: list[nn.Parameter], gradients: Rowwise, values: Rowwise) -> float:
        """The value at a row, with its gradient in the parameters' ``grad``."""
        x = torch.cat([p.detach().reshape(-1) for p in row])[None]
        self._set_gradient(row, gradients(x)[0])
        return float(values(x)[0])

    def _set_gradient(self, row: list[nn.Parameter], g: Tensor) -> None:
        for p, part in zip(row, torch.split(g, self.sizes), strict=True):
            p.grad = part.reshape(p.shape)


def _runs(X: Tensor, make: Maker, model: Landscape | None) -> Together | Grouped | Apart:
    """The runs from X (R, n); model: whose names and shapes count, None for flat vectors."""
    if isinstance(make, Spec) and model is not None:
        spec, layout, shapes = make, model.layout, model.shapes
        if spec.kind not in ELEMENTWISE:
            named = [
                {k: nn.Parameter(x[s].reshape(shapes[k]).clone()) for k, s in layout.items()}
                for x in X
            ]
            return Apart([list(row.values()) for row in named], lambda i: spec.grouped(named[i]))
        if spec.groups:
            return Grouped(X, spec, layout)
    whole = nn.Parameter(X.clone())
    optimizer = make([whole])
    # A subclass of an elementwise optimiser may do anything.
    if type(optimizer) in ELEMENTWISE:
        return Together(whole, optimizer)
    rows = [[nn.Parameter(x.clone())] for x in X]
    return Apart(rows, lambda i: make(rows[i]))


class Ensemble:
    """R runs from the rows of X (R, n), stepped together.

    Args:
        make: a list of parameters -> an optimiser.
        gradients: points (R, n) -> gradients (R, n).
        values: points (R, n) -> values (R,), for optimisers that ask for the loss (LBFGS).
        move: points (R, n) -> points: what happens to them before every step; None: nothing.
        f: the landscape whose parameters have names and shapes; None: a point is a flat vector.

    Raises:
        ValueError: the optimiser refuses its options.
    """

    def __init__(
        self,
        X: Tensor,
        make: Maker,
        gradients: Rowwise,
        values: Rowwise,
        move: Rowwise | None = None,
        f: Landscape | None = None,
    ) -> None:
        self.gradients, self.values, self.move = gradients, values, move
        try:
            self.runs = _runs(X.detach(), make, f if f is not None and f.layout else None)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the optimiser cannot be made: {error}") from error

    @property
    def optimizers(self) -> list[Optimizer]:
        """One for all runs, or one a run."""
        return self.runs.optimizers

    @property
    def together(self) -> bool:
        """Whether one optimiser drives all the runs."""
        return not isinstance(self.runs, Apart)

    @property
    def points(self) -> Tensor:
        """Where the runs are, (R, n)."""
        return self.runs.points

    def put(self, X: Tensor) -> None:
        """Move the runs to X (R, n), leaving the optimisers' state as it is."""
        self.runs.put(X)

    def step(self) -> None:
        """One step of every run.

        Cost: one gradient a run; with LBFGS as many as its closure is called.
        """
        if self.move is not None:
            self.put(self.move(self.points))
        self.runs.step(self.gradients, self.values)


def require_fit(make: Maker, f: Landscape) -> None:
    """Raise a ValueError that says why, if the optimiser cannot drive the points of f."""
    if not isinstance(make, Spec):
        return
    if f.layout:
        make.split(list(f.layout))
        flat = [name for name, shape in f.shapes.items() if len(shape) != 2]
        if flat and make.kind.__name__ == "Muon":
            raise ValueError(
                f"Muon takes matrices only, and {flat[0]} is none: analyse the matrices alone, "
                "include=['*.weight'] say."
            )
        return
    if make.groups:
        raise ValueError(
            "groups are globs over the names of a model's parameters, and a formula has none."
        )
    if make.kind.__name__ == "Muon":
        raise ValueError("Muon takes matrices only: a formula's point is a flat vector.")
