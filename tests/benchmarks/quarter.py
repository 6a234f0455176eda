"""What a diagnosis with trials takes beside the run that it judges.

    python tests/benchmarks/quarter.py [RUN ...]

Every stuck run of the zoo is traced at the defaults, with as many steps as it has, and four and
sixteen times as many; then ``diagnose(trace, f=, optimizer=)`` is timed. Its time should stay below
a quarter of the loop's, but for READING seconds: to read a trace and to plan trials takes as long
however short the run is. CPU seconds, the middle one of three diagnoses.
"""

import sys
import time
import warnings

import torch

import landscape as ls
from landscape.zoo import stuck

TIMES = (1, 4, 16)
READING = 0.06


def timed(name: str, times: int) -> tuple[float, float, str]:
    """Seconds of the loop and of a diagnosis, and what it tried."""
    scene = stuck.get(name).build(0, 0)
    with ls.Tracer(scene.optimizer, scene.f) as tracer:
        for _ in range(times):
            scene.train()
    loop, took = tracer.result.loop, []
    for _ in range(3):
        begun = time.process_time()
        found = ls.diagnose(tracer.result, f=scene.f, optimizer=scene.optimizer)
        took.append(time.process_time() - begun)
    assert loop is not None
    return loop.seconds, sorted(took)[1], found.untried or f"{len(found.probes)} trials"


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    over = 0
    for name in names or stuck.names():
        for times in TIMES:
            loop, took, tried = timed(name, times)
            over += took > max(0.25 * loop, READING)
            print(f"{name:24} {loop:7.2f} s {took:7.3f} s {took / loop:6.2f}  {tried[:60]}")
    print(f"{over} over a quarter and over {READING} s")
    sys.exit(over > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
