"""The package list in pyproject.toml matches the tree, and the tree is typed."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import lazy_loader
import pytest

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


def test_the_citation_tells_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text().splitlines()


@pytest.mark.slow
def test_an_editable_installation_works_beside_a_clone_of_the_same_name(tmp_path: Path) -> None:
    """Where the clone lies, its folder matches ``import landscape`` too, and must not win."""
    pytest.importorskip("setuptools", minversion="77")  # as pyproject.toml asks
    left_out = shutil.ignore_patterns(
        ".*", "*.egg-info", "__pycache__", "tests", "docs", "build", "dist", "runs", "*.png"
    )
    clone = Path(shutil.copytree(ROOT, tmp_path / "desk" / "landscape", ignore=left_out))
    build = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", build], cwd=clone, env=environment, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")

    venv.create(tmp_path / "venv", symlinks=os.name != "nt")
    python = shutil.which(
        "python", path=str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin"))
    )
    assert python is not None

    def said(code: str) -> str:
        line = [python, "-c", code]
        return subprocess.run(
            line, cwd=clone.parent, env=environment, text=True, check=True, capture_output=True
        ).stdout

    packages = Path(said("import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        archive.extractall(packages)
    # What importing the package itself needs.
    shutil.copytree(Path(lazy_loader.__file__).parent, packages / "lazy_loader")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ask = "import landscape, landscape_cli; print(landscape.__version__, landscape.__file__)"
    assert said(ask).split(maxsplit=1) == [version, f"{clone / 'landscape' / '__init__.py'}\n"]

    (packages / "torch_landscape_clone.pth").unlink()  # the trap is there, so the test is one
    assert said("import landscape; print(landscape.__file__)") == "None\n"
