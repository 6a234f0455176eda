"""What ``--help`` shows: a command's own options, then the shared ones by what they are about, then
examples.
"""

from typing import Any

import click

MODEL, DATA, NUMBERS, OUTPUT = "Model", "Data and loss", "Numbers", "Output"
ORDER = ("Options", MODEL, DATA, NUMBERS, OUTPUT)


class Option(click.Option):
    """An option that knows its group; a whole number is an ``N``, its range is told by errors."""

    def __init__(self, *args: Any, group: str = "Options", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group
        if self.metavar is None and isinstance(self.type, click.IntRange) and not self.count:
            self.metavar = "N"

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What stands in brackets: the default, no range."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class Command(click.Command):
    """A command with grouped options and examples at the end of its help.

    Args:
        examples: command lines without the leading ``landscape``.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group that has options."""
        for title in ORDER:
            records = [
                param.get_help_record(ctx)
                for param in self.get_params(ctx)
                if not isinstance(param, click.Argument)
                and getattr(param, "group", "Options") == title
            ]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line however long, so that they can be copied."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}landscape {line}\n")
