"""The fixed set of results is bit-equal on the kind of machine that wrote it."""

import json

import pytest

from fixed import results

STORED = json.loads(results.STORED.read_text())


@pytest.mark.parametrize("name", results.CASES)
def test_no_bit_has_moved(name: str) -> None:
    if STORED["machine"] != results.machine():
        pytest.skip(f"another kind of machine wrote the stored bits: {STORED['machine']}")
    assert results.computed(name) == STORED["results"][name]
