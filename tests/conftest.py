"""Fixtures shared by all tests."""

import os
import signal

import pytest
import torch

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # the workers share the cores: more threads in each would only wait for others
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background
    # A process that a test starts inherits this, and the test could not interrupt it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in every run; nothing asserted may hang on which."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _not_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here outlives a power cut: a busy disk takes longer than all the tests."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param
