"""How much the tensors that are made take at the same time, counted one by one.

Resident memory does not tell: malloc keeps what is freed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """The most bytes that tensors made inside, of the sizes that count, have taken together."""

    def __init__(self, counts: Callable[[int], bool] = lambda size: True) -> None:
        super().__init__()
        self.counts, self.most = counts, 0
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if _real(t)}
        found = func(*args, **(kwargs or {}))
        for t in tree_leaves(found):
            if _real(t) and t.untyped_storage().data_ptr() not in given:
                storage = t.untyped_storage()
                self.made[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.made = {k: (ref, n) for k, (ref, n) in self.made.items() if not ref.expired()}
        self.most = max(self.most, sum(n for _, n in self.made.values() if self.counts(n)))
        return found


def _real(t: Any) -> bool:
    if not isinstance(t, Tensor) or t._is_zerotensor():
        return False
    return t.layout == torch.strided and t.device.type == "cpu"
