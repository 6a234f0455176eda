"""How far a computation is, on stderr, where a person is watching: never in a pipe or a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.core import Progress as Callback


@contextmanager
def bar() -> Iterator["Callback"]:
    """A progress callback ``(stage, done, total)`` that draws a bar with the time left."""
    if not sys.stderr.isatty():
        yield _silent
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


def _silent(stage: str, done: int, total: int | None) -> None:
    """Nobody is watching."""
