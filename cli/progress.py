"""How far a computation is, on stderr, where a person is watching: never in a pipe or a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.core import Progress


@contextmanager
def bar(quiet: bool = False) -> Iterator["Progress"]:
    """The library's bar where stderr is a terminal, else a callback that shows nothing."""
    if quiet or not sys.stderr.isatty():
        yield _silent
        return
    from landscape.progress import bar as shown

    with shown() as callback:
        yield callback


def _silent(stage: str, done: int, total: int | None) -> None:
    """Nobody is watching."""
