"""Results on a screen: their words, 80 columns wide in a pipe, or JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from landscape.results import Result, Words

STYLES = {"label": "dim", "quiet": "dim", "head": "bold", "value": "bold"}
VERDICTS = {
    "MINIMUM": "bold green",
    "SADDLE": "bold yellow",
    "NOT-STATIONARY": "bold magenta",
    "INCONCLUSIVE": "bold red",
}


def show(result: Result, folder: Path, json_wanted: bool) -> None:
    """Print what a result says and where it is written, or the result as JSON."""
    if json_wanted:
        as_json(result, folder=str(folder))
        return
    from landscape.results.words import Fact, Words

    said = result.words(folder)
    last = max(i for i, part in enumerate(said.parts) if isinstance(part, Fact))
    written = Fact("written", (str(folder),))
    words(Words(said.brief, [*said.parts[: last + 1], written, *said.parts[last + 1 :]]))


def alone(result: Result, json_wanted: bool) -> None:
    """Print what a result says that is written nowhere."""
    if json_wanted:
        as_json(result)
    else:
        words(result.words())


def as_json(value: object, **more: object) -> None:
    """Print a result as JSON, with ``more`` keys in front."""
    from landscape.results import Result, plain

    body = plain(value)
    if isinstance(value, Result):
        more = {**more, "name": value.name}
    shown = {**more, **body} if isinstance(body, dict) else body
    click.echo(json.dumps(shown, indent=2, ensure_ascii=False))


def table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows under a header."""
    from landscape.results.words import Table, Words

    words(Words("", [Table(columns, tuple(rows))]))


def words(said: Words) -> None:
    """Print words; colours and the terminal's width only where a person is looking."""
    from rich.console import Console
    from rich.text import Text

    width = None if sys.stdout.isatty() else 80
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    for line in said.lines(console.width):
        text = Text.assemble(*((part, _style(part, role)) for part, role in line))
        text.rstrip()
        console.print(text, soft_wrap=True)
    console.print()


def _style(text: str, role: str) -> str:
    if role == "verdict":
        return VERDICTS.get(text.split(":")[0].split(" ")[0], "")
    return STYLES.get(role, "")
