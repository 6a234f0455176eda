"""How far a computation is, on stderr, where a person is watching: never in a pipe or a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.core import Progress as Callback


@contextmanager
def bar(quiet: bool = False) -> Iterator["Callback"]:
    """A progress callback ``(stage, done, total)`` that draws a bar with the time passed, and the
    time left where the end is known.
    """
    if quiet or not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Times(ProgressColumn):
        """``12 of 40, 9 s, about 21 s left``."""

        def render(self, task: Task) -> Text:
            parts = [f"{_time(task.elapsed or 0.0)}"]
            if task.total is not None:
                parts.insert(0, f"{task.completed:.0f} of {task.total:.0f}")
                if task.time_remaining is not None and not task.finished:
                    parts.append(f"about {_time(task.time_remaining)} left")
            return Text(", ".join(parts))

    columns = (TextColumn("{task.description}"), BarColumn(), Times())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, int] = {}

        def callback(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                for task in progress.task_ids:
                    progress.update(task, visible=False)
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(progress.task_ids[tasks[stage]], completed=done, total=total)

        yield callback


def _time(seconds: float) -> str:
    """``36 s``, ``4 min 05 s``, ``2 h 13 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"


def _silent(stage: str, done: int, total: int | None) -> None:
    """Nobody is watching."""
