"""Damage stored runs, kept states and files of users at random, and read them.

``python tests/solid/fuzz.py --flips 1000 --inputs 600 --log FILE`` is the long form, which goes on
where it was stopped; a test runs a few. What is read is one LoadingError, one line of a command, or
the very result that was stored; never a traceback, never for ever, never another number. Only runs
that were stored before there was a manifest have no checksums: what is changed in them may be read
as another number, and a warning says that it may.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from click.testing import CliRunner
from landscape_cli.main import main
from safetensors.torch import save_file

import landscape as ls
from landscape.errors import NotChecked
from landscape.files import inspect_file
from landscape.loading.problems import load_data, read_state
from landscape.results import journal, store

sys.path.insert(0, str(Path(__file__).parents[1]))
from solid.log import Log

OLD = sorted(p.parent for p in (Path(__file__).parents[1] / "fixed" / "runs").glob("*/result.json"))
OTHER = "another number, after a warning"
LIMIT = 20  # seconds for one reading
ODD = (
    "[" * 100_000, "[" * 50_000 + "]" * 50_000, "9" * 6_000, "NaN", "-Infinity", '"\ud800"', "null", "{}", "[]", "1e999",
    '{"type": "tensor", "key": 1}', '{"type": "tensor"}', '{"type": []}', '{"type": {}}', '{"type": "os.system", "fields": {}}',
    '{"type": "float", "value": "1"}', '{"type": "list", "items": {}}', '{"type": "dict", "items": []}', '{"type": "estimate"}',
    '{"type": "estimate", "fields": []}', '{"type": "check-status", "name": "NONE"}', '{"type": "tuple", "items": null}', "true",
    '"text"', "-1", "0.5", "\x00", "\ufeff{}",
)  # fmt: skip


T = TypeVar("T")


class Slow(Exception):  # noqa: N818
    """A reading that does not end."""


def bounded(read: Callable[[], T]) -> T:
    """What ``read`` gives, within LIMIT seconds."""

    def stop(number: int, frame: object) -> None:
        raise Slow

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        return read()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def one_line(error: Exception) -> None:
    assert "\n" not in str(error), str(error)


def same(a: object, b: object) -> bool:
    return json.dumps(full(a), sort_keys=True) == json.dumps(full(b), sort_keys=True)


def full(value: object) -> object:
    """A result as JSON, with every number."""
    arrays: dict[str, np.ndarray] = {}
    body = store._encode(value, "result", arrays)
    return [body, {k: v.tolist() for k, v in arrays.items()}]


def damage(data: bytes, draw: random.Random) -> bytes:
    """One way in which bytes are lost or changed."""
    body, way = bytearray(data), draw.randrange(8)
    place = draw.randrange(len(body)) if body else 0
    if way < 4 and body:
        for _ in range(draw.choice((1, 1, 1, 4, 32))):
            body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    elif way == 4:
        del body[place:]
    elif way == 5:
        body[place : place + 64] = bytes(min(64, len(body) - place))
    elif way == 6:
        body[place:place] = draw.randbytes(16)
    else:
        del body[place : place + draw.randrange(1, 64)]
    return bytes(body)


def odd_json(data: bytes, draw: random.Random) -> bytes:
    """JSON with something else in the place of one of its values."""
    text = data.decode()
    places = [i for i, c in enumerate(text) if c == ":"] or [0]
    at = draw.choice(places) + 1
    end = min((i for i in (text.find(c, at) for c in ",}\n") if i > 0), default=len(text))
    return (text[:at] + draw.choice(ODD) + text[end:]).encode("utf-8", "surrogatepass")


def runs(folder: Path) -> list[Path]:
    """Stored runs to damage: new ones with a manifest and earlier ones without."""
    new = []
    for name in ("analysis", "surface", "escapes"):
        stored = next(run for run in OLD if run.name.startswith(name))
        ls.load(stored).save(folder / f"new-{name}")
        new.append(folder / f"new-{name}")
    for run in OLD:
        shutil.copytree(run, folder / run.name)
    return [*new, *(folder / run.name for run in OLD)]


def read_run(run: Path, before: object, listed: bool, page: bool) -> str:
    """Read a damaged run by Python and, where asked for, by a command."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = bounded(lambda: ls.load(run))
            what = "same" if same(found, before) else OTHER
        except ls.LoadingError as error:
            one_line(error)
            what = "refused"
    warned = any(issubclass(one.category, NotChecked) for one in told)
    assert what != OTHER or (warned and not listed), f"{run} differs silently"
    if page:
        for command in (["report", str(run), "--out", f"{run}.html"], ["figures", "render", "density", "--from", str(run), "--out", f"{run}-drawn"]):  # fmt: skip
            done = bounded(partial(CliRunner().invoke, main, command))
            assert done.exit_code in (0, 2, 3), (run, done.exception, done.output)
            assert isinstance(done.exception, SystemExit | None), done.exception
    return what


