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


def snippets(page: str) -> Iterator[tuple[str, str | None]]:
    """Every Python block with the ``text`` block that follows it at once: what it prints. None where there is none."""
    found = list(FENCE.finditer(page))
    for this, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        if this[1] == "python":
            shown = (
                after is not None
                and after[1] == "text"
                and not page[this.end() : after.start()].strip()
            )
            yield this[2], after[2] if after is not None and shown else None


def parse(line: list[str]) -> None:
    """Parse a command line without running it; a mistake in it raises."""
    command: click.Command = main
    context = click.Context(main, info_name="landscape")
    while isinstance(command, click.Group):
        name, command, line = command.resolve_command(context, line)  # type: ignore[assignment]
        context = click.Context(command, parent=context, info_name=name)
    with command.make_context(context.info_name, line, parent=context.parent):
        pass
