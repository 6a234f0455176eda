"""Stored results come back equal, and damaged or foreign ones are named."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import landscape as ls
from landscape import results
from landscape.points.checks import Check, Status


@results.result("everything")
@dataclass(frozen=True)
class Everything:
    a: Any
    b: Any


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Everything):
        return equal(a.a, b.a) and equal(a.b, b.b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    "value",
    [
        1, 0.1 + 0.2, float("nan"), float("inf"), -0.0, True, None, "ä", [1, (2.5, "x")], {"k": [None]}, (), Status.WARNING,
        torch.arange(3), torch.linspace(-1, 2, 6, dtype=torch.float64).reshape(2, 3), torch.zeros(0), torch.tensor(1.5),
        ls.Estimate(1.0, 0.1, 0.8, 1.2, 30), Check("kinks", Status.OK, "fine", {"distance": 1e-5}),
        [Everything(torch.ones(2), Everything(1, 2))],
    ],
    ids=lambda v: str(v)[:20],
)  # fmt: skip
def test_round_trip(value: Any, tmp_path: Path) -> None:
    stored = Everything(value, {"again": value})
    ls.results.save(stored, tmp_path / "run")
    loaded = ls.load(tmp_path / "run")
    assert equal(loaded.a, value)
    assert equal(loaded.b["again"], value)
    text = (tmp_path / "run" / "result.json").read_text()
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def test_saving_again_replaces_and_leaves_no_litter(tmp_path: Path) -> None:
    for i in range(3):
        ls.results.save(Everything(torch.full((4,), i), i), tmp_path)
    assert ls.load(tmp_path).a.tolist() == [2] * 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays", "result.json"]
    assert len(list((tmp_path / "arrays").iterdir())) == 1


def test_a_crash_while_saving_keeps_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ls.results.save(Everything(torch.zeros(4), "first"), tmp_path)
    with pytest.raises(TypeError, match=r"result\.b is a set"):
        ls.results.save(Everything(torch.ones(4), {1}), tmp_path)
    original = Path.replace

    def crash(self: Path, target: Any) -> Any:
        if Path(target).name == "result.json":
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        ls.results.save(Everything(torch.ones(4), "second"), tmp_path)
    monkeypatch.undo()
    assert ls.load(tmp_path).b == "first"
    assert ls.load(tmp_path).a.tolist() == [0] * 4
    assert not list(tmp_path.rglob(".*"))


def test_files_get_ordinary_permissions(tmp_path: Path) -> None:
    ls.results.save(Everything(1, 2), tmp_path)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "result.json").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: (p / "result.json").unlink(), "holds no result"),
        (lambda p: (p / "result.json").write_text("{"), "cannot be read as JSON"),
        (lambda p: (p / "result.json").write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (lambda p: (p / "result.json").write_text("[1]"), "not a stored result"),
        (
            lambda p: (p / "result.json").write_text('{"schema": 99, "result": 1}'),
            "update torch-landscape",
        ),
        (lambda p: next((p / "arrays").iterdir()).unlink(), "damaged"),
        (lambda p: next((p / "arrays").iterdir()).write_bytes(b"PK"), "damaged"),
        (lambda p: _edit(p, "everything", "nothing"), "damaged"),
        (lambda p: _edit(p, '"a"', '"c"'), "damaged"),
        (lambda p: _edit(p, "result.a", "result.z"), "damaged"),
    ],
    ids=[
        "missing",
        "cut",
        "binary",
        "list",
        "newer",
        "no arrays",
        "bad arrays",
        "unknown class",
        "unknown field",
        "unknown key",
    ],
)
def test_damage_is_named(damage: Any, words: str, tmp_path: Path) -> None:
    ls.results.save(Everything(torch.zeros(3), 1), tmp_path)
    damage(tmp_path)
    with pytest.raises(ls.LoadingError, match=words):
        ls.load(tmp_path)


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace(old, new))


def test_plain_is_json_for_machines() -> None:
    value = {
        "t": torch.tensor([1.0, float("nan")]),
        "s": Status.OK,
        "e": ls.Estimate(1.0, 0.0, 1.0, 1.0),
        "m": torch.zeros(2, 2),
    }
    assert json.loads(json.dumps(results.plain(value), allow_nan=False)) == {
        "t": [1.0, None],
        "s": "ok",
        "e": {"value": 1.0, "error": 0.0, "low": 1.0, "high": 1.0, "products": 0},
        "m": {"shape": [2, 2]},
    }
