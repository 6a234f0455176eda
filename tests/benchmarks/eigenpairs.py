"""Top-10 Hessian eigenpairs: this library beside its peers, the same work in one process, as JSON.

    pip install '.[examples]'
    pip install --no-deps hessian-eigenthings==1.0.0a5 pyhessian==0.1      # the peers are optional
    pip install --no-deps curvlinops-for-pytorch==3.0.1 einops einconv backpack-for-pytorch unfoldNd
    python tests/benchmarks/eigenpairs.py [--rounds 3] [--out FILE] [digits-mlp resnet20 gpt]

Every tool is asked for residuals |Hv - lambda v| <= 1e-3 |lambda_max|. The clock stops when it says
that it has them. Residuals are then computed here from fresh products of one independent
implementation. ``bare`` is plain Lanczos on a retained graph, with no restart, bounds or
multiplicity: what is attainable. The order of the tools turns from round to round, and a ratio is
taken within a round, so that a drift of the machine touches both sides; its median and its range
over the rounds are told. Seconds are those of processors, and beside them those of the clock, which
is what is waited for where the machine does nothing else. Peak memory is Linux's, of one run beyond
what is held before it.
"""

import argparse
import ctypes
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import workloads
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

import landscape as ls

K, TOL = 10, 1e-3
Answer = tuple[Tensor, Tensor, int]  # values (k,), vectors (n, k), products


class Exact:
    """Hessian-vector products by double backward, the mean over batches of equal size; the graph kept or built anew each time."""

    def __init__(self, work: workloads.Workload, keep: bool = False) -> None:
        self.work, self.params, self.count = work, list(work.model.parameters()), 0
        self.n = sum(p.numel() for p in self.params)
        self.kept = [self.gradient(*b) for b in work.batches] if keep else None

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            self.work.loss(self.work.model(x), y), self.params, create_graph=True
        )

    def __call__(self, v: Tensor) -> Tensor:
        self.count += 1
        sizes = [p.numel() for p in self.params]
        parts = [part.view_as(p) for part, p in zip(v.split(sizes), self.params, strict=True)]
        total = torch.zeros(self.n)
        for g in self.kept or (self.gradient(*b) for b in self.work.batches):
            products = torch.autograd.grad(
                g, self.params, parts, retain_graph=self.kept is not None
            )
            total += torch.cat([p.flatten() for p in products])
        return total / len(self.work.batches)


def landscape(work: workloads.Workload) -> Answer:
    pairs = ls.eigsh(ls.Hessian(ls.ModelLandscape(*work)), largest=K, tol=TOL, seed=0)
    return pairs.values, pairs.vectors, pairs.products


def bare(work: workloads.Workload) -> Answer:
    product = Exact(work, keep=True)
    v = torch.randn(product.n, generator=torch.Generator().manual_seed(0))
    basis, T = [v / v.norm()], np.zeros((400, 400))
    for j in range(399):
        w = product(basis[j])
        Q = torch.stack(basis)
        T[j, j] = float(basis[j] @ w)
        for _ in range(2):
            w -= Q.T @ (Q @ w)
        beta = float(w.norm())
        basis.append(w / beta)
        if j >= 2 * K and j % 5 == 0:
            theta, S = np.linalg.eigh(T[: j + 1, : j + 1])
            if np.abs(beta * S[-1, -K:]).max() <= TOL * np.abs(theta).max():
                break
        T[j, j + 1] = T[j + 1, j] = beta
    return (
        torch.tensor(theta[-K:]),
        Q.T @ torch.tensor(S[:, -K:], dtype=torch.float32),
        product.count,
    )


def arpack(work: workloads.Workload) -> Answer:
    product = Exact(work)
    n = product.n
    A = LinearOperator(
        (n, n),
        dtype=np.float32,
        matvec=lambda v: product(torch.from_numpy(v.astype(np.float32).reshape(-1))).numpy(),
    )
    values, vectors = eigsh(
        A, K, which="LA", tol=TOL, v0=np.random.default_rng(0).standard_normal(n).astype(np.float32)
    )
    return torch.tensor(values), torch.tensor(vectors), product.count


def eigenthings(work: workloads.Workload) -> Answer:
    import hessian_eigenthings as he

    operator = he.HessianOperator(work.model, work.batches, he.supervised_loss(work.loss))
    spent, steps = 0, 2 * K
    while True:  # it has no restart: its user asks again with more steps
        found = he.lanczos(
            operator, k=K, max_iter=steps, tol=TOL, which="LA", seed=0, reorthogonalize=True
        )
        spent += found.iterations
        if bool((found.residuals <= TOL * found.eigenvalues.abs().max()).all()) or steps > 300:
            return found.eigenvalues, found.eigenvectors.T, spent
        steps = int(1.5 * steps)


def pyhessian(work: workloads.Workload) -> Answer:
    from pyhessian import hessian

    solver, count = hessian(work.model, work.loss, dataloader=work.batches, cuda=False), [0]
    inner = solver.dataloader_hv_product

    def counted(v: list[Tensor]) -> tuple[float, list[Tensor]]:
        count[0] += 1
        return inner(v)

    solver.dataloader_hv_product = counted
    values, vectors = solver.eigenvalues(maxIter=100, tol=TOL, top_n=K)
    return (
        torch.tensor(values),
        torch.stack([torch.cat([p.flatten() for p in v]) for v in vectors], 1),
        count[0],
    )


