"""Runs that commit 4394ac0 has written load number by number, are drawn, and become pages."""

import json
from pathlib import Path
from typing import Any

import landscape_figures
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls
from landscape.errors import NotChecked
from landscape.results import Bounded, kinds, store

RUNS = sorted(
    p.parent for p in (Path(__file__).parents[1] / "fixed" / "runs").glob("*/result.json")
)
COMMANDS = [run for run in RUNS if (run / "config.toml").exists()]
MOVED = {"name", "notes"}  # since then said once, in the provenance

RENAMED = {"published": "expected"}  # fields that have another name today


def numbers(stored: Any, found: Any, arrays: Any, path: str = "") -> int:
    """Hold what JSON and arrays say against a loaded result; how many values were compared."""
    if not isinstance(stored, dict):
        assert found == stored, path
        return 1
    kind = stored["type"]
    if kind == "float":
        assert repr(float(found)) == stored["value"], path
        return 1
    if kind == "tensor":
        np.testing.assert_array_equal(found.numpy(), arrays[stored["key"]], err_msg=path)
        return int(found.numel())
    if kind == "dict":
        return sum(numbers(v, found[k], arrays, f"{path}.{k}") for k, v in stored["items"].items())
    if kind in ("list", "tuple"):
        assert len(found) == len(stored["items"]), path
        pairs = zip(stored["items"], found, strict=True)
        return sum(numbers(v, one, arrays, f"{path}[{i}]") for i, (v, one) in enumerate(pairs))
    if isinstance(found, Bounded):  # was an Estimate whose error was the bound
        fields = stored["fields"]
        ends = (found.value, found.bound, found.low, found.high)
        assert ends == tuple(fields[k] for k in ("value", "error", "low", "high")), path
        return 4
    assert type(found).__module__ == kinds.KINDS[kinds.FORMER[kind]][0], path
    if "fields" not in stored:
        assert found.name == stored["name"], path
        return 1
    count = 0
    for key, value in stored["fields"].items():
        if key == "provenance" and value is None:
            continue
        if key in MOVED and isinstance(found, ls.results.Result):
            assert list(getattr(found, key)) == (
                list(value) if isinstance(value, str) else [*value["items"]]
            ), path
            continue
        count += numbers(value, getattr(found, RENAMED.get(key, key)), arrays, f"{path}.{key}")
    return count


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_number_comes_back(run: Path) -> None:
    body = json.loads((run / "result.json").read_text())
    with pytest.warns(
        NotChecked, match="stored without checksums: damage to its numbers may not be seen"
    ):
        found = ls.load(run)
    with np.load(run / body["arrays"]) as arrays:
        assert numbers(body["result"], found, arrays) > 0


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_stored_again_it_names_its_kind_by_a_word(run: Path, tmp_path: Path) -> None:
    first = ls.load(run)
    store.save(first, tmp_path)
    body = json.loads((tmp_path / "result.json").read_text())
    assert body["schema"] == store.SCHEMA
    assert body["result"]["type"] in kinds.KINDS
    assert not any("." in kind for kind in named(body))
    again = ls.load(tmp_path)
    assert type(again) is type(first)
    assert store.plain(again) == store.plain(first)


@pytest.mark.slow
@pytest.mark.parametrize("run", COMMANDS, ids=lambda run: run.name)
def test_figures_and_pages_are_made(run: Path, tmp_path: Path) -> None:
    result, drawn = ls.load(run), 0
    for recipe in landscape_figures.RECIPES.values():
        try:
            recipe.draw(result)
        except landscape_figures.NothingToDraw:
            continue
        assert recipe.caption(result)
        drawn += 1
    assert drawn or run.name == "search"  # one point has no picture
    made = CliRunner().invoke(main, ["report", str(run), "--out", str(tmp_path / "page.html")])
    assert made.exit_code == 0, made.output
    assert made.stderr.startswith(f"Note: {run} was stored without checksums")
    html = (tmp_path / "page.html").read_text()
    assert html.count("<figure") == drawn
    assert result.provenance.created in html


def test_every_kind_is_listed_once_with_its_home() -> None:
    from importlib import import_module

    for kind, (module, _) in kinds.KINDS.items():
        import_module(module)
        assert store._CLASSES[kind].__module__ == module, kind
    ours = {kind for kind, cls in store._CLASSES.items() if cls.__module__.startswith("landscape.")}
    assert ours == set(kinds.KINDS)
    former = [name for _, name in kinds.KINDS.values() if name]
    assert len(kinds.FORMER) == len(former) == len(set(former))
    stored = {kind for run in RUNS for kind in named(json.loads((run / "result.json").read_text()))}
    assert len(stored & set(kinds.FORMER)) >= 65  # the fixtures hold nearly all of them


def named(value: Any) -> set[str]:
    """The kinds that stored JSON names."""
    if isinstance(value, list):
        return set().union(*map(named, value), set())
    if not isinstance(value, dict):
        return set()
    own = {value["type"]} if isinstance(value.get("type"), str) else set()
    return own.union(*(named(v) for v in value.values()))


def test_foreign_words_are_no_kinds(tmp_path: Path) -> None:
    ls.results.save(ls.Estimate(torch.tensor(1.0).item(), 0.1, 0.8, 1.2), tmp_path)
    text = (tmp_path / "result.json").read_text()
    for word in ("os.system", "landscape.results.store.save", "nothing"):
        (tmp_path / "result.json").write_text(text.replace('"estimate"', f'"{word}"'))
        with pytest.raises(ls.LoadingError, match="damaged"):
            ls.load(tmp_path)
