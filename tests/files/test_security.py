"""Files that would run a command when unpickled. Truth: the marker that the command makes does not exist afterwards,
and a file with the very same payload does make it when it is unpickled on purpose, in a process of its own."""

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from landscape import LoadingError
from landscape.files import pickles
from landscape.loading.problems import inspect_file, load_checkpoint, load_data, read_state

SYSTEM = f"{os.name}.system" if os.name == "posix" else "nt.system"


class Payload:
    def __init__(self, marker):
        self.command = f"touch {marker}"

    def __reduce__(self):
        return os.system, (self.command,)


class Builtin(Payload):
    def __reduce__(self):
        return eval, ("1 + 1",)


def raw(protocol):
    def write(path, payload):
        path.write_bytes(pickle.dumps({"weight": payload}, protocol))

    return write


def torch_zip(path, payload):
    torch.save({"weight": torch.zeros(2), "extra": payload}, path)


def torch_legacy(path, payload):
    torch.save(
        {"weight": torch.zeros(2), "extra": payload}, path, _use_new_zipfile_serialization=False
    )


def torch_legacy_protocol_4(path, payload):
    torch.save({"extra": payload}, path, _use_new_zipfile_serialization=False, pickle_protocol=4)


def torch_tar(path, payload):
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(payload if name == "pickle" else 0)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def npz(path, payload):
    with path.open("wb") as file:
        np.savez(file, good=np.zeros(3), weight=np.array([payload], dtype=object))


def npz_compressed(path, payload):
    with path.open("wb") as file:
        np.savez_compressed(file, weight=np.array([payload], dtype=object))


def npy(path, payload):
    with path.open("wb") as file:
        np.save(file, np.array([payload], dtype=object))


def zip_of_pickles(path, payload):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pkl", pickle.dumps(payload))


def inst(path, payload):  # protocol 0's own way to call, which Python 3 no longer writes
    path.write_bytes(b"(S'" + payload.command.encode() + b"'\nios\nsystem\n.")


def memoised(
    path, payload
):  # STACK_GLOBAL whose two strings come back from the memo, over other values
    module, name = SYSTEM.split(".")
    strings = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() + b"\x94" for s in (name, module))
    body = (
        b"\x80\x04" + strings + b"00" + b"h\x01h\x00\x93" + b"\x8c" + bytes([len(payload.command)])
    )
    path.write_bytes(body + payload.command.encode() + b"\x85R.")


WAYS = {
    **{f"pickle protocol {p}": raw(p) for p in range(6)},
    "torch zip": torch_zip,
    "torch legacy": torch_legacy,
    "torch legacy protocol 4": torch_legacy_protocol_4,
    "torch tar": torch_tar,
    "npz": npz,
    "npz compressed": npz_compressed,
    "npy": npy,
    "zip": zip_of_pickles,
    "INST": inst,
    "STACK_GLOBAL from the memo": memoised,
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz", ".ckpt"])
@pytest.mark.parametrize("way", WAYS)
def test_a_payload_is_refused_unrun_and_named(way, suffix, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / f"weights{suffix}"
    WAYS[way](path, Payload(marker))
    model = nn.Linear(2, 1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    asked = "os.system" if way == "INST" else SYSTEM
    for attempt in (read_state, lambda p: load_checkpoint(model, p), lambda p: load_data(str(p))):
        with pytest.raises(LoadingError) as error:
            attempt(path)
        assert asked in str(error.value)
        assert "\n" not in str(error.value)
        assert "save_file" in str(error.value)
    report = inspect_file(path)
    assert not report.safe
    assert asked in report.asks_for
    assert not marker.exists()
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "way", ["pickle protocol 0", "pickle protocol 5", "INST", "STACK_GLOBAL from the memo"]
)
def test_the_payloads_are_live(way, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "file"
    WAYS[way](path, Payload(marker))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True)
    assert marker.exists()


def test_a_whole_module_is_refused_with_its_class_named(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), tmp_path / "whole.pt")
    with pytest.raises(LoadingError) as error:
        read_state(tmp_path / "whole.pt")
    assert "torch.nn.modules.container.Sequential" in str(error.value)
    assert "_rebuild_tensor" not in str(
        error.value
    )  # what every file of tensors asks for is not what was wrong


def test_several_globals_are_all_listed(tmp_path):
    (tmp_path / "x.pt").write_bytes(pickle.dumps([Payload("a"), Builtin("b"), np.float64(1)]))
    assert {SYSTEM, "builtins.eval"} <= set(inspect_file(tmp_path / "x.pt").asks_for)


def test_raw_numbers_after_the_pickles_of_a_legacy_file_are_not_read_as_names(tmp_path):
    for seed in range(20):
        weights = torch.randint(
            0, 256, (4096,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
        )
        torch.save({"w": weights}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
        assert all(
            pickles.builds_tensors(name) for name in inspect_file(tmp_path / "w.pt").asks_for
        )


def test_plain_files_ask_for_nothing_strange(tmp_path):
    torch.save({"w": torch.zeros(2), "n": 3}, tmp_path / "a.pt")
    save_file({"w": torch.zeros(2)}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", w=np.zeros(2))
    assert all(pickles.builds_tensors(name) for name in inspect_file(tmp_path / "a.pt").asks_for)
    assert inspect_file(tmp_path / "a.safetensors").asks_for == ()
    assert inspect_file(tmp_path / "a.npz").asks_for == ()
    assert all(inspect_file(tmp_path / f"a.{s}").safe for s in ("pt", "safetensors", "npz"))


@pytest.mark.parametrize("way", WAYS)
def test_truncated_and_scrambled_payloads_are_refused_too(way, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "weights.pt"
    WAYS[way](path, Payload(marker))
    whole, draw = path.read_bytes(), random.Random(0)
    for trial in range(30):
        data = bytearray(whole[: draw.randrange(1, len(whole))] if trial % 2 else whole)
        for _ in range(trial % 4):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(bytes(data))
        inspect_file(path) if not path.read_bytes().startswith(b"PK") else None
        with pytest.raises(LoadingError):
            read_state(path)
    assert not marker.exists()


def test_noise_is_no_checkpoint(tmp_path):
    draw = random.Random(0)
    for trial in range(200):
        path = tmp_path / "noise.pt"
        path.write_bytes(draw.randbytes(draw.randrange(1, 2000)))
        with pytest.raises(LoadingError) as error:
            read_state(path)
        assert "\n" not in str(error.value), trial


@pytest.mark.slow
def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 27,)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(1 << 10):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 21
    with pytest.raises(LoadingError, match="would unpack to 1,073,"):
        read_state(path)


def test_a_header_that_promises_terabytes_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)}
    )
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", header.getvalue() + bytes(64))
    with pytest.raises(LoadingError):
        read_state(tmp_path / "w.npz")
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(LoadingError):
        read_state(tmp_path / "w.safetensors")


def test_names_with_control_characters_are_shown_escaped(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02cos\x1b[31m\nsystem\n.")
    assert "\x1b" not in "".join(inspect_file(tmp_path / "x.pkl").asks_for)
