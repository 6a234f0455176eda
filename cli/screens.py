"""Results on a screen: one table, 80 columns wide in a pipe, or JSON for machines."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .facts import Fact

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {
    "MINIMUM": "bold green",
    "SADDLE": "bold yellow",
    "NOT-STATIONARY": "bold magenta",
    "INCONCLUSIVE": "bold red",
}


def console() -> "Console":
    """Standard output; colours and the terminal's width only where a person is looking."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 80)


def as_json(value: Any, **more: Any) -> None:
    """Print a result as JSON, with ``more`` keys in front."""
    from landscape.results import plain

    body = plain(value)
    click.echo(json.dumps(more | body if isinstance(body, dict) else body, indent=2, ensure_ascii=False))


def facts(rows: list[Fact]) -> None:
    """Print labelled lines as one table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAVY, show_header=False, show_edge=True, pad_edge=False, width=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(row.label, _cell(row))
    console().print(table)


def table(columns: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a header."""
    from rich import box
    from rich.table import Table

    body = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        body.add_column(column, overflow="fold")
    for row in rows:
        body.add_row(*row)
    console().print(body)


def _cell(row: Fact) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    if row.eigenvalues:
        grid = Table.grid(padding=(0, 3))
        if row.label == "largest":  # said once, above the first
            grid.add_row(Text("± sampling error of the data", style="dim"), Text("± solver", style="dim"))
        for value, bound in row.eigenvalues:
            grid.add_row(Text(value, style="bold"), Text(f"± {bound}", style="dim"))
        parts.append(grid)
    for line in row.lines:
        word = line.split(":")[0].split(" ")[0]
        style = COLOURS.get(word, "") if row.label == "verdict" else "dim" if row.eigenvalues else ""
        parts.append(Text(f"- {line}" if len(row.lines) > 1 else line, style=style))
    return Group(*parts)
