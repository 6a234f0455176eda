"""The stages of check.sh: ``python check.py STAGE OUT``. Truth is float64 on the CPU.

Every measurement is written to OUT/result.json as soon as it is made, so that a machine that is taken back costs only what
was not reached. An error is a measurement too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if os.environ.get("LANDSCAPE_SIMULATED_CUDA"):
    import simcuda  # noqa: F401  (installs the device)

import torch
from torch import Tensor, nn

F = nn.functional
SIMULATED = bool(os.environ.get("LANDSCAPE_SIMULATED_CUDA"))
DEVICE = "cuda"
PATIENCE = 6 if SIMULATED else 1
Problem = tuple[nn.Module, Tensor]
# label -> dtype, precision= of the landscape, what the caller has set
PRECISIONS = {
    "float64": (torch.float64, "full", "highest"),
    "float32": (torch.float32, "full", "highest"),
    "float32, high left on": (torch.float32, "full", "high"),
    "tf32 asked for": (torch.float32, "tf32", "highest"),
    "bf16 asked for": (torch.float32, "bf16", "highest"),
}


class Store:
    """OUT/result.json, a list of measurements."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / "result.json"

    def read(self) -> list[dict[str, Any]]:
        return json.loads(self.path.read_text()) if self.path.exists() else []

    def note(self, stage: str, **found: Any) -> None:
        rows = [*self.read(), {"stage": stage, **found}]
        self.path.write_text(json.dumps(rows, indent=1, default=str) + "\n")
        print(stage, json.dumps(found, default=str), flush=True)

    def measure(self, stage: str, job: Callable[[], dict[str, Any]]) -> None:
        start = time.perf_counter()
        try:
            found = job()
        except BaseException as error:
            found = {"error": f"{type(error).__name__}: {error}"[:400]}
        self.note(stage, **found, seconds=round(time.perf_counter() - start, 2))


def sync() -> None:
    torch.cuda.synchronize()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.cell = nn.Embedding(20, 8), nn.LSTM(8, 12, batch_first=True)
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(self.words(x))[0][:, -1])


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 24, 0.0, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(self.words(x)).mean(1))


def problems() -> dict[str, Problem]:
    """One of each kind of kernel whose rounding may be the card's own."""
    torch.manual_seed(0)
    count, width = (8, 16) if SIMULATED else (128, 64)
    tokens = torch.randint(20, (count, 10))
    conv = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 16, 3, stride=2), nn.GroupNorm(4, 16),
        nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    up = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(),
        nn.Linear(4 * 14 * 14, 3),
    )  # fmt: skip
    mlp = nn.Sequential(nn.Linear(20, width), nn.Tanh(), nn.Linear(width, 3))
    return {
        "mlp": (mlp, torch.randn(count, 20)),
        "convolutions": (conv, torch.randn(count, 3, 12, 12)),
        "lstm": (Recurrent(), tokens),
        "attention": (Attentive(), tokens),
        "bag of embeddings": (
            nn.Sequential(nn.EmbeddingBag(20, 8, mode="sum"), nn.Linear(8, 3)), tokens,
        ),
        "upsampling": (up, torch.randn(count, 3, 8, 8)),
    }  # fmt: skip


def landscape_of(name: str, dtype: torch.dtype, device: str, precision: str = "full") -> Any:
    import landscape as ls

    model, x = problems()[name]
    y = torch.randint(3, (len(x),), generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "l2": {"*": 1e-3},
        "precision": precision,
    }
    return ls.ModelLandscape(model.to(device), F.cross_entropy, [(x, y)], **options)


def machine(store: Store) -> None:
    def found() -> dict[str, Any]:
        import landscape as ls

        return {
            "card": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "landscape": ls.__version__,
            "simulated": SIMULATED,
        }

    store.measure("machine", found)


def numerics(store: Store) -> None:
    """Products and bounds of six architectures in five precisions."""
    import landscape as ls

    for name in problems():
        truth = landscape_of(name, torch.float64, "cpu")
        H = ls.Hessian(truth)
        V = torch.randn(
            truth.dim, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
        )
        V /= V.norm(dim=0)
        exact, pairs = H @ V, ls.eigsh(H, 2, 2, tol=1e-7)
        for label, (dtype, precision, left_on) in PRECISIONS.items():
            job = partial(numbers, name, dtype, precision, left_on, V, exact, pairs)
            store.measure(f"numerics, {name}, {label}", job)


