"""Kill a command at each of its system calls that writes, renames or removes, and look at what is left.

``python tests/solid/kills.py --kills 200 --log FILE`` is the long form, which goes on where it was
stopped; a test runs a few. A forked child counts its calls and ends at the k-th without any cleaning
up: renames, removals and the like by an audit hook, writes by files of its own, of which the fatal
one writes a half; at a call that brings a file to the disk its second half is lost too, as in a
power cut. Afterwards the old result or the new one
is whole, the user's own files are as they were, and the next command finishes or sweeps the rest.
"""

import argparse
import builtins
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from landscape_cli.main import main

import landscape as ls
from landscape.results import journal, manifest, store
from landscape.surfaces import grids

sys.path.insert(0, str(Path(__file__).parents[1]))
from solid.log import Log

NET = """
import landscape as ls, torch
from torch import nn

def problem():
    torch.manual_seed(0)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)).double()
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    return ls.ModelLandscape(model, nn.functional.cross_entropy, [(x[:4], torch.arange(4) % 2), (x[4:], torch.arange(4) % 2)])
"""
CALLS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
leave, opens = os._exit, io.open
SPECTRUM = [
    "spectrum",
    "net.py",
    "--probes",
    "2",
    "--steps",
    "4",
    "--largest",
    "2",
    "--smallest",
    "2",
]
KILLED = 77


@dataclass(frozen=True)
class Scene:
    """A command, what lies in the folder before it, and the command after the kill."""

    name: str
    before: list[list[str]]
    command: list[str]
    after: list[str]
    keeps: bool = False  # every product is written at once
    save: bool = False  # ``save`` from Python in the place of the command


SCENES = (
    Scene("fresh", [], SPECTRUM, [*SPECTRUM, "--resume"]),
    Scene("forced", [[*SPECTRUM, "--seed", "1"]], [*SPECTRUM, "--force"], [*SPECTRUM, "--resume"]),
    Scene("report", [SPECTRUM], ["report"], ["report"]),
    Scene("render", [SPECTRUM], ["figures", "render", "all", "--format", "svg"], ["report"]),
    Scene("save", [[*SPECTRUM, "--seed", "1"]], SPECTRUM, [*SPECTRUM, "--resume"], save=True),
    Scene("kept", [], SPECTRUM, [*SPECTRUM, "--resume"], keeps=True),
    Scene("surface", [], ["surface", "net.py", "--resolution", "4"], ["surface", "net.py", "--resolution", "4", "--resume"], keeps=True),
)  # fmt: skip


def placed(command: list[str]) -> list[str]:
    """The command about the folder ``run``."""
    if command[0] == "report":
        return ["report", "run"]
    return [*command, *(["--from", "run"] if command[0] == "figures" else ["--out", "run"])]


def numbers(folder: Path) -> str | None:
    """What the result in a folder says, but for the time it took; None: there is none."""
    if not manifest.place(folder, "result.json").exists():
        return None
    said = store.plain(ls.load(folder))
    said.pop("seconds", None)
    said["provenance"] = {"seed": said["provenance"]["seed"]}
    return json.dumps(said)


def whole(folder: Path) -> None:
    """Every file that the manifest lists is there as listed, and nothing hidden is left."""
    files = manifest.listed(folder)
    assert files is not None
    for name in files:
        manifest.contents(folder, name, files)
    assert not [p for p in folder.iterdir() if p.name.startswith(".landscape-")]


def child(act: Callable[[], None], root: Path, stop: int) -> tuple[int, int]:
    """Run ``act`` in a fork that ends at its stop-th call; its status, and how many calls it made."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        told = b"".join(iter(lambda: os.read(read, 100), b""))
        os.close(read)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return status, int(told or 0)
    count = 0

    def call(descriptor: int = -1) -> None:
        nonlocal count
        count += 1
        if count == stop:
            if descriptor >= 0 and Path(f"/proc/self/fd/{descriptor}").is_file():
                os.truncate(f"/proc/self/fd/{descriptor}", os.fstat(descriptor).st_size // 2)
            leave(KILLED)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(c in str(mode) for c in "wax+") if mode else int(flags or 0) & 3  # type: ignore[call-overload]
            if writes and str(path).startswith((str(root), "run")):
                call()
        elif event in CALLS:
            call()

    def synced(fd: Any) -> None:
        call(fd)

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            ends = count + 1 == stop
            written = super().write(memoryview(data).cast("B")[: len(data) // 2] if ends else data)
            call()
            return written

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None, closefd: bool = True, opener: Any = None) -> Any:  # fmt: skip
        if not set(mode) & set("wax+"):
            return opens(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        held = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return held if "b" in mode else io.TextIOWrapper(held, encoding, errors, newline)

    try:
        os.fsync = synced
        io.open = builtins.open = opened
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        sys.addaudithook(hook)
        act()
        os.write(write, str(count).encode())
        leave(0)
    except BaseException:
        leave(70)


def acting(scene: Scene, new: object) -> Callable[[], None]:
    def act() -> None:
        if scene.keeps:
            journal.LONG, journal.EVERY, grids.EVERY = 0.0, 0.0, 0.0
        if scene.save:
            new.save("run")  # type: ignore[attr-defined]
            return
        done = CliRunner().invoke(main, placed(scene.command))
        assert done.exit_code == 0, done.output

    return act


def invoke(command: list[str]) -> None:
    done = CliRunner().invoke(main, placed(command))
    if done.exit_code != 0:
        raise AssertionError(f"{command}: {done.output}") from done.exception


def kill(scene: Scene, places: Callable[[int], list[int]], log: Log) -> None:
    """Kill one scene at some of its calls, and see whether the old run or the new one was left."""
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    os.chdir(root)
    (root / "net.py").write_text(NET)
    (root / "run").mkdir()
    for command in scene.before:
        invoke(command)
    (root / "run" / "figures").mkdir(exist_ok=True)
    if scene.before:
        (root / "run" / "figures" / "paper.pdf").write_text("mine")
        (root / "run" / "notes.txt").write_text("mine")
    else:
        (root / "run" / "figures").rmdir()
    shutil.copytree("run", "before")
    old = numbers(root / "before")
    new_result = None
    if scene.save:
        shutil.rmtree("run")
        invoke(SPECTRUM)
        new_result = ls.load("run")
        again()
    status, calls = child(acting(scene, new_result), root, 0)
    assert (status, calls > 0) == (0, True), (scene.name, status)
    new = numbers(root / "run")

    def killed(k: int) -> str:
        again()
        status, _ = child(acting(scene, new_result), root, k)
        assert status in (KILLED, 0), (scene.name, k, status)
        left = numbers(root / "run")
        assert left in (old, new), (scene.name, k)
        invoke(scene.after)
        whole(root / "run")
        assert numbers(root / "run") in ((old, new) if old else (new,)), (scene.name, k)
        if scene.before:
            assert (root / "run" / "notes.txt").read_text() == "mine"
            assert (root / "run" / "figures" / "paper.pdf").read_text() == "mine"
        return "the new one" if left == new else "the old one"

    for k in places(calls):
        log.run(f"{scene.name} {k} of {calls}", partial(killed, k))
    os.chdir("/")
    shutil.rmtree(root)


def again() -> None:
    shutil.rmtree("run")
    shutil.copytree("before", "run")


def kills(count: int, log: Log) -> None:
    """``count`` kills spread over all scenes and all their calls."""
    torch.set_num_threads(1)
    each, rest = divmod(count, len(SCENES))
    for i, scene in enumerate(SCENES):
        wanted = each + (i < rest)

        def places(calls: int, wanted: int = wanted) -> list[int]:
            spread = {1 + k * (calls - 1) // max(1, wanted - 1) for k in range(wanted)}
            return sorted(spread | set(range(calls, max(0, calls - wanted + len(spread)), -1)))

        if wanted:
            kill(scene, places, log)
            print(scene.name, len(log.known), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--log", type=Path)
    chosen = parser.parse_args()
    log = Log(chosen.log)
    kills(chosen.kills, log)
    log.end()
