"""Points along the training of a small network from several initialisations: where a census of its
stationary points starts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from landscape.core import Term
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.model import ModelLandscape
from landscape.results import journal
from landscape.specs import whole

Slope = Callable[[Tensor], Tensor]


@owned()
def training_paths(
    f: ModelLandscape,
    *,
    runs: int = 8,
    points: int = 25,
    steps: int = 1_000,
    optimizers: Sequence[str] = ("sgd", "adam"),
    gains: Sequence[float] = (1.0, 3.0),
    seed: int = 0,
) -> list[Tensor]:
    """Points along training from several initialisations, a path (points or fewer, n) a run; the
    model is left as it is.

    Args:
        f: a small network; where it has several micro-batches a step sees one, drawn at random,
            else all of the data.
        runs: number of paths; the optimisers take turns, and the gains after them.
        points: to keep of each, from the start to the end, spaced evenly in log(step).
        steps: of the optimiser.
        optimizers: "sgd" (momentum 0.9, rate 0.1) or "adam" (rate 0.01).
        gains: initial weights are uniform within gain / sqrt(fan in), biases 0: larger ones start
            at a higher loss.
        seed: of weights and batches.

    Raises:
        ValueError: an argument is out of range.

    Cost: ``steps`` gradients a run, all runs side by side.
    """
    whole(1, runs=runs, points=points, steps=steps)
    for name in optimizers:
        if name not in ("sgd", "adam"):
            raise ValueError(f"optimizers must be sgd or adam, got {name!r}.")
    if not optimizers or not gains:
        raise ValueError("optimizers and gains must name at least one each.")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    spread = [gains[i // len(optimizers) % len(gains)] for i in range(runs)]
    X = torch.stack([_initial(f, gain, generator) for gain in spread])
    kept = sorted({round(s) - 1 for s in np.geomspace(1, steps + 1, points)})
    paths: list[Tensor] = [X.new_empty(0)] * runs
    with f.evaluation(), torch.enable_grad():
        slopes = _slopes(f)
        for i, name in enumerate(optimizers[:runs]):
            own = list(range(i, runs, len(optimizers)))
            what = f"training paths {name} {kept} {journal.identity(f)}"
            trained = partial(_trained, slopes, X[own], name, kept, generator, what)
            found, state = journal.recalled(what, [X[own], generator.get_state()], trained)
            generator.set_state(state.cpu())
            for run, path in zip(own, found, strict=True):
                paths[run] = path
    return paths


def _initial(f: ModelLandscape, gain: float, generator: torch.Generator) -> Tensor:
    shapes = {name: p.shape for name, p in f.model.named_parameters()}
    x = torch.zeros(f.dim, dtype=torch.float64, device="cpu")
    for name, where in f.layout.items():
        if len(shapes[name]) > 1:
            bound = gain * shapes[name][1:].numel() ** -0.5
            x[where] = bound * (
                2
                * torch.rand(
                    where.stop - where.start, generator=generator, dtype=torch.float64, device="cpu"
                )
                - 1
            )
    return x.to(f.device, f.dtype)


def _slopes(f: ModelLandscape) -> list[Slope]:
    """For each micro-batch the gradient, (r, n) -> (r, n), from it and the regularisers alone, in
    the units of the whole.
    """
    terms = list(f.terms())
    rest = [term.function for term in terms if not term.share]

    def slope(term: Term) -> Slope:
        def value(x: Tensor) -> Tensor:
            return torch.stack(
                [term.function(x) / term.share, *(function(x) for function in rest)]
            ).sum()

        return vmap(grad(value), randomness="same")

    return [slope(term) for term in terms if term.share]


def _trained(
    slopes: list[Slope],
    X: Tensor,
    name: str,
    kept: list[int],
    generator: torch.Generator,
    about: str,
) -> list[Tensor]:
    """What ``_train`` gives, and the state of the generator after it."""
    return [_train(slopes, X, name, kept, generator, about), generator.get_state()]


def _train(
    slopes: list[Slope],
    X: Tensor,
    name: str,
    kept: list[int],
    generator: torch.Generator,
    about: str,
) -> Tensor:
    """The kept points (runs, points, n) of runs trained side by side: both optimisers work entry by
    entry.

    about: what the training depends on besides, for a run that goes on.
    """
    w = X.clone().requires_grad_(True)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD([w], lr=0.1, momentum=0.9)
        if name == "sgd"
        else torch.optim.Adam([w], lr=0.01)
    )
    points, done = [X], 0
    state = journal.State(about, [X, generator.get_state()])
    found: Any = state.find()
    if found is not None:
        done, points = found["step"], [t.to(X.device) for t in found["points"]]
        optimizer.load_state_dict(found["optimizer"])
        generator.set_state(found["drawn"])
        with torch.no_grad():
            w.copy_(found["w"])
    for step in range(done + 1, kept[-1] + 1):
        chosen = slopes[int(torch.randint(len(slopes), (1,), generator=generator, device="cpu"))]
        w.grad = chosen(w.detach()).detach()
        optimizer.step()
        if step in kept:
            points.append(w.detach().clone())
        if state.due:
            told = {"step": step, "points": points, "optimizer": optimizer.state_dict()}
            state.keep({**told, "drawn": generator.get_state(), "w": w.detach()})
    return torch.stack(points, dim=1)
