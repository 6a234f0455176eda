"""Where a result comes from: seeds, versions, hashes."""

import dataclasses
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from landscape.core import Landscape
from landscape.results.store import result


@result("provenance")
@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a result comes from: what must be the same to get it again."""

    name: str  # the model or landscape, as the user named it
    seed: int
    dtype: str
    device: str
    model_hash: str  # SHA-256 over parameter names, shapes and values, 16 hexadecimal digits
    data_hash: str  # SHA-256 over all batches in order, 16 hexadecimal digits
    versions: dict[str, str]  # of landscape, torch, numpy, scipy, python
    platform: str
    created: str  # ISO 8601, UTC
    config: dict[str, Any]  # the resolved options


def provenance(f: Landscape, x: Tensor, name: str | None, seed: int, config: dict[str, Any]) -> Provenance:
    """Where a result about f at x (n,) comes from."""
    from landscape import __version__

    model_hash, data_hash = getattr(f, "fingerprint", lambda: ("", ""))()
    return Provenance(
        name=name or str(getattr(f, "name", type(f).__name__)),
        seed=seed,
        dtype=str(x.dtype).removeprefix("torch."),
        device=str(x.device),
        model_hash=model_hash,
        data_hash=data_hash,
        versions={
            "landscape": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
        platform=platform.platform(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config,
    )
