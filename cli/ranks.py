"""A command under torchrun: every rank does the same work, the first one writes and speaks.

Torch is imported only once a command runs; who this process is stands in the environment.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import click

from .screens import say

T = TypeVar("T")


def several() -> bool:
    """Whether torchrun has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Whether this process writes and speaks; it does where it is alone."""
    return not several() or os.environ["RANK"] == "0"


def here() -> float:
    """Which part of all ranks this machine has: 1 where they are all on it."""
    if not several():
        return 1.0
    count = os.environ["WORLD_SIZE"]
    return int(os.environ.get("LOCAL_WORLD_SIZE", count)) / int(count)


def own(name: str) -> str:
    """A name for what this process keeps for itself."""
    if not several():
        return name
    return f"{name}-{os.environ['RANK']}-of-{os.environ['WORLD_SIZE']}"


def begin() -> None:
    """Have the ranks beside the first say nothing."""
    if several() and not first():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def lead(compute: Callable[[], T]) -> T:
    """What ``compute`` gives on the first rank, on all of them; so is what it refuses."""
    if not several():
        return compute()
    from landscape.ranks import joined

    from .errors import OneLine

    def told() -> tuple[T | None, tuple[str, int] | None]:
        try:
            return compute(), None
        except click.ClickException as error:
            return None, (error.format_message(), error.exit_code)

    found, refused = joined().lead(told)
    if refused is not None:
        raise OneLine(*refused)
    return found  # type: ignore[return-value]  # of T where nothing was refused


def end(line: str, code: int) -> NoReturn:
    """Leave with one line on stderr, said by one of the ranks; the others need not have noticed."""
    if several():
        from landscape.specs import visible

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if _may_speak():
            print(visible(line), file=sys.__stderr__)
        for stream in (sys.stdout, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
        os._exit(code)  # without waiting for exchanges that nobody will answer
    say(line, err=True)
    sys.exit(code)


def _may_speak() -> bool:
    """The first to ask. Where torch is not there yet, each has the same to say, and the first rank
    says it.
    """
    if "torch.distributed" not in sys.modules or "landscape.ranks" not in sys.modules:
        return first()
    from landscape.ranks import may_speak

    return may_speak()
