"""How wide intervals were and are, of the same samples: the second table of docs/intervals.md.

    git worktree add ../older 4394ac0
    python tests/widths_table.py ../older --write

draws the problems of ``coverage_table``, keeps what each estimator is given, and gives it to the
estimators of the older checkout, in a process of its own. ``--only NAME`` measures the rows of one
interval; with ``--write`` the others of the page stay. The names of the older estimators are those
of version 4394ac0. A cell is the median width over the older one, and the last column how many of
the older intervals held the truth where a cell is over 1.5.
"""

import argparse
import importlib
import math
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BEGIN, END = "<!-- widths -->\n", "<!-- end of widths -->"
SAMPLES = (2, 3, 5, 10, 30, 200)
NAMES = (
    *("sampling errors", "median of runs", "rate", "mean of counts", "share"),
    *("moments of the spectrum", "counts of eigenvalues", "trace", "correlation", "slope"),
    *("mean over seeds", "trials beside the control"),
)
# The estimators whose arguments are kept, by where the draws look for them.
STATISTICS = (
    *("kaplan_meier_median", "exponential_rate", "count_mean", "share", "sampling_spread"),
    *("correlation", "slope"),
)
MODELS = ("skewed_mean", "mean", "at_once")
LONG = 1.5

Ends = tuple[float, float]
Given = tuple[str, tuple[Any, ...]]


# ---- today ---------------------------------------------------------------------------------------


class Recorder:
    """Keeps what estimators are given, as arrays and numbers that any version reads."""

    def __init__(self) -> None:
        import coverage_models

        import landscape
        from landscape.results import statistics

        self.calls: list[Given] = []
        for name in STATISTICS:
            self._watch(statistics, name)
        for name in MODELS:
            self._watch(coverage_models, name)
        for name in ("spectral_density", "trace"):
            self._watch(landscape, name)

    def _watch(self, place: Any, name: str) -> None:
        inner = getattr(place, name)

        def watched(*given: Any, **options: Any) -> Any:
            found = inner(*given, **options)
            seen = (*given, *options.values())
            self.calls.append((name, tuple(map(_array, seen))))
            if name == "at_once":
                # of trials the upper ends are compared, of those that are no control
                self.calls.append(("ends", tuple(one.high - one.value for one in found[1:])))
            return found

        setattr(place, name, watched)


def _array(given: Any) -> Any:
    if hasattr(given, "numpy"):
        return given.numpy()
    return given if isinstance(given, (int, float, str, np.ndarray)) else None


def drawn(names: tuple[str, ...], repeats: int) -> Iterator[tuple[str, str, int, list[Any]]]:
    """Of each cell the draws: what was given, and the ends and the truth."""
    import coverage_table

    recorder = Recorder()
    for name in names:
        for problem, draw in coverage_table.CASES[name].items():
            for count in SAMPLES:
                cell = []
                for seed in np.random.SeedSequence(count).spawn(repeats):
                    recorder.calls = []
                    coverage_table._density.cache_clear()
                    found = draw(count, np.random.default_rng(seed))
                    if found is not None:
                        cell.append((recorder.calls, found))
                yield name, problem, count, cell


# ---- the older checkout --------------------------------------------------------------------------


def answers(cells: list[Any]) -> list[list[Ends]]:
    """The ends that the older estimators give, draw by draw."""
    return [[_older(name, *draw) for draw in cell] for name, _, _, cell in cells]


def _older(name: str, calls: list[Given], found: tuple[float, float, float]) -> Ends:
    import torch

    # of the older checkout, whose modules have other names
    probes, studies, survival, networks, shares = map(
        importlib.import_module,
        (
            *("landscape.dynamics.probes", "landscape.dynamics.studies"),
            *("landscape.dynamics.survival", "landscape.stationary.networks"),
            "landscape.stationary.shares",
        ),
    )
    density_of = importlib.import_module("landscape.linalg.quadrature").spectral_density
    trace_of = importlib.import_module("landscape.linalg.trace").trace

    told, given = calls[0]
    if name == "trials beside the control":
        highs = [probes._estimate(list(a)) for kind, (a, *_) in calls[1:] if kind == "mean"]
        return 0.0, float(np.median([one.high - one.value for one in highs]))
    simple: dict[str, Callable[..., Any]] = {
        "kaplan_meier_median": survival.kaplan_meier_median,
        "exponential_rate": survival.exponential_rate,
        "count_mean": lambda a, *_: shares.mean(torch.from_numpy(a)),
        "share": lambda a, b: shares.share(torch.from_numpy(a), torch.from_numpy(b)),
        "correlation": lambda x, y, runs: networks._correlation(x, y, runs, 0),
        "slope": studies.slope,
        "skewed_mean": lambda a: probes._estimate(list(a)),
        "trace": lambda H, probes, seed: trace_of(torch.from_numpy(H), probes=probes, seed=seed),
    }
    if told == "sampling_spread":
        return _sampling(given[0], given[1], 0.5 * (found[0] + found[1]))
    if told == "spectral_density":
        H, count, steps, seed = given
        density = density_of(torch.from_numpy(H), count, steps, seed)
        moment = name == "moments of the spectrum"
        one = density.moment(1) if moment else density.count(0.5, math.inf)
    else:
        one = simple[told](*given)
    return float(one.low), float(one.high)


