"""One line for a user's mistake, and the exit status it deserves; decided here and nowhere else.

0 done · 1 --expect not met · 2 usage · 3 model, checkpoint or data cannot be loaded · 4 numerical
failure · 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM. An exception that is none of these is a
bug of ours and keeps its traceback.
"""

import contextlib
import os
import signal
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import click

from . import ranks
from .screens import say

FULL = (
    "out of memory ({:.200}): pass a smaller --batch-size, --resolution or --runs, or fewer "
    "--largest and --smallest."
)
MOST = 2000  # characters of a message
BROKEN_PIPE = 141  # what a shell says of a process that SIGPIPE has ended
OURS = ("landscape", "landscape_cli", "landscape_figures")


class OneLine(click.ClickException):
    """A message for the user with the exit status it comes with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click sets it by class, and there is one class here


class OneLineGroup(click.Group):
    """A group whose commands report every mistake of the user in one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors(), _no_way_out(), _notes():
            return super().invoke(ctx)

    def main(  # type: ignore[override]  # click's overloads say the same in more words
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run and exit; with ``standalone_mode=False`` the errors are left to the caller, as in
        click.
        """
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        _open_streams()
        ranks.begin()
        listen()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(
                    errors="replace"
                )  # a terminal without Unicode shows ? and does not fail
        try:
            with one_line_errors():
                code = super().main(args, prog_name, standalone_mode=False, **extra)
                sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            ranks.end(f"Error: {one_line(error)}", error.exit_code)
        except click.Abort as error:
            ended = interrupted(error.__cause__, "nothing was written.")
            ranks.end(f"Error: {ended.message}", ended.exit_code)
        except BrokenPipeError:
            _close_quietly()
            sys.exit(BROKEN_PIPE)
        sys.exit(code if isinstance(code, int) else 0)


def _open_streams() -> None:
    """Have what the caller has closed (``>&-``) go nowhere: the next file that is opened would take
    its place, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def _close_quietly() -> None:
    """Have what is still to be printed go nowhere: nobody reads it any more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _no_way_out() -> Iterator[None]:
    """Have ``os._exit`` of the user's code raise: it would end the command with a status that is
    not ours. Processes that are forked meanwhile end as they do.
    """
    leave, own = os._exit, os.getpid()

    def refused(status: int = 0) -> NoReturn:
        if os.getpid() != own:
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refused
    try:
        yield
    finally:
        os._exit = leave


@contextmanager
def _notes() -> Iterator[None]:
    """Have what the library warns of a stored result appear as a note."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def shown(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__name__ != "NotChecked":
                usual(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                say(f"Note: {message}.", err=True)

        told: set[str] = set()
        warnings.showwarning = shown
        yield


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn every mistake of the user raised inside into a OneLine with its exit status."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        raise interrupted(error, "nothing was written.") from None
    except (Exception, SystemExit) as error:
        known = judge(error)
        if known is None:
            raise
        raise known from error


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP, which end a command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def listen() -> None:
    """Have SIGTERM and SIGHUP end a command as SIGINT does, unless the caller has said otherwise:
    nohup has SIGHUP ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    raise Ended(number)


def interrupted(error: BaseException | None, what: str) -> OneLine:
    """A command that was ended from outside, and what is left of its work."""
    number = error.number if isinstance(error, Ended) else signal.SIGINT
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return OneLine(f"{how}; {what}", 128 + number)


def judge(error: BaseException) -> OneLine | None:
    """What ``error`` means for the user, or None where it is a bug of ours."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):  # LoadingError and NumericalError carry their own
        return OneLine(str(error), code)
    frames = _frames(error)
    if _memory_is_full(error):
        return OneLine(FULL.format(" ".join(str(error).split()) or "no more is given"), 4)
    ours = bool(frames) and _is_ours(frames[-1][0])
    if ours and isinstance(error, ValueError | TypeError):
        return OneLine(str(error), 2)
    theirs = _users_frame(frames)
    if theirs is not None:
        return OneLine(f"{theirs} raised {type(error).__name__}: {error}", 3)
    return _of_the_system(error, frames) if isinstance(error, OSError) else None


def _of_the_system(error: OSError, frames: list[tuple[str, str, int]]) -> OneLine:
    """What an error of the operating system is about: a file, or what is printed."""
    if error.filename is None and _is_of_stdout(frames):
        _close_quietly()
        return OneLine(f"stdout cannot be written: {error.strerror}.", 2)
    return OneLine(f"{error.filename or 'a file'}: {error.strerror or error}.", 2)


def _memory_is_full(error: BaseException) -> bool:
    from landscape.errors import memory_is_full

    return memory_is_full(error)


def _is_of_stdout(frames: list[tuple[str, str, int]]) -> bool:
    """Whether the deepest call was one that prints."""
    return bool(frames) and frames[-1][0].partition(".")[0] in ("click", "rich", "landscape_cli")


def _frames(error: BaseException) -> list[tuple[str, str, int]]:
    """Module, file and line of every call that was running, the innermost last."""
    return [
        (f.f_globals.get("__name__", ""), f.f_code.co_filename, line)
        for f, line in traceback.walk_tb(error.__traceback__)
    ]


def one_line(error: click.ClickException) -> str:
    """The message without line breaks, cut after MOST characters, where a bad value came from
    unless it was typed, and where the options are explained.
    """
    message = " ".join(error.format_message().split())
    message = message if len(message) <= MOST else f"{message[:MOST]}..."
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    if ctx is not None and param is not None and param.name:
        source = ctx.get_parameter_source(param.name)
        if source is click.core.ParameterSource.ENVIRONMENT:
            message += f" (from the environment variable {param.envvar})"
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            message += f" (from {ctx.meta.get('landscape.config', 'the configuration file')})"
    if ctx is not None and isinstance(error, click.UsageError):
        message += f" Try '{ctx.command_path} --help'."
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
