"""The command `landscape`. Torch takes seconds to import: no module here does so before a command
runs.
"""

import ctypes
import os
import sys

import click

from .commands.analyze import analyze
from .commands.compare import compare
from .commands.diagnose import diagnose
from .commands.doctor import doctor
from .commands.escape import escape
from .commands.figures import figures
from .commands.inspect import inspect
from .commands.report import report
from .commands.saddles import saddles
from .commands.spectrum import spectrum
from .commands.surface import surface
from .commands.survive import survive
from .commands.zoo import zoo
from .errors import OneLineGroup

EPILOG = (
    "MODEL is a built-in name (`landscape zoo`), path/to/file.py:attr, or pkg.mod:attr: a torch "
    "Module, a class or a factory; a file.py alone may define problem(). Options come from the "
    "command line, else LANDSCAPE_* variables, else --config FILE. Exit status: 0 done, 1 --expect "
    "not met, 2 usage, 3 cannot be loaded, 4 numerical failure, 130 interrupted; 129 and 143 by "
    "SIGHUP and SIGTERM."
)


@click.group(
    cls=OneLineGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(
    package_name="torch-landscape", prog_name="landscape", message="%(prog)s %(version)s"
)
def main() -> None:
    """Tell where in its loss landscape a PyTorch model is, with error bars."""
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Have glibc keep what this process frees: the next product asks for as much again.

    Handed back and mapped anew each time, the pages of a convolutional net's graphs took a quarter
    of its products' time.
    """
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if sys.platform != "linux" or any(name in os.environ for name in names):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # <malloc.h>
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)  # the most it takes


COMMANDS = (analyze, spectrum, compare, survive, surface, saddles, escape, diagnose)
for command in (*COMMANDS, inspect, zoo, figures, report, doctor):
    main.add_command(command)

if __name__ == "__main__":
    main()
