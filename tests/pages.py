"""What a Markdown page shows: its code blocks by language, and the command lines of its shell blocks."""

import re
import shlex
from collections.abc import Iterator

import click
from landscape_cli.main import main

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page) if name == language]


def commands(page: str) -> list[list[str]]:
    """Every `landscape ...` of the shell blocks, as arguments."""
    lines = "\n".join(blocks(page, "sh")).replace("&&", "\n").replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    shown = [line[1:] for line in words if line[:1] == ["landscape"]]
    return [line[: line.index(">")] if ">" in line else line for line in shown]


def steps(page: str) -> Iterator[tuple[str, str, str | None]]:
    """Every Python and shell block, its language first, with the ``text`` block that follows it at once: what it prints. None
    where there is none."""
    found = list(FENCE.finditer(page))
    for this, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        if this[1] in ("python", "sh"):
            shown = (
                after is not None
                and after[1] == "text"
                and not page[this.end() : after.start()].strip()
            )
            yield this[1], this[2], after[2] if after is not None and shown else None


def parse(line: list[str]) -> None:
    """Parse a command line without running it; a mistake in it raises."""
    command: click.Command = main
    context = click.Context(main, info_name="landscape")
    while isinstance(command, click.Group):
        name, command, line = command.resolve_command(context, line)  # type: ignore[assignment]
        context = click.Context(command, parent=context, info_name=name)
    with command.make_context(context.info_name, line, parent=context.parent):
        pass


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def missing(shown: str, printed: str) -> list[str]:
    """The lines of ``shown`` that ``printed`` lacks, in their order; numbers to the digits shown, and
    what is below 1e-9 within a factor of ten."""
    left, lost = printed.splitlines(), []
    for line in filter(str.strip, shown.splitlines()):
        place = next((i for i, other in enumerate(left) if _alike(line, other)), None)
        if place is None:
            lost.append(line)
        else:
            left = left[place + 1 :]
    return lost


def _alike(line: str, other: str) -> bool:
    if NUMBER.sub("#", line).split() != NUMBER.sub("#", other).split():
        return False
    pairs = zip(NUMBER.findall(line), NUMBER.findall(other), strict=True)
    return all(_near(a.replace(",", ""), b.replace(",", "")) for a, b in pairs)


def _near(shown: str, printed: str) -> bool:
    a, b = float(shown), float(printed)
    if abs(a) < 1e-9:
        return abs(b) < 1e-9 and (a == b or 0.1 <= abs(a / b) <= 10 if a and b else True)
    mantissa, _, power = shown.partition("e")
    digits = len(mantissa.partition(".")[2])
    if not digits and not power:
        return a == b  # a count
    return abs(a - b) <= 1.01 * 10 ** (int(power or 0) - digits)
