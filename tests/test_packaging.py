"""The package list in pyproject.toml matches the tree, and the tree is typed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_of_the_tree_is_listed() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name: ROOT / path for name, path in table["package-dir"].items()}
    found = {
        ".".join((top, *file.parent.relative_to(folder).parts))
        for top, folder in folders.items()
        for file in folder.rglob("__init__.py")
    }
    assert found == set(table["packages"])


def test_every_top_package_says_that_it_is_typed() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name, path in table["package-dir"].items():
        assert (ROOT / path / "py.typed").exists()
        assert "py.typed" in table["package-data"][name]
