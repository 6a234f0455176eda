"""Models that lie on several processes before they come here: DTensors, ``fully_shard`` (FSDP2),
and tensor parallelism.

A DTensor is made whole or cut again tensor by tensor. The hooks of ``fully_shard`` gather weights
for one forward and one backward pass and fail at a second backward pass; they are taken off while a
landscape is evaluated, which gathers weights itself. Tensor parallelism changes what modules
compute, and torch differentiates its exchanges once: a Hessian of it would be wrong.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import LoadingError

FSDP, PARALLEL = "torch.distributed.fsdp", "torch.distributed.tensor"
HOOKS = ("_forward_pre_hooks", "_forward_hooks")  # of modules


def on_several(t: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which this process may hold a part only."""
    kinds: Any = sys.modules.get(PARALLEL)
    return kinds is not None and isinstance(t, kinds.DTensor)


def whole(t: Tensor) -> Tensor:
    """All of a tensor, whose parts other processes may hold; they must ask for it too."""
    if not on_several(t):
        return t.detach()
    kept: Any = t.detach()
    full: Tensor = kept.full_tensor()
    return full


def write(t: Tensor, value: Tensor) -> None:
    """Write a whole tensor, which every process passes, into one that may lie on several."""
    if on_several(t):
        there: Any = t
        kinds: Any = sys.modules[PARALLEL]
        value = kinds.distribute_tensor(
            value.to(t.dtype), there.device_mesh, there.placements, src_data_rank=None
        )
    with torch.no_grad():
        t.copy_(value)


def settle(model: nn.Module) -> None:
    """Have every part of a model of ``fully_shard`` hold its own shard of the parameters, also
    where the last pass has left them gathered.
    """
    for module in model.modules():
        reshard = getattr(module, "reshard", None)
        if reshard is not None and type(module).__mro__[1].__module__.startswith(FSDP):
            reshard()


def require_understood(model: nn.Module, name: str) -> None:
    """Refuse what would give wrong numbers.

    Raises:
        LoadingError: tensor parallelism, or the flat parameters of FSDP's first version.
    """
    for module in model.modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise LoadingError(
                f"{name} is wrapped by FullyShardedDataParallel, whose parameters are flat pieces "
                f"of several tensors: shard it by torch.distributed.fsdp.fully_shard."
            )
        if any(_from(hook, PARALLEL) for kind in HOOKS for hook in getattr(module, kind).values()):
            raise LoadingError(
                f"{name} is tensor-parallel (parallelize_module), and torch gets second "
                f"derivatives of its exchanges wrong: pass the model as it was before, to "
                f"landscape.over_ranks(f, shard=True) where it is large."
            )


def require_values(model: nn.Module, name: str) -> None:
    """Refuse parameters that this process does not hold.

    Raises:
        LoadingError: one is on the meta device, or a DTensor.
    """
    for parameter, t in model.named_parameters():
        if t.is_meta:
            raise LoadingError(
                f"parameter {parameter} is on the meta device and has no values: load the weights "
                f"first, or let every process read its part by landscape.over_ranks(f, shard=True) "
                f"and landscape.loading.load_parts."
            )
        if on_several(t):
            raise LoadingError(
                f"parameter {parameter} of {name} lies on several processes (DTensor, "
                f"fully_shard): pass landscape.over_ranks(f, shard=True) instead of f."
            )


@contextmanager
def unhooked(model: nn.Module) -> Iterator[None]:
    """Without the hooks of ``fully_shard`` inside."""
    before = [(vars(module), kind) for module in model.modules() for kind in HOOKS]
    taken = [(state, kind, state[kind]) for state, kind in before if _any_from(state[kind], FSDP)]
    try:
        for state, kind, hooks in taken:
            left = ((key, hook) for key, hook in hooks.items() if not _from(hook, FSDP))
            state[kind] = type(hooks)(left)
        yield
    finally:
        for state, kind, hooks in taken:
            state[kind] = hooks


def _any_from(hooks: dict[int, object], package: str) -> bool:
    return any(_from(hook, package) for hook in hooks.values())


def _from(hook: object, package: str) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(package)
