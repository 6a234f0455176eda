"""How far a computation is, on stderr: a bar where a person is watching; in a pipe or a log one
line a stage, once the command has gone on for a while.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .screens import say

if TYPE_CHECKING:
    from landscape.core import Progress


PATIENCE = 10.0  # seconds that a command may take without a word


@contextmanager
def bar(quiet: bool = False) -> Iterator["Progress"]:
    """The library's bar where stderr is a terminal, else a line a stage; nothing if ``quiet``."""
    from landscape.core import silent
    from landscape.progress import bar as shown

    if quiet or not sys.stderr.isatty():
        yield silent if quiet else Lines()
        return

    with shown() as callback:
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
        from landscape.progress import duration

        seconds = (total - done) * (now - self.since) / (done - self.first)
        return f": {done:,} of {total:,}, about {duration(max(1.0, seconds))} left"
