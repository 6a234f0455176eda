"""Stored results come back equal, and damaged or foreign ones are named."""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
    number: float = 2.5


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
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "arrays",
        "manifest.json",
        "result.json",
    ]
    assert len(list((tmp_path / "arrays").iterdir())) == 1


def test_a_crash_while_saving_keeps_the_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ls.results.save(Everything(torch.zeros(4), "first"), tmp_path)
    with pytest.raises(TypeError, match=r"result\.b is a set"):
        ls.results.save(Everything(torch.ones(4), {1}), tmp_path)

    def crash(self: Path, target: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", crash)
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
        (lambda p: (p / "result.json").write_text("{"), "result.json is damaged: it has 1 bytes"),
        (lambda p: _flip(p / "result.json"), "result.json is damaged: its SHA-256"),
        (lambda p: _flip(p / "manifest.json"), "manifest.json is damaged"),
        (lambda p: (p / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda p: next((p / "arrays").iterdir()).unlink(), "npz is missing"),
        (lambda p: next((p / "arrays").iterdir()).write_bytes(b"PK"), "npz is damaged"),
        (lambda p: _flip(next((p / "arrays").iterdir())), "npz is damaged: its SHA-256"),
        (lambda p: _linked(p / "result.json"), "it is a link"),
        (lambda p: _linked(p / "arrays"), "arrays is a link"),
        (lambda p: _pipe(p / "result.json"), "no plain file"),
    ],
    ids=[
        "missing",
        "cut",
        "one bit",
        "one bit of the manifest",
        "no manifest",
        "no arrays",
        "bad arrays",
        "one bit of the arrays",
        "link",
        "link to arrays",
        "pipe",
    ],
)
def test_damage_is_named(damage: Any, words: str, tmp_path: Path) -> None:
    ls.results.save(Everything(torch.zeros(3), 1), tmp_path)
    damage(tmp_path)
    with pytest.raises(ls.LoadingError, match=words):
        ls.load(tmp_path)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _linked(path: Path) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.parent.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ("[1]", "not a stored result"),
        ('{"schema": 99, "result": 1}', "update torch-landscape"),
        ("[" * 200_000 + "]" * 200_000, "cannot be read as JSON"),
        ('{"schema": 2, "result": ' + "9" * 6000 + "}", "cannot be read as JSON"),
        ('{"schema": 2, "result": NaN, "arrays": "arrays/x.npz"}', "NaN is no JSON"),
        ('{"schema": 2, "result": 1, "arrays": "../x.npz"}', "no name of its arrays"),
        ('{"schema": 2, "result": 1}', "no name of its arrays"),
        ("everything->nothing", "'nothing' is no kind of result"),
        ('"a"->"c"', "'c' is no field of Everything"),
        ("result.a->result.z", "result.a: there is no array 'result.z'"),
        ('"b": 1->"b": [1]', "a list stands where no list can be"),
        ('"number": 2.5->"number": "x"', "result.number: it must be float"),
        ('"number": 2.5->"number": null', "result.number: it must be float"),
        ('"number": 2.5->"wrong": 2.5', "'wrong' is no field"),
        ('"number": 2.5->"number": true', "result.number: it must be float"),
    ],
    ids=lambda text: text[:20],
)
def test_odd_json_of_a_run_without_a_manifest_is_named(
    text: str, words: str, tmp_path: Path
) -> None:
    ls.results.save(Everything(torch.zeros(3), 1), tmp_path)
    (tmp_path / "manifest.json").unlink()
    old, arrow, new = text.partition("->")
    path = tmp_path / "result.json"
    before = path.read_text().replace('"schema": 3', '"schema": 2')
    assert not arrow or old in before
    path.write_text(before.replace(old, new) if arrow else text, encoding="latin-1")
    with pytest.raises(ls.LoadingError, match=re.escape(words)):
        ls.load(tmp_path)


def test_nothing_of_anyone_elses_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "train.npz").write_bytes(b"mine")
    for _ in range(2):
        ls.results.save(Everything(torch.zeros(3), 1), tmp_path)
    assert (tmp_path / "arrays" / "train.npz").read_bytes() == b"mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "result.json").write_text('{"my": 1}')
    with pytest.raises(FileExistsError, match="no run has written it"):
        ls.results.save(Everything(torch.zeros(3), 1), other)
    assert [p.name for p in other.iterdir()] == ["result.json"]


def test_large_arrays_lie_aligned_and_strings_of_bytes_are_the_same_each_time(
    tmp_path: Path,
) -> None:
    value = Everything(torch.arange(10.0), {"ä": torch.ones(3, 2).T, "n": torch.zeros(0)})
    for name in ("a", "b"):
        ls.results.save(value, tmp_path / name)
    files = [next((tmp_path / name / "arrays").iterdir()) for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    with np.load(files[0]) as arrays:  # NumPy's own reader agrees
        assert arrays["result.a"].tolist() == list(range(10))
        assert arrays["result.b.ä"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert equal(ls.load(tmp_path / "a").b["ä"], value.b["ä"])


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
