"""Configuration files: the options of a command as TOML, under the names they have on the command
line.

Precedence: command line, LANDSCAPE_* variable, file, default. ``set``, ``l2`` and ``l1`` are lists
of "key=value" as on the command line, or tables. Paths are relative to the folder the command runs
in, as on the command line.
"""

import difflib
import json
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click

from .errors import OneLine
from .screens import say

UNSAVED = frozenset(
    {"config", "out", "force", "resume", "as_json", "quiet", "verbose", "figures", "trust"}
)  # where and how to print: not what was computed
# What a file may not decide: where a result goes, and whether another one goes for it.
IGNORED = frozenset({"out", "force"})
# Options whose values may name Python, which is then run.
PYTHON = frozenset({"model", "landscape", "family", "run", "data", "loss", "metrics"})
MOST = 2**24  # bytes of a file of options
FROM_FILE = click.core.ParameterSource.DEFAULT_MAP
HEADER = (
    "# Again with `landscape {command} --config {name}`, and --trust where it names Python; paths "
    "are relative to\n# the folder that runs in.\n"
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
        if option is not None and option.name in IGNORED:
            say(f"Note: {key} in {path} is ignored: pass --{key} on the command line.", err=True)
            continue
        if option is None:
            close = difflib.get_close_matches(key.replace("_", "-"), known, 1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}."
            )
            raise OneLine(f"{path}: unknown key {key!r} for `{ctx.command.name}`; {hint}", 2)
        ctx.default_map[str(option.name)] = _value(option, value, f"{path}: {key}")
    return path


def check(ctx: click.Context) -> None:
    """Refuse options that are empty, and Python that a file names and the user does not.

    A configuration file may come from anyone. What its options would import is run only with
    --trust, or where it is in the very file or module that the user has named elsewhere.
    """
    texts = {param: _texts(ctx.params.get(str(param.name))) for param in ctx.command.params}
    for param, values in texts.items():
        if any(not text.strip() for text in values):
            raise OneLine(f"{_key(param)} is empty: leave it out, or say what it is.", 2)
        if any("\0" in text for text in values):
            raise OneLine(f"{_key(param)} holds a zero byte, which no name of a file can.", 2)
    _require_trust(ctx, {str(param.name): values for param, values in texts.items()})


def _require_trust(ctx: click.Context, texts: Mapping[str, list[str]]) -> None:
    named: list[str] = []
    foreign: list[str] = []
    for name in PYTHON & texts.keys():
        from_file = ctx.get_parameter_source(name) is FROM_FILE
        sources = [_source(text) for text in texts[name] if _may_be_python(text)]
        (foreign if from_file else named).extend(sources)
    wanted = sorted(set(foreign) - set(named))
    if wanted and not ctx.params.get("trust"):
        raise OneLine(
            f"{ctx.meta['landscape.config']} names Python, {wanted[0]}, which would be run: pass "
            "--trust if you know where it comes from, or name it on the command line.",
            2,
        )


def _texts(value: object) -> list[str]:
    """The texts that an option has been given."""
    return [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, str)]


def _may_be_python(text: str) -> bool:
    return ":" in text or text.endswith(".py")


def _source(text: str) -> str:
    """The file or module of ``file.py:attr``."""
    source = text if text.endswith(".py") else text.rpartition(":")[0]
    return str(Path(source).resolve()) if source.endswith(".py") else source


def resolved(ctx: click.Context) -> dict[str, object]:
    """The options in force, in the form of a configuration file: reading them back
    repeats the run.
    """
    options: dict[str, object] = {}
    for param in _saved(ctx):
        value = ctx.params.get(str(param.name))
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            value = [f"{v[0]}={json.dumps(v[1])}" if isinstance(v, tuple) else v for v in value]
        options[_key(param)] = value if isinstance(value, bool | int | float | list) else str(value)
    return options


def options(ctx: click.Context) -> list[str]:
    """The options that say what is computed, in force or not."""
    return [_key(param) for param in _saved(ctx)]


def chosen(ctx: click.Context) -> set[str]:
    """Those of them whose values are not defaults."""
    default = click.core.ParameterSource.DEFAULT
    return {_key(p) for p in _saved(ctx) if ctx.get_parameter_source(str(p.name)) is not default}


def _saved(ctx: click.Context) -> list[click.Parameter]:
    return [param for param in ctx.command.params if param.name not in UNSAVED]


def contents(ctx: click.Context) -> dict[str, str]:
    """Hashes of the files that options name: of checkpoints, data and Python."""
    texts = {text for p in _saved(ctx) for text in _texts(ctx.params.get(str(p.name)))}
    named = {text.rpartition(":")[0] or text for text in texts} | texts
    return {name: _hash(Path(name)) for name in sorted(named) if Path(name).is_file()}


def _hash(path: Path) -> str:
    """SHA-256, 16 hexadecimal digits; "" where it cannot be read, which whoever needs it says."""
    import hashlib  # here, since --help has no use for it

    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


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
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST:
            what = "it is no plain file" if found.st_size <= MOST else "it is too large"
            raise OneLine(f"the configuration file {path} cannot be read: {what}.", 2)
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OneLine(
            f"the configuration file {path} cannot be read: {error.strerror}.", 2
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OneLine(f"{path} is not TOML: {error}.", 2) from None
    except RecursionError:
        raise OneLine(f"{path} is not TOML of ours: it is nested too deeply.", 2) from None


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
