"""Where a result comes from: seeds, versions, hashes, and what a command says of it."""

import dataclasses
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib import metadata

import numpy as np
import scipy
import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.results.base import Provenance


@dataclasses.dataclass(frozen=True)
class Origin:
    """What only the caller of a solver knows of a result; see ``origin``."""

    name: str = ""
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    model_hash: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)


_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)


@contextmanager
def origin(
    name: str = "",
    config: Mapping[str, object] | None = None,
    notes: tuple[str, ...] = (),
    model_hash: str = "",
    files: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Say once where all the results come from that solvers make inside; what an outer ``origin``
    said still holds.

    Args:
        name: what reports call the landscape, in the place of its own name.
        config: the options that repeat the run; a solver's own are kept where these do not name
            them.
        notes: what loading did on the way.
        model_hash: of a landscape's source, for one that has no fingerprint of its own.
        files: hashes of the files that options name.
    """
    outer = _ORIGIN.get() or Origin()
    token = _ORIGIN.set(
        Origin(
            name or outer.name,
            config or outer.config,
            notes or outer.notes,
            model_hash or outer.model_hash,
            files or outer.files,
        )
    )
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def provenance(
    f: Landscape | None,
    x: Tensor | None = None,
    seed: int = 0,
    *,
    name: str = "",
    model_hash: str = "",
    **config: object,
) -> Provenance:
    """Where a result about f at x (n,) comes from: the landscape, the arguments given here, and the
    ``origin`` in force.

    Args:
        f: the landscape; None for a result that is about none.
        x: whose dtype and device are told; None: the CPU, in f's dtype.
        seed: of the solver.
        name, model_hash: for a result that is not named or made as f is.
        config: the solver's own options.
    """
    told = _ORIGIN.get() or Origin()
    own_name, dtype, own, data_hash = _identity(f)
    return Provenance(
        name=told.name or name or own_name,
        seed=seed,
        dtype=str(dtype if x is None else x.dtype).removeprefix("torch."),
        device="cpu" if x is None else str(x.device),
        model_hash=told.model_hash or model_hash or own,
        data_hash=data_hash,
        versions=versions(),
        platform=platform.platform(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config | {key: value for key, value in told.config.items() if value is not None},
        notes=told.notes,
        arithmetic=arithmetic(f, x),
        files=dict(told.files),
    )


def _identity(f: Landscape | None) -> tuple[str, torch.dtype, str, str]:
    """Name, dtype, and hashes of model and data."""
    return ("", torch.float64, "", "") if f is None else (f.name, f.dtype, *f.fingerprint())


def arithmetic(f: Landscape | None, x: Tensor | None) -> dict[str, str]:
    """What products are computed in, and on a GPU the card, CUDA and cuDNN."""
    found = {} if f is None else {"precision": f.precision}
    if x is not None and x.is_cuda:
        found |= {
            "card": torch.cuda.get_device_name(x.device),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        }
    return found


def versions() -> dict[str, str]:
    """The versions of this library and of what it computes with."""
    return {
        "landscape": metadata.version("torch-landscape"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }
