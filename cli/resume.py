"""What ``--resume`` does with what earlier runs have left in the folder, decided in one place."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

NOTHING: AbstractSet[str] = frozenset()


@dataclass(frozen=True)
class Left:
    """A result that an earlier run has left."""

    changed: AbstractSet[str] = NOTHING  # the options whose values are others now
    enough: bool = True  # whether it holds all that is asked for now


class Resume(Enum):
    """What is done."""

    FRESH = "compute it: nothing is there"
    FINISHED = "return the stored result"
    CONTINUE = "go on from what an interrupted run has left"
    EXTEND = "take the stored result further"
    REFUSE_BEGUN = "the interrupted run had other options"
    REFUSE_STORED = "the stored result is not enough and had other options"


def decide(stored: Left | None, begun: Left | None, free: AbstractSet[str] = NOTHING) -> Resume:
    """What to do, from the finished result in a folder and from what an interrupted run has left.

    Args:
        stored: the finished result, if any.
        begun: what an interrupted run has left, if any.
        free: the options that may change when a result is taken further.
    """
    if stored is not None and stored.enough and stored.changed <= free:
        return Resume.FINISHED
    if begun is not None:
        return Resume.CONTINUE if begun.changed <= free else Resume.REFUSE_BEGUN
    if stored is None:
        return Resume.FRESH
    if stored.enough:
        return Resume.FINISHED
    return Resume.EXTEND if stored.changed <= free else Resume.REFUSE_STORED
