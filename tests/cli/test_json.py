"""``--json`` of every command against the schema in docs, and against the stored result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result

import landscape as ls

Run = Callable[..., Result]

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/json.schema.json").read_text(encoding="utf-8")
)
FAST = ("--probes", "2", "--steps", "5", "--no-layers")
COMMANDS = {
    "analysis-report": ("analyze", "net.py", *FAST, "--optimizer", "sgd:lr=0.1"),
    "spectrum": ("spectrum", "net.py", *FAST[:-1]),
    "search-report": ("saddles", "find", "quadratic", "--start", "1,1"),
    "census": ("saddles", "census", "himmelblau", "--starts", "100"),
    "saddle-counts": ("saddles", "count", "styblinski-tang", "--dims", "1:2"),
    "energy-path": ("saddles", "path", "himmelblau", "--from", "3,2", "--to", "3.584,-1.848"),
    "escape-study": ("escape", "quadratic", "--optimizer", "sgd:lr=0.1", "--runs", "3", "--steps", "99"),
    "escape-sweep": (
        *("escape", "quadratic", "--optimizer", "sgd", "--sweep", "lr=0.1,0.2", "--runs", "3"),
        *("--steps", "9"),
    ),
    "surface": ("surface", "himmelblau", "--resolution", "5", "--check"),
    "checkpoints-compared": ("compare", "net.py", "net.py:problem", "--resolution", "3"),
    "survival": ("survive", "net.py", "--change", "int4"),
    "diagnosis-report": ("diagnose", "rate-decayed", "--no-probe"),
}  # fmt: skip


def body(kind: str, run: Run, *more: str) -> dict[str, Any]:
    result = run(*COMMANDS[kind], *more, "--out", "run", "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_prints_what_its_schema_says(here: Path, run: Run, kind: str) -> None:
    found = body(kind, run)
    assert (found["result"], found["run"]) == (kind, "run")
    branch = next(b for b in SCHEMA["oneOf"] if b["properties"]["result"]["const"] == kind)
    jsonschema.validate(found, branch | {"$defs": SCHEMA["$defs"]})
    stored = {"run": "run"} | ls.load("run").to_dict()
    assert json.loads(json.dumps(stored)) == found


def test_every_result_with_a_schema_is_tried_or_needs_minutes() -> None:
    known = {branch["properties"]["result"]["const"] for branch in SCHEMA["oneOf"]}
    elsewhere = {"network-census", "connection"}  # marked slow
    assert known - set(COMMANDS) == elsewhere | {"analysis-forecast"}  # which is stored nowhere


def test_an_estimate_prints_what_its_schema_says(here: Path, run: Run) -> None:
    done = run("analyze", "net.py", "--estimate", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    kinds = {b["properties"]["result"]["const"]: b for b in SCHEMA["oneOf"]}
    jsonschema.validate(found, kinds["analysis-forecast"] | {"$defs": SCHEMA["$defs"]})
    assert found["products"] == sum(stage["products"] for stage in found["stages"])


@pytest.mark.usefixtures("undrawn")
def test_a_report_that_a_budget_cut_short_fits_its_schema(here: Path, run: Run) -> None:
    found = body("analysis-report", run, "--budget", "0.001s", "--method", "lanczos")
    assert found["unfinished"]
    assert found["trace"] is None
    kinds = {b["properties"]["result"]["const"]: b for b in SCHEMA["oneOf"]}
    jsonschema.validate(found, kinds["analysis-report"] | {"$defs": SCHEMA["$defs"]})


@pytest.mark.usefixtures("undrawn")
def test_the_verdict_of_analyze_is_at_the_top(here: Path, run: Run) -> None:
    found, report = body("analysis-report", run), ls.load("run")
    point = report.point
    assert (found["verdict"], found["index"]) == (point.kind, point.index)
    assert found["index_bounds"] == list(point.index_bounds)
    assert (found["loss"], found["gradient_norm"]) == (point.value, point.gradient_norm)
    rows = found["eigenvalues"]
    assert [row["value"] for row in rows] == point.pairs.values.tolist()
    assert [row["bound"] for row in rows] == point.pairs.bounds.tolist()
    assert [row["sampling_error"] for row in rows] == report.sampling_errors.tolist()
    assert found["trace"]["value"] == report.trace.value
    assert found["products"] == report.products


@pytest.mark.usefixtures("undrawn")
def test_numbers_are_those_that_are_known(here: Path, run: Run) -> None:
    saddle = body("search-report", run)
    assert (saddle["verdict"], saddle["index"], saddle["x"]) == ("saddle", 1, [0.0, 0.0])
    assert [row["value"] for row in saddle["eigenvalues"]] == pytest.approx([-1.0, 3.0])
