"""Run a function on several processes that torch.distributed joins, as torchrun would."""

import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from landscape.ranks import joined

FORK = get_context("fork")  # what torch takes seconds to import is there already


def start(count: int, folder: Path, case: Callable[..., Any], *given: object) -> list[BaseProcess]:
    """The processes that run ``case(*given)``; each leaves what it returns, or raises, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    processes: list[BaseProcess] = [
        FORK.Process(target=_rank, args=(rank, count, port, folder, case, given))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    return processes


def run(count: int, folder: Path, case: Callable[..., Any], *given: object) -> list[Any]:
    """What ``case(*given)`` returns on each of ``count`` ranks."""
    processes = start(count, folder, case, *given)
    wait(processes, 300)
    told = [path.read_text() for path in folder.glob("*.error")]
    assert all(process.exitcode == 0 for process in processes), "\n".join(told)
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(count)]


def wait(processes: list[BaseProcess], seconds: float) -> float:
    """How long it took until all have ended; those that have not by then are killed."""
    begun = time.monotonic()
    for process in processes:
        process.join(max(0.0, begun + seconds - time.monotonic()))
    for process in processes:
        process.kill()
    return time.monotonic() - begun


def _rank(
    rank: int, count: int, port: int, folder: Path, case: Callable[..., Any], given: Any
) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in place.items()}, MASTER_ADDR="127.0.0.1")
    status = 1
    try:
        joined()
        (folder / str(rank)).write_bytes(pickle.dumps(case(*given)))
        status = 0
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
    finally:
        sys.stdout.flush()
        os._exit(status)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
