"""A folder with a user's own files: a small tanh net that is fast to analyse, and everything that can be wrong with one."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import landscape_figures
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from landscape_cli.main import main

from landscape import loading, results
from landscape.inventory.census import Census
from landscape.points.classify import classify
from landscape.results import Estimate

NET = """
import sys

import landscape as ls
import torch
from torch import nn


def build(hidden=3, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, hidden, bias=bias), nn.Tanh(), nn.Linear(hidden, 2)).double()


def data(rows=24):
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def problem():
    x, y = data()
    return ls.ModelLandscape(build(), nn.functional.cross_entropy, [(x[:10], y[:10]), (x[10:], y[10:])])


# what can be wrong
a_number = 7
def empty(): return torch.zeros(0, 2).double(), torch.zeros(0).long()
def no_batches(): return []
def uneven(): return torch.zeros(5, 2).double(), torch.zeros(4).long()
def wide(): return torch.zeros(5, 9).double(), torch.zeros(5).long()
def far(): return data()[0], data()[1] + 5
def negative(): return data()[0], data()[1] - 3
def holes():
    x, y = data()
    x[3, 1] = float("nan")
    return x, y
def boom(): raise RuntimeError("no such luck\\nsecond line")
def leave(): sys.exit(0)
def needs_more(width): return build()
def frozen(): return build().requires_grad_(False)
def not_a_module(): return "a string"
def no_parameters(): return nn.Tanh()
def vector(output, target): return (output ** 2).sum(1)
def detached(output, target): return (output.detach() ** 2).mean()
def a_float(output, target): return 1.0
def loss_boom(output, target): raise KeyError("target")
def loss_exits(output, target): sys.exit("enough")
def text(output, target): return "low"
def endless(): raise RecursionError("maximum recursion depth exceeded")
def a_generator(): return (pair for pair in [data()])
def words(): return ["a", "b"]
def talkative():
    print("hello from the factory")
    return build()
def infinite(output, target): return (output ** 2).mean() / 0.0
def holed():
    model = build()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return model


class Exits(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2).double()

    def forward(self, x):
        sys.exit(0)


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2).double()

    def forward(self, x):
        return self.layer(x).sum(dim=7)


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2).double()

    def forward(self, x):
        raise ValueError("forward has failed")
"""

FORMULAS = """
import sys

import landscape as ls
import torch


def well(x, depth=1.0):  # minima 0 at (-1, 0) and (1, 0), a saddle of value depth at (0, 0)
    return depth * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2


def waves(x, twist=0.0):
    return torch.cos(x).sum(-1) + twist * torch.sin(x[..., 0])


def half(x):  # NaN where the first coordinate is negative, a minimum at (1, 0)
    return x[..., 0] - torch.log(x[..., 0]) + x[..., 1] ** 2


def talking(x):
    print("hello from the formula")
    return well(x)


def factory(depth=2.0):
    return ls.FunctionLandscape(lambda x: well(x, depth), dim=2, domain=ls.Box(-3, 3), name="made")


def by_dim(dim):
    return ls.FunctionLandscape(waves, dim=dim, domain=ls.Torus())


finished = factory(3.0)


# what can be wrong
a_number = 7
def single(x): return x[0] ** 2 + x[1] ** 2
def batch_only(x): return x[:, 0] ** 2 + x[:, 1] ** 2
def total(x): return (x ** 2).sum()
def column(x): return (x ** 2).sum(-1, keepdim=True)
def boom(x): raise KeyError("no such luck")
def leave(x): sys.exit(0)
def a_float(x): return 1.0
def by_numpy(x): return (x.numpy() ** 2).sum(-1)
def detached(x): return (x.detach() ** 2).sum(-1)
def single_precision(x): return (x.float() ** 2).sum(-1)
def dice(x): return (x ** 2).sum(-1) + torch.rand(())
def nowhere(x): return (x ** 2).sum(-1) / 0.0
def kinks(x): return x.abs().sum(-1)
def matrix(x): return x @ torch.eye(3, dtype=x.dtype)
def two(x, width): return width * (x ** 2).sum(-1)
def words(): return "a string"
def broken(): raise RuntimeError("factory out of order")


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x ** 2 * g


def once(x): return Once.apply(x).sum(-1)
"""


class Evil:
    """Unpickled, it would make the file ``owned``."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, and ``runs/earlier``, a finished run of the net."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "net.py").write_text(NET)
    (folder / "formulas.py").write_text(FORMULAS)
    (folder / "ground.py").write_text(
        "from formulas import finished\n\n\ndef problem():\n    return finished\n"
    )
    np.save(folder / "start.npy", np.array([0.9, 0.1]))
    np.save(folder / "long.npy", np.zeros(5))
    np.save(folder / "nan.npy", np.array([0.0, np.nan]))
    np.save(folder / "objects.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    (folder / "garbage.npy").write_bytes(b"not an array at all")
    (folder / "syntax.py").write_text("def problem(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "imports.py").write_text("import a_module_that_is_not_there\n")
    (folder / "nothing.py").write_text("x = 1\n")
    (folder / "odd.py").write_text("def problem():\n    return 5\n")
    weights: dict[str, Any] = {
        "0.weight": np.ones((3, 2)),
        "0.bias": np.ones(3),
        "2.weight": np.ones((2, 3)),
        "2.bias": np.ones(2),
    }
    np.savez(folder / "good.npz", **weights)
    renamed: dict[str, Any] = {"first.weight": np.ones((3, 2))}
    np.savez(folder / "keys.npz", **renamed)
    np.savez(folder / "shapes.npz", **(weights | {"0.weight": np.ones((5, 2))}))
    np.savez(folder / "nan.npz", **(weights | {"0.bias": np.array([0.0, np.nan, 0.0])}))
    np.savez(folder / "xy.npz", x=np.zeros((4, 2)), y=np.zeros(4, dtype=np.int64))
    np.savez(folder / "only_x.npz", x=np.zeros((4, 2)))
    np.savez(folder / "objects.npz", x=np.array([Evil()], dtype=object), allow_pickle=True)
    torch.save(
        {"state": {k: torch.from_numpy(v) for k, v in weights.items()}}, folder / "nested.pt"
    )
    torch.save({"model": Evil()}, folder / "evil.pt")
    (folder / "raw.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "garbage.pt").write_bytes(b"not a checkpoint at all")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "broken.safetensors").write_bytes(b"\xff" * 40)
    (folder / "empty.csv").write_text("a,b,c\n")
    (folder / "words.csv").write_text("a,b,c\n1,2,0\n1,two,1\n")
    for name, text in {
        "unknown": "largset = 3\n", "syntax": "largest = = 3\n", "type": 'largest = "many"\n', "range": "probes = 1\n",
        "table": "[seed]\na = 1\n", "bool": "batch-size = true\n", "choice": 'dtype = "float8"\n', "expect": 'expect = "hill"\n',
    }.items():  # fmt: skip
        (folder / f"{name}.toml").write_text(text)
    (folder / "occupied").mkdir()
    (folder / "occupied" / "thesis.txt").write_text("years of work")
    (folder / "corrupt").mkdir()
    (folder / "corrupt" / "result.json").write_text('{"schema": 1, "result": {"type": "Analys')
    (folder / "newer").mkdir()
    (folder / "newer" / "result.json").write_text('{"schema": 99, "result": {}}')
    (folder / "strange").mkdir()
    (folder / "strange" / "result.json").write_text(
        '{"schema": 1, "arrays": "arrays/none.npz", "result": {"type": "Exploit", "fields": {}}}'
    )
    (folder / "a_file").write_text("in the way")
    (folder / "dangling").symlink_to("nowhere_at_all")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run = CliRunner().invoke(
            main, ["analyze", "net.py", "--out", "runs/earlier", "--no-layers"]
        )
        assert run.exit_code == 0, run.output
        shutil.copytree("runs/earlier", "damaged")
        for array in (folder / "damaged" / "arrays").iterdir():
            array.unlink()
        _census().save("runs/census")
    finally:
        os.chdir(before)
    return folder


def _census() -> Census:
    """A census of the well as 50 searches would store it: point 2 is the saddle."""
    options = loading.LandscapeOptions("formulas.py:well", dim=2, domain="box:-3,3")
    problem = loading.landscape(options)
    config = {
        "landscape": options.model,
        "dim": 2,
        "domain": "box:-3,3",
        "seed": 0,
        "starts": 50,
        "tolerance": 1e-6,
    }
    points = [
        classify(problem.landscape, torch.tensor(x, dtype=torch.float64))
        for x in ([-1.0, 0.0], [1.0, 0.0], [0.0, 0.0])
    ]
    with results.origin("well", config, model_hash=problem.fingerprint):
        origin = results.provenance(problem.landscape, points[0].x)
    return Census(
        2, points, [], 50, {}, 1, 1, "it grows outwards", Estimate(0.0, 0.0, 0.0, 0.0), 1e-6, ["as written"], 0, 1,
        provenance=origin,
    )  # fmt: skip


@pytest.fixture
def here(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of the workshop, as the current folder, with no LANDSCAPE_* variable set."""
    for name in [n for n in os.environ if n.startswith("LANDSCAPE_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "here"
    shutil.copytree(workshop, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command line in this process; a traceback is raised and not swallowed."""

    def invoke(*arguments: object, env: dict[str, str] | None = None) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no figures: they take longer than the analysis of a small net."""
    monkeypatch.setattr(landscape_figures, "RECIPES", {})


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (
            p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts
        )
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    return read