def numbers(
    name: str,
    dtype: torch.dtype,
    precision: str,
    left_on: str,
    V: Tensor,
    exact: Tensor,
    truth: Any,
) -> dict[str, Any]:
    import landscape as ls

    f = landscape_of(name, dtype, DEVICE, precision)
    torch.set_float32_matmul_precision(left_on)
    try:
        A, W = ls.Hessian(f), V.to(DEVICE, f.dtype)
        one, two = A @ W, A @ W
        off = float((one.cpu().double() - exact).norm(dim=0).max()) / truth.scale
        mine = ls.eigsh(A, 2, 2)
        gap = (mine.values - truth.values).abs()
        return {
            "n": f.dim,
            "product off by, in |H|": off,
            "in eps": round(off / torch.finfo(f.dtype).eps, 2),
            "repeats": bool(torch.equal(one, two)),
            "stop": mine.stop.name,
            "largest bound, in |H|": float(mine.bounds.max()) / truth.scale,
            "worst error over its bound": round(
                float((gap / (mine.bounds + truth.bounds)).max()), 4
            ),
        }
    finally:
        torch.set_float32_matmul_precision("highest")


def verdicts(store: Store) -> None:
    """The command line, in both dtypes."""
    for dtype in ("float32", "float64"):

        def verdict(dtype: str = dtype) -> dict[str, Any]:
            options = ["--dtype", dtype, "--device", DEVICE, "--json", "--force"]
            start = (
                "import os; os.environ.get('LANDSCAPE_SIMULATED_CUDA') and __import__('simcuda'); "
            )
            start += "from landscape_cli.main import main; main()"
            model = ["analyze", "two-wells" if SIMULATED else "digits-mlp"]
            if SIMULATED:  # training a network there takes minutes
                model = ["analyze", str(Path(__file__).with_name("problem.py"))]
            command = [
                sys.executable,
                "-c",
                start,
                *model,
                *options,
                "--out",
                str(store.out / dtype),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=40 * PATIENCE, check=False
            )
            told = json.loads(done.stdout) if done.stdout.startswith("{") else {}
            kind = told.get("verdict") or told.get("point", {}).get("kind")
            return {"status": done.returncode, "verdict": kind, "stderr": done.stderr[-300:]}

        store.measure(f"analyze, {dtype}", verdict)


HEAD = f"""
import os
os.environ.get("LANDSCAPE_SIMULATED_CUDA") and __import__("simcuda")
import torch, landscape as ls
from torch import nn
from torch.nn import functional as F
D = {DEVICE!r}
def made(model, loss, x, y, **options):
    return ls.ModelLandscape(model.to(D), loss, [(x, y)], **options)
"""
# name -> a program; what it says last and how it ends is what is measured
CASES = {
    "label out of range": """
f = made(nn.Linear(3, 2), F.cross_entropy, torch.randn(6, 3), torch.full((6,), 7))
print(float(f.gradient(f.point()).norm()))""",
    "token out of range": """
model = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 2))
f = made(model, F.cross_entropy, torch.full((6, 2), 9), torch.zeros(6).long())
print(float(f.gradient(f.point()).norm()))""",
    "out of memory": """
torch.cuda.set_per_process_memory_fraction(0.01)
f = made(nn.Linear(3000, 9000), lambda o, t: o.square().mean(), torch.randn(64, 3000), torch.zeros(64))
print(ls.classify(f))""",
    "autocast left on": """
f = made(nn.Linear(30, 20), F.cross_entropy, torch.randn(60, 30), torch.randint(20, (60,)))
a = f.gradient(f.point())
with torch.autocast(D):
    b = f.gradient(f.point())
assert torch.equal(a, b)""",
    "no wait in a Lanczos step": """
import numpy as np
from landscape.linalg.krylov import Basis
model = nn.Sequential(nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, 20))
f = made(model, F.cross_entropy, torch.randn(60, 30), torch.randint(20, (60,)))
basis = Basis(ls.Hessian(f), 30, np.random.SeedSequence(0))
basis.start()
basis.grow(2)
torch.cuda.set_sync_debug_mode("error")
basis.grow(10)""",
    "default device": """
torch.set_default_device(D)
g = ls.FunctionLandscape(lambda x: (x[..., 0]**2 - 1)**2 + x[..., 1]**2, 2, ls.Box(-2, 2))
assert len(ls.census(g, starts=50).points) == 3""",
}
ONLY_ON_A_CARD = {"out of memory"}


