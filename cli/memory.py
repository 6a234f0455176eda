"""What memory is free, and what a command needs: more is refused before it is taken."""

import contextlib
import math
from pathlib import Path

from .errors import OneLine

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
STATM = Path("/proc/self/statm")
PAGE = 4096


def free() -> float:
    """Bytes that this process may still take; infinite where the system does not say."""
    return max(0.0, min(_of_the_machine(), _of_the_group(), _of_the_process()))


def require(needed: float, what: str, remedy: str) -> None:
    """Refuse what needs more bytes than are free.

    Args:
        what: what needs them, as the subject of a sentence.
        remedy: the options that make it smaller.
    """
    there = free()
    if needed > there:
        raise OneLine(
            f"{what} needs about {_size(needed)} of memory, and {_size(there)} are free: pass "
            f"{remedy}.",
            2,
        )


def _size(count: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 2**20:,.0f} MiB"


def _of_the_machine() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return math.inf


def _of_the_group() -> float:
    with contextlib.suppress(OSError, ValueError):
        most = (CGROUP / "memory.max").read_text().strip()
        if most != "max":
            return float(int(most) - int((CGROUP / "memory.current").read_text()))
    return math.inf


def _of_the_process() -> float:
    """What is left of the limit that ``ulimit -v`` sets."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            return float(most - PAGE * int(STATM.read_text().split()[0]))
    except (ImportError, OSError, ValueError):
        pass
    return math.inf