def curvlinops(work: workloads.Workload) -> Answer:
    """Its operator by SciPy's ARPACK, as its documentation has it."""
    from curvlinops import HessianLinearOperator

    params = [p for p in work.model.parameters() if p.requires_grad]
    flat = [(x, y.reshape(-1)) for x, y in work.batches]
    operator = HessianLinearOperator(work.model, torch.nn.CrossEntropyLoss(), params, flat)
    A, n = operator.to_scipy(dtype=np.float32), sum(p.numel() for p in params)
    count = [0]

    def counted(v: np.ndarray) -> np.ndarray:
        count[0] += 1
        found: np.ndarray = A.matvec(v.astype(np.float32).reshape(-1))
        return found

    start = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    B = LinearOperator((n, n), dtype=np.float32, matvec=counted)
    values, vectors = eigsh(B, K, which="LA", tol=TOL, v0=start)
    return torch.tensor(values), torch.tensor(vectors), count[0]


TOOLS: dict[str, Callable[[workloads.Workload], Answer]] = {
    "landscape": landscape, "bare": bare, "arpack": arpack, "hessian-eigenthings": eigenthings, "pyhessian": pyhessian,
    "curvlinops": curvlinops,
}  # fmt: skip
PACKAGES = (
    "torch", "numpy", "scipy", "hessian-eigenthings", "pyhessian", "curvlinops-for-pytorch",
)  # fmt: skip


def environment() -> dict[str, object]:
    """Where the numbers come from."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return {
        "processor": names[0] if names else platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "packages": versions,
    }


def held(key: str) -> float:
    """A line of this process's memory, MiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(key))


def measured(tool: str, work: workloads.Workload) -> tuple[dict[str, float], Answer]:
    """Seconds of processors and of the clock and the growth of the peak, MiB, of one run; its answer."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = held("VmRSS")
    start, clock = time.process_time(), time.perf_counter()
    answer = TOOLS[tool](work)
    row = {"seconds": round(time.process_time() - start, 3), "products": answer[2]}
    row["clock"] = round(time.perf_counter() - clock, 3)
    if sys.platform == "linux":
        row["peak_mib"] = round(held("VmHWM") - before, 1)
    return row, answer


def worst_residual(work: workloads.Workload, values: Tensor, vectors: Tensor) -> float:
    product = Exact(work)
    scale = float(values.abs().max())
    vectors = vectors.float().T
    return max(
        float((product(v) - float(w) * v).double().norm() / (scale * v.double().norm()))
        for w, v in zip(values, vectors, strict=True)
    )


def medians(actions: dict[str, Callable[[], object]], times: int = 11) -> dict[str, float]:
    """Median seconds of the clock of each action, by turns, so that a drift of the machine touches all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(times + 2):  # the first two warm up
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found[2:]) for name, found in seconds.items()}


def costs(work: workloads.Workload) -> dict[str, float]:
    """Median seconds of a plain gradient over the data and of one of our products."""
    params = list(work.model.parameters())
    f = ls.ModelLandscape(*work)
    v = torch.randn(f.dim)
    retained, rebuilt = (ls.Hessian(f, method=method) for method in ("retained", "rebuilt"))

    def gradient() -> None:
        for x, y in work.batches:
            torch.autograd.grad(work.loss(work.model(x), y), params)

    return medians(
        {"gradient": gradient, "retained": lambda: retained @ v, "rebuilt": lambda: rebuilt @ v}
    )


def ratios(rows: list[dict[str, object]], key: str) -> dict[str, list[float]]:
    """Of each tool to ours, within a round: the median, the least and the most."""
    found: dict[str, list[float]] = {}
    ours = {row["round"]: row for row in rows if row["tool"] == "landscape" and key in row}
    for row in rows:
        if row["tool"] != "landscape" and key in row and row["round"] in ours:
            one = float(row[key]) / max(float(ours[row["round"]][key]), 1e-12)  # type: ignore[arg-type]
            found.setdefault(str(row["tool"]), []).append(one)
    return {
        tool: [round(x, 3) for x in (statistics.median(s), min(s), max(s))]
        for tool, s in found.items()
    }


def compare(name: str, tools: list[str], rounds: int) -> dict[str, object]:
    work = workloads.load(name)
    spent, rows = costs(work), []
    for turn in range(rounds):
        for tool in tools[turn % len(tools) :] + tools[: turn % len(tools)]:
            row: dict[str, object] = {"workload": name, "tool": tool, "round": turn}
            try:
                numbers, (values, vectors, _) = measured(tool, work)
                row |= numbers
                row["worst_residual"] = worst_residual(work, values, vectors)
            except Exception as error:  # a peer that fails is a result, too
                row["error"] = f"{type(error).__name__}: {error}"[:200]
            rows.append(row)
            print(json.dumps(row), flush=True)
    keys = ("seconds", "clock", "products", "peak_mib", "worst_residual")
    told: dict[str, object] = {"workload": name, "rounds": rounds}
    told["ratios to landscape: median, least, most"] = {key: ratios(rows, key) for key in keys}
    told["products in gradients"] = {
        method: round(spent[method] / spent["gradient"], 2) for method in ("retained", "rebuilt")
    }
    print(json.dumps(told), flush=True)
    return {**told, "runs": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", choices=[*workloads.BUILD, []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", nargs="*", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--out", type=Path, help="a JSON file of all runs and their environment")
    arguments = parser.parse_args()
    where = environment()
    print(json.dumps(where), flush=True)
    found = []
    for workload in arguments.workloads or workloads.BUILD:
        found.append(compare(workload, arguments.tools, arguments.rounds))
        if arguments.out is not None:  # after each, so that a stop loses one workload
            whole = {"environment": where, "workloads": found}
            arguments.out.write_text(json.dumps(whole, indent=1) + "\n")
