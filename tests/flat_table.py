"""What symmetries explain at points that polishing made stationary: ``python tests/flat_table.py`` prints the table of docs/acting.md.

Every checkpoint is a net that learned the outputs of another one of its kind for 300 steps of Adam, from
a start beside it; ``--write`` puts the table into the page, ``--kept FILE`` keeps every row that is measured
and measures none that is in the file.
"""

import argparse
from pathlib import Path

import torch
from symmetric import NETS, teacher

import landscape as ls

PAGE = Path(__file__).parents[1] / "docs" / "acting.md"
BEGIN, END = "<!-- flat -->\n", "<!-- end of flat -->"
HEAD = """| checkpoint | parameters | gradient | after polishing | verdict | zero eigenvalues | explained | closed form |
|---|---|---|---|---|---|---|---|
"""
# architecture, net of tests/symmetric.py, seed
CHECKPOINTS = [
    ("ReLU, softmax", "one a ReLU unit, and softmax", 0),
    ("ReLU, softmax", "one a ReLU unit, and softmax", 1),
    ("LeakyReLU", "leaky units of two layers", 0),
    ("linear maps", "r^2 between linear layers, and r of the bias", 0),
    ("attention", "torch's own attention", 0),
    ("attention", "keys and values of pairs of heads", 0),
    ("stream, RMSNorm", "rotations and the scale that RMSNorm leaves", 0),
    ("stream, LayerNorm", "a stream through LayerNorms", 0),
    ("gated", "units that gate", 0),
    ("softmax regression", "softmax regression, d + 1", 0),
]


def row(kind: str, name: str, seed: int) -> str:
    """One checkpoint: trained, polished, classified."""
    f = teacher(name)
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(f.dim, generator=draws, dtype=torch.float64)
    x = torch.nn.Parameter(f.point() + 0.1 * f.point().std() * noise)
    adam = torch.optim.Adam([x], lr=1e-3)
    for _ in range(300):
        x.grad = f.gradient(x.detach())
        adam.step()
    report = ls.analyze(f, x.detach(), polish="newton-mr", layers=False)
    point, moved = report.point, report.polish
    assert moved is not None
    explained = sum(point.flat.values())
    stays = point.kind != "not-stationary"
    return (
        f"| {kind}: {name} | {f.dim} | {moved.gradient_norm_before:.1e} | {moved.gradient_norm:.1e} "
        f"| {point.kind} | {point.nullity if stays else '-'} | {explained} | {NETS[name][3]} |"
    )


def rows(kept: Path | None) -> list[str]:
    done = kept.read_text().splitlines() if kept is not None and kept.exists() else []
    for case in CHECKPOINTS[len(done) :]:
        done.append(row(*case))
        print(done[-1], flush=True)
        if kept is not None:
            kept.write_text("\n".join(done) + "\n")
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--kept", type=Path)
    given = parser.parse_args()
    table = HEAD + "\n".join(rows(given.kept)) + "\n"
    if given.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
