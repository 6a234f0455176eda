"""How much memory there is for what may be kept, how what is unused is given back, and what is done
when it runs out.

On a CUDA device a budget is a share of what is free there when it is asked for. On a CPU it is a
constant, so that the same numbers come out of every machine.
"""

import traceback
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from landscape.core import Landscape
from landscape.errors import memory_is_full

T = TypeVar("T")
# Bytes that each of the things below may take on a CPU.
HOST = 2**30
# Shares of a CUDA device's free memory: graphs kept across products, batches kept on the device, a
# Lanczos basis, the bases of a spectral density side by side.
GRAPHS, BATCHES, BASIS, DENSITY = 0.4, 0.2, 0.4, 0.05


def budget(device: torch.device, share: float, host: int = HOST) -> int:
    """Bytes that something may take on the device."""
    if device.type != "cuda":
        return host
    free = torch.cuda.mem_get_info(device)[0]
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(share * (free + max(0, spare)))


def release(device: torch.device) -> None:
    """Give back to the device what torch holds there unused."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def fitting(compute: Callable[[], T], give_way: Callable[[], bool], device: torch.device) -> T:
    """What ``compute`` gives; where memory runs out it is tried again after ``give_way``.

    Args:
        compute: may be called any number of times.
        give_way: called when what the last try held is let go: has the next one need less; False
            where nothing is left to do, and the error is raised.
        device: where memory runs out.
    """
    oldest = _oldest(device)
    while True:
        try:
            return compute()
        except (RuntimeError, MemoryError) as error:
            if not memory_is_full(error):
                raise
            failed = error
        traceback.clear_frames(failed.__traceback__)  # they hold the tensors of the try
        # as autograd's engine does, whose queue still has what was left to do of a pass that failed
        torch.autograd.grad(*oldest, retain_graph=True)
        if not give_way():
            raise failed
        release(device)


@cache
def _oldest(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A graph of one node, older than those of all passes: autograd's engine takes the newest node
    first, and so drops what it has before it comes to this one.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = torch.zeros((), dtype=torch.float32, device=device, requires_grad=True)
        return leaf * 1, leaf


def eased(f: Landscape, x: torch.Tensor, compute: Callable[[], T]) -> T:
    """What ``compute`` gives of the terms of f near x (n,), in smaller pieces where memory runs
    out.

    Every rank calls it, and all of them cut where the memory of one runs out.
    """
    if f.spread.sharded:  # the other ranks wait in an exchange, and end with this one
        return compute()

    def together() -> T:
        with f.ranks.together():
            return compute()

    return fitting(together, lambda: f.finer(x), x.device)
