"""A line a finished case in a file, so that a long run goes on where it was stopped."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

FAILED = "FAILED"


class Log:
    """What became of each case: one that fails raises, or where there is a file is written there
    and tried again the next time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path.absolute() if path else None
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self.known: dict[str, str] = dict(map(json.loads, lines))

    def run(self, case: str, act: Callable[[], str]) -> str:
        """What became of a case, in a word."""
        if self.known.get(case, FAILED).startswith(FAILED):
            try:
                self.known[case] = act()
            except Exception as error:
                if self.path is None:
                    raise
                self.known[case] = f"{FAILED}: {type(error).__name__}: {error}"[:600]
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps([case, self.known[case]]) + "\n")
        return self.known[case]

    def counts(self) -> dict[str, int]:
        """How many cases came to what, failures under one word."""
        return dict(Counter(word.partition(":")[0] for word in self.known.values()))

    def end(self) -> None:
        """Print the counts, and fail where a case did."""
        print(len(self.known), "cases:", self.counts(), flush=True)
        failed = {k: v for k, v in self.known.items() if v.startswith(FAILED)}
        for case, what in failed.items():
            print(case, what)
        raise SystemExit(bool(failed))