def flips(count: int, log: Log, seed: int = 0) -> None:
    """Damage one file of a run ``count`` times."""
    with tempfile.TemporaryDirectory() as name:
        stored = runs(Path(name))
        results = {run: ls.load(run) for run in stored}
        for number in range(count):
            draw = random.Random(f"{seed} {number}")
            run = stored[number % 3] if number % 2 else draw.choice(stored)
            listed = run.name.startswith("new-")
            path = draw.choice(sorted(p for p in run.rglob("*") if p.is_file()))
            change = odd_json if path.suffix == ".json" and number % 3 == 0 else damage
            with damaged(path, partial(change, draw=draw)):
                read = partial(read_run, run, results[run], listed, number % 20 == 0)
                log.run(f"flip {number} of {path.relative_to(name)}", read)


@contextmanager
def damaged(path: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """A file that is another one inside."""
    good = bad = path.read_bytes()
    while bad == good:
        bad = change(good)
    path.write_bytes(bad)
    try:
        yield
    finally:
        path.write_bytes(good)


def kept(count: int, log: Log, seed: int = 1) -> None:
    """Damage what an interrupted run has kept: it is told, or computed again to the same bits."""
    x = torch.arange(6.0)

    def times(k: int) -> list[torch.Tensor]:
        return [x * k]

    def work(folder: Path, resume: bool) -> tuple[list[list[float]], object]:
        written = journal.Journal(folder, {"model": "a"}, resume=resume)
        with journal.keeping(written):
            numbers = [
                journal.recalled(str(k), [x], partial(times, k))[0].tolist() for k in range(5)
            ]
            state = journal.State("loop", [x])
            found = state.find()
            state.keep({"t": 3, "x": x, "more": [None, (1, 2.5)]})
            written.flush()
        return numbers, found

    long, journal.LONG = journal.LONG, 0.0
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run" / "kept" / "work"
            expected, _ = work(folder, False)
            _, state = work(folder, True)
            good = {p: p.read_bytes() for p in folder.iterdir()}

            def read() -> str:
                try:
                    numbers, found = bounded(lambda: work(folder, True))
                except (ls.LoadingError, journal.AnotherRun) as error:
                    one_line(error)
                    return "refused"
                assert numbers == expected
                assert found is None or repr(found) == repr(state)
                return "same"

            for number in range(count):
                draw = random.Random(f"{seed} {number}")
                with damaged(draw.choice(sorted(good)), partial(damage, draw=draw)):
                    log.run(f"kept {number}", read)
                for p, data in good.items():
                    p.write_bytes(data)
    finally:
        journal.LONG = long


def originals(folder: Path) -> dict[Path, Callable[[Path], object]]:
    """Files of users by how they are read."""
    weights = {"0.weight": torch.ones(3, 2), "0.bias": torch.zeros(3)}
    torch.save({"state_dict": weights, "epoch": 3}, folder / "new.pt")
    torch.save(weights, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "w.safetensors")
    np.savez(folder / "xy.npz", x=np.ones((4, 2)), y=np.arange(4) % 2)
    np.savez_compressed(folder / "small.npz", x=np.ones((4, 2)), y=np.arange(4) % 2)
    np.save(folder / "at.npy", np.zeros(2))
    (folder / "xy.csv").write_text("a,b,y\n1,2,0\n3,4,1\n5,6,1\n")
    (folder / "c.toml").write_text(
        'landscape = "himmelblau"\nseed = 3\nresolution = 5\nset = ["a=[1,2]"]\n'
    )

    def both(path: Path) -> object:
        inspect_file(path)
        return read_state(path)

    def command(path: Path) -> object:
        words = (
            ["surface", "--config", str(path)]
            if path.suffix == ".toml"
            else ["surface", "himmelblau", "--at", str(path)]
        )
        done = CliRunner().invoke(
            main, [*words, "--resolution", "3", "--out", str(folder / "out"), "--force"]
        )
        assert done.exit_code in (0, 2, 3, 4), (done.exception, done.output)
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done

    reads: dict[str, Callable[[Path], object]] = {
        "new.pt": both, "old.pt": both, "w.safetensors": both, "xy.npz": lambda p: load_data(str(p)), "small.npz": lambda p: load_data(str(p)),
        "xy.csv": lambda p: load_data(str(p)), "at.npy": command, "c.toml": command,
    }  # fmt: skip
    return {folder / name: read for name, read in reads.items()}


def inputs(count: int, log: Log, seed: int = 2) -> None:
    """Damage a file of a user's ``count`` times."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            files = originals(Path(name))

            def read(path: Path) -> str:
                try:
                    bounded(lambda: files[path](path))
                except (ls.LoadingError, ls.NumericalError, ValueError) as error:
                    one_line(error)
                    return "refused"
                return "read"

            for number in range(count):
                draw, path = random.Random(f"{seed} {number}"), list(files)[number % len(files)]
                with damaged(path, partial(damage, draw=draw)):
                    log.run(f"input {number} of {path.name}", partial(read, path))
        finally:
            os.chdir(here)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--inputs", type=int, default=600)
    parser.add_argument("--log", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    log = Log(chosen.log)
    flips(chosen.flips, log)
    kept(chosen.flips // 5, log)
    inputs(chosen.inputs, log)
    log.end()
