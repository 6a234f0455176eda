"""How far a computation is, on stderr: a bar where a person is watching; in a pipe or a log one line
a stage, once the command has gone on for a while.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .screens import say

if TYPE_CHECKING:
    from landscape.core import Progress as Callback


PATIENCE = 10.0  # seconds that a command may take without a word


@contextmanager
def bar() -> Iterator["Callback"]:
    """A progress callback ``(stage, done, total)`` that draws a bar with the time left."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from landscape.specs import visible

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns,
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        tasks: dict[str, int] = {}

        def callback(stage: str, done: int, total: int | None) -> None:
            stage = escape(visible(stage))
            if stage not in tasks:
                for task in progress.task_ids:
                    progress.update(task, visible=False)
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(progress.task_ids[tasks[stage]], completed=done, total=total)

        yield callback


class Lines:
    """A line a stage, with the time that it will take; none in the first ``PATIENCE`` seconds."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.stage, self.since, self.told, self.first = "", self.begun, True, 0

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.since, self.told, self.first = stage, now, False, done
        if self.told or now - self.begun < PATIENCE or (total and now - self.since < 1.0):
            return
        self.told = True
        say(f"{stage}{self._left(done, total, now)} ...", err=True)

    def _left(self, done: int, total: int | None, now: float) -> str:
        """How much is left, and how long that will take."""
        if not total or done <= self.first:
            return ""
        seconds = (total - done) * (now - self.since) / (done - self.first)
        return f": {done:,} of {total:,}, about {_time(seconds)} left"


def _time(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
