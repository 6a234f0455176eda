"""Checkpoints with objects of any class among their entries: the tensors come back as they were saved, classes stay
names, and nothing is run. Truth: torch's own reader with everything trusted, and a marker that code would leave."""

import argparse
import contextlib
import copyreg
import datetime
import enum
import functools
import os
import pickle
import random
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from landscape import LoadingError
from landscape.files import closed, read
from landscape.files.checkpoints import load_checkpoint, read_state
from landscape.files.folders import inspect


class Settings:
    """A class of the user's own; made or filled again, it would leave a marker."""

    marker = ""

    def __init__(self, width: int) -> None:
        self.width = width

    def __setstate__(self, state: object) -> None:
        Path(self.marker).write_text("set")


class Frozen:
    """Made anew by a call of its class, as an enum's member is."""

    def __reduce__(self) -> tuple[object, ...]:
        return Frozen.made, (3,)

    @staticmethod
    def made(width: int) -> "Frozen":
        Path(Settings.marker).write_text("made")
        return Frozen()


class Mode(enum.Enum):
    FAST = 1


class Listed(list[object]):
    pass


class Mapped(dict[str, object]):
    pass


KINDS: dict[str, object] = {
    "an object": Settings(3),
    "a class": Settings,
    "a call": Frozen(),
    "an enum's member": Mode.FAST,
    "a namespace": argparse.Namespace(lr=0.1, betas=(0.9, 0.99)),
    "a partial": functools.partial(Settings, width=3),
    "a scalar of numpy": np.float64(0.5),
    "an array of numpy": np.arange(3.0),
    "a path": Path("runs/1"),
    "a date": datetime.datetime(2026, 1, 1),
    "a list of a class of its own": Listed([1, 2]),
    "a mapping of a class of its own": Mapped(a=1),
    "a set": {1, 2},
    "a function of torch": torch.nn.functional.gelu,
    "a module": nn.Tanh(),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_read_and_classes_stay_names(
    kind: str, protocol: int, zipped: bool, tmp_path: Path
) -> None:
    source, model = nn.Linear(3, 2), nn.Linear(3, 2)
    marker = tmp_path / "marker"
    Settings.marker = str(marker)
    saved = {
        "state_dict": {f"model.{k}": v for k, v in source.state_dict().items()},
        "hyper_parameters": {"kind": KINDS[kind], "lr": 0.1},
        "epoch": 3,
    }
    torch.save(
        saved,
        tmp_path / "w.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    notes = load_checkpoint(model, tmp_path / "w.ckpt")
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())
    assert any("state_dict" in note for note in notes)
    assert inspect(tmp_path / "w.ckpt").safe
    assert not marker.exists()


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2), "hp": Settings(3)}, tmp_path / "w.ckpt")
    content = read(tmp_path / "w.ckpt")
    assert [name.rpartition(".")[2] for name in content.names] == ["Settings"]
    assert "Settings" in content.notes[0]
    assert "nothing was run" in content.notes[0]
    assert any("Settings" in what for what in inspect(tmp_path / "w.ckpt").others.values())


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
DTYPES += [torch.uint8, torch.complex64, torch.uint16, torch.float8_e4m3fn]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_kind_are_those_of_torch(
    dtype: torch.dtype, zipped: bool, tmp_path: Path
) -> None:
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    lists: dict[str, Any] = defaultdict(list, b=whole[2])
    saved: dict[str, Any] = {
        "whole": whole,
        "turned": whole.T,
        "rows": whole[1:3],
        "strided": whole[:, ::2],
        "scalar": torch.tensor(1.0),
        "empty": torch.empty(0, 3),
        "nested": OrderedDict(a=[whole[0], (whole[1], lists)]),
        "parameter": nn.Parameter(torch.ones(2)),
        "other": Settings,
    }
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    reader = closed.read_zip if zipped else closed.read_legacy
    tree, names = reader(tmp_path / "w.pt")
    assert isinstance(tree, dict)
    assert len(names) == 1
    flat = {**tree, "a": tree["nested"]["a"][0], "b": tree["nested"]["a"][1][1]["b"]}
    truth = {**saved, "a": whole[0], "b": whole[2]}
    for name in ("whole", "turned", "rows", "strided", "scalar", "empty", "parameter", "a", "b"):
        found, right = flat[name], truth[name]
        assert (found.dtype, found.shape) == (right.dtype, right.shape)
        assert (
            found.detach().view(torch.uint8).tolist()
            == right.detach().contiguous().view(torch.uint8).tolist()
            if found.is_contiguous() and found.ndim
            else True
        )
        if dtype not in (torch.uint16, torch.float8_e4m3fn):
            assert torch.equal(found, right.detach())
    # views of one storage stay so
    assert flat["rows"].untyped_storage().data_ptr() == flat["whole"].untyped_storage().data_ptr()