def _sampling(forms: np.ndarray, shares: np.ndarray, value: float) -> Ends:
    import torch

    analysis = importlib.import_module("landscape.analysis")

    class Told:
        """What a Hessian says of its batches, and as many values."""

        values = np.zeros(forms.shape[-1])
        vectors = None

        def quadratic_forms(self, _: object) -> Any:
            return torch.from_numpy(forms.reshape(len(forms), -1)), torch.from_numpy(shares)

    told: Any = Told()
    errors = analysis.sampling_errors(told, told).numpy()
    sums = forms.reshape(len(forms), -1).sum(0)
    reach = 1.96 * float(errors[np.abs(sums - value).argmin()])
    return value - reach, value + reach


# ---- both ----------------------------------------------------------------------------------------


def _width(name: str, calls: list[Given], found: tuple[float, float, float]) -> float:
    if name == "trials beside the control":
        return float(np.median(next(ends for kind, ends in calls if kind == "ends")))
    return found[1] - found[0]


def _cell(now: np.ndarray, before: np.ndarray) -> str:
    """The ratio of medians; 1 where both are nothing or open."""
    new, old = float(np.median(now)), float(np.median(before))
    if new == old or (new <= 1e-6 and old <= 1e-6):
        return "1"
    if math.isinf(new):
        return "∞"
    return "0" if old == 0 else f"{new / old:.2f}"


def rows(cells: list[Any], older: list[list[Ends]]) -> dict[tuple[str, str], str]:
    """The lines of the table by interval and problem."""
    parts: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for (name, problem, count, cell), before in zip(cells, older, strict=True):
        line, held = parts.setdefault((name, problem), ([], []))
        if not cell:
            line.append("-")
            continue
        now = np.array([_width(name, *draw) for draw in cell])
        ends = np.array(before, dtype=float)
        line.append(_cell(now, ends[:, 1] - ends[:, 0]))
        truths = np.array([found[2] for _, found in cell])
        share = ((ends[:, 0] <= truths) & (truths <= ends[:, 1])).mean()
        wide = line[-1] in ("0", "∞") or (line[-1] != "1" and float(line[-1]) > LONG)
        if wide and name != "trials beside the control":
            held.append(f"{100 * share:.0f} of {count}")
    return {
        key: f"| {key[0]} | {key[1]} | {' | '.join(line)} | {', '.join(held)} |\n"
        for key, (line, held) in parts.items()
    }


def _asked(older: Path, cells: list[Any]) -> list[list[Ends]]:
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder) / "given", Path(folder) / "told"
        given.write_bytes(pickle.dumps(cells))
        environment = {**os.environ, "PYTHONPATH": str(older.resolve())}
        command = [sys.executable, __file__, "--answer", str(given), str(told)]
        subprocess.run(command, check=True, env=environment, cwd=older)
        answer: list[list[Ends]] = pickle.loads(told.read_bytes())
    return answer


def main() -> None:
    if sys.argv[1:2] == ["--answer"]:
        given, told = map(Path, sys.argv[2:])
        told.write_bytes(pickle.dumps(answers(pickle.loads(given.read_bytes()))))
        return
    import coverage_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("older", type=Path, help="a checkout of version 4394ac0")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--only", choices=NAMES, action="append")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/intervals.md")
    options = parser.parse_args()
    found: dict[tuple[str, str], str] = {}
    for name in options.only or NAMES:
        cells = list(drawn((name,), options.repeats))
        made = rows(cells, _asked(options.older, cells))
        print("".join(made.values()), end="", flush=True)
        found |= made
    if options.write:
        _write(coverage_table.PAGE, found, set(options.only or NAMES))


def _write(page: Path, found: dict[tuple[str, str], str], names: set[str]) -> None:
    """The rows in the place of those of the same intervals."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    lines = [line for line in table.splitlines(keepends=True) if line.startswith("|")]
    kept = [line for line in lines[2:] if line.split("|")[1].strip() not in names]
    body = "".join([*lines[:2], *found.values(), *kept])
    page.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
