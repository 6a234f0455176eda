"""Where the gradients of many runs come from: the landscape, mini-batches, noise; and kicks.

X: (R, n), one run a row. Rows draw their own noise from one generator, made here by a seed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landscape import specs
from landscape.core import Landscape
from landscape.landscapes import batches as batching
from landscape.landscapes.model import ModelLandscape, require_model
from landscape.landscapes.rows import Rows
from landscape.operators.pointwise import derivatives
from landscape.rng import generator

KINDS = ("none", "isotropic", "minibatch", "hessian", "perturbed")
DENSE = 64  # variables up to which every run's Hessian is formed at every step
Rowwise = Callable[[Tensor], Tensor]  # (R, n) -> (R, n)
Source = np.random.SeedSequence | torch.Generator  # of random numbers


@dataclass(frozen=True)
class Noise:
    """How runs see a landscape."""

    gradients: Rowwise
    move: Rowwise | None = None  # what happens to the points before every step
    random: torch.Generator | None = None  # what rows draw from

    def state(self) -> dict[str, Tensor | None]:
        """Where the noise stands: ``restore`` goes on from there to the same bits."""
        since = self.move.since if isinstance(self.move, Perturbation) else None
        return {"random": None if self.random is None else self.random.get_state(), "since": since}

    def restore(self, state: Mapping[str, Tensor | None], device: torch.device) -> None:
        """Go on from a state."""
        drawn, since = state["random"], state["since"]
        if self.random is not None and drawn is not None:
            self.random.set_state(drawn)
        if isinstance(self.move, Perturbation):
            self.move.since = None if since is None else since.to(device)


def noise(f: Landscape, spec: str, seed: np.random.SeedSequence, device: torch.device) -> Noise:
    """What ``"none"``, ``"isotropic:SIGMA"``, ``"minibatch:SIZE"``, ``"hessian:SIZE"`` or
    ``"perturbed:radius=R,threshold=G,interval=T"`` means.

    Raises:
        ValueError: it is none of these.
    """
    if spec == "none":
        return Noise(f.many().gradients)
    given = specs.line(spec, "noise")
    kind, text, size = given.name, given.text, given.value
    random = generator(seed, device)
    if kind == "isotropic" and _is_size(size):
        return Noise(isotropic(f.many().gradients, float(size), random, device), random=random)
    if kind == "minibatch" and text.isdigit():
        return Noise(minibatch(f, int(text), random), random=random)
    if kind == "hessian" and _is_size(size) and size > 0:
        return Noise(hessian(f, float(size), random, device), random=random)
    if kind == "perturbed":
        return _perturbed(f, given, random)
    hint = "" if kind in KINDS else specs.closest(kind, KINDS)
    raise ValueError(
        "noise must be 'none', 'isotropic:SIGMA', 'minibatch:SIZE', 'hessian:SIZE' or "
        "'perturbed:radius=R,threshold=G,interval=T', "
        f"got {spec!r}.{hint}"
    )


def _is_size(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < math.inf


def isotropic(
    base: Callable[[Tensor], Tensor],
    scale: float,
    seed: Source,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """Gradients with ``scale`` N(0, I) added to each."""
    random = _random(seed, device)

    def noisy(X: Tensor) -> Tensor:
        return base(X) + scale * torch.randn(
            X.shape, generator=random, dtype=X.dtype, device=X.device
        )

    return noisy


def hessian(f: Landscape, size: float, seed: Source, device: torch.device) -> Rowwise:
    """Gradients with noise N(0, |H| / ``size``) added, as mini-batches of this size make it.

    |H| is the Hessian at the run's own point without its signs. This is what mini-batches do near
    the minimum of a likelihood (Xie, Sato & Sugiyama 2021, ICLR, eq. 5), for landscapes that have
    no data.

    Raises:
        ValueError: f has too many variables.

    Cost: the Hessian and its eigenvectors, a run and step.
    """
    if f.dim > DENSE:
        raise ValueError(
            f"noise 'hessian' forms the Hessian at every step: up to {DENSE} variables, this has "
            f"{f.dim:,}."
        )
    random = _random(seed, device)

    def noisy(X: Tensor) -> Tensor:
        G, H = derivatives(f, X)
        # Where H is not finite G is not either, or the run ends all the same.
        finite = torch.isfinite(H).all(dim=2).all(dim=1)[:, None, None]
        w, V = torch.linalg.eigh(torch.where(finite, H, 0.0))
        drawn = torch.randn(X.shape, generator=random, dtype=X.dtype, device=X.device)
        added: Tensor = (V @ ((w.abs() / size).sqrt() * drawn)[:, :, None])[:, :, 0]
        return G + added

    return noisy


def minibatch(f: Landscape, size: int, seed: Source) -> Callable[[Tensor], Tensor]:
    """Gradients of fresh mini-batches.

    Every run draws its own ``size`` samples, without replacement, at every step.

    Raises:
        ValueError: f has no data, or fewer samples.
    """
    f = require_model(
        f,
        "noise 'minibatch' needs a model's landscape, which has data; for a formula use "
        "'isotropic:SIGMA'.",
    )
    if not 1 <= size <= f.samples:
        raise ValueError(
            f"a mini-batch has 1 to {f.samples} samples, the size of the data, got {size}."
        )
    data, shape = _joined(f)
    random = _random(seed, f.device)

    def value(x: Tensor, leaves: list[Tensor]) -> Tensor:
        return f.batch_value(x, pytree.tree_unflatten(leaves, shape))

    batched = Rows(f, lambda: [value])

    def sampled(X: Tensor) -> Tensor:
        rows = lots(len(X), size, f.samples, random)
        drawn = [
            t.index_select(0, rows.reshape(-1)).view(*rows.shape, *t.shape[1:]) for t in data
        ]  # twice as fast as t[rows]
        return batched.gradients(X, drawn)

    return sampled


def lots(runs: int, size: int, samples: int, random: torch.Generator) -> Tensor:
    """``size`` different numbers below ``samples`` for every run, (runs, size) int64.

    Each set is as likely as any other. Few of many are drawn by Floyd's algorithm (Bentley & Floyd
    1987, CACM 30:754), which draws ``size`` numbers a run and not ``samples``.
    """
    device = random.device
    if size**2 > 4 * samples:
        return (
            torch.rand(runs, samples, generator=random, dtype=torch.float64, device=device)
            .topk(size)
            .indices
        )
    draws = torch.rand(runs, size, generator=random, dtype=torch.float64, device=device)
    tops = torch.arange(samples - size, samples, device=device)
    # Below tops + 1 each; (size, runs), to compare whole lines.
    drawn = (draws * (tops + 1)).long().T.contiguous()
    for j in range(1, size):
        # As any(dim=0), which takes several times as long.
        taken = (drawn[:j] == drawn[j]).view(torch.uint8).amax(dim=0)
        drawn[j].masked_fill_(taken.view(torch.bool), samples - size + j)
    return drawn.T


def _joined(f: ModelLandscape) -> tuple[list[Tensor], pytree.TreeSpec]:
    """All the data as one batch: its tensors, and what they are parts of."""
    with f.evaluation():
        batches = [batching.move(batch, f.device, f.dtype) for batch in f.batches]
    flat = [pytree.tree_leaves(batch) for batch in batches]
    if not all(isinstance(t, Tensor) and t.ndim for leaves in flat for t in leaves):
        raise ValueError(
            "mini-batches are drawn from batches that are tensors with one sample a row."
        )
    joined = [torch.cat(parts) for parts in zip(*flat, strict=True)]
    return joined, pytree.tree_structure(batches[-1])


def _random(source: Source, device: torch.device) -> torch.Generator:
    return source if isinstance(source, torch.Generator) else generator(source, device)


def _perturbed(f: Landscape, line: specs.Line, random: torch.Generator) -> Noise:
    spec, given = line.written, line.options
    known = ("radius", "threshold", "interval")
    for key in given:
        if key not in known:
            raise ValueError(
                f"{spec!r} has no option {key!r}.{specs.closest(key, known)} It has "
                f"{', '.join(known)}."
            )
    for key in known:
        value = given.get(key)
        if not _is_size(value):
            raise ValueError(f"{spec!r}: {key} must be a number of at least 0, got {value!r}.")
    if given["interval"] != int(given["interval"]):
        raise ValueError(
            f"{spec!r}: interval is a whole number of steps, got {given['interval']!r}."
        )
    slope = f.many().gradients
    return Noise(
        slope,
        Perturbation(
            slope,
            given["radius"],
            given["threshold"],
            int(given["interval"]),
            random,
        ),
        random,
    )


class Perturbation:
    """Perturbed gradient descent's kick (Jin, Ge, Netrapalli, Kakade & Jordan 2017, ICML, algorithm
    1): before a step, a row whose gradient is at most ``threshold`` and that was kicked more than
    ``interval`` steps ago, or never, moves to a uniformly drawn point of the ball of ``radius``
    around it.

    Cost: one more gradient a run and step; nothing waits for the device.
    """

    def __init__(
        self,
        slope: Rowwise,
        radius: float,
        threshold: float,
        interval: int,
        random: torch.Generator,
    ) -> None:
        self.slope, self.radius, self.threshold, self.interval = slope, radius, threshold, interval
        self.random = random
        self.since: Tensor | None = None  # (R,) int64 steps since the last kick

    def __call__(self, X: Tensor) -> Tensor:
        if self.since is None:
            self.since = torch.full((len(X),), self.interval, dtype=torch.int64, device=X.device)
        self.since += 1
        kicked = (self.slope(X).norm(dim=1) <= self.threshold) & (self.since > self.interval)
        self.since = torch.where(kicked, 0, self.since)
        drawn = torch.randn(X.shape, generator=self.random, dtype=X.dtype, device=X.device)
        share = torch.rand((len(X), 1), generator=self.random, dtype=X.dtype, device=X.device) ** (
            1 / X.shape[1]
        )
        kick = self.radius * share * drawn / drawn.norm(dim=1, keepdim=True)
        return torch.where(kicked[:, None], X + kick, X)


def starts(at: Tensor, start: float | Tensor, runs: int, seed: np.random.SeedSequence) -> Tensor:
    """Where runs start, (runs, n): beside the point ``at`` (n,).

    start: a distance from it, in random directions, or the displacements (runs, n).

    Raises:
        ValueError: the shape does not fit, or the distance is negative.
    """
    if isinstance(start, Tensor):
        if start.shape != (runs, len(at)):
            raise ValueError(
                f"start must be a distance or displacements ({runs}, {len(at)}), got "
                f"{tuple(start.shape)}."
            )
        return at + start.to(at)
    if not 0 <= start < math.inf:
        raise ValueError(f"start must be a distance of at least 0, got {start!r}.")
    shape = (runs, len(at))
    drawn = torch.randn(shape, generator=generator(seed), dtype=torch.float64, device="cpu")
    moves: Tensor = (start * drawn / drawn.norm(dim=1, keepdim=True)).to(at)
    return at + moves
