"""What an analysis foretells, what it says within a budget, and whether that held against the whole, as JSON lines.

    pip install '.[examples]'
    python tests/benchmarks/budget.py [--budget 60] [--clock cpu] [--kept DIR] [--out FILE] [g2p resnet18 digits-cnn rnet]

Per network: the forecast; the analysis within the budget; the whole, which goes on from there as ``--resume`` does. Layers are
left out. ``--clock cpu`` counts a processor's seconds in place of those of the wall, as on a machine that has nothing else to do.
With ``--budget 0`` the whole alone is made: products and seconds by stage. ``--kept`` keeps products, so that the same
command goes on where it was stopped.
"""

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import workloads
from eigenpairs import environment

import landscape as ls
from landscape.points import budget as budgets
from landscape.points.analyze import AnalysisReport
from landscape.results.journal import Journal, keeping

NAMES = ("digits-cnn", "rnet", "g2p", "resnet18")


def landscape(name: str) -> ls.ModelLandscape:
    if name in workloads.LARGE | workloads.BUILD:
        return ls.ModelLandscape(*workloads.load(name), name=name)
    found = ls.zoo.model(name)
    assert isinstance(found, ls.ModelLandscape)
    return found


def stages(found: AnalysisReport) -> dict[str, list[float]]:
    """Products and seconds of each."""
    return {stage.name: [stage.products, round(stage.seconds, 1)] for stage in found.stages}


def told(found: AnalysisReport) -> dict[str, object]:
    pairs, trace = found.point.pairs, found.trace
    return {
        "verdict": found.point.kind,
        "index_bounds": list(found.point.index_bounds),
        "pairs": len(pairs.values),
        "largest": [float(pairs.values[-1]), float(pairs.bounds[-1])],
        "smallest": [float(pairs.values[0]), float(pairs.bounds[0])],
        "trace": None if trace is None else [trace.value, trace.low, trace.high],
        "unfinished": list(found.unfinished),
        "products": found.products,
        "stages": stages(found),
    }


def held(early: AnalysisReport, whole: AnalysisReport) -> dict[str, bool]:
    """Whether what was said early is true beside what the whole found: every interval that reaches an end holds an eigenvalue."""
    a, b = early.point.pairs, whole.point.pairs
    (low, high), (least, most) = early.point.index_bounds, whole.point.index_bounds
    within = (a.values[:, None] - b.values).abs() <= a.residuals[:, None] + b.residuals
    inner = float(b.values[b.smallest - 1]), float(b.values[-b.largest])
    unknown = (a.values - a.residuals < inner[1]) & (a.values + a.residuals > inner[0])
    found = {
        "largest": bool(within[-1].any())
        and float(a.values[-1] - a.bounds[-1]) <= float(b.values[-1]),
        "pairs": bool((within.any(1) | unknown).all()),
        "index": low <= most and least <= high,
    }
    if early.trace is not None and whole.trace is not None:
        found["trace"] = early.trace.low <= whole.trace.high and whole.trace.low <= early.trace.high
    return found


def timed(
    f: ls.ModelLandscape, seconds: float | None, known: AnalysisReport | None
) -> tuple[AnalysisReport, dict[str, object]]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = ls.analyze(f, layers=False, budget=seconds, known=known)
    spent = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}  # fmt: skip
    return found, spent | told(found)


def rows(name: str, seconds: float, kept: Path, *, early_alone: bool) -> list[dict[str, object]]:
    f, lines = landscape(name), kept / "lines.json"
    if not seconds:
        return [{"name": name, "run": "whole"} | timed(f, None, None)[1]]
    if (kept / "early").exists():
        found, early = json.loads(lines.read_text()), ls.load(kept / "early")
        assert isinstance(early, AnalysisReport)
    else:
        foretold = ls.points.forecast(f, layers=False)
        parts = {s.name: [s.products, round(s.seconds, 1)] for s in foretold.stages}
        first = {"name": name, "run": "forecast", "seconds": round(foretold.seconds, 1)}
        early, spent = timed(f, seconds, None)
        found = [first | {"stages": parts}, {"name": name, "run": f"budget {seconds:g} s"} | spent]
        early.save(kept / "early")
        lines.write_text(json.dumps(found))
    if early_alone:
        return list(found)
    whole, spent = timed(f, None, early)
    last = {"name": name, "run": "resumed"} | spent | {"held": held(early, whole)}
    return [*found, last]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--budget", type=float, default=60)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--early", action="store_true", help="stop after the budget")
    parser.add_argument("--out", type=Path, help="a JSON file of all runs and their environment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.clock == "cpu":
        clock = SimpleNamespace(perf_counter=time.process_time)
        vars(budgets).update(time=clock)
    found: list[dict[str, object]] = []
    for name in arguments.names:
        with contextlib.ExitStack() as stack:
            kept = arguments.kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(keeping(Journal(kept / name, {}, resume=True)))
            new = rows(name, arguments.budget, kept / name, early_alone=arguments.early)
        found += new
        for row in new:
            print(json.dumps(row), flush=True)
        if arguments.out is not None:
            whole = {"environment": environment(), "clock": arguments.clock, "runs": found}
            arguments.out.write_text(json.dumps(whole, indent=1) + "\n")
