"""The house stands: data flow one way, no circle of imports, few modules loose at the top, no room in a function's way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from measures import measures

import landscape as ls

ROOT = Path(__file__).parents[1]
# An import points to the left, or stays in its room.
FLOW = [
    "errors", "rng", "specs", "ranks", "core", "progress", "results", "landscapes", "theory", "operators", "linalg", "files", "zoo",
    "points", "inventory", "paths", "surfaces", "training", "optimizers", "loading", "gallery",
]  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the library by its dotted name."""
    paths = sorted((ROOT / "landscape").rglob("*.py"))
    dotted = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in paths
    }
    return {
        name: path
        for name, path in dotted.items()
        if name not in ("landscape", "landscape.__main__")
    }


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the library that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in whole)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """Module -> the modules of the library that it imports; names from a package come from its ``__init__``."""
    known = modules()
    return {
        name: {m for m in imports(path, known) if m in known or m == "landscape"}
        for name, path in known.items()
    }


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_is_in_the_flow() -> None:
    assert {room(name) for name in modules()} == set(FLOW)


def test_no_arrow_points_up() -> None:
    up = [
        f"{a} imports {b}"
        for a, targets in arrows().items()
        for b in targets
        if b == "landscape" or FLOW.index(room(b)) > FLOW.index(room(a))
    ]
    assert not up


def test_no_circle_of_modules() -> None:
    """A module imports its room's ``__init__`` only for names that this takes from elsewhere, never from itself."""
    graph = {
        a: {b for b in targets if not a.startswith(f"{b}.")} for a, targets in arrows().items()
    }
    done: set[str] = set()
    while ready := {a for a, targets in graph.items() if a not in done and targets <= done | {a}}:
        done |= ready
    assert not set(graph) - done


def test_solvers_of_products_know_no_module() -> None:
    for path in (ROOT / "landscape" / "linalg").glob("*.py"):
        assert "nn." not in path.read_text(encoding="utf-8")
        assert "Module" not in path.read_text(encoding="utf-8")


def test_few_modules_are_loose_at_the_top() -> None:
    assert len(list((ROOT / "landscape").glob("*.py"))) <= 8


@pytest.mark.parametrize(
    "folder", sorted(p.name for p in (ROOT / "landscape").iterdir() if (p / "__init__.py").exists())
)
def test_no_folder_has_the_name_of_a_public_function(folder: str) -> None:
    assert not callable(getattr(ls, folder, None))


def test_tests_mirror_the_rooms() -> None:
    held = {
        "core",
        "errors",
        "rng",
        "progress",
        "gallery",
    }  # through the others, and through the figures
    there = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir()}
    assert {room(name) for name in modules()} - held <= there


def test_the_library_prints_nothing() -> None:
    for path in (ROOT / "landscape").rglob("*.py"):
        calls = [
            n
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Call)
        ]
        assert not any(
            isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls
        ), path


# Of torch: what makes a tensor where, and in what dtype, the caller's defaults say.
FACTORIES = {
    "zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "eye", "tensor", "as_tensor", "rand", "randn",
    "randint", "randperm", "normal", "tril_indices", "triu_indices", "scalar_tensor", "Generator",
}  # fmt: skip
IN_DEFAULT_DTYPE = {"zeros", "ones", "empty", "linspace", "logspace", "eye", "rand", "randn"}


def test_no_tensor_is_made_by_the_callers_defaults() -> None:
    """``torch.set_default_device`` and ``set_default_dtype`` are the user's own."""
    found = []
    for path in (ROOT / "landscape").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("torch."):
                continue
            name = ast.unparse(node.func).removeprefix("torch.")
            given = {k.arg for k in node.keywords}
            placed = "device" in given or (name == "Generator" and node.args)
            if name in FACTORIES and not placed:
                found.append(f"{path.name}:{node.lineno} {name} without device=")
            if name in IN_DEFAULT_DTYPE and "dtype" not in given:
                found.append(f"{path.name}:{node.lineno} {name} without dtype=")
    assert not found


def test_architecture_names_every_module_of_the_library() -> None:
    """Each room a heading, each of its modules a row; ``words`` is said once for all."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told: dict[str, set[str]] = {}
    for part in page.split("\n### ")[1:]:
        head, _, rows = part.partition("\n")
        named = [line.split("`")[1] for line in rows.splitlines() if line.startswith("| `")]
        told[head.strip("`/")] = set(named)
    for name in sorted(modules()):
        parts = name.split(".")[1:]
        if len(parts) == 2 and parts[1] != "words":
            assert parts[1] in told[parts[0]], f"ARCHITECTURE.md has no line for {name}"


@pytest.mark.slow
def test_functions_stay_small_and_types_say_what_is_meant() -> None:
    """``python tests/measures.py`` prints what is held here."""
    found = [measures(folder) for folder in ("landscape", "cli", "figures")]
    assert max(m.most for m in found) <= (15, "~")
    assert sum(m.forked for m in found) <= 20
    for m in found:
        assert m.wide <= 0.01 * m.lines
        assert m.any <= 5e-3 * m.lines
