"""What eigenpairs of large networks take in time and memory: its parts are measured here, and a model of them foretells the whole.

    python tests/benchmarks/scale.py [--ranks 2 3 4] [--rounds 3] [--json FILE]    # parts, and foretold beside measured
    python tests/benchmarks/scale.py --sharded [--ranks 2 3] [--rounds 2] [--json FILE] # the same with weights in parts
    python tests/benchmarks/scale.py --foretell [--tokens 65536] [--json FILE]     # from the parts in the file: n = 1e8 to 1e9

Seconds are those of the processor, of the slowest rank, one thread each; every rank is a process, gloo exchanges. A search has three
parts:

products   what they count in operations (torch's own counter) on a rank's share of the batches, at the rate of as many processes
basis      4 (narrow: 3) readings of the rows there are in each step, by coordinates over the ranks, and what a step does beside
exchange   a vector gathered before a product and one scattered after it, n numbers each, by all ranks; sums of few numbers. With weights
           in parts: each number of a weight that is gathered or scattered, and what is beside it, as often as they are counted

Rates are measured on as many processes at once as there are ranks, by turns with the searches that confirm them: on a GPT of half the
layers, on bases of other sizes, on vectors of another length. Every round is written down as it ends; more are added by a later call.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import workloads
from eigenpairs import environment
from torch.utils.flop_counter import FlopCounterMode

import landscape as ls
from landscape.linalg.reductions import combine, norm, projected
from landscape.linalg.rows import Rows
from landscape.ranks import Ranks, Spread, joined

sys.path.insert(0, str(Path(__file__).parents[1] / "ranks"))
import together

WIDTH, CONTEXT, BATCHES, VOCABULARY = 256, 16, 12, 512
LAYERS = 4
WHOLE = 10  # pairs
STEPS, SHORT = 24, 12
DTYPES = {"float32": torch.float32, "float16": torch.float16}


def gpt(layers: int, batches: int = BATCHES) -> ls.ModelLandscape:
    torch.manual_seed(0)
    model = workloads.GPT(VOCABULARY, WIDTH, layers, CONTEXT)
    tokens = torch.randint(VOCABULARY, (batches, 1, CONTEXT + 1))
    data = [(part[:, :-1], part[:, 1:]) for part in tokens]
    return ls.ModelLandscape(model, workloads.cross_entropy, data)


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """The median of the processor's seconds that it takes."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return median(taken)


def operations(H: ls.Hessian, v: torch.Tensor) -> float:
    """Multiplications and additions of a product, its graphs kept."""
    H @ v
    with FlopCounterMode(display=False) as counter:
        H @ v
    return float(counter.get_total_flops())


# ---- the parts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """Seconds of the processor, on each of so many processes at once."""

    product: float  # an operation
    reference: float  # of a product in float64, per operation of another product
    reading: dict[str, float]  # per number of a basis, of all readings of a step
    vector: dict[str, float]  # per number of a vector: what a step does beside
    turning: dict[str, float]  # per number of a basis that is combined into the pairs
    exchange: float  # per number of a vector, gathered once and scattered once
    waiting: float  # a sum of few numbers over the ranks


def product_parts() -> tuple[float, float]:
    f = gpt(2, 4)
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(2))
    H = ls.Hessian(f, method="retained")
    count = operations(H, v)
    return seconds(lambda: H @ v, 9) / count, seconds(lambda: H.reference(v), 3) / count


def basis(m: int, n: int, storage: str) -> torch.Tensor | Rows:
    Q = torch.randn(m, n) / n**0.5
    if storage == "float32":
        return Q
    rows = Rows.empty(m, 0, Q[:0], DTYPES[storage], n)
    for i in range(m):
        rows[i] = Q[i]
    return rows


def basis_parts(storage: str, n: int = 600_000) -> dict[str, float]:
    """From 8 and 24 rows, a straight line."""
    w = torch.randn(n)
    few, many = (basis(m, n, storage) for m in (8, 24))

    def step(Q: torch.Tensor | Rows) -> None:
        _, _, rest = projected(w, Q)
        rest /= norm(rest).float()
        Q[7] = rest
        if storage != "float32":
            norm(rest.sub_(Q[7]))

    low, high = seconds(lambda: step(few)), seconds(lambda: step(many))
    reading = (high - low) / (16 * n)
    S = torch.linalg.qr(torch.randn(24, WHOLE, dtype=torch.float64))[0]
    return {
        "reading": reading,
        "vector": max(0.0, low / n - 8 * reading),
        "turning": seconds(lambda: combine(S, many), 3) / (24 * n),
    }


