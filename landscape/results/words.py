"""What a result says, as plain data: labelled lines and tables, laid out for a screen of any width.

Every room that has results has a module ``words`` beside them, which registers with ``said`` a
function for each class, and with ``columns`` one for each class that is a table. ``Result.words``
finds them. The terminal, a notebook, the HTML page and ``print`` all show these words.
"""

import dataclasses
import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch

from landscape.results.estimate import Estimate
from landscape.specs import visible

WIDTH = 80
GAP = "   "
NO_BREAK = "\u00a0"

# A piece of a line with its role: "label", "head", "value", "quiet", "verdict", or "" for text.
Span = tuple[str, str]
Line = tuple[Span, ...]


@dataclasses.dataclass(frozen=True)
class Fact:
    """A label with its lines, and perhaps numbers above them."""

    label: str
    lines: tuple[str, ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()  # (value ± error, solver's bound)
    head: tuple[str, str] | None = None  # what the two numbers of a row are

    def __bool__(self) -> bool:
        return bool(self.lines or self.numbers)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""  # of a page's section

    def __bool__(self) -> bool:
        return bool(self.rows)


class Words:
    """What a result says.

    Args:
        brief: a few words, which stand behind the name in ``repr(result)``.
        parts: facts and tables in the order in which they are read; empty ones are left out. What a
            terminal would act on in their texts, which may come from a file, is escaped.
    """

    def __init__(self, brief: str, parts: Iterable[Fact | Table]) -> None:
        self.brief = brief
        self.parts = tuple(_visible(part) for part in parts if part)

    @property
    def facts(self) -> dict[str, Fact]:
        """The facts by their labels; of two with one label the first."""
        return {part.label: part for part in reversed(self.parts) if isinstance(part, Fact)}

    @property
    def tables(self) -> list[Table]:
        """The tables in their order."""
        return [part for part in self.parts if isinstance(part, Table)]

    def blocks(self) -> list[list[Fact] | Table]:
        """The parts, facts that follow one another together."""
        found: list[list[Fact] | Table] = []
        for part in self.parts:
            if isinstance(part, Table):
                found.append(part)
            elif found and isinstance(found[-1], list):
                found[-1].append(part)
            else:
                found.append([part])
        return found

    def lines(self, width: int = WIDTH) -> Iterator[Line]:
        """The lines of a screen of ``width`` columns, an empty one between two blocks."""
        for i, block in enumerate(self.blocks()):
            if i:
                yield ()
            yield from _table(block, width) if isinstance(block, Table) else _facts(block, width)

    def text(self, width: int = WIDTH) -> str:
        """The lines as plain text."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines(width))

    def __str__(self) -> str:
        return self.text()

    def html(self) -> str:
        """One small HTML table for a notebook; names that users gave are escaped."""
        return "".join(_html(block) for block in self.blocks())


def _visible(part: Fact | Table) -> Fact | Table:
    """The part with every character shown and none acted on."""
    if isinstance(part, Fact):
        return dataclasses.replace(
            part, label=visible(part.label), lines=tuple(map(visible, part.lines))
        )
    rows = tuple(tuple(map(visible, row)) for row in part.rows)
    return dataclasses.replace(part, rows=rows, title=visible(part.title))


@singledispatch
def said(result: object, folder: str) -> Words:
    """What ``result`` says; ``folder``: where it is stored, for commands that go on from it.

    A class without words of its own shows its fields that are words or numbers.
    """
    shown = vars(result) if dataclasses.is_dataclass(result) else {}
    facts = [
        Fact(name.replace("_", " "), (_value(value),))
        for name, value in shown.items()
        if isinstance(value, str | int | float | Estimate) and value != ""
    ]
    return Words("", facts)


@singledispatch
def columns(result: object) -> dict[str, Sequence[object]]:
    """The columns of a result that is a table, by name.

    Raises:
        TypeError: it is none.
    """
    raise TypeError(f"{type(result).__name__} is no table; its fields are numbers and tensors.")


def behind(result: object) -> Table:
    """The rows that ``columns`` has of a result, as a table; empty where it is none."""
    try:
        found = columns(result)
    except TypeError:
        return Table((), ())
    rows = zip(*found.values(), strict=True)
    return Table(tuple(found), tuple(tuple(map(_value, row)) for row in rows))


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most ``width``; a word that is longer is broken."""
    lines = textwrap.wrap(_tied(text), max(1, width), break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]


def _tied(text: str) -> str:
    """The text with numbers tied to their unit and error."""
    return text.replace(" %", f"{NO_BREAK}%").replace("± ", f"±{NO_BREAK}")


def _facts(facts: list[Fact], width: int) -> Iterator[Line]:
    margin = max(len(fact.label) for fact in facts)
    for fact in facts:
        label = fact.label
        for spans in _cell(fact, width - margin - 5):
            yield ((f" {label:<{margin}}{GAP}", "label"), *spans)
            label = ""


def _cell(fact: Fact, width: int) -> Iterator[Line]:
    rows = [fact.head, *fact.numbers] if fact.head else fact.numbers
    reach = max((len(row[0]) for row in rows), default=0)
    for row in rows:
        roles = ("quiet", "quiet") if row is fact.head else ("value", "quiet")
        yield tuple(zip((f"{row[0]:<{reach}}{GAP}", row[1]), roles, strict=True))
    role = "verdict" if fact.label == "verdict" else "quiet" if fact.numbers else ""
    for line in fact.lines:
        bulleted = f"- {line}" if len(fact.lines) > 1 else line
        for text in _wrapped(bulleted, width):
            yield ((text, role),)


def _table(table: Table, width: int) -> Iterator[Line]:
    """The header, a rule, and the rows."""
    columns = list(zip(table.columns, *table.rows, strict=True))
    widths = _widths(columns, width - 2 - len(GAP) * (len(columns) - 1))
    yield from _row(table.columns, widths, "head")
    yield ((" " + "─" * (sum(widths) + len(GAP) * (len(widths) - 1)), "quiet"),)
    for row in table.rows:
        yield from _row(row, widths, "")


def _widths(columns: list[tuple[str, ...]], room: int) -> list[int]:
    """Of each column; where there is no room the widest give way, at first between their words."""
    widths = [max(len(cell) for cell in column) for column in columns]
    words = [max(map(_longest_word, column)) for column in columns]
    while sum(widths) > room and max(widths) > 1:
        spare = [have - need for have, need in zip(widths, words, strict=True)]
        size = [have if free > 0 else 0 for have, free in zip(widths, spare, strict=True)]
        size = size if any(size) else widths
        widths[size.index(max(size))] -= 1
    return widths


def _longest_word(cell: str) -> int:
    return max(map(len, _tied(cell).split(" ")))


def _row(row: tuple[str, ...], widths: list[int], role: str) -> Iterator[Line]:
    """A row of cells, those of the header at the bottom of its lines."""
    parts = [_wrapped(cell, reach) for cell, reach in zip(row, widths, strict=True)]
    height = max(len(part) for part in parts)
    for part in parts:
        empty = [""] * (height - len(part))
        part[:] = empty + part if role == "head" else part + empty
    for level in zip(*parts, strict=True):
        text = GAP.join(f"{cell:<{reach}}" for cell, reach in zip(level, widths, strict=True))
        yield ((f" {text}", role),)


def _html(block: list[Fact] | Table) -> str:
    if isinstance(block, Table):
        head = "".join(f"<th>{html.escape(column)}</th>" for column in block.columns)
        rows = [[html.escape(cell) for cell in row] for row in block.rows]
        top = f"<thead><tr>{head}</tr></thead>"
    else:
        rows, top = [[html.escape(fact.label), _html_lines(fact)] for fact in block], ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"


def _html_lines(fact: Fact) -> str:
    numbers = [f"{value} (solver: {bound})" for value, bound in fact.numbers]
    return "<br>".join(html.escape(line) for line in (*numbers, *fact.lines))
