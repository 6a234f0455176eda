"""What a tracer reads of a loop: the point at which its landscape is, and the optimiser's own quantities there."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from landscape.core import Landscape, require_landscape
from landscape.landscapes.states import require_own_loader

_SECOND = ("exp_avg_sq", "square_avg")  # of Adam and its like, of RMSprop


class Scalars(NamedTuple):
    """The optimiser's quantities at a record, named as its columns; NaN where it has none. Norms are () on the parameters' device."""

    batch_gradient_norm: Tensor | float
    learning_rate: float
    momentum_norm: Tensor | float
    second_moment_norm: Tensor | float
    edge: float


class Followed:
    """The optimisers of a loop and the landscape that they move through.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: the landscape is not a function of the optimisers' parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer], f: Landscape) -> None:
        self.optimizers = list(optimizer) if isinstance(optimizer, Sequence) else [optimizer]
        wrong = [o for o in self.optimizers if not isinstance(o, torch.optim.Optimizer)]
        if wrong or not self.optimizers:
            found = type(wrong[0]).__name__ if wrong else "an empty list"
            raise TypeError(f"optimizer must be a torch.optim.Optimizer or a list of them, got {found}.")
        require_landscape(f, "a traced run")
        self.f = f
        mine: list[Tensor] = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        if f.layout:
            named = f.parameters()
            self.parameters: list[Tensor] = [named[k] for k in f.layout]
            self.layout = dict(f.layout)
            if not {id(p) for p in mine} & {id(p) for p in self.parameters}:
                raise ValueError(
                    f"the optimiser moves no parameter of {f.name}: build f from the model that is trained, not from a copy."
                )
            require_own_loader(f)
        else:
            self.parameters = mine
            if sum(p.numel() for p in mine) != f.dim:
                raise ValueError(
                    f"the optimiser has {sum(p.numel() for p in mine)} parameters and {f.name} dimension {f.dim}: "
                    "the optimiser's parameters, concatenated, are the point of a formula."
                )
            ends = list(accumulate(p.numel() for p in mine))
            names = ["x"] if len(mine) == 1 else [f"x{i}" for i in range(len(mine))]
            self.layout = {k: slice(e - p.numel(), e) for k, e, p in zip(names, ends, mine, strict=True)}

    def point(self) -> Tensor:
        """The parameters as f's point, a new tensor (n,)."""
        flat = [p.detach().reshape(-1) for p in self.parameters]
        if self.f.layout:
            flat = [p.to(self.f.device, self.f.dtype) for p in flat]
        return torch.cat(flat)

    def norms(self, vector: Tensor) -> Tensor:
        """The norms (L,), float64, of the parts of a vector (n,) in each of f's parameter tensors."""
        parts = torch.split(
            vector.double(), [s.stop - s.start for s in self.layout.values()]
        )  # float32 sums lose digits
        return torch.stack(list(torch._foreach_norm(parts)))

    def momentum(self) -> float:
        """The first optimiser's momentum, or Adam's beta1."""
        group = self.optimizers[0].param_groups[0]
        return float(group["betas"][0]) if "betas" in group else float(group.get("momentum", 0.0))

    def scalars(self) -> Scalars:
        gradients = [p.grad.detach() for p in self.parameters if p.grad is not None and not p.grad.is_sparse]
        rate = max(float(g["lr"]) for o in self.optimizers for g in o.param_groups if "lr" in g)
        return Scalars(
            _norm(gradients),
            rate,
            _norm(self._states("momentum_buffer", "exp_avg")),
            _norm(self._states(*_SECOND)),
            self._edge(rate),
        )

    def preconditioner(self) -> Tensor | None:
        """d (n,): the step is d^2 times the averaged gradient, rate apart. None: the optimiser scales all alike, or has no state yet."""
        scale = torch.ones_like(self.point())
        found = False
        for (_, where), p in zip(self.layout.items(), self.parameters, strict=True):
            for o in self.optimizers:
                state = o.state.get(p, {})
                second = next((state[k] for k in _SECOND if k in state), None)
                if second is None:
                    continue
                group = next(g for g in o.param_groups if any(q is p for q in g["params"]))
                step = float(state.get("step", 1))
                fresh = 1 - group["betas"][1] ** step if "betas" in group else 1.0
                root = (second.detach().to(scale.device, scale.dtype) / fresh).sqrt() + group.get("eps", 1e-8)
                scale[where] = root.rsqrt().reshape(-1)
                found = True
        return scale if found else None

    def _states(self, *names: str) -> list[Tensor]:
        states = [o.state.get(p, {}) for o in self.optimizers for p in self.parameters]
        return [s[k].detach() for s in states for k in names if isinstance(s.get(k), Tensor)]

    def _edge(self, rate: float) -> float:
        """2 / lr for gradient descent, times 1 + beta with heavy-ball momentum, (1 + beta) / (1 + 2 beta) with
        Nesterov's, (1 + beta) / (1 - beta) where the momentum is an average."""
        group = self.optimizers[0].param_groups[0]
        kind = type(self.optimizers[0]).__name__
        if rate <= 0 or not (kind == "SGD" or any(k in group for k in ("betas", "alpha"))):
            return float("nan")
        beta = self.momentum()
        if "betas" in group:
            return 2 * (1 + beta) / (1 - beta) / rate
        return 2 * (1 + beta) / (1 + 2 * beta if group.get("nesterov") else 1) / rate


def _norm(tensors: list[Tensor]) -> Tensor | float:
    if not tensors:
        return float("nan")
    norms = torch._foreach_norm(tensors, dtype=torch.float64)
    whole: Tensor = torch.stack([n.to(norms[0].device) for n in norms]).norm()
    return whole
