"""One way from a seed to a generator, whose numbers stored results rest on."""

import numpy as np
import torch

from landscape import rng


def test_a_number_seeds_as_torch_does() -> None:
    ours = torch.rand(4, generator=rng.generator(7))
    assert torch.equal(ours, torch.rand(4, generator=torch.Generator().manual_seed(7)))


def test_a_sequence_gives_63_bits_or_words_of_32() -> None:
    child = np.random.SeedSequence(3).spawn(2)[1]
    wide = int(child.generate_state(1, np.uint64)[0]) >> 1
    assert rng.number(child) == wide < 2**63
    assert rng.generator(child).initial_seed() == wide
    assert rng.words(child, 3) == child.generate_state(3, np.uint32).tolist()


def test_nobody_else_draws_from_it() -> None:
    state = torch.get_rng_state()
    a, b = rng.generator(np.random.SeedSequence(1)), rng.generator(np.random.SeedSequence(1))
    first = torch.rand(3, generator=a)
    assert torch.equal(first, torch.rand(3, generator=b))
    assert torch.equal(torch.get_rng_state(), state)
