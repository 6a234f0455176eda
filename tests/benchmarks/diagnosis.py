"""The cause that ``diagnose`` names first for every stuck run of the zoo, as a confusion matrix.

    python tests/benchmarks/diagnosis.py [SEEDS]

Twelve runs, three variants, SEEDS seeds (10). A wrong answer should have a low confidence: each is printed with it.
"""

import sys
from collections import Counter

import torch

import landscape as ls
from landscape.training.rules import NAMES
from landscape.zoo import stuck


def named(run: stuck.StuckRun, variant: int, seed: int) -> tuple[str, float]:
    """The first cause and its confidence."""
    scene = run.build(variant, seed)
    with ls.Tracer(scene.optimizer, scene.f, every=max(1, scene.steps // 20)) as tracer:
        scene.train()
    first = ls.diagnose(tracer.result).causes[0]
    return first.name, first.confidence


def main(seeds: int) -> None:
    torch.set_num_threads(1)
    right = total = 0
    wrong = []
    print(f"{'run':24}{'cause':15}" + "".join(f"{name:>15}" for name in NAMES))
    for name in stuck.names():
        run, counts = stuck.get(name), Counter[str]()
        for variant in range(stuck.VARIANTS):
            for seed in range(seeds):
                cause, confidence = named(run, variant, seed)
                counts[cause] += 1
                total += 1
                right += cause in run.accepted
                if cause not in run.accepted:
                    wrong.append(
                        f"{name}, variant {variant}, seed {seed}: {cause} with confidence {confidence:.2f}"
                    )
        print(
            f"{name:24}{run.cause:15}" + "".join(f"{counts[cause] or '.':>15}" for cause in NAMES)
        )
    print(f"{right} of {total} right, {100 * right / total:.1f} %", *wrong, sep="\n  ")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
