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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--simulated-cuda",
        action="store_true",
        help="run the tests marked gpu on a simulated device, see tests/simcuda.py",
    )
    parser.addoption(
        "--all-scripts",
        action="store_true",
        help="diagnose all of tests/stuck_scripts, not one of each kind",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--simulated-cuda"):
        import simcuda

        simcuda.install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Forward derivatives of tensors that are wrappers fail inside torch."""
    gap = pytest.mark.skip(reason="the simulated device has no forward derivatives")
    for item in items if config.getoption("--simulated-cuda") else ():
        if item.get_closest_marker("gpu") and "forward-over-reverse" in item.name:
            item.add_marker(gap)


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


@pytest.fixture
def _steps_are_counted_at_home() -> None:
    """Some releases count Adam's steps on the default device, whatever the parameters lie on: there nothing that trains can
    be tried beside the meta device.
    """
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    with torch.device("meta"):
        try:
            torch.optim.Adam([parameter]).step()
        except RuntimeError:
            pytest.skip(f"Adam of torch {torch.__version__} steps on the default device")
