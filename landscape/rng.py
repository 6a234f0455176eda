"""Random numbers from a seed: our own generators, child seeds, foreign code on a seeded state."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

Seed = int | np.random.SeedSequence


def number(seed: Seed) -> int:
    """The seed as a whole number below 2^63, which torch takes; a sequence draws 63 bits."""
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return int(seed)


def words(sequence: np.random.SeedSequence, count: int = 1) -> list[int]:
    """``count`` whole numbers below 2^32 from a sequence: seeds that are stored and printed.

    They are not the numbers of ``number``. Studies and probes drew them first, and their stored
    results would be others with 63 bits.
    """
    return [int(word) for word in sequence.generate_state(count)]


def generator(seed: Seed, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on the device that no one else draws from.

    seed: a whole number as torch takes it, or a sequence, which is drawn from by ``number``.
    """
    return torch.Generator(device).manual_seed(number(seed))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random states of torch, numpy and Python inside; leave them as they were."""
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda), host_seeded(seed):
        torch.manual_seed(seed)
        yield


@contextmanager
def host_seeded(seed: int) -> Iterator[None]:
    """The same for numpy and Python alone."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        seed_host(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_host(seed: int) -> None:
    """Seed the global random states of numpy and Python."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
