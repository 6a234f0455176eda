"""Configuration files: the options of a command as TOML, under the names they have on the command
line.

Precedence: command line, LANDSCAPE_* variable, file, default. ``set``, ``l2`` and ``l1`` are lists
of "key=value" as on the command line, or tables. Paths are relative to the folder the command runs
in, as on the command line.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click

from .errors import OneLine

UNSAVED = frozenset(
    {"config", "out", "force", "resume", "as_json", "quiet", "verbose", "figures"}
)  # where and how to print: not what was computed
HEADER = (
    "# Again with `landscape {command} --config {name}`; paths are relative to the folder that "
    "runs in.\n"
)


def read(ctx: click.Context, param: click.Parameter, path: str | None) -> str | None:
    """The callback of --config: the file's values become the command's defaults."""
    if path is None:
        return None
    known = {_key(p): p for p in ctx.command.params if p.name != "config"}
    ctx.meta["landscape.config"] = path
    ctx.default_map = {}
    for key, value in _parse(path).items():
        option = known.get(key.replace("_", "-"))
        if option is None:
            close = difflib.get_close_matches(key.replace("_", "-"), known, 1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}."
            )
            raise OneLine(f"{path}: unknown key {key!r} for `{ctx.command.name}`; {hint}", 2)
        ctx.default_map[str(option.name)] = _value(option, value, f"{path}: {key}")
    return path


def resolved(ctx: click.Context) -> dict[str, object]:
    """The options in force, in the form of a configuration file: reading them back
    repeats the run.
    """
    options: dict[str, object] = {}
    for param in ctx.command.params:
        value = ctx.params.get(str(param.name))
        if param.name in UNSAVED or value is None or value == ():
            continue
        if isinstance(value, tuple):
            value = [f"{v[0]}={json.dumps(v[1])}" if isinstance(v, tuple) else v for v in value]
        options[_key(param)] = value if isinstance(value, bool | int | float | list) else str(value)
    return options


def words(ctx: click.Context) -> str:
    """The command as it is typed, without the tool's own name: ``saddles find``."""
    names: list[str] = []
    while ctx.parent is not None:
        names.insert(0, str(ctx.info_name))
        ctx = ctx.parent
    return " ".join(names)


def dump(options: Mapping[str, object], command: str, name: str) -> str:
    """``options`` as TOML text."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in options.items()]
    return HEADER.format(command=command, name=name) + "".join(lines)


def _parse(path: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OneLine(
            f"the configuration file {path} cannot be read: {error.strerror}.", 2
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OneLine(f"{path} is not TOML: {error}.", 2) from None


def _value(option: click.Parameter, value: object, where: str) -> object:
    if getattr(option, "multiple", False):
        if isinstance(value, dict):
            return [f"{k}={json.dumps(v)}" for k, v in value.items()]
        return [str(v) for v in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, dict | list):
        raise OneLine(f"{where} must be one value, got {json.dumps(value, default=str)}.", 2)
    if isinstance(value, bool) and not getattr(option, "is_flag", False):
        raise OneLine(f"{where} must be a number or a text, got {json.dumps(value)}.", 2)
    return value if isinstance(value, bool | int | float) else str(value)


def _key(param: click.Parameter) -> str:
    """The name in a file: the option's long name, or the argument's."""
    longest = max(param.opts, key=len)
    return longest.removeprefix("--")
