"""Tests of this folder need a CUDA device, a simulated one will do."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _there() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
