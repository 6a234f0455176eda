"""The command's process keeps the memory that it frees."""

import ctypes
import os
import subprocess
import sys

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
