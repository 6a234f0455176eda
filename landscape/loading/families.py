"""Families of landscapes from what is written on one line: a built-in name, or a user's own
function.
"""

import hashlib
import inspect
from pathlib import Path

from landscape.errors import LoadingError
from landscape.inventory.families import Family, built_in
from landscape.landscapes.formula import FunctionLandscape
from landscape.loading import userfiles
from landscape.rng import seeded


def named(spec: str, seed: int = 0, **options: object) -> Family:
    """The family that ``spec`` writes: a built-in name, ``file.py:family`` or ``pkg.mod:family``.

    Args:
        spec: what it names is called as ``family(dim, seed, **options)`` and gives a
            FunctionLandscape.
        seed: of the global random state while it runs.

    Raises:
        ValueError: an unknown name or option.
        LoadingError: the file cannot be run, or the function raises.
    """
    if not userfiles.is_python(spec):
        return built_in(spec, **options)
    spec = spec if ":" in spec else f"{spec}:family"
    function, source = userfiles.resolve(spec)
    attribute = spec.rpartition(":")[2]
    if not callable(function):
        raise LoadingError(
            f"{spec} is a {type(function).__name__}, not a function family(dim, seed) -> landscape."
        )
    try:
        inspect.signature(function).bind(1, 0, **options)
    except TypeError as error:
        raise LoadingError(
            f"{spec} does not take (dim, seed{''.join(f', {k}=' for k in options)}): {error}. A "
            f"family is family(dim, seed)."
        ) from None

    def build(dim: int, number: int) -> FunctionLandscape:
        with seeded(seed), userfiles.guarded(source):
            made: FunctionLandscape = function(dim, number, **options)
        return made

    code = Path(source).read_bytes() if source.endswith(".py") else b""
    return Family(
        attribute, build, fingerprint=hashlib.sha256(code).hexdigest()[:16] if code else ""
    )
