"""Records of a run in a file: one row of float64 a record, written in blocks, so that memory does
not grow with the run.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

COLUMNS = (
    "steps",
    "evaluated",
    "loss",
    "gradient_norm",
    "update_norm",
    "batch_gradient_norm",
    "weight_norm",
    "travelled",
    "from_start",
    "learning_rate",
    "momentum_norm",
    "second_moment_norm",
    "noise_trace",
    "largest",
    "smallest",
    "largest_bound",
    "smallest_bound",
    "rayleigh",
    "negative_share",
    "sharpness",
    "edge",
    "searched",
)
LAYERED = ("layer_gradient", "layer_update", "layer_weight")
UNITS = ("saturated", "dead")
BLOCK = 64  # records held before they are written


def typed(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """The columns of records by name, all float64, in the dtypes that a ``Trace`` has."""
    flags = {name: columns[name] == 1 for name in ("evaluated", "searched")}
    return columns | flags | {"steps": columns["steps"].to(torch.int64)}


class Records:
    """``folder``/records.f64 and its header.json, whose contents a resumed run must share.

    Raises:
        ValueError: there are records already and resume is False, or they are of another run.
    """

    def __init__(
        self, folder: Path, width: int, header: Mapping[str, object], resume: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.width, self.path = width, folder / "records.f64"
        top = folder / "header.json"
        if self.path.exists():
            if not resume:
                raise ValueError(
                    f"{folder} holds records already: pass resume=True to go on, or another folder."
                )
            if json.loads(top.read_text()) != header:
                raise ValueError(
                    f"{folder} holds records of another landscape or interval: pass another folder."
                )
            # A row that was cut off is dropped.
            whole = self.path.stat().st_size // (8 * width) * 8 * width
            with self.path.open("r+b") as file:
                file.truncate(whole)
        else:
            top.write_text(json.dumps(header))
        self._file = self.path.open("ab")
        self._block: list[Tensor] = []

    def add(self, row: Tensor) -> None:
        """Keep a row (width,), float64, where it is until a block of them is written."""
        if len(row) != self.width:  # the graph of f has changed
            raise ValueError(
                f"f has {len(row)} quantities to record, {self.width} at the start: its "
                "activations must not change during a run."
            )
        self._block.append(row)
        if len(self._block) >= BLOCK:
            self.flush()

    def complete(self, row: Tensor) -> None:
        """Fill what the newest record lacks from ``row``, made at the same step."""
        if not self._block:  # it is in the file
            rows = self.read()
            with self.path.open("r+b") as file:
                file.truncate(8 * self.width * (len(rows) - 1))
            self._block.append(rows[-1].to(row.device))
        last = self._block.pop()
        full = torch.where(last.isnan(), row, last)
        full[COLUMNS.index("evaluated")] = row[COLUMNS.index("evaluated")]
        self.add(full)

    def flush(self) -> None:
        if self._block:
            self._file.write(torch.stack(self._block).cpu().numpy().tobytes())
            self._block = []
        self._file.flush()

    def last(self) -> list[float] | None:
        """The newest record, None if there is none."""
        rows = self.read()
        return rows[-1].tolist() if len(rows) else None

    def read(self) -> Tensor:
        """All records (m, width)."""
        if not self._file.closed:
            self.flush()
        return torch.from_numpy(np.fromfile(self.path, dtype=np.float64).reshape(-1, self.width))

    def close(self) -> None:
        self.flush()
        self._file.close()
