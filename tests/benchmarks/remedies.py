"""Does what a diagnosis recommends get the real run going?

    python tests/benchmarks/remedies.py [FILE]

The twelve built-in stuck runs and twelve of ``causes.py``: each is trained until it is stuck and
diagnosed with trials. The remedy that stands first is then applied to the run itself, in plain
torch, and both it and the untouched run go on for as many steps as they had. Prints a table; rows
that FILE has are not run again, and new ones go there.
"""

import copy
import math
import re
import sys
from pathlib import Path

import causes
import torch

import landscape as ls
from landscape.training.healing import (
    equal_layers,
    rescale,
    revive,
    sick_units,
    started,
    zero_layers,
)
from landscape.training.reading import standardised
from landscape.zoo import stuck

OWN = (
    *("zero_grad missing", "backward missing", "parameters outside", "same batch", "clipping"),
    *("schedule", "unscaled", "too small", "too large", "dead", "weight decay", "equal units"),
)

ANEW = "start again"


class Case:
    """A stuck run in the hand: it can go on as it was, or with a remedy applied."""

    def __init__(self, name: str, p: causes.Plan) -> None:
        self.name, self.p, self.start = name, p, copy.deepcopy(p)
        self.trace, self.f, self.optimizer = causes.run(p)

    def anew(self) -> float:
        """The loss after as many steps from the start, without the mistake."""
        p = copy.deepcopy(self.start)
        p.cleared, p.decay, p.steps = "before", 0.0, max(p.steps, 200)
        causes.loop(p, causes.made(p.optimizer, list(p.model.parameters()), p.lr))
        with torch.no_grad():
            return float(p.loss(p.model(p.x), p.y))

    def go_on(self, remedy: str) -> float:
        """The loss after as many steps again."""
        if remedy == ANEW:
            return self.anew()
        p, f = copy.deepcopy((self.p, self.f))
        p.model = f.model
        p.steps = max(p.steps, 200)
        parameters = list(p.model.parameters())
        lr = self.optimizer.param_groups[0]["lr"]
        clean = remedy in ("zero_grad and backward", "no clipping", "new batches", "all parameters")
        if clean:
            p.cleared, p.backward, p.clip, p.fixed, p.moved = "before", True, math.inf, False, None
        if remedy == "standardised inputs":
            x = p.x.double()
            spread = x.std(0)
            still = spread <= 1e-6 * x.abs().amax(0)
            p.x = ((x - x.mean(0)) / torch.where(still, torch.ones_like(spread), spread)).float()
            f = standardised(f) or f
            f.model = p.model
        if remedy.startswith("rate x"):
            lr *= float(remedy.removeprefix("rate x"))
        if remedy == "initial rate":
            lr, p.schedule = p.lr, None
        moved(f, remedy)
        held = parameters if p.moved is None else p.moved(p.model)
        decay = 0.0 if remedy == "no weight decay" else p.decay
        optimizer = causes.made(p.optimizer, held, lr, decay)
        if remedy == "control":
            optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        if remedy.startswith("adam"):
            optimizer = torch.optim.Adam(parameters, lr=0.01)
        if remedy.startswith("sgd"):
            optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        if remedy == "full batch":
            p.batch = len(p.x)
        causes.loop(p, optimizer)
        with torch.no_grad():
            return float(p.loss(p.model(p.x), p.y))


def moved(f: ls.ModelLandscape, remedy: str) -> None:
    """Move f's model as a remedy does."""
    x = f.point()
    kick = max(0.1, 0.1 * float(x.norm()))
    draws = torch.Generator().manual_seed(0)
    if remedy.startswith("eigenvector"):
        v = ls.eigsh(ls.Hessian(f, x), largest=0, smallest=1).vectors[:, 0]
        f.load(x + (kick if remedy.endswith("+") else -kick) * v)
    elif remedy.endswith("against the gradient"):
        g = f.gradient(x)
        f.load(x - float(remedy.split()[4]) * g / g.norm())
    elif remedy == "noise":
        u = torch.randn(x.shape, generator=draws, dtype=torch.float64).to(x)
        f.load(x + kick * u / u.norm())
    elif remedy == "revive dead units":
        f.load(revive(f, x, sick_units(f)[0], draws))
    elif remedy == "rescale saturated units":
        f.load(rescale(f, x, sick_units(f)[1]))
    elif remedy == "fresh layers":
        f.load(started(f, x, sorted({*zero_layers(f, x), *equal_layers(f, x)}), draws))


def built_in(name: str) -> Case:
    """A run of ``landscape.zoo.stuck`` as a plan."""
    scene = stuck.get(name).build(0, 1)
    x = torch.cat([b[0] for b in scene.f.batches])
    y = torch.cat([b[1] for b in scene.f.batches])
    loss = scene.f.loss
    assert loss is not None
    p = causes.Plan(
        x, y, scene.f.model, loss, "SGD", scene.optimizer.param_groups[0]["lr"],
        len(scene.f.batches[0][0]), scene.steps, "numbers", torch.Generator().manual_seed(0),
    )  # fmt: skip
    if scene.schedule is not None:
        p.schedule = lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8)
    return Case(name, p)


def recommended(case: Case) -> tuple[str, str, str]:
    """The first cause, the trial that stands as its remedy, "control" where none does, and what is
    said of it.
    """
    found = ls.diagnose(case.trace, f=case.f, optimizer=case.optimizer, steps=50, seeds=4)
    if not found.causes:
        return "none", "control", "not stuck"
    first = found.causes[0]
    if "Tried: " in first.remedy or "What did: " in first.remedy:
        trial = re.split(r"Tried: |What did: ", first.remedy)[1].split(",")[0].removesuffix(".")
        known = not trial.endswith("in a random direction")  # which is not told
        return first.name, trial if known else "control", trial
    again = f"{ANEW}." in first.remedy
    return first.name, ANEW if again else "control", first.remedy


def main() -> None:
    torch.set_num_threads(1)
    print("| run | first cause | remedy | loss when stuck | untouched | with the remedy |")
    print("|---|---|---|---|---|---|")
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    rows = file.read_text().splitlines() if file is not None and file.exists() else []
    for name in (*stuck.names(), *OWN):
        row = next((row for row in rows if row.startswith(f"| {name} |")), None)
        if row is None:
            case = built_in(name) if name in stuck.names() else Case(name, causes.KINDS[name][1](1))
            cause, remedy, told = recommended(case)
            ends = [case.go_on("control")] + [case.go_on(remedy)] * (remedy != "control")
            numbers = " | ".join(f"{v:.4g}" for v in (float(case.trace.loss[-1]), *ends))
            row = f"| {name} | {cause} | {told} | {numbers}{' | ' * (len(ends) < 2)} |"
            if file is not None:
                with file.open("a") as kept:
                    kept.write(row + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