def exchanged(lie: Spread, v: torch.Tensor) -> torch.Tensor:
    return lie.summed(lie.whole(v))


def parts_here(n: int = 2_000_000) -> Parts:
    """On each of the ranks that run at once."""
    ranks = joined()
    lie = Spread([n], ranks)
    product, reference = product_parts()
    bases = {storage: basis_parts(storage) for storage in DTYPES}
    reading, vector, turning = (
        {storage: found[key] for storage, found in bases.items()}
        for key in ("reading", "vector", "turning")
    )
    v, few = torch.randn(lie.local), torch.zeros(16, dtype=torch.float64)
    exchanged(lie, v)  # connections are made
    exchange = seconds(partial(exchanged, lie, v), 9) / n
    waiting = seconds(lambda: [ranks.total(few) for _ in range(50)]) / 50
    return Parts(product, reference, reading, vector, turning, exchange, waiting)


def measured_parts(count: int) -> Parts:
    with tempfile.TemporaryDirectory() as folder:
        found = together.run(count, Path(folder), parts_here)
    return merged(found)


def merged(found: list[Parts]) -> Parts:
    """The median of each number."""
    chosen: dict[str, Any] = {}
    for key, value in asdict(found[0]).items():
        if isinstance(value, dict):
            chosen[key] = {s: median([getattr(one, key)[s] for one in found]) for s in value}
        else:
            chosen[key] = median([getattr(one, key) for one in found])
    return Parts(**chosen)


# ---- the model -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """A search: pairs by so many steps."""

    n: int
    operations: float  # of a product
    steps: int
    share: float  # of the batches, on the slowest rank
    ranks: int
    storage: str

    @property
    def products(self) -> int:
        """Those in float64 apart, of which there is one."""
        return self.steps + (WHOLE if self.storage == "float16" else 0)


def foretold(work: Work, parts: Parts) -> dict[str, float]:
    rows, sums = work.steps * (work.steps + 1) / 2, 3 + (work.storage == "float16")
    beside = parts.vector[work.storage] + parts.turning[work.storage]
    per_product = work.products * parts.product + parts.reference
    between = (work.products + 2) * work.n * parts.exchange + work.steps * sums * parts.waiting
    return {
        "products": work.share * work.operations * per_product,
        "basis": work.n / work.ranks * (rows * parts.reading[work.storage] + work.steps * beside),
        "exchange": between if work.ranks > 1 else 0.0,
    }


def basis_bytes(n: int, ranks: int, rows: int, storage: str) -> float:
    """A rank's part of a basis, the pairs whole."""
    size = DTYPES[storage].itemsize
    return n / ranks * (size * (rows + 1) + (4 - size) * WHOLE)


# ---- what confirms it ----------------------------------------------------------------------------------------------------


def searched(storage: str, layers: int) -> dict[str, float]:
    """On each rank: seconds and products of a search whose steps are given, and how its memory grew."""
    f = ls.over_ranks(gpt(layers))
    H = ls.Hessian(f, method="retained")
    H @ torch.ones(f.dim)  # graphs are built
    tol = 1e-9 if storage == "float32" else 5e-4
    final = 1 if storage == "float32" else WHOLE + 1
    most = STEPS + WHOLE + 1
    begun, wall = time.process_time(), time.perf_counter()
    pairs = ls.eigsh(
        H, WHOLE, tol=tol, probes=0, storage=storage, max_products=most, max_basis=STEPS + 1
    )
    return {
        "seconds": time.process_time() - begun,
        "wall": time.perf_counter() - wall,
        "steps": pairs.products - final,
        "share": len(f._dealt()) / BATCHES,
    }


