"""What symmetries explain at points that polishing made stationary: ``python tests/flat_table.py`` prints the table of docs/acting.md.

Every checkpoint is trained by 300 steps of Adam, some on targets that are noise, the others (``teacher``) on outputs of a net beside their start; ``--write`` puts the table into the page, ``--kept FILE`` keeps every row that is measured and measures none that is in the file.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from symmetric import NETS
from torch import Tensor, nn

import landscape as ls
from landscape.points.classify import LEVEL, StationaryPoint

F = nn.functional
L = nn.Linear
PAGE = Path(__file__).parents[1] / "docs" / "acting.md"
BEGIN, END = "<!-- flat -->\n", "<!-- end of flat -->"
HEAD = """| checkpoint | parameters | gradient | after polishing | it says | verdict | zero | explained | closed form | which not, and why |
|---|---|---|---|---|---|---|---|---|---|
"""
# Why there is nothing to explain.
WHY = {
    "budget": "not stationary: the products ran out",
    "kink": "not stationary: what is left of the gradient is a kink's",
}


class GPT(nn.Module):
    """One block of a causal transformer, 20 letters in 12 places."""

    def __init__(self, width: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(20, width), nn.Embedding(12, width)
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = L(width, 3 * width), L(width, width)
        self.up, self.down = L(width, 3 * width), L(3 * width, width)
        self.head, self.heads = L(width, 20), heads

    def forward(self, x: Tensor) -> Tensor:
        h = self.token(x) + self.place.weight
        parts = self.qkv(self.norm(h)).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        h = h + self.down(F.gelu(self.up(self.norm2(h))))
        found: Tensor = self.head(h).flatten(0, 1)
        return found


def convolved() -> nn.Module:
    conv = nn.Conv1d(2, 4, 3)
    return nn.Sequential(
        *(conv, nn.BatchNorm1d(4, eps=1e-30), nn.Softplus()),
        *(nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3, eps=1e-30), nn.Softplus()),
        *(nn.Flatten(), L(9, 2)),
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.r, self.head = nn.LSTM(3, 4, batch_first=True), L(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.r(x)[0])
        return found


def weighted() -> nn.Module:
    of = nn.utils.parametrizations.weight_norm
    return nn.Sequential(of(L(4, 6)), nn.Tanh(), of(L(6, 3)))


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of a sample; empty: 12 letters
    softmax: bool
    closed: int | str  # the closed form
    samples: int = 200
    mode: str = "eval"
    teacher: bool = False  # targets of a net beside the start


def of(name: str, **more: object) -> Case:
    build, shape, softmax, count = NETS[name]
    return Case(build, shape, softmax, count, **more)  # type: ignore[arg-type]


CASES: dict[str, Case] = {
    "softmax regression": of("softmax regression, d + 1"),
    "linear maps": of("r^2 between linear layers, and r of the bias"),
    "tanh units": of("no symmetry"),
    "ReLU units": of("one a ReLU unit, and softmax"),
    "ReLU units of a net": of("one a ReLU unit, and softmax", teacher=True),
    "gated units": of("units that gate"),
    "attention": of("torch's own attention", teacher=True),
    "weight normalisation": Case(weighted, (4,), False, 6 + 3, teacher=True),
    "convolutions, BatchNorm": Case(
        convolved, (2, 6), False, 4 + 4 + 3 + 3, mode="train", teacher=True
    ),
    "LSTM": Case(Recurrent, (5, 3), False, 16, teacher=True),
    "residual stream, LayerNorm": of("a stream through LayerNorms", teacher=True),
    "cosines behind LayerNorm": of("cosines behind a LayerNorm", teacher=True)._replace(closed="-"),
    "heads wider than their stream": of("heads wider than what they read", teacher=True),
    "weights that a map makes": of("weights that a linear map makes", teacher=True),
    "transformer": Case(GPT, (), True, "-", samples=40, teacher=True),
}


def landscape(case: Case) -> ls.ModelLandscape:
    """The checkpoint before it is polished."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        net = case.build().double().train(case.mode == "train")
        if case.shape:
            x = torch.randn(case.samples, *case.shape, dtype=torch.float64)
        else:
            x = torch.randint(0, 20, (case.samples, 12))
        with torch.no_grad():
            y = net(x)
            if case.softmax:
                y = torch.softmax(y if case.teacher else torch.randn_like(y), -1)
            elif not case.teacher:
                y = y.std() * torch.randn_like(y)
        for parameter in net.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
        loss = F.cross_entropy if case.softmax else F.mse_loss
        adam = torch.optim.Adam(net.parameters(), lr=1e-3 if case.teacher else 1e-2)
        for _ in range(300):
            adam.zero_grad()
            loss(net(x), y).backward()
            adam.step()
    return ls.ModelLandscape(net, loss, [(x, y)], mode=case.mode)


def row(name: str) -> str:
    """One checkpoint: trained, polished, classified."""
    case, begun = CASES[name], time.process_time()
    f = landscape(case)
    report = ls.analyze(f, polish="newton-mr", layers=False)
    point, moved = report.point, report.polish
    assert moved is not None
    stays = moved.outcome.name == "STATIONARY"
    zero, explained = (point.nullity, sum(point.flat.values())) if stays else ("-", "-")
    print(f"{time.process_time() - begun:.0f} s", point.flat, point.reasons, flush=True)
    return (
        f"| {name} | {f.dim:,} | {moved.gradient_norm_before:.1e} | {moved.gradient_norm:.1e} "
        f"| {moved.outcome.name.lower()} | {point.kind} | {zero} | {explained} | {case.closed} "
        f"| {_open(point, moved.outcome.name.lower())} |"
    )


def _open(point: StationaryPoint, outcome: str) -> str:
    """Which zero eigenvalues nothing explains, and why."""
    if outcome != "stationary":
        return WHY.get(outcome, f"not stationary: {outcome}")
    level = point.flat.get(LEVEL, 0)
    left = (point.nullity or 0) - sum(point.flat.values())
    told = [f"{level} of no symmetry: these data leave them level"] if level else []
    told += [f"{left}: " + next(r for r in point.reasons if "zero eigenvalue" in r)] if left else []
    return "; ".join(told) or "none"


def rows(kept: Path | None, only: list[str]) -> list[str]:
    done = kept.read_text().splitlines() if kept is not None and kept.exists() else []
    for name in CASES:
        if any(line.startswith(f"| {name} |") for line in done) or (only and name not in only):
            continue
        done.append(row(name))
        print(done[-1], flush=True)
        if kept is not None:
            kept.write_text("\n".join(done) + "\n")
    order = list(CASES)
    return sorted(done, key=lambda line: order.index(line.split("|")[1].strip()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--only", action="append", default=[])
    given = parser.parse_args()
    table = HEAD + "\n".join(rows(given.kept, given.only)) + "\n"
    if given.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
