"""Operators whose spectrum is known in closed form, and the devices to try them on."""

import pytest
import torch


class Diagonal:
    """diag(d) as an operator that counts its products: its eigenvalues are d, whatever the solver does."""

    def __init__(self, d, fails_at=None):
        self.d, self.shape, self.dtype, self.device = d, (len(d), len(d)), d.dtype, d.device
        self.products, self.fails_at = 0, fails_at

    def __matmul__(self, V):
        out = self.d * V if V.ndim == 1 else self.d[:, None] * V
        columns = out[:, None] if V.ndim == 1 else out
        for column in columns.T:
            self.products += 1
            if self.products == self.fails_at:
                column[0] = torch.nan
        return out


@pytest.fixture
def diagonal():
    return Diagonal


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.fixture
def no_default_device():
    """Any tensor made without a device lands on meta and fails at once, as it would on the wrong GPU."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)
