"""What a tracer reads of a loop: the point at which its landscape is, and the optimiser's own
quantities there.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.core import Landscape, require_landscape
from landscape.landscapes.states import require_own_loader

# Second moments as Adam and its like call them, and RMSprop.
# The last one is Adagrad's.
_SECOND = ("exp_avg_sq", "square_avg", "sum")


class Scalars(NamedTuple):
    """The optimiser's quantities at a record, named as its columns; NaN where it has none.

    Norms are () on the parameters' device.
    """

    batch_gradient_norm: Tensor | float
    learning_rate: float
    momentum_norm: Tensor | float
    second_moment_norm: Tensor | float
    edge: float


class Followed:
    """The optimisers of a loop and the landscape that they move through.

    Attributes:
        strange: what is wrong where the optimisers move no parameter of a model's landscape, in
            words; "" where they move some.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a formula is not a function of the optimisers' parameters.
    """

    def __init__(self, optimizer: Optimizer | Sequence[Optimizer], f: Landscape) -> None:
        self.optimizers = _optimizers(optimizer)
        require_landscape(f, "a traced run")
        self.f = f
        moved = self.moved()
        self.parameters, self.layout = _of_model(f) if f.layout else _of_formula(f, moved)
        self.strange = ""
        if not {id(p) for p in moved} & {id(p) for p in self.parameters}:
            self.strange = (
                f"the optimiser moves no parameter of {f.name}: build f from the model that is "
                f"trained, not from a copy. If it is that model, the optimiser was made of another "
                f"one's parameters, and the loop does not train it: make it of model.parameters()."
            )

    def moved(self) -> list[Tensor]:
        """The parameters in the optimisers' groups, as these are now."""
        return [p for o in self.optimizers for g in o.param_groups for p in g["params"]]

    def frozen(self) -> dict[str, int]:
        """Parameters of f's model that require no gradient, by name, with their sizes."""
        model = getattr(self.f, "model", None)
        if not isinstance(model, nn.Module):
            return {}
        return {k: p.numel() for k, p in model.named_parameters() if not p.requires_grad}

    def hidden(self) -> list[str]:
        """Layers in lists, tuples and dicts of f's model, and tensors among its attributes, that
        require gradients and are none of its parameters.
        """
        model = getattr(self.f, "model", None)
        if not isinstance(model, nn.Module):
            return []
        known = {id(p) for p in model.parameters()}
        found = []
        for name, module in model.named_modules():
            for key, value in vars(module).items():
                if key not in _OF_TORCH and any(id(p) not in known for p in _inside(value)):
                    found.append(f"{name}.{key}" if name else key)
        return found

    def decay(self) -> float:
        """The largest weight decay of a group."""
        groups = [g for o in self.optimizers for g in o.param_groups]
        return max((float(g.get("weight_decay", 0.0)) for g in groups), default=0.0)

    def unmoved(self) -> tuple[set[str], set[str]]:
        """Names of f's parameters that no group holds, and of those in groups whose rate is 0 while
        another's is not.
        """
        rates = {
            id(p): float(g.get("lr", 1.0))
            for o in self.optimizers
            for g in o.param_groups
            for p in g["params"]
        }
        named = dict(zip(self.layout, self.parameters, strict=True))
        outside = {k for k, p in named.items() if id(p) not in rates}
        moving = any(rate > 0 for rate in rates.values())
        return outside, {k for k, p in named.items() if moving and rates.get(id(p)) == 0}

    def point(self) -> Tensor:
        """The parameters as f's point, a new tensor (n,)."""
        flat = [p.detach().reshape(-1) for p in self.parameters]
        if self.f.layout:
            flat = [p.to(self.f.device, self.f.dtype) for p in flat]
        return torch.cat(flat)

    def norms(self, vector: Tensor) -> Tensor:
        """The norms (L,), float64, of a vector (n,) in each of f's parameter tensors."""
        sizes = [s.stop - s.start for s in self.layout.values()]
        # Sums in float32 lose digits.
        parts = torch.split(vector.double(), sizes)
        return torch.stack(list(torch._foreach_norm(parts)))

    def momentum(self) -> float:
        """The first optimiser's momentum, or Adam's beta1."""
        group = self.optimizers[0].param_groups[0]
        return float(group["betas"][0]) if "betas" in group else float(group.get("momentum", 0.0))

    def scalars(self) -> Scalars:
        gradients = [
            p.grad.detach() for p in self.parameters if p.grad is not None and not p.grad.is_sparse
        ]
        rate = max(float(g["lr"]) for o in self.optimizers for g in o.param_groups if "lr" in g)
        return Scalars(
            _norm(gradients),
            rate,
            _norm(self._states("momentum_buffer", "exp_avg")),
            _norm(self._states(*_SECOND)),
            self._edge(rate),
        )

    def preconditioner(self) -> Tensor | None:
        """d (n,): the step is d^2 times the averaged gradient, up to the rate.

        None: the optimiser scales all parameters alike, or has no state yet.
        """
        scale = torch.ones_like(self.point())
        scaled = False
        for where, p in zip(self.layout.values(), self.parameters, strict=True):
            for o in self.optimizers:
                root = _root(o, p, scale)
                if root is not None:
                    scale[where] = root.rsqrt().reshape(-1)
                    scaled = True
        return scale if scaled else None

    def _states(self, *names: str) -> list[Tensor]:
        states = [o.state.get(p, {}) for o in self.optimizers for p in self.parameters]
        return [s[k].detach() for s in states for k in names if isinstance(s.get(k), Tensor)]

    def _edge(self, rate: float) -> float:
        """The sharpness above which the optimiser is unstable on a quadratic.

        2 / lr for gradient descent, times 1 + beta with heavy-ball momentum, times
        (1 + beta) / (1 + 2 beta) with Nesterov's, times (1 + beta) / (1 - beta) where the momentum
        is an average. Adagrad has none, and what it divides by hardly changes from step to step.
        """
        group = self.optimizers[0].param_groups[0]
        kind = type(self.optimizers[0]).__name__
        if rate <= 0 or not (
            kind == "SGD" or any(k in group for k in ("betas", "alpha", "lr_decay"))
        ):
            return float("nan")
        beta = self.momentum()
        if "betas" in group:
            return 2 * (1 + beta) / (1 - beta) / rate
        return 2 * (1 + beta) / (1 + 2 * beta if group.get("nesterov") else 1) / rate


