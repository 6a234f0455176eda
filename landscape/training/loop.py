"""What a tracer sees of the loop itself, between the steps that it records.

Looks are at the second step and at the last two before a record. At each, the gradients that the
optimiser is given are compared with those left over from the step before, and the inputs of forward
passes with one another; what the parameters are after a step is compared with what they are before
the next, and the gradients of outputs tell which classes a step was shown. Hooks stand only for the
time of a look; nothing that the loop computes goes through them.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from landscape.landscapes.batches import tensors
from landscape.results import result
from landscape.training.follow import Followed

# At most so many parameter tensors, evenly spread over the optimisers', are watched.
WATCHED = 8
# Looks and forward passes after these are not kept.
LOOKS, PASSES = 256, 32
# Entries of an input by which it is told from another.
ENTRIES = 4096


@result("trace-loop")
@dataclass(frozen=True)
class Loop:
    """The loop as it was seen."""

    # Of each look: the norm of the gradient that an earlier step had left over, over that of the
    # gradient given; 0 where the loop has cleared it.
    carried: list[float]
    passes: int  # forward passes with gradients that were seen
    batches: int  # different inputs among them
    rows: int  # of the largest input
    outside: list[str]  # parameters of f that no group of the optimisers holds
    still: list[str]  # parameters in groups whose rate is 0 while another's is not
    sizes: list[int]  # entries of each parameter tensor of f
    seconds: float  # of the loop, without the tracer's own
    frozen: list[str] = field(default_factory=list)  # parameters that require no gradient
    frozen_size: int = 0  # their entries
    decay: float = 0.0  # the largest weight decay of a group
    # Layers and tensors that require gradients and are none of the model's parameters.
    hidden: list[str] = field(default_factory=list)
    # Of each two steps that were looked at: the share of the first that was gone before the second.
    undone: list[float] = field(default_factory=list)
    # Of each step that was looked at: rows of outputs, and classes that they were to be.
    shown: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    rounding: float = 0.0  # relative, of the coarsest parameter that is moved
    # Of each step that was looked at: the cosine between the gradient given and the weights.
    along: list[float] = field(default_factory=list)


class Watch:
    """Looks at a loop; ``open`` before the steps that are looked at, ``close`` after."""

    def __init__(self, followed: Followed) -> None:
        self.followed = followed
        self.carried: list[Tensor] = []
        self.marks: list[tuple[int, Tensor]] = []
        self.rows = 0
        self._hooks: list[Callable[[], None]] = []
        self._watched: list[Tensor] = []
        self._left: dict[int, Tensor] = {}
        self._undone: list[Tensor] = []
        self._along: list[Tensor] = []
        self._begun: tuple[int, Tensor] | None = None  # steps before, entries of the parameters
        self._moved: tuple[int, Tensor, Tensor] | None = None  # and after, and how they moved
        self._labels: list[Tensor] = []  # of the step that is looked at
        self._shown: list[Tensor] = []  # those of each step that was looked at

    @property
    def opened(self) -> bool:
        """Whether hooks stand."""
        return bool(self._hooks)

    def open(self) -> None:
        """Put up the hooks."""
        moved = [p for p in self.followed.moved() if p.requires_grad]
        self._watched = moved[:: max(1, -(-len(moved) // WATCHED))]
        if len(self.carried) < LOOKS:
            self._hooks += [_hooked(p, self._on_gradient(i)) for i, p in enumerate(self._watched)]
        if len(self.marks) < PASSES:
            self._hooks += [
                m.register_forward_pre_hook(self._on_pass(i), with_kwargs=True).remove
                for i, m in enumerate(_entrances(self.followed))
            ]
            self._hooks += [
                m.register_forward_hook(self._on_output()).remove
                for m in _entrances(self.followed)[:1]
            ]

    def stepped(self) -> None:
        """A step was taken: what is left over from now on is that step's."""
        self._left = {}

    def _marked(self) -> list[tuple[float, ...]]:
        """The marks of passes through the model, or its first module where none were seen."""
        entrance = min((i for i, _ in self.marks), default=0)
        return [tuple(mark.tolist()) for i, mark in self.marks if i == entrance]

    def before(self, step: int) -> None:
        """What the parameters are before a step, and how much of the last one is gone."""
        now = self._entries(self._watched)
        if self._moved is not None and self._moved[0] == step - 1:
            _, after, moved = self._moved
            self._undone.append((after - now) @ moved / (moved @ moved))
        self._begun, self._moved = (step, now), None
        if len(self._along) < LOOKS:
            slope = self._entries([p.grad for p in self._watched])
            self._along.append(slope @ now / (slope.norm() * now.norm()))

    def after(self, step: int) -> None:
        """What the parameters are after it, and what classes it was shown."""
        if self._begun is not None and self._begun[0] == step and len(self._undone) < LOOKS:
            now = self._entries(self._watched)
            self._moved = step, now, now - self._begun[1]
        if self._labels:
            self._shown.append(torch.cat(self._labels))
        self._labels = []

    def close(self) -> None:
        """Take the hooks down and keep what was seen."""
        for remove in self._hooks:
            remove()
        self._hooks = []
        left, self._left = self._left, {}
        given = {i: p.grad for i, p in enumerate(self._watched) if p.grad is not None}
        both = [i for i in left if i in given]
        if both:
            before = torch.stack([left[i].to(left[both[0]].device) for i in both]).norm()
            now = torch.stack([_size(given[i]).to(before.device) for i in both]).norm()
            self.carried.append(before / now)

    def seen(self, seconds: float) -> Loop:
        """All that was seen; the optimisers are asked for their groups as they are now."""
        marks = self._marked()
        known = [labels.tolist() for labels in self._shown if bool((labels >= 0).all())]
        names, shares = self.followed.layout, self.followed.layout.values()
        outside, still = self.followed.unmoved()
        frozen = self.followed.frozen()
        ratios = torch.stack(self.carried).tolist() if self.carried else []
        return Loop(
            carried=ratios,
            passes=len(marks),
            batches=len(set(marks)),
            rows=self.rows,
            outside=[k for k in names if k in outside],
            still=[k for k in names if k in still],
            sizes=[s.stop - s.start for s in shares],
            seconds=seconds,
            frozen=list(frozen),
            frozen_size=sum(frozen.values()),
            decay=self.followed.decay(),
            hidden=self.followed.hidden(),
            undone=torch.stack(self._undone).tolist() if self._undone else [],
            along=torch.stack(self._along).tolist() if self._along else [],
            shown=[len(labels) for labels in known if labels],
            kinds=[len(set(labels)) for labels in known if labels],
            rounding=max((_rounding(p) for p in self.followed.moved()), default=0.0),
        )

    def _entries(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """The first entries of what belongs to the watched parameters, float64; 0 for None."""
        parts = [
            (torch.zeros_like(p) if t is None else t.detach().to_dense()).reshape(-1)[:ENTRIES]
            for t, p in zip(tensors, self._watched, strict=True)
        ]
        parts = [part.double() for part in parts]
        return (
            torch.cat([p.to(parts[0].device) for p in parts])
            if parts
            else torch.zeros(0, dtype=torch.float64, device="cpu")
        )

    def _on_gradient(self, i: int) -> Callable[[Tensor], None]:
        def hook(fresh: Tensor) -> None:
            grad = self._watched[i].grad
            none = torch.zeros((), dtype=torch.float64, device=fresh.device)
            left = none if grad is None else _size(grad)
            # the least since the last step: a gradient may be cleared before any of the passes
            self._left[i] = torch.minimum(self._left[i], left) if i in self._left else left

        return _quiet(hook)

    def _on_pass(self, i: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            given = tensors([*args, *kwargs.values()])
            if torch.is_grad_enabled() and given and len(self.marks) < PASSES:
                self.marks.append((i, _mark(given[0])))
                self.rows = max(self.rows, len(given[0]) if given[0].ndim else 1)

        return _quiet(hook)

    def _on_output(self) -> Callable[..., None]:
        def kept(slope: Tensor) -> None:
            self._labels.append(_labels(slope))

        def hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            one = isinstance(output, Tensor) and output.requires_grad and output.ndim <= 2
            if isinstance(output, Tensor) and one and len(self._shown) < LOOKS:
                _hooked(output, _quiet(kept))

        return _quiet(hook)


def _quiet(hook: Callable[..., None]) -> Callable[..., None]:
    """The hook, which stays out of compiled graphs and raises nothing into the loop."""

    def quiet(*args: object) -> None:
        with suppress(Exception):  # what cannot be seen is not seen
            hook(*args)

    apart: Callable[[Callable[..., None]], Callable[..., None]] = torch.compiler.disable
    return apart(quiet)


def _hooked(p: Tensor, hook: Callable[..., None]) -> Callable[[], None]:
    """Put a hook on a tensor's gradient; what takes it down."""
    put: Callable[[Callable[..., None]], RemovableHandle] = p.register_hook
    return put(hook).remove


def _entrances(followed: Followed) -> list[nn.Module]:
    """Where a batch enters: the model, and the module of its first parameter, since trainers call
    parts of a model.
    """
    model = getattr(followed.f, "model", None)
    if not isinstance(model, nn.Module):
        return []
    first = next(iter(followed.layout)).rpartition(".")[0]
    return [model, *([model.get_submodule(first)] if first else [])]


def _size(gradient: Tensor) -> Tensor:
    values = gradient.detach().coalesce().values() if gradient.is_sparse else gradient.detach()
    size: Tensor = torch.linalg.vector_norm(values, dtype=torch.float64)
    return size


def _rounding(p: Tensor) -> float:
    """The relative rounding of a tensor's numbers."""
    return torch.finfo(p.dtype).eps / 2 if p.is_floating_point() else 0.0


def _labels(slope: Tensor) -> Tensor:
    """The classes of rows (N,), from the gradient of outputs (N, C) under a cross-entropy: it is
    negative for the class of a row and for no other, and of one output where the class is 1. -1
    where the gradient says nothing of the kind.
    """
    rows = slope.detach().reshape(len(slope), -1)
    if rows.shape[1] == 1:
        return torch.where(rows[:, 0].abs() > 0, (rows[:, 0] < 0).long(), -1)
    return torch.where((rows < 0).sum(1) == 1, rows.argmin(1), -1)


def _mark(x: Tensor) -> Tensor:
    """Two numbers by which a tensor is told from another of the same shape."""
    values = x.detach().reshape(-1)[:ENTRIES].double()
    waves = torch.arange(len(values), dtype=torch.float64, device=values.device).cos()
    return torch.stack([(values * waves).sum(), values.sum()])
