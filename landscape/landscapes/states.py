"""What a pass over a landscape's data may disturb in a loop that runs beside it: random states, a
loader's one iterator, and what the model keeps and logs in its steps.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from landscape.core import Landscape
from landscape.landscapes.arithmetic import owned
from landscape.landscapes.kept import kept


def require_own_loader(f: Landscape) -> None:
    """Raise a ValueError if f reads its data by an iterator that only one loop can have."""
    if getattr(_loader(f), "persistent_workers", False):
        raise ValueError(
            "f's DataLoader has persistent_workers=True, whose one iterator is the loop's own: "
            "give f a loader of its own."
        )


@contextmanager
def undisturbed(f: Landscape) -> Iterator[None]:
    """Evaluate f and leave every random state that a loop can feel as it was, and what its model
    and loss keep (``kept``); the arithmetic is owned inside.
    """
    loader = _loader(f)
    parts = [
        loader,
        getattr(loader, "sampler", None),
        getattr(getattr(loader, "batch_sampler", None), "sampler", None),
    ]
    found = {
        id(g): g
        for g in (getattr(p, "generator", None) for p in parts)
        if isinstance(g, torch.Generator)
    }
    states = [(g, g.get_state()) for g in found.values()]
    python, numpy = random.getstate(), np.random.get_state()
    cuda = [f.device.index or 0] if f.device.type == "cuda" else []
    own = isinstance(loader, list | tuple)  # torch's state is then seen to by f's evaluation
    try:
        with (
            torch.random.fork_rng(devices=cuda, enabled=not own),
            owned(),
            kept(getattr(f, "model", None), getattr(f, "loss", None)),
        ):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for g, state in states:
            g.set_state(state)


def _loader(f: Landscape) -> Any:
    batches = getattr(f, "batches", None)
    return getattr(batches, "source", batches)
