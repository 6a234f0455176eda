"""`landscape report`: every kind of result that a command stores becomes a page with its numbers and its figures."""

import base64
import csv
import hashlib
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import unquote

import landscape_figures
import numpy as np
import pytest
import torch
from click.testing import Result
from landscape_cli import page

import landscape as ls

Run = Callable[..., Result]
WELL = ("formulas.py:well", "--dim", "2")
KINDS = {
    "Study": ["escape", *WELL, "--optimizer", "sgd:lr=0.2", "--runs", "9"],
    "Sweep": ["escape", *WELL, "--optimizer", "sgd:lr=0.2", "--runs", "5", "--sweep", "lr=0.1,0.2"],
    "Surface": ["surface", *WELL, "--resolution", "5", "--at", "1,0"],
    "Connection": [
        "surface",
        *WELL,
        "--at",
        "-1,0",
        "--connect",
        "1,0",
        "--train-steps",
        "5",
        "--resolution",
        "5",
    ],
    "SaddleCounts": ["saddles", "count", "isotropic-waves", "--dims", "1:2", "--realisations", "5"],
}


def numbers(result: object) -> list[str]:
    """What a page must say, from the result itself."""
    match result:
        case ls.optimizers.Study():
            return [f"{e.median.value:.0f}" for e in result.results.values()]
        case ls.optimizers.Sweep():
            return [f"{e.median.value:.0f}" for s in result.studies for e in s.results.values()]
        case ls.surfaces.Surface():
            return [f"{float(result.values.min()):.6g} to {float(result.values.max()):.6g}"]
        case ls.paths.Connection():
            return [
                f"{result.barrier:.4g} along the curve, {result.straight_barrier:.4g} along the straight line"
            ]
        case ls.inventory.SaddleCounts():
            return [f"{sum(len(d.values) for d in result.dimensions)} stationary points"]
    raise AssertionError(result)


