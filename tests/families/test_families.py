"""The families of ``run.py``: a few of torch alone by default, all of those installed with LANDSCAPE_FAMILIES=all."""

import os

import pytest

from families import run

QUICK = [
    "TorchScript",
    "a physics-informed network",
    "a variational autoencoder",
    "a policy (REINFORCE)",
    "an LSTM of packed sequences",
    "ResNet with BatchNorm",
    "a transformer of torch",
    "layers with weight normalisation",
    "a network with spectral normalisation",
]
NAMES = list(run.FAMILIES) if os.environ.get("LANDSCAPE_FAMILIES") == "all" else QUICK


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_loss_gradient_and_largest_eigenvalue_against_a_computation_without_landscape(
    name: str,
) -> None:
    try:
        found = run.row(name)
    except ImportError as error:
        pytest.skip(str(error))
    for gap, most in zip(found.gaps, run.tolerance(found), strict=True):
        assert gap <= most, found


def test_there_are_25_families() -> None:
    assert len(run.FAMILIES) >= 25