def call(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls a global with one string."""
    return (
        b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"
        + b"\x8c" + bytes([len(argument)]) + argument.encode() + b"\x85R."
    )  # fmt: skip


class Attack:
    """A call of a function of Python's own library, in one of its disguises."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


COPYREG: Any = copyreg  # whose types leave out what begins with an underscore
ATTACKS = {
    "system": lambda m: Attack(os.system, f"touch {m}"),
    "eval": lambda m: Attack(eval, f"open({str(m)!r}, 'w')"),
    "exec": lambda m: Attack(exec, f"open({str(m)!r}, 'w')"),
    "open": lambda m: Attack(open, str(m), "w"),
    "a partial of system": lambda m: functools.partial(os.system, f"touch {m}"),
    "import": lambda m: Attack(__import__, "antigravity"),
    "reconstructor of copyreg": lambda m: Attack(COPYREG._reconstructor, os._wrap_close, object, 0),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("attack", ATTACKS)
def test_calls_of_pythons_own_library_are_refused_unrun(
    attack: str, protocol: int, zipped: bool, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    payload = ATTACKS[attack](marker)
    torch.save(
        {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": {"x": payload}},
        tmp_path / "w.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(LoadingError, match="refused") as error:
        read_state(tmp_path / "w.ckpt")
    assert "\n" not in str(error.value)
    assert not inspect(tmp_path / "w.ckpt").safe
    assert not marker.exists()


def with_pickle(path: Path, data: bytes) -> None:
    """A PyTorch file whose pickle is exchanged for another."""
    torch.save({"w": torch.arange(4.0)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, data if name.endswith("data.pkl") else member)


def test_names_of_python_2_and_hidden_ones_are_refused(tmp_path: Path) -> None:
    names = (
        ("__builtin__", "eval"),
        ("posix", "system"),
        ("nt", "system"),
        ("os.path", "os.system"),
    )
    for module, name in names:
        with_pickle(tmp_path / "w.pt", call(module, name, "1"))
        with pytest.raises(LoadingError, match="refused"):
            read_state(tmp_path / "w.pt")


def test_what_a_pickle_may_call_cannot_be_changed_by_it() -> None:
    """BUILD sets attributes of what is on the stack: of a function here it would last for the next file."""
    for module, name in (
        ("torch._utils", "_rebuild_tensor_v2"),
        ("collections", "OrderedDict"),
        ("torch", "FloatStorage"),
    ):
        found = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        found += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"
        state = pickle.dumps((None, {"function": 1, "__call__": 2, "dtype": 3}), 4)[2:-1]
        before = dict(closed._MAKERS)
        closed.read_pickle(found + state + b"b.")
        assert before == closed._MAKERS
    plain = pickle.dumps(OrderedDict(a=1), 2)
    assert closed.read_pickle(plain)[0] == {"a": 1}


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (2, 3), (4, 1)), (0, (-1,), (1,))],
)
def test_tensors_reach_no_further_than_their_storage(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    wanted = closed._Tensor(closed._Storage(torch.float32, "0"), offset, size, stride)
    with pytest.raises(RuntimeError):
        closed._Builder(lambda key: bytes(16)).built({"w": wanted})


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_file_runs_nothing_and_is_told_as_one(zipped: bool, tmp_path: Path) -> None:
    saved = {"w": torch.ones(20), "hp": Settings(3)}
    torch.save(saved, tmp_path / "good.pt", _use_new_zipfile_serialization=zipped)
    whole, draw = (tmp_path / "good.pt").read_bytes(), random.Random(1)
    Settings.marker = str(tmp_path / "marker")
    for trial in range(60):
        data = bytearray(whole)
        for _ in range(1 + trial % 5):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (tmp_path / "w.pt").write_bytes(bytes(data))
        with contextlib.suppress(LoadingError):
            read_state(tmp_path / "w.pt")
    assert not (tmp_path / "marker").exists()


def test_legacy_files_that_are_cut_short_or_count_wrongly_are_damaged(tmp_path: Path) -> None:
    saved = {"w": torch.arange(20.0), "hp": Settings(3)}
    torch.save(saved, tmp_path / "good.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "good.pt").read_bytes()
    count = whole.rindex((20).to_bytes(8, "little"))
    wrong = (
        whole[:-8],
        whole[: count - 10],
        whole[:count] + (2**62).to_bytes(8, "little") + whole[count + 8 :],
        whole[:count] + (19).to_bytes(8, "little") + whole[count + 8 :],
    )
    for data in wrong:
        (tmp_path / "w.pt").write_bytes(data)
        with pytest.raises(LoadingError):
            read_state(tmp_path / "w.pt")
    tree: Any = read(tmp_path / "good.pt").tree
    assert tree["w"].tolist() == list(range(20))


def test_knots_are_untied_once(tmp_path: Path) -> None:
    """A list in itself, and lists of lists that would unfold to 2^60 entries."""
    knot: list[object] = [torch.ones(1)]
    knot.append(knot)
    deep: list[object] = [1]
    for _ in range(60):
        deep = [deep, deep]
    torch.save({"w": torch.ones(2), "knot": knot, "deep": deep, "c": Settings}, tmp_path / "w.pt")
    tree, _ = closed.read_zip(tmp_path / "w.pt")
    assert isinstance(tree, dict)
    assert tree["knot"][1] is tree["knot"]


def test_the_archive_of_stable_baselines_is_read_but_for_its_settings(tmp_path: Path) -> None:
    source, model = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(source.state_dict(), tmp_path / "policy.pth")
    torch.save({"state": {}, "param_groups": []}, tmp_path / "policy.optimizer.pth")
    with zipfile.ZipFile(tmp_path / "ppo.zip", "w") as archive:
        archive.writestr("data", '{"policy_class": {":serialized:": "gASVAAAA"}}')
        archive.writestr("_stable_baselines3_version", "2.9.2")
        for name in ("policy.pth", "policy.optimizer.pth"):
            archive.write(tmp_path / name, name)
    notes = load_checkpoint(model, tmp_path / "ppo.zip")
    assert "'policy'" in notes[0]
    assert torch.equal(model.weight, source.weight)
    report = inspect(tmp_path / "ppo.zip")
    assert (report.format, report.safe) == ("stable-baselines3", True)
    torch.save(Attack(os.system, f"touch {tmp_path / 'marker'}"), tmp_path / "policy.pth")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.write(tmp_path / "policy.pth", "policy.pth")
    with pytest.raises(LoadingError, match="refused"):
        read_state(tmp_path / "bad.zip")
    assert not (tmp_path / "marker").exists()


@pytest.mark.slow
def test_what_stable_baselines_saves(tmp_path: Path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    gymnasium = pytest.importorskip("gymnasium")
    source, model = (sb3.PPO("MlpPolicy", gymnasium.make("CartPole-v1"), seed=s) for s in (1, 2))
    source.save(tmp_path / "ppo")
    load_checkpoint(model.policy, tmp_path / "ppo.zip")
    right = source.policy.state_dict()
    assert all(torch.equal(v, right[k]) for k, v in model.policy.state_dict().items())