def drawn(result: object) -> list[str]:
    """The captions of the figures that there are of it."""
    captions = []
    for recipe in landscape_figures.RECIPES.values():
        try:
            recipe.draw(result)
            captions.append(recipe.caption(result))
        except landscape_figures.NothingToDraw:
            continue
    return captions


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_holds_the_numbers_and_the_figures(
    kind: str, here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as undrawn:
        undrawn.setattr(landscape_figures, "RECIPES", {})
        done = run(*KINDS[kind], "--out", "run")
    assert done.exit_code == 0, done.output
    assert run("report", "run").exit_code == 0
    html, result = Path("run/report.html").read_text(), ls.load("run")
    assert type(result).__name__ == kind
    for words in (*numbers(result), result.provenance.created):
        assert f"{escape(words)}" in html
    captions = drawn(result)
    assert captions
    assert html.count("<svg") == html.count('role="img"') == len(captions)
    for caption in captions:
        assert f"<figcaption>{escape(caption)} <a " in html
    assert scripts(html) == [page_script()]
    body = html.replace("http://www.w3.org/", "")
    assert not any(sign in body for sign in ("http://", "https://", "@import"))
    files = re.findall(r'href="data:application/pdf;base64,([^"]+)"', html)
    assert len(files) == len(captions)
    assert all(base64.b64decode(file).startswith(b"%PDF") for file in files)


def scripts(html: str) -> list[str]:
    """The scripts of a page, each of which its policy must allow by its hash."""
    found = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(found) == html.count("<script")
    for script in found:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in html
    return found


def page_script() -> str:
    return Path(page.__file__).with_name("page.js").read_text()


def test_a_table_can_be_taken_along_and_holds_no_formula_of_a_spreadsheet() -> None:
    columns, rows = ("name", "value"), (("=cmd()", "-1.5"), ("@x, y", "+.5"), ("-x", "2"))
    address = page._csv(columns, rows)
    text = unquote(address.removeprefix("data:text/csv;charset=utf-8,"))
    read = list(csv.reader(io.StringIO(text)))
    assert read == [["name", "value"], ["'=cmd()", "-1.5"], ["'@x, y", "+.5"], ["'-x", "2"]]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_what_users_name_is_escaped(here: Path, run: Run) -> None:
    Path("<b>&.py").write_text(Path("formulas.py").read_text())
    assert (
        run("surface", "<b>&.py:well", "--dim", "2", "--resolution", "3", "--out", "run").exit_code
        == 0
    )
    html = page.build(ls.load("run"))
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;" in html


@pytest.fixture(scope="module")
def traced() -> ls.training.Trace:
    """A run of gradient descent on |x|^2 / 2 from (3, 4): after k steps the loss is 12.5 * 0.81^k."""
    x = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    f = ls.FunctionLandscape(lambda x: x.square().sum(-1) / 2, dim=2)
    optimizer = torch.optim.SGD([x], lr=0.1)
    with ls.Tracer(optimizer, f, every=4) as tracer:
        for _ in range(40):
            optimizer.zero_grad()
            torch.autograd.backward(x.square().sum() / 2)
            optimizer.step()
    return tracer.result


def test_the_records_of_a_run_are_on_its_page(traced: ls.training.Trace) -> None:
    (rows,) = re.findall(r'<div class="run">.*?<tbody>(.*?)</tbody>', page.build(traced), re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows.split("</tr>")[:-1]]
    assert [int(row[0]) for row in cells] == list(range(0, 41, 4))
    losses = [float(row[2]) for row in cells]
    assert losses == pytest.approx([12.5 * 0.81 ** int(row[0]) for row in cells], rel=1e-3)


def place(recipe: landscape_figures.Recipe, trace: ls.training.Trace, step: int) -> float:
    """Where a step is along the first axes of a figure, in points, by matplotlib."""
    figure = recipe.draw(trace)
    figure.savefig(io.BytesIO(), format="svg")
    pixels = figure.axes[0].transData.transform((step, 1.0))[0]
    return float(pixels * 72 / figure.dpi)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser")
def test_a_slider_goes_through_the_records(traced: ls.training.Trace, tmp_path: Path) -> None:
    html = page.build(traced)
    assert html.count('value="10"') == 1  # the last of eleven
    file = tmp_path / "run.html"
    file.write_text(html.replace('value="10"', 'value="3"'))
    seen = dumped(file).stdout
    shown = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", seen))
    assert shown["step"] == "12"
    assert float(shown["loss"]) == pytest.approx(12.5 * 0.81**12, rel=1e-3)
    drawn = [
        landscape_figures.RECIPES[name] for name in ("run_loss", "run_curvature", "run_layers")
    ]
    lines = [float(x) for x in re.findall(r'<line class="now"[^>]* x1="([^"]*)"', seen)]
    assert lines == pytest.approx([place(recipe, traced, 12) for recipe in drawn], abs=0.1)


def dumped(file: Path) -> "subprocess.CompletedProcess[str]":
    """A page as a browser has it after its script."""
    command = [
        *("chromium", "--headless=new", "--no-sandbox", "--use-gl=swiftshader"),
        *("--enable-unsafe-swiftshader", "--virtual-time-budget=10000", "--dump-dom"),
        *("--enable-logging=stderr", "--v=0", file.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser")
def test_a_browser_runs_the_pages_within_their_policies(here: Path, run: Run) -> None:
    pytest.importorskip("plotly")
    np.save("walk.npy", np.linspace(0, 1, 8).reshape(4, 2))
    hostile = "</script><script>alert(1)</script>"
    walk = ["--trajectory", f"{hostile}=walk.npy", "--spectra", "1", "--out", "run"]
    assert run("surface", *WELL, "--resolution", "5", *walk).exit_code == 0
    drawn = run("figures", "render", "surface_3d", "--from", "run", "--format", "html")
    assert drawn.exit_code == 0
    assert run("report", "run").exit_code == 0
    for name, marks in {"report.html": "<svg", "figures/surface_3d.html": "<canvas"}.items():
        seen = dumped(here / "run" / name)
        assert marks in seen.stdout
        told = [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
        assert not [line for line in told if re.search("Uncaught|Refused|violates", line)], told
