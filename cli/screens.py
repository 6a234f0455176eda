"""Results on a screen: their words, 80 columns wide in a pipe, or JSON for programs."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from landscape.results import Result, Words

    from . import given

STYLES = {"label": "dim", "quiet": "dim", "head": "bold", "value": "bold"}
VERDICTS = {
    "MINIMUM": "bold green",
    "SADDLE": "bold yellow",
    "NOT-STATIONARY": "bold magenta",
    "INCONCLUSIVE": "bold red",
}


@contextmanager
def aside() -> Iterator[None]:
    """Have what users' code prints go to stderr, and what a shell or a C library that it calls
    writes to file descriptor 1: it is no result of ours.
    """
    stdout = sys.stdout
    _flush(stdout)
    kept = _turned()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush(stdout)
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _turned() -> int | None:
    """Have file descriptor 1 lead where 2 does; a duplicate of what it was, or None where one of
    the two is closed and nothing was changed.
    """
    try:
        os.fstat(2)  # else the duplicate would take its number
        kept = os.dup(1)
    except OSError:
        return None
    os.dup2(2, 1)
    return kept


def _flush(stdout: TextIO) -> None:
    """Write out what Python and C still hold for file descriptor 1, before it leads elsewhere."""
    for stream in (stdout, sys.__stdout__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)


def say(text: object, *, err: bool = False) -> None:
    """Print a line; what a terminal would act on in it, in a file's name say, is escaped."""
    from landscape.specs import visible

    click.echo(visible(str(text)), err=err)


def show(result: Result, folder: Path, options: given.Run) -> None:
    """Print what a result says and where it is written: as words, in one line, or as JSON."""
    if options["as_json"]:
        as_json({"run": str(folder)} | result.to_dict())
        return
    from landscape.results.words import Fact, Words, behind

    said = result.words(folder)
    if options["quiet"]:
        say(f"{result.name}: {said.brief} ({folder})")
        return
    last = max(i for i, part in enumerate(said.parts) if isinstance(part, Fact))
    written = Fact("written", (str(folder),))
    words(Words(said.brief, [*said.parts[: last + 1], written, *said.parts[last + 1 :]]))
    if options["verbose"]:
        words(Words("", [behind(result)]))


def alone(result: Result, options: given.Run) -> None:
    """Print what a result says that is written nowhere."""
    if options["as_json"]:
        as_json(result.to_dict())
    elif options["quiet"]:
        say(f"{result.name}: {result.words().brief}")
    else:
        words(result.words())


def as_json(value: object) -> None:
    """Print what is no result of a run, or is in JSON's own types, as JSON."""
    from landscape.results import plain

    say(json.dumps(plain(value), indent=2, ensure_ascii=False))


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows under a header."""
    from landscape.results.words import Table, Words

    words(Words("", [Table(columns, tuple(rows))]))


def words(said: Words) -> None:
    """Print words; colours and the terminal's width only where a person is looking."""
    from rich.console import Console
    from rich.text import Text

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command ends as others do

    width = None if sys.stdout.isatty() else 80
    console = Screen(highlight=False, markup=False, emoji=False, width=width)
    for line in said.lines(console.width):
        text = Text.assemble(*((part, _style(part, role)) for part, role in line))
        text.rstrip()
        console.print(text, soft_wrap=True)
    console.print()


def _style(text: str, role: str) -> str:
    if role == "verdict":
        return VERDICTS.get(text.split(":")[0].split(" ")[0], "")
    return STYLES.get(role, "")
