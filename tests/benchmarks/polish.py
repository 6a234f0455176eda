"""``--polish`` beside torch's L-BFGS (strong Wolfe), from the same starts, as JSON: a line a network as it is done.

    python tests/benchmarks/polish.py [--out FILE] [NAME ...]

Ten smooth networks and ten of ReLU, 40 to 500 parameters, after 100 steps of Adam, in float64. Told
are loss and gradient norm where each ends, and seconds of the processor. L-BFGS gets 3,000 gradients.
A network that ``--out`` has is not computed again.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from landscape.core import silent
from landscape.points.polish import polish

EVALUATIONS = 3_000
Make = Callable[[type[nn.Module]], tuple[nn.Module, Callable[..., Tensor], Tensor, Tensor]]


class Graph(nn.Module):
    """A graph convolutional network on a random graph."""

    A: Tensor

    def __init__(self, nodes: int, act: type[nn.Module], draws: torch.Generator) -> None:
        super().__init__()
        A = (torch.rand(nodes, nodes, generator=draws) < 0.1).double()
        A = ((A + A.T) > 0).double() + torch.eye(nodes)
        root = A.sum(1).rsqrt()
        self.register_buffer("A", root[:, None] * A * root)
        self.first, self.second, self.act = nn.Linear(8, 16), nn.Linear(16, 4), act()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.A @ self.second(self.act(self.A @ self.first(x)))
        return found


def mlp(sizes: list[int], samples: int, loss: Callable[..., Tensor], seed: int) -> Make:
    def make(act: type[nn.Module]) -> tuple[nn.Module, Callable[..., Tensor], Tensor, Tensor]:
        draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(a, b), act()]
        model = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
        x = torch.randn(samples, sizes[0], generator=draws)
        if loss is F.cross_entropy:
            return model, loss, x, torch.randint(sizes[-1], (samples,), generator=draws)
        y = torch.sin(2 * x[:, :1]) + 0.3 * torch.randn(samples, sizes[-1], generator=draws)
        return model, loss, x, y

    return make


def graph(act: type[nn.Module]) -> tuple[nn.Module, Callable[..., Tensor], Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    model, x = Graph(40, act, draws), torch.randn(40, 8, generator=draws)
    return model, F.cross_entropy, x, torch.randint(4, (40,), generator=draws)


def convolution(act: type[nn.Module]) -> tuple[nn.Module, Callable[..., Tensor], Tensor, Tensor]:
    draws = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), act(), nn.Conv2d(4, 4, 3), act(), nn.Flatten(), nn.Linear(16, 3)
    )
    x = torch.randn(60, 1, 6, 6, generator=draws)
    return model, F.cross_entropy, x, torch.randint(3, (60,), generator=draws)


KINDS: dict[str, Make] = {
    "classes, 3-6-2": mlp([3, 6, 2], 40, F.cross_entropy, 0),
    "classes, 8-10-4": mlp([8, 10, 4], 100, F.cross_entropy, 1),
    "classes, 4-8-8-3": mlp([4, 8, 8, 3], 80, F.cross_entropy, 2),
    "classes, 2-5-5-5-2": mlp([2, 5, 5, 5, 2], 60, F.cross_entropy, 3),
    "values, 3-8-1": mlp([3, 8, 1], 50, F.mse_loss, 4),
    "values, 5-12-2": mlp([5, 12, 2], 120, F.mse_loss, 5),
    "values, 2-6-6-1": mlp([2, 6, 6, 1], 60, F.mse_loss, 6),
    "values, 10-20-1": mlp([10, 20, 1], 60, F.mse_loss, 7),
    "a graph": graph,
    "a convolution": convolution,
}
SMOOTH = (nn.Tanh, nn.Softplus, nn.GELU, nn.Sigmoid, nn.SiLU)
NETWORKS = {
    f"{'ReLU' if kinked else 'smooth'}, {kind}": (make, nn.ReLU if kinked else SMOOTH[i % 5])
    for kinked in (False, True)
    for i, (kind, make) in enumerate(KINDS.items())
}


def landscape(name: str) -> ls.ModelLandscape:
    """A network after 100 steps of Adam."""
    make, act = NETWORKS[name]
    model, loss, x, y = make(act)
    model, x = model.double(), x.double()
    y = y.double() if y.is_floating_point() else y
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return ls.ModelLandscape(model, loss, [(x, y)])


def by_lbfgs(f: ls.ModelLandscape) -> tuple[float, float]:
    """Loss and gradient norm where torch's own L-BFGS ends."""
    x = f.point().requires_grad_(True)
    best = [float("inf")] * 2
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=EVALUATIONS,
        max_eval=EVALUATIONS,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        value, x.grad = f.value(x.detach()), f.gradient(x.detach())
        norm = float(x.grad.norm())
        if norm < best[1]:
            best[:] = float(value), norm
        return value

    optimizer.step(closure)
    return best[0], best[1]


def run(name: str) -> dict[str, object]:
    f = landscape(name)
    x = f.point()
    began = time.process_time()
    walk, how = polish(f, x, "newton-mr", seed=0, progress=silent)
    between = time.process_time()
    value, norm = by_lbfgs(f)
    ended = time.process_time()
    return {
        "network": name,
        "parameters": f.dim,
        "start": [float(f.value(x)), float(f.gradient(x).norm())],
        "polish": [walk.place.value, walk.place.norm, round(between - began, 2)],
        "outcome": walk.stop.name if walk.stop else "",
        "how": how,
        "L-BFGS": [value, norm, round(ended - between, 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of a network's name")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = given.out.read_text().splitlines() if given.out and given.out.exists() else []
    known = {json.loads(line)["network"] for line in done}
    for name in NETWORKS:
        if name in known or (given.names and not any(part in name for part in given.names)):
            continue
        line = json.dumps(run(name))
        print(line, flush=True)
        if given.out:
            with given.out.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
