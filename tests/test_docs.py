"""What the pages of docs/ show works: their Python and their commands run and print what the page says.

A page's blocks run in order in one namespace and one folder, empty at first; a ``text`` block right after one is what it
prints. A block that begins with ``# name.py`` is a file of that name.
"""

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import pages
import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


# minutes; the tests of the gallery draw each exhibit
LONG = {
    "figures render all --out gallery",
    "figures render kramers --format svg",
    "analyze digits-cnn --optimizer sgd:lr=0.1,momentum=0.9",
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_typed_from_the_top_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    namespace: dict[str, Any] = {"__name__": "page"}
    for language, body, shown in pages.steps(page.read_text(encoding="utf-8")):
        if language == "sh":
            printed = "".join(map(typed, pages.commands(f"```sh\n{body}```")))
            assert shown is None or pages.missing(shown, printed) == []
        elif name := re.match(r"# (\w+\.py)\n", body):
            (tmp_path / name[1]).write_text(body)
        else:
            out = io.StringIO()
            with contextlib.redirect_stdout(out), torch.random.fork_rng():
                exec(compile(body, page.name, "exec"), namespace)
            assert shown is None or out.getvalue().rstrip() == shown.rstrip()
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


def typed(line: list[str]) -> str:
    """What a command prints; it must succeed."""
    if " ".join(line) in LONG:
        return ""
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 0, (line, result.output)
    return result.stdout


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (name, line)
        for page, name in zip(PAGES, NAMES, strict=True)
        for line in pages.commands(page.read_text("utf-8"))
    ],
    ids=lambda v: v if isinstance(v, str) else " ".join(v),
)
def test_every_command_line_parses(page: str, line: list[str]) -> None:
    pages.parse(line)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_it_points_to_are_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_functions_that_the_mathematics_names_are_there() -> None:
    text = (DOCS / "mathematics.md").read_text(encoding="utf-8")
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| what |"))
    ]
    assert len(rows) > 40
    for row in rows:
        cells = re.split(r"(?<!\\)\|", row.strip("|"))
        assert len(cells) == 4, row
        for name in re.findall(r"`ls\.([\w.]+)`", row):
            assert callable(attrgetter(name)(ls)), name


@pytest.fixture(scope="module")
def hooks() -> Any:
    """What mkdocs runs."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_of_speed_are_those_of_the_stored_runs(hooks: Any) -> None:
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert hooks.speed(text) == text
    assert "<!-- stages -->\n\n| network | checks |" in text
    assert "\n| digits-mlp | 5 |" in text


def test_tables_of_large_work_are_those_of_the_stored_runs(hooks: Any) -> None:
    text = (DOCS / "large.md").read_text(encoding="utf-8")
    assert hooks.large(text) == text
    assert "<!-- foretold -->\n\n| n | ranks | basis in |" in text
    stored = json.loads((hooks.RESULTS / "scale.json").read_text(encoding="utf-8"))
    assert {row["ranks"] for row in stored["summary"]} == {2, 3, 4}
    assert all(0.8 <= row["ratio"] <= 1.2 for row in stored["summary"])


def test_links_on_the_site_lead_to_its_pages_by_their_names(hooks: Any) -> None:
    named = hooks.titles(
        [
            {"Start": "start.md"},
            {"Guide": ["index.md", {"Stuck?": "stuck.md"}]},
            {"All": [{"Changes": "changelog.md"}]},
        ]
    )
    assert named == {"start.md": "Start", "stuck.md": "Stuck?", "changelog.md": "Changes"}
    page = "[docs/stuck.md](docs/stuck.md), [CHANGELOG.md](CHANGELOG.md), [home](docs/index.md), ![a](figures/gallery/a.png)"
    assert (
        hooks.moved(page, "", named)
        == "[Stuck?](stuck.md), [Changes](changelog.md), [home](index.md), ![a](pictures/a.png)"
    )
    assert (
        hooks.moved("[it](../README.md) [stuck.md](stuck.md)", "../", named)
        == "[it](start.md) [Stuck?](stuck.md)"
    )


def test_options_are_not_broken_at_their_hyphens(hooks: Any) -> None:
    html = "<code>a-b --dry-run -m</code> <pre><span></span><code>--as-is</code></pre>"
    assert hooks.unbroken(html) == (
        '<code>a-b <span class="option">--dry-run</span> <span class="option">-m</span></code> '
        "<pre><span></span><code>--as-is</code></pre>"
    )
    shell = '<div class="language-sh highlight"><pre><span></span><code>x --a-b <span class="m">2</span></code></pre></div>'
    assert '<span class="option">--a-b</span> <span class="m">2</span>' in hooks.unbroken(shell)


def test_parameters_told_together_are_not_called_required(hooks: Any) -> None:
    row = "<tr><td>\n <code>{}</code>\n</td><td></td><td>what</td><td>\n <em>required</em>\n</td></tr>"
    html = row.format("steps, seed") + row.format("f")
    assert hooks.together(html) == html.replace("<em>required</em>", "", 1)
    assert hooks.together(html.replace("steps, seed", "f")) == row.format("f") * 2


def test_the_gallerys_page_is_that_of_its_manifest(hooks: Any) -> None:
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == hooks.gallery()
    assert "## landscape surface" in hooks.commands()
    pages = hooks.library()
    assert "::: landscape.surfaces.grids.surface" in pages["api/surface.md"]
    assert "(api/surface.md)" in pages["api.md"]
    assert "::: landscape.surfaces.checking.check_picture" in pages["api/surfaces.md"]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    line = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path),
    ]
    done = subprocess.run(
        line, cwd=DOCS.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for page, shown in (
        ("api.html", "ls.surface"),
        ("api/surfaces.html", "check_picture"),
        ("api/classify.html", "point.eigenvalues"),
        ("cli.html", "--directions"),
        ("gallery.html", "expected"),
    ):
        assert shown in (tmp_path / page).read_text(encoding="utf-8")
