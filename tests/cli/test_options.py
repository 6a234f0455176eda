"""What options become, and which source of a value wins."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from landscape_cli import config
from landscape_cli.errors import OneLineGroup
from landscape_cli.options import (
    Coefficient,
    Expectation,
    ExpectationType,
    Setting,
    problem_options,
    run_options,
    spectrum_options,
)


@click.group(cls=OneLineGroup)
def app() -> None:
    """A group with one command that tells its options."""


@app.command()
@problem_options
@spectrum_options
@run_options
@click.pass_context
def tell(ctx: click.Context, /, **options: object) -> None:
    """Print the options and their form in a configuration file."""
    click.echo(json.dumps({"options": options, "resolved": config.resolved(ctx)}, default=str))


def told(*arguments: str, env: dict[str, str] | None = None) -> dict[str, dict[str, object]]:
    result: Result = CliRunner().invoke(app, ["tell", *arguments], env=env)
    assert result.exit_code == 0, result.output
    body: dict[str, dict[str, object]] = json.loads(result.stdout)
    return body


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("depth=3", ("depth", 3)),
        ("name=tanh", ("name", "tanh")),
        ('name="3"', ("name", "3")),
        ("sizes=[1,2]", ("sizes", [1, 2])),
        ("flag=false", ("flag", False)),
        ("nothing=null", ("nothing", None)),
        ("path=a=b", ("path", "a=b")),
        ("empty=", ("empty", "")),
    ],
)
def test_settings_are_json_and_bare_words_are_strings(text: str, pair: tuple[str, object]) -> None:
    assert Setting().convert(text, None, None) == pair


def test_a_glob_may_hold_an_equals_sign() -> None:
    assert Coefficient().convert("a=b*=1e-4", None, None) == ("a=b*", 1e-4)


@pytest.mark.parametrize(
    ("text", "kind", "index", "holds"),
    [
        ("minimum", "minimum", 0, True),
        ("minimum", "degenerate", 0, False),
        ("saddle", "saddle", None, True),
        ("saddle", "minimum", 0, False),
        ("saddle:3", "saddle", 3, True),
        ("saddle:3", "saddle", 2, False),
        ("saddle:3", "saddle", None, False),  # bounds that contain 3 are not surely 3
        ("plateau", "plateau", 0, True),
    ],
)
def test_expectations(text: str, kind: str, index: int | None, holds: bool) -> None:
    expectation = ExpectationType().convert(text, None, None)
    assert str(expectation) == text
    point: Any = SimpleNamespace(kind=kind, index=index)
    assert expectation.holds(point) is holds
    assert isinstance(expectation, Expectation)


def test_precedence_is_command_line_then_variable_then_file_then_default(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("seed = 1\nlargest = 1\nsmallest = 1\n")
    env = {"LANDSCAPE_SEED": "2", "LANDSCAPE_LARGEST": "2"}
    options = told("m", "--config", str(file), "--seed", "3", env=env)["options"]
    assert (options["seed"], options["largest"], options["smallest"], options["probes"]) == (
        3,
        2,
        1,
        3,
    )


def test_a_file_may_use_tables_and_lists_and_name_the_model(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'model = "net.py"\nbatch_size = 4\ninclude = "a*"\n[set]\nhidden = 3\nname = "x"\n[l2]\n"*.weight" = 1e-4\n'
    )
    options = told("--config", str(file))["options"]
    assert options["model"] == "net.py"
    assert options["batch_size"] == 4
    assert options["include"] == ["a*"]
    assert options["settings"] == [["hidden", 3], ["name", "x"]]
    assert options["l2"] == [["*.weight", 1e-4]]


def test_what_is_written_reads_back_as_the_same_options(tmp_path: Path) -> None:
    arguments = [
        "dir with space/net.py:build", "--set", 'name="ü\\n"', "--set", "n=null", "--l2", "*.weight=1e-05", "--l1", "*=3",
        "--include", "0.*", "--include", "2.*", "--tol", "1e-06", "--dtype", "float64", "--seed", str(2**40), "--data", "x.npz:x=a,y=b",
    ]  # fmt: skip
    first = told(*arguments)
    file = tmp_path / "c.toml"
    file.write_text(config.dump(first["resolved"], "tell", "c.toml"))
    assert tomllib.loads(file.read_text()) == first["resolved"]
    assert told("--config", str(file)) == first


@pytest.mark.parametrize("name", ["out", "force", "resume", "json"])
def test_where_a_run_goes_is_not_part_of_its_configuration(name: str) -> None:
    flags = ["--out", "x", "--force", "--resume", "--json"]
    assert name not in told("m", *flags)["resolved"]


def test_every_option_has_a_variable() -> None:
    from landscape_cli.main import main

    def walk(command: click.Command) -> Callable[[], None] | None:
        for sub in getattr(command, "commands", {}).values():
            walk(sub)
        for param in command.params:
            if isinstance(param, click.Option) and command.name in ("analyze", "spectrum"):
                long = max(param.opts, key=len).removeprefix("--")
                assert param.envvar == "LANDSCAPE_" + long.upper().replace("-", "_"), param.opts
        return None

    walk(main)


def test_defaults_are_those_of_the_library() -> None:
    import inspect

    from landscape_cli.main import main

    from landscape.points.analyze import analyze

    options = {param.name: param.default for param in main.commands["analyze"].params}
    library = inspect.signature(analyze).parameters
    own = {"budget", "config", "optimizer", "polish"}
    shared = sorted((set(options) & set(library)) - own)
    assert shared == ["largest", "layers", "method", "probes", "seed", "smallest", "steps", "tol"]
    for name in shared:
        assert options[name] == library[name].default, name
