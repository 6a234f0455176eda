"""Many runs of a real torch optimiser side by side.

X: (R, n), one run a row. The elementwise optimisers of torch treat the rows of one parameter (R, n) as R independent runs, so one
optimiser drives them all; every other class gets an optimiser a row. Gradients are f's own, those of fresh mini-batches, or f's with noise.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.func import grad, vmap
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from landscape import batches as batching
from landscape import specs
from landscape.core import Landscape
from landscape.dynamics.schedules import require_options
from landscape.errors import LoadingError
from landscape.model import ModelLandscape

Maker = Callable[[list[nn.Parameter]], Optimizer]
ELEMENTWISE = (
    optim.SGD, optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax,
    optim.Rprop, optim.ASGD,
)  # fmt: skip
OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): kind
    for name, kind in vars(optim).items()
    if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
}
REFUSED = {"Muon": "matrices", "SparseAdam": "sparse gradients"}  # what these take, and nothing else


def maker(spec: str) -> Maker:
    """``"sgd:lr=0.1,momentum=0.9"`` -> a function of a list of parameters that makes the optimiser.

    Raises:
        ValueError: torch has no such optimiser or option, or it cannot drive a flat vector.
    """
    name, options = specs.split(spec)
    kind = OPTIMIZERS.get(name.strip().lower())
    if kind is None:
        hint = specs.closest(name.strip().lower(), OPTIMIZERS)
        raise ValueError(
            f"no optimiser is called {name!r}.{hint} Known: {', '.join(k.__name__ for k in OPTIMIZERS.values())}."
        )
    if kind.__name__ in REFUSED:
        raise ValueError(
            f"{kind.__name__} takes {REFUSED[kind.__name__]} only: a point is a flat vector with a dense gradient."
        )
    require_options(name, kind, options, skip=1)
    return lambda parameters: kind(parameters, **options)


class Ensemble:
    """R runs from the rows of X (R, n), stepped together.

    Args:
        make: a list of parameters -> an optimiser.
        gradients: points (R, n) -> gradients (R, n).
        values: points (R, n) -> values (R,), for optimisers that ask for the loss (LBFGS).

    Raises:
        ValueError: the optimiser refuses its options.
    """

    def __init__(
        self, X: Tensor, make: Maker, gradients: Callable[[Tensor], Tensor], values: Callable[[Tensor], Tensor]
    ) -> None:
        self.gradients, self.values = gradients, values
        try:
            whole = nn.Parameter(X.detach().clone())
            optimizer = make([whole])
            self.together = type(optimizer) in ELEMENTWISE  # a subclass may do anything
            self.parameters = [whole] if self.together else [nn.Parameter(row.clone()) for row in X.detach()]
            self.optimizers = [optimizer] if self.together else [make([p]) for p in self.parameters]
        except (TypeError, ValueError) as error:
            raise ValueError(f"the optimiser cannot be made: {error}") from error

    @property
    def points(self) -> Tensor:
        """Where the runs are, (R, n)."""
        return self.parameters[0].detach() if self.together else torch.stack([p.detach() for p in self.parameters])

    def step(self) -> None:
        """One step of every run. Cost: one gradient a run; LBFGS as many as its closure is called."""
        if isinstance(self.optimizers[0], optim.LBFGS):
            for optimizer, p in zip(self.optimizers, self.parameters, strict=True):
                optimizer.step(partial(self._evaluate, p))
            return
        G = self.gradients(self.points)
        for optimizer, p, g in zip(self.optimizers, self.parameters, [G] if self.together else G, strict=True):
            p.grad = g
            optimizer.step()

    def put(self, X: Tensor) -> None:
        """Move the runs to X (R, n), leaving the optimisers' state as it is."""
        with torch.no_grad():
            for p, x in zip(self.parameters, [X] if self.together else X, strict=True):
                p.copy_(x)

    def _evaluate(self, p: nn.Parameter) -> float:
        """The value at p, its gradient in ``p.grad``: the closure of an optimiser that asks for it."""
        x = p.detach()[None]
        p.grad = self.gradients(x)[0]
        return float(self.values(x)[0])


# ---- gradients -------------------------------------------------------------------------------------------------------


def gradients(f: Landscape) -> Callable[[Tensor], Tensor]:
    """f's gradient at many points, (R, n) -> (R, n)."""
    if not isinstance(f, ModelLandscape):
        return f.gradient
    return _rowwise(f, lambda x: torch.stack([term.function(x) for term in f.terms()]).sum())


