"""Top-10 Hessian eigenpairs: this library beside its peers, the same work in one process, as JSON lines and ratios.

    pip install '.[examples]'
    pip install --no-deps hessian-eigenthings==1.0.0a5 pyhessian==0.1      # the peers are optional
    python tests/benchmarks/eigenpairs.py [--rounds 3] [digits-mlp resnet20 gpt]

Every tool is asked for residuals |Hv - lambda v| <= 1e-3 |lambda_max|. The clock stops when it says that it has them.
Residuals are then computed here from fresh products of one independent implementation. ``bare`` is plain Lanczos on a retained
graph, with no restart, bounds or multiplicity: what is attainable. The order of the tools turns from round to round; medians are compared.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

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


TOOLS: dict[str, Callable[[workloads.Workload], Answer]] = {
    "landscape": landscape, "bare": bare, "arpack": arpack, "hessian-eigenthings": eigenthings, "pyhessian": pyhessian,
}  # fmt: skip


def worst_residual(work: workloads.Workload, values: Tensor, vectors: Tensor) -> float:
    product = Exact(work)
    scale = float(values.abs().max())
    vectors = vectors.float().T
    return max(
        float((product(v) - float(w) * v).double().norm() / (scale * v.double().norm()))
        for w, v in zip(values, vectors, strict=True)
    )


def medians(actions: dict[str, Callable[[], object]], times: int = 11) -> dict[str, float]:
    """Median seconds of each action, taken by turns, so that a drift of the machine touches all alike."""
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


def compare(name: str, tools: list[str], rounds: int) -> None:
    work = workloads.load(name)
    spent = costs(work)
    gradient = spent["gradient"]
    seconds: dict[str, list[float]] = {}
    for turn in range(rounds):
        for tool in tools[turn % len(tools) :] + tools[: turn % len(tools)]:
            start = time.perf_counter()
            try:
                values, vectors, products = TOOLS[tool](work)
            except Exception as error:  # a peer that fails is a result, too
                print(
                    json.dumps(
                        {
                            "workload": name,
                            "tool": tool,
                            "error": f"{type(error).__name__}: {error}"[:200],
                        }
                    ),
                    flush=True,
                )
                continue
            seconds.setdefault(tool, []).append(time.perf_counter() - start)
            row = {
                "workload": name,
                "tool": tool,
                "seconds": round(seconds[tool][-1], 2),
                "products": products,
            }
            row |= {"in_gradients": round(seconds[tool][-1] / gradient, 1)}
            if turn == 0:
                row |= {"worst_residual": worst_residual(work, values, vectors)}
            print(json.dumps(row), flush=True)
    ours = statistics.median(seconds["landscape"])
    ratios = {
        f"{tool} / landscape": round(statistics.median(s) / ours, 2)
        for tool, s in seconds.items()
        if tool != "landscape"
    }
    prices = {
        f"{method} product in gradients": round(spent[method] / gradient, 2)
        for method in ("retained", "rebuilt")
    }
    print(json.dumps({"workload": name, "rounds": rounds, **ratios, **prices}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", choices=[*workloads.BUILD, []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tools", nargs="*", choices=TOOLS, default=list(TOOLS))
    arguments = parser.parse_args()
    for workload in arguments.workloads or workloads.BUILD:
        compare(workload, arguments.tools, arguments.rounds)
