"""What ``--help`` and completion show, and what the short ways of printing print."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import landscape_figures
import pages
import pytest
from click.testing import Result
from landscape_cli import completion
from landscape_cli.help import ORDER, Command
from landscape_cli.main import main

import landscape as ls
from landscape import gallery
from landscape.inventory import families
from landscape.landscapes import losses
from landscape.zoo import stuck

Run = Callable[..., Result]
FAST = ("--probes", "2", "--steps", "5", "--no-layers")


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, (*path, name))
    else:
        yield path


ALL = list(commands())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_groups_and_examples_that_parse(run: Run, path: tuple[str, ...]) -> None:
    text = run(*path, "--help").stdout
    assert "INTEGER" not in text
    assert "9223372036854775807" not in text
    titles = re.findall(r"^([A-Z][a-z ]+):", text, re.MULTILINE)
    assert [t for t in titles if t in ORDER] == [t for t in ORDER if t in titles]
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    if isinstance(command, Command):
        assert len(command.examples) >= 2
        for line in command.examples:
            assert f"  landscape {line}\n" in text
            pages.parse(line.split())


def test_the_list_of_commands_is_not_cut(run: Run) -> None:
    text = run("--help").stdout
    assert "..." not in text.partition("Commands:")[2].partition("MODEL")[0]


@pytest.mark.parametrize(
    ("names", "library"),
    [
        (completion.MODELS + completion.FORMULAS, ls.zoo.names()),
        (completion.FAMILIES, families.names()),
        (completion.STUCK, stuck.names()),
        (completion.LOSSES, losses.names()),
        (completion.FIGURES, ["all", *landscape_figures.RECIPES]),
        (completion.EXHIBITS, gallery.names()),
    ],
)
def test_completion_knows_the_names_of_the_library(
    names: tuple[str, ...], library: list[str]
) -> None:
    assert sorted(names) == sorted(library)


def test_a_shell_completes_names_and_falls_back_to_files() -> None:
    ctx, param = click.Context(main), click.Argument(["model"])
    complete = completion.of(completion.MODELS)
    assert [c.value for c in complete(ctx, param, "digits-m")] == ["digits-mlp"]
    assert [c.type for c in complete(ctx, param, "net.p")] == ["file"]


def test_a_wrong_option_says_where_help_is(run: Run) -> None:
    result = run("analyze", "digits-mlp", "--larges", "3")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "--largest" in result.stderr
    assert "analyze --help'" in result.stderr


@pytest.mark.usefixtures("undrawn")
def test_quiet_is_one_line_and_verbose_has_every_row(here: Path, run: Run) -> None:
    quiet = run("analyze", "net.py", *FAST, "--out", "run", "-q")
    assert quiet.stdout.count("\n") == 1
    assert ls.load("run").point.kind in quiet.stdout
    verbose = run("analyze", "net.py", *FAST, "--out", "run", "--resume", "-v").stdout
    assert verbose.count("\n") > run("analyze", "net.py", *FAST, "--out", "run", "--resume").stdout.count("\n") + 10  # fmt: skip


@pytest.mark.slow
def test_no_figures_leaves_the_figures_out(here: Path, run: Run) -> None:
    assert run("analyze", "net.py", *FAST, "--out", "run", "--no-figures").exit_code == 0
    assert not Path("run/figures").exists()
    done = run("figures", "render", "all", "--from", "run")
    assert "3 files written into run/figures." in done.stderr
    missed = run("figures", "render", "spectrm", "--from", "run")
    assert "Did you mean 'spectrum'?" in missed.stderr
