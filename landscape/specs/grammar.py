"""What is written on one line, ``name:key=value,key=value``, and the answer to an unknown name.

Values are JSON or Python literals, bare words are strings; a comma inside brackets or quotes does
not split.
"""

import ast
import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# What stands on a line by name: numbers, words, lists, truth values, None.
Options = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A name and what stands behind its colon: ``mse``, ``ball:0.5``, ``huber:delta=0.5``."""

    written: str
    name: str
    text: str  # behind the colon; empty where there is none

    @property
    def options(self) -> Options:
        """``key=value,key=value`` read.

        Raises:
            ValueError: an option is not ``key=value``, or is given twice.
        """
        return options(self.text, self.written)

    @property
    def value(self) -> object:
        """The one value behind the colon."""
        return literal(self.text)


def line(spec: object, what: str) -> Line:
    """What is written on one line, taken apart; ``what`` it is, as an error names it.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(spec, str):
        raise TypeError(f"{what} is written on one line, 'name:value', got {spec!r}.")
    name, _, text = spec.strip().partition(":")
    return Line(spec, name.strip(), text)


def options(text: str, spec: str) -> Options:
    """``"a=1,b=[2,3]"`` -> ``{"a": 1, "b": [2, 3]}``; ``spec`` is what an error quotes."""
    found: Options = {}
    for part in _pieces(text) if text.strip() else ():
        key, equals, value = (s.strip() for s in part.partition("="))
        if not equals or not key:
            raise ValueError(
                f"{spec!r}: {part!r} is not an option. Write name:key=value,key=value."
            )
        if key in found:
            raise ValueError(f"{spec!r} gives {key} twice.")
        found[key] = literal(value)
    return found


def literal(text: str) -> object:
    """The JSON or Python value that ``text`` spells, else ``text`` itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def closest(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` where a known name is close to ``name``, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _pieces(text: str) -> list[str]:
    """``text`` cut at the commas outside brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0 and not quote:
            pieces.append("")
        else:
            pieces[-1] += char
    return pieces


# What a terminal acts on and does not show: C0 but tab and line feed, DEL, C1, marks that turn the
# direction of writing, line separators, halves of characters.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""``text`` with each character that a terminal would act on as an escape, ``\u009b``."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: object, limit: int = 300) -> str:
    """``text`` without line breaks and control characters, cut at ``limit`` characters."""
    line = visible(re.sub(r"[\x00-\x20\x7f-\x9f\s]+", " ", str(text)).strip())
    return line if len(line) <= limit else line[: limit - 1] + "…"
