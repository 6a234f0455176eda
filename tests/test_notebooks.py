"""The notebooks of docs/ run from the top, and show what they print and draw."""

from pathlib import Path

import pages
import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def test_there_is_one_for_each_question() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"stuck", "where", "points", "counting", "moving", "seeing"}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_and_draws_what_it_shows(path: Path, tmp_path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    shown = [outputs(cell) for cell in book.cells]
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for cell, (kinds, text) in zip(book.cells, shown, strict=True):
        now, printed = outputs(cell)
        assert now == kinds, cell.source
        assert pages.missing(text, printed) == []


def outputs(cell: dict[str, list[dict[str, str]]]) -> tuple[list[str], str]:
    """The kind of each output, and what was printed as text."""
    found = cell.get("outputs", [])
    return [o["output_type"] for o in found], "".join(o.get("text", "") for o in found)