# Attributes that torch itself keeps in a module.
_OF_TORCH = {*vars(nn.Module())}


def _inside(value: object) -> list[Tensor]:
    """Tensors that require gradients in what a module's attribute holds."""
    if isinstance(value, Mapping):
        value = list(value.values())
    held = list(value) if isinstance(value, list | tuple) else [value]
    tensors = [t for t in held if isinstance(t, Tensor) and t.is_leaf and t.requires_grad]
    layers = [m for m in held if isinstance(m, nn.Module)]
    return tensors + [p for m in layers for p in m.parameters() if p.requires_grad]


def _optimizers(given: Optimizer | Sequence[Optimizer]) -> list[Optimizer]:
    optimizers = list(given) if isinstance(given, Sequence) else [given]
    if not optimizers:
        raise TypeError("optimizer must be a torch.optim.Optimizer or a list, got an empty list.")
    optimizers = [unwrapped(one) for one in optimizers]
    for one in optimizers:
        if not isinstance(one, Optimizer):
            kind = type(one).__name__
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer or a list of them, got {kind}."
            )
    return optimizers


def unwrapped(optimizer: Optimizer) -> Optimizer:
    """The optimiser that steps, where a trainer's own (accelerate's, Fabric's) is around it."""
    inner = getattr(optimizer, "optimizer", None)
    # one with hooks of its own steps itself, whatever it keeps
    if isinstance(inner, Optimizer) and not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        return unwrapped(inner)
    return optimizer


def _of_model(f: Landscape) -> tuple[list[Tensor], dict[str, slice]]:
    """f's parameters in the order of its layout."""
    named = f.parameters()
    require_own_loader(f)
    return [named[name] for name in f.layout], dict(f.layout)


def _of_formula(f: Landscape, moved: list[Tensor]) -> tuple[list[Tensor], dict[str, slice]]:
    """The parameters that are ``moved``, which make up f's point one after the other."""
    ends = list(accumulate(p.numel() for p in moved))
    if (ends or [0])[-1] != f.dim:
        raise ValueError(
            f"the optimiser has {(ends or [0])[-1]} parameters and {f.name} dimension {f.dim}: "
            "the optimiser's parameters, concatenated, are the point of a formula."
        )
    names = ["x"] if len(moved) == 1 else [f"x{i}" for i in range(len(moved))]
    layout = {k: slice(e - p.numel(), e) for k, e, p in zip(names, ends, moved, strict=True)}
    return moved, layout


def _root(optimizer: Optimizer, p: Tensor, like: Tensor) -> Tensor | None:
    """What the optimiser divides a step of p by, in p's shape; None if it scales nothing."""
    state = optimizer.state.get(p, {})
    second = next((state[name] for name in _SECOND if name in state), None)
    if second is None:
        return None
    group = next(g for g in optimizer.param_groups if any(q is p for q in g["params"]))
    step = float(state.get("step", 1))
    if step == 0:  # Adagrad has a state before its first step
        return None
    fresh = 1 - group["betas"][1] ** step if "betas" in group else 1.0
    averaged = second.detach().to(like.device, like.dtype) / fresh
    root: Tensor = averaged.sqrt() + group.get("eps", 1e-8)
    return root


def _norm(tensors: list[Tensor]) -> Tensor | float:
    if not tensors:
        return float("nan")
    norms = torch._foreach_norm(tensors, dtype=torch.float64)
    whole: Tensor = torch.stack([n.to(norms[0].device) for n in norms]).norm()
    return whole