def _rowwise(f: ModelLandscape, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The gradients (R, n) of ``function``(x, ...) -> () at the rows of X (R, n), other arguments row by row too: all at once by vmap; one
    by one from the first time on that a module does not allow it."""
    vectorised = True

    def batched(X: Tensor, *rest: list[Tensor]) -> Tensor:
        nonlocal vectorised
        with f.evaluation():
            if vectorised:
                try:
                    found: Tensor = vmap(grad(function), randomness="same")(X, *rest)
                    return found
                except (RuntimeError, LoadingError):  # a model's own errors come again below
                    vectorised = False
            rows = [[[t[i] for t in leaves] for leaves in rest] for i in range(len(X))]
            return torch.stack([_alone(function, x, *row) for x, row in zip(X, rows, strict=True)])

    return batched


def _alone(function: Callable[..., Tensor], x: Tensor, *rest: list[Tensor]) -> Tensor:
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(function(x, *rest), x)
    return gradient


def isotropic(
    base: Callable[[Tensor], Tensor], scale: float, seed: np.random.SeedSequence, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Gradients with ``scale`` N(0, I) added to each."""
    generator = _generator(seed, device)

    def noisy(X: Tensor) -> Tensor:
        return base(X) + scale * torch.randn(X.shape, generator=generator, dtype=X.dtype, device=X.device)

    return noisy


def minibatch(f: Landscape, size: int, seed: np.random.SeedSequence) -> Callable[[Tensor], Tensor]:
    """Gradients of fresh mini-batches: every run draws its own ``size`` samples, without replacement, at every step.

    Raises:
        ValueError: f has no data, or fewer samples.
    """
    if not isinstance(f, ModelLandscape):
        raise ValueError(
            "noise 'minibatch' needs a model's landscape, which has data; for a formula use 'isotropic:SIGMA'."
        )
    if not 1 <= size <= f.samples:
        raise ValueError(f"a mini-batch has 1 to {f.samples} samples, the size of the data, got {size}.")
    data, shape = _joined(f)
    generator = _generator(seed, f.device)

    batched = _rowwise(f, lambda x, leaves: f.batch_value(x, pytree.tree_unflatten(leaves, shape)))

    def sampled(X: Tensor) -> Tensor:
        rows = _lots(len(X), size, f.samples, generator)
        return batched(X, [t[rows] for t in data])

    return sampled


def _lots(runs: int, size: int, samples: int, generator: torch.Generator) -> Tensor:
    """(runs, size) int64: of every run ``size`` different numbers below ``samples``, each set as likely as any other.

    Few of many by Floyd's algorithm (Bentley & Floyd 1987, CACM 30:754), which draws ``size`` numbers a run and not ``samples``.
    """
    device = generator.device
    if size**2 > 4 * samples:
        return torch.rand(runs, samples, generator=generator, dtype=torch.float64, device=device).topk(size).indices
    draws = torch.rand(runs, size, generator=generator, dtype=torch.float64, device=device)
    tops = torch.arange(samples - size, samples, device=device)
    drawn = (draws * (tops + 1)).long()  # below tops + 1 each
    for j in range(1, size):
        taken = (drawn[:, :j] == drawn[:, j : j + 1]).any(dim=1)
        drawn[:, j] = torch.where(taken, tops[j], drawn[:, j])
    return drawn


def _joined(f: ModelLandscape) -> tuple[list[Tensor], Any]:
    """All the data as one batch: its tensors, and what they are parts of."""
    flat, shape = [], None
    with f.evaluation():
        for batch in f.batches:
            leaves, shape = pytree.tree_flatten(batching.move(batch, f.device, f.dtype))
            if not all(isinstance(t, Tensor) and t.ndim for t in leaves):
                raise ValueError("mini-batches are drawn from batches that are tensors with one sample a row.")
            flat.append(leaves)
    return [torch.cat(parts) for parts in zip(*flat, strict=True)], shape


def _generator(seed: np.random.SeedSequence, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def noise(f: Landscape, spec: str, seed: np.random.SeedSequence, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The gradients that ``"none"``, ``"isotropic:SIGMA"`` or ``"minibatch:SIZE"`` means.

    Raises:
        ValueError: it is none of these.
    """
    if spec == "none":
        return gradients(f)
    kind, _, text = spec.partition(":")
    value = specs.literal(text)
    if kind == "isotropic" and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return isotropic(gradients(f), float(value), seed, device)
    if kind == "minibatch" and text.isdigit():
        return minibatch(f, int(text), seed)
    known = ("none", "isotropic", "minibatch")
    hint = "" if kind in known else specs.closest(kind, known)
    raise ValueError(f"noise must be 'none', 'isotropic:SIGMA' or 'minibatch:SIZE', got {spec!r}.{hint}")


def starts(at: Tensor, start: float | Tensor, runs: int, seed: np.random.SeedSequence) -> Tensor:
    """(runs, n): at a distance from ``at`` (n,) in random directions, or displaced from it by ``start`` (runs, n).

    Raises:
        ValueError: the shape does not fit, or the distance is negative.
    """
    if isinstance(start, Tensor):
        if start.shape != (runs, len(at)):
            raise ValueError(
                f"start must be a distance or displacements ({runs}, {len(at)}), got {tuple(start.shape)}."
            )
        return at + start.to(at)
    if not 0 <= start < math.inf:
        raise ValueError(f"start must be a distance of at least 0, got {start!r}.")
    drawn = torch.randn(
        runs, len(at), generator=_generator(seed, torch.device("cpu")), dtype=torch.float64, device="cpu"
    )
    moves: Tensor = (start * drawn / drawn.norm(dim=1, keepdim=True)).to(at)
    return at + moves


def as_makers(optimizers: Sequence[str] | dict[str, Maker]) -> dict[str, Maker]:
    """Labels to makers; a spec is its own label.

    Raises:
        ValueError: there is none.
    """
    made = dict(optimizers) if isinstance(optimizers, dict) else {spec: maker(spec) for spec in optimizers}
    if not made:
        raise ValueError("optimizers is empty: pass at least one, such as 'sgd:lr=0.1'.")
    return made