def errors(store: Store) -> None:
    """Each in a process of its own, for an assert on the device ends CUDA in the process."""
    chosen = {k: v for k, v in CASES.items() if not (SIMULATED and k in ONLY_ON_A_CARD)}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", HEAD + code], stderr=subprocess.PIPE, text=True
        )
        for name, code in chosen.items()
    }
    for name, process in started.items():

        def ended(process: subprocess.Popen[str] = process) -> dict[str, Any]:
            try:
                _, told = process.communicate(timeout=38 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            lines = told.strip().splitlines()
            return {"status": process.returncode, "last": lines[-1][:300] if lines else ""}

        store.measure(f"case, {name}", ended)


def tests(store: Store) -> None:
    log = store.out / "pytest.log"
    lines = log.read_text().strip().splitlines() if log.exists() else []
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    store.note(
        "tests marked gpu", last=lines[-1] if lines else "nothing was run", failed=failed[:40]
    )


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = (
            self.mix(self.first(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        q, k, v = parts
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.second(x))))


class Gpt(nn.Module):
    """GPT-2's smallest, 124 M parameters, with random weights: tied embeddings, learned positions."""

    def __init__(self, words: int, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        for p in self.parameters():
            nn.init.normal_(p, std=0.02) if p.ndim > 1 else None

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        return self.norm(self.blocks(x)) @ self.words.weight.T


def speed(store: Store) -> None:
    shapes = (50, 16, 8, 2, 2) if SIMULATED else (50257, 256, 768, 12, 12)

    def pairs(precision: str) -> dict[str, Any]:
        import landscape as ls

        torch.manual_seed(0)
        model = Gpt(*shapes).to(DEVICE)
        tokens = torch.randint(shapes[0], (8, shapes[1] + 1), device=DEVICE)
        data = [(t[:, :-1], t[:, 1:]) for t in tokens.split(4)]
        f = ls.ModelLandscape(model, entropy, data, precision=precision)
        H, v = ls.Hessian(f), f.point()
        gradient, product = timed(lambda: f.gradient(v)), timed(lambda: H @ v)
        torch.cuda.reset_peak_memory_stats()
        sync()
        start = time.perf_counter()
        found = ls.eigsh(H, 10, tol=1e-3, max_products=90)
        sync()
        took = time.perf_counter() - start
        return {
            "n": f.dim,
            "graphs kept": H.retained,
            "notes": H.notes,
            "gradient, ms": round(1e3 * gradient, 2),
            "product, ms": round(1e3 * product, 2),
            "product in gradients": round(product / gradient, 2),
            "eigsh, s": round(took, 2),
            "products": found.products,
            "stop": found.stop.name,
            "top": found.values.tolist(),
            "bounds": found.bounds.tolist(),
            "share outside products": round(1 - product * found.products / took, 3),
            "peak, GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        }

    for precision in ("full", "tf32", "bf16"):
        store.measure(f"speed, top 10 of GPT-2, {precision}", partial(pairs, precision))
    store.measure("speed, escapes", escapes)
    store.measure("speed, census", census)


def entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def timed(job: Callable[[], object], times: int = 3) -> float:
    job()
    sync()
    start = time.perf_counter()
    for _ in range(times):
        job()
    sync()
    return (time.perf_counter() - start) / times


def launches(store: Store) -> None:
    """Small networks, whose kernels take less time than to start them: graphs kept, and as one program."""
    methods = ["retained", "cuda-graph"] if SIMULATED else ["retained", "cuda-graph", "compiled"]
    names = ["mlp", "convolutions", "attention"]
    for method in methods:
        for name in names[:1] if method == "compiled" else names:  # compiling takes half a minute
            job = partial(launched, name, method)
            store.measure(f"launches, {name}, {method}", job)


def launched(name: str, method: str) -> dict[str, Any]:
    """Milliseconds of a product, and what it is off by from that of graphs kept, in units of its norm."""
    import landscape as ls

    f = landscape_of(name, torch.float32, DEVICE)
    H, kept = ls.Hessian(f, method=method), ls.Hessian(f, method="retained")
    v = torch.randn(f.dim, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    start = time.perf_counter()
    for _ in range(6):
        product = H @ v
    sync()
    first, truth = time.perf_counter() - start, kept @ v
    return {
        "n": f.dim,
        "notes": H.notes,
        "product, ms": round(1e3 * timed(lambda: H @ v, 3 if SIMULATED else 100), 3),
        "gradient, ms": round(1e3 * timed(lambda: f.gradient(v), 3 if SIMULATED else 100), 3),
        "first six products, s": round(first, 2),
        "same bits": bool(torch.equal(product, truth)),
        "off by": float((product - truth).norm() / truth.norm()),
    }


def escapes() -> dict[str, Any]:
    import landscape as ls

    runs = 100 if SIMULATED else 100_000
    g = ls.FunctionLandscape(lambda x: -(x[..., 0] ** 2) + x[..., 1:].square().sum(-1), 10)
    at = torch.zeros(10, dtype=torch.float64, device=DEVICE)
    study = ls.escape(g, at, ["sgd:lr=0.05", "adam:lr=0.01"], runs=runs, steps=300)
    return {"runs": runs, "escaped": int(study["sgd:lr=0.05"].escaped.sum())}


def census() -> dict[str, Any]:
    import landscape as ls

    f = ls.FunctionLandscape(
        lambda x: (x.square() - 1).square().sum(-1) + 0.1 * (x[..., :-1] * x[..., 1:]).sum(-1),
        2 if SIMULATED else 6,
        ls.Box(-2, 2),
    )
    return {"points": len(ls.census(f, starts=100 if SIMULATED else 4000).points)}


def table(store: Store) -> None:
    for row in store.read():
        print(*(f"{k}={v}" for k, v in row.items()))


JOBS = (machine, numerics, verdicts, errors, tests, launches, speed, table)
STAGES = {job.__name__: job for job in JOBS}

if __name__ == "__main__":
    STAGES[sys.argv[1]](Store(Path(sys.argv[2])))
