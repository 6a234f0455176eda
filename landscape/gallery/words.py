"""What is said of an exhibit: the expected numbers beside those computed here."""

from landscape.gallery import Exhibit
from landscape.results.numbers import several, uncertain
from landscape.results.words import Fact, Table, Words, said

COLUMNS = ("number", "expected", "computed", "")


@said.register
def exhibit(result: Exhibit, folder: str) -> Words:
    """The title, the paper, the setting, and the numbers."""
    rows = tuple(
        (
            match.what,
            f"{match.expected:.7g}" + (" (printed)" if match.printed else ""),
            uncertain(match.found.value, match.found.error),
            "" if match.agrees else "DIFFERS",
        )
        for match in result.matches
    )
    parts: list[Fact | Table] = [
        Fact("exhibit", (result.title,)),
        Fact("after", (result.reproduces,)),
        Fact("here", (result.setting,)),
        Table(COLUMNS, rows),
    ]
    return Words(several(len(rows), "expected number"), parts)