def confirmed(count: int, parts: Parts) -> list[dict[str, Any]]:
    f, rows = gpt(LAYERS), []
    other = operations(ls.Hessian(f, method="retained"), torch.randn(f.dim))
    for storage in DTYPES:
        with tempfile.TemporaryDirectory() as folder:
            found = together.run(count, Path(folder), searched, storage, LAYERS)
        taken, share = (max(one[key] for one in found) for key in ("seconds", "share"))
        work = Work(f.dim, other, int(found[0]["steps"]), share, count, storage)
        said = foretold(work, parts)
        row = {"n": f.dim, "ranks": count, "storage": storage, "steps": work.steps, "share": share}
        rows.append(row | {"foretold_s": rounded(said), "measured_s": round(taken, 2)})
    return rows


def rounded(said: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.4g}") for key, value in said.items()}


def summary(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the rounds, foretold beside measured."""
    found, rows = [row for one in rounds for row in one["searches"]], []
    for count, storage in sorted({(row["ranks"], row["storage"]) for row in found}):
        same = [row for row in found if (row["ranks"], row["storage"]) == (count, storage)]
        parts = {key: median([row["foretold_s"][key] for row in same]) for key in same[0]["foretold_s"]}  # fmt: skip
        ratios = [row["measured_s"] / sum(row["foretold_s"].values()) for row in same]
        told, measured = sum(parts.values()), median([row["measured_s"] for row in same])
        rows.append({
            "ranks": count, "storage": storage, "rounds": len(same), "foretold_parts_s": rounded(parts),
            "foretold_s": round(told, 2), "measured_s": round(measured, 2), "ratio": round(median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
        })  # fmt: skip
        print(f"{count} ranks, {storage}: foretold {told:.2f} s, measured {measured:.2f} s, ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    return rows


# ---- weights in parts ----------------------------------------------------------------------------------------------------


def sharded_product(layers: int, batches: int) -> dict[str, float]:
    """On each rank: seconds of a product, its operations, and the numbers that are gathered and scattered."""
    f = ls.over_ranks(gpt(layers, batches), shard=True)
    H, v = ls.Hessian(f, method="retained"), torch.ones(f.spread.local)
    H @ v
    taken = seconds(lambda: H @ v, 11)
    with Counted() as numbers:
        count = operations(H, v)  # of the second of two products
    return {"seconds": taken, "operations": count, "numbers": numbers.count / 2}


class Counted:
    """How many numbers ranks gather and scatter inside."""

    NAMES = ("gather", "scatter")

    def __enter__(self) -> "Counted":
        self.count, self.own = 0, [getattr(Ranks, name) for name in self.NAMES]
        for name, method in zip(self.NAMES, self.own, strict=True):
            setattr(Ranks, name, self.watched(method))
        return self

    def watched(self, method: Callable[[Ranks, torch.Tensor], torch.Tensor]) -> Callable[[Ranks, torch.Tensor], torch.Tensor]:  # fmt: skip
        def exchanged(ranks: Ranks, t: torch.Tensor) -> torch.Tensor:
            found = method(ranks, t)
            self.count += max(t.numel(), found.numel())
            return found

        return exchanged

    def __exit__(self, *_: object) -> None:
        for name, method in zip(self.NAMES, self.own, strict=True):
            setattr(Ranks, name, method)


def sharded_search(layers: int) -> dict[str, float]:
    f = ls.over_ranks(gpt(layers), shard=True)
    H = ls.Hessian(f, method="retained")
    H @ torch.ones(f.spread.local)
    begun, few = time.process_time(), 3
    pairs = ls.eigsh(H, few, tol=1e-9, probes=0, max_products=SHORT, max_basis=SHORT)
    return {"seconds": time.process_time() - begun, "products": pairs.products, "n": f.dim, "share": len(f._dealt()) / BATCHES}  # fmt: skip


def sharded_round(count: int, parts: Parts) -> dict[str, Any]:
    """A search with weights in parts, foretold from a product of half the layers and few batches, and measured."""

    def slowest(case: Callable[..., dict[str, float]], *given: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            return max(together.run(count, Path(folder), case, *given), key=lambda one: one["seconds"])  # fmt: skip

    small = slowest(sharded_product, 2, 2 * count)
    number = (small["seconds"] - parts.product * small["operations"]) / small["numbers"]
    large = slowest(sharded_product, LAYERS, BATCHES)
    found = slowest(sharded_search, LAYERS)
    n, products = int(found["n"]), int(found["products"])
    rows = products * (products - 1) / 2
    basis = rows * parts.reading["float32"] + products * (parts.vector["float32"] + parts.turning["float32"])  # fmt: skip
    said = {
        "products": products * parts.product * large["operations"],
        "basis": basis * n / count,
        "exchange": products * (large["numbers"] * number + 3 * parts.waiting),
    }
    return {
        "n": n, "ranks": count, "products": products, "second_a_number": number,
        "numbers_a_weight_and_batch": large["numbers"] / n / (found["share"] * BATCHES),
        "operations_of_a_product": large["operations"], "foretold_s": rounded(said), "measured_s": round(found["seconds"], 2),
        "ratio": round(found["seconds"] / sum(said.values()), 3),
    }  # fmt: skip


# ---- n = 1e8 to 1e9 ------------------------------------------------------------------------------------------------------


def foretell(kept: dict[str, Any], tokens: int) -> list[dict[str, Any]]:
    """Ten pairs in 40 steps of a network whose weights are nearly all in matrices; a rank's data are one batch."""
    rounds = kept["rounds"]
    most, rows = max(one["ranks"] for one in rounds), []
    second, often = (median([one[key] for one in kept["sharded"]]) for key in ("second_a_number", "numbers_a_weight_and_batch"))  # fmt: skip
    parts = merged([Parts(**one["parts"]) for one in rounds if one["ranks"] == most])
    f = gpt(LAYERS)
    weights = f.dim - (VOCABULARY + CONTEXT) * WIDTH  # tables are looked up
    each = operations(ls.Hessian(f, method="retained"), torch.randn(f.dim)) / weights / BATCHES / CONTEXT  # fmt: skip
    for n in (10**8, 3 * 10**8, 10**9):
        for count in (1, 8, 64):
            # what arrives at a rank, (count - 1) / count of a vector, costs what it costs here
            arrives = parts.exchange * most / (most - 1) * (count - 1) / count
            for storage in DTYPES:
                work = Work(n, each * n * tokens, 40, 1 / count, count, storage)
                said = foretold(work, replace(parts, exchange=arrives))
                said["exchange_in_parts"] = work.products * often * n * second if count > 1 else 0.0
                memory = basis_bytes(n, count, 60, storage) / 1e9
                rows.append({
                    "n": n, "ranks": count, "storage": storage, "tokens": tokens, "steps": 40, "foretold_s": rounded(said),
                    "basis_GB": round(memory, 2), "weights_GB": 4 * n / 1e9, "sharded_weights_GB": round(4 * n / count / 1e9, 3),
                })  # fmt: skip
                print(f"n = {n:.0e}, {count} ranks, {storage}: products {said['products']:.3g} s, basis {said['basis']:.3g} s, exchange {said['exchange']:.3g} s, with weights in parts {said['exchange_in_parts']:.3g} s; a rank's basis of 60 {memory:.3g} GB")  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--ranks", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--foretell", action="store_true")
    parser.add_argument("--sharded", action="store_true")
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results/scale.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept: dict[str, Any] = {"rounds": []}
    if options.json.exists():
        kept = json.loads(options.json.read_text())
    kept["environment"] = environment() | {"cores": os.cpu_count()}
    if options.foretell:
        kept["large"] = foretell(kept, options.tokens)
    elif options.sharded:
        for _ in range(options.rounds):
            for count in options.ranks:
                parts = merged([Parts(**one["parts"]) for one in kept["rounds"] if one["ranks"] == count])  # fmt: skip
                kept.setdefault("sharded", []).append(sharded_round(count, parts))
                print(kept["sharded"][-1], flush=True)
                options.json.write_text(json.dumps(kept, indent=1) + "\n")
    else:
        for _ in range(options.rounds):
            for count in options.ranks:
                parts = measured_parts(count)
                kept["rounds"].append({"ranks": count, "parts": asdict(parts), "searches": confirmed(count, parts)})  # fmt: skip
                options.json.write_text(json.dumps(kept, indent=1) + "\n")
        kept["summary"] = summary(kept["rounds"])
    options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
