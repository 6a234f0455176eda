"""Files of a stranger that try to run code, to reach other files, or to write to a terminal or a page.

``python tests/solid/attacks.py --log FILE`` tries each kind, a test tries them too. Nothing may run, nothing outside
may be read or changed, nothing may end in a traceback or never; what is shown is shown escaped.
"""

import argparse
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result
from landscape_cli.main import main

import landscape as ls
from landscape.results import journal, manifest

sys.path.insert(0, str(Path(__file__).parents[1]))
from solid.log import Log

ESC = "\x1b]0;owned\x07\x1b[2J"
HOSTILE = {"escape": ESC, "C1": "\x9b31m", "bell": "\x07", "right to left": "\u202egnp.exe", "isolate": "\u2066a\u2069", "line": "\u2028b"}  # fmt: skip
PAGE = "</script><script>alert(1)</script>"
OLD = Path(__file__).parents[1] / "fixed" / "runs"
MODEL = """
import landscape as ls, torch
def problem():
    torch.manual_seed(0)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)).double()
    return ls.ModelLandscape(torch.nn.Linear(2, 2).double(), torch.nn.functional.mse_loss, [(x, x)])
def data():
    return problem().batches[0]
"""
Attack = Callable[[], None]


class Payload:
    """Unpickled it makes the file OWNED."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch OWNED",)


def run(*arguments: str, code: tuple[int, ...] = (0, 2, 3, 4)) -> Result:
    """A command in this process, which ends with one of these statuses and no traceback."""
    done = CliRunner().invoke(main, list(arguments))
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code in code, (arguments, done.exit_code, done.output)
    shown = done.output + done.stderr
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u2066\u2069\u2028"), repr(shown)
    return done


def refused(file: str) -> None:
    """Nothing takes the file."""
    run("inspect", file, code=(0, 3))
    for words in (
        ("analyze", "net.py", "--checkpoint", file),
        ("analyze", "net.py", "--data", file),
    ):
        run(*words, "--out", "out", code=(2, 3))


# ---- checkpoints, data and states


def pickles() -> dict[str, bytes]:
    """Files whose unpickling would run code, by kind."""
    found = {f"pickle {p}": pickle.dumps({"w": Payload()}, p) for p in range(6)}
    found["instance"] = b"(S'touch OWNED'\nios\nsystem\n."
    for name, options in {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}.items():
        buffer = io.BytesIO()
        torch.save({"w": torch.zeros(2), "x": Payload()}, buffer, **options)
        found[f"torch {name}"] = buffer.getvalue()
    for name, write in {"npz": np.savez, "npz packed": np.savez_compressed}.items():
        buffer = io.BytesIO()
        write(buffer, x=np.array([Payload()], dtype=object), y=np.zeros(1))
        found[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
    found["npy"] = buffer.getvalue()
    return found


def of_pickle(data: bytes) -> Attack:
    def attack() -> None:
        for name in ("w.pt", "w.safetensors", "w.npz"):
            Path(name).write_bytes(data)
            refused(name)
        Path("at.npy").write_bytes(data)
        run("surface", "himmelblau", "--at", "at.npy", "--out", "out", code=(2, 3))
        run(
            "diagnose",
            "net.py",
            "--optimizer",
            "sgd:lr=0.1",
            "--optimizer-state",
            "w.pt",
            "--out",
            "out",
            code=(2, 3),
        )

    return attack


def bomb() -> None:
    with zipfile.ZipFile("b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(1 << 29))
    refused("b.npz")


def terabytes() -> None:
    Path("t.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    refused("t.safetensors")


def holds_itself() -> None:
    tree: dict[str, object] = {"w": torch.zeros(2)}
    tree["self"] = tree
    torch.save(tree, "self.pt")
    refused("self.pt")


def deep_tree() -> None:
    tree: object = torch.zeros(2)
    for _ in range(200):
        tree = {"a": tree}
    torch.save(tree, "deep.pt")
    refused("deep.pt")


def pipe() -> None:
    os.mkfifo("pipe.pt")
    refused("pipe.pt")


def endless(path: str, kind: str) -> None:
    """What is read for ever, or to the last bit of memory, or more deeply than Python goes."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        Path(path).symlink_to("/dev/zero")
    else:
        Path(path).write_text("[" * 100_000)


def folder_of_weights(kind: str) -> Attack:
    def attack() -> None:
        Path("weights").mkdir()
        for name in ("model.safetensors.index.json", "config.json", ".metadata"):
            endless(f"weights/{name}", kind)
        refused("weights")

    return attack


def table(kind: str) -> Attack:
    def attack() -> None:
        endless("t.csv", kind)
        run("analyze", "net.py", "--data", "t.csv", "--out", "out", code=(3,))

    return attack


def names_of_tensors(text: str) -> Attack:
    def attack() -> None:
        torch.save({text: torch.zeros(2), "k": text}, "n.pt")
        run("inspect", "n.pt")
        run("inspect", "n.pt", "--json")
        run("analyze", "net.py", "--checkpoint", "n.pt", "--out", "out", code=(3,))

    return attack


# ---- stored runs


def stored(name: str = "stranger") -> Path:
    """A run of a stranger's, as it should be."""
    ls.load(next(p for p in sorted(OLD.iterdir()) if p.name.startswith("surface"))).save(name)
    return Path(name)


def listed(folder: Path) -> None:
    """A manifest that is right about whatever is there."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if manifest.MAY_BE.fullmatch(name) and path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found[name] = manifest.Listed(len(data), hashlib.sha256(data).hexdigest())
    (folder / manifest.NAME).write_bytes(manifest.text(found))


def read_all(folder: str, code: tuple[int, ...] = (2, 3)) -> None:
    """Every command that reads a run."""
    run("report", folder, "--out", "page.html", code=code)
    run("figures", "render", "all", "--from", folder, "--out", "drawn", code=code)
    run("surface", "himmelblau", "--at", folder, "--resolution", "3", "--out", "out", code=(2, 3))
    run(
        "saddles",
        "path",
        "himmelblau",
        "--census",
        folder,
        "--from",
        "0",
        "--to",
        "1",
        "--out",
        "out",
        code=(2, 3),
    )
    run("diagnose", folder, "--out", "out", code=(2, 3))


def link(part: str) -> Attack:
    def attack() -> None:
        folder = stored()
        (folder / part).rename("elsewhere")
        (folder / part).symlink_to(Path("elsewhere").resolve())
        read_all("stranger")

    return attack


def fifo(part: str) -> Attack:
    def attack() -> None:
        folder = stored()
        (folder / part).unlink()
        os.mkfifo(folder / part)
        read_all("stranger")

    return attack


def lists(name: str) -> Attack:
    """A manifest that names a file outside: it is neither read nor replaced nor removed."""

    def attack() -> None:
        folder = stored()
        body = json.loads((folder / "manifest.json").read_text())
        body["files"][name] = {"size": 4, "sha256": hashlib.sha256(b"mine").hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(body))
        read_all("stranger")
        run(
            "surface",
            "himmelblau",
            "--resolution",
            "3",
            "--out",
            "stranger",
            "--force",
            code=(2, 3),
        )

    return attack


def writes_through(part: str) -> Attack:
    """A folder of the run that is a link to one of the user's: nothing is written or removed there."""

    def attack() -> None:
        folder = stored()
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).symlink_to(Path("home").resolve())
        run("report", "stranger", code=(0, 2, 3))
        run("figures", "render", "surface", "--from", "stranger", code=(2, 3))
        run(
            "surface",
            "himmelblau",
            "--resolution",
            "3",
            "--out",
            "stranger",
            "--force",
            code=(2, 3),
        )
        run(
            "surface",
            "himmelblau",
            "--resolution",
            "3",
            "--out",
            "stranger",
            "--resume",
            code=(2, 3),
        )

    return attack


def unfinished(part: str) -> Attack:
    """What a kill has left, as a stranger makes it: a link in the place of a hidden folder."""

    def attack() -> None:
        folder = stored()
        (folder / part).symlink_to(Path("home").resolve())
        run("report", "stranger", code=(0, 2, 3))
        run(
            "surface",
            "himmelblau",
            "--resolution",
            "3",
            "--out",
            "stranger",
            "--resume",
            code=(0, 2, 3),
        )
        run(
            "surface",
            "himmelblau",
            "--resolution",
            "3",
            "--out",
            "stranger",
            "--force",
            code=(0, 2, 3),
        )

    return attack


def pickled_state() -> None:
    folder = Path("kept") / ".landscape-kept" / "work"
    folder.mkdir(parents=True)
    (folder / journal.ABOUT).write_text(journal._told({}))
    (folder / journal.WORK).write_bytes(pickle.dumps(Payload()))
    run("spectrum", "net.py", "--out", "kept", "--resume", code=(0, 2, 3))


def edited(old: str, new: str) -> Attack:
    """A run of version 0.1 in which one value is another one; or a manifest that agrees with it."""

    def attack() -> None:
        for agree in (False, True):
            shutil.rmtree("stranger", ignore_errors=True)
            path = stored() / "result.json"
            text = path.read_text()
            assert old in text, old
            path.write_text(text.replace(old, new, 1).replace('"schema": 3', '"schema": 2'))
            listed(Path("stranger")) if agree else Path("stranger/manifest.json").unlink()
            read_all("stranger", (0, 2, 3))

    return attack


def names_of_runs(text: str) -> Attack:
    """A name that a run says of itself, in words, in figures and in both kinds of page."""

    def attack() -> None:
        told = json.dumps(text)[1:-1]
        path = stored() / "result.json"
        body = path.read_text().replace('"name": "', f'"name": "{told} ')
        path.write_text(body)
        listed(Path("stranger"))
        read_all("stranger", (0, 2, 3))
        run(
            "figures",
            "render",
            "surface_3d",
            "--from",
            "stranger",
            "--format",
            "html",
            "--out",
            "drawn",
            code=(0, 2),
        )
        str(ls.load("stranger"))
        pages = [Path("page.html"), *Path("drawn").glob("*.html"), *Path("drawn").glob("*.svg")]
        for page in filter(Path.exists, pages):
            assert PAGE not in page.read_text(), page
            if page.suffix == ".html":
                assert "Content-Security-Policy" in page.read_text(), page

    return attack


def names_of_walks() -> None:
    np.save("walk.npy", np.linspace(0, 1, 8).reshape(4, 2))
    run(
        "surface",
        "himmelblau",
        "--resolution",
        "5",
        "--trajectory",
        f"{PAGE}=walk.npy",
        "--spectra",
        "1",
        "--out",
        "walked",
        code=(0,),
    )
    run(
        "figures",
        "render",
        "all",
        "--from",
        "walked",
        "--format",
        "html",
        "--out",
        "drawn",
        code=(0, 2),
    )
    run("report", "walked", "--out", "page.html", code=(0,))
    for page in [Path("page.html"), *Path("drawn").glob("*.html")]:
        assert PAGE not in page.read_text()


# ---- configurations


def no_file(kind: str) -> Attack:
    def attack() -> None:
        endless("config.toml", kind)
        run("analyze", "--config", "config.toml", code=(2,))

    return attack


def config(text: str, *words: str) -> Attack:
    def attack() -> None:
        Path("config.toml").write_text(text)
        run(*(words or ("analyze",)), "--config", "config.toml", code=(0, 2, 3))

    return attack


def attacks() -> dict[str, Attack]:
    """Every kind by its name."""

    shell = 'model = "os:system"\nset = ["command=touch OWNED"]\ndata = "digits"\nloss = "mse"\n'
    return {
        **{f"checkpoint: {kind}": of_pickle(data) for kind, data in pickles().items()},
        "checkpoint: bomb": bomb, "checkpoint: terabytes": terabytes, "checkpoint: holds itself": holds_itself,
        "checkpoint: deep": deep_tree, "checkpoint: pipe": pipe,
        **{f"tensor name: {kind}": names_of_tensors(text) for kind, text in HOSTILE.items()},
        **{f"run: link as {part}": link(part) for part in ("result.json", "arrays", "manifest.json")},
        **{f"run: pipe as {part}": fifo(part) for part in ("result.json", "manifest.json")},
        **{f"run: lists {name}": lists(name) for name in ("../home/thesis.tex", "/etc/passwd", "figures/../../home/thesis.tex", "notes.txt", "arrays\\x")},
        **{f"run: {part} leads away": writes_through(part) for part in ("figures", "arrays")},
        **{f"run: {part} leads away": unfinished(part) for part in (".landscape-kept", ".landscape-run", ".landscape-x")},
        "run: pickled state": pickled_state,
        "run: class of another module": edited('"type": "surface"', '"type": "os.system"'),
        "run: schema of text": edited('"schema": 3', '"schema": "3"'),
        "run: arrays outside": edited('"arrays": "arrays/', '"arrays": "../arrays/'),
        "run: no fields": edited('"type": "surface"', '"type": "estimate"'),
        "run: negative name": edited('"name": "', '"name": -1, "x": "'),
        **{f"run name: {kind}": names_of_runs(text) for kind, text in {**HOSTILE, "script": PAGE, "quote": "\"' onload=alert(1) x='", "mathematics": "$\\frac$"}.items()},
        "trajectory name: script": names_of_walks,
        "config: shell as model": config(shell),
        "config: shell as landscape": config('landscape = "os:system"\ndim = 2\n', "surface"),
        "config: file as data": config('data = "evil.py:fn"\n', "analyze", "net.py"),
        "config: module as loss": config('loss = "evil:fn"\n', "analyze", "net.py"),
        "config: module as metric": config('metric = ["evil:fn"]\n', "surface", "himmelblau", "--resolution", "3", "--out", "out"),
        "config: module as run": config('run = "evil:fn"\noptimizer = "sgd:lr=0.1"\n', "diagnose"),
        "config: module as family": config('family = "evil:fn"\ndims = "1"\n', "saddles", "count"),
        "config: out and force": config('out = "home"\nforce = true\nresolution = 3\n', "surface", "himmelblau"),
        **{f"config: {kind}": no_file(kind) for kind in ("pipe", "device")},
        **{f"folder of weights: {kind}": folder_of_weights(kind) for kind in ("pipe", "device", "deep")},
        **{f"table: {kind}": table(kind) for kind in ("pipe", "device", "deep")},
        "config: deep": config(f"a = {'[' * 5000}{']' * 5000}\n"),
        "config: hostile key": config(f'"{ESC.encode("unicode_escape").decode().replace("x1b", "u001b").replace("x07", "u0007")}" = 1\n'),
    }  # fmt: skip


def attempt(attack: Attack) -> str:
    """One attack in a folder of its own, beside files of the user's."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            Path("home").mkdir()
            Path("home/thesis.tex").write_text("mine")
            Path("home/density.png").write_text("mine")
            Path("net.py").write_text(MODEL)
            Path("evil.py").write_text("import os\nos.system('touch OWNED')\ndef fn(*a): pass\n")
            attack()
            assert not Path("OWNED").exists(), "code of a stranger has run"
            home = {p.name: p.read_text() for p in Path("home").iterdir()}
            assert home == {"thesis.tex": "mine", "density.png": "mine"}, home
            return "nothing ran and nothing was reached"
        finally:
            os.chdir(here)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path)
    torch.set_num_threads(1)
    log = Log(parser.parse_args().log)
    for kind, attack in attacks().items():
        log.run(kind, partial(attempt, attack))
    log.end()
