"""What every result has: where it comes from, and a way into a folder and back."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from landscape.results import store
from landscape.results.store import result


@result("provenance")
@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a result comes from: what must be the same to get it again.

    All of it is empty for a part of a result.
    """

    name: str = ""  # the model or landscape, as the user named it
    seed: int = 0
    dtype: str = ""
    device: str = ""
    model_hash: str = ""  # SHA-256 over parameter names, shapes and values, 16 hexadecimal digits
    data_hash: str = ""  # SHA-256 over all batches in order, 16 hexadecimal digits
    # Of landscape, torch, numpy, scipy, python.
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    platform: str = ""
    created: str = ""  # ISO 8601, UTC
    config: dict[str, Any] = dataclasses.field(default_factory=dict)  # the resolved options
    notes: tuple[str, ...] = ()  # what loading did: prefixes stripped, dtypes converted


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What a solver hands back: frozen, with numbers that know their errors."""

    provenance: Provenance = dataclasses.field(default=Provenance(), kw_only=True)

    @property
    def name(self) -> str:
        """The model or landscape that this is about, as the user named it."""
        return self.provenance.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What loading did on the way: prefixes stripped, dtypes converted."""
        return self.provenance.notes

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``, made if missing; ``landscape.load`` reads it back.

        Raises:
            OSError: the folder cannot be written.
        """
        return store.save(self, folder)

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a result as schema 1 stored them: name and notes stood beside a provenance
        that could be missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        former = {
            key: fields.pop(key) for key in ("name", "notes") if key in fields and key not in known
        }
        origin = fields.get("provenance") or Provenance()
        if not origin.name and "name" in former:
            origin = dataclasses.replace(origin, name=former["name"], seed=fields.get("seed", 0))
        return fields | {
            "provenance": dataclasses.replace(
                origin, notes=tuple(former.get("notes", origin.notes))
            )
        }
