"""What every result has: where it comes from, and a way into a folder and back."""

import dataclasses
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.results import flat, store
from landscape.results import words as says
from landscape.results.store import result
from landscape.results.words import Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    config: dict[str, object] = dataclasses.field(default_factory=dict)  # the resolved options
    notes: tuple[str, ...] = ()  # what loading did: prefixes stripped, dtypes converted
    # What products were computed in, and on a GPU the card, CUDA and cuDNN.
    arithmetic: dict[str, str] = dataclasses.field(default_factory=dict)
    # SHA-256 of the files that options name, as they name them, 16 hexadecimal digits
    files: dict[str, str] = dataclasses.field(default_factory=dict)


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

    def __init_subclass__(cls) -> None:
        """Keep the one line of ``repr``: ``dataclass`` would write a page of tensors in
        its place.
        """
        super().__init_subclass__()
        if "__repr__" not in vars(cls):
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]

    def words(self, folder: str | os.PathLike[str] = "RUN") -> Words:
        """What this says, as labelled lines and tables: what ``print`` and the terminal show.

        Args:
            folder: where it is stored, for the commands among its words that go on from it.
        """
        self._import("words")
        return says.said(self, str(folder))

    def __str__(self) -> str:
        return self.words().text()

    def __repr__(self) -> str:
        brief = [repr(self.name) if self.name else "", self.words().brief]
        return f"{type(self).__name__}({', '.join(filter(None, brief))})"

    def _repr_html_(self) -> str:
        """For a notebook: the words as a table, and the main figure where there is one."""
        import landscape_figures

        return self.words().html() + str(landscape_figures.inline(self))

    def plot(self) -> "Figure":
        """The main figure of this kind of result; ``landscape_figures.RECIPES`` has the others.

        Raises:
            NothingToDraw: a ValueError: there is no figure of it, or it lacks the numbers.
        """
        import landscape_figures

        figure: Figure = landscape_figures.plot(self)
        return figure

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, for a result that is a table: one row a point, run or record.

        Raises:
            ImportError: pandas is not installed.
            TypeError: this kind of result is no table.
        """
        self._import("words")
        table = says.columns(self)
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise ImportError(
                "to_pandas needs pandas, which is not installed: pip install pandas."
            ) from None
        return pandas.DataFrame(table)

    def to_dict(self) -> dict[str, Any]:
        """The numbers of this under plain names, in JSON's own types: what ``--json`` prints.

        ``docs/json.md`` lists the names of each kind. An estimate is ``{"value", "error", "low",
        "high"}``, a number with a certain bound ``{"value", "bound"}``, NaN and infinity are null.
        """
        self._import("flat")
        about = {"result": store.kind_of(self), "name": self.name}
        numbers: dict[str, Any] = store.plain(about | flat.flat(self) | {"notes": self.notes})
        return numbers

    def _import(self, module: str) -> None:
        """Import this module, ``words`` or ``flat``, of every room that a class of this comes
        from.
        """
        for cls in type(self).__mro__:
            room = sys.modules[cls.__module__].__package__ or ""
            if room.startswith("landscape.") and importlib.util.find_spec(f"{room}.{module}"):
                importlib.import_module(f"{room}.{module}")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Store in ``folder``, made if missing; ``landscape.load`` reads it back.

        Raises:
            OSError: the folder cannot be written.
        """
        return store.save(self, folder)

    @classmethod
    def upgraded(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a result as schema 1 stored them.

        Name and notes stood beside a provenance that could be missing.
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
