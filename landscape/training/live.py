"""A traced run while it goes on: one line of the terminal, or a figure in a notebook."""

import math
import sys
import time
from typing import Any

import torch
from torch import Tensor

from landscape.progress import Line
from landscape.results import Provenance
from landscape.results.numbers import count, plain
from landscape.training.logs import Values
from landscape.training.records import COLUMNS, LAYERED, UNITS, typed
from landscape.training.trace import Trace

# A figure is drawn anew after so many seconds, or so many times as long as drawing it took, of at
# most so many records.
SECONDS, TIMES, MOST = 2.0, 20, 400


def shown() -> "Live | Picture":
    """What shows a run here: a figure in a notebook, else a line of the terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return Live() if getattr(shell, "kernel", None) is None else Picture()


class Picture:
    """Shows a run in a notebook: what its records say so far and the loss along them, in one output
    that is drawn anew.
    """

    def __init__(self) -> None:
        self.kept: list[Values] = []
        self._next = -math.inf  # when it may be drawn again
        self._handle: Any = None

    def __call__(self, step: int, record: Values) -> None:
        """Take a record, by its columns; one without f is passed over."""
        if not record["evaluated"]:
            return
        if len(self.kept) == MOST:
            del self.kept[1::2]
        self.kept.append(record)
        if time.monotonic() >= self._next:
            self._draw()

    def close(self) -> None:
        """Draw what has come since."""
        if self.kept:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        begun, shown = time.monotonic(), _trace(self.kept)
        if self._handle is None:
            self._handle = display(shown, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(shown)
        now = time.monotonic()
        self._next = now + max(SECONDS, TIMES * (now - begun))


class Live:
    """Shows each record of a run: step, loss, curvature against the edge, and the phase that the
    run has been in since the record before.

    Four records are kept, which tell the phase: the first, the lowest, the last and the newest.
    """

    def __init__(self) -> None:
        self.line = Line()
        self.kept: list[Values] = []

    def __call__(self, step: int, record: Values) -> None:
        """Show a record, by its columns; one without f is passed over."""
        if not self.line.shown or not record["evaluated"]:
            return
        self.kept = [*self._before(), record]
        parts = [f"step {count(step)}", f"loss {plain(record['loss'])}"]
        for name, key in (("curvature", "sharpness"), ("edge", "edge")):
            parts += [] if math.isnan(record[key]) else [f"{name} {plain(record[key])}"]
        phases = _trace(self.kept).phases
        parts += [phases[-1].name] if phases else []
        self.line.show("  ".join(parts))

    def close(self) -> None:
        """Leave the line."""
        self.line.close()

    def _before(self) -> list[Values]:
        """The first, the lowest and the last of the records before, in order."""
        if not self.kept:
            return []
        finite = [r for r in self.kept if math.isfinite(r["loss"])]
        lowest = min(finite, key=lambda r: r["loss"], default=self.kept[0])
        chosen = [self.kept[0], lowest, self.kept[-1]]
        return [r for r in self.kept if any(r is c for c in chosen)]


def _trace(records: list[Values]) -> Trace:
    """A trace of these records, without what is known of layers, units and the end."""
    columns: dict[str, Tensor] = {
        name: torch.tensor([r[name] for r in records], dtype=torch.float64, device="cpu")
        for name in COLUMNS
    }
    none = torch.empty(len(records), 0, dtype=torch.float64, device="cpu")
    return Trace(
        **typed(columns) | dict.fromkeys((*LAYERED, *UNITS), none),
        layers=[],
        activations=[],
        every=0,
        products=0,
        diverged=False,
        optimizer="",
        momentum=0.0,
        x=none[:0],
        last=None,
        loop=None,
        reading=None,
        provenance=Provenance(),
    )
