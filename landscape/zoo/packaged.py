"""Files that other distributions install: found without importing the package, which may have side
effects.
"""

import importlib.util
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from landscape.errors import LoadingError

# Of facenet-pytorch only the weights are read; the torchvision that it asks for must fit torch.
REMEDIES = {"facenet-pytorch": "pip install --no-deps facenet-pytorch==2.5.3"}


def file(package: str, path: str) -> Path:
    """Where an installed distribution keeps a file.

    Raises:
        LoadingError: it is not installed, or its version keeps no such file; the message says what
            to install.
    """
    remedy = REMEDIES.get(package, "pip install 'torch-landscape[models]'")
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise LoadingError(f"this model needs {package}: {remedy}.") from None
    if not found.is_file():
        raise LoadingError(f"{package} has no file {path} here: {remedy}.")
    return found


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 handwritten digits: x (1797, 64) float32, grey values 0..16 divided by
    16; y (1797,) int64.

    Raises:
        LoadingError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise LoadingError("digits needs scikit-learn: pip install 'torch-landscape[examples]'.")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x).float() / 16, torch.from_numpy(y).long()
