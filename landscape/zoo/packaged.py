"""Files that other distributions install: found without importing the package, which may have side effects."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from landscape.errors import LoadingError


def file(package: str, path: str) -> Path:
    """Where an installed distribution keeps a file.

    Raises:
        LoadingError: it is not installed, or its version keeps no such file; the message says what to install.
    """
    remedy = "pip install 'torch-landscape[models]'"
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise LoadingError(f"this model needs {package}: {remedy}.") from None
    if not found.is_file():
        raise LoadingError(f"{package} has no file {path} here: {remedy}.")
    return found
