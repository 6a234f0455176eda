"""How the time for eigenpairs grows with parameters, samples, pairs and ranks, this library beside its peers.

    pip install '.[examples]'       # and the peers as for eigenpairs.py
    python tests/benchmarks/curves.py [--rounds 3] --out tests/benchmarks/results/curves.json
    python tests/benchmarks/curves.py --draw docs/curves.svg        # of what is stored there

One workload is varied in one respect at a time: a tanh MLP 64-w-w-10 on scikit-learn's digits, trained a little, pairs with
residuals up to 1e-3 of the largest. Tools go by turns, seconds are those of the clock. Ranks are processes of one thread each on the
gpt workload, and their seconds those of the processor of the slowest, since there may be fewer cores than ranks.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import eigenpairs
import torch
import workloads
from matplotlib.figure import Figure
from torch import nn

import landscape as ls

sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))
import together

TOOLS = ("landscape", "bare", "arpack", "hessian-eigenthings")
WIDTH, SAMPLES, PAIRS = 256, 1797, 10
WIDTHS, SAMPLE_COUNTS = (32, 64, 128, 256, 512), (449, 898, 1797, 3594, 7188)
PAIR_COUNTS, RANK_COUNTS = (1, 5, 10, 20, 40), (1, 2, 3, 4)
STORED = Path(__file__).parent / "results" / "curves.json"
TITLES = {
    "parameters": "parameters", "samples": "samples", "pairs": "pairs", "ranks": "ranks (gpt)",
}  # fmt: skip
NAMES = {"bare": "bare Lanczos, no checks", "arpack": "SciPy's ARPACK"}


def digits_mlp(width: int, samples: int) -> workloads.Workload:
    """Beyond 1,797 samples the digits come again with a little noise."""
    _, loss, ((x, y),) = workloads.load("digits-mlp")
    torch.manual_seed(0)
    times = -(-samples // len(x))
    x, y = x.repeat(times, 1)[:samples], y.repeat(times)[:samples]
    x = x + 0.05 * torch.randn(x.shape) * (torch.arange(samples) >= SAMPLES)[:, None]
    layers = [nn.Linear(64, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    return workloads.Workload(model, loss, [(x, y)])


def cases() -> Iterator[tuple[str, int, workloads.Workload, int]]:
    """What is varied, its value, the workload and how many pairs of it."""
    for width in WIDTHS:
        work = digits_mlp(width, SAMPLES)
        yield "parameters", sum(p.numel() for p in work.model.parameters()), work, PAIRS
    for samples in SAMPLE_COUNTS:
        yield "samples", samples, digits_mlp(WIDTH, samples), PAIRS
    for pairs in PAIR_COUNTS:
        yield "pairs", pairs, digits_mlp(WIDTH, SAMPLES), pairs


def timed(work: workloads.Workload, pairs: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of each round, and products and the worst residual of the last, of each tool."""
    eigenpairs.K = pairs
    found: dict[str, dict[str, Any]] = {tool: {"seconds": []} for tool in TOOLS}
    for turn in range(rounds):
        for tool in TOOLS[turn % len(TOOLS) :] + TOOLS[: turn % len(TOOLS)]:
            numbers, (values, vectors, products) = eigenpairs.measured(tool, work)
            found[tool]["seconds"].append(numbers["clock"])
            residual = eigenpairs.worst_residual(work, values, vectors)
            found[tool] |= {"products": products, "worst_residual": float(f"{residual:.2g}")}
    return found


def on_a_rank() -> float:
    """Seconds of this rank's processor."""
    f = ls.over_ranks(ls.ModelLandscape(*workloads.load("gpt")))
    begun = time.process_time()
    ls.eigsh(ls.Hessian(f), largest=PAIRS, tol=eigenpairs.TOL, seed=0)
    return time.process_time() - begun


def over_ranks(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return round(max(together.run(count, Path(folder), on_a_rank)), 2)


def measured(rounds: int) -> Iterator[dict[str, Any]]:
    for respect, value, work, pairs in cases():
        yield {"respect": respect, "value": value, "tools": timed(work, pairs, rounds)}
    for count in RANK_COUNTS:
        seconds = [over_ranks(count) for _ in range(rounds)]
        yield {"respect": "ranks", "value": count, "tools": {"landscape": {"seconds": seconds}}}


def drawn(stored: dict[str, Any]) -> Figure:
    """Seconds against each of what is varied, both on log scales: medians, and bars for the rounds."""
    fig = Figure(figsize=(9, 2.7), layout="constrained")
    for ax, (respect, title) in zip(fig.subplots(1, 4), TITLES.items(), strict=True):
        rows = [row for row in stored["points"] if row["respect"] == respect]
        for tool in rows[0]["tools"]:
            seconds = [row["tools"][tool]["seconds"] for row in rows]
            middle = [median(s) for s in seconds]
            spread = [[m - min(s) for m, s in zip(middle, seconds, strict=True)], [max(s) - m for m, s in zip(middle, seconds, strict=True)]]  # fmt: skip
            ax.errorbar([row["value"] for row in rows], middle, yerr=spread, marker="o", markersize=3, linewidth=1, label=NAMES.get(tool, tool))  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel=title)
        values = [row["value"] for row in rows]
        ax.set_xticks(values, [f"{v / 1000:.0f}k" if v > 2500 else str(v) for v in values])
        low, high = ax.get_ylim()
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= t <= high]
        ax.set_yticks(ticks, map(str, ticks))
        ax.minorticks_off()
    fig.axes[0].set_ylabel("seconds")
    fig.axes[-1].set_ylabel("of a processor")
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return fig


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=STORED)
    parser.add_argument("--draw", type=Path, help="an SVG of what is stored; nothing is measured")
    arguments = parser.parse_args()
    if arguments.draw is not None:
        figure = drawn(json.loads(arguments.out.read_text()))
        figure.savefig(arguments.draw, metadata={"Date": None})
        sys.exit()
    stored: dict[str, Any] = {"environment": eigenpairs.environment(), "points": []}
    for point in measured(arguments.rounds):
        stored["points"].append(point)
        print(json.dumps(point), flush=True)
        arguments.out.write_text(json.dumps(stored, indent=1) + "\n")
