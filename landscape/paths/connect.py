"""Curves of low loss between two trained networks (Garipov, Izmailov, Podoprikhin, Vetrov, Wilson
2018, NeurIPS, arXiv:1802.10026).

C: (m, n), control points; the first and the last are the networks, the others, the bends, are
trained. c(t) = sum_k w_k(t) C_k, with the weights of a Bezier curve or of a chain of straight
pieces. Training lowers the mean of f(c(t)) over t uniform in [0, 1]; its gradient by a bend is the
mean of w_k(t) times the gradient of f at c(t).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape import rng
from landscape.core import Landscape, Progress, silent
from landscape.errors import NumericalError
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.metrics import Metric
from landscape.operators import noises
from landscape.paths.curves import KINDS, Profile, profile, weights
from landscape.progress import watched
from landscape.results import Result, provenance, result
from landscape.specs import optimizers as makers
from landscape.specs import whole

LOOK = 10  # steps between two records of the mean


@result("connection")
@dataclass(frozen=True)
class Connection(Result):
    """Two points joined by a curve along which f was lowered."""

    kind: str  # bezier or polygon
    control: Tensor  # (m, n), from a to b with the trained bends between
    curve: Profile  # f along the curve
    straight: Profile  # f along the straight line from a to b
    # (h, 2), every tenth step and the mean of f over the points drawn there, float64, on the CPU
    history: Tensor
    plane: Any  # a Surface, see ``landscape.surfaces.connection_plane``; None: none was made
    optimizer: str
    seed: int

    @property
    def barrier(self) -> float:
        """How far the curve rises above the higher one of its ends, over the points evaluated."""
        return self.curve.barrier

    @property
    def straight_barrier(self) -> float:
        """The same for the straight line."""
        return self.straight.barrier


@owned()
@watched
def connect(  # noqa: PLR0913
    f: Landscape,
    a: Tensor | Sequence[float],
    b: Tensor | Sequence[float],
    *,
    kind: str = "bezier",
    bends: int = 1,
    steps: int = 500,
    optimizer: str = "adam:lr=0.02",
    noise: str = "none",
    draws: int = 4,
    resolution: int = 61,
    batch_statistics: bool = False,
    metrics: Iterable[str | Metric] | Mapping[str, str | Metric] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Connection:
    """Train a curve from a (n,) to b (n,) on f.

    Args:
        kind: "bezier", or "polygon": a chain of straight pieces of equal share in t.
        bends: control points between the ends; 1, as in the paper.
        steps: of the optimiser; it starts from the straight line.
        optimizer: any of torch's, as in ``escape``: "adam:lr=0.02", "sgd:lr=0.1,momentum=0.9".
        noise: "none", gradients over all the data; "minibatch:SIZE", over fresh mini-batches.
        draws: points of the curve a step, one drawn in each of as many equal parts of [0, 1].
        resolution: points at which the finished curve and the straight line are evaluated.
        batch_statistics, metrics: as for ``surface``; batch statistics are for evaluating, training
            uses f as it is.
        seed: of the points drawn.

    Raises:
        ValueError: an argument is out of range, or a and b are one point.
        NumericalError: a step made the curve not finite.

    Cost: ``steps`` x ``draws`` gradients and 2 ``resolution`` evaluations.
    """
    a, b = f.locate(a).detach(), f.locate(b).detach()
    _check(f, a, b, kind, bends, steps, draws)
    ends = torch.linspace(0, 1, bends + 2, dtype=a.dtype, device=a.device)[:, None]
    C = a + ends * (b - a)
    C[-1] = b
    children = np.random.SeedSequence(seed).spawn(2)
    generator = rng.generator(children[0])
    seen = noises.noise(f, noise, children[1], a.device)
    if seen.move is not None:
        raise ValueError(
            f"a curve is trained on points drawn at random, which noise={noise!r} would not "
            f"perturb."
        )
    inner = nn.Parameter(C[1:-1].clone())
    try:
        stepper = makers.maker(optimizer)([inner])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the optimiser cannot be made: {error}") from error
    if isinstance(stepper, torch.optim.LBFGS):
        raise ValueError(
            "a curve is trained on random points, for which LBFGS is not made: use adam or sgd."
        )
    history = []
    for step in range(steps):
        progress("curve", step, steps)
        w = weights(kind, _drawn(draws, generator).to(a), bends + 2)
        X = w @ torch.cat([a[None], inner.detach(), b[None]])
        if step % LOOK == 0:
            history.append((step, float(f.value(X).double().mean())))
            if not math.isfinite(history[-1][1]):
                raise NumericalError(
                    f"f is not finite on the curve at step {step}: lower the learning rate."
                )
        inner.grad = w[:, 1:-1].T @ seen.gradients(X) / draws
        stepper.step()
    progress("curve", steps, steps)
    if not bool(torch.isfinite(inner).all()):
        raise NumericalError(
            f"the curve is not finite after {steps} steps: lower the learning rate."
        )
    C = torch.cat([a[None], inner.detach(), b[None]])
    look = partial(profile, f, metrics=metrics, batch_statistics=batch_statistics)
    curve = look(C, resolution, kind=kind, by_length=False, progress=progress)
    straight = look(torch.stack([a, b]), resolution, progress=progress)
    origin = provenance(
        f, a, seed, kind=kind, bends=bends, steps=steps, optimizer=optimizer, noise=noise
    )
    seen_at = torch.tensor(history, dtype=torch.float64, device="cpu")
    return Connection(kind, C, curve, straight, seen_at, None, optimizer, seed, provenance=origin)


def _drawn(count: int, generator: torch.Generator) -> Tensor:
    """One number in each of ``count`` equal parts of [0, 1], float64, on the CPU."""
    u = torch.rand(count, generator=generator, dtype=torch.float64, device="cpu")
    return (torch.arange(count, dtype=torch.float64, device="cpu") + u) / count


def _check(
    f: Landscape, a: Tensor, b: Tensor, kind: str, bends: int, steps: int, draws: int
) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    whole(1, bends=bends, steps=steps, draws=draws)
    if bool((a == b).all()):
        raise ValueError("a and b are one point: there is nothing to connect.")
