"""How far a computation is: a bar with the time passed and left, for terminals and notebooks.

Nothing is shown unless it is asked for: ``progress=True`` of the functions that take long.
"""

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from landscape.core import Progress

P = ParamSpec("P")
R = TypeVar("R")


def watched(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function`` take ``progress=True``, which shows a bar on stderr while it runs, and False
    or None, which show nothing, beside the callback that it calls.
    """

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        asked: Any = options.get("progress", ...)
        if asked is True:
            with bar() as shown:
                options["progress"] = shown
                return function(*args, **options)
        if asked is False or asked is None:
            del options["progress"]
        return function(*args, **options)

    return call


@contextmanager
def bar() -> Iterator["Progress"]:
    """A progress callback ``(stage, done, total)`` that draws a bar on stderr, or in a notebook,
    with the time passed, and the time left where the end is known.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    from landscape.specs import visible

    class Times(ProgressColumn):
        """``12 of 40, 9 s, about 21 s left``."""

        def render(self, task: Task) -> Text:
            parts = [duration(task.elapsed or 0.0)]
            if task.total is not None:
                parts.insert(0, f"{task.completed:.0f} of {task.total:.0f}")
                if task.time_remaining is not None and not task.finished:
                    parts.append(f"about {duration(task.time_remaining)} left")
            return Text(", ".join(parts))

    columns = (TextColumn("{task.description}"), BarColumn(), Times())
    with Bars(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, int] = {}

        def callback(stage: str, done: int, total: int | None) -> None:
            stage = escape(visible(stage))
            if stage not in tasks:
                for task in progress.task_ids:
                    progress.update(task, visible=False)
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(progress.task_ids[tasks[stage]], completed=done, total=total)

        yield callback


class Line:
    """One line on stderr that is written anew each time; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self.stream = sys.stderr
        self.shown = self.stream is not None and self.stream.isatty()
        self._written = False

    def show(self, text: str) -> None:
        """Write ``text`` over what was there, cut to the terminal's width."""
        from landscape.specs import visible

        if self.shown:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\x1b[K{visible(text)[:width]}")
            self.stream.flush()
            self._written = True

    def close(self) -> None:
        """Leave the line as it is; what comes is written below."""
        if self._written:
            self.stream.write("\n")
            self.stream.flush()
            self._written = False


def duration(seconds: float) -> str:
    """``36 s``, ``4 min 05 s``, ``2 h 13 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"
