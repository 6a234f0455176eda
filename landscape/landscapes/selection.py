"""Which of a model's parameters a landscape is over, by globs over their names, and which cannot
be.
"""

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from landscape.errors import LoadingError

Globs = str | Sequence[str]


def trainable(model: nn.Module, name: str) -> list[str]:
    """The names of those that require grad, in order.

    Raises:
        LoadingError: there is none, or one has no shape yet.
    """
    found = [k for k, p in model.named_parameters() if p.requires_grad]
    lazy = [
        k for k, p in model.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)
    ]
    if lazy:
        raise LoadingError(
            f"parameter {lazy[0]} has no shape yet: run the model once before analysing it."
        )
    if not found:
        raise LoadingError(
            f"{name} has no trainable parameter: set requires_grad=True on those to analyse."
        )
    return found


def select(model: nn.Module, among: list[str], include: Globs, exclude: Globs | None) -> list[str]:
    """Those of ``among`` that match ``include`` and not ``exclude``.

    Raises:
        ValueError: a glob that matches nothing, or nothing is left.
        LoadingError: one is complex.
    """
    wanted, unwanted = _globs(include), _globs(exclude or ())
    _require_matches("include", wanted, among)
    _require_matches("exclude", unwanted, among)
    names = [k for k in among if _matches(k, wanted) and not _matches(k, unwanted)]
    complex_ = [k for k, p in model.named_parameters() if k in names and p.is_complex()]
    if complex_:
        raise LoadingError(
            f"parameter {complex_[0]} is complex: a landscape is a function of real numbers. Store "
            f"real and imaginary parts."
        )
    if not names:
        raise ValueError(f"include={include!r} and exclude={exclude!r} leave no parameter.")
    return names


def coefficients(
    option: str, terms: Mapping[str, float] | None, among: list[str]
) -> dict[str, float]:
    """A regulariser's {glob: coefficient}.

    Raises:
        TypeError: it is no mapping.
        ValueError: a glob that matches nothing, or a coefficient that is not finite.
    """
    if terms is not None and not isinstance(terms, Mapping):
        raise TypeError(
            f"{option} must map globs to coefficients, {{'*.weight': 1e-4}} say, got {terms!r}."
        )
    found = dict(terms or {})
    for glob, c in found.items():
        if not math.isfinite(c):
            raise ValueError(f"the coefficient of {option} glob {glob!r} must be finite, got {c}.")
    _require_matches(option, tuple(found), among)
    return found


def common_dtype(parameters: Sequence[nn.Parameter]) -> torch.dtype:
    """The one to which all can be promoted; at least float32: second derivatives in half precision
    are noise.
    """
    dtype = torch.float32
    for parameter in parameters:
        dtype = torch.promote_types(dtype, parameter.dtype)
    return dtype


def some(names: Sequence[str]) -> str:
    """The first six, and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _require_matches(option: str, globs: tuple[str, ...], among: list[str]) -> None:
    for glob in globs:
        if not any(fnmatchcase(k, glob) for k in among):
            raise ValueError(
                f"{option} glob {glob!r} matches no trainable parameter; there are {some(among)}."
            )


def _globs(globs: Globs) -> tuple[str, ...]:
    return (globs,) if isinstance(globs, str) else tuple(globs)


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
