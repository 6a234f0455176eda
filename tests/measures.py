"""The measures of the house, as ``python tests/measures.py`` prints them and ``test_house.py`` holds them.

A branch is an ``if``, a loop, an ``except``, a conditional expression, a comprehension, or one more
operand of ``and`` or ``or``; those of nested functions count too.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORKS = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension)
CODE = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)


@dataclass(frozen=True)
class Measures:
    """One folder of the house."""

    lines: int
    wide: int  # lines of more than 100 characters
    tokens: int  # names, operators, numbers and strings
    forked: int  # functions of more than 10 branches
    most: tuple[int, str]  # the most branches in one function, and where
    any: int  # annotations that say Any

    def __str__(self) -> str:
        return (
            f"{self.lines:,} lines, {self.wide} over 100 characters; {self.tokens:,} tokens; "
            f"{self.forked} functions over 10 branches, the most {self.most[0]} "
            f"in {self.most[1]}; {1000 * self.any / self.lines:.1f} Any per 1,000 lines"
        )


def files(folder: str) -> Iterator[tuple[str, str]]:
    """Name and text of every module of a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def branches(function: ast.AST) -> int:
    nodes = list(ast.walk(function))
    operands = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return operands + sum(isinstance(node, FORKS) for node in nodes)


def functions(folder: str) -> Iterator[tuple[int, str]]:
    """Branches of every function of a folder, and where it is."""
    for name, text in files(folder):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                yield branches(node), f"{name}:{node.lineno} {node.name}"


def tokens(text: str) -> int:
    return sum(t.type in CODE for t in tokenize.generate_tokens(io.StringIO(text).readline))


def measures(folder: str) -> Measures:
    """Measure ``landscape``, ``cli``, ``figures`` or ``tests``."""
    texts = [text for _, text in files(folder)]
    lines = [line for text in texts for line in text.splitlines()]
    counted = sorted(functions(folder), reverse=True)
    names = (node for text in texts for node in ast.walk(ast.parse(text)))
    return Measures(
        lines=len(lines),
        wide=sum(len(line) > 100 for line in lines),
        tokens=sum(map(tokens, texts)),
        forked=sum(n > 10 for n, _ in counted),
        most=counted[0],
        any=sum(isinstance(node, ast.Name) and node.id == "Any" for node in names),
    )


if __name__ == "__main__":
    for name in ("landscape", "cli", "figures", "tests"):
        print(f"{name}: {measures(name)}")
