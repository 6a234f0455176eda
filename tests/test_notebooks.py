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


RUN = """
import warnings
import torch, landscape as ls
from landscape.training import live
live.SECONDS, live.TIMES, live.MOST = 0.0, 0, 10
x = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
f = ls.FunctionLandscape(lambda x: x.square().sum(-1) / 2, dim=2)
optimizer = torch.optim.SGD([x], lr=0.1)
with warnings.catch_warnings():
    warnings.simplefilter("error")  # whatever fails in a tracer is a warning
    with ls.Tracer(optimizer, f, every=1, live=True) as tracer:
        for _ in range(25):
            optimizer.zero_grad()
            (x.square().sum() / 2).backward()
            optimizer.step()
"""


@pytest.mark.slow
def test_a_live_run_is_one_output_that_is_drawn_anew(tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(RUN)])
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    (output,) = book.cells[0].outputs
    html = output["data"]["text/html"]
    assert "<svg" in html
    # after k steps the loss is 12.5 * 0.81^k
    assert f"12.5 at the start, {12.5 * 0.81**25:.4g} at the end" in html
