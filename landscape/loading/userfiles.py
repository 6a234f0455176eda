"""A user's own Python: ``pkg.mod:attr`` and ``path/to/file.py:attr``, run with errors that point at
its lines.

Whatever the code raises, ``SystemExit`` too, becomes one line: the file, the line, the exception.
Ctrl-C stays Ctrl-C. It runs with a seeded random state, so that a model drawn at random is the same
every time, and the user's own state comes back afterwards.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from landscape import specs
from landscape.errors import LoadingError, NumericalError, memory_is_full
from landscape.rng import seeded

T = TypeVar("T")


def is_python(spec: str) -> bool:
    """Whether ``spec`` is written as ``pkg.mod:attr``, ``file.py:attr`` or ``file.py``."""
    source, colon, attr = spec.rpartition(":")
    dotted = all(part.isidentifier() for part in attr.split("."))
    return spec.endswith(".py") or (
        bool(colon) and dotted and (source.endswith(".py") or _is_module(source))
    )


def resolve(spec: str) -> tuple[object, str]:
    """The object that ``spec`` names, and the file or module it comes from.

    Raises:
        LoadingError: no such file, module or attribute, or importing it raises.
    """
    source, _, attr = (spec, "", "problem") if spec.endswith(".py") else spec.rpartition(":")
    with guarded(source):
        module = (
            _import_file(Path(source))
            if source.endswith(".py")
            else importlib.import_module(source)
        )
    found: object = module
    for part in attr.split("."):
        if not hasattr(found, part):
            known = [name for name in vars(module) if not name.startswith("_")]
            raise LoadingError(f"{source} defines no {attr!r}.{specs.closest(attr, known)}")
        found = getattr(found, part)
    return found, source


def call(function: Callable[..., T], settings: Mapping[str, object], source: str, seed: int) -> T:
    """``function(**settings)`` with the random state seeded.

    Raises:
        ValueError: the settings are not its parameters.
        LoadingError: it raises.
    """
    try:
        parameters = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins tell no signature
        parameters = None
    if parameters is not None:
        try:
            parameters.bind(**settings)
        except TypeError as error:
            known = ", ".join(parameters.parameters) or "none"
            name = getattr(function, "__name__", "it")
            raise ValueError(
                f"--set does not fit {source}:{name}: {error}. Its parameters: {known}."
            ) from None
    with seeded(seed), guarded(source):
        return function(**settings)


@contextmanager
def guarded(source: str) -> Iterator[None]:
    """Other people's code: its folder (for a module, the current one) on the path, its errors in
    one line.
    """
    folder = str(Path(source).resolve().parent if source.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    except (LoadingError, NumericalError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if memory_is_full(error):
            raise
        what = specs.one_line(error)
        kind = type(error).__name__
        raise LoadingError(
            f"{_place(error, source)}: {kind}{f': {what}' if what else ''}"
        ) from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _place(error: BaseException, source: str) -> str:
    """``file:line`` of the innermost line of the user's file that was running, else what was asked
    for.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    home = str(Path(source).resolve()) if source.endswith(".py") else _module_file(source)
    lines = [frame.lineno for frame in frames if frame.filename == home]
    return f"{_shown(home)}:{lines[-1]}" if home and lines else source


def _shown(path: str) -> str:
    """A path as short as it can be written from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _module_file(name: str) -> str | None:
    return getattr(sys.modules.get(name), "__file__", None)


def _is_module(source: str) -> bool:
    return bool(source) and all(part.isidentifier() for part in source.split("."))


def _import_file(path: Path) -> ModuleType:
    """Run a file as a module of its own; the same unchanged file runs once, for --data after MODEL
    say.
    """
    if not path.is_file():
        raise LoadingError(f"there is no file {path}. Check the path.")
    path = path.resolve()
    stamp = hashlib.sha256(f"{path}:".encode() + path.read_bytes()).hexdigest()[:12]
    name = f"_landscape_user_{path.stem}_{stamp}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = (
        module  # before it runs: dataclasses and pickle look their module up by name
    )
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
