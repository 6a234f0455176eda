"""What --resume does, as a table."""

import pytest
from landscape_cli.resume import Left, Resume, decide

FREE = frozenset({"starts"})
SAME, MORE, OTHER = Left(), Left(frozenset({"starts"})), Left(frozenset({"seed"}))


def few(left: Left) -> Left:
    """The same result where it is not enough."""
    return Left(left.changed, enough=False)


@pytest.mark.parametrize(
    ("stored", "begun", "free", "chosen"),
    [
        (None, None, frozenset(), Resume.FRESH),
        (None, None, FREE, Resume.FRESH),
        (SAME, None, frozenset(), Resume.FINISHED),
        (OTHER, None, frozenset(), Resume.FINISHED),
        (MORE, None, FREE, Resume.FINISHED),
        (few(MORE), None, FREE, Resume.EXTEND),
        (few(OTHER), None, FREE, Resume.REFUSE_STORED),
        (None, SAME, FREE, Resume.CONTINUE),
        (None, MORE, FREE, Resume.CONTINUE),
        (None, OTHER, FREE, Resume.REFUSE_BEGUN),
        (SAME, OTHER, FREE, Resume.FINISHED),
        (few(MORE), MORE, FREE, Resume.CONTINUE),
        (OTHER, SAME, FREE, Resume.CONTINUE),
        (OTHER, OTHER, FREE, Resume.REFUSE_BEGUN),
    ],
)
def test_resume(
    stored: Left | None, begun: Left | None, free: frozenset[str], chosen: Resume
) -> None:
    assert decide(stored, begun, free) is chosen
