"""One line for a user's mistake, and the exit status it deserves; decided here and nowhere else.

0 done · 1 --expect not met · 2 usage · 3 model, checkpoint or data cannot be loaded · 4 numerical
failure · 130 interrupted. An exception that is none of these is a bug of ours and keeps its
traceback.
"""

import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from . import ranks

OURS = ("landscape", "landscape_cli", "landscape_figures")


class OneLine(click.ClickException):
    """A message for the user with the exit status it comes with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click sets it by class, and there is one class here


class OneLineGroup(click.Group):
    """A group whose commands report every mistake of the user in one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)

    def main(  # type: ignore[override]  # click's overloads say the same in more words
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run and exit; with ``standalone_mode=False`` the errors are left to the caller, as in
        click.
        """
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        ranks.begin()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(
                    errors="replace"
                )  # a terminal without Unicode shows ? and does not fail
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            ranks.end(f"Error: {one_line(error)}", error.exit_code)
        except click.Abort:
            ranks.end("Error: interrupted.", 130)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn every mistake of the user raised inside into a OneLine with its exit status."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt as error:
        raise OneLine(str(error) or "interrupted; nothing was written.", 130) from None
    except (Exception, SystemExit) as error:
        known = judge(error)
        if known is None:
            raise
        raise known from error


def judge(error: BaseException) -> OneLine | None:
    """What ``error`` means for the user, or None where it is a bug of ours."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):  # LoadingError and NumericalError carry their own
        return OneLine(str(error), code)
    frames = _frames(error)
    ours = bool(frames) and _is_ours(frames[-1][0])
    if ours and isinstance(error, ValueError | TypeError):
        return OneLine(str(error), 2)
    theirs = _users_frame(frames)
    if theirs is not None:
        return OneLine(f"{theirs} raised {type(error).__name__}: {error}", 3)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OneLine(
            f"out of memory ({error}): try a smaller --batch-size, or fewer --largest and "
            f"--smallest.",
            4,
        )
    if isinstance(error, OSError):
        return OneLine(f"{error.filename or 'a file'}: {error.strerror or error}.", 2)
    return None


def _frames(error: BaseException) -> list[tuple[str, str, int]]:
    """Module, file and line of every call that was running, the innermost last."""
    return [
        (f.f_globals.get("__name__", ""), f.f_code.co_filename, line)
        for f, line in traceback.walk_tb(error.__traceback__)
    ]


def one_line(error: click.ClickException) -> str:
    """The message without line breaks, and where a bad value came from unless it was typed."""
    message = " ".join(error.format_message().split())
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    if ctx is not None and param is not None and param.name:
        source = ctx.get_parameter_source(param.name)
        if source is click.core.ParameterSource.ENVIRONMENT:
            message += f" (from the environment variable {param.envvar})"
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            message += f" (from {ctx.meta.get('landscape.config', 'the configuration file')})"
    return message


def _users_frame(frames: list[tuple[str, str, int]]) -> str | None:
    """The deepest frame, below ours, in a file that is neither ours nor installed: the user's own
    code.
    """
    libraries = {sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    inside, found = False, None
    for module, path, line in frames:
        inside = inside or _is_ours(module)
        installed = (
            "site-packages" in path
            or path.startswith("<")
            or any(path.startswith(f"{p}/") for p in libraries)
        )
        if inside and not installed and not _is_ours(module):
            found = f"{path}, line {line},"
    return found


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS
