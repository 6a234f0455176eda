"""The command's process keeps the memory that it frees."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
from landscape_cli.main import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import torch
def graphs():
    held = [torch.ones(2**19, device="cpu") for _ in range(40)]  # 2 MiB each, as activations are
graphs()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    graphs()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **environment: str) -> int:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env=clean | environment,
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="glibc's allocator only",
)
def test_freed_pages_are_not_mapped_anew() -> None:
    pages = 40 * 2**21 // 4096  # of one of the five rounds
    assert faults("kept") < pages / 2
    assert (
        faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 2 * pages
    )  # the user's own setting stays


LIMITED = """
import resource, sys
import torch
import landscape as ls
from landscape_cli.main import main

torch.set_num_threads(1)

def limit(more):
    taken = 4096 * int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))

def wide(x):  # 2,000 numbers a point
    return (x[..., :1] * torch.linspace(-1, 1, 2000, dtype=x.dtype)).square().sum(-1) / 2000 + x[..., 1]

f = ls.FunctionLandscape(wide, dim=2, name="wide")
x = torch.zeros(2, dtype=torch.float64)
u, v = torch.eye(2, dtype=torch.float64)

def surface():
    return ls.surface(f, x, (u, v), None, resolution=300).values  # 1.4 GB at once

whole = surface()
limit(400 * 2**20)
assert torch.equal(surface(), whole)
limit(60 * 2**20)
main(["surface", "net.py:wide", "--dim", "2", "--resolution", "300", "--quiet"], prog_name="landscape")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_memory_that_runs_out_is_asked_for_in_smaller_pieces(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LIMITED[LIMITED.index("def wide") : LIMITED.index("f = ls")])
    (tmp_path / "net.py").write_text("import torch\n" + (tmp_path / "net.py").read_text())
    freed = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back to the system
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=tmp_path,
        env=os.environ | freed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (2, 4), done.stderr
    assert done.stderr.startswith("Error: ")
    assert "memory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
